// See load_average.h.
#include "session/load_average.h"

#include <cmath>

namespace mqttq {

void LoadAverage::update(uint64_t total, Instant now) noexcept {
  const int64_t elapsed = now - at_;
  if (elapsed <= 0) return;
  const double minutes = static_cast<double>(elapsed) / static_cast<double>(60 * kSecond);
  const double rate = static_cast<double>(total - total_) / minutes;
  for (size_t i = 0; i < kMinutes.size(); ++i) {
    per_minute_[i] = rate + std::exp(-minutes / kMinutes[i]) * (per_minute_[i] - rate);
  }
  at_ = now;
  total_ = total;
}

}  // namespace mqttq
