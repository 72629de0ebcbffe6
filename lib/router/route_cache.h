// A shard's memory of routes by topic name: a message whose topic was seen before is routed without walking the tree.
#pragma once

#include "router/router.h"

namespace mqttq {

// Owned by one shard. Bounded: sets of four, the oldest of a set makes way for a topic that comes the second time; what
// comes once, as retained messages mostly do, is routed and not remembered. An entry also remembers that its topic name
// is valid, so that a name is judged once.
class RouteCache {
 public:
  // set_count: a power of two. A set that was never used costs no memory. Throws std::bad_alloc.
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
  static constexpr uint32_t kWays = 4;
  static constexpr size_t kLine = 64;  // bytes of a cache line: to find a topic looks at two
  // The topic of most stands in the entry itself.
  class Entry {
   public:
    Entry() noexcept = default;
    ~Entry() { drop_topic(); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    // False when the allocator refuses; it names nothing then.
    [[nodiscard]] bool set_name(NamespaceId its_namespace, std::string_view its_topic) noexcept;
    bool names(NamespaceId its_namespace, std::string_view its_topic) const noexcept {
      return topic_size_ == its_topic.size() && namespace_id_ == its_namespace &&
             its_topic == std::string_view(topic(), topic_size_);
    }

    uint64_t generation = 0;  // of the router, as the version was last found to be right
    RouteRef route;
    uint64_t version = 0;

   private:
    static constexpr size_t kInPlace = 34;
    const char* topic() const noexcept {
      if (topic_size_ <= kInPlace) return in_place_;
      const char* block;
      std::memcpy(&block, in_place_, sizeof(block));
      return block;
    }
    void drop_topic() noexcept {
      if (topic_size_ > kInPlace) release(const_cast<char*>(topic()));
      topic_size_ = 0;
    }

    NamespaceId namespace_id_ = 0;
    uint16_t topic_size_ = 0;  // 0: none
    char in_place_[kInPlace];  // or the address of a block of its own
  };
  static_assert(sizeof(Entry) == kLine);
  // Its memory begins as zeros.
  struct alignas(kLine) Set {
    uint32_t tags[kWays];  // of the entries' hashes; 0: there is no entry
    uint32_t next_out;
    alignas(kLine) std::byte room[kWays * sizeof(Entry)];
    Entry& entry(uint32_t way) noexcept { return *reinterpret_cast<Entry*>(room + way * sizeof(Entry)); }
  };

  Outcome look_up(NamespaceId namespace_id, std::string_view topic_name, uint32_t levels_max,
                  const RouteRef*& route) noexcept;
  bool came_before(uint64_t hash) noexcept;
  static Entry* add(Set& set, uint32_t tag, NamespaceId namespace_id, std::string_view topic_name) noexcept;
  void remember_once(NamespaceId namespace_id, std::string_view topic_name, uint64_t generation,
                     RouteRef&& route) noexcept;

  Router& router_;
  const uint32_t set_count_;
  uint32_t visits_ = 0;
  void* const block_;
  Set* const sets_;
  std::unique_ptr<uint16_t[]> ghosts_;  // parts of the hashes of topics that came once, of late: kWays for each set
  RouteScratch scratch_;
  const Entry* last_;  // the one found last: what comes in one read mostly has one topic
  Entry once_;         // what came last that is not remembered
};

}  // namespace mqttq
