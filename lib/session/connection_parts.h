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
  MessageRef held;  // a publish that not everybody has yet; empty: there is none
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
  if (packet_size_out_ && counting.size() > packet_size_out_) {  // nothing in it could be left out [MQTT-3.1.2-24]
    const bool connected = state_ == State::Connected;
    state_ = State::Closing;
    shard_.mark_closing(*this);
    if (connected) say_too_large();
    return;
  }
  if (std::byte* out = output_bytes(counting.size())) {
    codec::Writer writing(out);
    codec::encode(packet..., writing);
  }
}

}  // namespace mqttq
