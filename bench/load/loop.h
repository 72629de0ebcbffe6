// All clients of one run on one thread: one epoll, one read buffer, and one write per client and turn.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "load/wire.h"

namespace mqttq::bench {

class Client;

// What a scenario does with what its clients receive. Called from Loop::turn; may queue packets on any client and
// may close the client it is called for.
class Handler {
 public:
  virtual ~Handler() = default;
  // A message came; the loop has queued the PUBACK or PUBREC already.
  virtual void on_publish(Client& client, const Publish& publish) = 0;
  // A message of ours is finished: PUBACK at QoS 1, PUBCOMP at QoS 2.
  virtual void on_acknowledged(Client& client, uint16_t packet_id);
  virtual void on_connected(Client&) {}
  virtual void on_subscribed(Client&) {}
  virtual void on_pong(Client&) {}
  // The broker closed the connection. Unless the scenario expects it, that is a Failure.
  virtual void on_closed(Client& client);
  // Once per turn, after everything readable was read and before anything is written.
  virtual void on_turn() {}
};

// One MQTT client. Owned by its Loop; scenarios keep references until Loop::close.
class Client {
 public:
  Buffer out;          // queue packets here, then Loop::touch
  uint32_t index = 0;  // the scenario's own number for this client
  Handler* handler = nullptr;
  Version version = Version::V311;
  bool connected = false;  // CONNACK came, with success
  bool session_present = false;
  uint16_t receive_maximum = 65535;
  uint32_t subscribed_count = 0;  // SUBACKs

 private:
  friend class Loop;
  int fd_ = -1;
  size_t slot_ = 0;
  bool touched_ = false;
  bool awaiting_write_ = false;
  std::vector<std::byte> partial_;  // the beginning of a packet whose rest has not come; empty and unallocated else
};

class Loop {
 public:
  // host: a numeric IPv4 address.
  Loop(const std::string& host, uint16_t port);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Connects the socket and queues CONNECT. CONNACK sets Client::connected and calls on_connected.
  Client& open(const ConnectOptions& options, Handler& handler, uint32_t index);

  // Opens `count` clients, at most 64 handshakes at a time so that no accept queue overflows, and returns them when
  // the last CONNACK has come. Indices run from 0.
  std::vector<Client*> open_all(uint32_t count, Handler& handler,
                                const std::function<ConnectOptions(uint32_t)>& options);

  // Subscribes and waits for the SUBACK; at most 200 filters to a packet, one packet at a time.
  void subscribe(Client& client, const std::vector<std::string>& filters, uint8_t qos);

  // Resets the connection, so that no port of ours stays in TIME_WAIT. The Client is gone at the end of the turn.
  void close(Client& client);

  // Sends DISCONNECT and waits until the broker has closed the connection, then closes ours.
  void disconnect(Client& client, bool end_session);

  // Has `client.out` written at the end of this turn.
  void touch(Client& client) {
    if (client.touched_) return;
    client.touched_ = true;
    touched_.push_back(&client);
  }

  // Waits up to timeout_ms (0 = not at all) for readable clients, reads them, calls on_turn, writes what was queued.
  void turn(int timeout_ms);

  // Turns until `done()` or until CLOCK_MONOTONIC reads deadline_ns; returns done().
  bool run_until(const std::function<bool()>& done, uint64_t deadline_ns);

  // Like run_until, but failing to get there within `seconds` is a Failure that names `what`.
  void require(const std::function<bool()>& done, double seconds, std::string_view what);

  // The scenario whose on_turn is called; borrowed.
  void set_turn_handler(Handler* handler) { turn_handler_ = handler; }
  // True: turn() never sleeps, as an open-loop schedule finer than a wake-up needs.
  void set_busy_polling(bool busy) { busy_polling_ = busy; }

  // CLOCK_MONOTONIC as of the last receive: messages of one receive share their arrival.
  uint64_t now_ns() const { return now_ns_; }
  static uint64_t clock_ns();

 private:
  void read(Client& client);
  void handle_frame(Client& client, const Frame& frame);
  void write(Client& client);
  void watch(Client& client, bool for_write);
  void forget_closed();

  int epoll_fd_ = -1;
  uint32_t address_ = 0;  // network order
  uint16_t port_ = 0;     // network order
  uint64_t now_ns_ = 0;
  bool busy_polling_ = false;
  Handler* turn_handler_ = nullptr;
  std::unique_ptr<std::byte[]> read_buffer_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<size_t> free_slots_;
  std::vector<Client*> touched_;
  std::vector<Client*> closed_;  // until the end of the turn, since epoll may still name them
};

}  // namespace mqttq::bench
