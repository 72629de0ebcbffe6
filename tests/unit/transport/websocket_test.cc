// MQTT in frames: every rule at every split of the input, with memory and without.
#include "transport/websocket.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "heap.h"
#include "transport/http_upgrade.h"
#include "websocket_peer.h"

namespace mqttq {

namespace {

using namespace ws;
using End = WebSocket::End;

// Takes what there is room for.
struct TestWire final : WebSocketWire {
  size_t send(std::span<const Bytes> pieces) noexcept override {
    ++sends;
    size_t taken = 0;
    for (const Bytes piece : pieces) {
      const size_t step = std::min(piece.size(), room);
      bytes.append(as_text(piece.first(step)));
      taken += step;
      room -= step;
      if (step < piece.size()) break;
    }
    return taken;
  }
  std::string bytes;
  size_t room = SIZE_MAX;
  uint32_t sends = 0;
};

// A WebSocket, what came out of it above, and what below.
struct Test {
  explicit Test(bool opened = true) {
    if (!opened) return;
    feed(kRequest);
    flush();
    REQUIRE(wire.bytes.starts_with("HTTP/1.1 101 "));
    wire.bytes.clear();
  }
  // Read in parts of at most `step` bytes, each in a block of its own.
  Test& feed(std::string_view bytes, size_t step = SIZE_MAX) {
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, step);
      std::vector<std::byte> block(as_bytes(part).begin(), as_bytes(part).end());
      const size_t size = websocket.read(block);
      REQUIRE(size <= block.size());
      payload.append(as_text(Bytes(block).first(size)));
      bytes.remove_prefix(part.size());
    }
    return *this;
  }
  void flush() { websocket.write({}, wire); }
  size_t send(std::vector<std::string_view> pieces) {
    std::vector<Bytes> views;
    for (const std::string_view piece : pieces) views.push_back(as_bytes(piece));
    return websocket.write(views, wire);
  }
  // As its owner does when it has ended, or ends.
  std::string goodbye(uint16_t code = WebSocket::kNormal) {
    flush();
    websocket.close(code);
    flush();
    return wire.bytes;
  }

  WebSocket websocket{"/mqtt"};
  TestWire wire;
  std::string payload;
};

// The same for every way of cutting `bytes` in two, and for single bytes.
template <class Check>
void at_every_split(std::string_view bytes, Check&& check) {
  for (size_t at = 0; at <= bytes.size(); ++at) {
    Test test;
    test.feed(bytes.substr(0, at)).feed(bytes.substr(at));
    check(test);
  }
  for (const size_t step : {1, 2, 3}) {
    Test test;
    test.feed(bytes, step);
    check(test);
  }
}

void check_refused(std::string_view bytes, uint16_t code, std::string_view payload_before = {}) {
  at_every_split(bytes, [&](Test& test) {
    CHECK(test.websocket.end() == End::Violation);
    CHECK(std::string_view(test.websocket.fault()).size() > 5);
    CHECK(test.payload == payload_before);
    CHECK(read_frames(test.goodbye()) == std::vector<Frame>{close_frame(code)});
    test.feed(frame(kBinary, "more"));
    CHECK(test.payload == payload_before);
  });
}

}  // namespace

// --- the opening handshake

TEST_CASE("a request in any pieces opens a WebSocket, and what is behind it are frames", "[transport]") {
  const std::string bytes = std::string(kRequest) + frame(kBinary, "CONNECT");
  for (size_t at = 0; at <= bytes.size(); ++at) {
    Test test(false);
    test.feed(std::string_view(bytes).substr(0, at)).feed(std::string_view(bytes).substr(at));
    CHECK(test.payload == "CONNECT");
    CHECK(test.websocket.has_answer());
    test.flush();
    CHECK(test.wire.bytes.starts_with("HTTP/1.1 101 "));
    CHECK(test.wire.bytes.ends_with("\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"));
    CHECK_FALSE(test.websocket.has_answer());
  }
  Test test(false);
  CHECK(test.feed(bytes, 1).payload == "CONNECT");
}

TEST_CASE("the answer to the request goes before the first frame", "[transport]") {
  Test test(false);
  test.feed(kRequest);
  CHECK(test.send({"CONNACK"}) == 7);
  CHECK(test.wire.bytes.starts_with("HTTP/1.1 101 "));
  CHECK(test.wire.bytes.ends_with("\r\n\r\n" + sent_frame("CONNACK")));
}

TEST_CASE("a request that is refused is answered, and nothing behind it is read", "[transport]") {
  std::string request(kRequest);
  request.replace(request.find("/mqtt"), 5, "/none");
  for (const size_t step : {SIZE_MAX, size_t{1}, size_t{7}}) {
    Test test(false);
    test.feed(request + frame(kBinary, "x"), step);
    CHECK(test.websocket.end() == End::Violation);
    CHECK(std::string_view(test.websocket.fault()) == "there is nothing at this path");
    CHECK(test.payload.empty());
    CHECK(test.goodbye().starts_with("HTTP/1.1 404 Not Found\r\n"));
    CHECK(test.wire.bytes.ends_with("\r\n\r\nthere is nothing at this path\n"));  // and no frame
  }
}

TEST_CASE("another protocol is answered at its first byte", "[transport]") {
  Test test(false);
  test.feed("\x10");
  CHECK(test.websocket.end() == End::Violation);
  CHECK(test.goodbye().starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

TEST_CASE("a request has at most 8 KiB", "[transport]") {
  const std::string request(kRequest);
  const auto padded = [&](size_t size) {
    const std::string name = "X-Padding: ";
    return request.substr(0, request.size() - 2) + name + std::string(size - request.size() - name.size() - 2, 'x') +
           "\r\n\r\n";
  };
  for (const size_t step : {SIZE_MAX, size_t{1}, size_t{1000}}) {
    Test longest(false), longer(false), endless(false);
    const std::string bytes = padded(kUpgradeRequestMax);
    REQUIRE(bytes.size() == kUpgradeRequestMax);
    CHECK(longest.feed(bytes + frame(kBinary, "x"), step).payload == "x");
    longer.feed(padded(kUpgradeRequestMax + 1), step);
    CHECK(longer.websocket.end() == End::Violation);
    CHECK(longer.goodbye().starts_with("HTTP/1.1 431 "));
    endless.feed(std::string(3 * kUpgradeRequestMax, 'x'), step);
    CHECK(endless.goodbye().starts_with("HTTP/1.1 431 "));
  }
}

// --- bytes in

TEST_CASE("binary frames of every length are payload, however they are cut",
          "[transport][MQTT-6.0.0-2][MQTT311-6.0.0-2]") {
  std::string bytes, expected;
  for (const size_t size : {0, 1, 2, 7, 8, 9, 63, 125, 126, 127, 300}) {
    std::string payload;
    for (size_t i = 0; i < size; ++i) payload += static_cast<char>(i * 7 + size);
    expected += payload;
    bytes += frame(kBinary, payload);
  }
  at_every_split(bytes, [&](Test& test) {
    CHECK(test.payload == expected);
    CHECK(test.websocket.end() == End::None);
    CHECK_FALSE(test.websocket.has_answer());
  });
}

TEST_CASE("frames whose length has 16 or 64 bits are payload", "[transport][MQTT-6.0.0-2]") {
  for (const size_t size : {65'535, 65'536, 200'000}) {
    const std::string payload(size, 'p');
    for (const size_t step : {SIZE_MAX, size_t{1}, size_t{4093}}) {
      Test test;
      test.feed(frame(kBinary, payload) + frame(kBinary, "end"), step);
      CHECK(test.payload == payload + "end");
    }
  }
}

TEST_CASE("a message in fragments is payload, with control frames between them",
          "[transport][MQTT-6.0.0-2][MQTT311-6.0.0-2]") {
  const std::string bytes = frame(kBinary, "a", {.final = false}) + frame(kPing, "?") +
                            frame(kContinuation, "", {.final = false}) + frame(kContinuation, "bc", {.final = false}) +
                            frame(kPong, "unasked") + frame(kContinuation, "d") + frame(kBinary, "e");
  at_every_split(bytes, [](Test& test) {
    CHECK(test.payload == "abcde");
    test.flush();
    CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kPong, "?"}});
  });
}

TEST_CASE("a frame of 2^63 - 1 bytes is streamed, not gathered", "[transport]") {
  const int64_t before = heap_blocks();
  Test test;
  std::string head = frame_head(kBinary, (uint64_t{1} << 63) - 1);
  test.feed(head);
  for (int i = 0; i < 100; ++i) test.feed(masked(std::string(1000, 'x')));
  CHECK(test.payload == std::string(100'000, 'x'));
  CHECK(heap_blocks() == before);
}

TEST_CASE("text ends the connection by 1003, and what came before it counts",
          "[transport][MQTT-6.0.0-1][MQTT311-6.0.0-1]") {
  check_refused(frame(kBinary, "good") + frame(kText, "text"), 1003, "good");
  check_refused(frame(kText, ""), 1003);
  check_refused(frame(kText, "te", {.final = false}), 1003);
  check_refused(frame(kBinary, "good", {.final = false}) + frame(kText, "xt"), 1003, "good");
}

TEST_CASE("what breaks the protocol of frames ends the connection by 1002", "[transport]") {
  const std::string good = frame(kBinary, "good");
  check_refused(good + frame(kBinary, "x", {.mask = false}), 1002, "good");
  check_refused(frame(kPing, "", {.mask = false}), 1002);
  for (const uint8_t bit : {0x10, 0x20, 0x40})
    check_refused(good + frame(kBinary, "x", {.reserved = bit}), 1002, "good");
  for (const uint8_t opcode : {3, 4, 5, 6, 7, 11, 12, 13, 14, 15}) check_refused(frame(opcode, "x"), 1002);
  check_refused(frame(kContinuation, "x"), 1002);
  check_refused(good + frame(kContinuation, "x"), 1002, "good");
  check_refused(frame(kBinary, "a", {.final = false}) + frame(kBinary, "b"), 1002, "a");
  for (const uint8_t opcode : {kPing, kPong, kClose}) {
    check_refused(frame(opcode, "x", {.final = false}), 1002);
    check_refused(frame(opcode, std::string(126, 'x')), 1002);
  }
  check_refused(frame(kBinary, std::string(125, 'x'), {.length_bytes = 2}), 1002);
  check_refused(frame(kBinary, "", {.length_bytes = 8}), 1002);
  check_refused(frame(kBinary, std::string(300, 'x'), {.length_bytes = 8}), 1002);
  check_refused(frame_head(kBinary, uint64_t{1} << 63), 1002);
}

TEST_CASE("a frame is judged when its first two bytes are there", "[transport]") {
  Test test;
  test.feed(frame(kText, "x").substr(0, 2));
  CHECK(test.websocket.end() == End::Violation);
}

// --- control frames

TEST_CASE("a ping is answered by a pong with its payload, of up to 125 bytes", "[transport]") {
  for (const size_t size : {0, 1, 4, 125}) {
    const std::string payload(size, '?');
    at_every_split(frame(kPing, payload) + frame(kBinary, "x"), [&](Test& test) {
      CHECK(test.payload == "x");
      REQUIRE(test.websocket.has_answer());
      test.flush();
      CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kPong, payload}});
      CHECK_FALSE(test.websocket.has_answer());
    });
  }
}

TEST_CASE("of many pings only the newest is answered while nothing can be sent", "[transport]") {
  Test test;
  test.wire.room = 0;
  const int64_t before = heap_bytes();
  for (int i = 0; i < 1000; ++i) {
    test.feed(frame(kPing, std::to_string(i)));
    test.flush();
  }
  CHECK(heap_bytes() < before + 300);
  test.wire.room = SIZE_MAX;
  test.flush();
  // The first was on its way already.
  CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kPong, "0"}, {kPong, "999"}});
}

TEST_CASE("a pong that is partly sent goes on to its end", "[transport]") {
  Test test;
  test.feed(frame(kPing, "one"));
  test.wire.room = 3;
  test.flush();
  test.feed(frame(kPing, "two")).feed(frame(kPing, "three"));
  test.wire.room = SIZE_MAX;
  CHECK(test.send({"payload"}) == 7);
  CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kPong, "one"}, {kBinary, "payload"}, {kPong, "three"}});
}

TEST_CASE("a close frame is answered by its own code, and nothing behind it is read", "[transport]") {
  for (const auto& [payload, answer] : {std::pair<std::string, Frame>{"", {kClose, ""}},
                                        {"\x03\xE8", {kClose, "\x03\xE8"}},
                                        {"\x03\xE9 going", {kClose, "\x03\xE9"}},
                                        {"\x0F\xA0", {kClose, "\x0F\xA0"}}}) {
    at_every_split(frame(kBinary, "last") + frame(kClose, payload) + frame(kBinary, "x"), [&](Test& test) {
      CHECK(test.payload == "last");
      CHECK(test.websocket.end() == End::ByPeer);
      CHECK(read_frames(test.goodbye()) == std::vector<Frame>{answer});
      CHECK(test.goodbye() == test.wire.bytes);  // once
    });
  }
}

TEST_CASE("a close frame with half a code, or one that may not be sent, breaks the protocol", "[transport]") {
  for (const char* payload : {"\x03", "\x03\xE7", "\x03\xED", "\x03\xEE", "\x07\xD0", "\x13\x88", "\xFF\xFF"}) {
    check_refused(frame(kClose, payload), 1002);
  }
  check_refused(frame(kClose, std::string(2, '\0')), 1002);
}

TEST_CASE("we say goodbye behind the last frame, once", "[transport]") {
  Test test;
  test.send({"DISCONNECT"});
  test.goodbye(WebSocket::kGoingAway);
  CHECK(read_frames(test.goodbye()) == std::vector<Frame>{{kBinary, "DISCONNECT"}, close_frame(1001)});
}

TEST_CASE("there is no goodbye within a frame, nor before there is a WebSocket", "[transport]") {
  Test test;
  test.wire.room = 5;
  test.send({"payload"});
  test.wire.room = SIZE_MAX;
  CHECK(test.goodbye() == sent_frame("payload").substr(0, 5));
  CHECK(test.send({"load"}) == 4);  // the next write ends the frame, and nothing else
  CHECK(test.wire.bytes == sent_frame("payload"));
  Test unopened(false);
  CHECK(unopened.feed("GET /mqtt").goodbye().empty());
}

TEST_CASE("a ping that waits is not answered behind our goodbye", "[transport]") {
  Test test;
  test.feed(frame(kPing, "?"));
  test.websocket.close(1000);
  test.flush();
  CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{close_frame(1000)});
}

// --- bytes out

TEST_CASE("one write is one binary frame, its length as short as can be",
          "[transport][MQTT-6.0.0-1][MQTT311-6.0.0-1]") {
  for (const size_t size : {1, 125, 126, 127, 65'535, 65'536, 100'000}) {
    Test test;
    const std::string payload(size, 'x');
    CHECK(test.send({payload.substr(0, size / 2), payload.substr(size / 2)}) == size);
    CHECK(test.wire.bytes == sent_frame(payload));
    CHECK(test.wire.sends == 2);  // the other was the answer to the request
  }
  Test test;
  CHECK(test.send({}) == 0);
  CHECK(test.send({""}) == 0);
  CHECK(test.wire.bytes.empty());
}

TEST_CASE("a frame that the wire takes a part of is continued, byte by byte", "[transport][MQTT-6.0.0-1]") {
  for (const size_t size : {1, 10, 125, 126, 300}) {
    Test test;
    std::string left(size, 'x');
    for (size_t i = 0; i < size; ++i) left[i] = static_cast<char>(i);
    const std::string whole = left;
    test.wire.room = 0;
    for (size_t turns = 0; !left.empty(); ++turns) {
      REQUIRE(turns < 2 * size + 20);
      test.wire.room = 1;
      // As an Output does: what was not taken is offered again, in other pieces.
      left.erase(0, test.send({std::string_view(left).substr(0, left.size() / 3),
                               std::string_view(left).substr(left.size() / 3)}));
    }
    CHECK(test.wire.bytes == sent_frame(whole));
  }
}

TEST_CASE("what is said while a frame is partly sent goes into the next one", "[transport][MQTT-6.0.0-2]") {
  for (size_t room = 1; room < 7; ++room) {
    Test test;
    std::string left = "first";
    test.wire.room = room;
    left.erase(0, test.send({left}));
    left += "second";
    test.feed(frame(kPing, "?"));
    CHECK_FALSE(test.websocket.has_answer());  // not within a frame
    test.wire.room = SIZE_MAX;
    CHECK(test.send({left}) == left.size());
    CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kBinary, "first"}, {kPong, "?"}, {kBinary, "second"}});
  }
}

TEST_CASE("a frame of which the wire took nothing was never begun", "[transport]") {
  Test test;
  test.wire.room = 0;
  CHECK(test.send({"first"}) == 0);
  test.feed(frame(kPing, "?"));
  CHECK(test.websocket.has_answer());
  test.wire.room = SIZE_MAX;
  CHECK(test.send({"first", "and more"}) == 13);
  CHECK(read_frames(test.wire.bytes) == std::vector<Frame>{{kPong, "?"}, {kBinary, "firstand more"}});
}

TEST_CASE("more pieces than one write has room for become several frames", "[transport][MQTT-6.0.0-2]") {
  Test test;
  std::vector<std::string_view> pieces(200, "ab");
  CHECK(test.send(pieces) == 400);
  std::string joined;
  for (const Frame& one : read_frames(test.wire.bytes)) {
    CHECK(one.opcode == kBinary);
    joined += one.payload;
  }
  CHECK(joined.size() == 400);
  CHECK(test.wire.sends == 1 + 4);
}

TEST_CASE("whatever room the wire has, what goes out are whole frames with the same payload", "[transport]") {
  uint64_t seed = 1;
  const auto random = [&](size_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(seed >> 33) % below;
  };
  for (int round = 0; round < 200; ++round) {
    Test test;
    std::string left, all;
    for (int step = 0; step < 60; ++step) {
      const std::string more(random(200), static_cast<char>('a' + step % 26));
      left += more;
      all += more;
      if (random(4) == 0) test.feed(frame(kPing, std::string(random(20), 'p')));
      test.wire.room = step == 59 ? SIZE_MAX : random(100);
      const size_t cut = random(left.size() + 1);
      left.erase(0, test.send({std::string_view(left).substr(0, cut), std::string_view(left).substr(cut)}));
    }
    REQUIRE(left.empty());
    std::string got;
    for (const Frame& one : read_frames(test.goodbye())) {
      if (one.opcode == kBinary) got += one.payload;
    }
    REQUIRE(got == all);
  }
}

// --- memory

TEST_CASE("an idle WebSocket is one object", "[transport]") {
  const int64_t blocks = heap_blocks();
  Test test;
  test.feed(frame(kPing, "?") + frame(kBinary, "x"));
  test.flush();
  CHECK(heap_blocks() == blocks);
  CHECK(sizeof(WebSocket) <= 128);
}

TEST_CASE("without memory a WebSocket ends, and nothing is left behind", "[transport]") {
  const std::string bytes = std::string(kRequest) + frame(kPing, "?") + frame(kBinary, "payload") +
                            frame(kPing, std::string(125, '!')) + frame(kClose, "\x03\xE8");
  const int64_t blocks = heap_blocks();
  for (const size_t step : {size_t{1}, size_t{50}, SIZE_MAX}) {
    bool completed = false;
    for (int64_t after = 0; !completed; ++after) {
      REQUIRE(after < 100);
      WebSocket websocket("/mqtt");
      std::vector<std::byte> block(as_bytes(bytes).begin(), as_bytes(bytes).end());
      std::string payload;
      payload.reserve(100);
      TestWire wire;
      wire.bytes.reserve(10'000);
      {
        const FailingHeap failing(after);
        for (size_t at = 0; at < block.size(); at += std::min(step, block.size() - at)) {
          const auto part = std::span(block).subspan(at, std::min(step, block.size() - at));
          payload.append(as_text(part.first(websocket.read(part))));
          websocket.write({}, wire);
        }
        websocket.close(1000);
        websocket.write({}, wire);
      }
      completed = websocket.end() == End::ByPeer && wire.bytes.ends_with("\x88\x02\x03\xE8");
      CHECK((completed || websocket.end() == End::NoMemory || websocket.end() == End::ByPeer));
      CHECK((payload.empty() || payload == "payload"));
    }
  }
  CHECK(heap_blocks() == blocks);
}

}  // namespace mqttq
