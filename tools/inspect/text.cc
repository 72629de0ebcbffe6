// How text of clients, times and JSON are written.
#include "inspect/text.h"

#include <fmt/format.h>

#include <ctime>

#include "message/topic.h"

namespace mqttq::inspect {

namespace {

// Valid UTF-8 of one character.
uint32_t code_point(std::string_view character) noexcept {
  const auto lead = static_cast<unsigned char>(character[0]);
  uint32_t code = character.size() == 1 ? lead : lead & (0x7Fu >> character.size());
  for (const char next : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(next) & 0x3Fu);
  return code;
}

// The character that `text` begins with; empty: it begins with none.
std::string_view first_character(std::string_view text) noexcept {
  for (size_t size = 1; size <= 4 && size <= text.size(); ++size) {
    if (text[0] == '\0' || is_valid_utf8(text.substr(0, size))) return text.substr(0, size);
  }
  return {};
}

// Controls, what is not seen, and what changes the direction of its neighbours (Unicode's category Cf and its like).
bool prints(uint32_t code) noexcept {
  struct Range {
    uint32_t first, last;
  };
  static constexpr Range kHidden[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},       {0x61C, 0x61C},
                                      {0x180E, 0x180E}, {0x200B, 0x200F}, {0x2028, 0x202E},   {0x2060, 0x206F},
                                      {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFF}, {0xE0000, 0x10FFFF}};
  for (const Range& range : kHidden) {
    if (code >= range.first && code <= range.last) return false;
  }
  return true;
}

void put_code(std::string& out, uint32_t code, Form form) {
  if (form == Form::People) {
    out += fmt::format("\\u{{{:x}}}", code);
  } else if (code > 0xFFFF) {
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0 + (code >> 10), 0xDC00 + (code & 0x3FF));
  } else {
    out += fmt::format("\\u{:04x}", code);
  }
}

}  // namespace

std::string quoted(std::string_view text, Form form) {
  std::string out = "\"";
  while (!text.empty()) {
    const std::string_view character = first_character(text);
    if (character.empty()) {
      out += form == Form::Json ? "\\ufffd" : fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(character.size());
    const uint32_t code = code_point(character);
    if (code == '"' || code == '\\') out += '\\';
    if (prints(code)) {
      out += character;
    } else {
      put_code(out, code, form);
    }
  }
  return out += '"';
}

std::string hex(Bytes bytes) {
  std::string out;
  for (const std::byte byte : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return out;
}

std::string calendar(int64_t unix_ms) {
  constexpr int64_t kYear10000 = 253'402'300'800'000;
  if (unix_ms < 0 || unix_ms >= kYear10000) return fmt::format("{} ms", unix_ms);
  const auto seconds = static_cast<time_t>(unix_ms / 1000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// --- JSON

void Json::separate() {
  if (!text_.empty() && std::string_view("{[:").find(text_.back()) == std::string_view::npos) text_ += ',';
}

Json& Json::open(char bracket) {
  separate();
  text_ += bracket;
  return *this;
}

Json& Json::key(std::string_view name) {
  separate();
  text_ += quoted(name, Form::Json);
  text_ += ':';
  return *this;
}

Json& Json::value(std::string_view text) {
  separate();
  text_ += quoted(text, Form::Json);
  return *this;
}

Json& Json::value(uint64_t number) {
  separate();
  text_ += std::to_string(number);
  return *this;
}

Json& Json::value(bool truth) {
  separate();
  text_ += truth ? "true" : "false";
  return *this;
}

Json& Json::null() {
  separate();
  text_ += "null";
  return *this;
}

Json& Json::add_time(std::string_view name, int64_t unix_ms) {
  if (unix_ms == INT64_MAX || unix_ms < 0) return add_null(name);
  return add(name, calendar(unix_ms));
}

}  // namespace mqttq::inspect
