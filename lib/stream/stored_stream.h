// The values of a stream's tables in the store, field by field. docs/STORE.md has the bytes.
#pragma once

#include "message/topic.h"
#include "store/fields.h"
#include "store/state.h"
#include "stream/stream_address.h"
#include "stream/stream_options.h"

namespace mqttq {

// Streams stand in the table of queues. Their values begin so, where a queue's has its namespace, and their keys are
// those of a name that no queue has.
inline constexpr uint32_t kStoredStreamMark = UINT32_MAX;
inline bool is_stored_stream(FieldReader in) noexcept { return in.number<uint32_t>() == kStoredStreamMark; }
inline TextKey stream_key(const TextKey& of_name) noexcept {
  return {hash_mix(of_name.first, 1), hash_mix(of_name.second, 1)};
}

// How a stream was declared. Texts that are read are borrowed.
struct StoredStream {
  StreamIdentity identity;
  StreamOptions options;

  void write(FieldWriter& out) const noexcept {
    out.number(kStoredStreamMark);
    out.number(uint32_t{identity.namespace_id});
    out.number(identity.id);
    out.number(options.messages_max);
    out.number(options.bytes_max);
    out.number(options.age_max_s);
    out.number(uint8_t{identity.last_value});
    out.sized(as_bytes(identity.name));
    out.sized(as_bytes(identity.topic_filter));
    out.sized(as_bytes(identity.key));
  }
  // False: it is no such value.
  bool read(FieldReader& in) noexcept {
    const bool marked = in.number<uint32_t>() == kStoredStreamMark;
    identity.namespace_id = in.number<uint32_t>();
    identity.id = in.number<uint64_t>();
    options.messages_max = in.number<uint64_t>();
    options.bytes_max = in.number<uint64_t>();
    options.age_max_s = in.number<uint32_t>();
    const auto last_value = in.number<uint8_t>();
    identity.last_value = last_value == 1;
    identity.name = as_text(in.sized());
    identity.topic_filter = as_text(in.sized());
    identity.key = as_text(in.sized());
    return in.ok() && marked && last_value <= 1 && is_valid_stream_name(identity.name) &&
           is_valid_topic_filter(identity.topic_filter);
  }
};

// The first message that it keeps: all before it are gone.
struct StoredStreamPlace {
  uint64_t number = 0;    // of the log; there may be none with it
  uint64_t position = 0;  // none with that number or a higher one has a lower one
  int64_t newest_us = 0;  // of all that it ever had

  void write(FieldWriter& out) const noexcept {
    out.number(number);
    out.number(position);
    out.number(static_cast<uint64_t>(newest_us));
  }
  // False: it is no such value.
  bool read(FieldReader& in) noexcept {
    number = in.number<uint64_t>();
    position = in.number<uint64_t>();
    newest_us = static_cast<int64_t>(in.number<uint64_t>());
    return in.ok() && in.at_end() && newest_us >= 0;
  }
};

// Where a named cursor stands.
struct StoredCursor {
  uint64_t number = 0;  // StreamPlace
  uint64_t position = 0;
  bool shared = false;
  std::string_view name;  // borrowed

  void write(FieldWriter& out) const noexcept {
    out.number(number);
    out.number(position);
    out.number(uint8_t{shared});
    out.text(name);
  }
  // False: it is no such value.
  bool read(FieldReader& in) noexcept {
    number = in.number<uint64_t>();
    position = in.number<uint64_t>();
    shared = in.number<uint8_t>() != 0;
    name = as_text(in.rest());
    return in.ok() && is_valid_object_name(name);
  }
};

}  // namespace mqttq
