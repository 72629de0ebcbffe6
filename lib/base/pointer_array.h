// A growable array of pointers, of which the first needs no block: most lists of subscribers have one.
#pragma once

#include <cstdint>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

// Sixteen bytes. As Array otherwise.
template <class T>
class PointerArray {
 public:
  PointerArray() noexcept = default;
  PointerArray(const PointerArray&) = delete;
  PointerArray& operator=(const PointerArray&) = delete;
  ~PointerArray() {
    if (capacity_) release(many_);
  }

  uint32_t count() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  T** begin() noexcept { return capacity_ ? many_ : &one_; }
  T** end() noexcept { return begin() + count_; }
  T* back() noexcept { return begin()[count_ - 1]; }

  // After true, the next push_back() does not fail.
  [[nodiscard]] bool make_room() noexcept {
    if (count_ < (capacity_ ? capacity_ : 1)) return true;
    const uint32_t capacity = count_ + count_ / 2 + 3;
    auto** grown = static_cast<T**>(reallocate(capacity_ ? many_ : nullptr, sizeof(T*) * capacity));
    if (!grown) return false;
    if (!capacity_) grown[0] = one_;
    many_ = grown;
    capacity_ = capacity;
    return true;
  }
  [[nodiscard]] bool push_back(T* item) noexcept {
    if (!make_room()) return false;
    begin()[count_++] = item;
    return true;
  }
  // Takes the last item's place; the order of the others changes. With the last one its block goes.
  void remove_unordered(uint32_t index) noexcept {
    MQTTQ_ASSERT(index < count_);
    begin()[index] = back();
    if (--count_ || !capacity_) return;
    release(many_);
    one_ = nullptr;
    capacity_ = 0;
  }

 private:
  union {
    T* one_ = nullptr;
    T** many_;  // while capacity_ is not 0
  };
  uint32_t count_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace mqttq
