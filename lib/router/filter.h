// A topic filter with at least one subscriber, and a route: the filters that match one topic name.
#pragma once

#include "base/array.h"
#include "base/epoch.h"
#include "base/pointer_array.h"
#include "journal/journal.h"
#include "router/queue_gate.h"
#include "router/sink.h"

namespace mqttq {

struct TopicNode;
class Router;

// A message with its number.
struct NumberedMessage {
  uint64_t number = 0;
  const MessageRef& message;      // empty when it is not in memory
  uint32_t size = 0;              // of its content
  int64_t logged_us = 0;          // Message::logged_us()
  std::string_view topic_name;    // of one with a time
  bool restored = false;          // it comes back, and the gate has not counted it in
  uint64_t position = 0;          // of such a one, in its stream
  const Message* read = nullptr;  // the same where it is not in memory, for who has to look at it; nullable
};

// The home of a queue or stream, which keeps what its filter takes.
class QueueHome {
 public:
  // False without memory: it has not taken it.
  [[nodiscard]] virtual bool take(const NumberedMessage& message, Instant now) noexcept = 0;

 protected:
  ~QueueHome() = default;
};

// Shared by all shards. Which shards care are atomic bytes; who cares there is a list that only that shard touches.
// Counted: by the router while a shard cares, by each Subscription, and by the routes that name it. There are millions
// of it: the word by which it is retired names its node before.
//
// A queue or stream has a filter of its own, which takes QoS 0 too and has no subscriptions. It hangs on the filter of
// the same text, which stands in the tree for all of them.
class Filter : public Epoch::Retired {
 public:
  // What few filters have on a shard.
  struct Rare {
    explicit Rare(JournalTotals& totals) noexcept : journal(totals) {}
    Journal journal;  // appended to while a subscription is durable
    uint32_t durable_count = 0;
    uint32_t answering_count = 0;
    Array<Subscription*> shared;      // those of groups
    QueueHome* queue = nullptr;       // of a queue's or stream's filter, on the shard that is its home
    bool over = false, full = false;  // in FanOut's lists of those: over the bounds of a journal, and still
  };
  // What one shard knows of the filter. Touched only on that shard.
  struct Local {
    PointerArray<Subscription> subscriptions;
    Rare* rare = nullptr;  // owned
  };
  // Of a shard's subscriptions here: there are some, durable ones, ones that answer; what waits for them is too much.
  static constexpr uint8_t kAny = 1, kDurable = 2, kAnswering = 4, kFull = 8;

  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter();

  NamespaceId namespace_id() const noexcept { return namespace_id_; }
  std::string_view text() const noexcept;
  Local& local(uint32_t shard) noexcept { return locals()[shard]; }
  // kAny | …
  uint8_t interest(uint32_t shard) const noexcept { return interests()[shard].load(std::memory_order_acquire); }
  // Subscriptions of all shards, and queues. Under the router's lock (Router::for_each_filter).
  uint32_t user_count() const noexcept { return users_; }
  bool of_queue() const noexcept { return of_queue_; }
  // Only of a queue's.
  QueueGate& gate() const noexcept {
    const auto end = reinterpret_cast<uintptr_t>(interests() + shard_count_ + text_size_);
    return *reinterpret_cast<QueueGate*>((end + alignof(QueueGate) - 1) / alignof(QueueGate) * alignof(QueueGate));
  }

  const uint64_t hash;

 private:
  friend class TopicTree;
  friend class Router;
  // In one block: the filter, a Local and a byte of interest for each shard, the text, and the gate of a queue.
  // nullptr without memory.
  static Filter* create(NamespaceId namespace_id, std::string_view text, uint64_t hash, uint32_t shard_count,
                        bool of_queue) noexcept;
  Filter(NamespaceId namespace_id, std::string_view text, uint64_t hash, uint32_t shard_count, bool of_queue) noexcept;
  // What it holds; readers may still look at the rest until it is retired and ended.
  void end_locals() noexcept;
  Local* locals() const noexcept { return reinterpret_cast<Local*>(const_cast<Filter*>(this) + 1); }
  std::atomic<uint8_t>* interests() const noexcept {
    return reinterpret_cast<std::atomic<uint8_t>*>(locals() + shard_count_);
  }
  // Writer. nullptr: no wildcard, stands in the exact index.
  TopicNode* node() const noexcept;
  void set_node(TopicNode& node) noexcept;
  // The same word, of a queue's filter: the one of its text that stands in the tree.
  Filter& of_text() const noexcept { return *static_cast<Filter*>(retired_next); }
  void set_of_text(Filter& filter) noexcept { retired_next = &filter; }

  std::atomic<uint32_t> references_{1};
  const NamespaceId namespace_id_;
  uint32_t users_ = 0;  // subscriptions of all shards; under the router's lock
  const uint16_t text_size_;
  const uint8_t shard_count_;
  const bool of_queue_;
  std::atomic<Filter*> next_queue_{nullptr};  // the first that hangs on it, or the one beside it
};
inline uint64_t Subscription::kept_hash() const noexcept { return filter->hash; }
static_assert(sizeof(Filter) == 40 && sizeof(Filter::Local) == 16);

// The filters that match one topic name, and the shards that care for any of them. Immutable, counted, shared by the
// route cache and by messages on their way between shards. It keeps its filters from being ended.
class Route {
 public:
  Route(const Route&) = delete;
  Route& operator=(const Route&) = delete;
  ~Route() = default;

  std::span<Filter* const> filters() const noexcept {
    return {reinterpret_cast<Filter* const*>(this + 1), filter_count_};
  }
  // Those of queues stand first, the others have subscriptions.
  std::span<Filter* const> queues() const noexcept { return filters().first(queue_count_); }
  std::span<Filter* const> subscribed() const noexcept { return filters().subspan(queue_count_); }
  // Those whose journals may take a message of this QoS: at QoS 0 queues, else all but the full ones, which come last.
  std::span<Filter* const> journals(Qos qos) const noexcept {
    return filters().first(qos == Qos::AtMostOnce ? queue_count_ : filter_count_ - full_count_);
  }
  // With subscriptions.
  uint64_t shards() const noexcept { return shards_; }
  // With journals that take one above QoS 0.
  uint64_t durable_shards() const noexcept { return durable_shards_ & ~kFullBit; }
  uint64_t journal_shards(Qos qos) const noexcept { return qos == Qos::AtMostOnce ? queue_shards_ : durable_shards(); }
  // Some journal takes a message of this QoS, or ought to and is full.
  bool has_journals(Qos qos) const noexcept {
    return qos == Qos::AtMostOnce ? queue_shards_ != 0 : durable_shards_ != 0;
  }
  bool has_full_journals() const noexcept { return (durable_shards_ & kFullBit) != 0; }
  uint64_t answering_shards() const noexcept { return answering_shards_; }

 private:
  friend class Router;
  friend class RouteRef;
  Route() noexcept = default;
  static constexpr uint64_t kFullBit = uint64_t{1} << 63;  // no shard's

  std::atomic<uint32_t> references_{1};
  uint32_t filter_count_ = 0;
  uint64_t shards_ = 0;
  uint64_t durable_shards_ = 0;
  uint64_t queue_shards_ = 0;
  uint64_t answering_shards_ = 0;
  Router* router_ = nullptr;
  uint32_t queue_count_ = 0;  // filters of queues
  uint32_t full_count_ = 0;   // filters whose journals are
};

// A share of a Route. May be passed between threads.
class RouteRef {
 public:
  RouteRef() noexcept = default;
  explicit RouteRef(Route* counted) noexcept : route_(counted) {}
  RouteRef(const RouteRef& other) noexcept : route_(other.route_) {
    if (route_) route_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  RouteRef(RouteRef&& other) noexcept : route_(other.route_) { other.route_ = nullptr; }
  RouteRef& operator=(RouteRef other) noexcept {
    Route* mine = route_;
    route_ = other.route_;
    other.route_ = mine;
    return *this;
  }
  ~RouteRef() {
    if (route_) release();
  }
  explicit operator bool() const noexcept { return route_ != nullptr; }
  const Route& operator*() const noexcept { return *route_; }
  const Route* operator->() const noexcept { return route_; }

 private:
  friend class Router;
  void release() noexcept;
  Route* route_ = nullptr;
};

}  // namespace mqttq
