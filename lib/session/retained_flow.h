// Retained messages on their way to a new subscription (MQTT5 3.3.1.3).
#pragma once

#include "base/intrusive_list.h"
#include "base/ring.h"
#include "message/message.h"

namespace mqttq {

class Session;

// What one subscription is to get: to be asked for, asked for, or come and not sent yet. Live messages that its filter
// matches wait behind it, so that what is older comes first. Owned by its shard's slab, by whose handle answers find
// it.
struct RetainedFlow : ListLink<struct FlowTag> {
  explicit RetainedFlow(Session& of) noexcept : session(of) {}
  ~RetainedFlow() { release(text); }
  RetainedFlow(const RetainedFlow&) = delete;
  RetainedFlow& operator=(const RetainedFlow&) = delete;

  Session& session;
  uint32_t subscription_serial = 0;  // it may have ended, and another of this filter have begun
  bool asked = false;
  bool restored = false;  // a broker before this one has begun with it
  bool no_local = false;
  Qos qos = Qos::AtMostOnce;  // granted
  uint16_t text_size = 0;
  uint32_t identifier = 0;   // of the subscription
  uint32_t shards_open = 0;  // that were asked and have not answered yet
  char* text = nullptr;
  Ring<MessageRef> messages;
  std::string_view topic_filter() const noexcept { return {text, text_size}; }
};

}  // namespace mqttq
