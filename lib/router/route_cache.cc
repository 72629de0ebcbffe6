#include "router/route_cache.h"

#include "message/topic.h"

namespace mqttq {

RouteCache::RouteCache(Router& router, uint32_t set_count)
    : router_(router), set_count_(set_count), sets_(new Set[set_count]), last_(&sets_[0].entries[0]) {}

RouteCache::~RouteCache() {
  for (uint32_t i = 0; i < set_count_; ++i) {
    for (Entry& entry : sets_[i].entries) release(entry.topic);
  }
}

RouteCache::Outcome RouteCache::look_up(NamespaceId namespace_id, std::string_view topic_name, uint32_t levels_max,
                                        const RouteRef*& route) noexcept {
  const uint64_t generation = router_.generation();  // before the version, and before what matches
  const uint64_t hash = router_.topic_hash(namespace_id, topic_name);
  Set& set = sets_[hash & (set_count_ - 1)];
  Entry* entry = nullptr;
  for (Entry& candidate : set.entries) {
    if (candidate.is(hash, namespace_id, topic_name)) {
      entry = &candidate;
      break;
    }
  }
  if (!entry && (!is_valid_topic_name(topic_name) || topic_level_count(topic_name) > levels_max)) {
    return Outcome::InvalidTopic;
  }
  if (!entry || entry->generation != generation) {
    const uint64_t version = router_.version(namespace_id, topic_name, hash);
    if (!entry || entry->version != version) {
      RouteRef walked = router_.match(namespace_id, topic_name, &visits_);
      if (!walked) return Outcome::NoMemory;
      if (!entry && !(entry = add(set, hash, namespace_id, topic_name))) {
        uncached_ = std::move(walked);
        route = &uncached_;
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

// In the place of the oldest of the set. nullptr without memory.
RouteCache::Entry* RouteCache::add(Set& set, uint64_t hash, NamespaceId namespace_id,
                                   std::string_view topic_name) noexcept {
  auto* topic = static_cast<char*>(allocate(topic_name.size()));
  if (!topic) return nullptr;
  Entry& entry = set.entries[set.next_out++ % kWays];
  release(entry.topic);
  std::memcpy(topic, topic_name.data(), topic_name.size());
  entry.topic = topic;
  entry.topic_size = static_cast<uint16_t>(topic_name.size());
  entry.hash = hash;
  entry.namespace_id = namespace_id;
  entry.generation = 0;
  return &entry;
}

}  // namespace mqttq
