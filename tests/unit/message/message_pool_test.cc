#include "message/message_pool.h"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "message/message.h"

namespace mqttq {

namespace {

// This thread's pool as long as it lives.
struct Current {
  Current() : outer(MessagePool::set_current(&pool)) {}
  ~Current() { MessagePool::set_current(outer); }
  MessagePool pool;
  MessagePool* outer;
};

MessageRef make(size_t payload_size) {
  static const std::vector<std::byte> kPayload(10'000);
  MessageView view;
  view.topic_name = "a/b";
  view.payload = Bytes(kPayload).first(payload_size);
  return Message::create(view);
}

}  // namespace

TEST_CASE("a block comes again for a message of its size, and for no other", "[message]") {
  Current current;
  const Message* first = nullptr;
  {
    const MessageRef message = make(64);
    first = message.get();
  }
  CHECK(current.pool.kept_bytes() > 0);
  const MessageRef larger = make(200);
  CHECK(larger.get() != first);
  const MessageRef again = make(64);
  CHECK(again.get() == first);
  CHECK(current.pool.kept_bytes() == 0);
  const MessageRef another = make(64);
  CHECK(another.get() != first);
}

TEST_CASE("every size holds what is written to it, with a pool and without", "[message]") {
  for (const bool pooled : {false, true}) {
    for (size_t size = 1; size <= MessagePool::kSizeMax + 40; ++size) {
      void* block = MessagePool::take(size);
      std::memset(block, 0xAB, size);
      Current current;
      if (!pooled) MessagePool::set_current(nullptr);
      MessagePool::give_back(block, size);  // from no pool into this one
      void* other = MessagePool::take(size);
      std::memset(other, 0xCD, size);
      MessagePool::give_back(other, size);
    }
  }
}

TEST_CASE("a pool keeps no more than its bound, and nothing that is large", "[message]") {
  Current current;
  std::vector<MessageRef> messages;
  for (int i = 0; i < 10'000; ++i) messages.push_back(make(300));
  messages.clear();
  CHECK(current.pool.kept_bytes() >= MessagePool::kKeptMax);
  CHECK(current.pool.kept_bytes() < MessagePool::kKeptMax + MessagePool::kSizeMax);
  const size_t before = current.pool.kept_bytes();
  make(5000);
  CHECK(current.pool.kept_bytes() == before);
}

TEST_CASE("a message that another thread ends goes to that thread's pool", "[message][threads]") {
  Current current;
  MessageRef message = make(64);
  std::thread other([&] {
    Current theirs;
    message = {};
    CHECK(theirs.pool.kept_bytes() > 0);
  });
  other.join();
  CHECK(current.pool.kept_bytes() == 0);
}

}  // namespace mqttq
