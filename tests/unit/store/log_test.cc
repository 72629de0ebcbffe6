// The log that keeps nothing: what it took is as durable as the process.
#include "store/log.h"

#include <catch2/catch_test_macros.hpp>

namespace mqttq {

TEST_CASE("a volatile log is durable as far as it was appended to", "[store]") {
  VolatileLog log;
  CHECK(log.durable_number() == 0);
  const LogRecord records[] = {{1, {}}, {2, {}}, {5, {}}};
  CHECK(log.append({records, 2}) == Status::Ok);
  CHECK(log.durable_number() == 2);
  CHECK(log.append({}) == Status::Ok);
  CHECK(log.durable_number() == 2);
  CHECK(log.append({records + 2, 1}) == Status::Ok);
  CHECK(log.durable_number() == 5);
}

}  // namespace mqttq
