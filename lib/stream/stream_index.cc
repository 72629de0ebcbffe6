#include "stream/stream_index.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/hash.h"
#include "base/short_number.h"

namespace mqttq {

namespace {

constexpr uint32_t kEntryMax = 3 * kShortNumberMax + 2 * 5;  // packed

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
  if (!chunk.packed) return;
  place_of(chunk.packed).packed = nullptr;
  release(std::exchange(chunk.packed, nullptr));
}

// packed: nullable; lies elsewhere afterwards. nullptr without memory: it is as it was.
std::byte* StreamIndex::resize(std::byte* packed, uint32_t size) noexcept {
  if (packed) place_of(packed).packed = nullptr;
  return static_cast<std::byte*>(reallocate(packed, size));
}

// The steps from `before`; begins: there is none, the chunk has what it begins with. Returns the end.
std::byte* StreamIndex::pack(std::byte* to, const Chunk& chunk, const StreamEntry& before, const StreamEntry& entry,
                             bool begins) const noexcept {
  if (chunk.sparse) to = put_short_number(to, entry.position - (begins ? chunk.position : before.position));
  to = put_short_number(to, begins ? 0 : entry.number - before.number);
  to = put_short_number(to, begins ? 0 : static_cast<uint64_t>(entry.us - before.us));
  to = put_short_number(to, entry.size);
  return put_short_number(to, entry.topic);
}

// Behind a gap a chunk begins, so that where nothing was removed none is sparse.
bool StreamIndex::append(uint64_t position, uint64_t number, int64_t us, uint32_t size, uint32_t topic) noexcept {
  MQTTQ_ASSERT(position >= end_);
  const bool begins = chunks_.empty() || !chunks_.back().packed || chunks_.back().count == kStreamChunkEntries ||
                      (position != end_ && !chunks_.back().sparse);
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
  const StreamEntry entry{position, number, us, size, topic};
  if (begins) static_cast<void>(chunks_.push_back({position, number, us, 0, packed, 0, false}));  // there is room
  Chunk& chunk = chunks_.back();
  chunk.packed = packed;
  chunk.topic_bits |= topic_bit(topic);
  ++chunk.count;
  last_size_ = static_cast<uint32_t>(pack(packed + used, chunk, last_, entry, begins) - packed);
  last_capacity_ = capacity;
  last_ = entry;
  bytes_ += size;
  ++count_;
  end_ = position + 1;
  if (chunk.count == kStreamChunkEntries) {  // nothing more comes into it
    if (std::byte* fitting = resize(packed, last_size_)) chunk.packed = fitting;
  }
  return true;
}

const StreamChunkCache::Unpacked& StreamIndex::unpack(uint32_t index) noexcept {
  const Chunk& chunk = chunks_[index];
  StreamChunkCache::Unpacked& place = place_of(chunk.packed);
  if (place.packed != chunk.packed) {
    place.packed = chunk.packed;
    place.count = place.bytes = 0;
  }
  if (place.count == chunk.count) return place;
  const std::byte* at = chunk.packed + place.bytes;
  StreamEntry entry{chunk.position - !chunk.sparse, chunk.number, chunk.us};
  if (place.count) entry = place.entries[place.count - 1];
  for (uint32_t i = place.count; i < chunk.count; ++i) {
    uint64_t step = 1, number = 0, us = 0, size = 0, topic = 0;
    if (chunk.sparse) at = get_short_number(at, step);
    at = get_short_number(at, number);
    at = get_short_number(at, us);
    at = get_short_number(at, size);
    at = get_short_number(at, topic);
    entry.position += step;
    entry.number += number;
    entry.us += static_cast<int64_t>(us);
    entry.size = static_cast<uint32_t>(size);
    entry.topic = static_cast<uint32_t>(topic);
    place.entries[i] = entry;
  }
  place.count = chunk.count;
  place.bytes = static_cast<uint32_t>(at - chunk.packed);
  return place;
}

// Readers go on, so it is mostly that of the last time, or the next.
uint32_t StreamIndex::chunk_of(uint64_t position) noexcept {
  const auto holds = [&](uint32_t chunk) {
    return chunk < chunks_.count() && chunks_[chunk].position <= position &&
           (chunk + 1 == chunks_.count() || chunks_[chunk + 1].position > position);
  };
  if (holds(looked_at_)) return looked_at_;
  if (holds(looked_at_ + 1)) return ++looked_at_;
  uint32_t low = 0, high = chunks_.count();
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (chunks_[middle].position <= position ? low : high) = middle;
  }
  return looked_at_ = low;
}

// The first of this chunk and those behind it that is there.
uint64_t StreamIndex::next_from(uint32_t chunk) noexcept {
  for (; chunk < chunks_.count(); ++chunk) {
    if (chunks_[chunk].packed) return unpack(chunk).entries[0].position;
  }
  return end_;
}

// nullptr: the chunk has none from there on.
const StreamEntry* StreamIndex::entry_from(uint32_t index, uint64_t position) noexcept {
  const Chunk& chunk = chunks_[index];
  if (!chunk.packed) return nullptr;
  const StreamChunkCache::Unpacked& unpacked = unpack(index);
  if (position <= unpacked.entries[0].position) return &unpacked.entries[0];
  if (!chunk.sparse) {
    const uint64_t offset = position - unpacked.entries[0].position;
    return offset < chunk.count ? &unpacked.entries[offset] : nullptr;
  }
  const StreamEntry* end = unpacked.entries + unpacked.count;
  const StreamEntry* found = std::partition_point(
      unpacked.entries, end, [position](const StreamEntry& entry) { return entry.position < position; });
  return found == end ? nullptr : found;
}

uint64_t StreamIndex::next(uint64_t position) noexcept {
  if (position >= end_ || !count_) return end_;
  if (position < chunks_.front().position) return next_from(0);
  const uint32_t chunk = chunk_of(position);
  const StreamEntry* entry = entry_from(chunk, position);
  return entry ? entry->position : next_from(chunk + 1);
}

const StreamEntry& StreamIndex::at(uint64_t position) noexcept {
  MQTTQ_ASSERT(position >= first_ && position < end_);
  const StreamEntry* entry = entry_from(chunk_of(position), position);
  MQTTQ_ASSERT(entry && entry->position == position);
  return *entry;
}

uint64_t StreamIndex::topic_bit(uint32_t topic) noexcept { return uint64_t{1} << (hash_mix(0, topic) >> 58); }

uint64_t StreamIndex::topic_bits(uint64_t position, uint64_t& end) noexcept {
  const uint32_t chunk = chunk_of(position);
  end = chunk + 1 < chunks_.count() ? chunks_[chunk + 1].position : end_;
  return chunks_[chunk].topic_bits;
}

// Those that lie before first_, but for the last, which goes on.
void StreamIndex::drop_chunks() noexcept {
  while (!chunks_.empty()) {
    const uint64_t end = chunks_.count() > 1 ? chunks_[1].position : end_;
    if (first_ < end || (chunks_.count() == 1 && count_)) return;
    Chunk ended = chunks_.pop_front();
    if (!ended.packed) --empty_count_;
    end_chunk(ended);
    looked_at_ -= looked_at_ > 0;
  }
}

bool StreamIndex::remove(uint64_t position) noexcept {
  const uint32_t index = chunk_of(position);
  Chunk& chunk = chunks_[index];
  const bool last = index + 1 == chunks_.count();
  StreamEntry left[kStreamChunkEntries];
  const StreamChunkCache::Unpacked& unpacked = unpack(index);
  uint32_t count = 0, size = 0;
  for (uint32_t i = 0; i < unpacked.count; ++i) {
    const StreamEntry& entry = unpacked.entries[i];
    if (entry.position == position) size = entry.size;
    if (entry.position != position && entry.position >= first_) left[count++] = entry;
  }
  if (count) {
    const uint32_t capacity = count * kEntryMax;
    auto* packed = static_cast<std::byte*>(reallocate(nullptr, capacity));
    if (!packed) return false;
    // Up to the next chunk all positions are its own, so it begins where it did.
    Chunk made{chunk.position, left[0].number, left[0].us, 0, packed, count, false};
    made.sparse = last || left[count - 1].position - chunk.position != count - 1;
    std::byte* to = packed;
    for (uint32_t i = 0; i < count; ++i) {
      to = pack(to, made, left[i ? i - 1 : 0], left[i], i == 0);
      made.topic_bits |= topic_bit(left[i].topic);
    }
    const auto used = static_cast<uint32_t>(to - packed);
    if (last) {
      last_ = left[count - 1];
      last_size_ = used;
      last_capacity_ = capacity;
    } else if (std::byte* fitting = resize(packed, used)) {
      made.packed = fitting;
    }
    end_chunk(chunk);
    chunk = made;
  } else {
    end_chunk(chunk);
    chunk.topic_bits = 0;
    chunk.count = 0;
    ++empty_count_;
  }
  --count_;
  bytes_ -= size;
  drop_empty_chunks();
  return true;
}

// When they are many.
void StreamIndex::drop_empty_chunks() noexcept {
  constexpr uint32_t kKept = 16;
  if (empty_count_ <= kKept || empty_count_ <= chunks_.count() / 2) return;
  for (uint32_t left = chunks_.count(); left; --left) {
    Chunk chunk = chunks_.pop_front();
    if (chunk.packed) static_cast<void>(chunks_.push_back(std::move(chunk)));  // there is room: it was taken out
  }
  empty_count_ = 0;
  looked_at_ = 0;
}

// The first entry that is not less, among those that are there.
template <class Less>
uint64_t StreamIndex::find(Less&& less) noexcept {
  if (!count_) return end_;
  uint32_t low = 0, high = chunks_.count();  // the chunk before the first whose first entry is not less
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const Chunk& chunk = chunks_[middle];
    (less({chunk.position, chunk.number, chunk.us}) ? low : high) = middle;
  }
  if (chunks_[low].packed) {
    const StreamChunkCache::Unpacked& unpacked = unpack(low);
    const StreamEntry* end = unpacked.entries + unpacked.count;
    const StreamEntry* found = std::partition_point(unpacked.entries, end, less);
    if (found != end) return next(std::max(first_, found->position));
  }
  return next(std::max(first_, next_from(low + 1)));
}

uint64_t StreamIndex::find_number(uint64_t number) noexcept {
  return find([number](const StreamEntry& entry) { return entry.number < number; });
}

uint64_t StreamIndex::find_time(int64_t us) noexcept {
  return find([us](const StreamEntry& entry) { return entry.us < us; });
}

uint64_t StreamIndex::find_count(uint64_t count_max) noexcept {
  uint64_t position = next(first_), over = count_ > count_max ? count_ - count_max : 0;
  if (gapless()) return first_ + over;
  for (; over; --over) position = next(position + 1);
  return position;
}

uint64_t StreamIndex::find_bytes(uint64_t bytes_max) noexcept {
  uint64_t position = next(first_), left = bytes_;
  while (left > bytes_max) {
    left -= at(position).size;
    position = next(position + 1);
  }
  return position;
}

uint64_t StreamIndex::count_from(uint64_t position) noexcept {
  if (position >= end_) return 0;
  if (position <= first_) return count_;
  if (gapless()) return end_ - position;
  const uint32_t chunk = position < chunks_.front().position ? 0 : chunk_of(position);
  uint64_t count = 0;
  if (const StreamEntry* entry = entry_from(chunk, position)) {
    count = static_cast<uint64_t>(unpack(chunk).entries + chunks_[chunk].count - entry);
  }
  for (uint32_t behind = chunk + 1; behind < chunks_.count(); ++behind) count += chunks_[behind].count;
  return count;
}

}  // namespace mqttq
