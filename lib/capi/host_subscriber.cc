#include "capi/host_subscriber.h"

namespace mqttq::capi {

Status HostSubscriber::open(ShardCore& core, std::string_view topic_filter) {
  core_ = &core;
  events_.add_waiter(core.index(), *this);
  const Status status = core.fan_out().add(subscription_, namespace_id(), topic_filter);
  if (status != Status::Ok) events_.remove_waiter(core.index(), *this);
  return status;
}

// What the host was asked and did not answer is refused: nobody is left who could.
void HostSubscriber::close(ShardCore& core, Instant now) noexcept {
  core.fan_out().remove(subscription_);
  events_.remove_waiter(core.index(), *this);
  while (!waiting_.empty()) drop(waiting_.pop_front().held, now);
  for (uint32_t i = 0; i < held_.index_end(); ++i) {
    if (HeldAnswer* held = held_.at(i); held && held->owner == this) answer(*held, ReasonCode::UnspecifiedError, now);
  }
}

void HostSubscriber::take_retained(Ring<MessageRef>& messages) noexcept {
  collecting_ = false;
  const uint32_t live = waiting_.count();
  while (!messages.empty()) {
    if (!waiting_.push_back({messages.pop_front(), {}})) drop({}, {});
  }
  for (uint32_t i = 0; i < live; ++i) {
    Waiting one = waiting_.pop_front();
    static_cast<void>(waiting_.push_back(std::move(one)));  // there is room: one was taken out
  }
  on_room({});
}

void HostSubscriber::deliver(const Delivery& delivery, Instant now) noexcept {
  on_room(now);  // first what came before
  SlabHandle held;
  if (subscription_.answers && delivery.answer.generation) {
    core_->hold_answer(delivery.answer);
    HeldAnswer* made = held_.take(HeldAnswer{delivery.answer, this});
    if (!made) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      core_->count_host_drop();
      core_->answer(delivery.answer, ReasonCode::QuotaExceeded, now);
      return;
    }
    held = held_.handle(*made);
  }
  const MessageRef& message = delivery.message.keep();
  if (!message) {
    drop(held, now);
    return;
  }
  if (!collecting_ && waiting_.empty() && hand_over(message, held)) return;
  // At QoS 0 what does not fit is dropped; above, it waits, and the oldest makes way when too many do.
  if (!collecting_ && delivery.qos == Qos::AtMostOnce) {
    drop(held, now);
    return;
  }
  if (waiting_.count() >= core_->limits().outbox_messages_max) drop(waiting_.pop_front().held, now);
  if (!waiting_.push_back({message, held})) drop(held, now);
  on_room(now);
}

// Not while what was retained is collected, which goes in front. Tries twice, as the host may make room in between;
// without memory the next message or the next take is another attempt.
void HostSubscriber::on_room(Instant) noexcept {
  if (collecting_) return;
  while (!waiting_.empty()) {
    const Waiting& first = waiting_.front();
    if (!hand_over(first.message, first.held)) {
      if (events_.want_room(core_->index()) || !hand_over(first.message, first.held)) return;
    }
    waiting_.pop_front();
  }
}

bool HostSubscriber::hand_over(const MessageRef& message, SlabHandle held) noexcept {
  if (!events_.has_room(core_->index())) return false;
  mqttq_event event{};
  event.type = MQTTQ_EVENT_MESSAGE;
  event.user = user_;
  event.has_reply = held.generation != 0;
  if (event.has_reply) ReplyAddress{core_->index(), held, 0}.pack(event.reply);
  EventPtr block = make_event(event, message);
  return block && events_.push(core_->index(), block);
}

void HostSubscriber::drop(SlabHandle held, Instant now) noexcept {
  dropped_.fetch_add(1, std::memory_order_relaxed);
  core_->count_host_drop();
  if (HeldAnswer* one = held_.find(held)) answer(*one, ReasonCode::QuotaExceeded, now);
}

void HostSubscriber::answer(HeldAnswer& held, ReasonCode reason, Instant now) noexcept {
  const SlabHandle to = held.answer;
  held_.give_back(held);
  core_->answer(to, reason, now);
}

}  // namespace mqttq::capi
