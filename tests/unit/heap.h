// What tests may ask of the heap behind base/alloc.h.
#pragma once

#include <cstdint>

namespace mqttq {

// Blocks that allocate() gave and release() did not get back yet. A test compares two moments.
int64_t heap_blocks() noexcept;

// The bytes in them, as the allocator rounds them.
int64_t heap_bytes() noexcept;

// While it lives, the heap gives `after` more blocks and refuses all that follow.
class FailingHeap {
 public:
  explicit FailingHeap(int64_t after) noexcept;
  FailingHeap(const FailingHeap&) = delete;
  FailingHeap& operator=(const FailingHeap&) = delete;
  ~FailingHeap();
};

}  // namespace mqttq
