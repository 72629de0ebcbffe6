// A mailbox: its bound, its order, and two threads at its ends.
#include "base/mailbox.h"

#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <thread>

#include "heap.h"

namespace mqttq {

TEST_CASE("a mailbox takes as many as it has room for, and gives them in order", "[base]") {
  for (const uint32_t capacity : {1u, 2u, 3u, 7u, 64u}) {
    const int64_t before = heap_blocks();
    {
      Mailbox<std::unique_ptr<int>> box(capacity);
      CHECK(box.empty());
      CHECK(box.front() == nullptr);
      int next_in = 0, next_out = 0;
      for (int round = 0; round < 20; ++round) {
        CHECK(box.room() == capacity - static_cast<uint32_t>(next_in - next_out));
        while (box.push(std::make_unique<int>(next_in))) ++next_in;
        CHECK(box.room() == 0);
        CHECK(next_in - next_out == static_cast<int>(capacity));
        auto refused = std::make_unique<int>(-1);
        CHECK_FALSE(box.push(std::move(refused)));
        CHECK(refused);  // untouched
        for (uint32_t i = 0; i <= capacity / 2; ++i) {
          if (!box.front()) break;
          CHECK(**box.front() == next_out++);
          box.pop();
        }
      }
      CHECK(box.pushed() - box.popped() == static_cast<uint64_t>(next_in - next_out));
    }
    CHECK(heap_blocks() == before);  // with what was still in it
  }
}

TEST_CASE("a producer that was refused is told once that there is room", "[base]") {
  Mailbox<int> box(1);
  CHECK(box.push(1));
  REQUIRE(box.front());
  box.pop();
  CHECK_FALSE(box.take_room_wanted());
  CHECK(box.push(2));
  CHECK_FALSE(box.push(3));
  CHECK_FALSE(box.push(3));
  REQUIRE(box.front());
  box.pop();
  CHECK(box.take_room_wanted());
  CHECK_FALSE(box.take_room_wanted());
}

TEST_CASE("what one thread puts in, another takes out, all and in order", "[base][threads]") {
  for (const uint32_t capacity : {1u, 4u, 256u}) {
    constexpr int kCount = 50'000;
    Mailbox<std::unique_ptr<int>> box(capacity);
    std::thread producer([&] {
      for (int i = 0; i < kCount; ++i) {
        auto item = std::make_unique<int>(i);
        while (!box.push(std::move(item))) std::this_thread::yield();
      }
    });
    int wrong = 0;
    for (int expected = 0; expected < kCount;) {
      std::unique_ptr<int>* item = box.front();
      if (!item) {
        std::this_thread::yield();
        continue;
      }
      wrong += **item != expected++;
      box.pop();
    }
    producer.join();
    CHECK(wrong == 0);
    CHECK(box.empty());
  }
}

// Nobody sleeps on a mailbox that has room: either push() succeeds, or the consumer sees that room is wanted.
TEST_CASE("a producer that waits for word of room is not forgotten", "[base][threads]") {
  constexpr int kCount = 20'000;
  Mailbox<int> box(1);
  std::atomic<int> wake_ups{0};
  std::thread producer([&] {
    int seen = 0;
    for (int i = 0; i < kCount; ++i) {
      while (!box.push(int{i})) {
        while (wake_ups.load() == seen) std::this_thread::yield();  // it does not look by itself
        seen = wake_ups.load();
      }
    }
  });
  int taken = 0;
  while (taken < kCount) {
    if (!box.front()) {
      std::this_thread::yield();
      continue;
    }
    box.pop();
    ++taken;
    if (box.take_room_wanted()) wake_ups.fetch_add(1);
  }
  producer.join();
  CHECK(taken == kCount);
}

}  // namespace mqttq
