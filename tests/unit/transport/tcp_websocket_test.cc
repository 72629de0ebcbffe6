// A socket that speaks through a WebSocket, under a loop: ends, pauses, goodbyes, and the way to another loop.
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "base/alloc.h"
#include "heap.h"
#include "transport/tcp.h"
#include "transport/websocket.h"
#include "websocket_peer.h"

namespace mqttq {

namespace {

using namespace ws;

struct Owner final : TcpOwner {
  ~Owner() {
    while (TcpLink* link = lingering.front()) link->end();
  }
  Poller& poller() noexcept override { return poller_; }
  std::span<char> address_buffer() noexcept override { return address; }
  std::span<std::byte> read_buffer() noexcept override { return buffer; }
  void on_read(TcpLink& link, Bytes bytes) noexcept override {
    payload.append(as_text(bytes));
    if (pause_at_read) link.pause_reading(true);
  }
  void on_writable(TcpLink& link) noexcept override {
    const Bytes piece = as_bytes(to_send);
    to_send.erase(0, link.write({&piece, 1}));
  }
  void on_peer_closed(TcpLink&, bool broken) noexcept override { said += broken ? "broken " : "closed "; }
  void on_linger(TcpLink& link) noexcept override { lingering.push_back(link); }
  void on_violation(TcpLink&, const char* what) noexcept override { said += std::string(what) + ' '; }
  void on_resumed(TcpLink& link) noexcept override { resumed = &link; }
  bool stopping() const noexcept override { return stops; }
  void turn() {
    for (int i = 0; i < 3; ++i) poller_.wait(0);
  }

  Poller poller_{this,
                 [](void*, void* item, uint8_t events) noexcept { static_cast<TcpLink*>(item)->on_ready(events); }};
  char address[64];
  std::byte buffer[4096];
  std::string payload, to_send, said;
  TcpLink* resumed = nullptr;
  bool pause_at_read = false, stops = false;
  IntrusiveList<TcpLink, TcpLinkTag> lingering;
};

// A link of `owner`, and the socket at its other end.
struct Test {
  explicit Test(bool opened = true) {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    const int size = 4096;  // the system makes it some more
    ::setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    peer = pair[1];
    sockaddr_storage address{};
    address.ss_family = AF_UNIX;
    link = create<TcpLink>(pair[0], address);
    link->set_websocket(create<WebSocket>("/mqtt"));
    REQUIRE(link->start(owner));
    if (!opened) return;
    send(kRequest);
    owner.turn();
    REQUIRE(receive().starts_with("HTTP/1.1 101 "));
  }
  ~Test() {
    if (link) link->close(true);
    ::close(peer);
  }
  void send(std::string_view bytes) const {
    REQUIRE(::send(peer, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  // What has come, at once.
  std::string receive() const {
    std::string bytes;
    char block[1024];
    for (ssize_t got; (got = ::recv(peer, block, sizeof block, 0)) > 0;) bytes.append(block, static_cast<size_t>(got));
    return bytes;
  }
  bool at_end() const {
    char byte;
    return ::recv(peer, &byte, 1, 0) == 0;
  }
  void close(bool abort) {
    link->close(abort);
    link = nullptr;
  }

  Owner owner;
  TcpLink* link = nullptr;
  int peer = -1;
};

}  // namespace

TEST_CASE("a link with a WebSocket carries payload both ways", "[transport]") {
  Test test;
  test.send(frame(kBinary, "CONN", {.final = false}) + frame(kPing, "?") + frame(kContinuation, "ECT"));
  test.owner.turn();
  CHECK(test.owner.payload == "CONNECT");
  CHECK(read_frames(test.receive()) == std::vector<Frame>{{kPong, "?"}});
  const Bytes pieces[] = {as_bytes("CONN"), as_bytes("ACK")};
  CHECK(test.link->write(pieces) == 7);
  CHECK(read_frames(test.receive()) == std::vector<Frame>{{kBinary, "CONNACK"}});
}

TEST_CASE("a link that the system takes a part from goes on when there is room", "[transport][MQTT-6.0.0-2]") {
  Test test;
  for (size_t i = 0; i < 1'000'000; ++i) test.owner.to_send += static_cast<char>(i * 31 >> 3);
  const std::string whole = test.owner.to_send;
  test.owner.on_writable(*test.link);
  REQUIRE(test.owner.to_send.size() > 900'000);
  test.send(frame(kPing, "?"));
  std::string got;
  for (int turns = 0; !test.owner.to_send.empty(); ++turns) {
    REQUIRE(turns < 100'000);
    got += test.receive();
    test.owner.turn();
  }
  got += test.receive();
  CHECK(read_frames(got) == std::vector<Frame>{{kBinary, whole}, {kPong, "?"}});
}

TEST_CASE("a WebSocket's end is told when what came before it may be handled", "[transport]") {
  Test test;
  test.owner.pause_at_read = true;
  test.send(frame(kBinary, "PUBLISH") + frame(kClose, "\x03\xE8"));
  test.owner.turn();
  CHECK(test.owner.payload == "PUBLISH");
  CHECK(test.owner.said.empty());
  test.link->pause_reading(false);
  CHECK(test.owner.said.empty());  // not from within
  REQUIRE(test.owner.resumed == test.link);
  test.link->tell_end();
  test.link->tell_end();
  CHECK(test.owner.said == "closed ");
  test.close(true);
  CHECK(read_frames(test.receive()) == std::vector<Frame>{close_frame(1000)});
  CHECK(test.at_end());
}

TEST_CASE("an end is told at once when nothing is paused, and once", "[transport]") {
  Test test;
  test.send(frame(kBinary, "PUBLISH") + frame(kText, "x") + frame(kBinary, "more"));
  test.owner.turn();
  test.send(frame(kBinary, "more"));
  test.owner.turn();
  CHECK(test.owner.payload == "PUBLISH");
  CHECK(test.owner.said == "a text frame ");
  // The owner closes it in good order; our goodbye is behind what is said last, and the rest is read away.
  const Bytes last = as_bytes("DISCONNECT");
  test.link->write({&last, 1});
  test.close(false);
  CHECK(read_frames(test.receive()) == std::vector<Frame>{{kBinary, "DISCONNECT"}, close_frame(1003)});
  CHECK(test.at_end());
}

TEST_CASE("a link that is closed says goodbye, and says when all is closed", "[transport]") {
  for (const bool stops : {false, true}) {
    Test test;
    test.owner.stops = stops;
    test.close(false);
    CHECK(read_frames(test.receive()) == std::vector<Frame>{close_frame(stops ? 1001 : 1000)});
    CHECK(test.at_end());
  }
  Test test;
  test.close(true);  // without a word
  CHECK(test.receive().empty());
  CHECK(test.at_end());
}

TEST_CASE("a peer that is gone without a close frame is told as on any socket", "[transport]") {
  Test half;
  ::shutdown(half.peer, SHUT_WR);
  half.owner.turn();
  CHECK(half.owner.said.starts_with("closed "));
  const Bytes last = as_bytes("PUBACK");
  CHECK(half.link->write({&last, 1}) == 6);
  CHECK(read_frames(half.receive()) == std::vector<Frame>{{kBinary, "PUBACK"}});
}

TEST_CASE("a refused request is answered, and the socket ends behind the answer", "[transport]") {
  Test test(false);
  test.send("GET / HTTP/1.1\r\n\r\n");
  test.owner.turn();
  CHECK(test.owner.said == "there is nothing at this path ");
  test.close(false);
  const std::string answer = test.receive();
  CHECK(answer.starts_with("HTTP/1.1 404 "));
  CHECK(answer.ends_with("there is nothing at this path\n"));
  CHECK(test.at_end());
}

TEST_CASE("a link goes to another loop within a request, a frame and a write", "[transport]") {
  Owner other;
  const std::string request(kRequest);
  const std::string whole = request + frame(kBinary, "CONNECT");
  for (const size_t at : {size_t{10}, request.size() - 1, request.size() + 3, whole.size() - 2}) {
    const int64_t blocks = heap_blocks();
    Test one(false);
    one.send(std::string_view(whole).substr(0, at));
    one.owner.turn();
    one.link->stop();
    one.send(std::string_view(whole).substr(at));
    REQUIRE(one.link->start(other));
    other.turn();
    CHECK(one.owner.payload + other.payload == "CONNECT");
    CHECK(one.receive().starts_with("HTTP/1.1 101 "));

    other.to_send = std::string(100'000, 'x');
    other.on_writable(*one.link);
    one.link->stop();
    REQUIRE(one.link->start(other));
    std::string got;
    for (int turns = 0; !other.to_send.empty(); ++turns) {
      REQUIRE(turns < 10'000);
      got += one.receive();
      other.turn();
    }
    got += one.receive();
    CHECK(read_frames(got) == std::vector<Frame>{{kBinary, std::string(100'000, 'x')}});
    one.close(true);
    other.turn();
    other.payload.clear();
    one.owner.turn();
    CHECK(heap_blocks() == blocks);
  }
}

TEST_CASE("a WebSocket without memory ends like a broken connection", "[transport]") {
  Test test(false);
  test.send(std::string_view(kRequest).substr(0, 20));
  {
    const FailingHeap failing(0);
    test.owner.turn();
  }
  CHECK(test.owner.said == "broken ");
}

}  // namespace mqttq
