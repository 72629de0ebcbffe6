// What is recorded of a queue, how it comes back, what is read again, and memory that is refused.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "heap.h"
#include "queue/queues.h"

namespace mqttq {

namespace {

// Found by its number, or not.
void found(Ring<FetchedMessage>& messages, uint64_t number, Status status = Status::Ok) {
  FetchedMessage one{.number = number, .status = status};
  if (status == Status::Ok) one.message = Message::create(QueueTest::message(std::to_string(number)));
  REQUIRE(messages.push_back(std::move(one)));
}

}  // namespace

// --- what is recorded

TEST_CASE_METHOD(QueueTest, "recorded are a queue's place and what is open before it, when they have changed",
                 "[queue]") {
  declare(plain(), "quiet", "u");
  Queue& queue = declare();
  CHECK(courier.recorded == Texts{"quiet", "q"});
  const MemberId one = join(queue, 1, there(2));
  CHECK(courier.changes == 0);
  publish(3);
  CHECK(courier.changes > 0);
  CHECK(record() == "q@3: 1* 2*");
  CHECK(record() == "");
  done(one, {1});
  CHECK(record() == "q@4: 1. 2* 3*");
  reject(one, {3});
  done(one, {2});
  CHECK(record() == "q@4: 2. 3");
  CHECK(record(true).find("quiet@4:") != std::string::npos);
}

TEST_CASE_METHOD(QueueTest, "what is settled is needed until that is recorded", "[queue]") {
  Queue& queue = declare();
  CHECK(queues.lowest_number(number) == 1);
  const MemberId one = join(queue, 1, there(3));
  publish(5);
  CHECK(queues.lowest_number(number) == 1);
  done(one, {1, 2});
  CHECK(queues.lowest_number(number) == 1);
  record();
  CHECK(queues.lowest_number(number) == 3);
  NeededNumbers needed;
  needed.up_to = 4;
  queues.add_needed(needed, 1);
  std::vector<uint64_t> numbers(needed.numbers.begin(), needed.numbers.end());
  std::sort(numbers.begin(), numbers.end());
  CHECK(numbers == std::vector<uint64_t>{3, 4});
  needed.numbers.clear();
  needed.up_to = 100;
  queues.set_state(one, kAway, now);
  give_up(one, {3, 4, 5});
  publish(1);
  queues.add_needed(needed, 2);
  numbers.assign(needed.numbers.begin(), needed.numbers.end());
  std::sort(numbers.begin(), numbers.end());
  CHECK(numbers == std::vector<uint64_t>{3, 4, 5, 6});
  queues.purge(queue, now);
  record();
  CHECK(queues.lowest_number(number) == 7);
  CHECK(depth(queue) == 0);
}

// --- how it comes back

TEST_CASE_METHOD(QueueTest, "a queue comes back as it was recorded, and goes on", "[queue]") {
  QueueOptions options = plain();
  options.deliveries_max = 3;
  Queue* queue = queues.restore({0, "q", "t", 5}, options, "dead");
  REQUIRE(queue);
  REQUIRE(queues.restore_open(*queue, 3, 2, 0, {}));
  REQUIRE(queues.restore_open(*queue, 5, 2, 2, {}));
  REQUIRE(queues.restore_open(*queue, 6, 2, 3, {}));
  number = 7;
  REQUIRE(queues.restore_reader(*queue, now));
  REQUIRE(queue->filter->gate().enter(2));  // as it is restored
  append(Message::create(message("8")), *router.match(0, "t"), {});
  CHECK(depth(*queue) == 4);
  CHECK(queue->bytes() == 8);
  CHECK(record(true) == "q@8: 3 5 6");
  CHECK(queues.lowest_number(number) == 3);

  join(*queue, 1);
  Ring<FetchedMessage> messages;
  for (const uint64_t wanted : {3u, 5u, 6u}) {
    CHECK(courier.asked == std::vector<uint64_t>{wanted});
    CHECK(courier.take().empty());
    found(messages, wanted);
    queues.on_fetched(queue->handle(), messages, now);
    if (wanted == 3) CHECK(courier.take() == Texts{"1:3"});
    if (wanted == 5) CHECK(courier.take() == Texts{"1:5#3"});
  }
  CHECK(courier.take() == Texts{"1:8"});
  REQUIRE(courier.letters.size() == 1);  // the third was delivered as often as may be
  CHECK(as_text(courier.letters.front()->payload()) == "6");
  CHECK(depth(*queue) == 3);
}

TEST_CASE_METHOD(QueueTest, "what is restored counts as what comes, for the limits of the queue", "[queue]") {
  QueueOptions options = plain();
  options.messages_max = 2;
  options.overflow = QueueOverflow::Reject;
  Queue* queue = queues.restore({0, "q", "t", 5}, options, {});
  REQUIRE(queue);
  REQUIRE(queues.restore_open(*queue, 3, 2, 0, {}));
  REQUIRE(queues.restore_reader(*queue, now));
  number = 5;
  publish(2);
  CHECK(depth(*queue) == 2);
  CHECK(queue->filter->gate().refused_count() == 1);
}

// --- what is not in memory

TEST_CASE_METHOD(QueueTest, "what is not in memory is read when somebody has room for it", "[queue]") {
  Queue& queue = declare();
  publish(3, false);
  publish(1);
  CHECK(courier.asked.empty());
  join(queue, 1);
  CHECK(courier.asked == std::vector<uint64_t>{1, 2, 3});
  CHECK(courier.last_queue == queue.handle());
  Ring<FetchedMessage> messages;
  for (const uint64_t one : {1u, 2u, 3u}) found(messages, one);
  queues.on_fetched(queue.handle(), messages, now);
  CHECK(messages.empty());
  CHECK(courier.take() == Texts{"1:1", "1:2", "1:3", "1:4"});
  CHECK(depth(queue) == 4);
}

TEST_CASE_METHOD(QueueTest, "what is lost is passed over, and what cannot be read now is read later", "[queue]") {
  Queue& queue = declare();
  publish(3, false);
  join(queue, 1);
  Ring<FetchedMessage> messages;
  found(messages, 1, Status::NotFound);
  found(messages, 2);
  found(messages, 3, Status::Io);
  queues.on_fetched(queue.handle(), messages, now);
  CHECK(courier.take().empty());
  courier.asked.clear();
  record();  // some time later
  CHECK(courier.take() == Texts{"1:2"});
  CHECK(courier.lost == 1);
  CHECK(courier.asked == std::vector<uint64_t>{3});
  found(messages, 3);
  queues.on_fetched(queue.handle(), messages, now);
  CHECK(courier.take() == Texts{"1:3"});
  CHECK(depth(queue) == 2);
  CHECK(queue.work->figures.expired == 0);
}

TEST_CASE_METHOD(QueueTest, "what could not be asked for is asked for later", "[queue]") {
  Queue& queue = declare();
  publish(1, false);
  courier.fetches = false;
  join(queue, 1);
  CHECK(courier.asked.empty());
  record();
  courier.fetches = true;
  record();
  CHECK(courier.asked == std::vector<uint64_t>{1});
}

// --- memory

TEST_CASE_METHOD(QueueTest, "a queue that is declared without memory is not there, and leaves nothing", "[queue]") {
  queues.remove(declare(plain(), "first", "x"), now);  // the tables are there
  const int64_t before = heap_blocks();
  int failures = 0;
  for (int64_t after = 0;; ++after, ++failures) {
    Status status;
    Queue* queue = nullptr;
    {
      FailingHeap some(after);
      status = queues.declare({0, "q", "a/+/c", 1}, plain(), "dead", queue);
    }
    if (status == Status::Ok) break;
    CHECK(status == Status::NoMemory);
    CHECK_FALSE(queue);
    CHECK(queues.count() == 0);
    CHECK(router.match(0, "a/b/c")->filters().empty());
    CHECK(heap_blocks() <= before + 1);
  }
  CHECK(failures >= 4);
  CHECK(queues.count() == 1);
}

TEST_CASE_METHOD(QueueTest, "a consumer without memory is none", "[queue]") {
  Queue& queue = declare();
  {
    FailingHeap none(0);
    CHECK(queues.join(queue, 0, {1, 1}, kThere) == 0);
  }
  CHECK(queue.work->members.empty());
}

TEST_CASE_METHOD(QueueTest, "messages that cannot be noted as handed out stay where they are", "[queue]") {
  Queue& queue = declare();
  publish(2);
  const MemberId one = queues.join(queue, 0, {1, 1}, kThere);
  {
    FailingHeap none(0);
    queues.set_state(one, kThere, now);
  }
  CHECK(courier.take().empty());
  CHECK(depth(queue) == 2);
  record();
  CHECK(courier.take() == Texts{"1:1", "1:2"});
}

TEST_CASE_METHOD(QueueTest, "options that there is no memory for are not taken", "[queue]") {
  Queue& queue = declare();
  QueueOptions options = plain();
  options.messages_max = 1;
  {
    FailingHeap none(0);
    CHECK(queues.set_options(queue, options, std::string(100, 'd'), now) == Status::NoMemory);
  }
  publish(2);
  CHECK(depth(queue) == 2);
}

// The property that says how often it was sent takes memory: nothing else happens to the queue any more.
TEST_CASE_METHOD(QueueTest, "a message that cannot be sent again for want of memory is sent when there is some",
                 "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1);
  publish(1);
  reject(one, {1});
  record();
  CHECK(record() == "");
  {
    FailingHeap none(0);
    pass_surely_ms(100);
  }
  REQUIRE(courier.take() == Texts{"1:1"});
  for (int later = 0; later < 10; ++later) {
    record();
    pass_surely_ms(1000);
  }
  CHECK(courier.take() == Texts{"1:1#2"});
}

// Its room is taken by the gate, and never given back: a queue that refuses would hold less and less.
TEST_CASE_METHOD(QueueTest, "a message that finds no memory in the journal takes no room of the queue", "[queue]") {
  Queue& queue = declare();
  const RouteRef route = router.match(0, "t");
  const MessageRef kept = Message::create(message("1"));
  REQUIRE(queue.filter->gate().enter(kept->content_size()));
  {
    FailingHeap none(0);
    REQUIRE_FALSE(fan_out.append(++number, kept, *route, {}, now, [](Cursor&) {}));
  }
  REQUIRE(queue.depth() == 0);
  CHECK(queue.filter->gate().messages() == 0);
}

}  // namespace mqttq
