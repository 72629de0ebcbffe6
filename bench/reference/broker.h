// The minimal reference: the least a broker can do per message, as a yardstick for how near a full one comes.
//
// One thread, one epoll. It parses CONNECT, PUBLISH and SUBSCRIBE of 3.1.1 and 5, looks the topic up in a hash, gathers
// output per connection and writes it once per turn. It has no sessions, retained messages, wills, QoS 2, keep alive,
// limits or permissions, and it trusts its clients to be the load generator: anything else ends the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "load/buffer.h"

namespace mqttq::bench {

class Reference {
 public:
  // Binds 127.0.0.1:port; 0 = any free port. Throws std::runtime_error.
  explicit Reference(uint16_t port);
  ~Reference();
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;

  uint16_t port() const { return port_; }

  // Serves until `stop` (set by a signal handler) is true.
  void run(const volatile bool& stop);

 private:
  struct Connection;
  struct Subscription {
    Connection* connection;
    uint8_t qos;
  };
  // Everything that wants one topic: plain subscriptions, and the groups of which one member gets each message.
  struct Group {
    std::string name;
    std::vector<Subscription> members;
    size_t next = 0;
  };
  struct Topic {
    std::vector<Subscription> subscriptions;
    std::vector<Group> groups;
  };
  struct PrefixFilter {
    std::string prefix;  // what stands before "#", its "/" included
    Subscription subscription;
  };
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  // A PUBLISH being forwarded; the views point into the read buffer.
  struct Message {
    std::span<const std::byte> packet;
    std::string_view topic_name;
    std::span<const std::byte> payload;
    uint8_t qos;
    size_t packet_id_offset;  // in `packet`; 0 at QoS 0
    uint8_t version;
  };

  void accept_all();
  void read(Connection& connection);
  bool handle_packet(Connection& connection, std::span<const std::byte> packet, std::span<const std::byte> body);
  bool handle_connect(Connection& connection, std::span<const std::byte> body);
  bool handle_publish(Connection& connection, std::span<const std::byte> packet, std::span<const std::byte> body);
  bool handle_subscribe(Connection& connection, std::span<const std::byte> body);
  uint8_t subscribe(Connection& connection, std::string_view filter, uint8_t qos);
  Topic& topic(std::string_view name);
  void forward(const Message& message, const Subscription& to);
  void touch(Connection& connection);
  void flush(Connection& connection);
  void close(Connection& connection);

  int epoll_fd_ = -1;
  int listen_fd_ = -1;
  uint16_t port_ = 0;
  std::unique_ptr<std::byte[]> read_buffer_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;  // by descriptor
  std::unordered_map<std::string, Topic, TextHash, std::equal_to<>> topics_;
  std::vector<PrefixFilter> prefix_filters_;  // looked through when a topic is first seen
  std::vector<Connection*> touched_;
  std::vector<std::unique_ptr<Connection>> closed_;  // until the end of the turn
};

}  // namespace mqttq::bench
