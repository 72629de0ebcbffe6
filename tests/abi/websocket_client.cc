// See websocket_client.h.
#include "websocket_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <stdexcept>

namespace mqttq::abi {

// False at the end of the connection.
bool WebSocketClient::fill() {
  pollfd watched{socket_.descriptor(), POLLIN, 0};
  if (::poll(&watched, 1, kTimeoutMs) != 1) throw std::runtime_error("nothing came in time");
  char block[4096];
  const ssize_t got = ::recv(socket_.descriptor(), block, sizeof block, 0);
  if (got > 0) bytes_.append(block, static_cast<size_t>(got));
  return got > 0;
}

std::string WebSocketClient::read_answer() {
  constexpr std::string_view kEnd = "\r\n\r\n", kLength = "\r\nContent-Length: ";
  size_t end;
  while ((end = bytes_.find(kEnd)) == std::string::npos) {
    if (!fill()) return {};
  }
  end += kEnd.size();
  const size_t length = bytes_.find(kLength);
  if (length < end) end += static_cast<size_t>(std::stoi(bytes_.substr(length + kLength.size())));
  while (bytes_.size() < end) {
    if (!fill()) return {};
  }
  const std::string answer = bytes_.substr(0, end);
  bytes_.erase(0, end);
  return answer;
}

WebSocketClient& WebSocketClient::open() {
  send(ws::kRequest);
  if (!read_answer().starts_with("HTTP/1.1 101 ")) throw std::runtime_error("the request was refused");
  return *this;
}

ws::Frame WebSocketClient::read_frame() {
  ws::Frame frame;
  while (!ws::take_frame(bytes_, frame)) {
    if (!fill()) return {kEnded, {}};
  }
  return frame;
}

std::string WebSocketClient::read() {
  for (;;) {
    if (payload_.size() >= 2) {
      const auto low = static_cast<uint8_t>(payload_[1]);
      if (low < 128 || payload_.size() >= 3) {
        const size_t size =
            low < 128 ? 2u + low : 3u + (low & 0x7Fu) + (size_t{static_cast<uint8_t>(payload_[2])} << 7);
        if (payload_.size() >= size) {
          const std::string packet = payload_.substr(0, size);
          payload_.erase(0, size);
          return packet;
        }
      }
    }
    const ws::Frame frame = read_frame();
    if (frame.opcode == ws::kPong) continue;
    if (frame.opcode != ws::kBinary) return {};
    payload_ += frame.payload;
  }
}

int WebSocketClient::connect(const ConnectOptions& options) {
  send_packets(connect_packet(options));
  const std::string packet = read();
  if (packet.size() < 4 || packet[0] != 0x20) throw std::runtime_error("no CONNACK came");
  return static_cast<uint8_t>(packet[3]);
}

}  // namespace mqttq::abi
