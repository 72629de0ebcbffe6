// is_valid_utf8 against code that decodes one character after the other [MQTT-1.5.4-1] [MQTT-1.5.4-2].
#include "message/topic.h"
#include "require.h"

namespace {

using mqttq::fuzz::require;

// The size in bytes of the character that `text` begins with, 0 if it begins with none that MQTT allows.
size_t character_size(std::string_view text) {
  const auto byte = [&](size_t index) { return static_cast<uint8_t>(text[index]); };
  const size_t size = byte(0) < 0x80             ? 1
                      : (byte(0) & 0xE0) == 0xC0 ? 2
                      : (byte(0) & 0xF0) == 0xE0 ? 3
                      : (byte(0) & 0xF8) == 0xF0 ? 4
                                                 : 0;
  if (size == 0 || size > text.size()) return 0;
  uint32_t code_point = size == 1 ? byte(0) : byte(0) & (0x7Fu >> size);
  for (size_t index = 1; index < size; index += 1) {
    if ((byte(index) & 0xC0) != 0x80) return 0;
    code_point = code_point << 6 | (byte(index) & 0x3Fu);
  }
  constexpr uint32_t kSmallest[] = {0, 0x01, 0x80, 0x800, 0x1'0000};  // by size
  if (code_point < kSmallest[size] || code_point > 0x10'FFFF) return 0;
  if (code_point >= 0xD800 && code_point <= 0xDFFF) return 0;
  return size;
}

bool expected(std::string_view text) {
  while (!text.empty()) {
    const size_t size = character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // From every place in the first word, since the text is read in words.
  for (size_t skipped = 0; skipped <= 8 && skipped <= size; skipped += 1) {
    const auto part = text.substr(skipped);
    const bool valid = expected(part);
    const bool has_wildcard = part.find_first_of("+#") != part.npos;
    require(mqttq::is_valid_utf8(part) == valid, "UTF-8 is what decodes to characters");
    require(mqttq::has_wildcard(part) == has_wildcard, "a wildcard is '+' or '#'");
    const bool is_name = valid && !has_wildcard && !part.empty() && part.size() <= mqttq::kTopicSizeMax;
    require(mqttq::is_valid_topic_name(part) == is_name, "a name is UTF-8 without wildcards");
  }
  return 0;
}
