// A hash table through its items, against a map.
#include "base/hash_table.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <list>
#include <map>
#include <memory>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {
struct Entry : HashLink<Entry> {
  explicit Entry(uint64_t of) : key(of) {}
  uint64_t key;
};
}  // namespace

TEST_CASE("a hash table behaves as a map, also when all hashes are alike", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  const uint64_t hashes = random.below(2) ? UINT64_MAX : 3;
  const int64_t before = heap_blocks();
  {
    HashTable<Entry> table;
    std::map<uint64_t, std::unique_ptr<Entry>> model;
    const auto hash_of = [&](uint64_t key) { return key * 0x9E37'79B9'7F4A'7C15u % hashes; };
    const auto find = [&](uint64_t key) {
      return table.find(hash_of(key), [&](const Entry& entry) { return entry.key == key; });
    };
    for (int step = 0; step < 4'000; ++step) {
      const uint64_t key = random.below(500);
      auto& place = model[key];
      REQUIRE(find(key) == place.get());
      if (place) {
        table.remove(*place);
        model.erase(key);
      } else {
        place = std::make_unique<Entry>(key);
        table.insert(*place, hash_of(key));
      }
      REQUIRE(table.count() == model.size());
    }
    std::map<uint64_t, int> listed;
    table.for_each([&](Entry& entry) { ++listed[entry.key]; });
    CHECK(listed.size() == model.size());
    table.for_each([&](Entry& entry) {  // which may end the one it is given
      table.remove(entry);
      model.erase(entry.key);
    });
    CHECK(table.count() == 0);
    CHECK(model.empty());
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a hash table without memory is slower and still right", "[base]") {
  HashTable<Entry> table;
  std::list<Entry> entries;
  FailingHeap none(0);
  for (uint64_t key = 0; key < 100; ++key) table.insert(entries.emplace_back(key), key);
  for (uint64_t key = 0; key < 100; ++key) {
    REQUIRE(table.find(key, [&](const Entry& entry) { return entry.key == key; }));
  }
  CHECK(table.count() == 100);
}

}  // namespace mqttq
