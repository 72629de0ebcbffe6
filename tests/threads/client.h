// A blocking client for tests with threads: one socket, one packet after the other, every wait bounded.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "codec/codec.h"

namespace mqttq::test {

// Throws std::runtime_error when the broker closes, breaks the protocol, or is silent for 20 s.
class Client {
 public:
  // address: "127.0.0.1:PORT".
  explicit Client(const std::string& address);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Returns Session Present.
  bool connect(const std::string& client_id, bool clean_start = true, uint32_t session_expiry_s = 0);
  void subscribe(const std::string& topic_filter, Qos qos);
  void unsubscribe(const std::string& topic_filter);
  // Waits for the whole exchange; messages that come meanwhile are kept.
  void publish(const std::string& topic_name, const std::string& payload, Qos qos, bool retain = false);
  void disconnect();

  struct Received {
    std::string topic_name, payload;
    Qos qos;
    bool retain;
  };
  // The next message, acknowledged.
  Received receive();
  // All that come until `payload` does, which is left out.
  std::vector<Received> receive_until(const std::string& payload);
  // The reason of the DISCONNECT that the broker sends next.
  ReasonCode wait_for_disconnect();

 private:
  template <class... Packet>
  void send(const Packet&... packet);
  void send_raw(const std::vector<std::byte>& bytes);
  // The next packet's bytes, of any type.
  std::vector<std::byte> read_packet();
  // The next packet of this type; messages before it are kept and acknowledged.
  std::vector<std::byte> read(codec::PacketType type);
  // Takes a PUBLISH or PUBREL that belongs to a message for us.
  bool take_message(const std::vector<std::byte>& packet);

  int socket_ = -1;
  std::vector<std::byte> input_;
  std::vector<Received> inbox_;
  uint16_t next_packet_id_ = 1;
};

}  // namespace mqttq::test
