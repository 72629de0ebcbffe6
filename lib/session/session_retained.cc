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
  if (shard_.nothing_retained(namespace_id(), topic_filter)) return Status::Ok;
  if (const Status status = add_retained_flow(topic_filter, options); status != Status::Ok) return status;
  record_subscription(*find_subscription(topic_filter));  // what it is owed outlives the broker too
  ask_for_retained();
  return Status::Ok;
}

// It is asked for later.
Status Session::add_retained_flow(std::string_view topic_filter, const Subscription& options) noexcept {
  if (!make_outgoing()) return Status::NoMemory;
  if (out_->flow_count >= shard_.limits().subscriptions_max + kFlowsSpare) return Status::Full;
  RetainedFlow* flow = shard_.flows().take(*this);
  if (!flow) return Status::NoMemory;
  flow->text = static_cast<char*>(allocate(topic_filter.size()));
  WaitingMessage place;
  place.flow = flow;
  if (!flow->text || !out_->waiting.push_back(std::move(place))) {
    shard_.flows().give_back(*flow);
    return Status::NoMemory;
  }
  std::memcpy(flow->text, topic_filter.data(), topic_filter.size());
  flow->text_size = static_cast<uint16_t>(topic_filter.size());
  flow->subscription_serial = find_subscription(topic_filter)->serial;
  flow->identifier = options.identifier;
  flow->qos = options.qos;
  flow->no_local = options.no_local;
  out_->flows.push_back(*flow);
  ++out_->flow_count;
  if (!out_->next_flow) out_->next_flow = flow;
  return Status::Ok;
}

// Its subscription does: what is retained is not for one that has ended [MQTT-3.10.4-2].
bool Session::stands(const RetainedFlow& flow) noexcept {
  const Subscription* subscription = find_subscription(flow.topic_filter());
  return subscription && subscription->serial == flow.subscription_serial;
}

bool Session::owes_retained(const Subscription& subscription) noexcept {
  if (!out_) return false;
  for (RetainedFlow* flow = out_->flows.front(); flow; flow = out_->flows.next(*flow)) {
    const bool found_nothing = flow->asked && flow->shards_open == 0 && flow->messages.empty();
    if (flow->subscription_serial == subscription.serial && !found_nothing) return true;
  }
  return false;
}

// It is on its way: a broker before this one had begun with its topic.
bool Session::retained_inflight(const MessageView& message) noexcept {
  bool found = false;
  out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
    if (entry.number || !entry.retain || !entry.message) return;
    const MessageView& view = entry.message->view();
    found |= view.topic_name == message.topic_name && std::ranges::equal(view.payload, message.payload);
  });
  return found;
}

void Session::ask_for_retained() noexcept {
  while (out_->next_flow && out_->flows_asked < kFlowsAskedMax && out_->retained_count < kRetainedMax) {
    RetainedFlow& flow = *out_->next_flow;
    out_->next_flow = out_->flows.next(flow);
    flow.asked = true;
    if (stands(flow)) shard_.query_retained(flow);
    out_->flows_asked += flow.shards_open != 0;
  }
}

void Session::on_retained(RetainedFlow& flow, Ring<MessageRef>& messages) noexcept {
  if (--flow.shards_open == 0) --out_->flows_asked;
  while (!messages.empty()) {
    MessageRef message = messages.pop_front();
    const MessageView view = message->view();
    if (flow.no_local && view.publisher == publisher_id()) continue;  // [MQTT-3.8.3-3]
    // What came live since the subscription, and is what is retained now, comes once: as the live message that it is.
    if (std::find(out_->live_retained.begin(), out_->live_retained.end(), message.get()) != out_->live_retained.end())
      continue;
    if (flow.restored && retained_inflight(view)) continue;
    if (flow.messages.push_back(std::move(message))) {
      ++out_->retained_count;
    } else {
      shard_.dropped(&Counters::dropped_no_memory, this, view);
    }
  }
  if (stored_ && flow.shards_open == 0 && flow.messages.empty() && stands(flow)) {
    record_subscription(*find_subscription(flow.topic_filter()));  // also of one that is away
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
    --out_->retained_count;
    Identifiers identifiers;
    static_cast<void>(identifiers.set({&flow.identifier, flow.identifier ? 1u : 0u}));  // one needs no memory
    send(message, qos, true, std::move(identifiers), now);
  }
  Subscription* served = stands ? find_subscription(flow.topic_filter()) : nullptr;
  end_flow(flow);
  if (served && !owes_retained(*served)) record_subscription(*served);
  ask_for_retained();
  return true;
}

void Session::end_flow(RetainedFlow& flow) noexcept {
  if (flow.asked && flow.shards_open) --out_->flows_asked;
  out_->retained_count -= flow.messages.count();
  --out_->flow_count;
  if (out_->next_flow == &flow) out_->next_flow = out_->flows.next(flow);
  flow.unlink();
  shard_.flows().give_back(flow);
  if (out_->flow_count == 0) out_->live_retained.reset();
}

// With the session: one that is kept goes on with them when its client is back. Messages that wait stay in order.
void Session::end_retained_flows() noexcept {
  if (!flow_count()) return;
  for (uint32_t left = out_->waiting.count(); left; --left) {
    WaitingMessage one = out_->waiting.pop_front();
    if (!one.flow) static_cast<void>(out_->waiting.push_back(std::move(one)));  // there is room: one was taken out
  }
  while (RetainedFlow* flow = out_->flows.front()) end_flow(*flow);
}

}  // namespace mqttq
