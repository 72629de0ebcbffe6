// One publishing client with its window: what it has sent, what was delivered of it, what was acknowledged.
#pragma once

#include <cstdint>
#include <vector>

#include "load/loop.h"

namespace mqttq::bench {

class Publisher {
 public:
  // topics: sent in turn; not empty. window: messages in flight, at least 1. delivery_count: how often each message
  // must arrive before it leaves the window; 0 = only its acknowledgement counts (QoS 1 and 2).
  Publisher(Loop& loop, Client& client, uint8_t qos, std::vector<PublishTemplate> topics, uint32_t window,
            uint32_t delivery_count);

  // Room for one more message, in the window, among the packet identifiers and in the client's output buffer.
  bool has_room() const;

  // Queues the next message. has_room() must hold.
  void send(uint64_t time_ns);

  // A subscriber got message `sequence` once. Throws Failure when it was never sent or came more often than it may.
  void settle(uint32_t sequence);

  // Gives up on everything in the window. Returns how many deliveries are missing.
  uint64_t abandon();

  // PUBACK or PUBCOMP; returns the time_ns that the message was sent with. Throws Failure when no such message is in
  // flight.
  uint64_t on_acknowledged(uint16_t packet_id);

  // Messages sent and not yet delivered or not yet acknowledged, whichever are more.
  uint32_t in_flight_count() const;
  uint32_t sent_count() const { return next_; }
  uint32_t window() const { return window_; }
  Client& client() { return *client_; }

  // The window that keeps a socket busy without making any broker drop or hoard: 256 KiB of packets of `packet_size`
  // for each of up to ten publishers, and no more than those ten have together for many.
  static uint32_t flat_out_window(size_t packet_size, size_t publisher_count);

 private:
  static constexpr uint64_t kFree = UINT64_MAX;

  Loop* loop_;
  Client* client_;
  uint8_t qos_;
  std::vector<PublishTemplate> topics_;
  uint32_t topic_index_ = 0;
  uint32_t window_;
  uint32_t delivery_count_;
  uint32_t next_ = 0;              // sequence of the next message
  uint32_t base_ = 0;              // oldest message not delivered everywhere; base_ == next_ when there is none
  std::vector<uint32_t> missing_;  // deliveries still to come, by sequence modulo a power of two
  std::vector<uint16_t> free_ids_;
  std::vector<uint64_t> id_times_;  // by packet identifier: time_ns of what it stands for; kFree while for nothing
};

}  // namespace mqttq::bench
