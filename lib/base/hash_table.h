// A chained hash table through its items: inserting never fails, since only the array of buckets is allocated and a
// table that cannot grow is merely slower.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/alloc.h"

namespace mqttq {

// An item derives from HashLink<T>; its hash is kept, so that growing never looks at keys. An item that can tell its
// hash from what it holds has the same two functions without the word for it.
template <class T>
struct HashLink {
  T* hash_next = nullptr;
  uint64_t hash = 0;

  void keep_hash(uint64_t of) noexcept { hash = of; }
  uint64_t kept_hash() const noexcept { return hash; }
};

// Items are borrowed. Eight bytes, and no block with a single bucket.
template <class T>
class HashTable {
 public:
  HashTable() noexcept = default;
  HashTable(const HashTable&) = delete;
  HashTable& operator=(const HashTable&) = delete;
  ~HashTable() { release(buckets()); }

  uint32_t count() const noexcept {
    if (const Buckets* many = buckets()) return many->count;
    uint32_t count = 0;  // one, unless memory was refused
    for (const T* item = only(); item; item = item->hash_next) ++count;
    return count;
  }

  // The item with this hash for which `is_it(const T&)` holds, or nullptr.
  template <class Predicate>
  T* find(uint64_t hash, Predicate&& is_it) const noexcept {
    const Buckets* many = buckets();
    for (T* item = many ? many->first(hash) : only(); item; item = item->hash_next) {
      if (item->kept_hash() == hash && is_it(static_cast<const T&>(*item))) return item;
    }
    return nullptr;
  }
  void insert(T& item, uint64_t hash) noexcept {
    Buckets* many = buckets();
    if (many ? many->count > many->mask : only() != nullptr) many = grow();
    item.keep_hash(hash);
    if (many) {
      ++many->count;
      many->push_front(item, hash);
    } else {
      item.hash_next = only();
      set_only(&item);
    }
  }
  // The item must be in the table.
  void remove(T& item) noexcept {
    if (Buckets* many = buckets()) {
      T** at = &many->first(item.kept_hash());
      while (*at != &item) at = &(*at)->hash_next;
      *at = item.hash_next;
      --many->count;
    } else if (only() == &item) {
      set_only(item.hash_next);
    } else {
      T* before = only();
      while (before->hash_next != &item) before = before->hash_next;
      before->hash_next = item.hash_next;
    }
    item.hash_next = nullptr;
  }
  // Calls `visit(T&)` for each, which may remove and end the one it is given.
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    Buckets* many = buckets();
    for (uint64_t i = 0; i <= (many ? many->mask : 0); ++i) {
      for (T* item = many ? many->first(i) : only(); item;) {
        T* next = item->hash_next;
        visit(*item);
        item = next;
      }
    }
  }

 private:
  struct Buckets {
    uint32_t mask;
    uint32_t count;  // of items
    T** items() const noexcept { return reinterpret_cast<T**>(const_cast<Buckets*>(this) + 1); }
    T*& first(uint64_t hash) const noexcept { return items()[hash & mask]; }
    void push_front(T& item, uint64_t hash) noexcept {
      item.hash_next = first(hash);
      first(hash) = &item;
    }
  };

  // The table with its new buckets; nullptr when there are none and memory is refused.
  Buckets* grow() noexcept {
    Buckets* old = buckets();
    const uint32_t bucket_count = old ? (old->mask + 1) * 2 : 8;
    auto* grown = static_cast<Buckets*>(allocate(sizeof(Buckets) + sizeof(T*) * bucket_count));
    if (!grown) return old;
    grown->mask = bucket_count - 1;
    grown->count = count();
    std::memset(grown->items(), 0, sizeof(T*) * bucket_count);
    for_each([&](T& item) { grown->push_front(item, item.kept_hash()); });
    release(old);
    word_ = reinterpret_cast<uintptr_t>(grown);
    return grown;
  }

  // Two kinds of pointer in one word, told apart by its lowest bit, which is set for a chain without buckets.
  static constexpr uintptr_t kOnly = 1;
  Buckets* buckets() const noexcept { return word_ & kOnly ? nullptr : reinterpret_cast<Buckets*>(word_); }
  T* only() const noexcept { return reinterpret_cast<T*>(word_ - kOnly); }
  void set_only(T* item) noexcept { word_ = reinterpret_cast<uintptr_t>(item) + kOnly; }

  uintptr_t word_ = kOnly;
};

}  // namespace mqttq
