// A byte pipe to one peer, as the middle sees it: TCP, TLS, WebSocket and the simulated network look alike from above.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"

namespace mqttq {

// Owned by whoever made it (a transport); touched only on the shard that serves it. What comes in is handed to the
// connection above by the owner.
class Link {
 public:
  // Takes bytes from `pieces` in order and returns how many; fewer than all means that the pipe is full now, and that
  // the owner will say when it has room again. Nothing is kept of `pieces` after return.
  virtual size_t write(std::span<const Bytes> pieces) noexcept = 0;
  // Until it is undone nothing is read: the peer's own window fills up.
  virtual void pause_reading(bool paused) noexcept = 0;
  // No more bytes either way. `abort`: what was not sent yet is discarded; otherwise it is sent first, for a bounded
  // time. The connection above hears nothing more from the link.
  virtual void close(bool abort) noexcept = 0;
  // Text such as "127.0.0.1:50312", borrowed until any link of the shard is asked again.
  virtual std::string_view peer_address() const noexcept = 0;

 protected:
  ~Link() = default;
};

}  // namespace mqttq
