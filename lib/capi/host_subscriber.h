// A subscriber in the process: a sink of one shard whose messages become events.
#pragma once

#include "capi/handles.h"
#include "capi/host_events.h"

namespace mqttq::capi {

// Everything but the constructor and dropped() happens on its shard.
class HostSubscriber final : public Sink, private mqttq_events::Waiter {
 public:
  // events, held: borrowed, outlive it; held is its shard's.
  HostSubscriber(NamespaceId namespace_id, mqttq_events& events, void* user, Qos qos, bool answers,
                 Slab<HeldAnswer>& held) noexcept
      : Sink(namespace_id), events_(events), user_(user), held_(held) {
    subscription_.sink = this;
    subscription_.qos = qos;
    subscription_.answers = answers;
    subscription_.retain_as_published = true;
  }

  // Errors: NoMemory.
  Status open(ShardCore& core, std::string_view topic_filter);
  void close(ShardCore& core, Instant now) noexcept;
  // What was retained when it subscribed: goes in front of what came live since. Called once, emptied or not.
  void take_retained(Ring<MessageRef>& messages) noexcept;

  void deliver(const Delivery& delivery, Instant now) noexcept override;
  uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Waiting {
    MessageRef message;
    SlabHandle held;  // what is to be answered, or nothing
  };

  void on_room(Instant now) noexcept override;
  // False when the ring is full, or without memory.
  bool hand_over(const MessageRef& message, SlabHandle held) noexcept;
  void drop(SlabHandle held, Instant now) noexcept;
  void answer(HeldAnswer& held, ReasonCode reason, Instant now) noexcept;

  mqttq_events& events_;
  void* const user_;
  Slab<HeldAnswer>& held_;
  ShardCore* core_ = nullptr;
  Subscription subscription_;
  Ring<Waiting> waiting_;
  bool collecting_ = true;  // retained messages are still to come: what is live waits
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace mqttq::capi
