// A seeded hash of bytes for tables keyed by what peers send: without the seed, collisions cannot be prepared.
#pragma once

#include "base/bytes.h"

namespace mqttq {

namespace hash_detail {
inline uint64_t load(const std::byte* from, size_t size) noexcept {
  uint64_t value = 0;
  std::memcpy(&value, from, size);
  return value;
}
inline uint64_t fold(uint64_t a, uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
}  // namespace hash_detail

// Two words to one. The constants are odd, with about half of their bits set.
inline uint64_t hash_mix(uint64_t a, uint64_t b) noexcept {
  return hash_detail::fold(a ^ 0x9E37'79B9'7F4A'7C15u, b ^ 0xD1B5'4A32'D192'ED03u);
}

// Sixteen bytes a step by folded multiplication. Not cryptographic; good enough behind a secret seed.
inline uint64_t hash_bytes(Bytes bytes, uint64_t seed) noexcept {
  using namespace hash_detail;
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  uint64_t state = hash_mix(seed, left);
  while (left > 16) {
    state = fold(load(at, 8) ^ state, load(at + 8, 8) ^ 0xA076'1D64'78BD'642Fu);
    at += 16;
    left -= 16;
  }
  uint64_t a = 0, b = 0;
  if (left >= 8) {
    a = load(at, 8);
    b = load(at + left - 8, 8);
  } else if (left >= 4) {
    a = load(at, 4);
    b = load(at + left - 4, 4);
  } else if (left) {
    a = load(at, left);
  }
  return hash_mix(fold(a ^ state, b ^ 0xE703'7ED1'A0B4'28DBu), state);
}

inline uint64_t hash_text(std::string_view text, uint64_t seed) noexcept { return hash_bytes(as_bytes(text), seed); }

}  // namespace mqttq
