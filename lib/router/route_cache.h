// A shard's memory of routes by topic name: a message whose topic was seen before is routed without walking the tree.
#pragma once

#include "router/router.h"

namespace mqttq {

// Owned by one shard. Bounded: sets of four, the oldest of a set makes way. An entry also remembers that its topic name
// is valid, so that a name is judged once.
class RouteCache {
 public:
  // set_count: a power of two. Throws std::bad_alloc.
  RouteCache(Router& router, uint32_t set_count);
  ~RouteCache();
  RouteCache(const RouteCache&) = delete;
  RouteCache& operator=(const RouteCache&) = delete;

  enum class Outcome : uint8_t { Found, InvalidTopic, NoMemory };
  // The current route of `topic_name`, borrowed until the next call. `levels_max`: names with more levels are invalid.
  Outcome find(NamespaceId namespace_id, std::string_view topic_name, uint32_t levels_max,
               const RouteRef*& route) noexcept {
    if (last_->generation == router_.generation() && last_->names(namespace_id, topic_name)) {
      route = &last_->route;
      return Outcome::Found;
    }
    return look_up(namespace_id, topic_name, levels_max, route);
  }
  // Levels of filters that were looked at since the last call.
  uint32_t take_visits() noexcept { return std::exchange(visits_, 0); }

 private:
  Outcome look_up(NamespaceId namespace_id, std::string_view topic_name, uint32_t levels_max,
                  const RouteRef*& route) noexcept;
  static constexpr uint32_t kWays = 4;
  struct Entry {
    uint64_t hash = 0;
    uint64_t version = 0;
    uint64_t generation = 0;  // of the router, as the version was last found to be right
    RouteRef route;
    NamespaceId namespace_id = 0;
    uint16_t topic_size = 0;
    char* topic = nullptr;  // owned
    bool names(NamespaceId its_namespace, std::string_view its_topic) const noexcept {
      return namespace_id == its_namespace && topic && its_topic == std::string_view(topic, topic_size);
    }
    bool is(uint64_t its_hash, NamespaceId its_namespace, std::string_view its_topic) const noexcept {
      return hash == its_hash && names(its_namespace, its_topic);
    }
  };
  struct Set {
    Entry entries[kWays];
    uint32_t next_out = 0;
  };
  Entry* add(Set& set, uint64_t hash, NamespaceId namespace_id, std::string_view topic_name) noexcept;

  Router& router_;
  const uint32_t set_count_;
  uint32_t visits_ = 0;
  std::unique_ptr<Set[]> sets_;
  const Entry* last_;  // the one found last: what comes in one read mostly has one topic
  RouteRef uncached_;  // what find() gave when there was no memory to remember it
};

}  // namespace mqttq
