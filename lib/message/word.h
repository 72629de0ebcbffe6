// Text looked at eight bytes at a time, on any processor: what utf8.cc and topic.cc share. Internal to message/.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace mqttq::word {

inline constexpr uint64_t kOnes = 0x0101'0101'0101'0101;
inline constexpr uint64_t kHighBits = 0x80 * kOnes;

inline uint64_t load(const char* at) noexcept {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// All of a text of one to seven bytes, some of them more than once.
inline uint64_t load_short(std::string_view text) noexcept {
  const size_t size = text.size();
  if (size >= 4) {
    uint32_t front, back;
    std::memcpy(&front, text.data(), sizeof front);
    std::memcpy(&back, text.data() + size - sizeof back, sizeof back);
    return uint64_t{front} << 32 | back;
  }
  const auto byte = [&](size_t index) { return uint64_t{static_cast<uint8_t>(text[index])}; };
  return ((kOnes * byte(0)) & ~uint64_t{0xFFFF}) | byte(size / 2) << 8 | byte(size - 1);
}

// Zero if all bytes are 0x01..0x7F: subtracting one sets the high bit of a zero, and without a zero borrows nothing.
constexpr uint64_t not_ascii(uint64_t word) noexcept { return (word | (word - kOnes)) & kHighBits; }

// Zero if no byte is '+' or '#'. These differ in one bit: without it both are 0x23, which the exclusive-or makes zero.
// A borrow may mark more bytes than are wildcards, but only where there was one.
constexpr uint64_t wildcards(uint64_t word) noexcept {
  static_assert(('#' | 0x08) == '+');
  const uint64_t difference = (word & ~(0x08 * kOnes)) ^ '#' * kOnes;
  return (difference - kOnes) & ~difference & kHighBits;
}

// True if `find` is zero for all of `text`. It may see bytes twice, in any order.
template <class Find>
bool none(std::string_view text, const Find& find) noexcept {
  if (text.size() < 8) return text.empty() || find(load_short(text)) == 0;
  const char* const last = text.data() + text.size() - 8;
  for (const char* at = text.data(); at < last; at += 8) {
    if (find(load(at)) != 0) return false;
  }
  return find(load(last)) == 0;
}

}  // namespace mqttq::word
