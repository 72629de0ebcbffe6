// How many of something there are in a minute, averaged over 1, 5 and 15 minutes, as a load average of Unix is.
#pragma once

#include <array>
#include <cstddef>

#include "base/clock.h"

namespace mqttq {

// An exponentially decaying mean: what happened t minutes ago counts e^-(t/n) of what happens now, n being 1, 5 or 15.
class LoadAverage {
 public:
  static constexpr std::array<int, 3> kMinutes{1, 5, 15};

  // Of a total that is 0 at `start`, and before which nothing happened.
  explicit LoadAverage(Instant start = {}) noexcept : at_(start) {}

  // total: since the start; it never falls. Nothing changes when no time has passed since the last call.
  void update(uint64_t total, Instant now) noexcept;
  // window: an index of kMinutes.
  double per_minute(size_t window) const noexcept { return per_minute_[window]; }

 private:
  Instant at_;
  uint64_t total_ = 0;
  std::array<double, kMinutes.size()> per_minute_{};
};

}  // namespace mqttq
