// Objects of one size from blocks of many, bounded, each with a handle that goes stale when the object ends.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/array.h"

namespace mqttq {

// Names an object of a slab from afar (another shard, a host). Never names the next object in the same place.
struct SlabHandle {
  uint32_t index = 0;
  uint32_t generation = 0;  // 0 names nothing
  bool operator==(const SlabHandle&) const = default;
};

// Owned by one thread. Blocks are kept until the slab ends. Objects still alive then are the owner's mistake.
template <class T>
class Slab {
  static constexpr uint32_t kBlock = sizeof(T) >= 1024 ? 16 : 64;  // objects per block
  struct Slot {
    uint32_t index;
    uint32_t generation;  // odd while alive
    union {
      uint32_t next_free;
      alignas(T) std::byte storage[sizeof(T)];
    };
  };

 public:
  // count_max: objects alive at once; in all slabs that share `shared_count` together, if there is one (borrowed).
  explicit Slab(uint32_t count_max, std::atomic<uint32_t>* shared_count = nullptr) noexcept
      : shared_count_(shared_count), count_max_(count_max) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    MQTTQ_ASSERT(count_ == 0);
    for (Slot* block : blocks_) release(block);
  }

  uint32_t count() const noexcept { return count_; }
  uint32_t count_max() const noexcept { return count_max_; }

  // nullptr at count_max, or when the allocator refuses.
  template <class... Args>
  T* take(Args&&... args) noexcept {
    if (count_ == count_max_ || (shared_count_ && !count_in())) return nullptr;
    if (first_free_ == kNone && !grow()) {
      if (shared_count_) shared_count_->fetch_sub(1, std::memory_order_relaxed);
      return nullptr;
    }
    Slot& taken = slot(first_free_);
    first_free_ = taken.next_free;
    ++taken.generation;
    ++count_;
    return new (taken.storage) T(std::forward<Args>(args)...);
  }
  void give_back(T& object) noexcept {
    object.~T();
    Slot& given = slot_of(object);
    ++given.generation;
    given.next_free = first_free_;
    first_free_ = given.index;
    --count_;
    if (shared_count_) shared_count_->fetch_sub(1, std::memory_order_relaxed);
  }
  static SlabHandle handle(const T& object) noexcept {
    const Slot& of = slot_of(const_cast<T&>(object));
    return {of.index, of.generation};
  }
  // nullptr if it has ended.
  T* find(SlabHandle handle) noexcept {
    if (handle.generation % 2 == 0 || handle.index >= index_end()) return nullptr;
    Slot& found = slot(handle.index);
    return found.generation == handle.generation ? object(found) : nullptr;
  }
  // The object at `index`, or nullptr; index_end() is behind the last. For walking all of them in slices.
  T* at(uint32_t index) noexcept {
    Slot& found = slot(index);
    return found.generation % 2 ? object(found) : nullptr;
  }
  uint32_t index_end() const noexcept { return blocks_.count() * kBlock; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  Slot& slot(uint32_t index) noexcept { return blocks_[index / kBlock][index % kBlock]; }
  static T* object(Slot& of) noexcept { return std::launder(reinterpret_cast<T*>(of.storage)); }
  static Slot& slot_of(T& object) noexcept {
    return *reinterpret_cast<Slot*>(reinterpret_cast<std::byte*>(&object) - offsetof(Slot, storage));
  }
  bool count_in() noexcept {
    if (shared_count_->fetch_add(1, std::memory_order_relaxed) < count_max_) return true;
    shared_count_->fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  bool grow() noexcept {
    auto* block = static_cast<Slot*>(allocate(sizeof(Slot) * kBlock));
    if (!block) return false;
    const uint32_t first = index_end();
    if (!blocks_.push_back(block)) {
      release(block);
      return false;
    }
    for (uint32_t i = 0; i < kBlock; ++i) {
      block[i].index = first + i;
      block[i].generation = 0;
      block[i].next_free = i + 1 < kBlock ? first + i + 1 : first_free_;
    }
    first_free_ = first;
    return true;
  }

  Array<Slot*> blocks_;
  std::atomic<uint32_t>* const shared_count_;
  uint32_t first_free_ = kNone;
  uint32_t count_ = 0;
  const uint32_t count_max_;
};

}  // namespace mqttq
