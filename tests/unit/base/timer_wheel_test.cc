// The timer wheel: never early, at most two ticks late, against a list that is searched.
#include "base/timer_wheel.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <memory>
#include <vector>

#include "base/random.h"

namespace mqttq {

namespace {

constexpr int64_t kTwoTicks = 32 * kMillisecond;

struct TestTimer : Timer {
  static void on_due(Timer& timer, Instant now) noexcept {
    auto& self = static_cast<TestTimer&>(timer);
    ++self.fired;
    self.fired_at = now;
  }
  Instant due{};
  Instant fired_at{};
  int fired = 0;
};

}  // namespace

TEST_CASE("a timer is due after its moment and not before", "[base]") {
  for (const int64_t delay :
       {int64_t{0}, int64_t{1}, 16 * kMillisecond, kSecond, 64 * kSecond, 3'600 * kSecond, 100 * 3'600 * kSecond}) {
    const Instant start{123'456'789};
    TimerWheel wheel(start);
    TestTimer timer;
    wheel.arm(timer, start + delay, TestTimer::on_due);
    CHECK(timer.armed());
    wheel.advance(start + (delay ? delay - 1 : 0));
    CHECK(timer.fired == 0);
    wheel.advance(start + delay + kTwoTicks);
    CHECK(timer.fired == 1);
    CHECK_FALSE(timer.armed());
    wheel.advance(start + delay + 10 * kSecond);
    CHECK(timer.fired == 1);
  }
}

TEST_CASE("a timer that is armed again is moved, and one that is cancelled does not fire", "[base]") {
  TimerWheel wheel({});
  TestTimer moved, cancelled;
  wheel.arm(moved, {kSecond}, TestTimer::on_due);
  wheel.arm(moved, {3 * kSecond}, TestTimer::on_due);
  wheel.arm(cancelled, {kSecond}, TestTimer::on_due);
  cancelled.cancel();
  wheel.advance({2 * kSecond});
  CHECK(moved.fired == 0);
  CHECK(cancelled.fired == 0);
  wheel.advance({4 * kSecond});
  CHECK(moved.fired == 1);
}

TEST_CASE("a timer may arm itself and cancel others when it is due", "[base]") {
  struct Chain : Timer {
    TimerWheel* wheel = nullptr;
    Timer* victim = nullptr;
    int fired = 0;
    static void on_due(Timer& timer, Instant now) noexcept {
      auto& self = static_cast<Chain&>(timer);
      self.victim->cancel();
      if (++self.fired < 5) self.wheel->arm(self, now + kSecond, on_due);
    }
  };
  TimerWheel wheel({});
  TestTimer victim;
  Chain chain;
  chain.wheel = &wheel;
  chain.victim = &victim;
  wheel.arm(chain, {kSecond}, Chain::on_due);
  wheel.arm(victim, {kSecond}, TestTimer::on_due);  // the same slot, behind it
  for (int64_t at = 0; at < 20; ++at) wheel.advance({at * kSecond});
  CHECK(chain.fired == 5);
  CHECK(victim.fired == 0);
}

TEST_CASE("the wheel says when it is not needed, and is not needed before", "[base]") {
  TimerWheel wheel({});
  CHECK(wheel.idle_ns({}) > 0);
  CHECK(wheel.idle_ns({}) <= 1'100 * kMillisecond);
  TestTimer timer;
  for (int64_t due_ms = 1; due_ms < 3'000; due_ms += 37) {
    TimerWheel fresh({});
    fresh.arm(timer, {due_ms * kMillisecond}, TestTimer::on_due);
    Instant now{};
    timer.fired = 0;
    for (int waits = 0; waits < 100 && !timer.fired; ++waits) {
      now = now + fresh.idle_ns(now);
      fresh.advance(now);
    }
    CHECK(timer.fired == 1);
    CHECK(now - Instant{due_ms * kMillisecond} <= kTwoTicks);
    timer.cancel();
  }
}

// Timers of all lengths, moved and cancelled, in a time that goes on by small and by large steps.
TEST_CASE("every timer fires once, never early and at most two ticks late", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 9))));
  Instant now{static_cast<int64_t>(random.below(1'000'000'000'000'000))};
  TimerWheel wheel(now);
  std::vector<std::unique_ptr<TestTimer>> timers;
  for (int i = 0; i < 300; ++i) timers.push_back(std::make_unique<TestTimer>());
  for (int step = 0; step < 1'500; ++step) {
    for (int i = 0; i < 5; ++i) {
      TestTimer& timer = *timers[random.below(timers.size())];
      if (random.below(5) == 0) {
        timer.cancel();
        continue;
      }
      static constexpr int64_t kLengths[] = {100 * kMillisecond, 10 * kSecond, 1'000 * kSecond, 400'000 * kSecond};
      timer.due = now + static_cast<int64_t>(random.below(static_cast<uint64_t>(kLengths[random.below(4)])));
      timer.fired = 0;
      wheel.arm(timer, timer.due, TestTimer::on_due);
    }
    static constexpr int64_t kSteps[] = {kMillisecond, 16 * kMillisecond, kSecond, 300 * kSecond};
    const Instant earlier = now;
    now = now + static_cast<int64_t>(random.below(static_cast<uint64_t>(kSteps[random.below(step % 100 ? 3 : 4)])));
    wheel.advance(now);
    for (const auto& timer : timers) {
      if (timer->armed()) {
        REQUIRE(timer->fired == 0);
        REQUIRE(now - timer->due <= kTwoTicks);
      } else if (timer->fired) {
        REQUIRE(timer->fired == 1);
        REQUIRE(timer->due <= timer->fired_at);
        // It fired in the first advance() that came two ticks after it was due.
        REQUIRE((timer->fired_at != now || earlier - timer->due <= kTwoTicks));
      }
    }
  }
  for (const auto& timer : timers) timer->cancel();
}

}  // namespace mqttq
