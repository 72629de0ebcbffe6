// A heap of pointers to items that know their place in it, so that any of them can be moved or taken out.
#pragma once

#include "base/array.h"

namespace mqttq {

inline constexpr uint32_t kInNoHeap = UINT32_MAX;

// Items are borrowed. Place: a member of T, that of the heap, kInNoHeap while the item is in none. before(a, b): a
// comes first.
template <class T, uint32_t T::* Place, bool (*before)(const T&, const T&)>
class IndexHeap {
 public:
  uint32_t count() const noexcept { return items_.count(); }
  bool empty() const noexcept { return items_.empty(); }
  T& front() noexcept { return *items_[0]; }
  T& any() noexcept { return *items_.back(); }  // the one that is taken out most cheaply

  // Room for so many: up to there push() does not fail.
  [[nodiscard]] bool reserve(uint32_t count) noexcept { return items_.reserve(count); }
  // After true, the next push() does not fail.
  [[nodiscard]] bool make_room() noexcept { return items_.make_room(); }
  // There is room.
  void push(T& item) noexcept {
    static_cast<void>(items_.push_back(&item));
    rise(item, items_.count() - 1);
  }
  // The item, which is in the heap, comes earlier or later than it did.
  void moved(T& item) noexcept {
    rise(item, item.*Place);
    sink(item, item.*Place);
  }
  // Nothing, if it is in no heap.
  void remove(T& item) noexcept {
    const uint32_t place = item.*Place;
    if (place == kInNoHeap) return;
    item.*Place = kInNoHeap;
    T& last = *items_.back();
    items_.pop_back();
    if (&last == &item) return;
    put(place, last);
    moved(last);
  }

 private:
  void put(uint32_t place, T& item) noexcept {
    items_[place] = &item;
    item.*Place = place;
  }
  void rise(T& item, uint32_t place) noexcept {
    for (uint32_t above; place && before(item, *items_[above = (place - 1) / 2]); place = above) {
      put(place, *items_[above]);
    }
    put(place, item);
  }
  void sink(T& item, uint32_t place) noexcept {
    for (uint32_t child; (child = 2 * place + 1) < items_.count(); place = child) {
      if (child + 1 < items_.count() && before(*items_[child + 1], *items_[child])) ++child;
      if (!before(*items_[child], item)) break;
      put(place, *items_[child]);
    }
    put(place, item);
  }

  Array<T*> items_;
};

}  // namespace mqttq
