// What the files of Connection share and nobody else needs.
#pragma once

#include "session/connection.h"
#include "session/shard_core.h"

namespace mqttq {

struct Connection::Alias {
  char* text;  // owned
  uint32_t size;
};

struct Connection::Rare {
  ~Rare();
  Authentication* authentication = nullptr;  // owned
  Array<Alias> aliases;                      // the client's, by alias - 1
  OutgoingAliases* aliases_out = nullptr;    // ours; owned
  Array<Permission> permissions;
  Slow* slow = nullptr;  // owned: a publish handed over in part, and rate tokens
  struct Gate {
    uint32_t serial = 0;  // of the record that has to be durable first
    size_t bytes = 0;     // of output in front of it, behind the gate before
  };
  Ring<Gate> gates;
};

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

// Enhanced authentication (MQTT5 4.12): what only a connection needs whose CONNECT named a method.
struct Authentication {
  // Who is to say something: the host, or the client by an AUTH.
  enum class Turn : uint8_t { Nobody, Host, Client };
  struct Timeout : Timer {
    Connection* connection = nullptr;
  };
  ~Authentication() { timeout.cancel(); }
  std::string_view method_text() const noexcept { return {method.begin(), method.count()}; }

  Array<char> method;        // of CONNECT, and so of every packet that names one
  Array<char> client_id;     // the one that we assigned, else empty
  Array<std::byte> connect;  // the packet, from the first AUTH until it is carried out
  Array<std::byte> data;     // for CONNACK
  Timeout timeout;           // of a re-authentication
  uint32_t question = 0;     // the host's, about a re-authentication
  uint8_t round = 0;         // AUTH packets of the client's that went on
  Turn turn = Turn::Nobody;
};

inline Authentication* Connection::authentication() const noexcept { return rare_ ? rare_->authentication : nullptr; }

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

template <class Packet>
bool Connection::too_large(const Packet& packet) const noexcept {
  if (version_ != ProtocolVersion::V5 || !packet_size_out_) return false;
  codec::Writer counting;
  codec::encode(packet, version_, counting);
  return counting.size() > packet_size_out_;
}

template <class Packet>
void Connection::send_reason(Packet packet) noexcept {
  if (!problem_information_) packet.reason_string = {};  // [MQTT-3.1.2-29]
  // [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
  if (!packet.reason_string.empty() && too_large(packet)) packet.reason_string = {};
  if constexpr (requires { packet.server_reference; }) {
    if (!packet.server_reference.empty() && too_large(packet)) packet.server_reference = {};
  }
  send(packet, version_);
}

}  // namespace mqttq
