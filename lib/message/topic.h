// Topic Names and Topic Filters (MQTT5 4.7), and the UTF-8 that the specification demands (MQTT5 1.5.4).
//
// Pure functions over borrowed text. A namespace is never part of a topic: it stands beside it in every key.
#pragma once

#include <cstdint>
#include <string_view>

namespace mqttq {

inline constexpr uint32_t kTopicSizeMax = 65'535;  // bytes (MQTT5 4.7.3)

// Well-formed UTF-8 without U+0000 and without surrogates [MQTT-1.5.4-1] [MQTT-1.5.4-2]. Any length.
bool is_valid_utf8(std::string_view text) noexcept;

// At least one character [MQTT-4.7.3-1], UTF-8 as above, no '+' and no '#' [MQTT-3.3.2-2], at most 65 535 bytes.
bool is_valid_topic_name(std::string_view text) noexcept;

// At least one character, UTF-8 as above, '#' only as the whole last level [MQTT-4.7.1-1], '+' only as a whole level
// [MQTT-4.7.1-2]. Does not look into `$share`: see parse_shared_filter.
bool is_valid_topic_filter(std::string_view text) noexcept;

// The filter behind "$exclusive/", which one client at a time may subscribe to; `text` itself without such a prefix.
inline std::string_view exclusive_filter(std::string_view text, bool& exclusive) noexcept {
  constexpr std::string_view kPrefix = "$exclusive/";
  exclusive = text.starts_with(kPrefix);
  return exclusive ? text.substr(kPrefix.size()) : text;
}

// True of "$SYS" and what lies below it, where only the broker publishes.
inline bool is_sys_topic(std::string_view topic_name) noexcept {
  return topic_name.starts_with("$SYS") && (topic_name.size() == 4 || topic_name[4] == '/');
}

// Cuts the first level off `rest`, whose data() is null then if it was the last one.
inline std::string_view cut_level(std::string_view& rest) noexcept {
  const size_t slash = rest.find('/');
  const std::string_view level = rest.substr(0, slash);
  rest = slash == rest.npos ? std::string_view() : std::string_view(rest.data() + slash + 1, rest.size() - slash - 1);
  return level;
}

// The number of levels, which is one more than the number of '/'.
uint32_t topic_level_count(std::string_view text) noexcept;

bool has_wildcard(std::string_view topic_filter) noexcept;

// True if `topic_name` matches `topic_filter`. Both must be valid. A filter that begins with a wildcard does not match
// a name that begins with '$' [MQTT-4.7.2-1].
bool topic_matches(std::string_view topic_filter, std::string_view topic_name) noexcept;

// True if every name that matches `narrower` matches `topic_filter`, level by level: "+/#" is not taken to cover "#".
// Both must be valid.
bool filter_covers(std::string_view topic_filter, std::string_view narrower) noexcept;

// The filter may be a queue's or a stream's: none of the broker's own topics, and no subscription of another kind.
bool may_be_kept(std::string_view topic_filter) noexcept;

// The name of a queue or a stream: [0-9A-Za-z][0-9A-Za-z._-]*, at most 255 bytes.
bool is_valid_object_name(std::string_view name) noexcept;

// "$share/{group}/{filter}" (MQTT5 4.8.2), taken apart. Views into the text given.
struct SharedFilter {
  enum class Kind : uint8_t {
    NotShared,  // does not begin with "$share/"; topic_filter is the text itself, group is empty
    Shared,     // well formed [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    Invalid,    // begins with "$share/" and is not well formed
  };
  Kind kind = Kind::NotShared;
  std::string_view group;
  std::string_view topic_filter;
};
SharedFilter parse_shared_filter(std::string_view text) noexcept;

// "$delayed/{seconds}/{topic}", taken apart. Views into the text given.
struct DelayedTopic {
  enum class Kind : uint8_t {
    NotDelayed,  // does not begin with "$delayed/"; topic_name is the text itself
    Delayed,
    Invalid,  // begins with "$delayed/", and a whole number, a topic or both are missing; nor may another one follow
  };
  Kind kind = Kind::NotDelayed;
  uint64_t seconds = 0;
  std::string_view topic_name;
};
DelayedTopic parse_delayed_topic(std::string_view text) noexcept;

}  // namespace mqttq
