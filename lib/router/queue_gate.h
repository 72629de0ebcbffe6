// How much one queue or stream holds, and how much it may hold.
//
// It is judged where messages get their numbers, by the committer, and told by the queue's home what has left. So a
// queue that refuses never holds more than it may, and no publisher has to wait for an answer of its home.
#pragma once

#include <atomic>
#include <cstdint>

#include "message/message.h"

namespace mqttq {

// What becomes of a message that does not fit.
// X(name, word)
#define MQTTQ_QUEUE_OVERFLOWS(X)                                 \
  X(DropOldest, "drop_oldest") /* the oldest makes way for it */ \
  X(DropNewest, "drop_newest") /* the queue does without it */   \
  X(Reject, "reject")          /* the same, and its publisher is told */

enum class QueueOverflow : uint8_t {
#define MQTTQ_X(name, word) name,
  MQTTQ_QUEUE_OVERFLOWS(MQTTQ_X)
#undef MQTTQ_X
};

class QueueGate {
 public:
  QueueGate() noexcept = default;
  QueueGate(const QueueGate&) = delete;
  QueueGate& operator=(const QueueGate&) = delete;
  ~QueueGate() {
    if (judge_) judge_->end(*judge_);
  }

  // Whether a message is for it at all, whatever room there is. Called by the committer; ended with the gate.
  struct Judge {
    bool (*takes)(const Judge& self, const Message& message) noexcept;
    void (*end)(Judge& self) noexcept;
    bool tells;  // the publisher of one that is not is told
  };
  // Before there is a message. judge: owned from now on.
  void set_judge(Judge* judge) noexcept { judge_ = judge; }
  // nullptr: every message is.
  const Judge* judge() const noexcept { return judge_; }
  void count_unfit() noexcept { unfit_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t unfit_count() const noexcept { return unfit_.load(std::memory_order_relaxed); }

  // A stream's: what it takes has a time and a position. Before there is a message.
  void set_stream() noexcept { stream_ = true; }
  bool of_stream() const noexcept { return stream_; }
  // Of the message that it takes next, and the newest time of those that it took. Touched by the committer alone, and
  // before the broker runs.
  struct StreamEnd {
    uint64_t position = 0;
    int64_t us = 0;
  };
  StreamEnd& stream_end() noexcept { return stream_end_; }

  // UINT64_MAX: no limit. Thread: its home's.
  void set_limits(uint64_t messages_max, uint64_t bytes_max, QueueOverflow overflow) noexcept {
    messages_max_.store(messages_max, std::memory_order_relaxed);
    bytes_max_.store(bytes_max, std::memory_order_relaxed);
    overflow_.store(overflow, std::memory_order_relaxed);
  }
  QueueOverflow overflow() const noexcept { return overflow_.load(std::memory_order_relaxed); }

  // A message of so many content bytes would make all others go, and itself.
  bool too_large(uint32_t size) const noexcept { return size > bytes_max_.load(std::memory_order_relaxed); }
  // One is on its way to it. False: it is not to be. Thread: the committer's.
  [[nodiscard]] bool enter(uint32_t size) noexcept {
    if (too_large(size) || (overflow() != QueueOverflow::DropOldest && !has_room(size))) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    add(size);
    return true;
  }
  // One that is in it. Before the broker runs.
  void add(uint32_t size) noexcept {
    messages_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(size, std::memory_order_relaxed);
  }
  // Any thread.
  void leave(uint64_t count, uint64_t bytes) noexcept {
    messages_.fetch_sub(count, std::memory_order_relaxed);
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  // Of these some may still be on their way. Any thread.
  uint64_t messages() const noexcept { return messages_.load(std::memory_order_relaxed); }
  uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  // That did not fit, and were told so or not. Any thread.
  uint64_t refused_count() const noexcept { return refused_.load(std::memory_order_relaxed); }

 private:
  bool has_room(uint32_t size) const noexcept {
    return messages() < messages_max_.load(std::memory_order_relaxed) &&
           bytes() + size <= bytes_max_.load(std::memory_order_relaxed);
  }

  std::atomic<uint64_t> messages_{0}, bytes_{0}, refused_{0}, unfit_{0};
  std::atomic<uint64_t> messages_max_{UINT64_MAX}, bytes_max_{UINT64_MAX};
  std::atomic<QueueOverflow> overflow_{QueueOverflow::DropOldest};
  Judge* judge_ = nullptr;
  bool stream_ = false;
  StreamEnd stream_end_;
};

}  // namespace mqttq
