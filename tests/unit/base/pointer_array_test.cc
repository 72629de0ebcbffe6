// A list of pointers, against std::vector.
#include "base/pointer_array.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

TEST_CASE("a pointer array behaves as a vector whose order is of no matter", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 9))));
  int things[64] = {};
  const int64_t before = heap_blocks();
  {
    PointerArray<int> array;
    std::vector<int*> model;
    for (int step = 0; step < 5'000; ++step) {
      if (random.below(step / 500 % 2 ? 3 : 2) == 0) {
        int* item = &things[random.below(64)];
        REQUIRE(array.push_back(item));
        model.push_back(item);
        CHECK(array.back() == item);
      } else if (!model.empty()) {
        const auto index = static_cast<uint32_t>(random.below(model.size()));
        array.remove_unordered(index);
        model[index] = model.back();
        model.pop_back();
      }
      REQUIRE(std::vector<int*>(array.begin(), array.end()) == model);
      if (array.empty()) CHECK(heap_blocks() == before);
    }
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("the first pointer needs no memory, and without memory nothing changes", "[base]") {
  int one = 1, two = 2;
  PointerArray<int> array;
  const FailingHeap none(0);
  CHECK(array.push_back(&one));
  CHECK_FALSE(array.push_back(&two));
  CHECK(array.count() == 1);
  CHECK(array.back() == &one);
}

}  // namespace mqttq
