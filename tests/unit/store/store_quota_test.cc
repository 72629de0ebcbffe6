// What a store refuses at its quota, and when it is said to have little room.
#include "store/store_quota.h"

#include <catch2/catch_test_macros.hpp>

namespace mqttq {

namespace {

constexpr uint64_t kMiB = 1 << 20;

}  // namespace

TEST_CASE("a store without a quota takes everything", "[store]") {
  StoreQuota quota({});
  quota.set_used(UINT64_MAX);
  CHECK(quota.take(UINT64_MAX, false));
  CHECK_FALSE(quota.full());
  CHECK_FALSE(quota.high());
  CHECK(quota.segment_bytes(123) == 123);
}

TEST_CASE("messages are taken up to the quota, and none before a tenth is free again", "[store]") {
  StoreQuota quota({1000, 80});
  quota.set_used(0);
  CHECK(quota.take(600, false));
  CHECK(quota.take(400, false));  // of one batch
  CHECK_FALSE(quota.take(1, false));
  CHECK(quota.full());
  quota.set_used(1000);
  CHECK(quota.full());
  quota.set_used(900);
  CHECK(quota.full());
  CHECK_FALSE(quota.take(1, false));
  quota.set_used(899);
  CHECK_FALSE(quota.full());
  CHECK(quota.take(101, false));
  CHECK_FALSE(quota.take(1, false));
}

TEST_CASE("a message that is too large for what is left refuses nobody else", "[store]") {
  StoreQuota quota({1600, 80});
  quota.set_used(1499);
  CHECK_FALSE(quota.take(102, false));
  CHECK_FALSE(quota.take(UINT64_MAX, false));
  CHECK_FALSE(quota.full());
  CHECK(quota.take(1, false));
  CHECK_FALSE(quota.take(101, false));  // fifteen sixteenths are taken
  CHECK(quota.full());
}

TEST_CASE("what was promised before has a sixteenth more", "[store]") {
  StoreQuota quota({1600, 80});
  quota.set_used(1600);
  CHECK_FALSE(quota.take(1, false));
  CHECK(quota.take(99, true));
  CHECK(quota.take(1, true));
  CHECK_FALSE(quota.take(1, true));
}

TEST_CASE("the alarm comes before it is full, and ends behind it", "[store]") {
  StoreQuota quota({1000, 80});
  const auto at = [&](uint64_t used) {
    quota.set_used(used);
    return quota.full() ? 2 : quota.high() ? 1 : 0;
  };
  CHECK(at(799) == 0);
  CHECK(at(800) == 1);
  CHECK(at(750) == 1);
  CHECK(at(749) == 0);
  CHECK(at(799) == 0);
  CHECK(at(999) == 1);
  CHECK(at(1000) == 2);
  CHECK(at(900) == 2);
  CHECK(at(899) == 1);
  CHECK(at(0) == 0);
}

TEST_CASE("a disk with little room is told of", "[store]") {
  struct Case {
    uint64_t bytes, least;
  };
  for (const Case& one : {Case{1000 * kMiB, 50 * kMiB}, Case{1000'000 * kMiB, 256 * kMiB}}) {
    StoreQuota quota({});
    quota.set_disk({one.bytes, one.least});
    CHECK_FALSE(quota.high());
    quota.set_disk({one.bytes, one.least - 1});
    CHECK(quota.high());
    CHECK_FALSE(quota.full());
    quota.set_disk({one.bytes, one.least / 4 * 5 - 1});
    CHECK(quota.high());
    quota.set_disk({});  // not known
    CHECK(quota.high());
    quota.set_disk({one.bytes, one.least / 4 * 5});
    CHECK_FALSE(quota.high());
  }
}

TEST_CASE("segments are a sixteenth of the quota at most", "[store]") {
  StoreQuota quota({kMiB, 80});
  CHECK(quota.segment_bytes(64 * kMiB) == 64 * 1024);
  CHECK(quota.segment_bytes(5000) == 5000);
  CHECK(StoreQuota({1, 80}).segment_bytes(5000) == 4096);
}

}  // namespace mqttq
