// All topic filters of a broker by level, read without locks, and those without a wildcard in a hash index besides.
#pragma once

#include "base/read_table.h"
#include "message/topic.h"
#include "router/filter.h"

namespace mqttq {

// One level of one or more filters. The first level is keyed by namespace and text, so that tenants share nothing.
// There are millions of it: the word by which it is retired names its parent before, and its text begins in its last
// bytes.
struct TopicNode : Epoch::Retired {
  uint64_t hash = 0;  // of parent and text (of namespace and text on the first level)
  ReadTable<TopicNode> children;
  std::atomic<TopicNode*> plus{nullptr};  // the child "+"
  std::atomic<Filter*> filter{nullptr};   // ends at this level
  std::atomic<Filter*> multi{nullptr};    // ends in "#" behind this level
  NamespaceId namespace_id = kGlobalNamespace;
  uint16_t text_size = 0;
  char text_start[2];  // what is longer goes on behind the node

  // Writer; nullptr on the first level.
  TopicNode* parent() const noexcept { return static_cast<TopicNode*>(retired_next); }
  std::string_view text() const noexcept { return {text_start, text_size}; }
};
static_assert(sizeof(TopicNode) == 56);

// Writers (find_or_add, remove) are serialised by the Router; readers (match) are online in its Epoch.
class TopicTree {
 public:
  TopicTree(uint32_t shard_count, uint64_t seed, Epoch& epoch) noexcept
      : shard_count_(shard_count), seed_(seed), epoch_(epoch) {}
  ~TopicTree();

  // The filter with this text, which is valid and not of the form `$share/…`. New ones have no users.
  // nullptr when the allocator refuses.
  Filter* find_or_add(NamespaceId namespace_id, std::string_view text) noexcept;
  Filter* find(NamespaceId namespace_id, std::string_view text) const noexcept;
  // Takes a filter without users out; readers may still hold it, so its last reference retires it.
  void remove(Filter& filter) noexcept;

  // Calls found(Filter&) for each filter that matches the valid topic name. [MQTT-4.7.1-2] and -3; a filter that
  // begins with a wildcard does not match a name that begins with '$' [MQTT-4.7.2-1].
  // visits: is added the number of levels looked at.
  template <class Found>
  void match(NamespaceId namespace_id, std::string_view topic_name, uint32_t& visits, Found&& found) const noexcept {
    if (Filter* exact = find_exact(namespace_id, topic_name)) found(*exact);
    const bool reserved = topic_name.front() == '$';
    const Levels levels(topic_name);
    if (const TopicNode* literal = find_first(namespace_id, levels.first)) {
      match_below(*literal, levels.rest, visits, found);
    }
    if (reserved) return;
    if (const TopicNode* plus = find_first(namespace_id, "+")) match_below(*plus, levels.rest, visits, found);
    if (const TopicNode* multi = find_first(namespace_id, "#")) {
      if (Filter* filter = multi->filter.load(std::memory_order_acquire)) found(*filter);
    }
  }

  // Writer. Calls visit(Filter&) for each.
  template <class Visit>
  void for_each(Visit&& visit) const noexcept {
    exact_.for_each(visit);
    first_level_.for_each([&](const TopicNode& node) { for_each_below(node, visit); });
  }

  uint64_t seed() const noexcept { return seed_; }

 private:
  // The first level of a topic and what stands behind its '/'; rest.data() is nullptr when nothing does.
  struct Levels {
    explicit Levels(std::string_view text) noexcept : rest(text) { first = cut_level(rest); }
    std::string_view first, rest;
  };

  template <class Found>
  void match_below(const TopicNode& node, std::string_view rest, uint32_t& visits, Found&& found) const noexcept {
    ++visits;
    if (Filter* multi = node.multi.load(std::memory_order_acquire)) found(*multi);
    if (!rest.data()) {
      if (Filter* filter = node.filter.load(std::memory_order_acquire)) found(*filter);
      return;
    }
    const Levels levels(rest);
    if (const TopicNode* literal = find_child(node, levels.first)) match_below(*literal, levels.rest, visits, found);
    if (const TopicNode* plus = node.plus.load(std::memory_order_acquire))
      match_below(*plus, levels.rest, visits, found);
  }
  template <class Visit>
  static void for_each_below(const TopicNode& node, Visit& visit) noexcept {
    for (auto* filter : {node.filter.load(std::memory_order_relaxed), node.multi.load(std::memory_order_relaxed)}) {
      if (filter) visit(*filter);
    }
    if (const TopicNode* plus = node.plus.load(std::memory_order_relaxed)) for_each_below(*plus, visit);
    node.children.for_each([&](const TopicNode& child) { for_each_below(child, visit); });
  }

  Filter* find_exact(NamespaceId namespace_id, std::string_view text) const noexcept;
  TopicNode* find_first(NamespaceId namespace_id, std::string_view text) const noexcept;
  TopicNode* find_child(const TopicNode& node, std::string_view text) const noexcept;
  TopicNode* add_node(TopicNode* parent, NamespaceId namespace_id, std::string_view text) noexcept;
  void remove_if_unused(TopicNode* node) noexcept;
  uint64_t first_hash(NamespaceId namespace_id, std::string_view text) const noexcept;
  uint64_t child_hash(const TopicNode& node, std::string_view text) const noexcept;

  const uint32_t shard_count_;
  const uint64_t seed_;
  Epoch& epoch_;
  ReadTable<TopicNode> first_level_;
  ReadTable<Filter> exact_;
};

}  // namespace mqttq
