// Which sockets of a shard are ready: an epoll of our own, which costs nothing per socket that is idle (decision 9).
#pragma once

#include <cstdint>

namespace mqttq {

// Owned by one thread. An item is what stands behind a descriptor; it is borrowed, and must be removed before it ends.
class Poller {
 public:
  static constexpr uint8_t kReadable = 1, kWritable = 2;
  static constexpr uint8_t kFailed = 4;  // reported, never asked for: the next call on the descriptor says how
  // May add, change and remove any item.
  using OnReady = void (*)(void* user, void* item, uint8_t events) noexcept;

  // Throws std::system_error. on_ready: called by wait(), with `user`.
  Poller(void* user, OnReady on_ready);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Readable while wait() has something to tell.
  int descriptor() const noexcept { return epoll_; }

  // From what is asked for now to what is wanted; 0: nothing, and the descriptor is not known. False when the system
  // refuses a descriptor that was not known.
  bool change(int descriptor, void* item, uint8_t now, uint8_t wanted) noexcept;
  // Waits at most so long, 0: not at all; then tells what is ready, at most so much as one turn has time for.
  void wait(int timeout_ms) noexcept;

 private:
  static constexpr int kEventsMax = 256;
  // What an event of this item may still be told of in this wait(): nothing any more.
  void forget(const void* item) noexcept;

  void* const user_;
  const OnReady on_ready_;
  int epoll_;
  struct Ready {
    void* item;
    uint8_t events;
  };
  Ready ready_[kEventsMax];
  int ready_count_ = 0, ready_next_ = 0;
};

}  // namespace mqttq
