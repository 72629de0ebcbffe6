// Which messages a stream has.
#include "stream/stream_index.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

struct Entry {
  uint64_t number;
  int64_t us;
  uint32_t size;
};

// The same, as plainly as can be.
struct Model {
  std::vector<Entry> entries;
  uint64_t first = 0;  // index, which is the position
};

void check_same(StreamIndex& index, const Model& model) {
  REQUIRE(index.first() == model.first);
  REQUIRE(index.end() == model.entries.size());
  uint64_t bytes = 0;
  for (uint64_t i = model.first; i < model.entries.size(); ++i) bytes += model.entries[i].size;
  CHECK(index.bytes() == bytes);
}

void check_entry(StreamIndex& index, const Model& model, uint64_t position) {
  const StreamEntry& entry = index.at(position);
  REQUIRE(entry.number == model.entries[position].number);
  REQUIRE(entry.us == model.entries[position].us);
  REQUIRE(entry.size == model.entries[position].size);
  REQUIRE(entry.topic == entry.size % 1000);
  uint64_t end = 0;
  REQUIRE(index.topic_bits(position, end) & StreamIndex::topic_bit(entry.topic));
  REQUIRE(end > position);
}

}  // namespace

TEST_CASE("a stream's index finds by position, number and time what was appended and not trimmed", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache), beside(cache);
  Model model;
  Random random(7);
  uint64_t number = 0;
  int64_t us = 1'700'000'000'000'000;
  for (uint32_t round = 0; round < 20'000; ++round) {
    const uint64_t what = random.below(100);
    if (what < 90) {
      number += 1 + (random.below(20) ? 0 : random.below(1ull << 40));
      us += static_cast<int64_t>(random.below(3) ? 0 : random.below(1ull << 36));
      const auto size = static_cast<uint32_t>(random.below(50) ? random.below(300) : random.below(UINT32_MAX));
      REQUIRE(index.append(number, us, size, size % 1000));
      REQUIRE(beside.append(number, us, 1, 0));
      model.entries.push_back({number, us, size});
    } else if (what < 92 && !random.below(4)) {
      const uint64_t to = model.first + random.below(model.entries.size() - model.first + 1);
      index.trim_to(to);
      model.first = to;
    }
    if (round % 101 == 0) check_same(index, model);
    if (model.first == model.entries.size()) {
      CHECK(index.find_number(number) == index.end());
      CHECK(index.find_time(us) == index.end());
      continue;
    }
    const uint64_t position = model.first + random.below(model.entries.size() - model.first);
    check_entry(index, model, position);
    check_entry(index, model, model.entries.size() - 1);
    const auto begin = model.entries.begin() + static_cast<ptrdiff_t>(model.first);
    const auto at = [&](auto found) { return static_cast<uint64_t>(found - model.entries.begin()); };
    const Entry sought = model.entries[position];
    for (const uint64_t wanted : {sought.number - 1, sought.number, sought.number + 1}) {
      const auto found =
          std::partition_point(begin, model.entries.end(), [&](auto& one) { return one.number < wanted; });
      REQUIRE(index.find_number(wanted) == at(found));
    }
    for (const int64_t wanted : {sought.us - 1, sought.us, sought.us + 1, int64_t{0}, INT64_MAX}) {
      const auto found = std::partition_point(begin, model.entries.end(), [&](auto& one) { return one.us < wanted; });
      REQUIRE(index.find_time(wanted) == at(found));
    }
  }
  CHECK(beside.at(5).bytes_before == 5);
}

TEST_CASE("a stream's index says from where on there are no more than so many bytes", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  CHECK(index.find_bytes(0) == 0);
  for (uint64_t i = 1; i <= 1000; ++i) REQUIRE(index.append(i, 0, 10, 0));
  CHECK(index.find_bytes(10'000) == 0);
  CHECK(index.find_bytes(9'999) == 1);
  CHECK(index.find_bytes(5'000) == 500);
  CHECK(index.find_bytes(9) == 1000);
  index.trim_to(700);
  CHECK(index.bytes() == 3'000);
  CHECK(index.find_bytes(5'000) == 700);
  CHECK(index.find_bytes(1'000) == 900);
}

TEST_CASE("positions of a stream go on where they were", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  index.begin_at(1'000'000);
  CHECK(index.count() == 0);
  CHECK(index.find_number(1) == 1'000'000);
  REQUIRE(index.append(9, 1, 5, 0));
  CHECK(index.at(1'000'000).number == 9);
  index.trim_to(1'000'001);
  CHECK(index.bytes() == 0);
  REQUIRE(index.append(10, 1, 5, 0));
  CHECK(index.at(1'000'001).number == 10);
}

TEST_CASE("without memory a stream's index stays as it was", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  for (int64_t blocks = 0; blocks < 40; ++blocks) {
    const FailingHeap heap(blocks);
    for (uint64_t i = 0; i < 200; ++i) {
      const uint64_t end = index.end();
      if (index.append(end + 1, static_cast<int64_t>(end), 7, 0)) continue;
      CHECK(index.end() == end);
      break;
    }
  }
  for (uint64_t position = index.first(); position < index.end(); ++position) {
    REQUIRE(index.at(position).number == position + 1);
  }
}

}  // namespace mqttq
