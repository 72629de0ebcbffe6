#include "stream/stream_message.h"

#include <charconv>

#include "codec/codec.h"

namespace mqttq {

namespace {

constexpr uint32_t kDigitsMax = 20;
constexpr uint32_t size_max(std::string_view name) noexcept {
  return static_cast<uint32_t>(1 + 2 + name.size() + 2) + kDigitsMax;
}

void add_text(codec::Writer& out, std::string_view name, std::string_view value) noexcept {
  out.u8(static_cast<uint8_t>(PropertyId::UserProperty));
  out.prefixed(name);
  out.prefixed(value);
}

void add_number(codec::Writer& out, std::string_view name, uint64_t value) noexcept {
  char digits[kDigitsMax];
  const char* end = std::to_chars(digits, std::end(digits), value).ptr;
  add_text(out, name, {digits, static_cast<size_t>(end - digits)});
}

}  // namespace

bool write_stream_properties(const StreamAt& at, std::string_view key, Array<std::byte>& out) noexcept {
  constexpr uint32_t kSizeMax = size_max(kStreamOffsetProperty) + size_max(kStreamTimeProperty) +
                                size_max(kStreamSkippedProperty) + size_max(kStreamKeyProperty);
  out.clear();
  if (!out.reserve(kSizeMax + static_cast<uint32_t>(key.size()))) return false;
  codec::Writer writer(out.begin());
  add_number(writer, kStreamOffsetProperty, at.position);
  add_number(writer, kStreamTimeProperty, static_cast<uint64_t>(at.us));
  if (key.data()) add_text(writer, kStreamKeyProperty, key);
  if (at.skipped) add_number(writer, kStreamSkippedProperty, at.skipped);
  out.set_count(static_cast<uint32_t>(writer.size()));
  return true;
}

}  // namespace mqttq
