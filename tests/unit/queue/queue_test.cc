// Queues at their home: who gets a message, what becomes of it, and when somebody else gets it.
#include "queue/queue.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>

#include "heap.h"
#include "queue/queues.h"

namespace mqttq {

namespace {

constexpr auto kQos0 = Qos::AtMostOnce, kQos2 = Qos::ExactlyOnce;

QueueOptions by(QueueDispatch dispatch) {
  QueueOptions options = QueueTest::plain();
  options.dispatch = dispatch;
  return options;
}
QueueOptions exclusively() {
  QueueOptions options = QueueTest::plain();
  options.exclusive = true;
  return options;
}
QueueOptions with_timeout(uint32_t ack_timeout_ms) {
  QueueOptions options = QueueTest::plain();
  options.ack_timeout_ms = ack_timeout_ms;
  return options;
}
QueueOptions at_most(uint32_t deliveries_max) {
  QueueOptions options = QueueTest::plain();
  options.deliveries_max = deliveries_max;
  return options;
}

}  // namespace

// --- who gets it

TEST_CASE_METHOD(QueueTest, "a queue has what matches from its declaration on, whoever is there", "[queue]") {
  publish(1);
  Queue& queue = declare();
  publish(message("2", kQos0));
  publish(message("3"));
  publish(message("other", kQos2, "u"));
  publish(message("5", kQos2));
  CHECK(depth(queue) == 3);
  join(queue, 7);
  CHECK(courier.take() == Texts{"7:2", "7:3", "7:5"});
  publish(message("6"));
  CHECK(courier.take() == Texts{"7:6"});
  CHECK(depth(queue) == 4);
  CHECK(queue.work->figures.entered == 4);
  CHECK(queue.work->figures.delivered == 4);
}

TEST_CASE_METHOD(QueueTest, "each queue that matches has the message, and two of one filter have it twice", "[queue]") {
  Queue &one = declare(plain(), "one", "a/+"), &other = declare(plain(), "other", "a/+"), &all = declare(plain(), "#");
  CHECK(queues.count() == 3);
  publish(message("x", Qos::AtLeastOnce, "a/b"));
  for (Queue* queue : {&one, &other}) CHECK(depth(*queue) == 1);
  CHECK(depth(all) == 0);
  Queue* found = nullptr;
  CHECK(queues.declare({0, "one", "b", 9}, plain(), {}, found) == Status::Exists);
  CHECK(found == &one);
  CHECK(queues.find(0, "one") == &one);
  CHECK(queues.find(1, "one") == nullptr);
}

TEST_CASE_METHOD(QueueTest, "each message goes to one consumer, in turn", "[queue]") {
  Queue& queue = declare();
  for (const uint32_t index : {1u, 2u, 3u}) join(queue, index);
  publish(4);
  CHECK(courier.take() == Texts{"1:1", "2:2", "3:3", "1:4"});
}

TEST_CASE_METHOD(QueueTest, "nobody is handed more than his window, and no message waits while another has room",
                 "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(1)), two = join(queue, 2, there(2));
  publish(6);
  CHECK(courier.take() == Texts{"1:1", "2:2", "2:3"});
  done(two, {3, 2});
  CHECK(courier.take() == Texts{"2:4", "2:5"});
  done(one, {1});
  CHECK(courier.take() == Texts{"1:6"});
  CHECK(depth(queue) == 3);
  CHECK(queue.work->figures.settled == 3);
  queues.set_state(one, there(3), now);
  publish(3);
  CHECK(courier.take() == Texts{"1:7", "1:8"});
}

TEST_CASE_METHOD(QueueTest, "a consumer at QoS 0 has no window, and what is written to it is settled", "[queue]") {
  Queue& queue = declare();
  join(queue, 1, {1, true, false, false, 0});
  courier.answers[1] = Handed::Finished;
  publish(5);
  CHECK(courier.take().size() == 5);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.settled == 5);
}

TEST_CASE_METHOD(QueueTest, "random dispatch chooses any that has room", "[queue]") {
  Queue& queue = declare(by(QueueDispatch::Random));
  join(queue, 1);
  join(queue, 2);
  join(queue, 3, there(1));
  publish(60);
  std::map<char, int> shares;
  for (const std::string& text : courier.take()) ++shares[text.front()];
  CHECK(shares['1'] > 10);
  CHECK(shares['2'] > 10);
  CHECK(shares['3'] == 1);
}

TEST_CASE_METHOD(QueueTest, "least_inflight chooses who has the fewest unacknowledged", "[queue]") {
  Queue& queue = declare(by(QueueDispatch::LeastInflight));
  const MemberId one = join(queue, 1);
  publish(2);
  const MemberId two = join(queue, 2);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  publish(2);
  CHECK(courier.take() == Texts{"2:3", "2:4"});
  done(one, {1, 2});
  publish(2);
  CHECK(courier.take() == Texts{"1:5", "1:6"});
  done(two, {3});
  publish(1);
  CHECK(courier.take() == Texts{"2:7"});
}

TEST_CASE_METHOD(QueueTest, "a lower priority gets messages while none of a higher one has room", "[queue]") {
  Queue& queue = declare(by(GENERATE(QueueDispatch::RoundRobin, QueueDispatch::Random, QueueDispatch::LeastInflight)));
  join(queue, 1, there(100, -128));
  const MemberId two = join(queue, 2, there(2, 5)), three = join(queue, 3, there(1, 127));
  publish(4);
  CHECK(courier.take() == Texts{"3:1", "2:2", "2:3", "1:4"});
  done(two, {3});
  done(three, {1});
  publish(1);
  CHECK(courier.take() == Texts{"3:5"});
  queues.set_state(three, there(100, -1), now);  // it has subscribed again
  publish(2);
  CHECK(courier.take() == Texts{"2:6", "3:7"});
}

TEST_CASE_METHOD(QueueTest, "those of the highest priority get messages in turn", "[queue]") {
  Queue& queue = declare();
  join(queue, 1, there(100, 3));
  join(queue, 2, there(100, 1));
  join(queue, 3, there(100, 3));
  publish(4);
  CHECK(courier.take() == Texts{"1:1", "3:2", "1:3", "3:4"});
}

TEST_CASE_METHOD(QueueTest, "who says that he is full, or away, is asked again when he has said otherwise", "[queue]") {
  const Handed unable = GENERATE(Handed::Full, Handed::Away);
  Queue& queue = declare();
  const MemberId one = join(queue, 1), two = join(queue, 2);
  courier.answers[1] = unable;
  publish(2);
  CHECK(courier.take() == Texts{"2:1", "2:2"});
  courier.answers.clear();
  publish(1);
  CHECK(courier.take() == Texts{"2:3"});
  courier.answers[2] = unable;
  publish(1);
  CHECK(courier.take().empty());
  CHECK(depth(queue) == 4);
  queues.set_state(one, kThere, now);
  CHECK(courier.take() == Texts{"1:4"});
  courier.answers.clear();
  queues.set_state(two, kThere, now);
  publish(2);
  CHECK(courier.take() == Texts{"2:5", "1:6"});
}

TEST_CASE_METHOD(QueueTest, "who is away gets nothing", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, kAway);
  publish(1);
  CHECK(courier.take().empty());
  queues.set_state(one, kThere, now);
  CHECK(courier.take() == Texts{"1:1"});
}

TEST_CASE_METHOD(QueueTest, "what was handed over and never sent was no delivery", "[queue]") {
  Queue& queue = declare(at_most(1));
  const MemberId one = join(queue, 1);
  publish(2);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  queues.give_back(one, 2, Handed::Full, now);
  queues.give_back(one, 1, Handed::Full, now);
  CHECK(queue.work->figures.delivered == 0);
  CHECK(depth(queue) == 2);
  CHECK(courier.take().empty());
  const MemberId two = join(queue, 2, there(1));
  CHECK(courier.take() == Texts{"2:1"});  // the count is not said: it is the first
  queues.give_back(two, 1, Handed::Away, now);
  queues.set_state(one, kThere, now);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  queues.leave(two, now);
  queues.give_back(two, 1, Handed::Away, now);  // it was on its way when he left
  CHECK(queue.work->figures.delivered == 2);
  CHECK(queue.work->figures.redelivered == 0);
  CHECK(depth(queue) == 2);
}

// --- exclusive

TEST_CASE_METHOD(QueueTest, "one consumer has an exclusive queue, for as long as he is there", "[queue]") {
  Queue& queue = declare(exclusively());
  const MemberId one = join(queue, 1, there(1)), two = join(queue, 2, there(100, 9));
  publish(3);
  CHECK(courier.take() == Texts{"1:1"});  // another has room, and a higher priority
  done(one, {1});
  CHECK(courier.take() == Texts{"1:2"});
  queues.set_state(one, kAway, now);
  give_up(one, {2});
  CHECK(courier.take() == Texts{"2:3", "2:2#2"});
  queues.set_state(one, there(1), now);
  publish(1);
  CHECK(courier.take() == Texts{"2:4"});
  queues.leave(two, now);
  CHECK(courier.take() == Texts{"1:2#3"});
  done(one, {2});
  CHECK(courier.take() == Texts{"1:3#2"});
}

TEST_CASE_METHOD(QueueTest, "the next of an exclusive queue is the first of the highest priority", "[queue]") {
  Queue& queue = declare(exclusively());
  const MemberId one = join(queue, 1);
  join(queue, 2);
  const MemberId three = join(queue, 3, there(100, 1));
  join(queue, 4, there(100, 1));
  queues.set_state(one, kAway, now);
  publish(1);
  CHECK(courier.take() == Texts{"3:1"});
  queues.set_state(three, kAway, now);
  publish(1);
  CHECK(courier.take() == Texts{"4:2"});
}

// Of three of one priority the second has it when the first leaves, and not the last.
TEST_CASE_METHOD(QueueTest, "the consumers of an exclusive queue follow one another in their order", "[queue]") {
  Queue& queue = declare(exclusively());
  const MemberId one = join(queue, 1);
  join(queue, 2);
  join(queue, 3);
  queues.leave(one, now);
  publish(1);
  CHECK(courier.take() == Texts{"2:1"});
}

TEST_CASE_METHOD(QueueTest, "a rejected message of an exclusive queue is nobody else's", "[queue]") {
  Queue& queue = declare(exclusively());
  const MemberId one = join(queue, 1);
  join(queue, 2);
  publish(1);
  reject(one, {1});
  CHECK(courier.take() == Texts{"1:1"});
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:1#2"});
}

TEST_CASE_METHOD(QueueTest, "a queue becomes exclusive, and stops to be", "[queue]") {
  Queue& queue = declare();
  join(queue, 1);
  join(queue, 2);
  CHECK(queues.set_options(queue, exclusively(), {}, now) == Status::Ok);
  publish(2);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  CHECK(queues.set_options(queue, plain(), {}, now) == Status::Ok);
  publish(2);
  CHECK(courier.take() == Texts{"2:3", "1:4"});
}

TEST_CASE_METHOD(QueueTest, "who has an exclusive queue keeps it when its options change", "[queue]") {
  Queue& queue = declare(exclusively());
  join(queue, 1);
  join(queue, 2, there(100, 9));
  QueueOptions options = exclusively();
  options.messages_max = 10;
  REQUIRE(queues.set_options(queue, options, {}, now) == Status::Ok);
  publish(1);
  CHECK(courier.take() == Texts{"1:1"});
}

// --- settling

TEST_CASE_METHOD(QueueTest, "what is acknowledged is gone, in any order, once", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1);
  publish(3);
  done(one, {2});
  CHECK(depth(queue) == 2);
  done(one, {2, 99});  // again, and one that never was
  CHECK(depth(queue) == 2);
  done(one, {1, 3});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.settled == 3);
  CHECK(record() == "q@4: 1. 2. 3.");
  CHECK(record(true) == "q@4:");
}

TEST_CASE_METHOD(QueueTest, "a rejected message is another's at once, and the same one's after the delay", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1), two = join(queue, 2, there(1));
  publish(1);
  CHECK(courier.take() == Texts{"1:1"});
  reject(one, {1});
  CHECK(courier.take() == Texts{"2:1#2"});
  reject(two, {1});
  CHECK(queue.work->figures.rejected == 2);
  courier.take();
  queues.leave(two, now);

  publish(1);
  reject(one, {2});
  CHECK(courier.take().back() == "1:2");
  pass_ms(99);
  CHECK(courier.take().empty());
  pass_surely_ms(1);
  CHECK(courier.take() == Texts{"1:1#3", "1:2#2"});
}

TEST_CASE_METHOD(QueueTest, "who rejected a message has the others meanwhile", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(1));
  publish(3);
  reject(one, {1});
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  pass_surely_ms(100);
  done(one, {2});
  CHECK(courier.take() == Texts{"1:1#2"});  // before what was never handed out
}

// The other one had it on its way, and never sent it.
TEST_CASE_METHOD(QueueTest, "who rejected a message does not have it sooner because another could not take it",
                 "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1), two = join(queue, 2, there(1));
  publish(1);
  reject(one, {1});
  REQUIRE(courier.take() == Texts{"1:1", "2:1#2"});
  queues.give_back(two, 1, Handed::Full, now);
  CHECK(courier.take().empty());
}

// Two who reject are not to send it to and fro as fast as the network carries it.
TEST_CASE_METHOD(QueueTest, "who rejected a message does not have it sooner because another has rejected it too",
                 "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1), two = join(queue, 2);
  publish(1);
  reject(one, {1});
  REQUIRE(courier.take() == Texts{"1:1", "2:1#2"});
  reject(two, {1});
  CHECK(courier.take().empty());
}

TEST_CASE_METHOD(QueueTest, "what a consumer that goes has goes to others at once, in order, before what is new",
                 "[queue]") {
  const bool leaves = GENERATE(true, false);
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(3));
  publish(5);
  done(one, {2});
  CHECK(courier.take() == Texts{"1:1", "1:2", "1:3", "1:4"});
  if (leaves) {
    queues.leave(one, now);
  } else {  // its connection has ended
    queues.set_state(one, kAway, now);
    give_up(one, {4, 1, 3});
  }
  CHECK(courier.take().empty());
  CHECK(depth(queue) == 4);
  join(queue, 2, there(3));
  CHECK(courier.take() == Texts{"2:1#2", "2:3#2", "2:4#2"});
  join(queue, 3);
  CHECK(courier.take() == Texts{"3:5"});
  CHECK(queue.work->figures.redelivered == 3);
}

TEST_CASE_METHOD(QueueTest, "a message that is not acknowledged in time is another's", "[queue]") {
  Queue& queue = declare(with_timeout(500));
  join(queue, 1, there(2));
  publish(1);
  pass_ms(300);
  join(queue, 2);
  publish(1);
  CHECK(courier.take() == Texts{"1:1", "2:2"});
  pass_ms(199);
  CHECK(courier.take().empty());
  pass_surely_ms(1);
  CHECK(courier.take() == Texts{"2:1#2"});
  CHECK(queue.work->figures.timed_out == 1);
  pass_ms(300);
  CHECK(courier.take() == Texts{"1:2#2"});  // at once, as a negative acknowledgement
  CHECK(depth(queue) == 2);
}

TEST_CASE_METHOD(QueueTest, "the same one has what he did not acknowledge in time after the delay, within his window",
                 "[queue]") {
  Queue& queue = declare(with_timeout(500));
  const bool has_room = GENERATE(true, false);
  join(queue, 1, there(has_room ? 2 : 1));
  publish(1);
  pass_surely_ms(500);
  CHECK(courier.take() == Texts{"1:1"});
  pass_surely_ms(100);
  CHECK(courier.take() == (has_room ? Texts{"1:1#2"} : Texts{}));
  CHECK(depth(queue) == 1);
}

TEST_CASE_METHOD(QueueTest, "a late acknowledgement settles what nobody has had since", "[queue]") {
  Queue& queue = declare(with_timeout(500));
  const MemberId one = join(queue, 1, there(1));
  publish(2);
  pass_surely_ms(500);
  CHECK(depth(queue) == 2);
  done(one, {1});
  CHECK(queue.work->figures.settled == 1);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  CHECK(depth(queue) == 1);
}

TEST_CASE_METHOD(QueueTest, "a late acknowledgement of what another has had since has no effect but on the window",
                 "[queue]") {
  Queue& queue = declare(with_timeout(500));
  const bool still_has = GENERATE(true, false), positive = GENERATE(true, false);
  const MemberId one = join(queue, 1, there(1));
  publish(1);
  const MemberId two = join(queue, 2, there(1));
  pass_surely_ms(500);
  CHECK(courier.take() == Texts{"1:1", "2:1#2"});
  if (!still_has) {
    queues.set_state(two, kAway, now);
    give_up(two, {1});
    CHECK(courier.take().empty());  // the first has no room yet
  }
  positive ? done(one, {1}) : reject(one, {1});
  CHECK(queue.work->figures.settled == 0);
  CHECK(queue.work->figures.rejected == 0);
  CHECK(depth(queue) == 1);
  pass_surely_ms(100);
  CHECK(courier.take() == (still_has ? Texts{} : Texts{"1:1#3"}));
}

TEST_CASE_METHOD(QueueTest, "who is sent a message twice settles it by either acknowledgement", "[queue]") {
  Queue& queue = declare(with_timeout(500));
  const MemberId one = join(queue, 1, there(2));
  publish(1);
  pass_surely_ms(500);
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:1", "1:1#2"});
  done(one, {1});
  CHECK(depth(queue) == 0);
  done(one, {1});
  CHECK(queue.work->figures.settled == 1);
  publish(2);  // its window is whole again
  CHECK(courier.take() == Texts{"1:2", "1:3"});
}

TEST_CASE_METHOD(QueueTest, "a message that is too large for a consumer is as one that he rejected", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(1));
  courier.answers[1] = Handed::Refused;
  publish(1);
  CHECK(courier.take() == Texts{"1:1"});
  CHECK(queue.work->figures.rejected == 1);
  CHECK(depth(queue) == 1);
  courier.answers.clear();
  publish(1);
  CHECK(courier.take() == Texts{"1:2"});  // it takes no room of him
  done(one, {2});
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:1#2"});
}

TEST_CASE_METHOD(QueueTest, "a message that is too large for one consumer is another's at once", "[queue]") {
  Queue& queue = declare();
  join(queue, 1);
  join(queue, 2);
  courier.answers[1] = Handed::Refused;
  publish(1);
  CHECK(courier.take() == Texts{"1:1", "2:1#2"});
}

// --- dead letters

TEST_CASE_METHOD(QueueTest, "a message that was delivered as often as may be and comes back is a dead letter",
                 "[queue]") {
  const int how = GENERATE(0, 1, 2);
  QueueOptions options = at_most(2);
  options.ack_timeout_ms = how == 1 ? 500 : 0;
  Queue& queue = declare(options, "q", "t", "dead");
  const MemberId one = join(queue, 1);
  MessageView view = message("1", kQos2);
  view.retain = true;
  view.publisher = 77;
  view.expires_at = now + 1000 * kSecond;
  publish(view);
  const auto come_back = [&] {
    if (how == 0) reject(one, {1});
    if (how == 1) pass_surely_ms(500);
    if (how == 2) give_up(one, {1});
    queues.set_state(one, kThere, now);  // who gives back has gone until he says that he is there
  };
  come_back();
  pass_surely_ms(100);
  CHECK(courier.take() == Texts{"1:1", "1:1#2"});
  CHECK(courier.letters.empty());
  come_back();
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.dead == 1);
  REQUIRE(courier.letters.size() == 1);
  const MessageView letter = courier.letters.front()->view();
  CHECK(letter.topic_name == "dead");
  CHECK(letter.qos == Qos::AtLeastOnce);
  CHECK_FALSE(letter.retain);
  CHECK_FALSE(letter.expires());
  CHECK(letter.publisher == 0);
  CHECK(as_text(letter.payload) == "1");
  const char* reasons[] = {"rejected", "timed out", "consumer lost"};
  CHECK(user_properties(letter) ==
        std::vector<std::pair<std::string, std::string>>{{"dead-letter-queue", "q"},
                                                         {"dead-letter-reason", reasons[how]},
                                                         {"dead-letter-topic", "t"},
                                                         {"dead-letter-hops", "1"},
                                                         {"delivery-count", "2"}});
  done(one, {1});  // it comes too late
  CHECK(queue.work->figures.settled == 0);
}

TEST_CASE_METHOD(QueueTest, "a dead letter without a topic is dropped, and counted", "[queue]") {
  Queue& queue = declare(at_most(1));
  const MemberId one = join(queue, 1);
  publish(1);
  reject(one, {1});
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.dead == 1);
  CHECK(courier.letters.empty());
  publish(1);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
}

TEST_CASE_METHOD(QueueTest, "what was delivered more often than may be by now is a dead letter", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(1));
  publish(1);
  for (int i = 0; i < 3; ++i) {
    reject(one, {1});
    pass_surely_ms(100);
  }
  reject(one, {1});
  CHECK(courier.take().back() == "1:1#4");
  CHECK(queues.set_options(queue, at_most(3), "dead", now) == Status::Ok);
  CHECK(courier.letters.size() == 1);
  CHECK(depth(queue) == 0);
}

TEST_CASE_METHOD(QueueTest, "a dead letter that cannot be published yet is kept until it can", "[queue]") {
  Queue& queue = declare(at_most(1), "q", "t", "dead");
  const MemberId one = join(queue, 1);
  publish(1);
  courier.publishes = false;
  reject(one, {1});
  CHECK(depth(queue) == 1);
  {
    courier.publishes = true;
    FailingHeap none(0);
    record();
  }
  CHECK(courier.letters.empty());
  CHECK(depth(queue) == 1);
  record();
  CHECK(courier.letters.size() == 1);
  CHECK(depth(queue) == 0);
  CHECK(courier.take() == Texts{"1:1"});
}

TEST_CASE_METHOD(QueueTest, "a message is gone only when its dead letter is there", "[queue]") {
  Queue& queue = declare(at_most(1), "q", "t", "dead");
  const MemberId one = join(queue, 1);
  publish(1);
  courier.answers_letters = false;
  reject(one, {1});
  REQUIRE(courier.letters.size() == 1);
  CHECK(depth(queue) == 1);
  CHECK(queue.work->figures.dead == 0);
  pass_surely_ms(1000);
  record();
  CHECK(courier.letters.size() == 1);  // it is on its way
  queues.on_letter(courier.last_letter, 1, false);
  CHECK(depth(queue) == 1);
  record();
  REQUIRE(courier.letters.size() == 2);
  queues.on_letter(courier.last_letter, 1, true);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.dead == 1);
  queues.on_letter(courier.last_letter, 1, true);
  CHECK(queue.work->figures.dead == 1);
  CHECK(courier.take() == Texts{"1:1"});
}

TEST_CASE_METHOD(QueueTest, "a message that dies as a consumer refuses it is nobody's", "[queue]") {
  Queue& queue = declare(at_most(1), "q", "t", "dead");
  courier.answers_letters = GENERATE(true, false);
  courier.answers[1] = Handed::Refused;
  join(queue, 1);
  join(queue, 2);
  publish(1);
  CHECK(courier.letters.size() == 1);
  CHECK(courier.take() == Texts{"1:1"});
  if (!courier.answers_letters) queues.on_letter(courier.last_letter, 1, true);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->open_count == queue.work->waiting_count);
  CHECK(queue.work->figures.dead == 1);
}

TEST_CASE_METHOD(QueueTest, "a queue is deleted while a dead letter of it is on its way", "[queue]") {
  Queue& queue = declare(at_most(1), "q", "t", "dead");
  const MemberId one = join(queue, 1);
  publish(1);
  courier.answers_letters = false;
  reject(one, {1});
  REQUIRE(courier.letters.size() == 1);
  queues.remove(queue, now);
  queues.on_letter(courier.last_letter, 1, GENERATE(true, false));
  CHECK(queues.count() == 0);
}

TEST_CASE_METHOD(QueueTest, "a dead letter that has gone around too often is dropped", "[queue]") {
  Queue& queue = declare(at_most(1), "q", "t", "dead");
  const MemberId one = join(queue, 1);
  MessageRef last = Message::create(message("1"));
  for (uint32_t hops = 1; hops <= kDeadLetterHopsMax; ++hops) {
    publish(last->view());
    reject(one, {number});
    REQUIRE(courier.letters.size() == hops);
    last = courier.letters.back();
    MessageView view = last->view();
    view.topic_name = "t";
    last = Message::create(view);
    REQUIRE(user_properties(last->view()).size() == 5);
  }
  publish(last->view());
  reject(one, {number});
  CHECK(courier.letters.size() == kDeadLetterHopsMax);
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.dead == kDeadLetterHopsMax + 1);
}

// --- what expires by itself

TEST_CASE_METHOD(QueueTest, "a message that has expired is not handed out, be it the first time or again", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(2));
  MessageView view = message("1");
  view.expires_at = now + 5 * kSecond;
  publish(view);
  publish(1);
  view.payload = as_bytes("3");
  publish(view);
  CHECK(courier.take() == Texts{"1:1", "1:2"});
  pass_ms(4000);
  give_up(one, {1});
  queues.set_state(one, there(2), now);
  CHECK(courier.take() == Texts{"1:1#2"});
  pass_ms(1000);
  done(one, {2});  // the third has expired
  give_up(one, {1});
  queues.set_state(one, there(2), now);
  CHECK(courier.take().empty());
  CHECK(depth(queue) == 0);
  CHECK(queue.work->figures.expired == 2);
}

// --- purged, deleted

TEST_CASE_METHOD(QueueTest, "to purge a queue drops what waits, and not what consumers have", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(2));
  publish(5);
  queues.set_state(one, kAway, now);
  give_up(one, {2});
  CHECK(queues.purge(queue, now) == 4);  // one that came back, and three that never went
  CHECK(queue.work->figures.purged == 4);
  CHECK(depth(queue) == 1);
  CHECK(record() == "q@6: 1* 2.");
  queues.set_state(one, kThere, now);
  publish(1);
  done(one, {1});
  CHECK(courier.take() == Texts{"1:1", "1:2", "1:6"});
  CHECK(queues.purge(queue, now) == 0);
  CHECK(depth(queue) == 1);
}

TEST_CASE_METHOD(QueueTest, "to delete a queue ends it, and tells its consumers", "[queue]") {
  const int64_t before = heap_blocks();
  Queue& queue = declare(with_timeout(500));
  const MemberId one = join(queue, 1);
  queues.join(queue, 1, {2, 1}, kThere);
  publish(3);
  const SlabHandle handle = queue.handle();
  queues.remove(queue, now);
  CHECK(courier.deleted == Texts{"0/1", "1/2"});
  CHECK(courier.forgotten == Texts{"q"});
  CHECK(queues.count() == 0);
  CHECK(router.match(0, "t")->filters().empty());
  // What is still on its way to it comes to nothing.
  pass_surely_ms(500);
  done(one, {1});
  reject(one, {2});
  queues.set_state(one, kThere, now);
  queues.give_back(one, 3, Handed::Full, now);
  queues.leave(one, now);
  Ring<FetchedMessage> found;
  queues.on_fetched(handle, found, now);
  CHECK(record(true).empty());
  CHECK(heap_blocks() <= before + 6);  // the slabs
  Queue& again = declare();
  CHECK(depth(again) == 0);
  CHECK(again.work->members.empty());
  CHECK_FALSE(again.handle() == handle);
}

TEST_CASE_METHOD(QueueTest, "a message on its way to a queue that is deleted comes to nothing", "[queue]") {
  Queue& queue = declare();
  const RouteRef route = router.match(0, "t");
  const MessageRef kept = Message::create(message("1"));
  REQUIRE(route->queues()[0]->gate().enter(kept->content_size()));
  queues.remove(queue, now);
  Queue& again = declare();
  append(kept, *route, {});
  CHECK(depth(again) == 0);
}

}  // namespace mqttq
