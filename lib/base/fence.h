// A full fence between a store and a later load of something else.
#pragma once

#include <atomic>

namespace mqttq {

// GCC's thread sanitizer knows no fences: there the accesses around it, which are atomic, have to be enough.
inline void full_fence() noexcept {
#if !defined(__SANITIZE_THREAD__)
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace mqttq
