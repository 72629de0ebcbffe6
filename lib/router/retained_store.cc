#include "router/retained_store.h"

#include "base/hash.h"
#include "base/text_node.h"
#include "message/topic.h"

namespace mqttq {

RetainedStore::~RetainedStore() { first_level_.for_each(end); }

void RetainedStore::end(Node& node) noexcept {
  node.children.for_each(end);
  destroy(&node);
}

uint64_t RetainedStore::key(const Node* parent, NamespaceId namespace_id, std::string_view text) const noexcept {
  return hash_text(text, parent ? parent->hash : hash_mix(seed_, namespace_id));
}

RetainedStore::Node* RetainedStore::child(Node* parent, NamespaceId namespace_id, std::string_view text,
                                          bool add) noexcept {
  HashTable<Node>& table = parent ? parent->children : first_level_;
  const uint64_t hash = key(parent, namespace_id, text);
  Node* found = table.find(
      hash, [&](const Node& node) { return node.text() == text && (parent || node.namespace_id == namespace_id); });
  if (found || !add) return found;
  auto* node = create_with_text<Node>(text);
  if (!node) return nullptr;
  node->namespace_id = namespace_id;
  table.insert(*node, hash);
  return node;
}

RetainedStore::Node* RetainedStore::find(NamespaceId namespace_id, std::string_view topic_name) noexcept {
  Node* node = nullptr;
  do {
    node = child(node, namespace_id, cut_level(topic_name), false);
  } while (node && topic_name.data());
  return node;
}

RetainedStore::Node* RetainedStore::find_or_add(NamespaceId namespace_id, std::string_view topic_name) noexcept {
  const std::string_view whole = topic_name;
  Node* node = nullptr;
  do {
    Node* below = child(node, namespace_id, cut_level(topic_name), true);
    if (!below) {
      prune(namespace_id, whole);
      return nullptr;
    }
    node = below;
  } while (topic_name.data());
  return node;
}

void RetainedStore::prune(NamespaceId namespace_id, std::string_view topic_name) noexcept {
  Node* above = nullptr;    // the last that is needed, or none
  Node* useless = nullptr;  // the first below it; a chain begins there
  Node* node = nullptr;
  do {
    Node* below = child(node, namespace_id, cut_level(topic_name), false);
    if (!below) break;
    if (!node || node->message || node->children.count() > 1) {
      above = node;
      useless = below;
    }
    node = below;
  } while (topic_name.data());
  if (!node || node->message || node->children.count()) return;
  (above ? above->children : first_level_).remove(*useless);
  end(*useless);
}

Status RetainedStore::set(const MessageRef& message) noexcept {
  const NamespaceId namespace_id = message->namespace_id();
  const std::string_view topic_name = message->topic_name();
  // The broker's own are as many as it has figures: limits and counts are about what peers store.
  const bool counted = !is_sys_topic(topic_name);
  const bool clears = message->payload().empty();
  // Where it has room whatever it replaces, its place is found and made in one walk.
  const bool has_room = !counted || (count_ < count_max_ && bytes_ + message->content_size() <= bytes_max_);
  Node* node = has_room && !clears ? find_or_add(namespace_id, topic_name) : find(namespace_id, topic_name);
  const bool replaces = node && node->message;
  const uint64_t old_bytes = replaces && counted ? node->message->content_size() : 0;
  if (clears) {
    if (replaces) clear(*node);
    return Status::Ok;
  }
  if (counted && !replaces && count_ >= count_max_) return Status::Full;
  if (counted && bytes_ - old_bytes + message->content_size() > bytes_max_) return Status::Full;
  const bool expires = message->expires_at().ns != INT64_MAX;
  if (!node || (expires && !expiring_.make_room())) {
    if (node && !replaces) prune(namespace_id, topic_name);
    return Status::NoMemory;
  }
  expiring_.remove(*node);
  node->message = message;
  if (expires) expiring_.push(*node);
  if (!counted) return Status::Ok;
  if (!replaces) ++count_;
  bytes_ += message->content_size() - old_bytes;
  return Status::Ok;
}

// Of a node that has a message.
void RetainedStore::clear(Node& node) noexcept {
  expiring_.remove(node);
  const MessageRef message = std::exchange(node.message, {});
  if (!is_sys_topic(message->topic_name())) {
    --count_;
    bytes_ -= message->content_size();
  }
  prune(message->namespace_id(), message->topic_name());
}

bool RetainedStore::collect(NamespaceId namespace_id, std::string_view topic_filter, Instant now,
                            Ring<MessageRef>& out) noexcept {
  const std::string_view level = cut_level(topic_filter);
  if (level != "+" && level != "#") {
    Node* node = child(nullptr, namespace_id, level, false);
    return !node || collect_node(*node, topic_filter, now, out);
  }
  bool complete = true;
  first_level_.for_each([&](Node& node) {
    ++visits_;
    if (!complete || node.namespace_id != namespace_id) return;
    if (node.text_size && node.text().front() == '$') return;  // [MQTT-4.7.2-1]
    complete = level == "#" ? collect_all(node, now, out) : collect_node(node, topic_filter, now, out);
  });
  return complete;
}

bool RetainedStore::collect_node(Node& node, std::string_view rest, Instant now, Ring<MessageRef>& out) noexcept {
  ++visits_;
  if (!rest.data()) return collect_own(node, now, out);
  const std::string_view level = cut_level(rest);
  if (level == "#") return collect_all(node, now, out);  // "a/#" is also "a"
  if (level != "+") {
    Node* below = child(&node, 0, level, false);
    return !below || collect_node(*below, rest, now, out);
  }
  bool complete = true;
  node.children.for_each([&](Node& below) { complete = complete && collect_node(below, rest, now, out); });
  return complete;
}

bool RetainedStore::collect_all(Node& node, Instant now, Ring<MessageRef>& out) noexcept {
  ++visits_;
  bool complete = collect_own(node, now, out);
  node.children.for_each([&](Node& below) { complete = complete && collect_all(below, now, out); });
  return complete;
}

bool RetainedStore::collect_own(Node& node, Instant now, Ring<MessageRef>& out) noexcept {
  if (!node.message || node.message->expired(now)) return true;
  return out.push_back(MessageRef(node.message));
}

}  // namespace mqttq
