#include "message/message_pool.h"

#include <utility>

#include "base/alloc.h"
#include "base/sanitizer.h"

#ifdef MQTTQ_WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace mqttq {

namespace {

thread_local MessagePool* current = nullptr;

// What is kept is nobody's: a sanitizer is to see who still uses it. The link to the next stays readable.
void hide([[maybe_unused]] void* block, [[maybe_unused]] size_t size) noexcept {
#ifdef MQTTQ_WITH_ASAN
  ASAN_POISON_MEMORY_REGION(static_cast<std::byte*>(block) + sizeof(void*), size - sizeof(void*));
#endif
}

void show([[maybe_unused]] void* block, [[maybe_unused]] size_t size) noexcept {
#ifdef MQTTQ_WITH_ASAN
  ASAN_UNPOISON_MEMORY_REGION(block, size);
#endif
}

}  // namespace

MessagePool::~MessagePool() {
  for (size_t index = 0; index < kSizes; ++index) {
    while (Kept* block = kept_[index]) {
      kept_[index] = block->next;
      show(block, size_of(index));
      release(block);
    }
  }
}

MessagePool* MessagePool::set_current(MessagePool* pool) noexcept { return std::exchange(current, pool); }

// The whole of its size even without a pool: it may be given back where there is one.
void* MessagePool::take(size_t size) noexcept {
  if (size > kSizeMax) return allocate(size);
  const size_t index = index_of(size);
  MessagePool* pool = current;
  if (!pool || !pool->kept_[index]) return allocate(size_of(index));
  Kept* block = std::exchange(pool->kept_[index], pool->kept_[index]->next);
  pool->kept_bytes_ -= size_of(index);
  show(block, size_of(index));
  return block;
}

void MessagePool::give_back(void* block, size_t size) noexcept {
  MessagePool* pool = current;
  if (!pool || size > kSizeMax || pool->kept_bytes_ >= kKeptMax) return release(block);
  const size_t index = index_of(size);
  auto* kept = static_cast<Kept*>(block);
  kept->next = std::exchange(pool->kept_[index], kept);
  pool->kept_bytes_ += size_of(index);
  hide(block, size_of(index));
}

}  // namespace mqttq
