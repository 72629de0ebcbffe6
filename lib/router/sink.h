// What messages are routed to: sessions, shared groups, subscribers of the host, and later queues, streams and bridges.
#pragma once

#include <span>

#include "base/slab.h"
#include "message/message.h"
#include "message/reason_code.h"

namespace mqttq {

class Filter;
class Sink;

// One sink's interest in one topic filter. Owned by the sink; stands in the filter's list on the sink's shard. It is
// counted in millions.
struct Subscription {
  Subscription* hash_next = nullptr;  // in the sink's own table, by the hash of its filter
  Sink* sink = nullptr;
  Filter* filter = nullptr;   // one counted reference
  uint32_t list_index = 0;    // in the filter's list
  uint32_t serial = 0;        // the session's shard's: tells it from an earlier one of the same filter
  uint32_t identifier = 0;    // Subscription Identifier (MQTT5 3.8.2.1.2), 0 = none
  Qos qos = Qos::AtMostOnce;  // granted
  bool no_local : 1 = false;
  bool retain_as_published : 1 = false;
  // Messages above QoS 0 come through the filter's journal and not by deliver().
  bool durable : 1 = false;
  // The sink answers each message above QoS 0, later: the publisher's acknowledgement waits for it.
  bool answers : 1 = false;
  bool exclusive : 1 = false;  // the sink has claimed the filter (Router::claim)
  // A shared group: what goes to journals of its shard as well reaches it with them, durable or not. So each message
  // takes one way to it, which its route says, whenever the group becomes durable.
  bool shared : 1 = false;

  // For HashTable.
  void keep_hash(uint64_t) noexcept {}
  uint64_t kept_hash() const noexcept;
};
static_assert(sizeof(Subscription) == 40);

// A message for one sink, whatever the number of its subscriptions that match.
struct Delivery {
  MovingMessage& message;
  Qos qos = Qos::AtMostOnce;  // the lower of the message's and the highest granted (MQTT5 3.8.4)
  bool retain = false;        // the RETAIN flag to send
  std::span<const uint32_t> identifiers;
  SlabHandle answer;  // for a sink that answers: where to (ShardCore::hold_answer); else it names nothing
};

// Lives on one shard. Nothing in deliver() subscribes, unsubscribes or ends a sink: that is put off to the turn's end.
class Sink {
 public:
  explicit Sink(NamespaceId namespace_id) noexcept : namespace_id_(namespace_id) {}
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  virtual void deliver(const Delivery& delivery, Instant now) noexcept = 0;
  // In which it subscribes.
  NamespaceId namespace_id() const noexcept { return namespace_id_; }
  // The publisher that this sink is, for No Local; 0 if it never publishes.
  virtual PublisherId publisher_id() const noexcept { return 0; }

  // Scratch of the fan-out that is running: where in its table, if it stands there.
  uint32_t fan_out_index = 0;

 protected:
  ~Sink() = default;

 private:
  const NamespaceId namespace_id_;
};

}  // namespace mqttq
