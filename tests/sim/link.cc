// See link.h.
#include "link.h"

#include <algorithm>

namespace mqttq::sim {

size_t SimLink::write(std::span<const Bytes> pieces) noexcept {
  size_t taken = 0;
  for (const Bytes piece : pieces) {
    if (nobody_reads_) {  // into the void, as a socket takes what the peer will never read
      taken += piece.size();
      continue;
    }
    const size_t room = window_ > to_client.size() ? window_ - to_client.size() : 0;
    const size_t step = std::min(piece.size(), room);
    to_client.put(piece.first(step));
    taken += step;
    if (step < piece.size()) {
      refused_some_ = true;
      break;
    }
  }
  return taken;
}

void SimLink::close(bool abort) noexcept {
  closed_ = true;
  connection = nullptr;
  if (abort) to_client.truncate(0);
}

void SimLink::hang_up(bool reset) noexcept {
  peer_gone_ = nobody_reads_ = true;
  reset_ = reset;
  to_client.truncate(0);
}

void SimLink::abandon() noexcept {
  nobody_reads_ = true;
  to_client.truncate(0);
}

}  // namespace mqttq::sim
