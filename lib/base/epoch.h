// When may something that readers without locks may still see be ended? When every reader has since been quiescent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/alloc.h"
#include "base/fence.h"

namespace mqttq {

// A reader (a shard) is online while it may hold pointers into a shared structure, quiescent once per turn, and offline
// while it waits, so that reclamation never depends on an idle shard. Writers are serialised by their owner.
class Epoch {
 public:
  // What is retired derives from it: a block of allocate(), in which nothing else is left to be ended. Its owner may
  // use the word until then.
  struct Retired {
    Retired* retired_next = nullptr;
  };

  // Throws std::bad_alloc.
  explicit Epoch(uint32_t reader_count) : reader_count_(reader_count), readers_(new Reader[reader_count]) {}
  Epoch(const Epoch&) = delete;
  Epoch& operator=(const Epoch&) = delete;
  ~Epoch() {
    end_all(waiting_);
    end_all(fresh_);
  }

  // Reader: from here on pointers may be held. Also the quiescent point of a reader that stays online.
  void online(uint32_t reader) noexcept {
    readers_[reader].seen.store(now_.load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    full_fence();  // before any pointer is read
  }
  // Reader: no pointer is held until the next online().
  void offline(uint32_t reader) noexcept { readers_[reader].seen.store(kOffline, std::memory_order_release); }

  // Writer: no new reader can find `object`; it is ended once no old one can hold it.
  void retire(Retired& object) noexcept {
    object.retired_next = fresh_;
    fresh_ = &object;
  }
  // Writer: something waits to be ended.
  bool has_retired() const noexcept { return fresh_ || waiting_; }
  // Writer: ends what can be ended now.
  void reclaim() noexcept {
    while (fresh_ || waiting_) {
      if (!waiting_) {
        waiting_ = std::exchange(fresh_, nullptr);
        waiting_since_ = now_.fetch_add(1, std::memory_order_seq_cst);
      }
      if (oldest_reader() <= waiting_since_) return;
      end_all(waiting_);
    }
  }

 private:
  static constexpr uint64_t kOffline = UINT64_MAX;
  struct alignas(64) Reader {
    std::atomic<uint64_t> seen{kOffline};
  };

  uint64_t oldest_reader() const noexcept {
    uint64_t oldest = kOffline;
    for (uint32_t i = 0; i < reader_count_; ++i) {
      const uint64_t seen = readers_[i].seen.load(std::memory_order_seq_cst);
      if (seen < oldest) oldest = seen;
    }
    return oldest;
  }
  void end_all(Retired*& list) noexcept {
    while (list) release(std::exchange(list, list->retired_next));
  }

  std::atomic<uint64_t> now_{1};
  const uint32_t reader_count_;
  std::unique_ptr<Reader[]> readers_;
  Retired* fresh_ = nullptr;
  Retired* waiting_ = nullptr;  // for every reader to see a later moment than
  uint64_t waiting_since_ = 0;
};

}  // namespace mqttq
