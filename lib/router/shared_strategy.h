// How a shared group chooses the member that gets a message (MQTT5 4.8.2 leaves it to the server).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "message/message.h"

namespace mqttq {

// X(name, word): one table yields the enumeration, and the words of hosts and configuration.
#define MQTTQ_SHARED_STRATEGIES(X)                                                         \
  X(RoundRobin, "round_robin")       /* each in turn */                                    \
  X(Random, "random")                /* any */                                             \
  X(LeastInflight, "least_inflight") /* who has the fewest unacknowledged of this group */ \
  X(Sticky, "sticky")                /* the same one, for as long as it is there */        \
  X(HashClientId, "hash_client_id")  /* messages of one publisher go to one member */      \
  X(HashTopic, "hash_topic")         /* messages of one topic go to one member */

enum class SharedStrategy : uint8_t {
#define MQTTQ_X(name, word) name,
  MQTTQ_SHARED_STRATEGIES(MQTTQ_X)
#undef MQTTQ_X
};

// The strategy of each group: its own, or the default. Set before shards run, and only read then.
class SharedStrategies {
 public:
  void set_default(SharedStrategy strategy) noexcept { default_ = strategy; }
  // Throws std::bad_alloc.
  void set(NamespaceId namespace_id, std::string_view group, SharedStrategy strategy) {
    for (Own& own : own_) {
      if (own.namespace_id == namespace_id && own.group == group) {
        own.strategy = strategy;
        return;
      }
    }
    own_.push_back({namespace_id, std::string(group), strategy});
  }
  SharedStrategy of(NamespaceId namespace_id, std::string_view group) const noexcept {
    for (const Own& own : own_) {
      if (own.namespace_id == namespace_id && own.group == group) return own.strategy;
    }
    return default_;
  }

 private:
  struct Own {
    NamespaceId namespace_id;
    std::string group;
    SharedStrategy strategy;
  };
  SharedStrategy default_ = SharedStrategy::RoundRobin;
  std::vector<Own> own_;
};

}  // namespace mqttq
