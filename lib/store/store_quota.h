// How much room a store may take, what is refused beyond that, and the alarm that comes before.
//
// Figures come in, decisions go out: no clock, no I/O. Used by the committer's thread alone.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mqttq {

// Of the file system that a store is on. All 0: it is not known.
struct DiskRoom {
  uint64_t bytes = 0;
  uint64_t bytes_free = 0;  // for us
};

class StoreQuota {
 public:
  struct Options {
    uint64_t bytes_max = 0;  // 0: no bound
    uint32_t alarm_percent = 80;
  };
  // From which on what is left for messages may be too little for the next: who is refused then finds it full.
  static constexpr uint64_t kNearlyFull_16 = 15;  // sixteenths
  static constexpr uint64_t kSegments = 16;       // of the log, at least

  explicit StoreQuota(const Options& options) noexcept : options_(options) {}

  uint64_t bytes_max() const noexcept { return options_.bytes_max; }
  uint64_t bytes_used() const noexcept { return bytes_used_; }
  uint64_t bytes_free() const noexcept { return bytes_free_; }  // on its disk, as far as that is known
  // New messages are refused, until a tenth is free again.
  bool full() const noexcept { return full_; }
  // Little is left, of the quota or of the disk: told before it is full, and until there is some more than that again.
  bool high() const noexcept { return full_ || high_ || disk_high_; }
  // Room is given back by whole segments: of so many bytes they are, where the host would have them of `wanted`.
  uint64_t segment_bytes(uint64_t wanted) const noexcept {
    constexpr uint64_t kSegmentMin = 4096;
    if (!options_.bytes_max) return wanted;
    return std::min(wanted, std::max(options_.bytes_max / kSegments, kSegmentMin));
  }

  // So many bytes are in use, and what was taken is among them.
  void set_used(uint64_t bytes) noexcept;
  void set_disk(const DiskRoom& room) noexcept;
  // There is room for a message of so many bytes, and it is taken. promised: its publisher was answered before, or is
  // not a client: a sixteenth more is there for those.
  bool take(uint64_t bytes, bool promised) noexcept;

 private:
  const Options options_;
  uint64_t bytes_used_ = 0;
  uint64_t bytes_taken_ = 0;  // since it was set
  uint64_t bytes_free_ = UINT64_MAX;
  bool full_ = false, high_ = false, disk_high_ = false;
};

}  // namespace mqttq
