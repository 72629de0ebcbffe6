// A client of MQTT over WebSocket, frame by frame over a blocking socket.
#pragma once

#include <string>
#include <string_view>

#include "websocket_peer.h"
#include "wire_client.h"

namespace mqttq::abi {

class WebSocketClient {
 public:
  // Throws std::runtime_error, as every function here.
  explicit WebSocketClient(std::string_view address) : socket_(address) {}

  WebSocketClient& send(std::string_view bytes) {
    socket_.send(bytes);
    return *this;
  }
  // `packets` in one binary frame.
  WebSocketClient& send_packets(std::string_view packets) { return send(ws::frame(ws::kBinary, packets)); }
  // Reads the answer to a request, with its body where it has one.
  std::string read_answer();
  WebSocketClient& open();
  // The next frame; of the opcode 0xFF when the connection has ended.
  ws::Frame read_frame();
  // The next packet of MQTT, of up to 16 386 bytes, out of binary frames; pongs are left out. "" when another frame
  // came, or the end.
  std::string read();
  // Sends CONNECT and returns the reason code of the CONNACK.
  int connect(const ConnectOptions& options);
  WireClient& socket() { return socket_; }

  static constexpr uint8_t kEnded = 0xFF;

 private:
  bool fill();

  WireClient socket_;
  std::string bytes_, payload_;
};

}  // namespace mqttq::abi
