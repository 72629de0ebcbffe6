// A growable array, against a vector.
#include "base/array.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

TEST_CASE("an array behaves as a vector", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  const int64_t before = heap_blocks();
  {
    Array<int> array;
    std::vector<int> model;
    for (int step = 0; step < 5'000; ++step) {
      switch (random.below(8)) {
        case 0:
        case 1:
        case 2:
          REQUIRE(array.push_back(step));
          model.push_back(step);
          break;
        case 3: {
          std::vector<int> more(random.below(20));
          std::iota(more.begin(), more.end(), step);
          REQUIRE(array.append(more));
          model.insert(model.end(), more.begin(), more.end());
          break;
        }
        case 4:
          if (model.empty()) break;
          array.pop_back();
          model.pop_back();
          break;
        case 5: {
          if (model.empty()) break;
          const auto index = static_cast<uint32_t>(random.below(model.size()));
          array.remove_unordered(index);
          model[index] = model.back();
          model.pop_back();
          break;
        }
        case 6: {
          const auto count = static_cast<uint32_t>(random.below(model.size() + 1));
          array.remove_front(count);
          model.erase(model.begin(), model.begin() + count);
          break;
        }
        default:
          if (random.below(20) == 0) {
            array.reset();
            model.clear();
          } else {
            Array<int> other(std::move(array));
            CHECK(array.empty());
            array = std::move(other);
          }
          break;
      }
      REQUIRE(std::vector<int>(array.begin(), array.end()) == model);
      if (!model.empty()) REQUIRE(array.back() == model.back());
    }
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("an array without memory stays as it was", "[base]") {
  Array<int> array;
  const int more[100] = {};
  {
    FailingHeap none(0);
    CHECK_FALSE(array.push_back(1));
    CHECK_FALSE(array.append(more));
    CHECK(array.append({}));
  }
  REQUIRE(array.push_back(1));
  REQUIRE(array.make_room());
  FailingHeap none(0);
  CHECK(array.push_back(2));  // there was room
  CHECK_FALSE(array.append(more));
  CHECK_FALSE(array.reserve(1'000));
  CHECK(array.count() == 2);
  CHECK(array[0] == 1);
}

}  // namespace mqttq
