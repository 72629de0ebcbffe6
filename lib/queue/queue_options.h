// What is said of a queue when it is declared.
#pragma once

#include <cstdint>

#include "base/hash.h"
#include "message/message.h"
#include "router/queue_gate.h"

namespace mqttq {

// How the consumer is chosen that gets a message: among those of the highest priority that have room.
// X(name, word)
#define MQTTQ_QUEUE_DISPATCHES(X)                                                          \
  X(RoundRobin, "round_robin")       /* each in turn */                                    \
  X(Random, "random")                /* any */                                             \
  X(LeastInflight, "least_inflight") /* who has the fewest unacknowledged of this queue */ \
  X(KeyOrdered, "key_ordered")       /* one for all messages of a key that are under way */

enum class QueueDispatch : uint8_t {
#define MQTTQ_X(name, word) name,
  MQTTQ_QUEUE_DISPATCHES(MQTTQ_X)
#undef MQTTQ_X
};

// What becomes of a message in which the queue does not find its key.
// X(name, word)
#define MQTTQ_QUEUE_KEYLESS(X)                                   \
  X(Take, "take")     /* it is taken, and belongs to no other */ \
  X(Drop, "drop")     /* the queue does without it */            \
  X(Reject, "reject") /* the same, and its publisher is told */

enum class QueueKeyless : uint8_t {
#define MQTTQ_X(name, word) name,
  MQTTQ_QUEUE_KEYLESS(MQTTQ_X)
#undef MQTTQ_X
};

// What may be changed while it is used.
struct QueueOptions {
  QueueDispatch dispatch = QueueDispatch::RoundRobin;
  QueueOverflow overflow = QueueOverflow::DropOldest;
  bool exclusive = false;                   // one consumer at a time; the others stand by
  uint64_t messages_max = 1'000'000;        // waiting and in flight; 0 = no limit
  uint64_t bytes_max = 1024 * 1024 * 1024;  // of their topics, properties and payloads; 0 = no limit
  uint32_t age_max_s = 604'800;             // since they came; 0 = no limit
  uint32_t redelivery_delay_ms = 100;       // before who rejected a message gets it again
  uint32_t ack_timeout_ms = 0;              // after which an unacknowledged message is another's; 0 = never
  uint32_t deliveries_max = 0;              // after so many it is not delivered again; 0 = no limit
};

// What a queue is. It never changes.
struct QueueIdentity {
  NamespaceId namespace_id = kGlobalNamespace;
  std::string_view name;          // is_valid_queue_name()
  std::string_view topic_filter;  // may_be_kept()
  uint64_t id = 0;                // tells it from those that had the name before
  std::string_view key;           // of its messages: MessageKey; empty: they have none
  QueueKeyless keyless = QueueKeyless::Take;
  bool last_value = false;  // of what waits, the newest message of each key is all that there is

  // Besides who it is.
  bool same_kind(const QueueIdentity& other) const noexcept {
    return topic_filter == other.topic_filter && key == other.key && keyless == other.keyless &&
           last_value == other.last_value;
  }
};

// Names its journal in the log. seed: of what is kept.
inline uint64_t queue_journal(const QueueIdentity& queue, uint64_t seed) noexcept {
  return hash_mix(hash_text(queue.name, hash_mix(seed, queue.namespace_id)), queue.id);
}

}  // namespace mqttq
