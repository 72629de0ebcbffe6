// What a shard publishes in the broker's own name, below `$SYS/broker`: its clients that come and go, and on the first
// shard, every interval, the figures of all shards together.
#pragma once

#include <memory>

#include "base/timer_wheel.h"
#include "session/client_event.h"
#include "session/sys_topics.h"

namespace mqttq {

class Connection;
class Session;
class ShardCore;

// Owned by one shard and touched only there.
class SysPublisher final : private Timer {
 public:
  // Throws std::bad_alloc.
  SysPublisher(ShardCore& shard, Instant now);
  ~SysPublisher() { cancel(); }
  SysPublisher(const SysPublisher&) = delete;
  SysPublisher& operator=(const SysPublisher&) = delete;

  void on_connected(const Connection& connection, Instant now) noexcept;
  void on_disconnected(const Connection& connection, const Session& session, std::string_view reason,
                       ReasonCode reason_code, Instant now) noexcept;

  // The alarm of the store is another: it is said at once. On the first shard.
  void on_alarm(Instant now) noexcept;

  // A message of these has been handed to everybody, or could not be.
  void on_handed_over(const Message& message, bool failed) noexcept;

 private:
  static void on_timer(Timer& timer, Instant now) noexcept;
  void publish_figures(Instant now) noexcept;
  SysFigures gather() const noexcept;
  bool tells_of(const Connection& connection) const noexcept;
  ClientEvent event_of(const Connection& connection, const Session& session) const noexcept;
  void publish_event(const ClientEvent& event, Instant now) noexcept;

  ShardCore& shard_;
  std::unique_ptr<SysTopics> topics_;  // on the first shard, when figures are published
  Instant due_;                        // the next look at them
  bool alarm_waits_ = false;           // until those that are open are not any more
  uint32_t figures_open_ = 0;          // not handed to everybody yet
  uint32_t events_open_ = 0;
  uint64_t events_open_bytes_ = 0;
};

}  // namespace mqttq
