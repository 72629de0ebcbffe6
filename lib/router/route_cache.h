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
               const RouteRef*& route) noexcept;
  // Levels of filters that were looked at since the last call.
  uint32_t take_visits() noexcept { return std::exchange(visits_, 0); }

 private:
  static constexpr uint32_t kWays = 4;
  struct Entry {
    uint64_t hash = 0;
    uint64_t version = 0;
    RouteRef route;
    NamespaceId namespace_id = 0;
    uint16_t topic_size = 0;
    char* topic = nullptr;  // owned
    bool is(uint64_t its_hash, NamespaceId its_namespace, std::string_view its_topic) const noexcept {
      return topic && hash == its_hash && namespace_id == its_namespace &&
             its_topic == std::string_view(topic, topic_size);
    }
  };
  struct Set {
    Entry entries[kWays];
    uint32_t next_out = 0;
  };

  Router& router_;
  const uint32_t set_count_;
  uint32_t visits_ = 0;
  std::unique_ptr<Set[]> sets_;
  RouteRef uncached_;  // what find() gave when there was no memory to remember it
};

}  // namespace mqttq
