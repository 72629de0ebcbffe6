// From a topic name to the filters that match it and the shards that care: one router per broker, read by every shard
// without locks.
#pragma once

#include <mutex>

#include "base/hash_table.h"
#include "base/status.h"
#include "router/topic_tree.h"

namespace mqttq {

// What one shard's walks of the tree use again and again.
struct RouteScratch {
  Array<Filter*> filters, queues, full;
  RouteRef nothing;  // the route of what nobody subscribes to; made with the first of it
};

class Router {
 public:
  static constexpr uint32_t kShardCountMax = 63;  // a bit each in a mask, and one for the committer

  // Throws std::bad_alloc. shard_count: 1..63. seed: secret, for the hashes of what peers name.
  Router(uint32_t shard_count, uint64_t seed);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Shards are online while they run and offline while they wait; see Epoch.
  Epoch& epoch() noexcept { return epoch_; }
  uint32_t shard_count() const noexcept { return shard_count_; }
  uint64_t seed() const noexcept { return tree_.seed(); }

  // Changes whenever the route of any topic name may have: while it does not, no version needs to be looked at. To be
  // read before the version, and before what matches. Any thread.
  uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
  // Changes whenever a route of this topic name may have: compare before a remembered route is used. Any thread.
  uint64_t version(NamespaceId namespace_id, std::string_view topic_name, uint64_t topic_hash) const noexcept;
  uint64_t topic_hash(NamespaceId namespace_id, std::string_view topic_name) const noexcept;

  // What matches a valid topic name. The version is to be read before. Empty when the allocator refuses.
  // Thread: a shard's, online.
  // visits: nullable; is added how many levels of filters were looked at.
  RouteRef match(NamespaceId namespace_id, std::string_view topic_name, RouteScratch& scratch,
                 uint32_t* visits = nullptr) noexcept;
  RouteRef match(NamespaceId namespace_id, std::string_view topic_name) noexcept {
    RouteScratch scratch;
    return match(namespace_id, topic_name, scratch);
  }

  // To this queue alone. Empty when the allocator refuses. Thread: the shard's that is its home.
  RouteRef route_to_queue(Filter& queue, uint32_t shard) noexcept;

  // The filter of this text, made if need be, with one user more. nullptr when the allocator refuses. Any thread.
  Filter* join(NamespaceId namespace_id, std::string_view filter_text) noexcept;
  // Undoes a join(), or a join_queue(). Any thread.
  void leave(Filter& filter) noexcept;
  // A filter of its own for a queue, which hangs on the one of this text. hash: names its journal in the log. nullptr
  // when the allocator refuses. Any thread.
  Filter* join_queue(NamespaceId namespace_id, uint64_t hash, std::string_view filter_text) noexcept;
  // Says whether `shard` has subscriptions to `filter` now, durable ones, and ones that answer, and whether its journal
  // is full. On return every shard sees it. Thread: that shard's.
  void set_interest(Filter& filter, uint32_t shard, bool any, bool durable, bool answering = false,
                    bool full = false) noexcept;

  // `owner` alone may subscribe to "$exclusive/{filter_text}" until unclaim(). Errors: Exists (another has it),
  // NoMemory. Any thread.
  Status claim(NamespaceId namespace_id, std::string_view filter_text, PublisherId owner) noexcept;
  void unclaim(NamespaceId namespace_id, std::string_view filter_text, PublisherId owner) noexcept;

  // Ends what was taken out and no reader holds any more, unless another thread is about it. Any thread.
  void tidy() noexcept;

  // Any thread; holds the router's lock meanwhile. visit(const Filter&).
  template <class Visit>
  void for_each_filter(Visit&& visit) {
    const std::lock_guard lock(mutex_);
    tree_.for_each([&](Filter& filter) { visit(static_cast<const Filter&>(filter)); });
  }

 private:
  friend class RouteRef;
  static constexpr uint32_t kNamespaceVersions = 64, kLevelVersions = 4096, kExactVersions = 16'384;

  // The route, or nothing, with the filters found so far in `scratch`, each shared once.
  RouteRef build(NamespaceId namespace_id, std::string_view topic_name, RouteScratch& scratch,
                 uint32_t& visits) noexcept;
  RouteRef make(std::initializer_list<std::span<Filter* const>> lists) noexcept;
  void end(Route& route) noexcept;
  void drop(Filter& filter) noexcept;
  // Under the lock: of the last reference.
  void retire(Filter& filter) noexcept;
  // Under the lock.
  void outdate(const Filter& filter) noexcept;
  void leave_text(Filter& filter) noexcept;
  struct Found;  // what a walk has found until now
  void consider(Filter& filter, Found& found) noexcept;
  void reclaim() noexcept;
  std::atomic<uint32_t>& namespace_version(NamespaceId id) const noexcept { return versions_[id % kNamespaceVersions]; }
  std::atomic<uint32_t>& level_version(NamespaceId id, std::string_view text) const noexcept;
  std::atomic<uint32_t>& exact_version(uint64_t topic_hash) const noexcept {
    return versions_[kNamespaceVersions + kLevelVersions + topic_hash % kExactVersions];
  }

  struct Claim : HashLink<Claim> {
    PublisherId owner = 0;
    NamespaceId namespace_id = kGlobalNamespace;
    uint16_t text_size = 0;
    char text_start[2];
    std::string_view text() const noexcept { return {text_start, text_size}; }
  };
  Claim* find_claim(NamespaceId namespace_id, std::string_view filter_text) noexcept;

  const uint32_t shard_count_;
  HashTable<Claim> claims_;  // under the lock
  Epoch epoch_;
  TopicTree tree_;
  std::mutex mutex_;
  // Counters of change, several keys to one: a shared one costs a needless walk, never a stale route.
  std::unique_ptr<std::atomic<uint32_t>[]> versions_;
  std::atomic<uint64_t> generation_{1};
  std::atomic<bool> untidy_{false};  // something waits for its readers
};

}  // namespace mqttq
