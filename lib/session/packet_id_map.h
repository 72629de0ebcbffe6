// Values by Packet Identifier: a small open-addressed table without a block until it is used.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

// Identifiers count up, so each mostly has the place that its low bits name, and neither finding nor removing it looks
// at another. Keys 1..65535. V is moved when the table grows or an entry goes. Pointers to values live until the next
// change.
template <class V>
class PacketIdMap {
  struct Slot {
    uint16_t packet_id;  // 0 = free
    V value;
  };

 public:
  PacketIdMap() noexcept = default;
  PacketIdMap(const PacketIdMap&) = delete;
  PacketIdMap& operator=(const PacketIdMap&) = delete;
  ~PacketIdMap() { clear(); }

  uint32_t count() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }

  V* find(uint16_t packet_id) noexcept {
    if (!count_) return nullptr;
    for (uint32_t i = home(packet_id);; ++i) {
      Slot& slot = slots_[i & mask_];
      if (slot.packet_id == packet_id) return &slot.value;
      if (slot.packet_id == 0) return nullptr;
    }
  }
  // The identifier must not be there; its value is V's of `args`. nullptr when the allocator refuses.
  template <class... Args>
  V* insert(uint16_t packet_id, Args&&... args) noexcept {
    MQTTQ_ASSERT(packet_id != 0 && !find(packet_id));
    if (count_ * 2 >= capacity() && !grow()) return nullptr;
    ++count_;
    return &place(packet_id, std::forward<Args>(args)...);
  }
  bool remove(uint16_t packet_id) noexcept {
    if (!count_) return false;
    uint32_t hole = home(packet_id);
    for (; slots_[hole].packet_id != packet_id; hole = (hole + 1) & mask_) {
      if (slots_[hole].packet_id == 0) return false;
    }
    if (hole != home(packet_id)) --displaced_;
    slots_[hole].value.~V();
    slots_[hole].packet_id = 0;
    // Entries behind the hole that were pushed past it move up.
    for (uint32_t i = (hole + 1) & mask_; displaced_ && slots_[i].packet_id; i = (i + 1) & mask_) {
      const uint32_t ideal = home(slots_[i].packet_id);
      if (((i - ideal) & mask_) < ((i - hole) & mask_)) continue;
      slots_[hole].packet_id = slots_[i].packet_id;
      new (&slots_[hole].value) V(std::move(slots_[i].value));
      if (hole == ideal) --displaced_;
      slots_[i].value.~V();
      slots_[i].packet_id = 0;
      hole = i;
    }
    if (--count_ == 0 && capacity() > kKept) clear();
    return true;
  }
  // Calls visit(packet_id, V&) for each, in no order.
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    for (uint32_t i = 0; count_ && i <= mask_; ++i) {
      if (slots_[i].packet_id) visit(slots_[i].packet_id, slots_[i].value);
    }
  }
  // Ends all and gives the block back. A small one is else kept, for the next value.
  void clear() noexcept {
    for_each([](uint16_t, V& value) { value.~V(); });
    release(slots_);
    slots_ = nullptr;
    count_ = mask_ = displaced_ = 0;
  }

 private:
  uint32_t home(uint16_t packet_id) const noexcept { return packet_id & mask_; }
  uint32_t capacity() const noexcept { return slots_ ? mask_ + 1 : 0; }
  template <class... Args>
  V& place(uint16_t packet_id, Args&&... args) noexcept {
    uint32_t i = home(packet_id);
    if (slots_[i].packet_id) {
      ++displaced_;
      do i = (i + 1) & mask_;
      while (slots_[i].packet_id);
    }
    slots_[i].packet_id = packet_id;
    return *new (&slots_[i].value) V(std::forward<Args>(args)...);
  }
  bool grow() noexcept {
    const uint32_t grown = slots_ ? capacity() * 2 : 4;
    auto* slots = static_cast<Slot*>(allocate(sizeof(Slot) * grown));
    if (!slots) return false;
    for (uint32_t i = 0; i < grown; ++i) slots[i].packet_id = 0;
    Slot* old = slots_;
    const uint32_t old_capacity = capacity();
    slots_ = slots;
    mask_ = grown - 1;
    displaced_ = 0;
    for (uint32_t i = 0; i < old_capacity; ++i) {
      if (!old[i].packet_id) continue;
      place(old[i].packet_id, std::move(old[i].value));
      old[i].value.~V();
    }
    release(old);
    return true;
  }

  static constexpr uint32_t kKept = 64;  // slots

  Slot* slots_ = nullptr;
  uint32_t count_ = 0;
  uint32_t mask_ = 0;
  uint32_t displaced_ = 0;  // entries that are not where their low bits say
};

}  // namespace mqttq
