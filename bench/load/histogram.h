// Latencies in log-linear buckets: every power of two is cut into 64, so a percentile is at most 1.6 % too high.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace mqttq::bench {

class Histogram {
 public:
  void record(uint64_t value_ns) {
    ++counts_[index_of(value_ns)];
    ++count_;
    max_ns_ = std::max(max_ns_, value_ns);
  }

  void clear() { *this = Histogram{}; }
  uint64_t count() const { return count_; }
  uint64_t max_ns() const { return max_ns_; }

  // The smallest recorded bucket's upper end with at least `share` (0..1) of all values at or below it; 0 when empty.
  uint64_t percentile_ns(double share) const {
    const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(count_) + 0.5));
    uint64_t seen = 0;
    for (uint32_t index = 0; index < kBucketCount; ++index) {
      seen += counts_[index];
      if (seen >= wanted && count_ != 0) return std::min(upper_end(index), max_ns_);
    }
    return max_ns_;
  }

 private:
  static constexpr uint32_t kSubBits = 6;
  static constexpr uint32_t kSubCount = 1u << kSubBits;
  static constexpr uint32_t kOctaveCount = 36;  // up to 2^42 ns, more than an hour
  static constexpr uint32_t kBucketCount = kSubCount * (kOctaveCount + 1);

  static uint32_t index_of(uint64_t value) {
    if (value < kSubCount) return static_cast<uint32_t>(value);
    const auto octave = static_cast<uint32_t>(std::bit_width(value)) - kSubBits;  // 1 for the first cut octave
    const auto sub = static_cast<uint32_t>(value >> (octave - 1)) - kSubCount;
    return std::min(octave * kSubCount + sub, kBucketCount - 1);
  }

  static uint64_t upper_end(uint32_t index) {
    if (index < kSubCount) return index;
    const uint32_t octave = index / kSubCount;
    const uint64_t sub = index % kSubCount + kSubCount;
    return ((sub + 1) << (octave - 1)) - 1;
  }

  std::array<uint32_t, kBucketCount> counts_{};
  uint64_t count_ = 0;
  uint64_t max_ns_ = 0;
};

}  // namespace mqttq::bench
