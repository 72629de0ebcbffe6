// What clients subscribe to when they read a stream, and from where (DESIGN 7).
#pragma once

#include <string_view>

#include "base/owned_text.h"
#include "router/stream_place.h"

namespace mqttq {

// "earliest", "latest", "1700000000000000" or "@42". False: it is none of these, or no 63 bits hold it.
bool parse_stream_offset(std::string_view text, StreamOffset& offset) noexcept;

// "$stream/{name}", "$stream/{name}/{filter}", "$s/{offset}/{filter}" and "$s/{offset}/$stream/{name}[/{filter}]",
// taken apart. Views into the text given.
struct StreamAddress {
  enum class Kind : uint8_t {
    NotStream,  // begins with neither
    Stream,     // well formed; whether the filter is a topic filter is not judged
    BadName,
    BadOffset,
  };
  Kind kind = Kind::NotStream;
  bool has_offset = false;  // else a user property may say it
  StreamOffset offset;
  std::string_view name;          // empty: the one stream of the filter that has no name
  std::string_view topic_filter;  // empty: it does not say
};
StreamAddress parse_stream_address(std::string_view text) noexcept;

// As a stream without a name of its own is called: "$s/{filter}".
inline constexpr std::string_view kStreamPrefix = "$stream/", kUnnamedStreamPrefix = "$s/";
// The name of the stream that an address means. False without memory.
bool stream_name(const StreamAddress& address, OwnedText& name) noexcept;
inline bool is_unnamed_stream(std::string_view name) noexcept { return name.starts_with(kUnnamedStreamPrefix); }
// is_valid_object_name(), or "$s/" and something.
bool is_valid_stream_name(std::string_view name) noexcept;

}  // namespace mqttq
