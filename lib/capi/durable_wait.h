// Waits until what a call has changed on a shard is durable.
#pragma once

#include <condition_variable>
#include <mutex>

#include "session/shard_core.h"

namespace mqttq::capi {

class DurableWait {
 public:
  // On the shard, behind the changes.
  void begin(ShardCore& core) {
    begun_ = true;
    core.await_durable(this, [](void* user, bool written) noexcept {
      auto& wait = *static_cast<DurableWait*>(user);
      const std::lock_guard lock(wait.mutex_);
      wait.done_ = true;
      wait.written_ = written;
      wait.changed_.notify_one();
    });
  }
  // On the caller's thread. False: it could not be written.
  bool end() {
    if (!begun_) return true;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
    return written_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false, done_ = false, written_ = false;
};

}  // namespace mqttq::capi
