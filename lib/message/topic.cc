// Topic Names and Topic Filters (MQTT5 4.7): what is one, and which name matches which filter.
#include "message/topic.h"

#include <algorithm>
#include <charconv>

#include "message/word.h"

namespace mqttq {

namespace {

constexpr std::string_view kSharedPrefix = "$share/";
constexpr std::string_view kDelayedPrefix = "$delayed/";

bool has_topic_size(std::string_view text) noexcept {  // [MQTT-4.7.3-1] [MQTT-4.7.3-3]
  return !text.empty() && text.size() <= kTopicSizeMax;
}

// '+' fills a level, and '#' the last one [MQTT-4.7.1-1] [MQTT-4.7.1-2].
bool wildcards_stand_alone(std::string_view topic_filter) noexcept {
  for (size_t at = topic_filter.find_first_of("+#"); at != topic_filter.npos;
       at = topic_filter.find_first_of("+#", at + 1)) {
    if (at != 0 && topic_filter[at - 1] != '/') return false;
    const bool last = at + 1 == topic_filter.size();
    if (!last && (topic_filter[at] == '#' || topic_filter[at + 1] != '/')) return false;
  }
  return true;
}

bool is_letter_or_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

}  // namespace

bool is_valid_topic_name(std::string_view text) noexcept {
  if (!has_topic_size(text)) return false;
  const auto suspicious = [](uint64_t bytes) { return word::not_ascii(bytes) | word::wildcards(bytes); };
  return word::none(text, suspicious) || (!has_wildcard(text) && is_valid_utf8(text));
}

bool is_valid_topic_filter(std::string_view text) noexcept {
  return has_topic_size(text) && is_valid_utf8(text) && (!has_wildcard(text) || wildcards_stand_alone(text));
}

uint32_t topic_level_count(std::string_view text) noexcept {
  return 1 + static_cast<uint32_t>(std::count(text.begin(), text.end(), '/'));
}

bool has_wildcard(std::string_view topic_filter) noexcept { return !word::none(topic_filter, word::wildcards); }

bool topic_matches(std::string_view topic_filter, std::string_view topic_name) noexcept {
  if (topic_name.starts_with('$') && (topic_filter.starts_with('+') || topic_filter.starts_with('#'))) return false;
  size_t at = 0;  // in the name
  for (size_t index = 0; index < topic_filter.size(); index += 1) {
    const char c = topic_filter[index];
    if (c == '#') return true;
    if (c == '+') {
      while (at < topic_name.size() && topic_name[at] != '/') at += 1;
    } else if (at < topic_name.size() && topic_name[at] == c) {
      at += 1;
    } else {
      // "a/#" matches "a" too: '#' includes the parent level (MQTT5 4.7.1.2).
      return at == topic_name.size() && topic_filter.substr(index) == "/#";
    }
  }
  return at == topic_name.size();
}

bool filter_covers(std::string_view topic_filter, std::string_view narrower) noexcept {
  if (narrower.starts_with('$') && (topic_filter.starts_with('+') || topic_filter.starts_with('#'))) return false;
  while (topic_filter.data() && narrower.data()) {
    const std::string_view level = cut_level(topic_filter), inner = cut_level(narrower);
    if (level == "#") return true;
    if (inner == "#" || (level != "+" && level != inner)) return false;
  }
  return !narrower.data() && (!topic_filter.data() || topic_filter == "#");  // "a/#" matches "a" too
}

bool may_be_kept(std::string_view topic_filter) noexcept {
  constexpr std::string_view kOthers[] = {"$SYS", "$share", "$queue", "$q", "$stream", "$s", "$exclusive", "$delayed"};
  const std::string_view first = topic_filter.substr(0, topic_filter.find('/'));
  return std::find(std::begin(kOthers), std::end(kOthers), first) == std::end(kOthers);
}

bool is_valid_object_name(std::string_view name) noexcept {
  constexpr size_t kNameMax = 255;
  return !name.empty() && name.size() <= kNameMax && is_letter_or_digit(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

SharedFilter parse_shared_filter(std::string_view text) noexcept {
  SharedFilter shared;
  shared.topic_filter = text;
  if (!text.starts_with(kSharedPrefix)) return shared;
  shared.kind = SharedFilter::Kind::Invalid;
  const std::string_view rest = text.substr(kSharedPrefix.size());
  const size_t slash = rest.find('/');
  if (slash == rest.npos) return shared;  // [MQTT-4.8.2-2]
  const std::string_view group = rest.substr(0, slash);
  const std::string_view topic_filter = rest.substr(slash + 1);
  // A share name is not empty [MQTT-4.8.2-1], has no wildcards, and a filter follows it [MQTT-4.8.2-2].
  if (!is_valid_topic_name(group) || !is_valid_topic_filter(topic_filter)) return shared;
  shared.kind = SharedFilter::Kind::Shared;
  shared.group = group;
  shared.topic_filter = topic_filter;
  return shared;
}

DelayedTopic parse_delayed_topic(std::string_view text) noexcept {
  DelayedTopic delayed;
  delayed.topic_name = text;
  if (!text.starts_with(kDelayedPrefix)) return delayed;
  delayed.kind = DelayedTopic::Kind::Invalid;
  const std::string_view rest = text.substr(kDelayedPrefix.size());
  const char* const end = rest.data() + rest.size();
  const auto [number_end, error] = std::from_chars(rest.data(), end, delayed.seconds);
  if (error != std::errc() || number_end == end || *number_end != '/') return delayed;
  delayed.topic_name = rest.substr(static_cast<size_t>(number_end + 1 - rest.data()));
  if (delayed.topic_name.empty() || delayed.topic_name.starts_with(kDelayedPrefix)) return delayed;
  delayed.kind = DelayedTopic::Kind::Delayed;
  return delayed;
}

}  // namespace mqttq
