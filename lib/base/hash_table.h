// A chained hash table through its items: inserting never fails, since only the array of buckets is allocated and a
// table that cannot grow is merely slower.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/alloc.h"

namespace mqttq {

// An item derives from HashLink<T>; its hash is kept, so that growing never looks at keys.
template <class T>
struct HashLink {
  T* hash_next = nullptr;
  uint64_t hash = 0;
};

// Items are borrowed. Sixteen bytes, and no block with a single bucket.
template <class T>
class HashTable {
 public:
  HashTable() noexcept = default;
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;
  ~HashTable() {
    if (mask_) release(buckets_);
  }

  uint32_t count() const noexcept { return count_; }

  // The item with this hash for which `is_it(const T&)` holds, or nullptr.
  template <class Predicate>
  T* find(uint64_t hash, Predicate&& is_it) const noexcept {
    for (T* item = bucket(hash); item; item = item->hash_next) {
      if (item->hash == hash && is_it(static_cast<const T&>(*item))) return item;
    }
    return nullptr;
  }
  void insert(T& item, uint64_t hash) noexcept {
    if (count_ > mask_) grow();
    item.hash = hash;
    item.hash_next = bucket(hash);
    bucket(hash) = &item;
    ++count_;
  }
  // The item must be in the table.
  void remove(T& item) noexcept {
    T** at = &bucket(item.hash);
    while (*at != &item) at = &(*at)->hash_next;
    *at = item.hash_next;
    item.hash_next = nullptr;
    --count_;
  }
  // Calls `visit(T&)` for each, which may remove and end the one it is given.
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    for (uint64_t i = 0; i <= mask_; ++i) {
      for (T* item = bucket(i); item;) {
        T* next = item->hash_next;
        visit(*item);
        item = next;
      }
    }
  }

 private:
  T*& bucket(uint64_t hash) noexcept { return mask_ ? buckets_[hash & mask_] : single_; }
  T* bucket(uint64_t hash) const noexcept { return mask_ ? buckets_[hash & mask_] : single_; }
  void grow() noexcept {
    const uint32_t count = (mask_ + 1) * (mask_ ? 2 : 8);
    auto** grown = static_cast<T**>(allocate(sizeof(T*) * count));
    if (!grown) return;
    std::memset(grown, 0, sizeof(T*) * count);
    for_each([&](T& item) {
      item.hash_next = grown[item.hash & (count - 1)];
      grown[item.hash & (count - 1)] = &item;
    });
    if (mask_) release(buckets_);
    buckets_ = grown;
    mask_ = count - 1;
  }

  union {
    T* single_ = nullptr;
    T** buckets_;  // while mask_ is not 0
  };
  uint32_t mask_ = 0;
  uint32_t count_ = 0;
};

}  // namespace mqttq
