// Topics that clients call by what they were called once, where the broker rewrites those names.
#pragma once

#include <string>

#include "message/topic.h"
#include "session/policy.h"

namespace mqttq {

// Has a broker take "old/a" for "a", in topic names and filters.
inline void rewrite_old_names(Policy& policy) {
  policy.rewrites.add(kGlobalNamespace, TopicRewrites::kPublish | TopicRewrites::kSubscribe, "old/#", "$1");
}

// What a topic or a filter, shared or not, was called once; what begins with '$' has its name still.
inline std::string old_name_of(const std::string& topic) {
  const SharedFilter shared = parse_shared_filter(topic);
  if (shared.topic_filter.starts_with('$')) return topic;
  return topic.substr(0, topic.size() - shared.topic_filter.size()) + "old/" + std::string(shared.topic_filter);
}

}  // namespace mqttq
