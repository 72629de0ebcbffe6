// When may something that readers without locks may still see be ended? When every reader has since been quiescent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/alloc.h"
#include "base/fence.h"

namespace mqttq {

// A reader (a shard) is online while it may hold pointers into a shared structure, quiescent once per turn, and offline
// while it waits, so that reclamation never depends on an idle shard. Writers are serialised by their owner.
class Epoch {
 public:
  // Throws std::bad_alloc.
  explicit Epoch(uint32_t reader_count) : reader_count_(reader_count), readers_(new Reader[reader_count]) {}
  Epoch(const Epoch&) = delete;
  Epoch& operator=(const Epoch&) = delete;
  ~Epoch() {
    while (first_) end_first();
  }

  // Reader: from here on pointers may be held. Also the quiescent point of a reader that stays online.
  void online(uint32_t reader) noexcept {
    readers_[reader].seen.store(now_.load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    full_fence();  // before any pointer is read
  }
  // Reader: no pointer is held until the next online().
  void offline(uint32_t reader) noexcept { readers_[reader].seen.store(kOffline, std::memory_order_release); }

  // What is retired derives from it. `end` frees it.
  struct Retired {
    Retired* retired_next = nullptr;
    uint64_t retired_at = 0;
    void (*end)(Retired& retired) noexcept = nullptr;
  };

  // Writer: no new reader can find `object`; it is ended once no old one can hold it.
  void retire(Retired& object) noexcept {
    object.retired_at = now_.fetch_add(1, std::memory_order_seq_cst);
    object.retired_next = nullptr;
    (last_ ? last_->retired_next : first_) = &object;
    last_ = &object;
  }
  // Writer: something waits to be ended.
  bool has_retired() const noexcept { return first_ != nullptr; }
  // Writer: ends what can be ended now.
  void reclaim() noexcept {
    if (!first_) return;
    uint64_t oldest = kOffline;
    for (uint32_t i = 0; i < reader_count_; ++i) {
      const uint64_t seen = readers_[i].seen.load(std::memory_order_seq_cst);
      if (seen < oldest) oldest = seen;
    }
    while (first_ && first_->retired_at < oldest) end_first();
  }

 private:
  static constexpr uint64_t kOffline = UINT64_MAX;
  struct alignas(64) Reader {
    std::atomic<uint64_t> seen{kOffline};
  };

  void end_first() noexcept {
    Retired* ended = first_;
    first_ = ended->retired_next;
    if (!first_) last_ = nullptr;
    ended->end(*ended);
  }

  std::atomic<uint64_t> now_{1};
  const uint32_t reader_count_;
  std::unique_ptr<Reader[]> readers_;
  Retired* first_ = nullptr;  // oldest first
  Retired* last_ = nullptr;
};

}  // namespace mqttq
