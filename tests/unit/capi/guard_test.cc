// The edge of the C ABI: exceptions become statuses, and structs of other versions are read or refused.
#include "capi/guard.h"

#include <catch2/catch_test_macros.hpp>
#include <string_view>

namespace mqttq::capi {

namespace {

struct Versioned {
  size_t size;
  uint32_t first;
  uint32_t second;
};
struct Longer {
  Versioned known;
  uint64_t third;  // without padding behind it
};

}  // namespace

TEST_CASE("what is thrown becomes a status with its text", "[capi]") {
  mqttq_error error{};
  error.size = sizeof error;
  CHECK(guard(&error, []() -> mqttq_status { return MQTTQ_OK; }) == MQTTQ_OK);
  CHECK(guard(&error, []() -> mqttq_status { throw std::bad_alloc(); }) == MQTTQ_ENOMEM);
  CHECK(error.status == MQTTQ_ENOMEM);
  CHECK(guard(&error, []() -> mqttq_status { throw std::invalid_argument("limits: too many"); }) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "limits: too many");
  CHECK(guard(&error, []() -> mqttq_status {
          throw std::system_error(EADDRINUSE, std::generic_category(), "listen");
        }) == MQTTQ_EADDRINUSE);
  CHECK(error.system_error == EADDRINUSE);
  CHECK(guard(&error, []() -> mqttq_status { throw std::runtime_error("odd"); }) == MQTTQ_EINTERNAL);
  CHECK(guard(&error, []() -> mqttq_status { throw 5; }) == MQTTQ_EINTERNAL);
  CHECK(guard(nullptr, []() -> mqttq_status { throw std::bad_alloc(); }) == MQTTQ_ENOMEM);
}

TEST_CASE("a text that is too long is cut, and an error of an unknown size is left alone", "[capi]") {
  mqttq_error error{};
  error.size = sizeof error;
  const std::string longest(5'000, 'x');
  CHECK(fail(&error, MQTTQ_EINVAL, longest) == MQTTQ_EINVAL);
  CHECK(std::strlen(error.text) == sizeof error.text - 1);
  mqttq_error unknown{};
  CHECK(fail(&unknown, MQTTQ_EINVAL, "x") == MQTTQ_EINVAL);
  CHECK(unknown.status == 0);
}

TEST_CASE("a shorter struct reads as 0 where it ends, and a longer one is refused unless its rest is 0", "[capi]") {
  Versioned out;
  CHECK(read_struct<Versioned>(nullptr, out));
  CHECK(out.size == sizeof out);
  CHECK(out.first == 0);
  Versioned whole{sizeof whole, 1, 2};
  CHECK(read_struct(&whole, out));
  CHECK((out.first == 1 && out.second == 2));
  Versioned older{offsetof(Versioned, second), 1, 2};
  CHECK(read_struct(&older, out));
  CHECK((out.first == 1 && out.second == 0));
  Versioned none{sizeof(size_t) - 1, 1, 2};
  CHECK_FALSE(read_struct(&none, out));
  Longer newer{{sizeof newer, 1, 2}, 0};
  CHECK(read_struct(&newer.known, out));
  newer.third = 1;
  CHECK_FALSE(read_struct(&newer.known, out));
}

TEST_CASE("_init zeroes as much as the host has", "[capi]") {
  Longer config{{7, 7, 7}, 7};
  init_struct(&config.known, sizeof(Versioned));
  CHECK(config.known.size == sizeof(Versioned));
  CHECK((config.known.first == 0 && config.known.second == 0));
  init_struct<Versioned>(nullptr, sizeof(Versioned));
  init_struct(&config.known, 1);
  CHECK(config.known.size == sizeof(Versioned));
}

}  // namespace mqttq::capi
