// The newest messages of a stream, as far as they are in memory, by their positions.
#pragma once

#include "base/ring.h"
#include "message/message.h"

namespace mqttq {

// Owned by one shard and touched only there.
class StreamTail {
 public:
  bool empty() const noexcept { return items_.empty(); }
  // All messages of the stream from here on are in it. Only if it is not empty.
  uint64_t first() noexcept { return items_.front().position; }
  [[nodiscard]] bool make_room() noexcept { return items_.make_room(); }
  // With room. position: higher than those before.
  void push_back(uint64_t position, const MessageRef& message) noexcept {
    static_cast<void>(items_.push_back({position, message}));
  }
  // Of one that it has.
  const MessageRef& at(uint64_t position) noexcept { return items_[index_of(position)].message; }
  // One is not wanted any more; it need not be here.
  void remove(uint64_t position) noexcept;
  // What lies before `position` goes.
  void trim_to(uint64_t position) noexcept;
  void clear() noexcept {
    items_.reset();
    removed_ = 0;
  }

 private:
  struct Item {
    uint64_t position = 0;
    MessageRef message;  // empty: it was removed
  };
  uint32_t index_of(uint64_t position) noexcept;

  Ring<Item> items_;
  uint32_t removed_ = 0;  // of these
};

}  // namespace mqttq
