// See topic_rewrite.h.
#include "session/topic_rewrite.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "message/topic.h"

namespace mqttq {

namespace {

// The first bytes of a level, and its size: what tells most levels apart in one comparison.
uint64_t head_of(std::string_view level) noexcept {
  uint64_t head = 0;
  if (!level.empty()) std::memcpy(&head, level.data(), std::min<size_t>(level.size(), 7));
  return head << 8 | static_cast<uint8_t>(level.size());
}

}  // namespace

// A topic in levels, as many as a rule can have; taken apart once for all rules.
struct TopicRewrites::Levels {
  explicit Levels(std::string_view text) noexcept : topic(text) {
    for (std::string_view rest = text; rest.data(); ++count) {
      const std::string_view level = cut_level(rest);
      if (count >= TopicRewrites::kLevelsMax) continue;
      levels[count] = level;
      heads[count] = head_of(level);
    }
  }
  // From level `index` on; null behind the last.
  std::string_view from(uint32_t index) const noexcept {
    if (index >= count) return {};
    return topic.substr(static_cast<size_t>(levels[index].data() - topic.data()));
  }

  const std::string_view topic;
  uint32_t count = 0;
  std::string_view levels[TopicRewrites::kLevelsMax];
  uint64_t heads[TopicRewrites::kLevelsMax];  // of the levels there are
};

namespace {

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
  if (topic_level_count(from) > kLevelsMax) throw std::invalid_argument("from: more than 64 levels");
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
  Rule rule{namespace_id, actions, Rule::kNone, 0, {}, std::move(target)};
  for (std::string_view rest = from; rest.data();) rule.from.emplace_back(cut_level(rest));
  // Most topics differ in the last word of a rule, if at all.
  for (uint32_t at = 0; at < rule.from.size(); ++at) {
    if (rule.from[at] == "+" || rule.from[at] == "#") continue;
    rule.last_word = at;
    rule.last_word_head = head_of(rule.from[at]);
  }
  rules_.push_back(std::move(rule));
}

// True if it matches; what its wildcards matched is then in `captures`, in their order.
bool TopicRewrites::Rule::matches(const Levels& topic, std::string_view* captures) const noexcept {
  const auto size = static_cast<uint32_t>(from.size());
  const bool multi = from.back() == "#";  // matches the level above too
  if (multi ? topic.count + 1 < size : topic.count != size) return false;
  if (last_word != kNone && (last_word >= topic.count || topic.heads[last_word] != last_word_head)) return false;
  for (uint32_t at = 0; at < size; ++at) {
    if (from[at] == "#") {
      *captures = topic.from(at);
    } else if (from[at] == "+") {
      if (topic.levels[at] == "#") return false;  // of a subscription, and more than one level
      *captures++ = topic.levels[at];
    } else if (topic.levels[at] != from[at]) {
      return false;
    }
  }
  return true;
}

TopicRewrites::Outcome TopicRewrites::apply(uint8_t action, NamespaceId namespace_id, std::string_view client_id,
                                            std::string_view user_name, std::string_view topic,
                                            Array<char>& out) const noexcept {
  if (topic.starts_with('$')) return Outcome::Unchanged;  // [MQTT-4.7.2-1]; and no rule begins so
  const Levels levels(topic);
  std::string_view captures[kCapturesMax];
  const uint32_t start = out.count();
  for (const Rule& rule : rules_) {
    if (rule.namespace_id != namespace_id || !(rule.actions & action) || !rule.matches(levels, captures)) continue;
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
