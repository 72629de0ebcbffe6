#include "router/fan_out.h"

#include <algorithm>

namespace mqttq {

Status FanOut::add(Subscription& subscription, NamespaceId namespace_id, std::string_view filter_text) noexcept {
  Filter* filter = router_.join(namespace_id, filter_text);
  if (!filter) return Status::NoMemory;
  Filter::Local& local = filter->local(shard_);
  const bool rare = subscription.durable || subscription.answers || subscription.shared;
  if (!local.subscriptions.make_room() || (rare && !make_rare(local)) ||
      (subscription.shared && !local.rare->shared.push_back(&subscription))) {
    router_.leave(*filter);
    return Status::NoMemory;
  }
  subscription.filter = filter;
  subscription.list_index = local.subscriptions.count();
  static_cast<void>(local.subscriptions.push_back(&subscription));  // there is room
  if (subscription.durable) ++local.rare->durable_count;
  if (subscription.answers) ++local.rare->answering_count;
  publish_interest(*filter);
  return Status::Ok;
}

void FanOut::remove(Subscription& subscription) noexcept {
  Filter& filter = *subscription.filter;
  Filter::Local& local = filter.local(shard_);
  local.subscriptions.back()->list_index = subscription.list_index;
  local.subscriptions.remove_unordered(subscription.list_index);
  if (subscription.durable) --local.rare->durable_count;
  if (subscription.answers) --local.rare->answering_count;
  if (subscription.shared) local.rare->shared.remove_unordered_item(&subscription);
  forget_full(filter);
  publish_interest(filter);
  subscription.filter = nullptr;
  router_.leave(filter);
}

Status FanOut::set_durable(Subscription& subscription, bool durable) noexcept {
  if (subscription.durable == durable) return Status::Ok;
  Filter::Local& local = subscription.filter->local(shard_);
  if (durable) {
    if (!make_rare(local)) return Status::NoMemory;
    ++local.rare->durable_count;
  } else {
    --local.rare->durable_count;
    forget_full(*subscription.filter);
  }
  subscription.durable = durable;
  publish_interest(*subscription.filter);
  return Status::Ok;
}

Filter* FanOut::add_queue(QueueHome& home, NamespaceId namespace_id, uint64_t hash,
                          std::string_view filter_text) noexcept {
  Filter* filter = router_.join_queue(namespace_id, hash, filter_text);
  if (!filter) return nullptr;
  Filter::Local& local = filter->local(shard_);
  if (!make_rare(local)) {
    router_.leave(*filter);
    return nullptr;
  }
  local.rare->queue = &home;
  return filter;
}

void FanOut::open_queue(Filter& filter) noexcept {
  filter.local(shard_).rare->durable_count = 1;
  publish_interest(filter);
}

void FanOut::remove_queue(Filter& filter) noexcept {
  Filter::Rare& rare = *filter.local(shard_).rare;
  rare.queue = nullptr;
  rare.durable_count = 0;
  publish_interest(filter);
  router_.leave(filter);
}

// What was on its way to one that has ended comes to nothing.
bool FanOut::append_to_queue(Filter& filter, const NumberedMessage& message, Instant now) noexcept {
  QueueHome* home = filter.local(shard_).rare->queue;
  if (!home || home->take(message, now)) return true;
  filter.gate().leave(1, message.size);
  return false;
}

// Kept until its filter ends: readers of a message on its way may still look for the journal.
bool FanOut::make_rare(Filter::Local& local) noexcept {
  return local.rare || (local.rare = create<Filter::Rare>(journal_totals_));
}

void FanOut::publish_interest(Filter& filter) noexcept {
  const Filter::Local& local = filter.local(shard_);
  router_.set_interest(filter, shard_, !local.subscriptions.empty(), local.rare && local.rare->durable_count > 0,
                       local.rare && local.rare->answering_count > 0, local.rare && local.rare->full);
}

void FanOut::note_length(Filter& filter) noexcept {
  Filter::Rare& rare = *filter.local(shard_).rare;
  if (rare.over || rare.full || !rare.durable_count || !rare.journal.over(messages_max_ - 1, bytes_max_ - 1)) return;
  rare.over = over_.push_back(&filter);  // else it is looked at again with the next message
}

bool FanOut::judge_lengths() noexcept {
  for (Filter* filter : over_) {
    Filter::Rare& rare = *filter->local(shard_).rare;
    rare.over = false;
    rare.full = rare.journal.over(messages_max_ - 1, bytes_max_ - 1) && full_.push_back(filter);
    if (rare.full) publish_interest(*filter);
  }
  over_.clear();
  return has_full();
}

void FanOut::reopen() noexcept {
  constexpr uint32_t kAtOnce = 1000;
  const auto most_of = [](uint64_t bound) { return bound == UINT64_MAX ? bound : bound - bound / 8 - (bound < 8); };
  for (uint32_t left = std::min(full_.count(), kAtOnce); left; --left) {
    if (full_next_ >= full_.count()) full_next_ = 0;
    Filter& filter = *full_[full_next_];
    Filter::Rare& rare = *filter.local(shard_).rare;
    if (rare.journal.over(most_of(messages_max_), most_of(bytes_max_))) {
      ++full_next_;
      continue;
    }
    rare.full = false;
    full_.remove_unordered(full_next_);
    publish_interest(filter);
  }
}

void FanOut::forget_full(Filter& filter) noexcept {
  Filter::Rare* rare = filter.local(shard_).rare;
  if (!rare || rare->durable_count) return;
  const auto forget = [&filter](bool& listed, Array<Filter*>& list) {
    if (std::exchange(listed, false)) list.remove_unordered_item(&filter);
  };
  forget(rare->over, over_);
  forget(rare->full, full_);
}

uint32_t FanOut::deliver(MovingMessage& message, const Route& route, SlabHandle answer, Instant now) noexcept {
  Filter* only = nullptr;
  for (Filter* filter : route.subscribed()) {
    if (filter->local(shard_).subscriptions.empty()) continue;
    if (only) return deliver_merged(message, route, answer, now);
    only = filter;
  }
  if (!only) return 0;
  // One filter: no sink stands in its list twice.
  const MessageView& view = message.view();
  uint32_t taken = 0;
  for (Subscription* subscription : only->local(shard_).subscriptions) {
    if (view.qos != Qos::AtMostOnce && left_to_journal(*subscription, route)) continue;
    if (subscription->no_local && subscription->sink->publisher_id() == view.publisher) continue;
    const std::span<const uint32_t> identifiers(&subscription->identifier, subscription->identifier ? 1 : 0);
    subscription->sink->deliver({message, std::min(view.qos, subscription->qos),
                                 view.retain && subscription->retain_as_published, identifiers, answer},
                                now);
    ++taken;
  }
  return taken;
}

void FanOut::hand_to_shared(const MessageRef& message, const Route& route, Instant now) noexcept {
  for (Filter* filter : route.subscribed()) {
    Filter::Rare* rare = filter->local(shard_).rare;
    for (uint32_t i = 0; rare && i < rare->shared.count(); ++i) {
      const Subscription& subscription = *rare->shared[i];
      if (subscription.durable) continue;
      MovingMessage moving(message);
      subscription.sink->deliver({moving, std::min(message->qos(), subscription.qos), message->view().retain, {}, {}},
                                 now);
    }
  }
}

uint32_t FanOut::deliver_merged(MovingMessage& message, const Route& route, SlabHandle answer, Instant now) noexcept {
  const MessageView& view = message.view();
  merged_.clear();
  identifiers_.clear();
  uint32_t most = 0;
  for (Filter* filter : route.subscribed()) most += filter->local(shard_).subscriptions.count();
  if (!merged_.reserve(most)) {  // who takes it for which subscriptions cannot be told: it is as if outboxes were full
    lost_count_ += most;
    return 0;
  }
  for (Filter* filter : route.subscribed()) {
    for (Subscription* subscription : filter->local(shard_).subscriptions) {
      Sink& sink = *subscription->sink;
      if (subscription->no_local && sink.publisher_id() == view.publisher) continue;
      // What an earlier message left as its place is another's now, or nobody's.
      if (sink.fan_out_index >= merged_.count() || merged_[sink.fan_out_index].sink != &sink) {
        sink.fan_out_index = merged_.count();
        static_cast<void>(merged_.push_back({&sink, Qos::AtMostOnce, false, false, 0, 0}));  // there is room
      }
      Merged& merged = merged_[sink.fan_out_index];
      merged.qos = std::max(merged.qos, subscription->qos);
      merged.retain_as_published |= subscription->retain_as_published;
      merged.durable |= left_to_journal(*subscription, route);
      if (!subscription->identifier) continue;
      if (merged.identifier_count == 0) {
        merged.first_identifier = subscription->identifier;
        merged.identifier_count = 1;
      } else if (identifiers_.push_back({sink.fan_out_index, subscription->identifier})) {
        ++merged.identifier_count;
      }
    }
  }
  std::sort(identifiers_.begin(), identifiers_.end(),
            [](const MergedIdentifier& a, const MergedIdentifier& b) { return a.merged_index < b.merged_index; });
  uint32_t taken = 0, at = 0;
  for (uint32_t i = 0; i < merged_.count(); ++i) {
    const Merged& merged = merged_[i];
    gathered_.clear();
    // An identifier for which there is no memory is left out; the message is not.
    if (merged.identifier_count) static_cast<void>(gathered_.push_back(merged.first_identifier));
    for (; at < identifiers_.count() && identifiers_[at].merged_index == i; ++at) {
      static_cast<void>(gathered_.push_back(identifiers_[at].identifier));
    }
    if (merged.durable && view.qos != Qos::AtMostOnce) continue;
    merged.sink->deliver(
        {message, std::min(view.qos, merged.qos), view.retain && merged.retain_as_published, gathered_.span(), answer},
        now);
    ++taken;
  }
  return taken;
}

}  // namespace mqttq
