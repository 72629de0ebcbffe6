// The values of a session's tables in the store, as bits.
#pragma once

#include "router/sink.h"
#include "session/inflight.h"
#include "store/stored_message.h"

namespace mqttq {

struct StoredSubscription {
  static constexpr uint8_t kQos = 3, kNoLocal = 4, kRetainAsPublished = 8, kExclusive = 16;

  static uint8_t flags_of(const Subscription& subscription) noexcept {
    return static_cast<uint8_t>(static_cast<uint8_t>(subscription.qos) | (subscription.no_local ? kNoLocal : 0) |
                                (subscription.retain_as_published ? kRetainAsPublished : 0) |
                                (subscription.exclusive ? kExclusive : 0));
  }
  static void set_flags(Subscription& subscription, uint8_t flags) noexcept {
    subscription.qos = static_cast<Qos>(std::min(flags & kQos, 2));
    subscription.no_local = flags & kNoLocal;
    subscription.retain_as_published = flags & kRetainAsPublished;
    subscription.exclusive = flags & kExclusive;
  }
};

// A message on its way to a client: by its number in the log, or, where it has none, with all that it holds.
struct StoredInflight {
  static constexpr uint8_t kQos = 3, kRetain = 4;

  static void write(FieldWriter& out, const InflightEntry& entry, int64_t unix_offset_ms) noexcept {
    out.number(entry.number);
    out.number(entry.order);
    out.number(static_cast<uint8_t>(entry.state));
    out.number(static_cast<uint8_t>(static_cast<uint8_t>(entry.qos) | (entry.retain ? kRetain : 0)));
    out.number(static_cast<uint32_t>(entry.identifiers.span().size()));
    for (const uint32_t identifier : entry.identifiers.span()) out.number(identifier);
    if (entry.number == 0 && entry.message) write_message(out, entry.message->view(), unix_offset_ms);
  }
  // The message is left out. False: it is no such value, or there is no memory.
  static bool read(FieldReader& in, InflightEntry& entry) noexcept {
    entry.number = in.number<uint64_t>();
    entry.order = in.number<uint32_t>();
    const auto state = in.number<uint8_t>(), flags = in.number<uint8_t>();
    entry.state = static_cast<InflightEntry::State>(std::min<uint8_t>(state, 2));
    entry.qos = (flags & kQos) == 1 ? Qos::AtLeastOnce : Qos::ExactlyOnce;
    entry.retain = flags & kRetain;
    Array<uint32_t> identifiers;
    bool memory = true;
    for (auto left = in.number<uint32_t>(); left && in.ok(); --left) {
      memory = memory && identifiers.push_back(in.number<uint32_t>());
    }
    return in.ok() && state <= 2 && memory && entry.identifiers.set(identifiers.span());
  }
};

}  // namespace mqttq
