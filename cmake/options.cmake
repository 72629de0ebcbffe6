# Every option of the build. Each can be set by whoever embeds the library; the presets choose for daily work.

option(MQTTQ_BUILD_TESTS "Build the tests (needs Catch2 3)" ${PROJECT_IS_TOP_LEVEL})
option(MQTTQ_BUILD_EXAMPLES "Build mqttq-server, mqttq-inspect and the embedding example" ${PROJECT_IS_TOP_LEVEL})
option(MQTTQ_BUILD_BENCH "Build the programs in bench/" OFF)
option(MQTTQ_BUILD_FUZZ "Build the libFuzzer targets (needs Clang); their replays belong to the tests" OFF)
option(MQTTQ_INSTALL "Make the install rules" ${PROJECT_IS_TOP_LEVEL})
option(MQTTQ_LTO "Optimise across files at link time" OFF)
option(MQTTQ_WARNINGS "Turn on the warnings that the project keeps at zero" ${PROJECT_IS_TOP_LEVEL})
option(MQTTQ_SHARED_FMT "Link libfmt instead of compiling it into each file: for builds that stay on this machine" OFF)
option(MQTTQ_COVERAGE "Count executed lines for gcov" OFF)

set(MQTTQ_SANITIZE "" CACHE STRING "Sanitizers: empty, address+undefined, or thread")
set_property(CACHE MQTTQ_SANITIZE PROPERTY STRINGS "" "address+undefined" "thread")

# AUTO leaves TLS out, and says so, where mbedTLS is not found; ON stops instead.
set(MQTTQ_WITH_TLS "AUTO" CACHE STRING "TLS by mbedTLS 3.6: AUTO, ON or OFF")
set_property(CACHE MQTTQ_WITH_TLS PROPERTY STRINGS AUTO ON OFF)

# The same for keys of queues that lie in JSON payloads.
set(MQTTQ_WITH_JSON "AUTO" CACHE STRING "Keys in JSON payloads, by simdjson: AUTO, ON or OFF")
set_property(CACHE MQTTQ_WITH_JSON PROPERTY STRINGS AUTO ON OFF)

# The same for the example of a store of the host's own, which is no part of the library.
set(MQTTQ_WITH_SQLITE "AUTO" CACHE STRING "examples/sqlite-store: AUTO, ON or OFF")
set_property(CACHE MQTTQ_WITH_SQLITE PROPERTY STRINGS AUTO ON OFF)

# Where tools/setup puts what it builds itself.
set(MQTTQ_DEPS_DIR "${PROJECT_SOURCE_DIR}/build/deps" CACHE PATH "Prefixes of libraries built by tools/setup")
