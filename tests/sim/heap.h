// What the simulation may ask of the heap behind base/alloc.h.
#pragma once

#include <cstdint>

namespace mqttq::sim {

// Blocks that allocate() gave and release() did not get back yet.
int64_t heap_blocks() noexcept;
// Calls of allocate() and reallocate() since the program started.
int64_t heap_calls() noexcept;

// While it lives, the heap refuses the k-th call from now on, counted from 0, and as many behind it as `refusals` says.
class FailingHeap {
 public:
  explicit FailingHeap(int64_t k, int64_t refusals = 1) noexcept;
  FailingHeap(const FailingHeap&) = delete;
  FailingHeap& operator=(const FailingHeap&) = delete;
  ~FailingHeap();
  // Was a call refused?
  bool struck() const noexcept;

 private:
  int64_t first_;
};

// While it lives, the heap refuses so many calls in 1000, chosen by the seed.
class ShakyHeap {
 public:
  ShakyHeap(uint64_t seed, uint32_t in_1000) noexcept;
  ShakyHeap(const ShakyHeap&) = delete;
  ShakyHeap& operator=(const ShakyHeap&) = delete;
  ~ShakyHeap();
};

}  // namespace mqttq::sim
