// A slab: its bound, and handles that go stale.
#include "base/slab.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <utility>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {
struct Counted {
  explicit Counted(int& of, int number_) : alive(of), number(number_) { ++alive; }
  ~Counted() { --alive; }
  int& alive;
  int number;
};
}  // namespace

TEST_CASE("a slab's handle names its object until it ends, and never the next in its place", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  const int64_t before = heap_blocks();
  {
    int alive = 0;
    Slab<Counted> slab(150);
    std::vector<std::pair<Counted*, SlabHandle>> objects;
    std::vector<SlabHandle> stale;
    CHECK(slab.find({}) == nullptr);
    for (int step = 0; step < 3'000; ++step) {
      if (random.below(2)) {
        Counted* object = slab.take(alive, step);
        REQUIRE((object != nullptr) == (objects.size() < 150));
        if (!object) continue;
        const SlabHandle handle = Slab<Counted>::handle(*object);
        for (const SlabHandle& old : stale) REQUIRE_FALSE(old == handle);
        objects.emplace_back(object, handle);
      } else if (!objects.empty()) {
        const size_t index = random.below(objects.size());
        stale.push_back(objects[index].second);
        slab.give_back(*objects[index].first);
        objects.erase(objects.begin() + static_cast<ptrdiff_t>(index));
      }
      REQUIRE(slab.count() == objects.size());
      REQUIRE(alive == static_cast<int>(objects.size()));
      if (!objects.empty()) {
        const auto& [object, handle] = objects[random.below(objects.size())];
        REQUIRE(slab.find(handle) == object);
        REQUIRE(slab.at(handle.index) == object);
      }
      if (!stale.empty()) REQUIRE(slab.find(stale[random.below(stale.size())]) == nullptr);
    }
    uint32_t walked = 0;
    for (uint32_t i = 0; i < slab.index_end(); ++i) walked += slab.at(i) != nullptr;
    CHECK(walked == objects.size());
    CHECK(slab.find({slab.index_end(), 1}) == nullptr);
    for (const auto& [object, handle] : objects) slab.give_back(*object);
    CHECK(alive == 0);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a slab without memory gives nothing, and gives again when there is some", "[base]") {
  int alive = 0;
  Slab<Counted> slab(10);
  for (int64_t after = 0; after < 2; ++after) {
    FailingHeap some(after);
    CHECK(slab.take(alive, 1) == nullptr);
  }
  CHECK(slab.count() == 0);
  Counted* object = slab.take(alive, 1);
  REQUIRE(object);
  slab.give_back(*object);
}

TEST_CASE("slabs that share a count share its bound", "[base]") {
  std::atomic<uint32_t> count{0};
  Slab<int> one(3, &count), other(3, &count);
  int* first = one.take(1);
  REQUIRE(first);
  int* second = other.take(2);
  int* third = other.take(3);
  REQUIRE((second && third));
  CHECK(one.take(4) == nullptr);
  CHECK(other.take(4) == nullptr);
  other.give_back(*third);
  int* fourth = one.take(4);
  REQUIRE(fourth);
  CHECK(count == 3);
  one.give_back(*first);
  one.give_back(*fourth);
  other.give_back(*second);
  CHECK(count == 0);
}

}  // namespace mqttq
