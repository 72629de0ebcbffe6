// Messages published to `$delayed/<seconds>/<topic>` that wait for their time. They live with the publisher's home.
//
// They leave in the order of their times, and those of one time in the order in which they came: so what one client
// delays by the same stretch stays in order [MQTT-4.6.0-6].
#pragma once

#include "base/array.h"
#include "base/index_heap.h"
#include "base/slab.h"
#include "base/status.h"
#include "base/timer_wheel.h"
#include "message/message.h"
#include "message/topic.h"
#include "session/limits.h"

namespace mqttq {

// Of a delay that is one, and not a Unix time.
inline constexpr uint32_t kDelayMax_s = 42'949'669;

// How long what was published to `topic` has to wait; from kDelayMax_s on its seconds are a Unix time, and one that has
// passed is now. Two that name the same time end at the same instant. -1: longer than `longest_s`.
// unix_offset_ms: Unix time minus the time of `now`.
int64_t delay_ns(const DelayedTopic& topic, uint32_t longest_s, Instant now, int64_t unix_offset_ms) noexcept;

// How much all shards of a broker hold together.
struct DelayedTotals {
  std::atomic<uint32_t> messages{0};
  std::atomic<uint64_t> bytes{0};  // of topics, properties, payloads and client ids
  bool full(const Limits& limits) const noexcept;
};

struct DelayedMessage {
  MessageRef message;  // its expiry counts from `due` on
  Instant due{};
  uint64_t serial = 0;         // grows from one to the next
  uint32_t place = kInNoHeap;  // in the heap
  Array<char> client_id;       // the publisher's; empty: the host
};

class DelayedMessages {
 public:
  static constexpr uint32_t kCountMax = 1u << 26;  // so that an id fits 64 bits

  // What is done with them.
  class Taker {
   public:
    // Called for each message that is due, in their order; false: it cannot be taken now.
    virtual bool publish_delayed(const MessageRef& message, Instant now) noexcept = 0;
    // It was published, or cancelled.
    virtual void on_delayed_ended(uint64_t serial) noexcept = 0;

   protected:
    ~Taker() = default;
  };
  // Borrows all of them.
  DelayedMessages(const Limits& limits, DelayedTotals& totals, TimerWheel& timers, Taker& taker) noexcept;
  ~DelayedMessages();

  // Errors: Full, NoMemory. Nothing changes on error.
  Status add(MovingMessage& message, std::string_view client_id, Instant due, uint64_t serial) noexcept;
  // False if there is no such message in this namespace.
  bool cancel(NamespaceId namespace_id, SlabHandle handle) noexcept;
  // Publishes what is due, so many at most as one turn has time for. True if there is more to do at once.
  bool run(Instant now) noexcept;
  void clear() noexcept;

  // For walking all of them in slices, as in Slab.
  DelayedMessage* at(uint32_t index) noexcept { return slab_.at(index); }
  uint32_t index_end() const noexcept { return slab_.index_end(); }
  uint32_t count() const noexcept { return slab_.count(); }
  static SlabHandle handle(const DelayedMessage& one) noexcept { return Slab<DelayedMessage>::handle(one); }

 private:
  struct Alarm : Timer {
    DelayedMessages* of = nullptr;
  };
  static uint64_t size_of(const DelayedMessage& one) noexcept;
  static bool before(const DelayedMessage& one, const DelayedMessage& other) noexcept;
  void remove(DelayedMessage& one) noexcept;
  void arm() noexcept;

  const Limits& limits_;
  DelayedTotals& totals_;
  TimerWheel& timers_;
  Taker& taker_;
  Slab<DelayedMessage> slab_;
  IndexHeap<DelayedMessage, &DelayedMessage::place, before> heap_;
  Alarm alarm_;  // armed for the first; when it rings, run() is due
  bool due_ = false;
};

}  // namespace mqttq
