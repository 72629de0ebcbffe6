#include "capi/host_consumer.h"

namespace mqttq::capi {

Status HostConsumer::open(ShardCore& core, NamespaceId namespace_id, std::string_view name, Instant now) {
  core_ = &core;
  Queue* queue = core.queues().find(namespace_id, name);
  if (!queue) return Status::NotFound;
  events_.add_waiter(core.index(), *this);
  member_ = core.queues().join(*queue, *this, state_);
  if (!member_) {
    events_.remove_waiter(core.index(), *this);
    return Status::NoMemory;
  }
  core.queues().set_state(member_, state_, now);
  return Status::Ok;
}

void HostConsumer::close(Instant now) noexcept {
  events_.remove_waiter(core_->index(), *this);
  drop_held();
  if (const MemberId member = std::exchange(member_, 0)) core_->queues().leave(member, now);
}

void HostConsumer::drop_held() noexcept {
  for (uint32_t i = 0; i < held_.index_end(); ++i) {
    if (HeldAnswer* held = held_.at(i); held && held->consumer == this) held_.give_back(*held);
  }
}

Handed HostConsumer::take(MovingMessage& message, uint64_t number, Instant) noexcept {
  // Asked twice, as the host may make room in between.
  const uint32_t shard = core_->index();
  if (!events_.has_room(shard) && (events_.want_room(shard) || !events_.has_room(shard))) {
    full_ = true;
    return Handed::Full;
  }
  HeldAnswer* held = held_.take(HeldAnswer{{}, nullptr, this, number});
  mqttq_event event{};
  event.type = MQTTQ_EVENT_MESSAGE;
  event.user = user_;
  event.has_reply = 1;
  EventPtr block;
  if (held) {
    ReplyAddress{shard, Slab<HeldAnswer>::handle(*held), 0}.pack(event.reply);
    block = make_event(event, message.share());
  }
  if (block && block->message && events_.push(shard, block)) return Handed::Open;
  if (held) held_.give_back(*held);
  full_ = true;
  return Handed::Full;  // without memory: until the host takes something
}

void HostConsumer::on_reply(uint64_t number, ReasonCode reason, Instant now) noexcept {
  if (!member_) return;
  const uint64_t marked = number | (is_error(reason) ? GroupNumbers::kRejected : 0);
  core_->queues().done(member_, {&marked, 1}, now);
}

void HostConsumer::on_queue_deleted(Instant now) noexcept {
  member_ = 0;
  drop_held();
  tell_ended_ = true;
  on_room(now);
}

void HostConsumer::on_room(Instant now) noexcept {
  if (tell_ended_) {
    mqttq_event event{};
    event.type = MQTTQ_EVENT_CONSUMER_ENDED;
    event.user = user_;
    EventPtr block = make_event(event, {});
    tell_ended_ = !(block && events_.push(core_->index(), block)) && events_.want_room(core_->index());
  }
  if (member_ && std::exchange(full_, false)) core_->queues().set_state(member_, state_, now);
}

}  // namespace mqttq::capi
