// Queues whose messages have keys: in the order of each key, and last values.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "heap.h"
#include "queue/queues.h"

namespace mqttq {

namespace {

// Queues of t/+ whose key is the topic's second level: message 3 of key "a" is "a3". What is published to t has none.
struct KeysTest : QueueTest {
  static constexpr std::string_view kKey = "topic_level:2";

  static QueueOptions ordered() {
    QueueOptions options = plain();
    options.dispatch = QueueDispatch::KeyOrdered;
    return options;
  }
  static QueueOptions holding(uint64_t messages_max, QueueOverflow overflow = QueueOverflow::DropOldest,
                              uint64_t bytes_max = 0) {
    QueueOptions options = plain();
    options.messages_max = messages_max;
    options.bytes_max = bytes_max;
    options.overflow = overflow;
    return options;
  }
  static QueueIdentity identity(bool last_value, uint64_t id) {
    QueueIdentity all{0, "q", "t/#", id};
    all.key = kKey;
    all.last_value = last_value;
    return all;
  }
  Queue& declare_keyed(const QueueOptions& options, bool last_value, QueueKeyless keyless = QueueKeyless::Take) {
    Queue* queue = nullptr;
    QueueIdentity all = identity(last_value, ++ids);
    all.keyless = keyless;
    REQUIRE(queues.declare(all, options, "dead", queue) == Status::Ok);
    return *queue;
  }
  Queue& declare_ordered(const QueueOptions& options = ordered()) { return declare_keyed(options, false); }
  Queue& declare_last(const QueueOptions& options = plain()) { return declare_keyed(options, true); }

  // One of each of these keys, in this order; ' ' has none.
  void put(std::string_view keys, int64_t expiry_ms = 0, bool in_memory = true) {
    for (const char key : keys) {
      const std::string topic = key == ' ' ? "t" : std::string("t/") + key, payload = key + std::to_string(number + 1);
      MessageView view = message(payload, Qos::AtLeastOnce, topic);
      if (expiry_ms) view.expires_at = now + expiry_ms * kMillisecond;
      publish(view, in_memory);
    }
  }
  TextKey key(char of) const {
    MessageKey by;
    REQUIRE(MessageKey::parse(kKey, by) == Status::Ok);
    const std::string topic = std::string("t/") + of;
    TextKey found;
    REQUIRE(by.of(message("", Qos::AtLeastOnce, topic), 1, found));
    return found;
  }
  // Read from where it is kept.
  void fetched(Queue& queue, std::string_view payload) {
    uint64_t of = 0;
    for (const char digit : payload.substr(1)) of = of * 10 + static_cast<uint64_t>(digit - '0');
    const std::string topic = std::string("t/") + payload[0];
    Ring<FetchedMessage> messages;
    REQUIRE(messages.push_back({of, Message::create(message(payload, Qos::AtLeastOnce, topic)), Status::Ok}));
    queues.on_fetched(queue.handle(), messages, now);
  }
  // What waits and what is with consumers, "*" behind that.
  std::string content(Queue& queue) {
    std::string text;
    queues.look(queue, 0, [&](uint64_t at, uint32_t, bool inflight, const MessageRef&) {
      text += std::to_string(at) + (inflight ? "* " : " ");
      return true;
    });
    return text;
  }
  // Recorded since the last call.
  Texts recorded() {
    record();
    return std::exchange(courier.values, {});
  }
};

}  // namespace

// --- in the order of each key

TEST_CASE_METHOD(KeysTest, "while somebody has messages of a key he gets the next ones too", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1), two = join(queue, 2);
  put("abaaba");
  CHECK(courier.take() == Texts{"1:a1", "2:b2", "1:a3", "1:a4", "2:b5", "1:a6"});
  done(one, {1, 3, 4, 6});
  put("a");
  CHECK(courier.take() == Texts{"2:a7"});  // nobody had that key any more, and it is his turn
  done(two, {2, 5, 7});
  CHECK(depth(queue) == 0);
}

TEST_CASE_METHOD(KeysTest, "messages of a key wait for him who has it, and other keys pass", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1, there(1)), two = join(queue, 2, there(3));
  put("aaabc");
  CHECK(courier.take() == Texts{"1:a1", "2:b4", "2:c5"});
  CHECK(depth(queue) == 5);
  done(two, {4});
  CHECK(courier.take().empty());
  done(two, {5});
  CHECK(courier.take().empty());
  queues.set_state(one, there(2), now);
  CHECK(courier.take() == Texts{"1:a2"});
  done(one, {1});
  CHECK(courier.take() == Texts{"1:a3"});
  done(one, {2, 3});
  put("a");
  CHECK(courier.take() == Texts{"2:a6"});  // it is free, and his turn
}

TEST_CASE_METHOD(KeysTest, "a key goes to another when it is free, with all that waits", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1, there(1));
  join(queue, 2, there(2));
  put("aaa");
  CHECK(courier.take() == Texts{"1:a1"});
  queues.set_state(one, MemberState{0, true, false, true, 0}, now);  // has no room from now on
  done(one, {1});
  CHECK(courier.take() == Texts{"2:a2", "2:a3"});
}

TEST_CASE_METHOD(KeysTest, "when a consumer goes his keys go to others, and what he had one by one", "[queue]") {
  const int how = GENERATE(0, 1, 2);
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1, there(3));
  put("aaabb");
  CHECK(courier.take() == Texts{"1:a1", "1:a2", "1:a3"});
  const MemberId two = join(queue, 2);
  CHECK(courier.take() == Texts{"2:b4", "2:b5"});
  put("a");
  CHECK(courier.take().empty());
  if (how == 0) give_up(one, {1, 2, 3});
  if (how == 1) queues.leave(one, now);
  if (how == 2) {
    for (const uint64_t back : {2u, 3u, 1u}) {
      CHECK(courier.take().empty());
      give_up(one, {back});
    }
  }
  for (const uint64_t back : {1u, 2u}) {
    CHECK(courier.take() == Texts{"2:a" + std::to_string(back) + "#2"});
    done(two, {back});
  }
  CHECK(courier.take() == Texts{"2:a3#2", "2:a6"});
  CHECK(depth(queue) == 4);
}

TEST_CASE_METHOD(KeysTest, "what is rejected waits for its key to be free, and goes first", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1);
  put("aaa");
  const MemberId two = join(queue, 2);
  courier.take();
  reject(one, {2});
  put("ab");
  CHECK(courier.take() == Texts{"2:b5"});
  done(one, {1});
  CHECK(courier.take().empty());
  done(one, {3});
  CHECK(courier.take() == Texts{"2:a2#2", "2:a4"});
  done(two, {2, 4, 5});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.rejected == 1);
  CHECK(queue.work->figures.redelivered == 1);
}

TEST_CASE_METHOD(KeysTest, "what its only consumer has rejected comes again before those behind it", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1, there(1));
  put("aaba");
  reject(one, {1});
  CHECK(courier.take() == Texts{"1:a1", "1:b3"});
  done(one, {3});
  CHECK(courier.take().empty());
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:a1#2"});
  done(one, {1});
  CHECK(courier.take() == Texts{"1:a2"});
  done(one, {2});
  CHECK(courier.take() == Texts{"1:a4"});
}

TEST_CASE_METHOD(KeysTest, "what timed out waits for its key to be free, and goes first", "[queue]") {
  QueueOptions options = ordered();
  options.ack_timeout_ms = 500;
  Queue& queue = declare_ordered(options);
  const MemberId one = join(queue, 1);
  put("a");
  pass_ms(400);
  put("a");
  join(queue, 2);
  CHECK(courier.take() == Texts{"1:a1", "1:a2"});
  pass_surely_ms(100);
  put("a");
  CHECK(courier.take().empty());
  done(one, {2});
  CHECK(courier.take() == Texts{"2:a1#2", "2:a3"});
}

TEST_CASE_METHOD(KeysTest, "a dead letter is out of its key's way", "[queue]") {
  QueueOptions options = ordered();
  options.deliveries_max = 1;
  Queue& queue = declare_ordered(options);
  const MemberId one = join(queue, 1, there(2));
  put("aaa");
  done(one, {2});
  CHECK(courier.take() == Texts{"1:a1", "1:a2", "1:a3"});
  reject(one, {1});
  CHECK(courier.letters.size() == 1);
  join(queue, 2);
  done(one, {3});
  CHECK(depth(queue) == 0);
  put("aa");
  const Texts last = courier.take();
  REQUIRE(last.size() == 2);
  CHECK(last[0].front() == last[1].front());
}

TEST_CASE_METHOD(KeysTest, "what is dropped or expires is out of its key's way", "[queue]") {
  const bool expires = GENERATE(false, true);
  QueueOptions options = ordered();
  options.messages_max = expires ? 0 : 2;
  Queue& queue = declare_ordered(options);
  const MemberId one = join(queue, 1, there(1));
  put("a");
  join(queue, 2, there(1));
  put("a", expires ? 1000 : 0);
  put("a");
  pass_ms(1000);
  CHECK(courier.take() == Texts{"1:a1"});
  done(one, {1});
  const Texts next = courier.take();
  REQUIRE(next.size() == 1);
  CHECK(next[0].substr(1) == ":a3");
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.expired == (expires ? 1 : 0));
  CHECK(queue.work->figures.dropped == (expires ? 0 : 1));
}

TEST_CASE_METHOD(KeysTest, "messages without a key belong to no other", "[queue]") {
  Queue& queue = declare_ordered();
  join(queue, 1);
  join(queue, 2);
  put("    ");
  CHECK(courier.take() == Texts{"1: 1", "2: 2", "1: 3", "2: 4"});
  CHECK(queue.values->by_key.count() == 0);
}

TEST_CASE_METHOD(KeysTest, "a consumer of a lower priority keeps the keys that he has", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId low = join(queue, 1, there(100, 1));
  put("a");
  join(queue, 2, there(100, 2));
  put("ab");
  CHECK(courier.take() == Texts{"1:a1", "1:a2", "2:b3"});
  done(low, {1, 2});
  put("a");
  CHECK(courier.take() == Texts{"2:a4"});
}

TEST_CASE_METHOD(KeysTest, "who gets messages at QoS 0 has no key", "[queue]") {
  Queue& queue = declare_ordered();
  for (const uint32_t index : {1u, 2u}) {
    join(queue, index, {1, true, false, false, 0});
    courier.answers[index] = Handed::Finished;
  }
  put("aaa");
  CHECK(courier.take() == Texts{"1:a1", "2:a2", "1:a3"});
  CHECK(depth(queue) == 0);
  CHECK(queue.values->by_key.count() == 0);
}

TEST_CASE_METHOD(KeysTest, "a key is known while a message of it is out of the journal", "[queue]") {
  const int64_t before = heap_blocks();
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1);
  put("aab");
  CHECK(queue.values->by_key.count() == 2);
  done(one, {1});
  CHECK(queue.values->by_key.count() == 2);
  done(one, {2, 3});
  CHECK(queue.values->by_key.count() == 0);
  put("ab");
  queues.remove(queue, now);
  CHECK(heap_blocks() <= before + 9);  // the slabs
}

// A key does no more than to tell what belongs together: see `dispatch`.
TEST_CASE_METHOD(KeysTest, "messages of a key go to whoever has room where they are not to be in order", "[queue]") {
  Queue& queue = declare_ordered(plain());
  join(queue, 1, there(1));
  join(queue, 2, there(1));
  put("aa");
  CHECK(courier.take() == Texts{"1:a1", "2:a2"});
}

TEST_CASE_METHOD(KeysTest, "another key passes a thousand messages that wait", "[queue]") {
  Queue& queue = declare_ordered();
  join(queue, 1, there(1));
  put("a");
  put(std::string(999, 'a'));
  put("b");
  join(queue, 2);
  CHECK(courier.take() == Texts{"1:a1", "2:b1001"});
  CHECK(queue.journal().behind_count(queue.reader) == 0);
}

TEST_CASE_METHOD(KeysTest, "no more than a thousand messages wait beside the journal for their keys", "[queue]") {
  Queue& queue = declare_ordered();
  const MemberId one = join(queue, 1, there(1));
  put(std::string(1500, 'a'));
  put("b");
  const MemberId two = join(queue, 2);
  CHECK(queue.work->waiting_count == 1000);
  CHECK(courier.handed == Texts{"1:a1"});
  // Each of the key is settled, in order; and before the last of them the other one has come.
  uint64_t settled = 0;
  for (bool passed = false; !passed;) {
    const Texts some = courier.take();
    REQUIRE_FALSE(some.empty());
    for (const std::string& text : some) {
      passed = passed || text.substr(1) == ":b1501";
      if (passed) break;
      REQUIRE(text.substr(1) == ":a" + std::to_string(++settled));
      done(text[0] == '1' ? one : two, {settled});
    }
  }
  CHECK(settled >= 300);
  CHECK(settled < 1000);
}

// One more with each that comes, and all of them are looked at each time.
TEST_CASE_METHOD(KeysTest, "no more than a thousand messages wait beside the journal, however many come", "[queue]") {
  Queue& queue = declare_ordered();
  join(queue, 1, there(1));
  join(queue, 2);
  put(std::string(1200, 'a'));
  CHECK(queue.work->waiting_count == 1000);
}

TEST_CASE_METHOD(KeysTest, "what came back is in the order of its key again after a restart", "[queue]") {
  Queue* queue = queues.restore(identity(false, 5), ordered(), {});
  REQUIRE(queue);
  REQUIRE(queues.restore_open(*queue, 3, 5, 1, key('a')));
  REQUIRE(queues.restore_open(*queue, 4, 5, 1, key('a')));
  REQUIRE(queues.finish_values(*queue));
  number = 4;
  REQUIRE(queues.restore_reader(*queue, now));
  put("ab");
  CHECK(depth(*queue) == 4);
  const MemberId one = join(*queue, 1, there(1)), two = join(*queue, 2, there(2));
  CHECK(courier.take().empty());
  fetched(*queue, "a3");
  fetched(*queue, "a4");
  CHECK(courier.take() == Texts{"1:a3#2", "2:b6"});
  done(one, {3});
  const Texts next = courier.take();
  REQUIRE(next.size() >= 1);
  CHECK(next[0].substr(1) == ":a4#2");
  CHECK(depth(*queue) == 3);
  queues.leave(two, now);
}

// --- without a key

TEST_CASE_METHOD(KeysTest, "a queue that does without messages that have no key judges them", "[queue]") {
  const auto keyless = GENERATE(QueueKeyless::Drop, QueueKeyless::Reject, QueueKeyless::Take);
  Queue& queue = declare_keyed(plain(), GENERATE(false, true), keyless);
  const QueueGate::Judge* judge = queue.filter->gate().judge();
  if (keyless == QueueKeyless::Take) {
    CHECK(judge == nullptr);
    return;
  }
  REQUIRE(judge);
  CHECK(judge->tells == (keyless == QueueKeyless::Reject));
  CHECK(judge->takes(*judge, *Message::create(message("x", Qos::AtLeastOnce, "t/a"))));
  CHECK_FALSE(judge->takes(*judge, *Message::create(message("x", Qos::AtLeastOnce, "t"))));
}

TEST_CASE_METHOD(KeysTest, "a queue with keys that is declared without memory is not there", "[queue]") {
  queues.remove(declare(plain(), "first", "x"), now);
  const int64_t before = heap_blocks();
  QueueIdentity all = identity(true, 1);
  all.keyless = QueueKeyless::Reject;
  int failures = 0;
  for (;; ++failures) {
    Status status;
    Queue* queue = nullptr;
    {
      FailingHeap some(failures);
      status = queues.declare(all, plain(), "dead", queue);
    }
    if (status == Status::Ok) break;
    CHECK(status == Status::NoMemory);
    CHECK_FALSE(queue);
    CHECK(queues.count() == 0);
    CHECK(heap_blocks() <= before + 1);
  }
  CHECK(failures >= 6);
}

TEST_CASE_METHOD(KeysTest, "a queue whose key is none is not declared", "[queue]") {
  QueueIdentity all = identity(false, 1);
  all.key = "topic_level:0";
  Queue* queue = nullptr;
  CHECK(queues.declare(all, plain(), {}, queue) == Status::Invalid);
  CHECK_FALSE(queue);
}

// --- last values

TEST_CASE_METHOD(KeysTest, "a newer value takes the place of the older, at the end", "[queue]") {
  Queue& queue = declare_last();
  put("abcab");
  CHECK(depth(queue) == 3);
  CHECK(queue.work->figures.entered == 5);
  CHECK(queue.work->figures.replaced == 2);
  CHECK(content(queue) == "3 4 5 ");
  const MemberId one = join(queue, 1);
  CHECK(courier.take() == Texts{"1:c3", "1:a4", "1:b5"});
  CHECK(content(queue) == "3* 4* 5* ");
  done(one, {3, 4, 5});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.settled == 3);
  CHECK(queue.work->figures.dropped == 0);
}

TEST_CASE_METHOD(KeysTest, "a newer value is delivered when he who has the older one has settled it", "[queue]") {
  Queue& queue = declare_last();
  const MemberId one = join(queue, 1), two = join(queue, 2);
  put("aa");
  CHECK(courier.take() == Texts{"1:a1"});
  put("ab");
  CHECK(courier.take() == Texts{"2:b4"});
  CHECK(depth(queue) == 3);
  CHECK(content(queue) == "1* 3 4* ");
  CHECK(queue.work->figures.replaced == 1);
  done(two, {4});
  CHECK(courier.take().empty());
  done(one, {1});
  CHECK(courier.take() == Texts{"1:a3"});
  done(one, {3});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.delivered == 3);
}

TEST_CASE_METHOD(KeysTest, "a value that is not the last any more is not delivered again", "[queue]") {
  const int how = GENERATE(0, 1, 2, 3, 4);
  CAPTURE(how);
  QueueOptions options = plain();
  options.ack_timeout_ms = how == 3 ? 500 : 0;
  options.deliveries_max = 1;
  Queue& queue = declare_last(options);
  const MemberId one = join(queue, 1);
  put("aa");
  join(queue, 2);
  if (how == 0) reject(one, {1});
  if (how == 1) give_up(one, {1});
  if (how == 2) queues.leave(one, now);
  if (how == 3) pass_surely_ms(500);
  if (how == 4) queues.give_back(one, 1, Handed::Away, now);
  const Texts handed = courier.take();
  REQUIRE(handed.size() == 2);
  CHECK(handed[0] == "1:a1");
  CHECK(handed[1].substr(1) == ":a2");
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.replaced == 1);
  CHECK(queue.work->figures.rejected == (how == 0));
  CHECK(queue.work->figures.timed_out == (how == 3));
  CHECK(queue.work->figures.dead == 0);
  CHECK(queue.work->figures.redelivered == 0);
  done(one, {1});  // to no effect
  CHECK(queue.work->figures.settled == 0);
  CHECK(depth(queue) == 1);
}

TEST_CASE_METHOD(KeysTest, "a value that came back and waits is replaced", "[queue]") {
  Queue& queue = declare_last();
  const MemberId one = join(queue, 1);
  put("a");
  reject(one, {1});
  CHECK(depth(queue) == 1);
  put("a");
  CHECK(courier.take() == Texts{"1:a1", "1:a2"});
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.replaced == 1);
  pass_surely_ms(1000);
  CHECK(courier.take().empty());
}

TEST_CASE_METHOD(KeysTest, "a value that came back and is the last is delivered again", "[queue]") {
  QueueOptions options = plain();
  options.deliveries_max = 2;
  Queue& queue = declare_last(options);
  const MemberId one = join(queue, 1);
  put("ab");
  reject(one, {1});
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:a1", "1:b2", "1:a1#2"});
  reject(one, {1});
  CHECK(courier.letters.size() == 1);
  CHECK(depth(queue) == 1);
  put("a");
  CHECK(courier.take() == Texts{"1:a3"});
}

// It is the last one again.
TEST_CASE_METHOD(KeysTest, "a value is delivered again when a newer one came and was purged", "[queue]") {
  Queue& queue = declare_last();
  const MemberId one = join(queue, 1);
  put("aa");
  CHECK(queues.purge(queue, now) == 1);
  reject(one, {1});
  REQUIRE(courier.take() == Texts{"1:a1"});
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:a1#2"});
}

TEST_CASE_METHOD(KeysTest, "all messages without a key are kept beside last values", "[queue]") {
  Queue& queue = declare_last();
  put("  a a");
  CHECK(depth(queue) == 4);
  CHECK(queue.work->figures.replaced == 1);
  const MemberId one = join(queue, 1);
  Texts handed = courier.take();
  std::sort(handed.begin(), handed.end());
  CHECK(handed == Texts{"1: 1", "1: 2", "1: 4", "1:a5"});
  reject(one, {2});
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1: 2#2"});
  done(one, {1, 2, 4, 5});
  CHECK(depth(queue) == 0);
}

// Values wait apart, and go out behind all that have no key.
TEST_CASE_METHOD(KeysTest, "values and messages without a key are handed out in the order in which they came",
                 "[queue]") {
  Queue& queue = declare_last();
  put("a b ");
  join(queue, 1);
  CHECK(courier.take() == Texts{"1:a1", "1: 2", "1:b3", "1: 4"});
}

TEST_CASE_METHOD(KeysTest, "last values are kept for each consumer's window, the oldest first", "[queue]") {
  Queue& queue = declare_last();
  const MemberId one = join(queue, 1, there(1));
  put("abcb");
  CHECK(courier.take() == Texts{"1:a1"});
  put("a");
  done(one, {1});
  CHECK(courier.take() == Texts{"1:c3"});
  done(one, {3});
  CHECK(courier.take() == Texts{"1:b4"});
  done(one, {4});
  CHECK(courier.take() == Texts{"1:a5"});
}

TEST_CASE_METHOD(KeysTest, "a value that waits is found by its number and moved elsewhere", "[queue]") {
  Queue& queue = declare_last();
  put("aba");
  CHECK_FALSE(queues.begin_move(queue, 1));
  CHECK_FALSE(queues.begin_move(queue, 4));
  CHECK(queues.begin_move(queue, 3));
  CHECK_FALSE(queues.begin_move(queue, 3));
  CHECK(depth(queue) == 2);
  queues.on_letter(queue.handle(), 3, true);
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.settled == 1);
  CHECK(queue.work->figures.dead == 0);
  CHECK_FALSE(queues.begin_move(queue, 3));
  join(queue, 1);
  CHECK(courier.take() == Texts{"1:b2"});
  CHECK_FALSE(queues.begin_move(queue, 2));
}

TEST_CASE_METHOD(KeysTest, "a value that could not be moved waits again, if it is still the last", "[queue]") {
  const bool newer = GENERATE(false, true);
  Queue& queue = declare_last();
  put("a");
  REQUIRE(queues.begin_move(queue, 1));
  join(queue, 1);
  put(newer ? "a" : "b");
  CHECK(courier.take() == (newer ? Texts{} : Texts{"1:b2"}));
  queues.on_letter(queue.handle(), 1, false);
  record();
  CHECK(courier.take() == (newer ? Texts{"1:a2"} : Texts{"1:a1"}));
  CHECK(queue.work->figures.replaced == newer);
}

// --- what goes by itself

TEST_CASE_METHOD(KeysTest, "a value that has expired is not handed out", "[queue]") {
  Queue& queue = declare_last();
  put("ab", 1000);
  put("c");
  put("b");
  pass_ms(1000);
  join(queue, 1);
  CHECK(courier.take() == Texts{"1:c3", "1:b4"});
  CHECK(depth(queue) == 2);
  CHECK(queue.work->figures.expired == 1);
  CHECK(queue.work->figures.replaced == 1);
}

TEST_CASE_METHOD(KeysTest, "a value is dropped when it has been there for long enough, by its own age", "[queue]") {
  QueueOptions options = plain();
  options.age_max_s = 60;
  Queue& queue = declare_last(options);
  put("ab");
  pass_ms(30'000);
  put("a");
  CHECK(depth(queue) == 2);
  pass_surely_ms(30'000);
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.expired == 1);
  pass_surely_ms(30'000);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.expired == 2);
  put("c");
  join(queue, 1);
  CHECK(courier.take() == Texts{"1:c4"});
}

// --- limits

TEST_CASE_METHOD(KeysTest, "a newer value takes no more room in a queue that is full", "[queue]") {
  Queue& queue = declare_last(holding(2));
  put("aba");
  CHECK(depth(queue) == 2);
  CHECK(queue.work->figures.dropped == 0);
  CHECK(content(queue) == "2 3 ");
  put("c");
  CHECK(content(queue) == "3 4 ");
  CHECK(queue.work->figures.dropped == 1);
  CHECK(depth(queue) == 2);
}

TEST_CASE_METHOD(KeysTest, "what consumers have makes way last, for a newer value too", "[queue]") {
  Queue& queue = declare_last(holding(3));
  const MemberId one = join(queue, 1, there(2));
  put("abca");
  CHECK(courier.take() == Texts{"1:a1", "1:b2"});
  CHECK(content(queue) == "1* 2* 4 ");
  REQUIRE(queues.set_options(queue, holding(2), {}, now) == Status::Ok);
  CHECK(content(queue) == "1* 2* ");
  CHECK(queue.work->figures.dropped == 2);
  put("a");  // it is the only one that waits
  CHECK(content(queue) == "2* 5 ");
  CHECK(depth(queue) == 2);
  done(one, {1});
  CHECK(queue.work->figures.settled == 0);
  CHECK(courier.take() == Texts{"1:a5"});
}

TEST_CASE_METHOD(KeysTest, "a queue of last values that refuses does so for keys that it has too", "[queue]") {
  Queue& queue = declare_last(holding(2, GENERATE(QueueOverflow::Reject, QueueOverflow::DropNewest)));
  put("abca");
  CHECK(content(queue) == "1 2 ");
  CHECK(queue.filter->gate().refused_count() == 2);
  CHECK(queue.work->figures.replaced == 0);
  const MemberId one = join(queue, 1);
  done(one, {1});
  put("b");
  CHECK(content(queue) == "2* 5 ");
  CHECK(depth(queue) == 2);
}

TEST_CASE_METHOD(KeysTest, "a newer value gives the room of the older one back", "[queue]") {
  Queue& queue = declare_last(holding(3, QueueOverflow::Reject));
  put("ab");
  for (int i = 0; i < 20; ++i) put("ab");
  CHECK(depth(queue) == 2);
  CHECK(queue.filter->gate().refused_count() == 0);
  CHECK(queue.work->figures.replaced == 40);
}

TEST_CASE_METHOD(KeysTest, "the bound in bytes is of the last values", "[queue]") {
  Queue& queue = declare_last(holding(0, QueueOverflow::DropOldest, 20));
  put("aaaaaabb");  // five bytes each
  CHECK(queue.bytes() == 10);
  CHECK(depth(queue) == 2);
  publish(message("0123456789ab", Qos::AtLeastOnce, "t/b"));
  CHECK(queue.bytes() == 20);
  CHECK(queue.work->figures.dropped == 0);
  publish(message("x", Qos::AtLeastOnce, "t/c"));
  CHECK(queue.bytes() == 19);
  CHECK(queue.work->figures.dropped == 1);
  CHECK(depth(queue) == 2);
}

TEST_CASE_METHOD(KeysTest, "to purge a queue of last values drops what waits", "[queue]") {
  Queue& queue = declare_last();
  const MemberId one = join(queue, 1, there(1));
  put("ab ca");
  CHECK(queues.purge(queue, now) == 4);
  CHECK(content(queue) == "1* ");
  CHECK(depth(queue) == 1);
  put("b");
  done(one, {1});
  CHECK(courier.take() == Texts{"1:a1", "1:b6"});
}

// --- what is recorded of last values

TEST_CASE_METHOD(KeysTest, "recorded of last values is the newest of each key, when that has changed", "[queue]") {
  Queue& queue = declare_last();
  put("abab");
  CHECK(recorded() == Texts{"q:3", "q:4"});
  CHECK(recorded().empty());
  put("aa");
  CHECK(recorded() == Texts{"q:6"});
  const MemberId one = join(queue, 1);
  CHECK(recorded() == Texts{"q:0", "q:0"});
  put("c");  // comes and goes
  CHECK(recorded().empty());
  put("a");
  CHECK(recorded() == Texts{"q:8"});
  done(one, {6});
  CHECK(recorded() == Texts{"q:0"});
  CHECK(queue.values->by_key.count() == 3);
  done(one, {4, 7, 8});
  CHECK(recorded().empty());
  CHECK(queue.values->by_key.count() == 0);
}

TEST_CASE_METHOD(KeysTest, "all that there is can be recorded again", "[queue]") {
  declare_last();
  put("ab");
  recorded();
  record(true);
  std::sort(courier.values.begin(), courier.values.end());
  CHECK(courier.values == Texts{"q:1", "q:2"});
}

TEST_CASE_METHOD(KeysTest, "a value is needed while it waits, and until it is recorded that it does no longer",
                 "[queue]") {
  Queue& queue = declare_last();
  put("ab");
  CHECK(queues.lowest_number(number) == 1);
  record();
  CHECK(queues.lowest_number(number) == 1);
  put("a");
  CHECK(queues.lowest_number(number) == 1);  // which is recorded
  NeededNumbers needed;
  needed.up_to = 100;
  queues.add_needed(needed, 1);
  std::vector<uint64_t> numbers(needed.numbers.begin(), needed.numbers.end());
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  CHECK(numbers == std::vector<uint64_t>{1, 2, 3});
  record();
  CHECK(queues.lowest_number(number) == 2);
  queues.purge(queue, now);
  record();
  CHECK(queues.lowest_number(number) == 4);
}

// --- how they come back

TEST_CASE_METHOD(KeysTest, "last values come back in their order, and are read when somebody has room", "[queue]") {
  Queue* queue = queues.restore(identity(true, 5), holding(3, QueueOverflow::Reject), {});
  REQUIRE(queue);
  REQUIRE(queues.restore_value(*queue, key('b'), 7, 5));
  REQUIRE(queues.restore_value(*queue, key('a'), 3, 5));
  REQUIRE(queues.finish_values(*queue));
  number = 8;
  REQUIRE(queues.restore_reader(*queue, now));
  CHECK(depth(*queue) == 2);
  CHECK(queue->bytes() == 10);
  CHECK(content(*queue) == "3 7 ");
  CHECK(queues.lowest_number(number) == 3);
  put("ac");
  CHECK(content(*queue) == "7 9 10 ");
  CHECK(depth(*queue) == 3);
  put("d");
  CHECK(queue->filter->gate().refused_count() == 1);
  CHECK(recorded() == Texts{"q:9", "q:10"});
  const MemberId one = join(*queue, 1);
  CHECK(courier.take().empty());
  CHECK(courier.asked == std::vector<uint64_t>{7});
  fetched(*queue, "b7");
  CHECK(courier.take() == Texts{"1:b7", "1:a9", "1:c10"});
  done(one, {7, 9, 10});
  CHECK(depth(*queue) == 0);
}

TEST_CASE_METHOD(KeysTest, "of what was with consumers only what is the last comes back", "[queue]") {
  Queue* queue = queues.restore(identity(true, 5), plain(), {});
  REQUIRE(queue);
  REQUIRE(queues.restore_value(*queue, key('a'), 6, 5));
  REQUIRE(queues.restore_open(*queue, 3, 5, 1, key('a')));
  REQUIRE(queues.restore_open(*queue, 4, 5, 1, key('b')));
  REQUIRE(queues.restore_open(*queue, 5, 5, 1, {}));  // without a key
  REQUIRE(queues.finish_values(*queue));
  number = 6;
  REQUIRE(queues.restore_reader(*queue, now));
  CHECK(depth(*queue) == 3);
  CHECK(content(*queue) == "4 5 6 ");
  CHECK(record() == "q@7: 3. 4 5");
  put("b");
  CHECK(depth(*queue) == 3);
  CHECK(content(*queue) == "5 6 7 ");
  join(*queue, 1);
  fetched(*queue, " 5");
  fetched(*queue, "a6");
  CHECK(courier.take() == Texts{"1: 5#2", "1:a6", "1:b7"});
}

TEST_CASE_METHOD(KeysTest, "what is not in memory any more of last values is read", "[queue]") {
  Queue& queue = declare_last();
  put("ab");
  queues.evict(1);
  join(queue, 1);
  CHECK(courier.asked == std::vector<uint64_t>{1});
  CHECK(courier.take().empty());
  fetched(queue, "a1");
  CHECK(courier.take() == Texts{"1:a1", "1:b2"});
}

TEST_CASE_METHOD(KeysTest, "a value that is lost is passed over", "[queue]") {
  Queue& queue = declare_last();
  put("ab");
  queues.evict(1);
  join(queue, 1);
  Ring<FetchedMessage> messages;
  REQUIRE(messages.push_back({1, {}, Status::NotFound}));
  queues.on_fetched(queue.handle(), messages, now);
  CHECK(courier.take() == Texts{"1:b2"});
  CHECK(depth(queue) == 1);
  CHECK(courier.lost == 1);
  CHECK(queue.work->figures.expired == 0);
}

// --- memory

TEST_CASE_METHOD(KeysTest, "a value for which there is no memory is delivered all the same, and the next too",
                 "[queue]") {
  const int after = GENERATE(range(0, 12));
  CAPTURE(after);
  Queue& queue = declare_last();
  const RouteRef route = router.match(0, "t/a");
  const MessageRef kept = Message::create(message("a", Qos::AtLeastOnce, "t/a"));
  REQUIRE(queue.filter->gate().enter(kept->content_size()));
  bool appended;
  {
    FailingHeap some(after);
    appended = fan_out.append(++number, kept, *route, {}, now, [](Cursor&) {});
  }
  queues.run(now);
  record();
  join(queue, 1);
  record();
  CHECK(courier.take() == (appended ? Texts{"1:a"} : Texts()));
  put("b");
  CHECK(courier.take() == Texts{"1:b2"});
}

}  // namespace mqttq
