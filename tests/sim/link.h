// The simulated network: one connection between a client and a broker, as two pipes with bytes in flight.
#pragma once

#include <string>
#include <vector>

#include "base/link.h"

namespace mqttq {
class Connection;
}

namespace mqttq::sim {

// Bytes in the order in which they were put in.
class Pipe {
 public:
  void put(Bytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  size_t size() const noexcept { return bytes_.size() - start_; }
  bool empty() const noexcept { return size() == 0; }
  // The first `size` bytes, borrowed until the next put() or skip().
  Bytes front(size_t size) const noexcept { return Bytes(bytes_).subspan(start_, size); }
  void skip(size_t size) {
    start_ += size;
    if (start_ * 2 > bytes_.size()) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(start_));
      start_ = 0;
    }
  }
  // Loses all but the first `size` bytes.
  void truncate(size_t size) { bytes_.resize(start_ + size); }

 private:
  std::vector<std::byte> bytes_;
  size_t start_ = 0;
};

// Owned by the World, and kept until that ends: both ends may look at it after the other has let go.
class SimLink final : public Link {
 public:
  // window: bytes on their way to the client at most.
  SimLink(uint32_t number, uint32_t first_shard, size_t window)
      : shard(first_shard), address_("192.0.2.1:" + std::to_string(number)), window_(window) {}

  // --- the broker's end
  size_t write(std::span<const Bytes> pieces) noexcept override;
  void pause_reading(bool paused) noexcept override { paused_ = paused; }
  void close(bool abort) noexcept override;
  std::string_view peer_address() const noexcept override { return address_; }

  uint32_t shard;                    // that watches it; while it moves: that will
  Connection* connection = nullptr;  // null while it moves, and when the broker has let go
  bool readable() const noexcept { return connection && !paused_ && !to_broker.empty(); }
  bool writable() const noexcept { return connection && refused_some_ && to_client.size() < window_; }
  // The client is gone, and the broker is to hear of it: at once after a reset, else behind the last byte.
  bool peer_lost() const noexcept { return connection && peer_gone_ && (reset_ || (!paused_ && to_broker.empty())); }
  void clear_refused() noexcept { refused_some_ = false; }

  // --- the client's end
  void send(Bytes bytes) { to_broker.put(bytes); }
  // No more of it: what the broker sends is lost from here on. The broker gets what is in flight, and then the end; or,
  // when it is a reset, perhaps the end first.
  void hang_up(bool reset) noexcept;
  // As if the cable were cut: the broker hears nothing of it.
  void abandon() noexcept;
  bool closed_by_broker() const noexcept { return closed_; }
  bool readable_for_client() const noexcept { return !to_client.empty() || closed_; }

  Pipe to_broker, to_client;

 private:
  const std::string address_;
  const size_t window_;
  bool paused_ = false;
  bool refused_some_ = false;  // the broker is owed a word when there is room
  bool peer_gone_ = false;
  bool reset_ = false;
  bool nobody_reads_ = false;
  bool closed_ = false;
};

}  // namespace mqttq::sim
