// What calls about queues and about streams have in common: each lives on a shard of its own, by its name.
#pragma once

#include "capi/durable_wait.h"
#include "capi/guard.h"
#include "capi/handles.h"

namespace mqttq::capi {

inline uint32_t home_of(mqttq_broker& broker, NamespaceId id, std::string_view name) {
  return broker.broker->shard(0).core().group_home_of(id, name);
}

struct Outcome {
  mqttq_status status = MQTTQ_OK;
  const char* text = "";
};

// Where the ABI says "0 = default" and names a number for "no limit", options have 0 for no limit.
inline uint64_t limit_of(uint64_t said, uint64_t standard) noexcept {
  return said == 0 ? standard : said == UINT64_MAX ? 0 : said;
}
inline uint64_t said_of(uint64_t limit) noexcept { return limit ? limit : UINT64_MAX; }
inline uint32_t limit_of(uint32_t said, uint32_t standard) noexcept {
  return said == 0 ? standard : said == UINT32_MAX ? 0 : said;
}
inline uint32_t said_of(uint32_t limit) noexcept { return limit ? limit : UINT32_MAX; }

// Runs `change` on the shard that is the home of this name; it returns an Outcome. What it recorded is durable on
// return.
template <class Change>
mqttq_status change_at_home(mqttq_broker& broker, mqttq_namespace* ns, std::string_view name, mqttq_error* error,
                            Change&& change, bool waits = true) {
  Outcome outcome;
  DurableWait wait;
  const NamespaceId id = id_of(ns);
  const bool ran = broker.on_shard(home_of(broker, id, name), [&](ShardCore& core, Instant now) {
    outcome = change(core, id, now);
    if (outcome.status == MQTTQ_OK && waits && !broker.host_loop) wait.begin(core);
  });
  if (!ran) return fail(error, MQTTQ_ESHUTDOWN, "the broker is stopping");
  if (outcome.status != MQTTQ_OK) return fail(error, outcome.status, outcome.text);
  return wait.end() ? MQTTQ_OK : fail(error, MQTTQ_ESYSTEM, "it could not be written yet; it is true all the same");
}

}  // namespace mqttq::capi
