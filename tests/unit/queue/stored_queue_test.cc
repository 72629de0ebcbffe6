// The values of a queue's tables in the store: what is written is read, and nothing else is.
#include "queue/stored_queue.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "heap.h"
#include "queue/queues.h"

namespace mqttq {

namespace {

StoredQueue some_queue() {
  StoredQueue stored;
  stored.identity = {7, "orders", "o/+/#", 0x0123'4567'89AB'CDEF};
  stored.options.dispatch = QueueDispatch::LeastInflight;
  stored.options.overflow = QueueOverflow::Reject;
  stored.options.exclusive = true;
  stored.options.messages_max = UINT64_MAX - 1;
  stored.options.bytes_max = 0;
  stored.options.age_max_s = UINT32_MAX;
  stored.options.redelivery_delay_ms = 1;
  stored.options.ack_timeout_ms = 2;
  stored.options.deliveries_max = 3;
  stored.dead_letter_topic = "dead/letters";
  return stored;
}

std::vector<std::byte> written(const StoredQueue& stored) {
  Array<std::byte> bytes;
  FieldWriter out(bytes);
  stored.write(out);
  REQUIRE(out.ok());
  return {bytes.begin(), bytes.end()};
}

bool reads(const std::vector<std::byte>& bytes) {
  FieldReader in(bytes);
  StoredQueue stored;
  return stored.read(in);
}

// What is read of a place, as text.
bool read_place(Bytes bytes, std::string& text) {
  FieldReader in(bytes);
  uint64_t position = 0;
  text.clear();
  const bool read = StoredQueuePlace::read(
      in, false, position,
      [&](uint64_t number, uint32_t size, uint16_t deliveries, const TextKey&) {
        text += " " + std::to_string(number) + "/" + std::to_string(size) + "/" + std::to_string(deliveries);
      },
      [&](int64_t at_ms, uint64_t number) { text += " " + std::to_string(at_ms) + "@" + std::to_string(number); });
  text = std::to_string(position) + text;
  return read && in.at_end();
}

}  // namespace

TEST_CASE("a declared queue is read as it was written", "[queue]") {
  const StoredQueue stored = some_queue();
  const std::vector<std::byte> bytes = written(stored);
  FieldReader in(bytes);
  StoredQueue read;
  REQUIRE(read.read(in));
  CHECK(in.at_end());
  CHECK(read.identity.namespace_id == 7);
  CHECK(read.identity.id == stored.identity.id);
  CHECK(read.identity.name == "orders");
  CHECK(read.identity.topic_filter == "o/+/#");
  CHECK(read.dead_letter_topic == "dead/letters");
  CHECK(read.options.dispatch == QueueDispatch::LeastInflight);
  CHECK(read.options.overflow == QueueOverflow::Reject);
  CHECK(read.options.exclusive);
  CHECK(read.options.messages_max == UINT64_MAX - 1);
  CHECK(read.options.bytes_max == 0);
  CHECK(read.options.age_max_s == UINT32_MAX);
  CHECK(read.options.redelivery_delay_ms == 1);
  CHECK(read.options.ack_timeout_ms == 2);
  CHECK(read.options.deliveries_max == 3);
  StoredQueue plain;
  plain.identity = {0, "$q/a", "a", 1};
  CHECK(reads(written(plain)));
}

TEST_CASE("a declared queue that is cut short is none", "[queue]") {
  const std::vector<std::byte> bytes = written(some_queue());
  for (size_t size = 0; size < bytes.size(); ++size) {
    INFO(size);
    CHECK_FALSE(reads({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)}));
  }
}

TEST_CASE("what no queue can be is not read as one", "[queue]") {
  StoredQueue stored = some_queue();
  stored.options.dispatch = static_cast<QueueDispatch>(static_cast<uint8_t>(QueueDispatch::KeyOrdered) + 1);
  CHECK_FALSE(reads(written(stored)));
  stored = some_queue();
  stored.options.overflow = static_cast<QueueOverflow>(static_cast<uint8_t>(QueueOverflow::Reject) + 1);
  CHECK_FALSE(reads(written(stored)));
  stored = some_queue();
  stored.identity.name = "no name";
  CHECK_FALSE(reads(written(stored)));
  stored = some_queue();
  stored.identity.topic_filter = "a/#/b";
  CHECK_FALSE(reads(written(stored)));
}

TEST_CASE_METHOD(QueueTest, "a queue's place is read as it was written, without what is settled", "[queue]") {
  Queue& queue = declare();
  const MemberId one = join(queue, 1, there(4));
  publish(3);
  pass_ms(1000);
  publish(message(std::string(99, 'x')));
  publish(2);
  give_up(one, {3});
  queues.set_state(one, there(4), now);  // and has it again
  done(one, {2});
  Array<std::byte> bytes;
  FieldWriter out(bytes);
  StoredQueuePlace::write(out, queue, queue.position(number));
  REQUIRE(out.ok());
  std::string text;
  REQUIRE(read_place(bytes.span(), text));
  CHECK(text == "6 1/2/1 3/2/2 4/100/1 5/2/1 1000000@1 1001000@4");

  const Bytes whole = bytes.span();
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO(size);
    CHECK_FALSE(read_place(whole.first(size), text));
  }
  // One that says that it is longer than there is memory for.
  put_little(bytes.begin() + sizeof(uint64_t), UINT32_MAX);
  CHECK_FALSE(read_place(bytes.span(), text));
  {
    FailingHeap none(0);
    Array<std::byte> more;
    FieldWriter failing(more);
    StoredQueuePlace::write(failing, queue, 1);
    CHECK_FALSE(failing.ok());
  }
}

}  // namespace mqttq
