// What clients subscribe to when they read a stream, and from where (DESIGN 7).
#pragma once

#include <cstdint>
#include <string_view>

namespace mqttq {

// Where a reader begins.
struct StreamOffset {
  enum class Kind : uint8_t {
    Earliest,  // at the oldest message that is kept
    Latest,    // behind the newest
    Time,      // at the first message that is not older than `value`, us of Unix time
    Position,  // at the message of this position, or the first behind it
  };
  Kind kind = Kind::Latest;
  uint64_t value = 0;
  bool operator==(const StreamOffset&) const = default;
};

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

}  // namespace mqttq
