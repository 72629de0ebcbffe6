// A shard with real sockets, driven by the test, while memory is refused.
#include "broker/shard.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "broker/broker.h"
#include "heap.h"
#include "websocket_peer.h"

namespace mqttq {

namespace {

using namespace ws;

// A broker of one shard without threads, and a listener.
struct Test {
  explicit Test(std::string_view websocket_path) : broker(setup()) {
    broker.start();
    const Broker::Listening listening = broker.open_listener("127.0.0.1:0", ListenerInfo(), websocket_path);
    REQUIRE(listening.id);
    port = static_cast<uint16_t>(std::stoi(listening.address.substr(listening.address.rfind(':') + 1)));
    turn();
  }
  static BrokerSetup setup() {
    BrokerSetup setup;
    setup.own_threads = false;
    return setup;
  }
  void turn() {
    for (int i = 0; i < 4; ++i) broker.shard(0).turn();
  }

  Broker broker;
  uint16_t port = 0;
};

struct Client {
  explicit Client(uint16_t port) : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    REQUIRE(::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { ::close(socket); }
  void send(std::string_view bytes) const {
    static_cast<void>(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL));  // it may be closed by now
  }
  std::string receive() const {
    std::string bytes;
    char block[4096];
    for (ssize_t got; (got = ::recv(socket, block, sizeof block, MSG_DONTWAIT)) > 0;) {
      bytes.append(block, static_cast<size_t>(got));
    }
    return bytes;
  }
  const int socket;
};

// Of 3.1.1: CONNECT, SUBSCRIBE to "t", PUBLISH to it.
const std::string kConnect("\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01u", 15);
const std::string kSubscribe("\x82\x06\x00\x01\x00\x01t\x00", 8);
const std::string kPublish("\x30\x05\x00\x01txy", 7);

}  // namespace

TEST_CASE("a connection through a WebSocket ends without memory, and leaves nothing behind", "[broker]") {
  const int64_t blocks = heap_blocks();
  const std::string_view request(kRequest);
  const std::string steps[] = {std::string(request.substr(0, 50)),
                               std::string(request.substr(50)) + frame(kBinary, kConnect.substr(0, 9)),
                               frame(kPing, "?") + frame(kBinary, kConnect.substr(9)),
                               frame(kBinary, kSubscribe) + frame(kBinary, kPublish), frame(kClose, "\x03\xE8")};
  bool completed = false;
  for (int64_t after = 0; !completed; ++after) {
    REQUIRE(after < 500);
    {
      Test test("/mqtt");
      std::string received;
      {
        const Client client(test.port);
        {
          const FailingHeap failing(after);
          for (const std::string& step : steps) {
            client.send(step);
            test.turn();
          }
        }
        received = client.receive();
        // Whoever comes next is served, if the one before is served no more.
        const Client next(test.port);
        next.send(request);
        test.turn();
        REQUIRE(next.receive().starts_with("HTTP/1.1 101 "));
      }
      test.turn();
      completed = received.ends_with(sent_frame("\x90\x03" + std::string("\x00\x01\x00", 3) + kPublish) +
                                     std::string("\x88\x02\x03\xE8"));
      test.broker.stop();
    }
    REQUIRE(heap_blocks() == blocks);
  }
}

}  // namespace mqttq
