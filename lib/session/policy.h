// What a host or a configuration decides about the protocol besides its bounds. Set before shards run, and only read
// then.
#pragma once

#include <cstdint>
#include <string_view>

#include "router/shared_strategy.h"
#include "session/auto_subscription.h"
#include "session/topic_rewrite.h"

namespace mqttq {

struct Policy {
  SharedStrategies shared;
  bool exclusive_subscriptions = false;  // "$exclusive/…" is understood; else it is no valid filter

  TopicRewrites rewrites;
  std::vector<AutoSubscription> auto_subscriptions;
  TextTemplate response_information;  // for clients that ask for it (MQTT5 3.2.2.3.15)

  // What the broker says of itself below `$SYS/broker`.
  uint32_t sys_interval_s = 0;  // between two looks at the figures; 0 = they are not published
  bool client_events = false;   // a message for each client that comes or goes
  std::string_view version;     // of the library; static
  int64_t unix_offset_ms = 0;   // Unix time, as the broker was made, minus the time that shards are told
  int64_t unix_ms(Instant now) const noexcept { return unix_offset_ms + now.ns / kMillisecond; }
};

}  // namespace mqttq
