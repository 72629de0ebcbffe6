// See topic_rewrite.h.
#include "session/topic_rewrite.h"

#include <algorithm>
#include <stdexcept>

#include "message/topic.h"

namespace mqttq {

namespace {

// Takes the first level off `rest`, which is then null when it was the last.
std::string_view take_level(std::string_view& rest) noexcept {
  const size_t slash = rest.find('/');
  const std::string_view level = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  return level;
}

// True if `from` matches; what its wildcards matched is then in `captures`, in their order.
bool match(std::string_view from, std::string_view topic, std::string_view* captures) noexcept {
  if (topic.starts_with('$') && (from[0] == '+' || from[0] == '#')) return false;  // [MQTT-4.7.2-1]
  while (from.data()) {
    const std::string_view wanted = take_level(from);
    if (wanted == "#") {
      *captures = topic;
      return true;
    }
    if (!topic.data()) return false;
    const std::string_view level = take_level(topic);
    if (wanted == "+") {
      if (level == "#") return false;  // of a subscription, and more than one level
      *captures++ = level;
    } else if (level != wanted) {
      return false;
    }
  }
  return !topic.data();
}

size_t wildcard_count(std::string_view filter) noexcept {
  size_t count = 0;
  for (const char c : filter) count += c == '+' || c == '#';
  return count;
}

}  // namespace

void TopicRewrites::add(NamespaceId namespace_id, uint8_t actions, std::string_view from, std::string_view to) {
  if (actions == 0 || actions > (kPublish | kSubscribe)) throw std::invalid_argument("actions: unknown ones");
  if (!is_valid_topic_filter(from) || from.size() > kTopicSizeMax) {
    throw std::invalid_argument("from: not a topic filter");
  }
  if (from.starts_with('$')) throw std::invalid_argument("from: what begins with $ is not rewritten");
  const size_t captures = wildcard_count(from);
  if (captures > kCapturesMax) throw std::invalid_argument("from: more than 16 wildcards");
  TextTemplate target;
  try {
    target = TextTemplate(to, captures);
  } catch (const std::invalid_argument& failure) {
    throw std::invalid_argument(std::string("to: ") + failure.what());
  }
  const std::string sample = target.sample("x");
  if (sample.starts_with('$')) throw std::invalid_argument("to: what begins with $ is not written to");
  if (!is_valid_topic_filter(sample)) throw std::invalid_argument("to: not a topic");
  if (actions & kPublish && has_wildcard(sample)) {
    throw std::invalid_argument("to: a wildcard, and nothing can be published to it");
  }
  rules_.push_back({namespace_id, actions, std::string(from), std::move(target)});
}

TopicRewrites::Outcome TopicRewrites::apply(uint8_t action, NamespaceId namespace_id, std::string_view client_id,
                                            std::string_view user_name, std::string_view topic,
                                            Array<char>& out) const noexcept {
  std::string_view captures[kCapturesMax];
  const uint32_t start = out.count();
  for (const Rule& rule : rules_) {
    if (rule.namespace_id != namespace_id || !(rule.actions & action) || !match(rule.from, topic, captures)) continue;
    switch (rule.to.fill({client_id, user_name, captures}, out)) {
      case TextTemplate::Filled::Unfit: return Outcome::Impossible;
      case TextTemplate::Filled::NoMemory: return Outcome::NoMemory;
      case TextTemplate::Filled::Yes: break;
    }
    return out.count() == start || out[start] == '$' ? Outcome::Impossible : Outcome::Rewritten;
  }
  return Outcome::Unchanged;
}

}  // namespace mqttq
