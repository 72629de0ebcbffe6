#include "router/topic_tree.h"

#include "base/hash.h"
#include "base/text_node.h"
#include "message/topic.h"

namespace mqttq {

// Only a broker that ends gets here with nodes left: nobody reads any more.
TopicTree::~TopicTree() {
  struct End {
    static void node(TopicNode& node) noexcept {
      node.children.for_each([](TopicNode& child) { End::node(child); });
      if (TopicNode* plus = node.plus.load(std::memory_order_relaxed)) End::node(*plus);
      destroy(&node);
    }
  };
  first_level_.for_each([](TopicNode& node) { End::node(node); });
}

uint64_t TopicTree::first_hash(NamespaceId namespace_id, std::string_view text) const noexcept {
  return hash_text(text, hash_mix(seed_, namespace_id));
}

uint64_t TopicTree::child_hash(const TopicNode& node, std::string_view text) const noexcept {
  return hash_text(text, node.hash);
}

Filter* TopicTree::find_exact(NamespaceId namespace_id, std::string_view text) const noexcept {
  return exact_.find(first_hash(namespace_id, text), [&](const Filter& filter) {
    return filter.namespace_id() == namespace_id && filter.text() == text;
  });
}

TopicNode* TopicTree::find_first(NamespaceId namespace_id, std::string_view text) const noexcept {
  return first_level_.find(first_hash(namespace_id, text), [&](const TopicNode& node) {
    return node.namespace_id == namespace_id && node.text() == text;
  });
}

TopicNode* TopicTree::find_child(const TopicNode& node, std::string_view text) const noexcept {
  return node.children.find(child_hash(node, text), [&](const TopicNode& child) { return child.text() == text; });
}

TopicNode* TopicTree::add_node(TopicNode* parent, NamespaceId namespace_id, std::string_view text) noexcept {
  auto* node = create_with_text<TopicNode>(text);
  if (!node) return nullptr;
  node->retired_next = parent;
  node->namespace_id = namespace_id;
  node->hash = parent ? child_hash(*parent, text) : first_hash(namespace_id, text);
  if (parent && text == "+") {
    parent->plus.store(node, std::memory_order_release);
  } else if (!(parent ? parent->children : first_level_).insert(*node, epoch_)) {
    destroy(node);
    return nullptr;
  }
  return node;
}

Filter* TopicTree::find(NamespaceId namespace_id, std::string_view text) const noexcept {
  if (!has_wildcard(text)) return find_exact(namespace_id, text);
  Levels levels(text);
  const TopicNode* node = find_first(namespace_id, levels.first);
  while (node && levels.rest.data()) {
    if (levels.rest == "#") return node->multi.load(std::memory_order_acquire);
    levels = Levels(levels.rest);
    node = levels.first == "+" ? node->plus.load(std::memory_order_acquire) : find_child(*node, levels.first);
  }
  return node ? node->filter.load(std::memory_order_acquire) : nullptr;
}

Filter* TopicTree::find_or_add(NamespaceId namespace_id, std::string_view text) noexcept {
  if (Filter* found = find(namespace_id, text)) return found;
  Filter* filter = Filter::create(namespace_id, text, first_hash(namespace_id, text), shard_count_, false);
  if (!filter) return nullptr;
  if (!has_wildcard(text)) {
    if (exact_.insert(*filter, epoch_)) return filter;
    destroy(filter);
    return nullptr;
  }
  Levels levels(text);
  TopicNode* node = find_first(namespace_id, levels.first);
  if (!node) node = add_node(nullptr, namespace_id, levels.first);
  TopicNode* reached = node;
  while (node && levels.rest.data() && levels.rest != "#") {
    levels = Levels(levels.rest);
    TopicNode* child =
        levels.first == "+" ? node->plus.load(std::memory_order_relaxed) : find_child(*node, levels.first);
    if (!child) child = add_node(node, namespace_id, levels.first);
    node = child;
    if (node) reached = node;
  }
  if (!node) {
    remove_if_unused(reached);
    destroy(filter);
    return nullptr;
  }
  filter->set_node(*node);
  (levels.rest.data() ? node->multi : node->filter).store(filter, std::memory_order_release);
  return filter;
}

void TopicTree::remove(Filter& filter) noexcept {
  TopicNode* node = filter.node();
  if (!node) {
    exact_.remove(filter, epoch_);
    return;
  }
  auto& place = node->multi.load(std::memory_order_relaxed) == &filter ? node->multi : node->filter;
  place.store(nullptr, std::memory_order_release);
  remove_if_unused(node);
}

void TopicTree::remove_if_unused(TopicNode* node) noexcept {
  while (node && !node->filter.load(std::memory_order_relaxed) && !node->multi.load(std::memory_order_relaxed) &&
         !node->plus.load(std::memory_order_relaxed) && node->children.count() == 0) {
    TopicNode* parent = node->parent();
    if (parent && node->text() == "+") {
      parent->plus.store(nullptr, std::memory_order_release);
    } else {
      (parent ? parent->children : first_level_).remove(*node, epoch_);
    }
    epoch_.retire(*node);
    node = parent;
  }
}

}  // namespace mqttq
