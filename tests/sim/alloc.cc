// The heap of the simulation: malloc, with counts, and with calls that can be made to fail. It is linked in the place
// of lib/base/alloc.cc. The simulation has one thread.
#include "base/alloc.h"

#include <cstdlib>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

int64_t blocks_out = 0, calls = 0;
int64_t refuse_from = INT64_MAX, refuse_until = INT64_MAX;  // numbers of calls

uint32_t refuse_in_1000 = 0;
Random choices(0);

bool refused() noexcept {
  const int64_t call = calls++;
  if (refuse_in_1000 && choices.below(1000) < refuse_in_1000) return true;
  return call >= refuse_from && call < refuse_until;
}

}  // namespace

namespace sim {

int64_t heap_blocks() noexcept { return blocks_out; }
int64_t heap_calls() noexcept { return calls; }

FailingHeap::FailingHeap(int64_t k, int64_t refusals) noexcept : first_(calls + k) {
  refuse_from = first_;
  refuse_until = first_ + refusals;
}
FailingHeap::~FailingHeap() { refuse_from = refuse_until = INT64_MAX; }
ShakyHeap::ShakyHeap(uint64_t seed, uint32_t in_1000) noexcept {
  choices = Random(seed);
  refuse_in_1000 = in_1000;
}
ShakyHeap::~ShakyHeap() { refuse_in_1000 = 0; }
bool FailingHeap::struck() const noexcept { return calls > first_; }

}  // namespace sim

void* allocate(size_t size) noexcept {
  if (refused()) return nullptr;
  void* block = std::malloc(size);
  if (block) ++blocks_out;
  return block;
}

void* reallocate(void* block, size_t size) noexcept {
  if (refused()) return nullptr;
  void* grown = std::realloc(block, size);
  if (grown && !block) ++blocks_out;
  return grown;
}

void release(void* block) noexcept {
  if (block) --blocks_out;
  std::free(block);
}

}  // namespace mqttq
