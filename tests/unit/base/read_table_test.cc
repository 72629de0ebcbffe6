// Epochs, and the table that is read without locks: what readers may hold is not ended under them.
#include "base/read_table.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

constexpr uint64_t hash_of(uint64_t key) { return key * 0x9E37'79B9'7F4A'7C15u; }

struct Item : Epoch::Retired {
  explicit Item(uint64_t of) : hash(hash_of(of)), key(of) {}
  uint64_t hash;
  std::atomic<uint64_t> key;
};

Item* find(const ReadTable<Item>& table, uint64_t key) {
  return table.find(hash_of(key), [&](const Item& item) { return item.key.load() == key; });
}

}  // namespace

TEST_CASE("what was retired ends when every reader that was online has been quiescent", "[base]") {
  Epoch epoch(2);
  const int64_t before = heap_blocks();
  int retired = 0;
  const auto retire_one = [&] {
    epoch.retire(*create<Item>(1u));
    ++retired;
  };
  const auto ended = [&] { return retired - (heap_blocks() - before); };
  retire_one();
  epoch.reclaim();
  CHECK(ended() == 1);  // nobody is online
  epoch.online(0);
  retire_one();
  epoch.reclaim();
  CHECK(ended() == 1);
  epoch.online(1);  // came later: holds nothing of it
  epoch.reclaim();
  CHECK(ended() == 1);
  epoch.online(0);  // quiescent
  epoch.reclaim();
  CHECK(ended() == 2);
  retire_one();
  epoch.offline(0);
  epoch.reclaim();
  CHECK(ended() == 2);  // the other may hold it
  epoch.offline(1);
  epoch.reclaim();
  CHECK(ended() == 3);
  epoch.online(0);
  retire_one();
  retire_one();
  epoch.reclaim();
  epoch.online(0);
  retire_one();
  epoch.reclaim();
  CHECK(ended() == 5);
  epoch.reclaim();
  CHECK(ended() == 5);  // the last came when the reader was online already
}

TEST_CASE("an epoch that ends, ends what was retired", "[base]") {
  const int64_t before = heap_blocks();
  {
    Epoch epoch(1);
    epoch.online(0);
    epoch.retire(*create<Item>(1u));
    epoch.reclaim();
    epoch.retire(*create<Item>(2u));
    epoch.reclaim();
    CHECK(heap_blocks() == before + 2);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a read table behaves as a map", "[base]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  const int64_t before = heap_blocks();
  {
    Epoch epoch(1);
    ReadTable<Item> table;
    std::map<uint64_t, Item*> model;
    CHECK(find(table, 1) == nullptr);
    for (int step = 0; step < 5'000; ++step) {
      const uint64_t key = random.below(step / 1'000 % 2 ? 5 : 300);
      const auto known = model.find(key);
      REQUIRE(find(table, key) == (known == model.end() ? nullptr : known->second));
      if (known == model.end()) {
        Item* item = create<Item>(key);
        REQUIRE(table.insert(*item, epoch));
        model[key] = item;
      } else {
        table.remove(*known->second, epoch);
        epoch.retire(*known->second);
        model.erase(known);
      }
      REQUIRE(table.count() == model.size());
      epoch.reclaim();
    }
    std::map<uint64_t, Item*> listed;
    table.for_each([&](Item& item) { listed[item.key.load()] = &item; });
    CHECK(listed == model);
    for (const auto& [key, item] : model) {
      table.remove(*item, epoch);
      epoch.retire(*item);
    }
    CHECK(table.count() == 0);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a read table without memory stays as it was", "[base]") {
  Epoch epoch(1);
  ReadTable<Item> table;
  Item items[4] = {Item(1), Item(2), Item(3), Item(4)};
  {
    FailingHeap none(0);
    REQUIRE(table.insert(items[0], epoch));  // one needs none
    CHECK_FALSE(table.insert(items[1], epoch));
  }
  CHECK(table.count() == 1);
  CHECK(find(table, 1) == &items[0]);
  CHECK(find(table, 2) == nullptr);
  table.remove(items[0], epoch);
}

// A writer puts in and takes out while readers look. Keys below 100 are always there.
TEST_CASE("readers find what is there and hold nothing that was ended", "[base][threads]") {
  constexpr uint64_t kFixed = 100, kKeys = 400;
  std::atomic<bool> stop{false};
  std::atomic<int> missed{0}, dead{0}, ready{0};
  const int64_t before = heap_blocks();
  Epoch epoch(2);
  ReadTable<Item> table;
  for (uint64_t key = 0; key < kFixed; ++key) REQUIRE(table.insert(*create<Item>(key), epoch));
  const auto read = [&](uint32_t reader) {
    Random random(reader + 1);
    ready.fetch_add(1);
    do {
      epoch.online(reader);
      for (int i = 0; i < 50; ++i) {
        const uint64_t key = random.below(kKeys);
        const Item* item = find(table, key);
        if (!item) {
          missed.fetch_add(key < kFixed);
          continue;
        }
        for (int look = 0; look < 5; ++look) dead.fetch_add(item->key.load() != key || item->hash != hash_of(key));
      }
      if (random.below(3) == 0) epoch.offline(reader);
    } while (!stop.load());
    epoch.offline(reader);
  };
  std::thread readers[] = {std::thread(read, 0u), std::thread(read, 1u)};
  while (ready.load() < 2) std::this_thread::yield();
  Random random(99);
  std::map<uint64_t, Item*> present;
  for (int step = 0; step < 30'000; ++step) {
    const uint64_t key = kFixed + random.below(kKeys - kFixed);
    if (const auto at = present.find(key); at != present.end()) {
      table.remove(*at->second, epoch);
      epoch.retire(*at->second);
      present.erase(at);
    } else {
      Item* item = create<Item>(key);
      static_cast<void>(table.insert(*item, epoch));
      present[key] = item;
    }
    if (step % 16 == 0) epoch.reclaim();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(missed == 0);
  CHECK(dead == 0);
  epoch.reclaim();
  CHECK_FALSE(epoch.has_retired());
  std::vector<Item*> rest;
  table.for_each([&](Item& item) { rest.push_back(&item); });
  for (Item* item : rest) {
    table.remove(*item, epoch);
    epoch.retire(*item);
  }
  epoch.reclaim();
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
