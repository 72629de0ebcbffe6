// A growable array of pointers, of which the first needs no block: most lists of subscribers have one.
#pragma once

#include <cstdint>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

// Eight bytes. As Array otherwise.
template <class T>
class PointerArray {
 public:
  PointerArray() noexcept = default;
  PointerArray(const PointerArray&) = delete;
  PointerArray& operator=(const PointerArray&) = delete;
  ~PointerArray() { release(block()); }

  uint32_t count() const noexcept { return block() ? block()->count : one_ != nullptr; }
  bool empty() const noexcept { return word_ == 0; }
  T** begin() noexcept { return block() ? block()->items() : &one_; }
  T** end() noexcept { return begin() + count(); }
  T* back() noexcept { return begin()[count() - 1]; }

  // After true, the next push_back() does not fail.
  [[nodiscard]] bool make_room() noexcept {
    Block* old = block();
    if (old ? old->count < old->capacity : !one_) return true;
    const uint32_t count = this->count(), capacity = count + count / 2 + 3;
    auto* grown = static_cast<Block*>(reallocate(old, sizeof(Block) + sizeof(T*) * capacity));
    if (!grown) return false;
    if (!old) grown->items()[0] = one_;
    grown->count = count;
    grown->capacity = capacity;
    word_ = reinterpret_cast<uintptr_t>(grown) + 1;
    return true;
  }
  [[nodiscard]] bool push_back(T* item) noexcept {
    if (!make_room()) return false;
    if (Block* many = block()) {
      many->items()[many->count++] = item;
    } else {
      one_ = item;
    }
    return true;
  }
  // Takes the last item's place; the order of the others changes. With the last one its block goes.
  void remove_unordered(uint32_t index) noexcept {
    MQTTQ_ASSERT(index < count());
    Block* many = block();
    if (many && many->count > 1) {
      many->items()[index] = many->items()[many->count - 1];
      --many->count;
    } else {
      release(many);
      one_ = nullptr;
    }
  }

 private:
  struct Block {
    uint32_t count;
    uint32_t capacity;
    T** items() noexcept { return reinterpret_cast<T**>(this + 1); }
  };
  Block* block() const noexcept { return word_ & 1 ? reinterpret_cast<Block*>(word_ - 1) : nullptr; }

  // The only item, or a block, whose lowest bit is set here.
  union {
    T* one_ = nullptr;
    uintptr_t word_;
  };
};

}  // namespace mqttq
