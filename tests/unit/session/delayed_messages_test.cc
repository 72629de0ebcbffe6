// Messages that wait for their time.
#include "session/delayed_messages.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

struct DelayedTest final : DelayedMessages::Taker {
  Limits limits;
  DelayedTotals totals;
  TimerWheel timers{Instant{}};
  std::vector<std::string> published;
  bool takes = true;
  uint64_t next_serial = 0;
  uint32_t ended = 0;
  DelayedMessages delayed{limits, totals, timers, *this};

  bool publish_delayed(const MessageRef& message, Instant) noexcept override {
    if (takes) published.emplace_back(message->topic_name());
    return takes;
  }
  void on_delayed_ended(uint64_t) noexcept override { ++ended; }

  explicit DelayedTest(const Limits& of = {}) : limits(of) {}

  Status add(std::string_view topic, int64_t due_s, NamespaceId in = 0, std::string_view client_id = "c") {
    MessageView view;
    view.namespace_id = in;
    view.topic_name = topic;
    MovingMessage message(view);
    return delayed.add(message, client_id, Instant{due_s * kSecond}, next_serial++);
  }
  // All turns that the moment brings.
  std::vector<std::string> at(int64_t now_s) {
    const Instant now{now_s * kSecond + 50 * kMillisecond};  // a timer is two ticks late at most
    timers.advance(now);
    while (delayed.run(now)) {}
    return std::exchange(published, {});
  }
};

using Topics = std::vector<std::string>;

}  // namespace

TEST_CASE("messages leave in the order of their times, and of their coming", "[session][MQTT-4.6.0-6]") {
  DelayedTest test;
  for (const char* topic : {"b1", "b2"}) REQUIRE(test.add(topic, 20) == Status::Ok);
  REQUIRE(test.add("a", 10) == Status::Ok);
  REQUIRE(test.add("b3", 20) == Status::Ok);
  CHECK(test.at(9) == Topics{});
  CHECK(test.at(10) == Topics{"a"});
  CHECK(test.at(30) == Topics{"b1", "b2", "b3"});
  CHECK(test.totals.messages == 0);
  CHECK(test.totals.bytes == 0);
}

TEST_CASE("ten thousand of them, some cancelled, leave as a sorted list would", "[session]") {
  DelayedTest test;
  Random random(7);
  struct Expected {
    int64_t due_s;
    size_t serial;
  };
  std::vector<Expected> expected;
  for (size_t i = 0; i < 10'000; ++i) {
    const auto due_s = static_cast<int64_t>(1 + random.below(100));
    REQUIRE(test.add(std::to_string(i), due_s) == Status::Ok);
    expected.push_back({due_s, i});
  }
  std::vector<bool> cancelled(expected.size());
  for (uint32_t i = 0; i < test.delayed.index_end(); ++i) {
    DelayedMessage* one = test.delayed.at(i);
    if (!one || random.below(3)) continue;
    cancelled[std::stoul(std::string(one->message->topic_name()))] = true;
    CHECK(test.delayed.cancel(0, DelayedMessages::handle(*one)));
  }
  std::erase_if(expected, [&](const Expected& one) { return cancelled[one.serial]; });
  std::stable_sort(expected.begin(), expected.end(), [](auto& one, auto& other) { return one.due_s < other.due_s; });
  Topics topics;
  for (const Expected& one : expected) topics.push_back(std::to_string(one.serial));
  CHECK(test.at(200) == topics);
  CHECK(test.totals.bytes == 0);
}

TEST_CASE("one is cancelled once, before its time, in its own namespace", "[session]") {
  DelayedTest test;
  REQUIRE(test.add("x", 10, 3) == Status::Ok);
  const SlabHandle handle = DelayedMessages::handle(*test.delayed.at(0));
  CHECK_FALSE(test.delayed.cancel(0, handle));
  CHECK(test.delayed.cancel(3, handle));
  CHECK_FALSE(test.delayed.cancel(3, handle));
  REQUIRE(test.add("y", 10, 3) == Status::Ok);  // in its place
  CHECK_FALSE(test.delayed.cancel(3, handle));
  CHECK(test.at(10) == Topics{"y"});
}

TEST_CASE("they are bounded in number and bytes, over all shards", "[session]") {
  Limits limits;
  limits.delayed_messages_max = 2;
  limits.delayed_bytes_max = 10;
  DelayedTest test(limits);
  CHECK(test.add("12345678901", 1) == Status::Full);
  CHECK(test.add("123456789", 1) == Status::Ok);  // and a client id of one byte
  CHECK(test.add("x", 1, 0, "") == Status::Full);
  CHECK(test.totals.full(limits));
  CHECK(test.at(1) == Topics{"123456789"});
  CHECK(test.add("a", 2) == Status::Ok);
  test.totals.messages.fetch_add(1);  // another shard's
  CHECK(test.add("b", 2) == Status::Full);
  test.totals.messages.fetch_sub(1);
  CHECK(test.add("b", 2) == Status::Ok);
  CHECK(test.add("c", 2) == Status::Full);

  limits.delayed_messages_max = 0;
  DelayedTest none(limits);
  CHECK(none.add("a", 1) == Status::Full);
}

TEST_CASE("what cannot be published yet stays first", "[session]") {
  DelayedTest test;
  REQUIRE(test.add("a", 1) == Status::Ok);
  REQUIRE(test.add("b", 1) == Status::Ok);
  test.takes = false;
  CHECK(test.at(1) == Topics{});
  REQUIRE(test.add("c", 1) == Status::Ok);  // in the past by now
  test.takes = true;
  CHECK(test.at(1) == Topics{"a", "b", "c"});
  REQUIRE(test.add("d", 2) == Status::Ok);
  CHECK(test.at(2) == Topics{"d"});
}

TEST_CASE("a turn publishes so many and no more", "[session]") {
  DelayedTest test;
  for (int i = 0; i < 2'500; ++i) REQUIRE(test.add("x", 1) == Status::Ok);
  test.timers.advance(Instant{2 * kSecond});
  CHECK(test.delayed.run(Instant{2 * kSecond}));
  CHECK(test.published.size() == 1'000);
  CHECK(test.at(2).size() == 2'500);
}

TEST_CASE("a delay refused for want of memory changes nothing", "[session]") {
  for (int64_t k = 0;; ++k) {
    DelayedTest test;
    const int64_t before = heap_blocks();
    Status status;
    {
      const FailingHeap failing(k);
      status = test.add("topic", 1);
    }
    if (status == Status::Ok) {
      CHECK(k > 2);
      break;
    }
    CHECK(status == Status::NoMemory);
    CHECK(test.delayed.count() == 0);
    CHECK(test.totals.bytes == 0);
    CHECK(heap_blocks() <= before + 3);  // room for the next ones
    CHECK(test.at(1) == Topics{});
  }
}

TEST_CASE("seconds are a stretch of time, and from 42 949 670 on a Unix time", "[session]") {
  const auto delay = [](uint64_t seconds, uint32_t longest_s = kDelayMax_s, Instant now = {500 * kMillisecond}) {
    DelayedTopic topic;
    topic.seconds = seconds;
    return delay_ns(topic, longest_s, now, 1'700'000'000'000);
  };
  CHECK(delay(0) == 0);
  CHECK(delay(10) == 10 * kSecond);
  CHECK(delay(42'949'669) == 42'949'669 * kSecond);
  CHECK(delay(11, 10) == -1);
  CHECK(delay(1'700'000'010) == 9'500 * kMillisecond);
  CHECK(delay(1'700'000'011, 10) == -1);
  CHECK(delay(1'700'000'000) == 0);  // has passed
  CHECK(delay(42'949'670) == 0);
  CHECK(delay(UINT64_MAX) == -1);
  CHECK(delay(1'700'000'010, kDelayMax_s, {500'000'001}) == 9'500 * kMillisecond - 1);  // the same instant
}

}  // namespace mqttq
