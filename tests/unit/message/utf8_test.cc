// lib/message/utf8.cc, against the definition of UTF-8 rather than another table.
#include <catch2/catch_test_macros.hpp>
#include <string>

#include "message/topic.h"
#include "unit/hex.h"

namespace mqttq {

namespace {

// The bytes of a character, also of one that is not allowed. size: bytes, 1 to 4; 0 is as few as possible.
std::string character(uint32_t code_point, size_t size = 0) {
  if (size == 0) size = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x1'0000 ? 3 : 4;
  if (size == 1) return std::string(1, static_cast<char>(code_point));
  std::string bytes(size, '\0');
  for (size_t index = size - 1; index > 0; index -= 1) {
    bytes[index] = static_cast<char>(0x80 | (code_point & 0x3F));
    code_point >>= 6;
  }
  const unsigned lead = size == 2 ? 0xC0 : size == 3 ? 0xE0 : 0xF0;
  bytes[0] = static_cast<char>(lead | code_point);
  return bytes;
}

// `text` behind, before and between ASCII of every length that meets a border of eight bytes.
void check_everywhere(const std::string& text, bool expected) {
  for (size_t before = 0; before <= 17; before += 1) {
    for (const size_t behind : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}}) {
      const std::string whole = std::string(before, 'x') + text + std::string(behind, 'y');
      if (is_valid_utf8(whole) != expected) {
        CAPTURE(before, behind, whole);
        CHECK(is_valid_utf8(whole) == expected);
      }
    }
  }
}

}  // namespace

TEST_CASE("every character is valid but U+0000 and the surrogates",
          "[utf8][MQTT-1.5.4-1][MQTT-1.5.4-2]"
          "[MQTT311-1.5.3-1][MQTT311-1.5.3-2]") {
  size_t wrong = 0;
  for (uint32_t code_point = 0; code_point <= 0x11'0000; code_point += 1) {
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    const bool expected = code_point != 0 && !surrogate && code_point <= 0x10'FFFF;
    if (is_valid_utf8(character(code_point)) != expected) wrong += 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("no character is valid in more bytes than it needs", "[utf8][MQTT-1.5.4-1]") {
  size_t taken = 0;
  for (uint32_t code_point = 0; code_point < 0x1'0000; code_point += 1) {
    for (size_t size = character(code_point).size() + 1; size <= 4; size += 1) {
      if (is_valid_utf8(character(code_point, size))) taken += 1;
    }
  }
  CHECK(taken == 0);
}

TEST_CASE("of all sequences of two bytes just the right ones are valid", "[utf8][MQTT-1.5.4-1]") {
  size_t valid = 0;
  for (unsigned first = 0; first < 256; first += 1) {
    for (unsigned second = 0; second < 256; second += 1) {
      const char bytes[] = {static_cast<char>(first), static_cast<char>(second)};
      if (is_valid_utf8({bytes, 2})) valid += 1;
    }
  }
  CHECK(valid == 127 * 127 + (0x800 - 0x80));  // two of ASCII, or one of two bytes
}

TEST_CASE("a character is seen wherever it stands", "[utf8]") {
  for (const uint32_t code_point : {0x01u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xD7FFu, 0xE000u, 0xFEFFu, 0xFFFDu, 0xFFFFu,
                                    0x1'0000u, 0x1'F600u, 0x10'FFFFu}) {
    check_everywhere(character(code_point), true);
  }
}

TEST_CASE("a fault is seen wherever it stands", "[utf8][MQTT-1.5.4-1][MQTT-1.5.4-2]") {
  for (const auto* text : {"00",       "80",          "bf",          "c0 80",       "c0 af",       "c1 bf",
                           "c3",       "c3 28",       "c3 c3",       "e0 80 80",    "e0 9f bf",    "e2 82",
                           "e2 28 a1", "e2 82 28",    "ed a0 80",    "ed bf bf",    "f0 80 80 80", "f0 8f bf bf",
                           "f0 9f 98", "f0 28 8c bc", "f0 90 28 bc", "f4 90 80 80", "f5 80 80 80", "f8 88 80 80 80",
                           "fe",       "ff",          "c3 a9 80",    "e2 82 ac ac"}) {
    const auto bytes = hex(text);
    check_everywhere(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), false);
  }
}

TEST_CASE("text of any length goes through, also none", "[utf8]") {
  CHECK(is_valid_utf8({}));
  CHECK(is_valid_utf8(""));
  for (size_t size = 1; size < 70; size += 1) {
    std::string text(size, 'a');
    CHECK(is_valid_utf8(text));
    for (size_t at = 0; at < size; at += 1) {
      text[at] = '\0';
      CHECK_FALSE(is_valid_utf8(text));
      text[at] = '\xFF';
      CHECK_FALSE(is_valid_utf8(text));
      text[at] = 'a';
    }
  }
}

TEST_CASE("EF BB BF is a character and stays", "[utf8][MQTT-1.5.4-3][MQTT311-1.5.3-3]") {
  CHECK(is_valid_utf8("\xEF\xBB\xBF"));
  CHECK(is_valid_topic_name("\xEF\xBB\xBFtopic"));
  CHECK_FALSE(topic_matches("topic", "\xEF\xBB\xBFtopic"));
}

}  // namespace mqttq
