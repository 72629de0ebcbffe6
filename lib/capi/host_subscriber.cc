#include "capi/host_subscriber.h"

namespace mqttq::capi {

Status HostSubscriber::open(ShardCore& core, NamespaceId namespace_id, std::string_view topic_filter) {
  core_ = &core;
  events_.add_waiter(core.index(), *this);
  const Status status = core.fan_out().add(subscription_, namespace_id, topic_filter);
  if (status != Status::Ok) events_.remove_waiter(core.index(), *this);
  return status;
}

void HostSubscriber::close(ShardCore& core, Instant now) noexcept {
  core.fan_out().remove(subscription_);
  events_.remove_waiter(core.index(), *this);
  while (!waiting_.empty()) drop(waiting_.pop_front().answer, now);
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
  const bool asked = subscription_.answers && delivery.answer.generation;
  const SlabHandle answer = asked ? delivery.answer : SlabHandle();
  if (asked) core_->hold_answer(answer);
  const MessageRef& message = delivery.message.keep();
  if (!message) {
    drop(answer, now);
    return;
  }
  if (!collecting_ && waiting_.empty() && hand_over(message, answer)) return;
  // At QoS 0 what does not fit is dropped; above, it waits, and the oldest makes way when too many do.
  if (!collecting_ && delivery.qos == Qos::AtMostOnce) {
    drop(answer, now);
    return;
  }
  if (waiting_.count() >= core_->limits().outbox_messages_max) drop(waiting_.pop_front().answer, now);
  if (!waiting_.push_back({message, answer})) drop(answer, now);
  events_.want_room(core_->index());
}

void HostSubscriber::on_room(Instant) noexcept {
  while (!waiting_.empty() && hand_over(waiting_.front().message, waiting_.front().answer)) waiting_.pop_front();
  if (!waiting_.empty()) events_.want_room(core_->index());
}

bool HostSubscriber::hand_over(const MessageRef& message, SlabHandle answer) noexcept {
  mqttq_event event{};
  event.type = MQTTQ_EVENT_MESSAGE;
  event.user = user_;
  event.has_reply = answer.generation != 0;
  if (event.has_reply) ReplyAddress{core_->index(), answer, 0}.pack(event.reply);
  EventPtr block = make_event(event, message);
  return block && events_.push(core_->index(), block);
}

void HostSubscriber::drop(SlabHandle answer, Instant now) noexcept {
  dropped_.fetch_add(1, std::memory_order_relaxed);
  core_->count_host_drop();
  core_->answer(answer, ReasonCode::QuotaExceeded, now);
}

}  // namespace mqttq::capi
