#include "router/router.h"

#include "base/hash.h"
#include "base/text_node.h"

namespace mqttq {

namespace {

// One reference more, unless the filter is already on its way out. The caller is online, so that the memory is there.
bool try_share(std::atomic<uint32_t>& references) noexcept {
  uint32_t count = references.load(std::memory_order_relaxed);
  while (count) {
    if (references.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

}  // namespace

void RouteRef::release() noexcept {
  if (route_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) route_->router_->end(*route_);
}

Router::Router(uint32_t shard_count, uint64_t seed)
    : shard_count_(shard_count),
      epoch_(shard_count),
      tree_(shard_count, seed, epoch_),
      versions_(new std::atomic<uint32_t>[kNamespaceVersions + kLevelVersions + kExactVersions]()) {
  MQTTQ_ASSERT(shard_count >= 1 && shard_count <= kShardCountMax);
}

uint64_t Router::topic_hash(NamespaceId namespace_id, std::string_view topic_name) const noexcept {
  return hash_text(topic_name, hash_mix(seed(), namespace_id));
}

std::atomic<uint32_t>& Router::level_version(NamespaceId id, std::string_view text) const noexcept {
  return versions_[kNamespaceVersions + topic_hash(id, text.substr(0, text.find('/'))) % kLevelVersions];
}

// The counters only grow, so that their sum changes whenever one of them does.
uint64_t Router::version(NamespaceId namespace_id, std::string_view topic_name, uint64_t topic_hash) const noexcept {
  return uint64_t{namespace_version(namespace_id).load(std::memory_order_acquire)} +
         level_version(namespace_id, topic_name).load(std::memory_order_acquire) +
         exact_version(topic_hash).load(std::memory_order_acquire);
}

// Of the text that it matches by.
void Router::outdate(const Filter& outdated) noexcept {
  const Filter& filter = outdated.of_queue() ? outdated.of_text() : outdated;
  const std::string_view text = filter.text();
  if (!filter.node()) {
    exact_version(filter.hash).fetch_add(1, std::memory_order_release);
  } else if (text.front() == '+' || text.front() == '#') {
    namespace_version(filter.namespace_id()).fetch_add(1, std::memory_order_release);
  } else {
    level_version(filter.namespace_id(), text).fetch_add(1, std::memory_order_release);
  }
  generation_.fetch_add(1, std::memory_order_release);  // last: who sees it sees the version too
}

struct Router::Found {
  RouteScratch& scratch;
  uint64_t shards = 0, durable_shards = 0, queue_shards = 0, answering_shards = 0;
  bool complete = true;
};

// Whoever cares for it has it in the list that it belongs to, shared.
void Router::consider(Filter& filter, Found& found) noexcept {
  uint64_t interested = 0, durable = 0, answering = 0;
  uint8_t all = 0;
  for (uint32_t shard = 0; shard < shard_count_; ++shard) {
    const uint8_t interest = filter.interest(shard);
    interested |= uint64_t{(interest & Filter::kAny) != 0} << shard;
    durable |= uint64_t{(interest & Filter::kDurable) != 0} << shard;
    answering |= uint64_t{(interest & Filter::kAnswering) != 0} << shard;
    all |= interest;
  }
  if (!all) return;
  const bool full = all & Filter::kFull;
  Array<Filter*>& list = filter.of_queue() ? found.scratch.queues : full ? found.scratch.full : found.scratch.filters;
  if (!(found.complete = found.complete && list.make_room()) || !try_share(filter.references_)) return;
  static_cast<void>(list.push_back(&filter));  // there is room
  found.shards |= interested;
  found.durable_shards |= full ? Route::kFullBit : durable;
  if (filter.of_queue()) found.queue_shards |= durable;
  found.answering_shards |= answering;
}

RouteRef Router::build(NamespaceId namespace_id, std::string_view topic_name, RouteScratch& scratch,
                       uint32_t& visits) noexcept {
  Found found{scratch};
  tree_.match(namespace_id, topic_name, visits, [&](Filter& filter) {
    consider(filter, found);
    for (Filter* queue = filter.next_queue_.load(std::memory_order_acquire); queue;
         queue = queue->next_queue_.load(std::memory_order_acquire)) {
      consider(*queue, found);
    }
  });
  if (!found.complete) return {};
  const uint32_t queue_count = scratch.queues.count(), full_count = scratch.full.count();
  if (queue_count == 0 && full_count == 0 && scratch.filters.empty()) {
    if (!scratch.nothing) scratch.nothing = make({});
    return scratch.nothing;
  }
  RouteRef route = make({scratch.queues.span(), scratch.filters.span(), scratch.full.span()});
  if (!route) return {};
  route.route_->shards_ = found.shards;
  route.route_->durable_shards_ = found.durable_shards;
  route.route_->queue_shards_ = found.queue_shards;
  route.route_->queue_count_ = queue_count;
  route.route_->full_count_ = full_count;
  route.route_->answering_shards_ = found.answering_shards;
  return route;
}

RouteRef Router::make(std::initializer_list<std::span<Filter* const>> lists) noexcept {
  size_t count = 0;
  for (const auto& list : lists) count += list.size();
  void* block = allocate(sizeof(Route) + count * sizeof(Filter*));
  if (!block) return {};
  auto* route = new (block) Route();
  route->router_ = this;
  route->filter_count_ = static_cast<uint32_t>(count);
  auto* to = reinterpret_cast<Filter**>(route + 1);
  for (const auto& list : lists) to = std::copy(list.begin(), list.end(), to);
  return RouteRef(route);
}

RouteRef Router::route_to_queue(Filter& queue, uint32_t shard) noexcept {
  if (!try_share(queue.references_)) return {};
  Filter* const only[] = {&queue};
  RouteRef route = make({only});
  if (!route) {
    drop(queue);
    return {};
  }
  route.route_->queue_count_ = 1;
  route.route_->durable_shards_ = route.route_->queue_shards_ = uint64_t{1} << shard;
  return route;
}

RouteRef Router::match(NamespaceId namespace_id, std::string_view topic_name, RouteScratch& scratch,
                       uint32_t* visits) noexcept {
  uint32_t count = 0;
  const auto lists = {&scratch.queues, &scratch.filters, &scratch.full};
  for (Array<Filter*>* list : lists) list->clear();
  RouteRef route = build(namespace_id, topic_name, scratch, count);
  if (visits) *visits += count;
  if (route) return route;
  for (Array<Filter*>* list : lists) {
    for (Filter* filter : *list) drop(*filter);
  }
  return {};
}

void Router::end(Route& route) noexcept {
  for (Filter* filter : route.filters()) drop(*filter);
  destroy(&route);
}

void Router::drop(Filter& filter) noexcept {
  if (filter.references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::lock_guard lock(mutex_);
  retire(filter);
  reclaim();
}

void Router::retire(Filter& filter) noexcept {
  filter.end_locals();
  epoch_.retire(filter);
}

void Router::reclaim() noexcept {
  epoch_.reclaim();
  untidy_.store(epoch_.has_retired(), std::memory_order_relaxed);
}

void Router::tidy() noexcept {
  if (!untidy_.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) reclaim();
}

Filter* Router::join(NamespaceId namespace_id, std::string_view filter_text) noexcept {
  const std::lock_guard lock(mutex_);
  Filter* filter = tree_.find_or_add(namespace_id, filter_text);
  if (filter) ++filter->users_;
  reclaim();  // tables that were outgrown, and what was begun without memory to end it
  return filter;
}

void Router::leave(Filter& filter) noexcept {
  const std::lock_guard lock(mutex_);
  if (filter.of_queue()) {
    Filter& text = filter.of_text();
    std::atomic<Filter*>* at = &text.next_queue_;
    while (at->load(std::memory_order_relaxed) != &filter) at = &at->load(std::memory_order_relaxed)->next_queue_;
    // Who looks at it goes on from it.
    at->store(filter.next_queue_.load(std::memory_order_relaxed), std::memory_order_release);
    outdate(filter);
    if (filter.references_.fetch_sub(1, std::memory_order_acq_rel) == 1) retire(filter);
    leave_text(text);
  } else {
    leave_text(filter);
  }
  reclaim();
}

void Router::leave_text(Filter& filter) noexcept {
  if (--filter.users_) return;
  tree_.remove(filter);
  outdate(filter);
  if (filter.references_.fetch_sub(1, std::memory_order_acq_rel) == 1) retire(filter);
}

Filter* Router::join_queue(NamespaceId namespace_id, uint64_t hash, std::string_view filter_text) noexcept {
  const std::lock_guard lock(mutex_);
  Filter* made = Filter::create(namespace_id, filter_text, hash, shard_count_, true);
  Filter* text = made ? tree_.find_or_add(namespace_id, filter_text) : nullptr;
  reclaim();
  if (!text) {
    destroy(made);
    return nullptr;
  }
  ++text->users_;
  made->users_ = 1;
  made->set_of_text(*text);
  made->next_queue_.store(text->next_queue_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  text->next_queue_.store(made, std::memory_order_release);
  return made;
}

Router::~Router() {
  claims_.for_each([](Claim& claim) { destroy(&claim); });
}

Router::Claim* Router::find_claim(NamespaceId namespace_id, std::string_view filter_text) noexcept {
  return claims_.find(topic_hash(namespace_id, filter_text), [&](const Claim& claim) {
    return claim.namespace_id == namespace_id && claim.text() == filter_text;
  });
}

Status Router::claim(NamespaceId namespace_id, std::string_view filter_text, PublisherId owner) noexcept {
  const std::lock_guard lock(mutex_);
  if (const Claim* known = find_claim(namespace_id, filter_text)) {
    return known->owner == owner ? Status::Ok : Status::Exists;
  }
  auto* made = create_with_text<Claim>(filter_text);
  if (!made) return Status::NoMemory;
  made->namespace_id = namespace_id;
  made->owner = owner;
  claims_.insert(*made, topic_hash(namespace_id, filter_text));
  return Status::Ok;
}

void Router::unclaim(NamespaceId namespace_id, std::string_view filter_text, PublisherId owner) noexcept {
  const std::lock_guard lock(mutex_);
  Claim* known = find_claim(namespace_id, filter_text);
  if (!known || known->owner != owner) return;
  claims_.remove(*known);
  destroy(known);
}

void Router::set_interest(Filter& filter, uint32_t shard, bool any, bool durable, bool answering, bool full) noexcept {
  const auto interest = static_cast<uint8_t>((any ? Filter::kAny : 0) | (durable ? Filter::kDurable : 0) |
                                             (answering ? Filter::kAnswering : 0) | (full ? Filter::kFull : 0));
  if (filter.interest(shard) == interest) return;
  const std::lock_guard lock(mutex_);
  filter.interests()[shard].store(interest, std::memory_order_release);
  outdate(filter);
}

}  // namespace mqttq
