// The heap of the unit tests: malloc, with a count of the blocks that are out and a call that can be made to fail.
#include "base/alloc.h"

#include <atomic>
#include <cstdlib>

#include "heap.h"

namespace mqttq {

namespace {
std::atomic<int64_t> blocks_out{0};
std::atomic<int64_t> calls_left{INT64_MAX};  // until one fails

bool refused() noexcept { return calls_left.fetch_sub(1, std::memory_order_relaxed) <= 0; }
}  // namespace

int64_t heap_blocks() noexcept { return blocks_out.load(); }
FailingHeap::FailingHeap(int64_t after) noexcept { calls_left = after; }
FailingHeap::~FailingHeap() { calls_left = INT64_MAX; }

void* allocate(size_t size) noexcept {
  if (refused()) return nullptr;
  void* block = std::malloc(size);
  if (block) blocks_out.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void* reallocate(void* block, size_t size) noexcept {
  if (refused()) return nullptr;
  void* grown = std::realloc(block, size);
  if (grown && !block) blocks_out.fetch_add(1, std::memory_order_relaxed);
  return grown;
}

void release(void* block) noexcept {
  if (block) blocks_out.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

}  // namespace mqttq
