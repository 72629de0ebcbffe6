#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_events.h"
#include "capi/pages.h"

using namespace mqttq;
using namespace mqttq::capi;

struct mqttq_delayed_list {
  struct One {
    uint64_t id;
    uint64_t due_ms;
    std::string client_id;
    MessageRef message;
  };
  std::vector<One> messages;
};

namespace {

// A message's id: its shard, and its handle there. 0 is none: a generation that names something is odd.
constexpr uint32_t kIndexBits = 26, kGenerationBits = 32;
static_assert(DelayedMessages::kCountMax <= 1u << kIndexBits);
static_assert(kIndexBits + kGenerationBits == 58);  // 63 shards

uint64_t message_id(uint32_t shard, SlabHandle handle) noexcept {
  return (uint64_t{shard} << kIndexBits | handle.index) << kGenerationBits | handle.generation;
}

}  // namespace

extern "C" {

mqttq_status mqttq_delayed_messages(mqttq_broker* broker, mqttq_namespace* ns, uint64_t* cursor, size_t count,
                                    mqttq_delayed_list** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!cursor || !out) return fail(error, MQTTQ_EINVAL, "cursor or out: NULL");
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    if (!count) count = 1000;
    auto list = std::make_unique<mqttq_delayed_list>();
    const NamespaceId namespace_id = capi::id_of(ns);
    *cursor = walk_page(
        *broker, *cursor, [](ShardCore& core) -> auto& { return core.delayed(); },
        [&](uint32_t shard, DelayedMessage& one, Instant now) {
          if (one.message->namespace_id() != namespace_id) return true;
          if (list->messages.size() == count) return false;
          const int64_t left_ms = (one.due - now) / kMillisecond;
          list->messages.push_back({message_id(shard, DelayedMessages::handle(one)),
                                    static_cast<uint64_t>(std::max<int64_t>(left_ms, 0)),
                                    std::string(one.client_id.begin(), one.client_id.count()), one.message});
          return true;
        });
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_delayed_count(const mqttq_delayed_list* list) { return list->messages.size(); }

mqttq_delayed mqttq_delayed_get(const mqttq_delayed_list* list, size_t index) {
  const auto& one = list->messages[index];
  return {sizeof(mqttq_delayed), one.id, one.due_ms, bytes_of(one.client_id), handle_of(one.message)};
}

void mqttq_delayed_free(mqttq_delayed_list* list) { delete list; }

mqttq_status mqttq_delayed_cancel(mqttq_broker* broker, mqttq_namespace* ns, uint64_t id, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    const auto shard = static_cast<uint32_t>(id >> (kIndexBits + kGenerationBits));
    const SlabHandle handle{static_cast<uint32_t>(id >> kGenerationBits) & ((1u << kIndexBits) - 1),
                            static_cast<uint32_t>(id)};
    bool found = false;
    if (shard < broker->broker->shard_count()) {
      broker->on_shard(shard,
                       [&](ShardCore& core, Instant) { found = core.delayed().cancel(capi::id_of(ns), handle); });
    }
    return found ? MQTTQ_OK : fail(error, MQTTQ_ENOTFOUND, "no such message waits for its time");
  });
}

}  // extern "C"
