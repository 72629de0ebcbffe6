// Points in time as the middle sees them: it is told what time it is and never reads a clock.
#pragma once

#include <compare>
#include <cstdint>

namespace mqttq {

inline constexpr int64_t kMicrosecond = 1'000, kMillisecond = 1'000'000, kSecond = 1'000'000'000;  // nanoseconds

// Nanoseconds on a clock that never goes back, from an arbitrary start.
struct Instant {
  int64_t ns = 0;
  auto operator<=>(const Instant&) const = default;
  Instant operator+(int64_t duration_ns) const noexcept { return {ns + duration_ns}; }
  int64_t operator-(Instant earlier) const noexcept { return ns - earlier.ns; }
};

}  // namespace mqttq
