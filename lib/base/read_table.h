// A hash table of pointers that any number of threads read without locks while one writes.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/epoch.h"

namespace mqttq {

// Open addressing, linear probing; a table of one item is that item, and no block. T has `uint64_t hash`. Writers are
// serialised by the owner and hand in the Epoch by which an outgrown array is ended; readers are online in it. Items
// are borrowed: who removes one retires it.
template <class T>
class ReadTable {
 public:
  ReadTable() noexcept = default;
  ReadTable(const ReadTable&) = delete;
  ReadTable& operator=(const ReadTable&) = delete;
  ~ReadTable() { release(root(std::memory_order_relaxed).slots); }

  // Any thread that is online. The item with this hash for which `is_it(const T&)` holds, or nullptr.
  template <class Predicate>
  T* find(uint64_t hash, Predicate&& is_it) const noexcept {
    const auto [only, slots] = root(std::memory_order_acquire);
    if (only) return only->hash == hash && is_it(static_cast<const T&>(*only)) ? only : nullptr;
    if (!slots) return nullptr;
    for (uint64_t i = hash;; ++i) {
      T* item = slots->at(i).load(std::memory_order_acquire);
      if (!item) return nullptr;
      if (item != removed() && item->hash == hash && is_it(static_cast<const T&>(*item))) return item;
    }
  }

  // Writer. False when the allocator refuses.
  [[nodiscard]] bool insert(T& item, Epoch& epoch) noexcept {
    auto [only, slots] = root(std::memory_order_relaxed);
    if (!only && !slots) {
      set_root(&item);
      return true;
    }
    if ((!slots || (slots->used + 1) * 4 > slots->capacity * 3) && !(slots = rebuild(epoch))) return false;
    place(*slots, item);
    ++slots->live;
    return true;
  }
  // Writer. The item must be in the table.
  void remove(T& item, Epoch& epoch) noexcept {
    const auto [only, slots] = root(std::memory_order_relaxed);
    if (only) {
      set_root(static_cast<T*>(nullptr));
      return;
    }
    uint64_t i = item.hash;
    while (slots->at(i).load(std::memory_order_relaxed) != &item) ++i;
    slots->at(i).store(removed(), std::memory_order_release);
    if (--slots->live > 1) return;
    T* left = nullptr;
    for (uint32_t at = 0; at < slots->capacity; ++at) {
      T* one = slots->at(at).load(std::memory_order_relaxed);
      if (one && one != removed()) left = one;
    }
    set_root(left);
    epoch.retire(*slots);
  }
  // Writer.
  uint32_t count() const noexcept {
    const auto [only, slots] = root(std::memory_order_relaxed);
    return only ? 1 : slots ? slots->live : 0;
  }
  // Writer. Calls visit(T&) for each.
  template <class Visit>
  void for_each(Visit&& visit) const noexcept {
    const auto [only, slots] = root(std::memory_order_relaxed);
    if (only) visit(*only);
    for (uint32_t i = 0; slots && i < slots->capacity; ++i) {
      T* item = slots->at(i).load(std::memory_order_relaxed);
      if (item && item != removed()) visit(*item);
    }
  }

 private:
  struct Slots : Epoch::Retired {
    uint32_t capacity;  // a power of two
    uint32_t used;      // live and removed
    uint32_t live;
    std::atomic<T*>* items() noexcept { return reinterpret_cast<std::atomic<T*>*>(this + 1); }
    std::atomic<T*>& at(uint64_t index) const noexcept {
      return const_cast<Slots*>(this)->items()[index & (capacity - 1)];
    }
  };
  // Stands where an item was, so that probing goes on behind it.
  static T* removed() noexcept { return reinterpret_cast<T*>(alignof(T)); }

  static void place(Slots& slots, T& item) noexcept {
    uint64_t i = item.hash;
    while (slots.at(i).load(std::memory_order_relaxed)) ++i;
    slots.at(i).store(&item, std::memory_order_release);
    ++slots.used;
  }
  Slots* rebuild(Epoch& epoch) noexcept {
    Slots* old = root(std::memory_order_relaxed).slots;
    uint32_t capacity = 4;
    while ((count() + 1) * 8 > capacity * 4) capacity *= 2;
    void* block = allocate(sizeof(Slots) + sizeof(std::atomic<T*>) * capacity);
    if (!block) return nullptr;
    auto* grown = new (block) Slots();
    grown->capacity = capacity;
    grown->used = grown->live = 0;
    for (uint32_t i = 0; i < capacity; ++i) new (&grown->items()[i]) std::atomic<T*>(nullptr);
    for_each([&](T& item) {
      place(*grown, item);
      ++grown->live;
    });
    set_root(grown);
    if (old) epoch.retire(*old);
    return grown;
  }

  // Two kinds of pointer in one word, told apart by its lowest bit, which is set for an item that is the only one.
  struct Root {
    T* only;
    Slots* slots;
  };
  Root root(std::memory_order order) const noexcept {
    const uintptr_t word = root_.load(order);
    if (word & 1) return {reinterpret_cast<T*>(word - 1), nullptr};
    return {nullptr, reinterpret_cast<Slots*>(word)};
  }
  void set_root(T* only) noexcept {
    root_.store(only ? reinterpret_cast<uintptr_t>(only) + 1 : 0, std::memory_order_release);
  }
  void set_root(Slots* slots) noexcept { root_.store(reinterpret_cast<uintptr_t>(slots), std::memory_order_release); }

  std::atomic<uintptr_t> root_{0};
};

}  // namespace mqttq
