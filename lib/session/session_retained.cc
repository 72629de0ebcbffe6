// Session: the retained messages of its new subscriptions, looked for and sent in time. See retained_flow.h.
#include <algorithm>

#include "session/shard_core.h"

namespace mqttq {

namespace {
// Of one session at once, so that what they find is bounded: it is asked for when it can soon be sent.
constexpr uint32_t kFlowsAskedMax = 8;
constexpr uint32_t kFlowsSpare = 1'000;    // flows beyond the bound of subscriptions: those asked for again
constexpr uint32_t kRetainedMax = 10'000;  // messages found and not sent, at which no more are asked for
}  // namespace

Status Session::start_retained_flow(std::string_view topic_filter, const Subscription& options) noexcept {
  if (flow_count_ >= shard_.limits().subscriptions_max + kFlowsSpare) return Status::Full;
  RetainedFlow* flow = shard_.flows().take(*this);
  if (!flow) return Status::NoMemory;
  flow->text = static_cast<char*>(allocate(topic_filter.size()));
  WaitingMessage place;
  place.flow = flow;
  if (!flow->text || !waiting_.push_back(std::move(place))) {
    shard_.flows().give_back(*flow);
    return Status::NoMemory;
  }
  std::memcpy(flow->text, topic_filter.data(), topic_filter.size());
  flow->text_size = static_cast<uint16_t>(topic_filter.size());
  flow->subscription_serial = find_subscription(topic_filter)->serial;
  flow->identifier = options.identifier;
  flow->qos = options.qos;
  flow->no_local = options.no_local;
  flows_.push_back(*flow);
  ++flow_count_;
  if (!next_flow_) next_flow_ = flow;
  ask_for_retained();
  return Status::Ok;
}

// Its subscription does: what is retained is not for one that has ended [MQTT-3.10.4-2].
bool Session::stands(const RetainedFlow& flow) noexcept {
  const Subscription* subscription = find_subscription(flow.topic_filter());
  return subscription && subscription->serial == flow.subscription_serial;
}

void Session::ask_for_retained() noexcept {
  while (next_flow_ && flows_asked_ < kFlowsAskedMax && retained_count_ < kRetainedMax) {
    RetainedFlow& flow = *next_flow_;
    next_flow_ = flows_.next(flow);
    flow.asked = true;
    if (stands(flow)) shard_.query_retained(flow);
    flows_asked_ += flow.shards_open != 0;
  }
}

void Session::on_retained(RetainedFlow& flow, Ring<MessageRef>& messages) noexcept {
  if (--flow.shards_open == 0) --flows_asked_;
  while (!messages.empty()) {
    MessageRef message = messages.pop_front();
    const MessageView view = message->view();
    if (flow.no_local && view.publisher == id_) continue;  // [MQTT-3.8.3-3]
    // What came live since the subscription, and is what is retained now, comes once: as the live message that it is.
    if (std::find(live_retained_.begin(), live_retained_.end(), message.get()) != live_retained_.end()) continue;
    if (flow.messages.push_back(std::move(message))) {
      ++retained_count_;
    } else {
      shard_.dropped(&Counters::dropped_no_memory, this, view);
    }
  }
  ask_for_retained();
  if (connection_) shard_.mark_pump(*this);
}

// False: it is not done. Else the flow is ended.
bool Session::pump_flow(RetainedFlow& flow, Instant now) noexcept {
  const bool stands = this->stands(flow);
  if (stands && (!flow.asked || flow.shards_open)) return false;
  while (stands && !flow.messages.empty()) {
    const Qos qos = std::min(flow.qos, flow.messages.front()->qos());
    if ((qos != Qos::AtMostOnce && window_full()) || !has_room()) return false;
    MovingMessage message(flow.messages.pop_front());
    --retained_count_;
    Identifiers identifiers;
    static_cast<void>(identifiers.set({&flow.identifier, flow.identifier ? 1u : 0u}));  // one needs no memory
    send(message, qos, true, std::move(identifiers), now);
  }
  end_flow(flow);
  ask_for_retained();
  return true;
}

void Session::end_flow(RetainedFlow& flow) noexcept {
  if (flow.asked && flow.shards_open) --flows_asked_;
  retained_count_ -= flow.messages.count();
  --flow_count_;
  if (next_flow_ == &flow) next_flow_ = flows_.next(flow);
  flow.unlink();
  shard_.flows().give_back(flow);
  if (flow_count_ == 0) live_retained_.reset();
}

// With the session: one that is kept goes on with them when its client is back. Messages that wait stay in order.
void Session::end_retained_flows() noexcept {
  if (!flow_count_) return;
  for (uint32_t left = waiting_.count(); left; --left) {
    WaitingMessage one = waiting_.pop_front();
    if (!one.flow) static_cast<void>(waiting_.push_back(std::move(one)));  // there is room: one was taken out
  }
  while (RetainedFlow* flow = flows_.front()) end_flow(*flow);
}

}  // namespace mqttq
