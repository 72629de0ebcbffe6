// Bytes as people write them: "38 05 | 00 01 'a' | 00 | 'x'". For all tests.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mqttq {

// Pairs of hexadecimal digits, and between single quotes characters that stand for themselves (to which a quote cannot
// belong). Space and '|' part them. Anything else is a slip in the test, and throws.
inline std::vector<std::byte> hex(std::string_view text) {
  const auto digit = [&](char c) -> unsigned {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const size_t value = kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
    if (value == kDigits.npos) throw std::invalid_argument("not hexadecimal: " + std::string(text));
    return static_cast<unsigned>(value);
  };
  std::vector<std::byte> bytes;
  bool quoted = false;
  for (size_t at = 0; at < text.size(); at += 1) {
    const char c = text[at];
    if (c == '\'') {
      quoted = !quoted;
    } else if (quoted) {
      bytes.push_back(static_cast<std::byte>(c));
    } else if (c != ' ' && c != '\n' && c != '|') {
      if (at + 1 == text.size()) throw std::invalid_argument("half a byte: " + std::string(text));
      bytes.push_back(static_cast<std::byte>(digit(c) << 4 | digit(text[at + 1])));
      at += 1;
    }
  }
  if (quoted) throw std::invalid_argument("a quote without its end: " + std::string(text));
  return bytes;
}

}  // namespace mqttq
