// The values of a session's tables in the store, as bits.
#pragma once

#include "router/sink.h"
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

struct StoredInflight {
  static constexpr uint8_t kQos = 3, kRetain = 4;
};

}  // namespace mqttq
