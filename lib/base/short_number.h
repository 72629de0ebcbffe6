// Whole numbers in as few bytes as they need: seven bits each, the lowest first; the eighth says that there are more.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mqttq {

inline constexpr uint32_t kShortNumberMax = 10;  // bytes

inline std::byte* put_short_number(std::byte* at, uint64_t value) noexcept {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<std::byte>(value | 0x80);
  *at++ = static_cast<std::byte>(value);
  return at;
}

// Returns what stands behind it, which was written by the other.
inline const std::byte* get_short_number(const std::byte* at, uint64_t& value) noexcept {
  value = 0;
  for (uint32_t shift = 0;; shift += 7) {
    const auto byte = static_cast<uint64_t>(*at++);
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) return at;
  }
}

}  // namespace mqttq
