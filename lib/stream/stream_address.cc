#include "stream/stream_address.h"

#include <charconv>

#include "base/array.h"
#include "message/topic.h"

namespace mqttq {

namespace {

// "{name}" or "{name}/{filter}".
void parse_named(std::string_view rest, StreamAddress& address) noexcept {
  address.name = cut_level(rest);
  address.topic_filter = rest;
  const bool whole = !rest.data() || !rest.empty();  // no "orders/"
  address.kind =
      whole && is_valid_object_name(address.name) ? StreamAddress::Kind::Stream : StreamAddress::Kind::BadName;
}

}  // namespace

bool parse_stream_offset(std::string_view text, StreamOffset& offset) noexcept {
  if (text == "earliest" || text == "latest") {
    offset = {text == "latest" ? StreamOffset::Kind::Latest : StreamOffset::Kind::Earliest, 0};
    return true;
  }
  offset.kind = text.starts_with('@') ? StreamOffset::Kind::Position : StreamOffset::Kind::Time;
  if (offset.kind == StreamOffset::Kind::Position) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), offset.value);
  return error == std::errc() && end == text.data() + text.size() && offset.value <= INT64_MAX;
}

StreamAddress parse_stream_address(std::string_view text) noexcept {
  StreamAddress address;
  if (text.starts_with(kStreamPrefix)) {
    parse_named(text.substr(kStreamPrefix.size()), address);
  } else if (text.starts_with(kUnnamedStreamPrefix)) {
    std::string_view rest = text.substr(kUnnamedStreamPrefix.size());
    address.has_offset = true;
    if (!parse_stream_offset(cut_level(rest), address.offset)) {
      address.kind = StreamAddress::Kind::BadOffset;
    } else if (rest.starts_with(kStreamPrefix)) {
      parse_named(rest.substr(kStreamPrefix.size()), address);
    } else {
      address.topic_filter = rest;
      address.kind = !rest.empty() ? StreamAddress::Kind::Stream : StreamAddress::Kind::BadName;
    }
  }
  return address;
}

bool stream_name(const StreamAddress& address, OwnedText& name) noexcept {
  if (!address.name.empty()) return name.set(address.name);
  Array<char> text;
  return text.append({kUnnamedStreamPrefix.data(), kUnnamedStreamPrefix.size()}) &&
         text.append({address.topic_filter.data(), address.topic_filter.size()}) &&
         name.set({text.begin(), text.count()});
}

bool is_valid_stream_name(std::string_view name) noexcept {
  return is_unnamed_stream(name) ? name.size() > kUnnamedStreamPrefix.size() : is_valid_object_name(name);
}

}  // namespace mqttq
