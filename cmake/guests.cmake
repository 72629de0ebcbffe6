# The libraries that we are a host to. Which source file may use which is kept by tools/check_includes.py.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb>=0.9.24)

# Used as headers, so that neither of our libraries makes its host link fmt. Where nobody else is the host, the shared
# library saves half of the time to compile what uses it.
find_package(fmt 9 REQUIRED)
set(MQTTQ_FMT fmt::fmt-header-only)
if(MQTTQ_SHARED_FMT)
  set(MQTTQ_FMT fmt::fmt)
endif()

# For keys of queues in the library, and for the configuration file of mqttq-server.
set(MQTTQ_HAVE_JSON OFF)
if(MQTTQ_WITH_JSON STREQUAL "ON" OR MQTTQ_BUILD_EXAMPLES)
  find_package(simdjson 3 REQUIRED)
elseif(MQTTQ_WITH_JSON STREQUAL "AUTO")
  find_package(simdjson 3 QUIET)
endif()
if(simdjson_FOUND AND MQTTQ_WITH_JSON)
  set(MQTTQ_HAVE_JSON ON)
elseif(PROJECT_IS_TOP_LEVEL)
  message(STATUS "Keys of queues in JSON payloads are left out: MQTTQ_WITH_JSON is ${MQTTQ_WITH_JSON}; "
                 "tools/setup installs libsimdjson-dev")
endif()

# For examples/sqlite-store alone; 3.20 has sqlite3_prepare_v3.
set(MQTTQ_HAVE_SQLITE OFF)
if(MQTTQ_BUILD_EXAMPLES AND MQTTQ_WITH_SQLITE)
  if(MQTTQ_WITH_SQLITE STREQUAL "AUTO")
    find_package(SQLite3 3.20 QUIET)
  else()
    find_package(SQLite3 3.20 REQUIRED)
  endif()
  set(MQTTQ_HAVE_SQLITE ${SQLite3_FOUND})
endif()
if(MQTTQ_BUILD_EXAMPLES AND NOT MQTTQ_HAVE_SQLITE)
  message(STATUS "examples/sqlite-store is left out: MQTTQ_WITH_SQLITE is ${MQTTQ_WITH_SQLITE}; "
                 "tools/setup installs libsqlite3-dev")
endif()

# For the tools that CTest runs: pytest, the guards and the ledger.
find_package(Python3 3.11 COMPONENTS Interpreter)

set(MQTTQ_HAVE_TLS OFF)
if(MQTTQ_WITH_TLS STREQUAL "AUTO")
  find_package(MbedTLS 3.6)
elseif(MQTTQ_WITH_TLS)
  find_package(MbedTLS 3.6 REQUIRED)
endif()
if(MbedTLS_FOUND)
  set(MQTTQ_HAVE_TLS ON)
elseif(PROJECT_IS_TOP_LEVEL)
  message(STATUS "TLS is left out: MQTTQ_WITH_TLS is ${MQTTQ_WITH_TLS}; tools/setup builds mbedTLS")
endif()
