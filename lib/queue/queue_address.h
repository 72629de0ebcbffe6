// What clients subscribe to when they consume a queue (DESIGN 7).
#pragma once

#include <string_view>

namespace mqttq {

// "$queue/{name}", "$queue/{name}/{filter}" and "$q/{filter}", taken apart. Views into the text given.
struct QueueAddress {
  enum class Kind : uint8_t {
    NotQueue,  // begins with neither
    Queue,     // well formed; whether the filter is a topic filter is not judged
    Invalid,   // begins so, and has no queue's name
  };
  Kind kind = Kind::NotQueue;
  std::string_view name;          // "orders"; of the one queue of a filter that has no name, all of "$q/{filter}"
  std::string_view topic_filter;  // empty: it does not say
};
QueueAddress parse_queue_address(std::string_view text) noexcept;

// is_valid_object_name(), or "$q/" and something.
bool is_valid_queue_name(std::string_view name) noexcept;

// As clients address it, for permissions: "$queue/{name}", or "$q/{filter}" itself.
inline constexpr std::string_view kQueuePrefix = "$queue/", kUnnamedQueuePrefix = "$q/";
inline bool is_unnamed_queue(std::string_view name) noexcept { return name.starts_with(kUnnamedQueuePrefix); }

}  // namespace mqttq
