// What a queue holds at most: messages, bytes, and for how long.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "queue/queues.h"

namespace mqttq {

namespace {

QueueOptions holding(uint64_t messages_max, QueueOverflow overflow = QueueOverflow::DropOldest,
                     uint64_t bytes_max = 0) {
  QueueOptions options = QueueTest::plain();
  options.messages_max = messages_max;
  options.bytes_max = bytes_max;
  options.overflow = overflow;
  return options;
}
QueueOptions for_s(uint32_t age_max_s) {
  QueueOptions options = QueueTest::plain();
  options.age_max_s = age_max_s;
  return options;
}

}  // namespace

// --- messages and bytes

TEST_CASE_METHOD(QueueTest, "the oldest that waits makes way for a newer one", "[queue]") {
  Queue& queue = declare(holding(3));
  publish(5);
  CHECK(depth(queue) == 3);
  CHECK(queue.work->figures.dropped == 2);
  CHECK(queue.work->figures.entered == 5);
  join(queue, 1);
  CHECK(courier.take() == Texts{"1:3", "1:4", "1:5"});
}

TEST_CASE_METHOD(QueueTest, "what came back makes way before what never went, and what consumers have last",
                 "[queue]") {
  Queue& queue = declare(holding(4));
  const MemberId one = join(queue, 1, there(2)), two = join(queue, 2, there(2));
  publish(4);
  CHECK(courier.take() == Texts{"1:1", "2:2", "1:3", "2:4"});
  queues.set_state(two, kAway, now);
  give_up(two, {2});
  publish(1);  // the second message has gone for it
  CHECK(record() == "q@5: 1* 2. 3* 4*");
  publish(1);  // and now the fifth, which waits
  CHECK(depth(queue) == 4);
  CHECK(record() == "q@6: 1* 3* 4*");
  publish(1);
  CHECK(depth(queue) == 4);
  queues.purge(queue, now);
  QueueOptions options = holding(2);
  REQUIRE(queues.set_options(queue, options, {}, now) == Status::Ok);
  CHECK(record() == "q@8: 1. 3* 4*");
  // He who had it settles it to no effect, and has room for another.
  CHECK(queue.work->figures.dropped == 4);
  done(one, {1});
  CHECK(queue.work->figures.settled == 0);
  done(two, {4});
  publish(1);
  CHECK(courier.take() == Texts{"1:8"});
}

TEST_CASE_METHOD(QueueTest, "the bound in bytes is of topics, properties and payloads", "[queue]") {
  Queue& queue = declare(holding(0, QueueOverflow::DropOldest, 30));
  publish(message("0123456789"));
  publish(message("0123456789"));
  CHECK(queue.bytes() == 22);
  publish(message("0123456"));
  CHECK(queue.bytes() == 30);
  publish(message(""));
  CHECK(queue.bytes() == 20);
  CHECK(depth(queue) == 3);
  CHECK(queue.work->figures.dropped == 1);
}

// Neither it nor what makes way for it in vain.
TEST_CASE_METHOD(QueueTest, "a message that is larger than the bound by itself costs no other message", "[queue]") {
  Queue& queue = declare(holding(0, QueueOverflow::DropOldest, 30));
  publish(message("0123456789"));
  publish(message("0123456789"));
  publish(message(std::string(30, 'x')));
  REQUIRE(queue.bytes() <= 30);
  CHECK(depth(queue) == 2);
}

TEST_CASE_METHOD(QueueTest, "a queue that refuses is at its bound and never over it", "[queue]") {
  Queue& queue = declare(holding(3, GENERATE(QueueOverflow::Reject, QueueOverflow::DropNewest)));
  const MemberId one = join(queue, 1, there(1));
  publish(5);
  CHECK(depth(queue) == 3);
  CHECK(queue.filter->gate().refused_count() == 2);
  CHECK(queue.work->figures.entered == 3);
  CHECK(queue.work->figures.dropped == 0);
  reject(one, {1});  // it is in the queue all the same
  publish(1);
  CHECK(depth(queue) == 3);
  done(one, {2});
  publish(2);
  CHECK(depth(queue) == 3);
  queues.purge(queue, now);
  publish(3);
  CHECK(depth(queue) == 3);
  CHECK(queue.filter->gate().refused_count() == 5);
}

TEST_CASE_METHOD(QueueTest, "a queue that refuses has no message that is larger than its bound", "[queue]") {
  Queue& queue = declare(holding(0, QueueOverflow::Reject, 30));
  publish(message(std::string(30, 'x')));
  CHECK(depth(queue) == 0);
  publish(message(std::string(29, 'x')));
  CHECK(depth(queue) == 1);
}

TEST_CASE_METHOD(QueueTest, "no limit is no limit", "[queue]") {
  Queue& queue = declare(holding(0, GENERATE(QueueOverflow::Reject, QueueOverflow::DropOldest)));
  publish(100);
  CHECK(depth(queue) == 100);
}

TEST_CASE_METHOD(QueueTest, "what no longer fits when limits are lowered is dropped", "[queue]") {
  Queue& queue = declare(holding(0));
  publish(message("0123456789"));
  publish(4);
  REQUIRE(queues.set_options(queue, holding(0, QueueOverflow::DropOldest, 7), {}, now) == Status::Ok);
  CHECK(queue.bytes() == 6);
  REQUIRE(queues.set_options(queue, holding(2), {}, now) == Status::Ok);
  CHECK(depth(queue) == 2);
  CHECK(queue.work->figures.dropped == 3);
  REQUIRE(queues.set_options(queue, holding(3), {}, now) == Status::Ok);
  publish(2);
  CHECK(depth(queue) == 3);
  CHECK(courier.recorded == Texts{"q", "q", "q", "q"});
}

TEST_CASE_METHOD(QueueTest, "what no longer fits into a queue that refuses is dropped when limits are lowered",
                 "[queue]") {
  const auto overflow = QueueOverflow::Reject;
  Queue& queue = declare(holding(0, overflow));
  publish(4);
  REQUIRE(queues.set_options(queue, holding(2, overflow), {}, now) == Status::Ok);
  CHECK(depth(queue) == 2);
}

// It was let in while the oldest was to make way for it.
TEST_CASE_METHOD(QueueTest,
                 "what is on its way to a queue that is to refuse from now on does not fit in beside the rest",
                 "[queue]") {
  Queue& queue = declare(holding(2));
  publish(2);
  const RouteRef route = router.match(0, "t");
  const MessageRef kept = Message::create(message("3"));
  REQUIRE(route->queues()[0]->gate().enter(kept->content_size()));
  REQUIRE(queues.set_options(queue, holding(2, QueueOverflow::Reject), {}, now) == Status::Ok);
  append(kept, *route, {});
  CHECK(queue.depth() == 2);
}

// --- age

TEST_CASE_METHOD(QueueTest, "a message is dropped when it has been there for long enough", "[queue]") {
  Queue& queue = declare(for_s(60));
  publish(1);
  pass_ms(30'000);
  publish(1);
  pass_ms(29'999);
  CHECK(depth(queue) == 2);
  pass_surely_ms(1);
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.expired == 1);
  pass_surely_ms(30'000);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.expired == 2);
  record();
  publish(1);
  pass_surely_ms(60'000);
  CHECK(depth(queue) == 0);
}

TEST_CASE_METHOD(QueueTest, "no message is handed out that is too old, though the clock has not been looked at",
                 "[queue]") {
  Queue& queue = declare(for_s(60));
  publish(1);
  now = now + 60 * kSecond;
  join(queue, 1);
  CHECK(courier.take().empty());
  CHECK(depth(queue) == 0);
}

TEST_CASE_METHOD(QueueTest, "what a consumer has may be older, and is looked at when it comes back", "[queue]") {
  Queue& queue = declare(for_s(60));
  const MemberId one = join(queue, 1, there(2));
  publish(2);
  pass_surely_ms(60'000);
  CHECK(depth(queue) == 2);
  done(one, {1});
  CHECK(queue.work->figures.settled == 1);
  give_up(one, {2});
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.expired == 1);
}

TEST_CASE_METHOD(QueueTest, "the age limit may be set, lowered and taken away", "[queue]") {
  Queue& queue = declare(for_s(0));
  publish(1);
  pass_ms(10'000);
  publish(1);
  pass_ms(50'000);
  REQUIRE(queues.set_options(queue, for_s(60), {}, now) == Status::Ok);
  CHECK(depth(queue) == 1);
  REQUIRE(queues.set_options(queue, for_s(0), {}, now) == Status::Ok);
  pass_ms(60'000);
  CHECK(depth(queue) == 1);
  REQUIRE(queues.set_options(queue, for_s(120), {}, now) == Status::Ok);
  pass_surely_ms(10'000);
  CHECK(depth(queue) == 0);
}

// Each second one, over an hour: none is there for longer than the limit, and none leaves more than a thirty-second
// before it.
TEST_CASE_METHOD(QueueTest, "a message leaves for its age at most a thirty-second too early", "[queue]") {
  Queue& queue = declare(for_s(640));
  for (int second = 1; second <= 3600; ++second) {
    publish(1);
    pass_ms(1000);
    record();
    const auto least = static_cast<uint64_t>(std::min(second, 620)),
               most = static_cast<uint64_t>(std::min(second, 640));
    REQUIRE(queue.depth() >= least);
    REQUIRE(queue.depth() <= most);
  }
  CHECK(depth(queue) + queue.work->figures.expired == 3600);
}

// A consumer has an old message all the while, so that the queue is never empty.
TEST_CASE_METHOD(QueueTest, "what comes behind a message that is too old and still with a consumer leaves in time too",
                 "[queue]") {
  Queue& queue = declare(for_s(60));
  join(queue, 1, there(1));
  publish(1);
  pass_surely_ms(60'000);
  publish(1);
  pass_surely_ms(60'000);
  CHECK(depth(queue) == 1);
}

// Its timer was last set for the one before it, which is gone and not recorded yet.
TEST_CASE_METHOD(QueueTest, "what comes just behind a message that was too old leaves in time too", "[queue]") {
  Queue& queue = declare(for_s(60));
  publish(1);
  pass_surely_ms(60'000);
  REQUIRE(depth(queue) == 0);
  publish(1);
  record();
  pass_surely_ms(60'000);
  CHECK(depth(queue) == 0);
}

// Else it is written each 50 ms, for as long as he has it.
TEST_CASE_METHOD(QueueTest, "a queue of which a consumer has an old message is not recorded again and again",
                 "[queue]") {
  Queue& queue = declare(for_s(60));
  join(queue, 1);
  publish(1);
  pass_surely_ms(60'000);
  record();
  record();
  REQUIRE(depth(queue) == 1);
  CHECK(record() == "");
}

// The marks of what came in long intervals are far apart, and are so still when the limit is lowered.
TEST_CASE_METHOD(QueueTest, "a message that has just come is not old, whatever limit the queue had before", "[queue]") {
  Queue& queue = declare(for_s(0));
  const MemberId one = join(queue, 1);
  for (int hour = 0; hour < 69; ++hour) {
    publish(1);
    pass_ms(3'600'000);
  }
  for (uint64_t settled = 1; settled < 69; ++settled) done(one, {settled});
  record();
  REQUIRE(queues.set_options(queue, for_s(60), {}, now) == Status::Ok);
  queues.set_state(one, kAway, now);
  publish(1);
  CHECK(queue.work->figures.expired == 0);
  queues.set_state(one, kThere, now);
  CHECK(courier.take().back() == "1:70");
}

}  // namespace mqttq
