// When the messages of a queue came, by few marks.
#include "queue/arrivals.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <deque>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

TEST_CASE("the first message of all has a mark, and those of the same moment share it", "[queue]") {
  Arrivals arrivals;
  CHECK(arrivals.empty());
  arrivals.note(1000, 5);
  arrivals.note(1009, 6);
  CHECK(arrivals.count() == 1);
  arrivals.note(1010, 7);
  REQUIRE(arrivals.count() == 2);
  CHECK(arrivals[1].at_ms == 1010);
  CHECK(arrivals[1].number == 7);
  CHECK(arrivals.oldest_ms() == 1000);
}

TEST_CASE("messages are old once they have been there for the whole of an age", "[queue]") {
  Arrivals arrivals;
  CHECK(arrivals.old_below(5000, 100) == 0);
  arrivals.note(1000, 5);
  arrivals.note(2000, 8);
  CHECK(arrivals.old_below(1099, 100) == 0);
  CHECK(arrivals.old_below(1100, 100) == 8);
  CHECK(arrivals.old_below(2099, 100) == 8);
  CHECK(arrivals.old_below(2100, 100) == UINT64_MAX);
}

TEST_CASE("marks go with the messages that they are of", "[queue]") {
  Arrivals arrivals;
  for (uint64_t i = 0; i < 5; ++i) arrivals.note(1000 + 100 * static_cast<int64_t>(i), 10 + 10 * i);
  arrivals.forget_before(19);
  CHECK(arrivals.oldest_ms() == 1000);
  arrivals.forget_before(20);
  CHECK(arrivals.oldest_ms() == 1100);
  arrivals.forget_before(45);
  CHECK(arrivals.oldest_ms() == 1300);
  arrivals.forget_before(1000);
  CHECK(arrivals.count() == 1);  // the last stays: there may be more behind it
  CHECK(arrivals.oldest_ms() == 1400);
  arrivals.clear();
  CHECK(arrivals.empty());
}

TEST_CASE("a clock that goes back makes no message younger than the one before it", "[queue]") {
  Arrivals arrivals;
  arrivals.note(1000, 1);
  arrivals.note(2000, 2);
  arrivals.note(500, 3);
  arrivals.note(2005, 4);
  CHECK(arrivals.count() == 2);
  arrivals.note(2020, 5);
  CHECK(arrivals[2].number == 5);
}

TEST_CASE("without memory a message came when the one before it did", "[queue]") {
  Arrivals arrivals;
  arrivals.note(1000, 1);
  uint64_t number = 1;
  {
    FailingHeap none(0);
    for (; number < 20; ++number) arrivals.note(1000 + 100 * static_cast<int64_t>(number), number + 1);
  }
  CHECK(arrivals.count() < 20);
  CHECK(arrivals.oldest_ms() == 1000);
  CHECK(arrivals.old_below(100'000, 1) == UINT64_MAX);
}

// While none is taken out: are messages called as old as they are, or older by no more than this part of the time that
// the oldest has waited?
static bool tells_age(uint64_t seed, int64_t part) {
  Random random(seed);
  Arrivals arrivals;
  std::deque<int64_t> came;  // of numbers 1, 2, …
  int64_t now = 1'000'000;
  uint64_t scale = 1;
  for (uint64_t number = 1; number <= 3000; ++number) {
    if (random.below(100) == 0) scale = uint64_t{1} << random.below(20);
    now += static_cast<int64_t>(random.below(scale));
    arrivals.note(now, number);
    came.push_back(now);
    REQUIRE(arrivals.count() <= Arrivals::kMarksMax);
    REQUIRE(arrivals.oldest_ms() == came.front());
    if (number % 50) continue;
    const int64_t waited = now - came.front(), error = std::max<int64_t>(10, waited / part + 1);
    for (const int64_t age : {int64_t{1}, waited / 100, waited / 7, waited / 2, waited, waited + 1}) {
      const uint64_t below = arrivals.old_below(now, age);
      for (uint64_t one = 1; one <= number; ++one) {
        const int64_t is = now - came[one - 1];
        if (is >= age) REQUIRE(one < below);
        if (one < below && is < age - error) return false;
      }
    }
  }
  return true;
}

TEST_CASE("few marks tell the age of any number of messages", "[queue]") {
  CHECK(tells_age(static_cast<uint64_t>(GENERATE(range(1, 9))), 20));
}

// As arrivals.h has it. It is half as much again: what lay between a mark that was thinned out and the next one is
// called as old as the mark before.
TEST_CASE("few marks tell the age of any number of messages to a thirty-second", "[queue]") { CHECK(tells_age(1, 32)); }

// A queue that had a long backlog once, and is close behind now.
TEST_CASE("marks are as close again as the time asks for that the oldest message has waited", "[queue]") {
  Arrivals arrivals;
  constexpr int64_t kHour = 3'600'000;
  uint64_t number = 0;
  int64_t now = 0;
  for (; number < 70; now += kHour) arrivals.note(now, ++number);
  arrivals.forget_before(number);
  for (int i = 0; i < 3; ++i) {  // one each half an hour, which is there alone
    arrivals.note(now, ++number);
    arrivals.forget_before(number);
    CHECK(arrivals.oldest_ms() >= now - 10);
    now += kHour / 2;
  }
}

}  // namespace mqttq
