// Messages that a call sends to one queue or stream, and waits for.
#pragma once

#include <condition_variable>
#include <mutex>

#include "session/shard_core.h"

namespace mqttq::capi {

// Thread: any but a shard's; what is begun is ended on a shard's.
class Letters {
 public:
  // waits: not with the host's loop, which who waits would have to call: there what is begun counts as taken.
  explicit Letters(bool waits) noexcept : waits_(waits) {}

  // note_begun() follows.
  ShardCore::LetterWait begin() {
    if (!waits_) return {};
    const std::lock_guard lock(mutex_);
    ++open_;
    return {this, [](void* user, bool was_taken) noexcept { static_cast<Letters*>(user)->end(was_taken); }};
  }
  void note_begun(bool begun) {
    const std::lock_guard lock(mutex_);
    if (!waits_) {
      taken += begun;
    } else if (!begun) {
      --open_;
    }
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_ == 0; });
  }
  // After wait().
  uint64_t taken = 0, refused = 0;

 private:
  void end(bool was_taken) {
    const std::lock_guard lock(mutex_);
    ++(was_taken ? taken : refused);
    --open_;
    changed_.notify_one();
  }
  const bool waits_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t open_ = 0;
};

}  // namespace mqttq::capi
