// A bounded queue from one thread to one other, without locks: how shards talk.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fence.h"

namespace mqttq {

// Single producer, single consumer. Capacity is fixed at the start, any number from 1. The producer learns that it is
// full from push(), and never waits; the consumer learns that the producer has more from take_room_wanted().
template <class T>
class Mailbox {
 public:
  // Throws std::bad_alloc: mailboxes are made before a shard runs.
  explicit Mailbox(uint32_t capacity) : capacity_(capacity), slots_(static_cast<T*>(allocate(sizeof(T) * capacity))) {
    if (!slots_) throw std::bad_alloc();
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() {
    while (front()) pop();
    release(slots_);
  }

  // Producer only. False when full; `item` is then untouched.
  bool push(T&& item) noexcept {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_seen_ >= capacity_ && !look_for_room(head)) return false;
    new (&slots_[head % capacity_]) T(std::move(item));
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  // Producer only: how many more push() takes now, at least.
  uint32_t room() noexcept {
    tail_seen_ = tail_.load(std::memory_order_acquire);
    return capacity_ - static_cast<uint32_t>(head_.load(std::memory_order_relaxed) - tail_seen_);
  }

  // Consumer only. The oldest item, which stays, or nullptr when empty.
  T* front() noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_seen_) {
      head_seen_ = head_.load(std::memory_order_acquire);
      if (tail == head_seen_) return nullptr;
    }
    return &slots_[tail % capacity_];
  }
  // Consumer only. Ends what front() gave.
  void pop() noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    slots_[tail % capacity_].~T();
    tail_.store(tail + 1, std::memory_order_release);
  }
  // Consumer only, after pop(): true if the producer was refused since the last time, and is to be told of the room.
  bool take_room_wanted() noexcept {
    full_fence();  // pop() is seen by a producer that asks later
    return room_wanted_.load(std::memory_order_relaxed) && room_wanted_.exchange(false, std::memory_order_seq_cst);
  }
  // Consumer only: how many were popped since the start.
  uint64_t popped() const noexcept { return tail_.load(std::memory_order_relaxed); }
  // Any thread: how many were pushed since the start.
  uint64_t pushed() const noexcept { return head_.load(std::memory_order_seq_cst); }
  // Any thread.
  bool empty() const noexcept { return tail_.load(std::memory_order_relaxed) == head_.load(std::memory_order_acquire); }

 private:
  // Looks again, and says that it wants to know, before it believes that it is full.
  bool look_for_room(uint64_t head) noexcept {
    tail_seen_ = tail_.load(std::memory_order_acquire);
    if (head - tail_seen_ < capacity_) return true;
    room_wanted_.store(true, std::memory_order_seq_cst);
    full_fence();
    tail_seen_ = tail_.load(std::memory_order_acquire);
    return head - tail_seen_ < capacity_;
  }

  const uint32_t capacity_;
  T* const slots_;
  alignas(64) std::atomic<uint64_t> head_{0};
  uint64_t tail_seen_ = 0;  // the producer's last look at tail_
  alignas(64) std::atomic<uint64_t> tail_{0};
  uint64_t head_seen_ = 0;  // the consumer's last look at head_
  alignas(64) std::atomic<bool> room_wanted_{false};
};

}  // namespace mqttq
