// WebSocket, against a peer that shares no code with it. [MQTT-6.0.0-2] [MQTT311-6.0.0-2]
//
// The first byte of an input chooses. Even: the rest are the bytes of any peer, which end as they end, however they are
// cut. Odd: they are the script of a good one, which fragments, masks and pings as it likes, while the broker sends
// into a wire of little room; what each side says comes out at the other as the same bytes.
#include <algorithm>
#include <string>
#include <vector>

#include "require.h"
#include "transport/websocket.h"
#include "websocket_peer.h"

namespace {

using mqttq::Bytes;
using mqttq::WebSocket;
using mqttq::fuzz::require;
using namespace mqttq::ws;

struct Wire final : mqttq::WebSocketWire {
  size_t send(std::span<const Bytes> pieces) noexcept override {
    size_t taken = 0;
    for (const Bytes piece : pieces) {
      const size_t step = std::min(piece.size(), room);
      bytes.append(mqttq::as_text(piece.first(step)));
      room -= step;
      taken += step;
      if (step < piece.size()) break;
    }
    return taken;
  }
  std::string bytes;
  size_t room = SIZE_MAX;
};

struct Broker {
  void feed(std::string_view bytes) {
    std::vector<std::byte> block(mqttq::as_bytes(bytes).begin(), mqttq::as_bytes(bytes).end());
    const size_t size = websocket.read(block);
    require(size <= bytes.size(), "payload is no longer than what it came in");
    payload.append(mqttq::as_text(Bytes(block).first(size)));
  }
  // Offers what is left to say, in two pieces.
  void send(size_t cut) {
    const Bytes all = mqttq::as_bytes(to_send);
    const Bytes pieces[] = {all.first(cut % (all.size() + 1)), all.subspan(cut % (all.size() + 1))};
    const size_t taken = websocket.write(pieces, wire);
    require(taken <= to_send.size(), "no more is taken than there is");
    to_send.erase(0, taken);
  }
  void open() {
    feed(kRequest);
    send(0);
    require(wire.bytes.starts_with("HTTP/1.1 101 "), "a good request is accepted");
    wire.bytes.clear();
  }

  WebSocket websocket{"/mqtt"};
  Wire wire;
  std::string payload, to_send;
};

void any_peer(std::string_view bytes, bool opened) {
  Broker whole, cut;
  if (opened) whole.open(), cut.open();
  whole.feed(bytes);
  for (size_t at = 0, step = 1; at < bytes.size(); at += step, step = step % 5 + 1) cut.feed(bytes.substr(at, step));
  require(whole.payload == cut.payload, "the same payload, however it is cut");
  require(whole.websocket.end() == cut.websocket.end(), "the same end, however it is cut");
  require(std::string_view(whole.websocket.fault()) == cut.websocket.fault(), "of the same fault");
  for (Broker* broker : {&whole, &cut}) {
    broker->send(0);
    broker->websocket.close(WebSocket::kNormal);
    broker->send(0);
  }
  require(whole.wire.bytes == cut.wire.bytes, "the same answer, however it is cut");
  if (opened) read_frames(whole.wire.bytes);
}

// Reads the script; 0 behind its end.
class Script {
 public:
  explicit Script(std::string_view bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  size_t next() {
    if (bytes_.empty()) return 0;
    const auto value = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  // Some bytes, now and then many.
  std::string payload() {
    const size_t size = next();
    return std::string(size < 250 ? size : (size - 249) * 15'000, static_cast<char>(next()));
  }

 private:
  std::string_view bytes_;
};

void good_peer(Script script) {
  Broker broker;
  broker.open();
  std::string sent, said, ping, unread;
  bool in_message = false;
  while (!script.empty()) {
    switch (script.next() % 4) {
      case 0: {  // the peer sends a part of a message
        const bool final = script.next() % 2;
        const std::string payload = script.payload();
        unread += frame(in_message ? kContinuation : kBinary, payload, {.final = final});
        in_message = !final;
        sent += payload;
        break;
      }
      case 1: {  // or a control frame
        ping = script.payload().substr(0, 125);
        unread += frame(kPing, ping) + frame(kPong, ping);
        break;
      }
      case 2: {  // some of it comes
        const size_t step = std::min(unread.size(), script.next() * script.next());
        broker.feed(std::string_view(unread).substr(0, step));
        unread.erase(0, step);
        break;
      }
      default: {  // the broker speaks
        const std::string payload = script.payload();
        said += payload;
        broker.to_send += payload;
        broker.wire.room = script.next();
        broker.send(script.next());
      }
    }
  }
  broker.feed(unread);
  broker.wire.room = SIZE_MAX;
  broker.send(0);
  require(broker.websocket.end() == WebSocket::End::None, "a good peer is not ended");
  require(broker.payload == sent, "what the peer sent comes out");
  require(broker.to_send.empty(), "all is sent when there is room");
  std::string got, pong;
  for (const Frame& one : read_frames(broker.wire.bytes)) {
    require(one.opcode == kBinary || one.opcode == kPong, "payload and pongs, nothing else");
    (one.opcode == kBinary ? got : pong) = one.opcode == kBinary ? got + one.payload : one.payload;
  }
  require(got == said, "what the broker said comes out");
  require(pong == ping, "the newest ping is answered");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2) {
    good_peer(Script(rest));
  } else {
    any_peer(rest, data[0] % 4);
  }
  return 0;
}
