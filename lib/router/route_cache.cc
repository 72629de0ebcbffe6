#include "router/route_cache.h"

#include <cstdlib>

#include "message/topic.h"

namespace mqttq {

namespace {

// Pages that nobody writes stay the system's one page of zeros.
void* zeros(size_t size) {
  void* block = std::calloc(1, size);
  if (!block) throw std::bad_alloc();
  return block;
}

}  // namespace

RouteCache::RouteCache(Router& router, uint32_t set_count)
    : router_(router),
      set_count_(set_count),
      block_(zeros(set_count * sizeof(Set) + kLine)),
      sets_(reinterpret_cast<Set*>((reinterpret_cast<uintptr_t>(block_) + kLine - 1) / kLine * kLine)),
      ghosts_(new uint16_t[set_count * kWays]()),
      last_(&once_) {}

RouteCache::~RouteCache() {
  for (uint32_t i = 0; i < set_count_; ++i) {
    for (uint32_t way = 0; way < kWays; ++way) {
      if (sets_[i].tags[way]) sets_[i].entry(way).~Entry();
    }
  }
  std::free(block_);
}

RouteCache::Outcome RouteCache::look_up(NamespaceId namespace_id, std::string_view topic_name, uint32_t levels_max,
                                        const RouteRef*& route) noexcept {
  const uint64_t generation = router_.generation();  // before the version, and before what matches
  const uint64_t hash = router_.topic_hash(namespace_id, topic_name);
  const auto tag = static_cast<uint32_t>(hash >> 32 | 1);
  Set& set = sets_[hash & (set_count_ - 1)];
  Entry* entry = nullptr;
  for (uint32_t way = 0; way < kWays && !entry; ++way) {
    if (set.tags[way] == tag && set.entry(way).names(namespace_id, topic_name)) entry = &set.entry(way);
  }
  if (!entry && (!is_valid_topic_name(topic_name) || topic_level_count(topic_name) > levels_max)) {
    return Outcome::InvalidTopic;
  }
  if (!entry || entry->generation != generation) {
    const uint64_t version = router_.version(namespace_id, topic_name, hash);
    if (!entry || entry->version != version) {
      RouteRef walked = router_.match(namespace_id, topic_name, scratch_, &visits_);
      if (!walked) return Outcome::NoMemory;
      if (!entry && (!came_before(hash) || !(entry = add(set, tag, namespace_id, topic_name)))) {
        remember_once(namespace_id, topic_name, generation, std::move(walked));
        route = &once_.route;
        return Outcome::Found;
      }
      entry->version = version;
      entry->route = std::move(walked);
    }
    entry->generation = generation;
  }
  last_ = entry;
  route = &entry->route;
  return Outcome::Found;
}

// Of late, as far as can be told; the next time it has. To be wrong costs or saves a place, no more.
bool RouteCache::came_before(uint64_t hash) noexcept {
  uint16_t* ghosts = &ghosts_[(hash & (set_count_ - 1)) * kWays];
  const auto tag = static_cast<uint16_t>(hash >> 48);
  for (uint32_t i = 0; i < kWays; ++i) {
    if (ghosts[i] == tag) return true;
  }
  ghosts[hash >> 40 & (kWays - 1)] = tag;
  return false;
}

bool RouteCache::Entry::set_name(NamespaceId its_namespace, std::string_view its_topic) noexcept {
  drop_topic();
  char* to = in_place_;
  if (its_topic.size() > kInPlace) {
    to = static_cast<char*>(allocate(its_topic.size()));
    if (!to) return false;
    std::memcpy(in_place_, &to, sizeof(to));
  }
  std::memcpy(to, its_topic.data(), its_topic.size());
  namespace_id_ = its_namespace;
  topic_size_ = static_cast<uint16_t>(its_topic.size());
  return true;
}

// For those who ask again while one message is on its way.
void RouteCache::remember_once(NamespaceId namespace_id, std::string_view topic_name, uint64_t generation,
                               RouteRef&& route) noexcept {
  once_.route = std::move(route);
  once_.generation = generation;
  if (once_.set_name(namespace_id, topic_name)) last_ = &once_;
}

// In the place of the oldest of the set. nullptr without memory.
RouteCache::Entry* RouteCache::add(Set& set, uint32_t tag, NamespaceId namespace_id,
                                   std::string_view topic_name) noexcept {
  const uint32_t way = set.next_out++ % kWays;
  Entry& entry = set.entry(way);
  if (!set.tags[way]) new (&entry) Entry();
  set.tags[way] = tag;
  entry.generation = 0;
  return entry.set_name(namespace_id, topic_name) ? &entry : nullptr;
}

}  // namespace mqttq
