// What the files of Connection share and nobody else needs.
#pragma once

#include "session/connection.h"
#include "session/shard_core.h"

namespace mqttq {

// What only a connection needs that has to wait, or has a rate.
struct Connection::Slow {
  struct RateTimer : Timer {
    Connection* connection = nullptr;
  };
  ~Slow() { rate_timer.cancel(); }

  Connection* connection = nullptr;
  bool publishing = false;  // `operation` is of the packet at the front of tail_
  PublishOperation operation;
  RateTimer rate_timer;
  int64_t message_tokens = 0;  // thousandths
  int64_t byte_tokens = 0;     // thousandths
  Instant tokens_at{};
};

template <class... Packet>
void Connection::send(const Packet&... packet) noexcept {
  codec::Writer counting;
  codec::encode(packet..., counting);
  if (std::byte* out = output_bytes(counting.size())) {
    codec::Writer writing(out);
    codec::encode(packet..., writing);
  }
}

}  // namespace mqttq
