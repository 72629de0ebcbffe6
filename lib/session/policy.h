// What a host or a configuration decides about the protocol besides its bounds. Set before shards run, and only read
// then.
#pragma once

#include <cstdint>
#include <string_view>

#include "queue/queue_options.h"
#include "router/shared_strategy.h"
#include "session/auto_subscription.h"
#include "session/topic_rewrite.h"
#include "stream/stream_options.h"

namespace mqttq {

// Of all queues.
struct QueuePolicy {
  bool auto_create = false;   // a subscription to "$queue/{name}/{filter}" or "$q/{filter}" declares what is not there
  QueueOptions auto_options;  // of those
  uint32_t count_max = 100'000;       // queues of a broker; SUBACK 0x97
  bool disconnect_on_delete = false;  // whoever consumes it: DISCONNECT 0x98; else the subscription ends without a word
};

struct StreamPolicy {
  bool auto_create = false;     // a subscription to "$stream/{name}/{filter}" or "$s/{offset}/{filter}" does the same
  StreamOptions auto_options;   // of those
  uint32_t count_max = 10'000;  // streams of a broker; SUBACK 0x97
  bool disconnect_on_delete = false;  // whoever reads it, as of a queue
};

struct Policy {
  SharedStrategies shared;
  QueuePolicy queues;
  StreamPolicy streams;
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
  int64_t unix_us(Instant now) const noexcept { return unix_offset_ms * 1000 + now.ns / kMicrosecond; }
};

}  // namespace mqttq
