# Finds mbedTLS as tools/setup builds it, or another build of 3.6 that has its locks.
#
# Gives MbedTLS_FOUND, MbedTLS_VERSION and the targets MbedTLS::mbedtls, MbedTLS::mbedx509 and MbedTLS::mbedcrypto.
# A build without MBEDTLS_THREADING_C is refused: several shards would share its state without a lock.

find_path(MbedTLS_INCLUDE_DIR mbedtls/build_info.h HINTS "${MQTTQ_DEPS_DIR}/mbedtls" PATH_SUFFIXES include)
foreach(part IN ITEMS mbedtls mbedx509 mbedcrypto)
  find_library(MbedTLS_${part}_LIBRARY ${part} HINTS "${MQTTQ_DEPS_DIR}/mbedtls" PATH_SUFFIXES lib)
endforeach()
mark_as_advanced(MbedTLS_INCLUDE_DIR MbedTLS_mbedtls_LIBRARY MbedTLS_mbedx509_LIBRARY MbedTLS_mbedcrypto_LIBRARY)

if(MbedTLS_INCLUDE_DIR)
  file(STRINGS "${MbedTLS_INCLUDE_DIR}/mbedtls/build_info.h" version_line REGEX "MBEDTLS_VERSION_STRING +\"")
  string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" MbedTLS_VERSION "${version_line}")

  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_INCLUDES "${MbedTLS_INCLUDE_DIR}")
  set(CMAKE_REQUIRED_QUIET ON)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  check_c_source_compiles("#include <mbedtls/build_info.h>
    #ifndef MBEDTLS_THREADING_C
    #error built without locks
    #endif
    int mqttq_threading;" MbedTLS_HAS_THREADING)
  unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
  unset(CMAKE_REQUIRED_QUIET)
  unset(CMAKE_REQUIRED_INCLUDES)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MbedTLS
  REQUIRED_VARS MbedTLS_mbedtls_LIBRARY MbedTLS_mbedx509_LIBRARY MbedTLS_mbedcrypto_LIBRARY MbedTLS_INCLUDE_DIR
                MbedTLS_HAS_THREADING
  VERSION_VAR MbedTLS_VERSION)

if(MbedTLS_FOUND AND NOT TARGET MbedTLS::mbedtls)
  foreach(part IN ITEMS mbedcrypto mbedx509 mbedtls)
    add_library(MbedTLS::${part} UNKNOWN IMPORTED)
    set_target_properties(MbedTLS::${part} PROPERTIES
      IMPORTED_LOCATION "${MbedTLS_${part}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${MbedTLS_INCLUDE_DIR}")
  endforeach()
  target_link_libraries(MbedTLS::mbedcrypto INTERFACE Threads::Threads)
  target_link_libraries(MbedTLS::mbedx509 INTERFACE MbedTLS::mbedcrypto)
  target_link_libraries(MbedTLS::mbedtls INTERFACE MbedTLS::mbedx509)
endif()
