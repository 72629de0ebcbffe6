// A ring, against a deque.
#include "base/ring.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <deque>
#include <memory>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

TEST_CASE("a ring behaves as a deque", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  const int64_t before = heap_blocks();
  {
    Ring<std::unique_ptr<int>> ring;
    std::deque<int> model;
    for (int step = 0; step < 10'000; ++step) {
      const bool growing = step / 500 % 2 == 0;
      if (random.below(10) < (growing ? 6u : 4u)) {
        REQUIRE(ring.push_back(std::make_unique<int>(step)));
        model.push_back(step);
      } else if (!model.empty()) {
        REQUIRE(*ring.pop_front() == model.front());
        model.pop_front();
      }
      REQUIRE(ring.count() == model.size());
      if (model.empty()) continue;
      REQUIRE(*ring.front() == model.front());
      REQUIRE(*ring.back() == model.back());
      const auto index = static_cast<uint32_t>(random.below(model.size()));
      REQUIRE(*ring[index] == model[index]);
      if (random.below(1'000) == 0) {
        ring.reset();
        model.clear();
      }
    }
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a ring without memory leaves the item untouched", "[base]") {
  Ring<std::unique_ptr<int>> ring;
  auto item = std::make_unique<int>(1);
  FailingHeap none(0);
  CHECK_FALSE(ring.push_back(std::move(item)));
  CHECK(item);
  CHECK(ring.empty());
}

}  // namespace mqttq
