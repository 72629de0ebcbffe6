// Load averages against their definition, and against sums that can be done by hand.
#include "session/load_average.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

namespace mqttq {

using Catch::Approx;

TEST_CASE("a load average is 0 at its start, and until time has passed", "[session]") {
  const Instant start{500 * kSecond};
  LoadAverage load(start);
  for (size_t window = 0; window < LoadAverage::kMinutes.size(); ++window) CHECK(load.per_minute(window) == 0);
  load.update(100, start);
  CHECK(load.per_minute(0) == 0);
  // What came in no time is not lost: it belongs to the time that follows.
  load.update(100, start + 60 * kSecond);
  CHECK(load.per_minute(0) == Approx(100 * (1 - std::exp(-1.0))));
}

TEST_CASE("one step goes the part of the way to the new rate that its length is due", "[session]") {
  const Instant start{7};
  LoadAverage load(start);
  load.update(30, start + 10 * kSecond);  // 180 a minute
  CHECK(load.per_minute(0) == Approx(180 * (1 - std::exp(-1.0 / 6))));
  CHECK(load.per_minute(1) == Approx(180 * (1 - std::exp(-1.0 / 30))));
  CHECK(load.per_minute(2) == Approx(180 * (1 - std::exp(-1.0 / 90))));
}

TEST_CASE("a steady rate is reached, sooner by the shorter window", "[session]") {
  const Instant start{};
  LoadAverage load(start);
  for (int i = 1; i <= 60; ++i) load.update(static_cast<uint64_t>(20 * i), start + i * 10 * kSecond);  // 10 minutes
  CHECK(load.per_minute(0) == Approx(120).margin(0.01));
  CHECK(load.per_minute(1) == Approx(120 * (1 - std::exp(-2.0))));
  CHECK(load.per_minute(2) == Approx(120 * (1 - std::exp(-10.0 / 15))));
}

TEST_CASE("when nothing more happens, the average falls to 1/e in its window", "[session]") {
  const Instant start{};
  LoadAverage load(start);
  load.update(1000, start + 10 * kSecond);
  const double before[] = {load.per_minute(0), load.per_minute(1), load.per_minute(2)};
  Instant now = start + 10 * kSecond;
  for (int second = 1; second <= 900; ++second) {
    load.update(1000, now + second * kSecond);
    if (second == 60) CHECK(load.per_minute(0) == Approx(before[0] / std::exp(1.0)));
    if (second == 300) CHECK(load.per_minute(1) == Approx(before[1] / std::exp(1.0)));
  }
  CHECK(load.per_minute(2) == Approx(before[2] / std::exp(1.0)));
}

TEST_CASE("how often a steady rate is looked at does not matter", "[session]") {
  const Instant start{3 * kSecond};
  LoadAverage often(start), seldom(start);
  for (int i = 1; i <= 1200; ++i) often.update(static_cast<uint64_t>(i), start + i * 100 * kMillisecond);
  seldom.update(1200, start + 120 * kSecond);
  for (size_t window = 0; window < 3; ++window) {
    CHECK(often.per_minute(window) == Approx(seldom.per_minute(window)));
  }
}

}  // namespace mqttq
