// Which messages a stream has: for each, in the order of their positions, its number in the log, when it was numbered,
// how large it is and which topic it has. Six or seven bytes each: a hundred million take some hundred megabytes.
//
// Found by position at once, by number or time in steps of halving.
#pragma once

#include "base/ring.h"

namespace mqttq {

struct StreamEntry {
  uint64_t number = 0;        // of the log; grows from entry to entry
  int64_t us = 0;             // of Unix time; never less than that of the entry before
  uint64_t bytes_before = 0;  // content bytes of all entries before this one
  uint32_t size = 0;          // of its content
  uint32_t topic = 0;         // StreamTopics
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

  // Of the oldest entry, and behind the newest: the same while there is none.
  uint64_t first() const noexcept { return first_; }
  uint64_t end() const noexcept { return end_; }
  uint64_t count() const noexcept { return end_ - first_; }
  // Of all entries' contents.
  uint64_t bytes() const noexcept { return bytes_end_ - bytes_first_; }

  // Positions are counted from here on. While it has never had an entry.
  void begin_at(uint64_t position) noexcept { first_ = end_ = base_ = position; }
  // number, us: not less than those of the entry before, and another number. False without memory: nothing changed.
  [[nodiscard]] bool append(uint64_t number, int64_t us, uint32_t size, uint32_t topic) noexcept;
  // From first() up to end(). Borrowed until some index that shares the cache is called again.
  const StreamEntry& at(uint64_t position) noexcept;
  // A bit for each topic, which some others have too, and of a run of entries those that they have. The run is all from
  // `position` up to `end`, which is set.
  static uint64_t topic_bit(uint32_t topic) noexcept;
  uint64_t topic_bits(uint64_t position, uint64_t& end) noexcept;
  // Entries before `position`, which is not beyond end(), are gone.
  void trim_to(uint64_t position) noexcept;

  // The first entry whose number, or time, is not less; end(): there is none.
  uint64_t find_number(uint64_t number) noexcept;
  uint64_t find_time(int64_t us) noexcept;
  // The first position from which on the entries have no more than so many bytes.
  uint64_t find_bytes(uint64_t bytes_max) noexcept;

 private:
  struct Chunk {
    uint64_t first_number = 0;
    int64_t first_us = 0;
    uint64_t bytes_before = 0;
    uint64_t topic_bits = 0;
    std::byte* packed = nullptr;  // owned
  };

  StreamChunkCache::Unpacked& place_of(const std::byte* packed) const noexcept;
  const StreamChunkCache::Unpacked& unpack(uint32_t chunk) noexcept;
  std::byte* resize(std::byte* packed, uint32_t size) noexcept;
  void end_chunk(Chunk& chunk) noexcept;
  uint64_t chunk_position(uint32_t chunk) const noexcept { return base_ + uint64_t{chunk} * kStreamChunkEntries; }
  template <class Less>
  uint64_t find(Less&& less) noexcept;

  StreamChunkCache& cache_;
  Ring<Chunk> chunks_;  // all full but for the last
  uint64_t base_ = 0;   // the position of the first chunk's first entry, which may be gone
  uint64_t first_ = 0, end_ = 0;
  uint64_t bytes_first_ = 0, bytes_end_ = 0;
  uint64_t last_number_ = 0;
  int64_t last_us_ = 0;
  uint32_t last_size_ = 0;      // bytes that the last chunk's entries take
  uint32_t last_capacity_ = 0;  // and may take
};

}  // namespace mqttq
