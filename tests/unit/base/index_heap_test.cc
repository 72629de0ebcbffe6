// A heap whose items know their place, against a search through all.
#include "base/index_heap.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {
struct Item {
  uint64_t key = 0;
  uint32_t place = kInNoHeap;
};
bool before(const Item& one, const Item& other) { return one.key < other.key; }
using Heap = IndexHeap<Item, &Item::place, before>;
}  // namespace

TEST_CASE("the first of a heap is the least, whatever is moved and taken out", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 6))));
  Heap heap;
  Item items[60];
  for (int step = 0; step < 5'000; ++step) {
    Item& item = items[random.below(60)];
    if (item.place == kInNoHeap) {
      item.key = random.below(40);
      REQUIRE(heap.make_room());
      heap.push(item);
    } else if (random.below(2)) {
      item.key = random.below(40);
      heap.moved(item);
    } else {
      heap.remove(item);
      heap.remove(item);  // which is nothing
    }
    uint64_t least = UINT64_MAX;
    uint32_t count = 0;
    for (const Item& one : items) {
      if (one.place == kInNoHeap) continue;
      least = std::min(least, one.key);
      ++count;
    }
    REQUIRE(heap.count() == count);
    REQUIRE(heap.empty() == (count == 0));
    if (count) REQUIRE(heap.front().key == least);
  }
}

TEST_CASE("a heap with room needs no memory", "[base]") {
  Heap heap;
  Item items[3];
  REQUIRE(heap.reserve(3));
  const FailingHeap none(0);
  for (Item& item : items) heap.push(item);
  CHECK(heap.count() == 3);
  CHECK_FALSE(heap.make_room());
}

}  // namespace mqttq
