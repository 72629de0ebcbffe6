// What a shard has counted since it started, and what it has now. Written by the shard, read by anybody.
#pragma once

#include <atomic>
#include <cstdint>

namespace mqttq {

// One table yields the members, and the names that hosts and pages show.
#define MQTTQ_COUNTERS(X)                                                                \
  X(connections_opened, "network connections accepted")                                  \
  X(connections_closed, "network connections ended")                                     \
  X(connections_refused, "CONNECTs answered with an error, or none in time")             \
  X(connections_moved, "connections handed to the shard of their session")               \
  X(sessions_opened, "sessions created")                                                 \
  X(sessions_ended, "sessions ended or expired")                                         \
  X(sessions_taken_over, "connections ended because their client connected again")       \
  X(protocol_errors, "connections ended because the peer broke the protocol")            \
  X(keep_alive_timeouts, "connections ended because nothing came in time")               \
  X(bytes_received, "bytes read from peers")                                             \
  X(bytes_sent, "bytes written to peers")                                                \
  X(packets_received, "packets read from peers")                                         \
  X(messages_received, "PUBLISH packets accepted")                                       \
  X(messages_sent, "PUBLISH packets sent, repeats included, but for those of $SYS")      \
  X(messages_dropped, "messages for one receiver dropped for any reason below")          \
  X(dropped_outbox_full, "dropped because a receiver's outbox was full")                 \
  X(dropped_too_large, "dropped because larger than the receiver's Maximum Packet Size") \
  X(dropped_expired, "dropped because their Message Expiry Interval had passed")         \
  X(dropped_no_memory, "dropped because memory was refused")                             \
  X(dropped_damaged, "dropped because what was kept of them is damaged or gone")         \
  X(dropped_limit, "dropped because a session, a journal or the store is over a limit")  \
  X(publishes_refused, "PUBLISH packets answered with an error")                         \
  X(subscriptions_added, "subscriptions made")                                           \
  X(subscriptions_removed, "subscriptions ended")                                        \
  X(retained_set, "retained messages stored or replaced")                                \
  X(wills_published, "Will Messages published")                                          \
  X(host_events_lost, "events a host did not take in time")                              \
  X(packets_sent, "packets sent to peers")                                               \
  X(message_bytes_received, "payload bytes of PUBLISH packets accepted")                 \
  X(message_bytes_sent, "payload bytes of PUBLISH packets sent, but for those of $SYS")  \
  X(connects_received, "CONNECT packets received")                                       \
  X(sessions_expired, "sessions ended because their expiry interval had passed")         \
  X(sys_messages_sent, "PUBLISH packets sent of what the broker itself says in $SYS")    \
  X(sys_messages_dropped, "messages of $SYS dropped, for one receiver or for all")       \
  X(retained_refused, "messages with RETAIN not kept: over a bound, or without memory")

class Counter {
 public:
  void add(uint64_t amount = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);  // one writer
  }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct Counters {
#define MQTTQ_X(name, text) Counter name;
  MQTTQ_COUNTERS(MQTTQ_X)
#undef MQTTQ_X
};

// What there is now.
class Gauge {
 public:
  void set(uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// All figures of one shard. The gauges are set once a turn.
struct ShardFigures {
  Counters counters;
  Gauge shared_subscriptions;
  Gauge retained_messages;  // without those of $SYS
  Gauge stored_messages;    // retained, or in journals
  Gauge stored_bytes;       // of topics, properties and payloads
  Gauge inflight;           // QoS 1 and 2 messages sent and not finished
  Counter sys_values_lost;  // figures of $SYS that this shard had no memory for
};

}  // namespace mqttq
