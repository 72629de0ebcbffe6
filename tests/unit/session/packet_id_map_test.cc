// Values by Packet Identifier, against std::map.
#include "session/packet_id_map.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <map>
#include <memory>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

TEST_CASE("a map of packet identifiers behaves as std::map", "[session]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 9))));
  // Identifiers from all of them, or from few that share their lower bits.
  const uint64_t stride = random.below(2) ? 1 : 256;
  const uint64_t count = stride == 1 ? 65'535 : 255;
  const int64_t before = heap_blocks();
  {
    PacketIdMap<std::unique_ptr<int>> map;
    std::map<uint16_t, int> model;
    for (int step = 0; step < 20'000; ++step) {
      const auto id = static_cast<uint16_t>((1 + random.below(count)) * stride % 65'536);
      if (id == 0) continue;
      const bool growing = step / 4'000 % 2 == 0;
      if (random.below(10) < (growing ? 7u : 3u)) {
        if (model.count(id)) {
          REQUIRE(**map.find(id) == model[id]);
        } else {
          REQUIRE(**map.insert(id, std::make_unique<int>(step)) == step);
          model[id] = step;
        }
      } else if (random.below(2) || model.empty()) {
        REQUIRE(map.remove(id) == (model.erase(id) == 1));
      } else {
        const auto at = model.lower_bound(id) == model.end() ? model.begin() : model.lower_bound(id);
        REQUIRE(map.remove(at->first));
        REQUIRE_FALSE(map.find(at->first));
        model.erase(at);
      }
      REQUIRE(map.count() == model.size());
    }
    std::map<uint16_t, int> listed;
    map.for_each([&](uint16_t id, std::unique_ptr<int>& value) { REQUIRE(listed.emplace(id, *value).second); });
    CHECK(listed == model);
    for (const auto& [id, value] : model) {
      REQUIRE(map.find(id));
      CHECK(**map.find(id) == value);
    }
    map.clear();
    CHECK(map.empty());
    CHECK(heap_blocks() == before);
  }
}

TEST_CASE("all packet identifiers fit into one map", "[session]") {
  PacketIdMap<uint16_t> map;
  for (uint32_t id = 1; id <= 65'535; ++id) REQUIRE(map.insert(static_cast<uint16_t>(id), static_cast<uint16_t>(~id)));
  for (uint32_t id = 1; id <= 65'535; ++id) REQUIRE(*map.find(static_cast<uint16_t>(id)) == static_cast<uint16_t>(~id));
  for (uint32_t id = 65'535; id >= 1; --id) REQUIRE(map.remove(static_cast<uint16_t>(id)));
  CHECK(map.empty());
}

TEST_CASE("without memory a map of packet identifiers stays as it was", "[session]") {
  PacketIdMap<std::unique_ptr<int>> map;
  auto value = std::make_unique<int>(5);
  {
    FailingHeap none(0);
    CHECK(map.insert(1, std::move(value)) == nullptr);
  }
  REQUIRE(value);  // untouched
  REQUIRE(map.insert(1, std::move(value)));
  uint16_t id = 2;
  {
    FailingHeap none(0);
    while (map.insert(id, std::make_unique<int>(id))) ++id;
  }
  CHECK(map.count() == id - 1u);
  CHECK(**map.find(1) == 5);
  CHECK_FALSE(map.find(id));
}

}  // namespace mqttq
