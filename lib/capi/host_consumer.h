// A consumer of a queue in the process: its messages become events, and its replies settle them.
#pragma once

#include "capi/handles.h"
#include "capi/host_events.h"

namespace mqttq::capi {

// Lives on the queue's home. Everything but the constructor happens there.
class HostConsumer final : public QueueConsumer, private mqttq_events::Waiter {
 public:
  // events, held: borrowed, outlive it; held is its shard's.
  HostConsumer(mqttq_events& events, void* user, uint16_t window, int8_t priority, Slab<HeldAnswer>& held) noexcept
      : events_(events), user_(user), held_(held) {
    state_.window = window;
    state_.priority = priority;
    state_.connected = state_.acknowledges = true;
  }

  // Errors: NotFound, NoMemory.
  Status open(ShardCore& core, NamespaceId namespace_id, std::string_view name, Instant now);
  // What it has is another's.
  void close(Instant now) noexcept;
  void on_reply(uint64_t number, ReasonCode reason, Instant now) noexcept;

  Handed take(MovingMessage& message, uint64_t number, Instant now) noexcept override;
  void on_queue_deleted(Instant now) noexcept override;

 private:
  void on_room(Instant now) noexcept override;
  void drop_held() noexcept;

  mqttq_events& events_;
  void* const user_;
  Slab<HeldAnswer>& held_;
  ShardCore* core_ = nullptr;
  MemberId member_ = 0;  // 0: the queue is deleted, or it is closed
  MemberState state_;
  bool full_ = false;        // the queue was told so
  bool tell_ended_ = false;  // the event has no room yet
};

}  // namespace mqttq::capi
