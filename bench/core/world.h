// A broker without I/O: what a client sends is handed to its first shard, what it says goes nowhere and is counted.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "broker/committer.h"
#include "codec/codec.h"
#include "message/message_pool.h"
#include "session/shard_core.h"

namespace mqttq::bench {

class World;

// One client. Its link takes everything at once.
class Client final : private Link {
 public:
  Client(World& world, std::string_view client_id, uint32_t session_expiry_s, std::string_view will_topic);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Bytes of whole packets, as read at once.
  void send(Bytes bytes);
  template <class... Packet>
  void send_packet(const Packet&... packet) {
    send(encoded(packet...));
  }
  void subscribe(std::string_view topic_filter, Qos qos);
  void publish(std::string_view topic_name, Qos qos, uint16_t packet_id, bool retain = false);
  // The network fails.
  void drop();

  template <class... Packet>
  static std::vector<std::byte> encoded(const Packet&... packet) {
    codec::Writer counting;
    codec::encode(packet..., counting);
    std::vector<std::byte> bytes(counting.size());
    codec::Writer writing(bytes.data());
    codec::encode(packet..., writing);
    return bytes;
  }

  uint64_t bytes_written = 0;

 private:
  size_t write(std::span<const Bytes> pieces) noexcept override;
  void pause_reading(bool) noexcept override {}
  void close(bool) noexcept override { connection_ = nullptr; }
  std::string_view peer_address() const noexcept override { return "bench"; }

  World& world_;
  Connection* connection_ = nullptr;
};

class World {
 public:
  explicit World(const Limits& limits = {}, uint32_t shard_count = 1);
  ~World();

  // Lives as long as the world.
  Client& connect(std::string_view client_id, uint32_t session_expiry_s = 0, std::string_view will_topic = {});

  void declare_queue(std::string_view name, std::string_view topic_filter);

  // A name that begins so, of a client whose sessions live on the first shard.
  std::string name_here(std::string_view prefix) noexcept;

  // One turn, and further ones while there is more to do.
  void settle();
  void advance_s(int64_t duration_s);
  ShardCore& core() noexcept { return *cores_[0]; }
  Instant now() const noexcept { return now_; }
  Epoch& epoch() noexcept { return router_.epoch(); }

 private:
  struct NoNetwork final : Network {
    void detach(Link&, uint32_t) noexcept override {}
    bool adopt(Link&, Connection&) noexcept override { return false; }
  };

  MessagePool messages_;
  MessagePool* const outer_messages_ = MessagePool::set_current(&messages_);
  Limits limits_;
  Policy policy_;
  Router router_;
  PostOffice office_;
  Population population_;
  VolatileLog log_;
  Committer committer_{office_, log_};
  NoNetwork network_;
  Instant now_{1'000 * kSecond};
  std::deque<Client> clients_;
  std::vector<std::unique_ptr<ShardCore>> cores_;
};

}  // namespace mqttq::bench
