#include "router/filter.h"

#include "base/assert.h"
#include "router/topic_tree.h"

namespace mqttq {

Filter* Filter::create(NamespaceId namespace_id, std::string_view text, uint64_t hash, uint32_t shard_count,
                       bool of_queue) noexcept {
  const size_t size = sizeof(Filter) + (sizeof(Local) + 1) * shard_count + text.size() +
                      (of_queue ? sizeof(QueueGate) + alignof(QueueGate) - 1 : 0);
  void* block = allocate(size);
  return block ? new (block) Filter(namespace_id, text, hash, shard_count, of_queue) : nullptr;
}

Filter::Filter(NamespaceId namespace_id, std::string_view text, uint64_t text_hash, uint32_t shard_count,
               bool of_queue) noexcept
    : hash(text_hash),
      namespace_id_(namespace_id),
      text_size_(static_cast<uint16_t>(text.size())),
      shard_count_(static_cast<uint8_t>(shard_count)),
      of_queue_(of_queue) {
  for (uint32_t i = 0; i < shard_count; ++i) {
    new (&locals()[i]) Local();
    new (&interests()[i]) std::atomic<uint8_t>(0);
  }
  std::memcpy(static_cast<void*>(interests() + shard_count), text.data(), text.size());
  if (of_queue) new (&gate()) QueueGate();
}

Filter::~Filter() { end_locals(); }

void Filter::end_locals() noexcept {
  if (of_queue_) {  // its judge's end; nobody asks a gate any more
    gate().~QueueGate();
    new (&gate()) QueueGate();
  }
  for (uint32_t i = 0; i < shard_count_; ++i) {
    MQTTQ_ASSERT(local(i).subscriptions.empty());
    destroy(std::exchange(local(i).rare, nullptr));
  }
}

std::string_view Filter::text() const noexcept {
  return {reinterpret_cast<const char*>(interests() + shard_count_), text_size_};
}

TopicNode* Filter::node() const noexcept { return static_cast<TopicNode*>(retired_next); }
void Filter::set_node(TopicNode& node) noexcept { retired_next = &node; }

}  // namespace mqttq
