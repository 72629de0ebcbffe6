#include "journal/age_marks.h"

#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "base/random.h"

namespace mqttq {

TEST_CASE("a number is old when its age has passed, and a sixty-fourth of it later at most", "[journal]") {
  Random random(3);
  for (const uint32_t age_s : {16u, 64u, 3600u}) {
    AgeMarks marks(age_s);
    const int64_t age_ms = int64_t{age_s} * 1000, step_ms = marks.interval_ms();
    CHECK(step_ms == age_ms / 64);
    CHECK_FALSE(marks.busy());
    std::vector<int64_t> came;  // by number, from 1 on
    uint64_t old = 0;
    size_t gone = 0, marked = 0;
    for (int64_t now = 1'000; now < 4 * age_ms; now += step_ms) {
      if (now < 3 * age_ms) {
        for (uint64_t i = random.below(4); i; --i) {
          came.push_back(now);
          marks.note(came.size());
        }
      }
      marked += marks.mark(now);
      const uint64_t before = old;
      const bool more = marks.advance(now, [&](int64_t) { ++gone; });
      old = marks.old();
      REQUIRE(more == (old != before));
      REQUIRE(old >= before);
      REQUIRE(old <= came.size());
      if (old) REQUIRE(now - came[old - 1] >= age_ms);
      if (old < came.size()) REQUIRE(now - came[old] < age_ms + step_ms);
    }
    CHECK(old == came.size());
    CHECK(gone == marked);
    CHECK_FALSE(marks.busy());
  }
}

TEST_CASE("without an age nothing gets old", "[journal]") {
  AgeMarks marks(0);
  marks.note(5);
  CHECK_FALSE(marks.on());
  CHECK_FALSE(marks.busy());
}

TEST_CASE("marks go on from those of an earlier life", "[journal]") {
  AgeMarks marks(10);
  REQUIRE(marks.restore(1'000, 5));
  REQUIRE(marks.restore(4'000, 9));
  marks.note(12);  // came behind them: nobody knows when
  CHECK(marks.busy());
  CHECK(marks.mark(8'000));
  CHECK_FALSE(marks.mark(9'000));
  CHECK_FALSE(marks.advance(10'999, [](int64_t) {}));
  CHECK(marks.old() == 0);
  CHECK(marks.advance(11'000, [](int64_t at) { CHECK(at == 1'000); }));
  CHECK(marks.old() == 5);
  CHECK(marks.advance(17'999, [](int64_t at) { CHECK(at == 4'000); }));
  CHECK(marks.old() == 9);
  CHECK(marks.advance(18'000, [](int64_t) {}));
  CHECK(marks.old() == 12);
  CHECK_FALSE(marks.busy());
}

}  // namespace mqttq
