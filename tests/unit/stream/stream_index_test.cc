// Which messages a stream has.
#include "stream/stream_index.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

// The same, as plainly as can be.
struct Model {
  std::vector<StreamEntry> entries;
  uint64_t first = 0, end = 0;

  auto begin() const {
    return std::partition_point(entries.begin(), entries.end(),
                                [this](const StreamEntry& one) { return one.position < first; });
  }
  // The first that is not less, as a position.
  template <class Less>
  uint64_t find(Less&& less) const {
    const auto found = std::partition_point(begin(), entries.end(), less);
    return found == entries.end() ? end : found->position;
  }
  uint64_t next(uint64_t position) const {
    return find([position](const StreamEntry& one) { return one.position < position; });
  }
  uint64_t count() const { return static_cast<uint64_t>(entries.end() - begin()); }
};

void check_same(StreamIndex& index, const Model& model) {
  REQUIRE(index.first() == model.first);
  REQUIRE(index.end() == model.end);
  REQUIRE(index.count() == model.count());
  uint64_t bytes = 0;
  for (auto one = model.begin(); one != model.entries.end(); ++one) bytes += one->size;
  REQUIRE(index.bytes() == bytes);
  REQUIRE(index.gapless() == (model.count() == model.end - model.first));
}

void check_entry(StreamIndex& index, const StreamEntry& expected) {
  const StreamEntry entry = index.at(expected.position);
  REQUIRE(entry.position == expected.position);
  REQUIRE(entry.number == expected.number);
  REQUIRE(entry.us == expected.us);
  REQUIRE(entry.size == expected.size);
  REQUIRE(entry.topic == expected.topic);
  uint64_t end = 0;
  REQUIRE(index.topic_bits(expected.position, end) & StreamIndex::topic_bit(entry.topic));
  REQUIRE(end > expected.position);
}

// removals: of a hundred steps. gaps: whether positions are left out.
void check_against_model(uint64_t seed, uint64_t removals, bool gaps) {
  StreamChunkCache cache;
  StreamIndex index(cache), beside(cache);
  Model model;
  Random random(seed);
  uint64_t number = 0;
  int64_t us = 1'700'000'000'000'000;
  for (uint32_t round = 0; round < 20'000; ++round) {
    const uint64_t what = random.below(100);
    const bool any = model.count() > 0;
    if (what < 90 - removals) {
      number += 1 + (random.below(20) ? 0 : random.below(1ull << 40));
      us += static_cast<int64_t>(random.below(3) ? 0 : random.below(1ull << 36));
      const auto size = static_cast<uint32_t>(random.below(50) ? random.below(300) : random.below(UINT32_MAX));
      if (gaps && !random.below(40)) model.end += random.below(1000);
      REQUIRE(index.append(model.end, number, us, size, size % 1000));
      REQUIRE(beside.append(beside.end(), number, us, 1, 0));
      model.entries.push_back({model.end++, number, us, size, size % 1000});
    } else if (what < 90 && any) {
      // Old ones more often than new ones, and the last at times.
      const uint64_t back = random.below(random.below(4) ? model.count() : std::min<uint64_t>(model.count(), 3));
      const auto one = model.entries.end() - 1 - static_cast<ptrdiff_t>(back);
      REQUIRE(index.remove(one->position));
      model.entries.erase(one);
    } else if (what < 92 && !random.below(4)) {
      model.first += random.below(model.end - model.first + 1);
      index.trim_to(model.first);
    }
    if (round % 101 == 0) check_same(index, model);
    REQUIRE(index.has(model.first) == (model.next(model.first) == model.first && model.first < model.end));
    if (!model.count()) {
      CHECK(index.find_number(number) == index.end());
      CHECK(index.find_time(us) == index.end());
      CHECK(index.next(model.first) == index.end());
      continue;
    }
    const StreamEntry sought = *(model.begin() + static_cast<ptrdiff_t>(random.below(model.count())));
    check_entry(index, sought);
    check_entry(index, model.entries.back());
    for (const uint64_t wanted : {sought.number - 1, sought.number, sought.number + 1}) {
      REQUIRE(index.find_number(wanted) == model.find([&](auto& one) { return one.number < wanted; }));
    }
    for (const int64_t wanted : {sought.us - 1, sought.us, sought.us + 1, int64_t{0}, INT64_MAX}) {
      REQUIRE(index.find_time(wanted) == model.find([&](auto& one) { return one.us < wanted; }));
    }
    const uint64_t from = model.first + random.below(model.end - model.first);
    REQUIRE(index.next(from) == model.next(from));
    if (round % 11) continue;
    const auto behind = std::partition_point(model.begin(), model.entries.cend(),
                                             [from](const StreamEntry& one) { return one.position < from; });
    const auto left = static_cast<uint64_t>(model.entries.cend() - behind);
    REQUIRE(index.count_from(from) == left);
    REQUIRE(index.find_count(left) == model.next(from));
  }
  if (!gaps) CHECK(beside.at(beside.end() - 1).number == number);
}

}  // namespace

TEST_CASE("a stream's index finds by position, number and time what was appended and not trimmed", "[stream]") {
  check_against_model(7, 0, false);
  check_against_model(8, 0, true);
}

TEST_CASE("a stream's index finds what was not removed, too", "[stream]") {
  check_against_model(9, 30, false);
  check_against_model(10, 44, true);
  check_against_model(11, 46, false);
}

TEST_CASE("what is removed from a stream's index leaves its memory too", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  constexpr uint64_t kKeys = 100;
  const auto grown = [&] {
    const int64_t before = heap_bytes();
    for (uint64_t i = 0; i < 100'000; ++i) {
      const uint64_t position = index.end();
      REQUIRE(index.append(position, position + 1, 0, 10, 0));
      if (position >= kKeys) REQUIRE(index.remove(position - kKeys));
    }
    return heap_bytes() - before;
  };
  static_cast<void>(grown());
  CHECK(std::abs(grown()) < 20'000);
  CHECK(index.count() == kKeys);
}

TEST_CASE("a stream's index says from where on there are no more than so many bytes", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  CHECK(index.find_bytes(0) == 0);
  for (uint64_t i = 1; i <= 1000; ++i) REQUIRE(index.append(index.end(), i, 0, 10, 0));
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
  REQUIRE(index.append(1'000'000, 9, 1, 5, 0));
  CHECK(index.at(1'000'000).number == 9);
  index.trim_to(1'000'001);
  CHECK(index.bytes() == 0);
  REQUIRE(index.append(1'000'001, 10, 1, 5, 0));
  CHECK(index.at(1'000'001).number == 10);
}

TEST_CASE("without memory a stream's index stays as it was", "[stream]") {
  StreamChunkCache cache;
  StreamIndex index(cache);
  for (int64_t blocks = 0; blocks < 40; ++blocks) {
    const FailingHeap heap(blocks);
    for (uint64_t i = 0; i < 200; ++i) {
      const uint64_t end = index.end();
      if (index.append(end, end + 1, static_cast<int64_t>(end), 7, 0)) continue;
      CHECK(index.end() == end);
      break;
    }
  }
  for (uint64_t position = index.first(); position < index.end(); ++position) {
    REQUIRE(index.at(position).number == position + 1);
  }
}

}  // namespace mqttq
