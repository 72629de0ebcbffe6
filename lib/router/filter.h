// A topic filter with at least one subscriber, and a route: the filters that match one topic name.
#pragma once

#include "base/array.h"
#include "base/epoch.h"
#include "base/pointer_array.h"
#include "journal/journal.h"
#include "router/sink.h"

namespace mqttq {

struct TopicNode;
class Router;

// Shared by all shards. Which shards care is an atomic mask; who cares there is a list that only that shard touches.
// Counted: by the router while a shard cares, by each Subscription, and by the routes that name it.
class Filter : public Epoch::Retired {
 public:
  // What one shard knows of the filter. Touched only on that shard.
  struct Local {
    PointerArray<Subscription> subscriptions;
    Journal* journal = nullptr;  // there while a subscription is durable
    uint32_t durable_count = 0;
    uint32_t answering_count = 0;
  };

  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter();

  NamespaceId namespace_id() const noexcept { return namespace_id_; }
  std::string_view text() const noexcept;
  Local& local(uint32_t shard) noexcept { return locals()[shard]; }
  // Bit n: shard n has a subscription here; has a durable one; has one that answers.
  uint64_t shards() const noexcept { return shards_.load(std::memory_order_acquire); }
  uint64_t durable_shards() const noexcept { return durable_shards_.load(std::memory_order_acquire); }
  uint64_t answering_shards() const noexcept { return answering_shards_.load(std::memory_order_acquire); }
  // Subscriptions of all shards. Under the router's lock (Router::for_each_filter).
  uint32_t user_count() const noexcept { return users_; }

  uint64_t hash = 0;

 private:
  friend class TopicTree;
  friend class Router;
  Filter(NamespaceId namespace_id, std::string_view text, uint32_t shard_count) noexcept;
  Local* locals() noexcept { return reinterpret_cast<Local*>(this + 1); }

  std::atomic<uint64_t> shards_{0};
  std::atomic<uint64_t> durable_shards_{0};
  std::atomic<uint64_t> answering_shards_{0};
  TopicNode* node_ = nullptr;  // nullptr: no wildcard, stands in the exact index
  std::atomic<uint32_t> references_{1};
  const NamespaceId namespace_id_;
  uint32_t users_ = 0;  // subscriptions of all shards; under the router's lock
  const uint16_t text_size_;
  const uint16_t shard_count_;
};

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
  uint64_t shards() const noexcept { return shards_; }
  uint64_t durable_shards() const noexcept { return durable_shards_; }
  uint64_t answering_shards() const noexcept { return answering_shards_; }

 private:
  friend class Router;
  friend class RouteRef;
  Route() noexcept = default;

  std::atomic<uint32_t> references_{1};
  uint32_t filter_count_ = 0;
  uint64_t shards_ = 0;
  uint64_t durable_shards_ = 0;
  uint64_t answering_shards_ = 0;
  Router* router_ = nullptr;
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
  ~RouteRef();
  explicit operator bool() const noexcept { return route_ != nullptr; }
  const Route& operator*() const noexcept { return *route_; }
  const Route* operator->() const noexcept { return route_; }

 private:
  friend class Router;
  Route* route_ = nullptr;
};

}  // namespace mqttq
