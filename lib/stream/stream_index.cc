#include "stream/stream_index.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "base/short_number.h"

namespace mqttq {

namespace {

constexpr uint32_t kEntryMax = 2 * kShortNumberMax + 2 * 5;  // packed

}  // namespace

StreamIndex::~StreamIndex() {
  while (!chunks_.empty()) {
    Chunk ended = chunks_.pop_front();
    end_chunk(ended);
  }
}

StreamChunkCache::Unpacked& StreamIndex::place_of(const std::byte* packed) const noexcept {
  return cache_.places_[hash_mix(0, reinterpret_cast<uintptr_t>(packed)) % std::size(cache_.places_)];
}

// Another one's place may be cleared with it, and is filled again.
void StreamIndex::end_chunk(Chunk& chunk) noexcept {
  place_of(chunk.packed).packed = nullptr;
  release(chunk.packed);
}

// packed: nullable; lies elsewhere afterwards. nullptr without memory: it is as it was.
std::byte* StreamIndex::resize(std::byte* packed, uint32_t size) noexcept {
  if (packed) place_of(packed).packed = nullptr;
  return static_cast<std::byte*>(reallocate(packed, size));
}

bool StreamIndex::append(uint64_t number, int64_t us, uint32_t size, uint32_t topic) noexcept {
  const bool begins = end_ == chunk_position(chunks_.count());
  if (begins && !chunks_.make_room()) return false;
  const uint32_t used = begins ? 0 : last_size_;
  std::byte* packed = begins ? nullptr : chunks_.back().packed;
  uint32_t capacity = begins ? 0 : last_capacity_;
  if (capacity - used < kEntryMax) {
    capacity = std::max(2 * kEntryMax, used * 2);
    std::byte* grown = resize(packed, capacity);
    if (!grown) return false;
    packed = grown;
  }
  std::byte* end = packed + used;
  end = put_short_number(end, begins ? 0 : number - last_number_);
  end = put_short_number(end, begins ? 0 : static_cast<uint64_t>(us - last_us_));
  end = put_short_number(end, size);
  end = put_short_number(end, topic);
  if (begins) {
    static_cast<void>(chunks_.push_back({number, us, bytes_end_, 0, packed}));  // there is room
  } else {
    chunks_.back().packed = packed;
  }
  chunks_.back().topic_bits |= topic_bit(topic);
  last_size_ = static_cast<uint32_t>(end - packed);
  last_capacity_ = capacity;
  last_number_ = number;
  last_us_ = us;
  bytes_end_ += size;
  ++end_;
  if (end_ == chunk_position(chunks_.count())) {  // nothing more comes into it
    if (std::byte* fitting = resize(packed, last_size_)) chunks_.back().packed = fitting;
  }
  return true;
}

const StreamChunkCache::Unpacked& StreamIndex::unpack(uint32_t index) noexcept {
  const Chunk& chunk = chunks_[index];
  StreamChunkCache::Unpacked& place = place_of(chunk.packed);
  const auto count = static_cast<uint32_t>(std::min<uint64_t>(end_ - chunk_position(index), kStreamChunkEntries));
  if (place.packed != chunk.packed) {
    place.packed = chunk.packed;
    place.count = place.bytes = 0;
  }
  if (place.count == count) return place;
  const std::byte* at = chunk.packed + place.bytes;
  StreamEntry entry{chunk.first_number, chunk.first_us, chunk.bytes_before};
  if (place.count) entry = place.entries[place.count - 1];
  for (uint32_t i = place.count; i < count; ++i) {
    uint64_t number = 0, us = 0, size = 0, topic = 0;
    at = get_short_number(at, number);
    at = get_short_number(at, us);
    at = get_short_number(at, size);
    at = get_short_number(at, topic);
    entry.number += number;
    entry.us += static_cast<int64_t>(us);
    entry.bytes_before += entry.size;
    entry.size = static_cast<uint32_t>(size);
    entry.topic = static_cast<uint32_t>(topic);
    place.entries[i] = entry;
  }
  place.count = count;
  place.bytes = static_cast<uint32_t>(at - chunk.packed);
  return place;
}

const StreamEntry& StreamIndex::at(uint64_t position) noexcept {
  MQTTQ_ASSERT(position >= first_ && position < end_);
  const uint64_t offset = position - base_;
  return unpack(static_cast<uint32_t>(offset / kStreamChunkEntries)).entries[offset % kStreamChunkEntries];
}

uint64_t StreamIndex::topic_bit(uint32_t topic) noexcept { return uint64_t{1} << (hash_mix(0, topic) >> 58); }

uint64_t StreamIndex::topic_bits(uint64_t position, uint64_t& end) noexcept {
  const auto chunk = static_cast<uint32_t>((position - base_) / kStreamChunkEntries);
  end = std::min(chunk_position(chunk + 1), end_);
  return chunks_[chunk].topic_bits;
}

void StreamIndex::trim_to(uint64_t position) noexcept {
  if (position <= first_) return;
  MQTTQ_ASSERT(position <= end_);
  first_ = position;
  bytes_first_ = first_ == end_ ? bytes_end_ : at(first_).bytes_before;
  while (!chunks_.empty() && first_ >= chunk_position(1) && (chunks_.count() > 1 || first_ == end_)) {
    Chunk ended = chunks_.pop_front();
    end_chunk(ended);
    base_ += kStreamChunkEntries;
  }
}

// The first entry that is not less, among those that are there.
template <class Less>
uint64_t StreamIndex::find(Less&& less) noexcept {
  if (first_ == end_) return end_;
  uint32_t low = 0, high = chunks_.count();  // the chunk before the first whose first entry is not less
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const Chunk& chunk = chunks_[middle];
    (less({chunk.first_number, chunk.first_us, chunk.bytes_before}) ? low : high) = middle;
  }
  const auto& unpacked = unpack(low);
  const StreamEntry* found = std::partition_point(unpacked.entries, unpacked.entries + unpacked.count, less);
  return std::max(first_, chunk_position(low) + static_cast<uint64_t>(found - unpacked.entries));
}

uint64_t StreamIndex::find_number(uint64_t number) noexcept {
  return find([number](const StreamEntry& entry) { return entry.number < number; });
}

uint64_t StreamIndex::find_time(int64_t us) noexcept {
  return find([us](const StreamEntry& entry) { return entry.us < us; });
}

uint64_t StreamIndex::find_bytes(uint64_t bytes_max) noexcept {
  if (bytes_end_ <= bytes_max) return first_;
  const uint64_t least = bytes_end_ - bytes_max;
  return find([least](const StreamEntry& entry) { return entry.bytes_before < least; });
}

}  // namespace mqttq
