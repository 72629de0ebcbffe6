// Which messages a stream has: for each, in the order of their positions, its number in the log, when it was numbered,
// how large it is and which topic it has. Six or seven bytes each: a hundred million take some hundred megabytes.
//
// Found by position, number or time in steps of halving. Positions may be missing: of what the log has lost, and of
// what a newer message has replaced.
#pragma once

#include "base/ring.h"

namespace mqttq {

struct StreamEntry {
  uint64_t position = 0;
  uint64_t number = 0;  // of the log; grows from entry to entry
  int64_t us = 0;       // of Unix time; never less than that of the entry before
  uint32_t size = 0;    // of its content
  uint32_t topic = 0;   // StreamTopics
};

inline constexpr uint32_t kStreamChunkEntries = 128;

// Entries are packed; the chunks that were looked at last stand here as they are. One for all streams of a shard.
class StreamChunkCache {
 private:
  friend class StreamIndex;
  struct Unpacked {
    const void* packed = nullptr;  // of which chunk; null: of none
    uint32_t count = 0;            // entries that were unpacked
    uint32_t bytes = 0;            // that those take
    StreamEntry entries[kStreamChunkEntries];
  };
  Unpacked places_[16];
};

// Owned by one shard and touched only there.
class StreamIndex {
 public:
  // cache: borrowed, outlives it.
  explicit StreamIndex(StreamChunkCache& cache) noexcept : cache_(cache) {}
  StreamIndex(const StreamIndex&) = delete;
  StreamIndex& operator=(const StreamIndex&) = delete;
  ~StreamIndex();

  // All entries lie from first() up to end(), which is behind the newest that there ever was.
  uint64_t first() const noexcept { return first_; }
  uint64_t end() const noexcept { return end_; }
  uint64_t count() const noexcept { return count_; }
  // No position from first() on is missing.
  bool gapless() const noexcept { return count_ == end_ - first_; }
  // Of all entries' contents.
  uint64_t bytes() const noexcept { return bytes_; }
  // Of the last that was appended; 0: none was.
  int64_t last_us() const noexcept { return last_.us; }

  // Positions are counted from here on. While it has never had an entry.
  void begin_at(uint64_t position) noexcept { first_ = end_ = position; }
  // position: end(), or a later one. number, us: not less than those of the entry before, and another number. False
  // without memory: nothing changed.
  [[nodiscard]] bool append(uint64_t position, uint64_t number, int64_t us, uint32_t size, uint32_t topic) noexcept;
  // The first entry from `position` on, which is not before first(); end(): there is none.
  uint64_t next(uint64_t position) noexcept;
  bool has(uint64_t position) noexcept { return position >= first_ && position < end_ && next(position) == position; }
  // Of an entry. Borrowed until some index that shares the cache is called again.
  const StreamEntry& at(uint64_t position) noexcept;
  // A bit for each topic, which some others have too, and of a run of entries those that they have. The run is all from
  // that at `position` up to `end`, which is set.
  static uint64_t topic_bit(uint32_t topic) noexcept;
  uint64_t topic_bits(uint64_t position, uint64_t& end) noexcept;
  // Entries before `position`, which is not beyond end(), are gone. Calls gone(const StreamEntry&) for each.
  template <class Gone>
  void trim_to(uint64_t position, Gone&& gone) noexcept;
  void trim_to(uint64_t position) noexcept {
    trim_to(position, [](const StreamEntry&) {});
  }
  // One is gone. False without memory: it is there still.
  [[nodiscard]] bool remove(uint64_t position) noexcept;

  // The first entry whose number, or time, is not less; end(): there is none.
  uint64_t find_number(uint64_t number) noexcept;
  uint64_t find_time(int64_t us) noexcept;
  // The first from which on there are no more than so many, or no more than so many bytes.
  uint64_t find_count(uint64_t count_max) noexcept;
  uint64_t find_bytes(uint64_t bytes_max) noexcept;
  // From this position on.
  uint64_t count_from(uint64_t position) noexcept;

 private:
  struct Chunk {
    uint64_t position = 0;  // its entries lie from here on
    uint64_t number = 0;    // of the first
    int64_t us = 0;
    uint64_t topic_bits = 0;
    std::byte* packed = nullptr;  // owned; null: nothing is left of it
    uint32_t count = 0;           // entries, of which those before first_ are gone
    bool sparse = false;          // positions are missing between them: each has a step
  };

  StreamChunkCache::Unpacked& place_of(const std::byte* packed) const noexcept;
  const StreamChunkCache::Unpacked& unpack(uint32_t chunk) noexcept;
  std::byte* resize(std::byte* packed, uint32_t size) noexcept;
  std::byte* pack(std::byte* to, const Chunk& chunk, const StreamEntry& before, const StreamEntry& entry,
                  bool begins) const noexcept;
  void end_chunk(Chunk& chunk) noexcept;
  void drop_chunks() noexcept;
  void drop_empty_chunks() noexcept;
  // The last that begins at or before `position`. There is one.
  uint32_t chunk_of(uint64_t position) noexcept;
  uint64_t next_from(uint32_t chunk) noexcept;
  const StreamEntry* entry_from(uint32_t chunk, uint64_t position) noexcept;
  template <class Less>
  uint64_t find(Less&& less) noexcept;

  StreamChunkCache& cache_;
  Ring<Chunk> chunks_;        // entries are added to the last, until it is full
  uint32_t empty_count_ = 0;  // of these: nothing is left
  uint32_t looked_at_ = 0;    // the chunk that was found last
  uint64_t first_ = 0, end_ = 0;
  uint64_t count_ = 0, bytes_ = 0;
  StreamEntry last_;            // that was appended
  uint32_t last_size_ = 0;      // bytes that the last chunk's entries take
  uint32_t last_capacity_ = 0;  // and may take
};

template <class Gone>
void StreamIndex::trim_to(uint64_t position, Gone&& gone) noexcept {
  while (first_ < position) {
    const uint64_t at_position = next(first_);
    if (at_position >= position) break;
    const StreamEntry& entry = at(at_position);
    --count_;
    bytes_ -= entry.size;
    first_ = at_position + 1;
    gone(entry);
  }
  if (first_ < position) first_ = position;
  drop_chunks();
}

}  // namespace mqttq
