// A first-in first-out ring that grows up to what memory gives; its owner knows the bound.
#pragma once

#include <cstdint>
#include <utility>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

// No block while it was never used or was reset. T is moved, not copied.
template <class T>
class Ring {
 public:
  Ring() noexcept = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { reset(); }

  uint32_t count() const noexcept { return count_; }
  uint32_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return count_ == 0; }
  T& front() noexcept { return (*this)[0]; }
  T& back() noexcept { return (*this)[count_ - 1]; }
  T& operator[](uint32_t index) noexcept {
    MQTTQ_ASSERT(index < count_);
    return items_[(first_ + index) & (capacity_ - 1)];
  }

  // False when the allocator refuses; nothing changed then, and `item` is untouched.
  [[nodiscard]] bool push_back(T&& item) noexcept {
    if (!make_room()) return false;
    new (&items_[(first_ + count_) & (capacity_ - 1)]) T(std::move(item));
    ++count_;
    return true;
  }
  // After true, the next push_back() does not fail.
  [[nodiscard]] bool make_room() noexcept { return count_ < capacity_ || grow(); }
  T pop_front() noexcept {
    MQTTQ_ASSERT(count_ > 0);
    T& slot = items_[first_ & (capacity_ - 1)];
    T item = std::move(slot);
    slot.~T();
    ++first_;
    --count_;
    return item;
  }
  // Ends all items and gives the block back.
  void reset() noexcept {
    while (count_) pop_front();
    release(items_);
    items_ = nullptr;
    first_ = capacity_ = 0;
  }

 private:
  bool grow() noexcept {
    const uint32_t capacity = capacity_ ? capacity_ * 2 : 4;
    auto* grown = static_cast<T*>(allocate(sizeof(T) * capacity));
    if (!grown) return false;
    for (uint32_t i = 0; i < count_; ++i) {
      T& from = (*this)[i];
      new (&grown[i]) T(std::move(from));
      from.~T();
    }
    release(items_);
    items_ = grown;
    first_ = 0;
    capacity_ = capacity;
    return true;
  }

  T* items_ = nullptr;
  uint32_t first_ = 0;  // counts up; masked on use
  uint32_t count_ = 0;
  uint32_t capacity_ = 0;  // a power of two, or 0
};

}  // namespace mqttq
