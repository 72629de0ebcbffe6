# The libraries that we are a host to. Which source file may use which is kept by tools/check_includes.py.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb>=0.9.24)

# Used as headers, so that neither of our libraries makes its host link fmt.
find_package(fmt 9 REQUIRED)

# For the configuration file of mqttq-server.
if(MQTTQ_BUILD_EXAMPLES)
  find_package(simdjson 3 REQUIRED)
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
