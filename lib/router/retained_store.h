// The retained messages whose home is one shard (MQTT5 3.3.1.3), by topic level, so that a wildcard finds them.
#pragma once

#include "base/hash_table.h"
#include "base/index_heap.h"
#include "base/ring.h"
#include "base/status.h"
#include "message/message.h"
#include "router/mail.h"

namespace mqttq {

// What is asked of a shard that is home to retained messages.
struct RetainedQuery final : MailPayload {
  ~RetainedQuery() override { release(topic_filter); }
  NamespaceId namespace_id = kGlobalNamespace;
  char* topic_filter = nullptr;  // owned
  uint16_t topic_filter_size = 0;
  std::string_view text() const noexcept { return {topic_filter, topic_filter_size}; }
};

// What it answers: all that match, at one moment.
struct RetainedBatch final : MailPayload {
  ~RetainedBatch() override = default;
  Ring<MessageRef> messages;
};

// Owned by one shard.
class RetainedStore {
 public:
  // seed: secret. count_max, bytes_max: of all messages here.
  RetainedStore(uint64_t seed, uint32_t count_max, uint64_t bytes_max) noexcept
      : seed_(seed), count_max_(count_max), bytes_max_(bytes_max) {}
  ~RetainedStore();

  // Keeps `message` for its topic, in the place of an older one; an empty payload clears the topic [MQTT-3.3.1-6].
  // Errors: Full at a limit, NoMemory; the older message is then kept. Limits and counts leave `$SYS` out.
  Status set(const MessageRef& message) noexcept;

  // Is there one of this topic, expired or not?
  bool has(NamespaceId namespace_id, std::string_view topic_name) noexcept {
    const Node* node = find(namespace_id, topic_name);
    return node && node->message;
  }

  // Of the content of that; 0: there is none.
  uint32_t size_of(NamespaceId namespace_id, std::string_view topic_name) noexcept {
    const Node* node = find(namespace_id, topic_name);
    return node && node->message ? node->message->content_size() : 0;
  }

  // Adds every message whose topic matches `topic_filter` and that has not expired. False when memory is refused.
  [[nodiscard]] bool collect(NamespaceId namespace_id, std::string_view topic_filter, Instant now,
                             Ring<MessageRef>& out) noexcept;

  // Gives back what has expired, so many at most, each behind ended(const MessageView&). True if there is more.
  template <class Ended>
  bool expire(Instant now, uint32_t count_max, Ended&& ended) noexcept {
    while (!expiring_.empty() && expiring_.front().message->expired(now)) {
      if (count_max-- == 0) return true;
      ended(expiring_.front().message->view());
      clear(expiring_.front());
    }
    return false;
  }
  bool expire(Instant now, uint32_t count_max) noexcept {
    return expire(now, count_max, [](const MessageView&) {});
  }

  // Topic levels that collect() looked at, since the last call.
  uint64_t take_visits() noexcept { return std::exchange(visits_, 0); }

  uint32_t count() const noexcept { return count_; }
  uint64_t bytes() const noexcept { return bytes_; }

 private:
  struct Node : HashLink<Node> {
    HashTable<Node> children;
    MessageRef message;
    NamespaceId namespace_id = kGlobalNamespace;  // of the first level
    uint32_t expiring_place = kInNoHeap;          // in expiring_
    uint16_t text_size = 0;
    char text_start[6];  // what is longer goes on behind the node
    std::string_view text() const noexcept { return {text_start, text_size}; }
  };
  static_assert(sizeof(Node) == 48);
  static bool expires_before(const Node& one, const Node& other) noexcept {
    return one.message->expires_at() < other.message->expires_at();
  }

  Node* find(NamespaceId namespace_id, std::string_view topic_name) noexcept;
  Node* find_or_add(NamespaceId namespace_id, std::string_view topic_name) noexcept;
  Node* child(Node* parent, NamespaceId namespace_id, std::string_view text, bool add) noexcept;
  // Ends what of the topic's levels is there for nothing else.
  void prune(NamespaceId namespace_id, std::string_view topic_name) noexcept;
  uint64_t key(const Node* parent, NamespaceId namespace_id, std::string_view text) const noexcept;
  bool collect_node(Node& node, std::string_view rest, Instant now, Ring<MessageRef>& out) noexcept;
  bool collect_all(Node& node, Instant now, Ring<MessageRef>& out) noexcept;
  bool collect_own(Node& node, Instant now, Ring<MessageRef>& out) noexcept;
  static void end(Node& node) noexcept;
  void clear(Node& node) noexcept;

  const uint64_t seed_;
  const uint32_t count_max_;
  const uint64_t bytes_max_;
  uint32_t count_ = 0;
  uint64_t bytes_ = 0;
  uint64_t visits_ = 0;
  HashTable<Node> first_level_;
  IndexHeap<Node, &Node::expiring_place, expires_before> expiring_;  // nodes whose message expires, the first first
};

}  // namespace mqttq
