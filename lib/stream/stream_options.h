// What is said of a stream when it is declared.
#pragma once

#include <cstdint>

#include "base/hash.h"
#include "message/message.h"

namespace mqttq {

// How long it keeps its messages; each 0 = no limit. May be changed while it is used.
struct StreamOptions {
  uint64_t messages_max = 0;
  uint64_t bytes_max = 0;        // of their topics, properties and payloads
  uint32_t age_max_s = 604'800;  // since they were numbered
};

// What a stream is. It never changes.
struct StreamIdentity {
  NamespaceId namespace_id = kGlobalNamespace;
  std::string_view name;          // is_valid_stream_name()
  std::string_view topic_filter;  // may_be_kept()
  uint64_t id = 0;                // tells it from those that had the name before
  std::string_view key;           // of its messages: MessageKey; empty: they have none
  bool last_value = false;        // of each key it keeps the newest message alone
};

// Names its journal in the log. seed: of what is kept. Not a queue's of the same name and id.
inline uint64_t stream_journal(const StreamIdentity& stream, uint64_t seed) noexcept {
  return hash_mix(hash_text(stream.name, hash_mix(seed, stream.namespace_id + 0x3'0000'0000u)), stream.id);
}

}  // namespace mqttq
