// The ring by which a broker tells and asks its host (include/mqttq/events.h), and what feeds it from the shards.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "auth/access_control.h"
#include "base/mailbox.h"
#include "broker/broker.h"
#include "mqttq/mqttq.h"

namespace mqttq::capi {

// One event with everything it points to.
struct EventBlock {
  mqttq_event event{};
  MessageRef message;
};
using EventPtr = std::unique_ptr<EventBlock, Destroy>;

// A request's address, packed into the host's mqttq_reply and back.
struct ReplyAddress {
  uint32_t shard = 0;
  SlabHandle object;
  uint32_t question = 0;
  void pack(mqttq_reply& out) const noexcept;
  static ReplyAddress unpack(const mqttq_reply& reply) noexcept;
};

// A block with the strings of `event` copied behind it; nullptr without memory. `message` may be empty.
EventPtr make_event(const mqttq_event& event, MessageRef message) noexcept;

// Borrowed from `message`; NULL if it is empty.
inline mqttq_message* handle_of(const MessageRef& message) noexcept {
  return reinterpret_cast<mqttq_message*>(const_cast<Message*>(message.get()));
}
inline mqttq_bytes bytes_of(std::string_view text) noexcept { return {text.data(), text.size()}; }
inline std::string_view text_of(mqttq_bytes bytes) noexcept {
  return {static_cast<const char*>(bytes.data), bytes.size};
}

}  // namespace mqttq::capi

struct mqttq_events {
  mqttq_events(mqttq::Broker& broker, const mqttq_events_config& config);
  ~mqttq_events();
  mqttq_events(const mqttq_events&) = delete;
  mqttq_events& operator=(const mqttq_events&) = delete;

  // Shard `shard`, on its thread. False when the ring is full; `event` is then untouched.
  bool push(uint32_t shard, mqttq::capi::EventPtr& event) noexcept;
  // As push(), for what may be lost.
  void tell(uint32_t shard, mqttq::capi::EventPtr event) noexcept;
  // Shard `shard`, on its thread. Asks for on_room() when the host next takes something; false if there is room now,
  // as the host may have taken everything before it could see the wish, and would not take again for our sake.
  bool want_room(uint32_t shard) noexcept;
  bool has_room(uint32_t shard) noexcept { return config_.mode == MQTTQ_ON_SHARD || boxes_[shard]->events.room() != 0; }

  size_t take(mqttq_event* out, size_t count) noexcept;
  int descriptor() const noexcept { return descriptor_; }
  bool is_pulled() const noexcept { return config_.mode == MQTTQ_PULL; }
  uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
  mqttq::Broker& broker() noexcept { return broker_; }

  // Called on a shard's thread when there is room again. Entered and left there.
  struct Waiter {
    virtual void on_room(mqttq::Instant now) noexcept = 0;

   protected:
    ~Waiter() = default;
  };
  void add_waiter(uint32_t shard, Waiter& waiter) { boxes_[shard]->waiters.push_back(&waiter); }
  void remove_waiter(uint32_t shard, Waiter& waiter) noexcept { std::erase(boxes_[shard]->waiters, &waiter); }

 private:
  struct Box {
    explicit Box(uint32_t capacity) : events(capacity) {}
    mqttq::Mailbox<mqttq::capi::EventPtr> events;
    uint64_t sequence = 0;  // the shard's
    std::atomic<bool> wants_room{false};
    std::vector<Waiter*> waiters;  // the shard's
  };

  void signal() noexcept;
  void make_room_known(uint32_t shard) noexcept;
  void run_worker() noexcept;

  mqttq::Broker& broker_;
  const mqttq_events_config config_;
  std::vector<std::unique_ptr<Box>> boxes_;  // by shard
  std::vector<mqttq::capi::EventPtr> taken_;
  int descriptor_ = -1;
  std::atomic<bool> signalled_{false};
  std::atomic<uint64_t> lost_{0};
  std::atomic<bool> closing_{false};
  std::thread worker_;
};
