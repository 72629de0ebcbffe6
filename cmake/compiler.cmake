# The language, the warnings, the sanitizers and the cache, for every target of this project and for no other.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)

# Only what MQTTQ_API names leaves the shared library; the static one may be linked into another shared library.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

# accept4, sendmsg's flags and pthread_setname_np are GNU extensions of the C library.
add_compile_definitions(_GNU_SOURCE $<$<CONFIG:Debug>:MQTTQ_ENABLE_ASSERT>)

if(MQTTQ_WARNINGS)
  add_compile_options(-Wall -Wextra -Wshadow -Wundef -Wvla -Wformat=2 -Wcast-qual
                      "$<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor;-Wold-style-cast;-Woverloaded-virtual;-Wextra-semi>"
                      "$<$<COMPILE_LANGUAGE:C>:-Wpedantic;-Wstrict-prototypes;-Wmissing-prototypes>"
                      # A struct whose size comes first is filled by `{ sizeof x }`; the other fields are 0 on purpose.
                      -Wno-missing-field-initializers
                      # Clang does not see that a lambda called in a loop moves what the loop waits for.
                      $<$<CXX_COMPILER_ID:Clang>:-Wno-for-loop-analysis>)
endif()

if(MQTTQ_SANITIZE STREQUAL "address+undefined")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(MQTTQ_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(MQTTQ_SANITIZE)
  message(FATAL_ERROR "MQTTQ_SANITIZE is \"${MQTTQ_SANITIZE}\"; it may be empty, address+undefined or thread")
endif()

# A report needs the lines of a stack, not the types behind them: a third of the time to compile is saved.
if(MQTTQ_SANITIZE)
  add_compile_options(-g1)
endif()

# For tests, and for programs around the library. Most of what these compile is run once: in a debug build the optimiser
# takes half of the time, with sanitizers three quarters.
set(MQTTQ_UNOPTIMISED $<$<CONFIG:Debug>:-O0>)

# GCC's warnings from data flow see the sanitizers' own checks as paths of the program, and are wrong there.
if(MQTTQ_SANITIZE AND MQTTQ_WARNINGS AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-array-bounds -Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow
                      -Wno-stringop-overread)
endif()

if(MQTTQ_BUILD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MQTTQ_BUILD_FUZZ needs Clang, which brings libFuzzer; use --preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(MQTTQ_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

if(MQTTQ_LTO)
  include(CheckIPOSupported)
  check_ipo_supported()
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()

find_program(MQTTQ_CCACHE ccache)
mark_as_advanced(MQTTQ_CCACHE)
if(MQTTQ_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_C_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${MQTTQ_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${MQTTQ_CCACHE}")
endif()
