// A growable array that answers false instead of throwing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

// Sixteen bytes while empty, no block. T must be trivially copyable, so that growing is a realloc.
template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() noexcept = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  Array(Array&& other) noexcept : items_(other.items_), count_(other.count_), capacity_(other.capacity_) {
    other.items_ = nullptr;
    other.count_ = other.capacity_ = 0;
  }
  Array& operator=(Array&& other) noexcept {
    if (this != &other) {
      this->~Array();
      new (this) Array(std::move(other));
    }
    return *this;
  }
  ~Array() { release(items_); }

  uint32_t count() const noexcept { return count_; }
  uint32_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return count_ == 0; }
  T* begin() noexcept { return items_; }
  T* end() noexcept { return items_ + count_; }
  const T* begin() const noexcept { return items_; }
  const T* end() const noexcept { return items_ + count_; }
  T& operator[](uint32_t index) noexcept {
    MQTTQ_ASSERT(index < count_);
    return items_[index];
  }
  const T& operator[](uint32_t index) const noexcept {
    MQTTQ_ASSERT(index < count_);
    return items_[index];
  }
  T& back() noexcept { return (*this)[count_ - 1]; }
  std::span<const T> span() const noexcept { return {items_, count_}; }

  // False when the allocator refuses; the array is then as it was.
  [[nodiscard]] bool push_back(const T& item) noexcept {
    if (!make_room()) return false;
    items_[count_++] = item;
    return true;
  }
  // After true, the next push_back() does not fail.
  [[nodiscard]] bool make_room() noexcept {
    return count_ < capacity_ || reserve(capacity_ ? capacity_ + capacity_ / 2 + 1 : 2);
  }
  [[nodiscard]] bool append(std::span<const T> items) noexcept {
    if (items.empty()) return true;
    const auto needed = count_ + static_cast<uint32_t>(items.size());
    if (needed > capacity_ && !reserve(needed)) return false;
    std::memcpy(static_cast<void*>(items_ + count_), items.data(), items.size_bytes());
    count_ = needed;
    return true;
  }
  [[nodiscard]] bool reserve(uint32_t capacity) noexcept {
    if (capacity <= capacity_) return true;
    void* grown = reallocate(items_, sizeof(T) * capacity);
    if (!grown) return false;
    items_ = static_cast<T*>(grown);
    capacity_ = capacity;
    return true;
  }
  void pop_back() noexcept { --count_; }
  // What lies below `count` has been written by other means; there is room.
  void set_count(uint32_t count) noexcept {
    MQTTQ_ASSERT(count <= capacity_);
    count_ = count;
  }
  // Forgets all from `count` on.
  void truncate(uint32_t count) noexcept {
    if (count < count_) count_ = count;
  }
  // Takes the last item's place; the order of the others changes.
  void remove_unordered(uint32_t index) noexcept {
    items_[index] = items_[count_ - 1];
    --count_;
  }
  // The same of this item, which is there once.
  void remove_unordered_item(const T& item) noexcept {
    remove_unordered(static_cast<uint32_t>(std::find(begin(), end(), item) - begin()));
  }
  void clear() noexcept { count_ = 0; }
  // Forgets the first `count` items; the rest move down.
  void remove_front(uint32_t count) noexcept {
    count_ -= count;
    if (count_) std::memmove(static_cast<void*>(items_), items_ + count, sizeof(T) * count_);
  }
  // Gives the block back.
  void reset() noexcept {
    release(items_);
    items_ = nullptr;
    count_ = capacity_ = 0;
  }

 private:
  T* items_ = nullptr;
  uint32_t count_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace mqttq
