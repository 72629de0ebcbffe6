// The topics of a stream's messages, by numbers.
#include "stream/stream_topics.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "heap.h"

namespace mqttq {

TEST_CASE("a topic has one number while an entry has it, and the number is another's afterwards", "[stream]") {
  StreamTopics topics;
  const uint32_t a = topics.enter("a"), b = topics.enter("b");
  CHECK(a != b);
  CHECK(topics.enter("a") == a);
  CHECK(topics.name(b) == "b");
  CHECK(topics.changes() == 2);
  topics.leave(a);
  CHECK(topics.is_used(a));
  CHECK(topics.reuses() == 0);
  topics.leave(a);
  CHECK_FALSE(topics.is_used(a));
  CHECK(topics.enter("c") == a);
  CHECK(topics.name(a) == "c");
  CHECK(topics.reuses() == 1);
  CHECK(topics.end() == 2);
  topics.leave(StreamTopics::kUnknown);
}

TEST_CASE("a topic that there is no memory for is unknown, and nothing is lost", "[stream]") {
  const int64_t before = heap_blocks();
  {
    StreamTopics topics;
    for (int64_t blocks = 0; blocks < 200; ++blocks) {
      const std::string name = "topic/" + std::to_string(blocks);
      uint32_t number = 0;
      {
        const FailingHeap heap(blocks % 7);
        number = topics.enter(name);
      }
      if (number == StreamTopics::kUnknown) number = topics.enter(name);
      REQUIRE(number != StreamTopics::kUnknown);
      CHECK(topics.name(number) == name);
      if (blocks % 3 == 0) topics.leave(number);
    }
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
