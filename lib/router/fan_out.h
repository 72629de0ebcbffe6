// One shard's half of the router: the subscriber lists it owns, and the delivery of a routed message to them.
#pragma once

#include <algorithm>

#include "router/router.h"

namespace mqttq {

// Owned by one shard.
class FanOut {
 public:
  FanOut(Router& router, uint32_t shard) noexcept : router_(router), shard_(shard) {}
  uint32_t shard() const noexcept { return shard_; }

  // Enters `subscription`, whose sink, options and durable are set, under `filter_text`. Its filter is set on return,
  // and every shard sees it. Errors: NoMemory, and then nothing changed.
  Status add(Subscription& subscription, NamespaceId namespace_id, std::string_view filter_text) noexcept;
  // Takes it out again. `subscription.filter` is borrowed until return.
  void remove(Subscription& subscription) noexcept;
  // The subscription goes from live to durable delivery or back. Errors: NoMemory.
  Status set_durable(Subscription& subscription, bool durable) noexcept;

  // For a queue or stream whose home is this shard: a filter of its own, for which nobody cares yet. hash: names
  // the journal in the log. nullptr without memory.
  Filter* add_queue(QueueHome& home, NamespaceId namespace_id, uint64_t hash, std::string_view filter_text) noexcept;
  // Messages come from now on: every shard sees it on return.
  void open_queue(Filter& filter) noexcept;
  // Its journal is left by its reader.
  void remove_queue(Filter& filter) noexcept;

  // Hands the message to each sink of this shard that `route` names, once, with the highest QoS and all identifiers of
  // its subscriptions that match (MQTT5 3.3.4). Returns how many took it. Sinks of which a matching subscription is
  // durable are left out when the message is above QoS 0: they read it from the journal.
  // answer: where those who answer are to; names nothing when nobody waits.
  uint32_t deliver(MovingMessage& message, const Route& route, SlabHandle answer, Instant now) noexcept;

  // How many sinks got nothing from deliver() for want of memory, since the last call.
  uint32_t take_lost_count() noexcept { return std::exchange(lost_count_, 0); }
  // This shard's of a filter that has, or had, a durable subscription here.
  Journal& journal_of(Filter& filter) noexcept { return filter.local(shard_).rare->journal; }
  // Of all journals here.
  JournalTotals& journal_totals() noexcept { return journal_totals_; }

  // Appends a numbered message to this shard's journals of `route` but for those of `without`, and hands it to groups
  // that are not durable. Calls woken(Cursor&) for each reader that waited. False if a journal had no memory for it.
  template <class Woken>
  bool append(uint64_t number, const MessageRef& message, const Route& route, std::span<Filter* const> without,
              Instant now, Woken&& woken) noexcept {
    bool complete = true;
    const uint32_t size = message->content_size();
    const Qos qos = message->qos();
    if (qos != Qos::AtMostOnce) hand_to_shared(message, route, now);
    for (Filter* filter : route.journals(qos)) {
      Filter::Rare* rare = filter->local(shard_).rare;
      if (!rare || std::find(without.begin(), without.end(), filter) != without.end()) continue;
      complete &= append(*filter, {number, message, size, message->logged_us(), message->topic_name()}, now, woken);
    }
    return complete;
  }
  // The same to one of them, which there is here.
  template <class Woken>
  bool append(Filter& filter, const NumberedMessage& message, Instant now, Woken&& woken) noexcept {
    Filter::Rare& rare = *filter.local(shard_).rare;
    if (filter.of_queue()) return append_to_queue(filter, message, now);
    if (!rare.journal.append(message.number, message.message, message.size)) return false;
    while (Cursor* cursor = rare.journal.waiting().front()) {
      cursor->stop_waiting();
      woken(*cursor);
    }
    limited_(rare.journal);
    if (bounded_) note_length(filter);
    return true;
  }
  // What may wait in one journal for its slowest reader. Over either its filter takes no more, for all shards, until it
  // is shorter: see reopen().
  void set_bounds(uint64_t messages_max, uint64_t bytes_max) noexcept {
    messages_max_ = messages_max;
    bytes_max_ = bytes_max;
    bounded_ = messages_max != UINT64_MAX || bytes_max != UINT64_MAX;
  }
  // Is the journal of this filter, of which there is one here, over its bounds?
  void note_length(Filter& filter) noexcept;
  // Those that are over them when their readers have been sent what they take are full. True if some is.
  bool judge_lengths() noexcept;
  bool has_full() const noexcept { return !full_.empty(); }
  // Looks at some of the full ones, and takes more where an eighth is free again.
  void reopen() noexcept;
  // Called for every journal after an append, to hold its readers to their limits.
  void set_limiter(void* user, void (*enforce)(void* user, Journal& journal) noexcept) noexcept {
    limit_user_ = user;
    limit_ = enforce;
  }

 private:
  void hand_to_shared(const MessageRef& message, const Route& route, Instant now) noexcept;
  // It comes to the sink another way than by deliver().
  bool left_to_journal(const Subscription& subscription, const Route& route) const noexcept {
    return subscription.shared ? route.durable_shards() >> shard_ & 1 : subscription.durable;
  }
  // What a sink is to get when several of its subscriptions match.
  struct Merged {
    Sink* sink;
    Qos qos;
    bool retain_as_published;
    bool durable;
    uint32_t identifier_count;
    uint32_t first_identifier;  // the others stand in identifiers_ with the same sink index
  };
  struct MergedIdentifier {
    uint32_t merged_index;
    uint32_t identifier;
  };

  bool append_to_queue(Filter& filter, const NumberedMessage& message, Instant now) noexcept;
  uint32_t deliver_merged(MovingMessage& message, const Route& route, SlabHandle answer, Instant now) noexcept;
  void limited_(Journal& journal) noexcept {
    if (limit_) limit_(limit_user_, journal);
  }
  [[nodiscard]] bool make_rare(Filter::Local& local) noexcept;
  void publish_interest(Filter& filter) noexcept;
  // The last of its readers has gone.
  void forget_full(Filter& filter) noexcept;

  Router& router_;
  const uint32_t shard_;
  JournalTotals journal_totals_;
  Array<Merged> merged_;
  Array<MergedIdentifier> identifiers_;
  Array<uint32_t> gathered_;
  uint32_t lost_count_ = 0;
  bool bounded_ = false;
  uint64_t messages_max_ = UINT64_MAX, bytes_max_ = UINT64_MAX;
  Array<Filter*> over_, full_;  // each has a durable subscription here, which keeps it
  uint32_t full_next_ = 0;
  void* limit_user_ = nullptr;
  void (*limit_)(void* user, Journal& journal) noexcept = nullptr;
};

}  // namespace mqttq
