// The one door to the heap for everything that grows with a peer's input: it answers nullptr and never throws.
//
// The library's alloc.cc calls malloc. The simulation links another one that fails the k-th call.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace mqttq {

// Bytes aligned for any type, or nullptr. Ended by release().
void* allocate(size_t size) noexcept;
// As realloc: on failure nullptr, and `block` is as it was.
void* reallocate(void* block, size_t size) noexcept;
void release(void* block) noexcept;

// A T on that heap, or nullptr. Ended by destroy().
template <class T, class... Args>
T* create(Args&&... args) noexcept {
  void* block = allocate(sizeof(T));
  return block ? new (block) T(std::forward<Args>(args)...) : nullptr;
}

template <class T>
void destroy(T* object) noexcept {
  if (!object) return;
  object->~T();
  release(object);
}

// For std::unique_ptr<T, Destroy> over what create() made.
struct Destroy {
  template <class T>
  void operator()(T* object) const noexcept {
    destroy(object);
  }
};

}  // namespace mqttq
