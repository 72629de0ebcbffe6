// Blocks of small messages that ended, kept by one thread for its next ones: most messages live for a turn or two.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mqttq {

// Touched by one thread at a time. A block that another thread ends goes to that thread's pool, or to the heap.
class MessagePool {
 public:
  static constexpr size_t kSizeMax = 504;          // bytes; larger blocks are not kept
  static constexpr size_t kKeptMax = 1024 * 1024;  // bytes, of all sizes together

  MessagePool() noexcept = default;
  ~MessagePool();
  MessagePool(const MessagePool&) = delete;
  MessagePool& operator=(const MessagePool&) = delete;

  // Of this thread from here on; nullptr: none, and every block is the heap's. Returns what it was.
  static MessagePool* set_current(MessagePool* pool) noexcept;

  // A block from this thread's pool or from the heap; nullptr when that refuses.
  static void* take(size_t size) noexcept;
  // size: as it was taken.
  static void give_back(void* block, size_t size) noexcept;

  size_t kept_bytes() const noexcept { return kept_bytes_; }

 private:
  struct Kept {
    Kept* next;
  };
  // 24, 40, 56, …: what the heap of most machines has room for, so that nothing is rounded up in vain.
  static constexpr size_t kLeast = 24, kStep = 16;
  static constexpr size_t kSizes = (kSizeMax - kLeast) / kStep + 1;
  static size_t index_of(size_t size) noexcept { return size <= kLeast ? 0 : (size - kLeast + kStep - 1) / kStep; }
  static size_t size_of(size_t index) noexcept { return kLeast + index * kStep; }

  Kept* kept_[kSizes] = {};  // by index_of()
  size_t kept_bytes_ = 0;
};

}  // namespace mqttq
