// All time-outs of a shard in one hierarchical wheel: arming, moving and cancelling cost a few pointer writes.
#pragma once

#include <algorithm>

#include "base/assert.h"
#include "base/clock.h"
#include "base/intrusive_list.h"

namespace mqttq {

// A thing that can be due. Its owner derives from it or holds it.
struct Timer : ListLink<struct TimerTag> {
  // Called on the shard, with the timer already disarmed; it may be armed again.
  using OnDue = void (*)(Timer& timer, Instant now) noexcept;
  int64_t due_tick : 56 = 0;
  uint64_t on_due_index : 8 = 0;  // the wheel's

  bool armed() const noexcept { return linked(); }
  void cancel() noexcept { unlink(); }
};
static_assert(sizeof(Timer) == 24);

// Four levels of 64 slots, 16 ms a tick: the top level reaches 74 hours, and what lies beyond is put there again each
// time it comes round. A timer never fires early, and at most two ticks late.
class TimerWheel {
 public:
  explicit TimerWheel(Instant now) noexcept : now_tick_(tick(now)) {}

  // Arms or moves `timer`. on_due: one of at most 16 functions in the wheel's life, so that a timer need not hold it.
  void arm(Timer& timer, Instant due, Timer::OnDue on_due) noexcept {
    timer.unlink();
    timer.due_tick = std::max(tick(due), now_tick_) + 1;
    timer.on_due_index = index_of(on_due);
    place(timer);
  }

  // Calls what is due by `now`.
  void advance(Instant now) noexcept {
    const int64_t until = tick(now);
    while (now_tick_ < until) {
      ++now_tick_;
      cascade();
      IntrusiveList<Timer, TimerTag> due;
      due.splice_back(slots_[0][now_tick_ & kSlotMask]);
      while (Timer* timer = due.pop_front()) on_due_[timer->on_due_index](*timer, now);
    }
  }

  // Nanoseconds from `now` to the next moment at which advance() may have something to do; at most one second.
  int64_t idle_ns(Instant now) noexcept {
    for (int64_t ahead = 1; ahead <= kSlotMask; ++ahead) {
      const int64_t at = now_tick_ + ahead;
      if (!slots_[0][at & kSlotMask].empty() || (at & kSlotMask) == 0) {
        const int64_t wait = at * kTick - now.ns;
        return wait < 0 ? 0 : wait;
      }
    }
    return kSlotMask * kTick;
  }

 private:
  static constexpr int64_t kTick = 16 * kMillisecond;
  static constexpr int kLevels = 4, kSlotBits = 6;
  static constexpr int64_t kSlotMask = (1 << kSlotBits) - 1;

  static int64_t tick(Instant at) noexcept { return at.ns / kTick; }

  uint32_t index_of(Timer::OnDue on_due) noexcept {
    uint32_t index = 0;
    while (on_due_[index] && on_due_[index] != on_due) ++index;
    MQTTQ_ASSERT(index < kOnDueMax);
    on_due_[index] = on_due;
    return index;
  }

  void place(Timer& timer) noexcept {
    const int64_t ahead = timer.due_tick - now_tick_;
    for (int level = 0; level < kLevels; ++level) {
      if (ahead >> (kSlotBits * (level + 1)) == 0) {
        slots_[level][(timer.due_tick >> (kSlotBits * level)) & kSlotMask].push_back(timer);
        return;
      }
    }
    // Beyond the wheel: the slot of the top level that comes last.
    slots_[kLevels - 1][((now_tick_ >> (kSlotBits * (kLevels - 1))) - 1) & kSlotMask].push_back(timer);
  }
  // When a level has come round, the next slot of the level above is dealt out below.
  void cascade() noexcept {
    for (int level = 1; level < kLevels; ++level) {
      if ((now_tick_ >> (kSlotBits * (level - 1))) & kSlotMask) return;
      IntrusiveList<Timer, TimerTag> dealt;
      dealt.splice_back(slots_[level][(now_tick_ >> (kSlotBits * level)) & kSlotMask]);
      while (Timer* timer = dealt.pop_front()) place(*timer);
    }
  }

  IntrusiveList<Timer, TimerTag> slots_[kLevels][kSlotMask + 1];
  int64_t now_tick_;
  static constexpr uint32_t kOnDueMax = 16;
  Timer::OnDue on_due_[kOnDueMax] = {};
};

}  // namespace mqttq
