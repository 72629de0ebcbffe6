// The values of a queue's tables in the store, field by field. docs/STORE.md has the bytes.
#pragma once

#include "message/topic.h"
#include "queue/queue.h"
#include "queue/queue_address.h"
#include "store/fields.h"

namespace mqttq {

// How a queue was declared. Texts that are read are borrowed.
struct StoredQueue {
  QueueIdentity identity;
  QueueOptions options;
  std::string_view dead_letter_topic;

  void write(FieldWriter& out) const noexcept {
    out.number(uint32_t{identity.namespace_id});
    out.number(identity.id);
    out.number(static_cast<uint8_t>(options.dispatch));
    out.number(static_cast<uint8_t>(options.overflow));
    out.number(uint8_t{options.exclusive});
    out.number(static_cast<uint8_t>(identity.keyless));
    out.number(uint8_t{identity.last_value});
    out.number(options.messages_max);
    out.number(options.bytes_max);
    out.number(options.age_max_s);
    out.number(options.redelivery_delay_ms);
    out.number(options.ack_timeout_ms);
    out.number(options.deliveries_max);
    out.sized(as_bytes(identity.name));
    out.sized(as_bytes(identity.topic_filter));
    out.sized(as_bytes(dead_letter_topic));
    out.sized(as_bytes(identity.key));
  }
  // False: it is no such value.
  bool read(FieldReader& in) noexcept {
    identity.namespace_id = in.number<uint32_t>();
    identity.id = in.number<uint64_t>();
    const auto dispatch = in.number<uint8_t>(), overflow = in.number<uint8_t>();
    options.dispatch = static_cast<QueueDispatch>(dispatch);
    options.overflow = static_cast<QueueOverflow>(overflow);
    options.exclusive = in.number<uint8_t>() != 0;
    const auto keyless = in.number<uint8_t>();
    identity.keyless = static_cast<QueueKeyless>(keyless);
    identity.last_value = in.number<uint8_t>() != 0;
    options.messages_max = in.number<uint64_t>();
    options.bytes_max = in.number<uint64_t>();
    options.age_max_s = in.number<uint32_t>();
    options.redelivery_delay_ms = in.number<uint32_t>();
    options.ack_timeout_ms = in.number<uint32_t>();
    options.deliveries_max = in.number<uint32_t>();
    identity.name = as_text(in.sized());
    identity.topic_filter = as_text(in.sized());
    dead_letter_topic = as_text(in.sized());
    identity.key = as_text(in.sized());
    return in.ok() && keyless <= static_cast<uint8_t>(QueueKeyless::Reject) &&
           dispatch <= static_cast<uint8_t>(QueueDispatch::KeyOrdered) &&
           overflow <= static_cast<uint8_t>(QueueOverflow::Reject) && is_valid_queue_name(identity.name) &&
           is_valid_topic_filter(identity.topic_filter);
  }
};

// Where it stands: the first number that was not taken out of its journal, which before that are not settled, and when
// they came.
struct StoredQueuePlace {
  static void write(FieldWriter& out, const Queue& queue, uint64_t position) noexcept {
    Ring<QueueOpen>& open = queue.work->open;
    Arrivals& arrivals = queue.work->arrivals;
    out.number(position);
    uint32_t count = 0;
    for (uint32_t i = 0; i < open.count(); ++i) count += !open[i].settled;
    out.number(count);
    for (uint32_t i = 0; i < open.count(); ++i) {
      const QueueOpen& one = open[i];
      if (one.settled) continue;
      out.number(one.number);
      out.number(one.size);
      out.number(one.deliveries);
      const TextKey key = one.value ? one.value->key : TextKey();
      if (!queue.values) continue;
      out.number(key.first);
      out.number(key.second);
    }
    out.number(arrivals.count());
    for (uint32_t i = 0; i < arrivals.count(); ++i) {
      out.number(static_cast<uint64_t>(arrivals[i].at_ms));
      out.number(arrivals[i].number);
    }
  }
  // open(number, size, deliveries, key), arrival(at_ms, number): called for each. keyed: the queue's messages have
  // keys. False: it is no such value.
  template <class Open, class Arrival>
  static bool read(FieldReader& in, bool keyed, uint64_t& position, Open&& open, Arrival&& arrival) noexcept {
    position = in.number<uint64_t>();
    for (auto left = in.number<uint32_t>(); left && in.ok(); --left) {
      const auto number = in.number<uint64_t>();
      const auto size = in.number<uint32_t>();
      const auto deliveries = in.number<uint16_t>();
      TextKey key;
      if (keyed) {
        key.first = in.number<uint64_t>();
        key.second = in.number<uint64_t>();
      }
      if (in.ok()) open(number, size, deliveries, key);
    }
    for (auto left = in.number<uint32_t>(); left && in.ok(); --left) {
      const auto at_ms = static_cast<int64_t>(in.number<uint64_t>());
      const auto number = in.number<uint64_t>();
      if (in.ok()) arrival(at_ms, number);
    }
    return in.ok();
  }
};

// The newest message of a key, by its number.
struct StoredValue {
  uint64_t number = 0;
  uint32_t size = 0;

  void write(FieldWriter& out) const noexcept {
    out.number(number);
    out.number(size);
  }
  // False: it is no such value.
  bool read(FieldReader& in) noexcept {
    number = in.number<uint64_t>();
    size = in.number<uint32_t>();
    return in.ok() && in.at_end() && number != 0;
  }
};

}  // namespace mqttq
