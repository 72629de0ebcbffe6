#include "base/base64.h"

#include <cstdint>

namespace mqttq {

namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

void append_base64(Bytes bytes, std::string& out) {
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const Bytes three = bytes.subspan(at, std::min<size_t>(3, bytes.size() - at));
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < three.size() ? static_cast<uint32_t>(three[i]) : 0);
    for (size_t i = 0; i < 4; ++i) out += i <= three.size() ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
  }
}

bool read_base64(std::string_view text, std::vector<std::byte>& out) {
  if (text.size() % 4) return false;
  for (size_t at = 0; at < text.size(); at += 4) {
    const std::string_view four = text.substr(at, 4);
    const size_t digits = std::min(four.find('='), size_t{4});
    const bool last = at + 4 == text.size();
    if (digits < 2 || (digits < 4 && !last) || four.substr(digits).find_first_not_of('=') != four.npos) return false;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) {
      const size_t digit = i < digits ? kDigits.find(four[i]) : 0;
      if (digit == kDigits.npos) return false;
      bits = bits << 6 | static_cast<uint32_t>(digit);
    }
    if (bits & ((uint32_t{1} << (24 - 8 * (digits - 1))) - 1)) return false;  // what the last digit has beyond a byte
    for (size_t i = 0; i + 1 < digits; ++i) out.push_back(static_cast<std::byte>(bits >> (16 - 8 * i)));
  }
  return true;
}

}  // namespace mqttq
