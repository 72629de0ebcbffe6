// Messages that a call sends to one queue or stream, and waits for.
#pragma once

#include <condition_variable>
#include <mutex>

#include "session/shard_core.h"

namespace mqttq::capi {

// Thread: any but a shard's; what is begun is ended on a shard's.
class Letters {
 public:
  ShardCore::LetterWait begin() {
    const std::lock_guard lock(mutex_);
    ++open_;
    return {this, [](void* user, bool was_taken) noexcept { static_cast<Letters*>(user)->end(was_taken); }};
  }
  // It was not begun after all.
  void take_back() {
    const std::lock_guard lock(mutex_);
    --open_;
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
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t open_ = 0;
};

}  // namespace mqttq::capi
