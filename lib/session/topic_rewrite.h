// Topics that clients name, and those they stand for (decision 7).
//
// A rule's filter has its wildcards catch the levels they match, and its target names what was caught. Nothing here
// backtracks: a rule costs one walk along the topic.
#pragma once

#include "message/message.h"
#include "session/text_template.h"

namespace mqttq {

// Set before shards run, and only read then.
class TopicRewrites {
 public:
  static constexpr uint8_t kPublish = 1, kSubscribe = 2;
  static constexpr size_t kRulesMax = 1000;
  static constexpr size_t kCapturesMax = 16;
  static constexpr uint32_t kLevelsMax = 64;  // of a rule
  // So many rules cost what a level of a topic costs, in what a turn may do (ShardCore::take_work).
  static constexpr uint32_t kRulesPerLevel = 16;

  // actions: made of the above. Throws std::invalid_argument with a text for people, std::bad_alloc.
  void add(NamespaceId namespace_id, uint8_t actions, std::string_view from, std::string_view to);
  size_t count() const noexcept { return rules_.size(); }

  enum class Outcome : uint8_t {
    Unchanged,   // no rule matches
    Rewritten,   // `out` has the topic appended
    Impossible,  // what comes of it is no topic, or none that a client may name
    NoMemory,
  };
  // By the first rule that matches. topic: a name, or with kSubscribe a filter, which need not be valid.
  Outcome apply(uint8_t action, NamespaceId namespace_id, std::string_view client_id, std::string_view user_name,
                std::string_view topic, Array<char>& out) const noexcept;

 private:
  struct Levels;
  struct Rule {
    bool matches(const Levels& topic, std::string_view* captures) const noexcept;
    NamespaceId namespace_id;
    uint8_t actions;
    static constexpr uint32_t kNone = UINT32_MAX;
    uint32_t last_word;             // index of the last level that is no wildcard
    uint64_t last_word_head;        // what is compared of it first
    std::vector<std::string> from;  // by level
    TextTemplate to;
  };
  std::vector<Rule> rules_;
};

}  // namespace mqttq
