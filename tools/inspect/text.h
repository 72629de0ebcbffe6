// Text of clients on its way to a terminal or into JSON: nothing of it can be taken for anything but text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace mqttq::inspect {

enum class Form : uint8_t { People, Json };

// In quotes. Characters that print are left; all others, those that turn or hide what stands beside them too, become
// \u{1b} for people and \u001b in JSON. Bytes that are no UTF-8 become \xff, and U+FFFD in JSON, which has no bytes.
std::string quoted(std::string_view text, Form form = Form::People);

std::string hex(Bytes bytes);

// Milliseconds of Unix time as 2026-01-31T12:00:00Z; far from now, the number.
std::string calendar(int64_t unix_ms);

// One line of JSON, put together from the left; commas set themselves.
class Json {
 public:
  Json& open(char bracket);
  Json& close(char bracket) {
    text_ += bracket;
    return *this;
  }
  Json& key(std::string_view name);
  Json& value(std::string_view text);
  Json& value(uint64_t number);
  Json& value(bool truth);
  Json& null();

  template <class Value>
  Json& add(std::string_view name, const Value& of) {
    return key(name).value(of);
  }
  Json& add(std::string_view name, const char* of) { return key(name).value(std::string_view(of)); }
  Json& add_null(std::string_view name) { return key(name).null(); }
  // Unix time, as milliseconds and for people; INT64_MAX is none.
  Json& add_time(std::string_view name, int64_t unix_ms);
  const std::string& text() const noexcept { return text_; }

 private:
  void separate();
  std::string text_;
};

}  // namespace mqttq::inspect
