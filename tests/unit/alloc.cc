// The heap of the unit tests: malloc, with a count of the blocks that are out and a call that can be made to fail.
#include "base/alloc.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>

#include "heap.h"

namespace mqttq {

namespace {
std::atomic<int64_t> blocks_out{0}, bytes_out{0};
std::atomic<int64_t> calls_left{INT64_MAX};  // until one fails

// A block comes (1) or goes (-1).
void count(void* block, int64_t sign) noexcept {
  blocks_out.fetch_add(sign, std::memory_order_relaxed);
  bytes_out.fetch_add(sign * static_cast<int64_t>(malloc_usable_size(block)), std::memory_order_relaxed);
}

bool refused() noexcept { return calls_left.fetch_sub(1, std::memory_order_relaxed) <= 0; }
}  // namespace

int64_t heap_blocks() noexcept { return blocks_out.load(); }
int64_t heap_bytes() noexcept { return bytes_out.load(); }
FailingHeap::FailingHeap(int64_t after) noexcept { calls_left = after; }
FailingHeap::~FailingHeap() { calls_left = INT64_MAX; }

void* allocate(size_t size) noexcept {
  if (refused()) return nullptr;
  void* block = std::malloc(size);
  if (block) count(block, 1);
  return block;
}

void* reallocate(void* block, size_t size) noexcept {
  if (refused()) return nullptr;
  const auto before = static_cast<int64_t>(malloc_usable_size(block));
  void* grown = std::realloc(block, size);
  if (!grown) return nullptr;
  if (!block) blocks_out.fetch_add(1, std::memory_order_relaxed);
  bytes_out.fetch_add(static_cast<int64_t>(malloc_usable_size(grown)) - before, std::memory_order_relaxed);
  return grown;
}

void release(void* block) noexcept {
  if (block) count(block, -1);
  std::free(block);
}

}  // namespace mqttq
