// The other end of a WebSocket in tests: frames as a client writes them, and read as a client reads them. It shares
// nothing with lib/transport/websocket.cc.
#pragma once

#include <cstdint>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mqttq::ws {

inline constexpr std::string_view kRequest =
    "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

inline constexpr uint8_t kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;
inline constexpr std::string_view kMask = "\x37\xFA\x21\x3D";

struct FrameOptions {
  bool final = true;
  bool mask = true;
  uint8_t reserved = 0;  // bits of the first byte
  int length_bytes = 0;  // behind the second byte, at least
};

// Everything of a frame before its payload.
inline std::string frame_head(uint8_t opcode, uint64_t size, const FrameOptions& options = {}) {
  int bytes = size > 0xFFFF ? 8 : size > 125 ? 2 : 0;
  if (options.length_bytes > bytes) bytes = options.length_bytes;
  std::string head(1, static_cast<char>((options.final ? 0x80 : 0) | options.reserved | opcode));
  const uint64_t length = bytes == 8 ? 127 : bytes == 2 ? 126 : size;
  head += static_cast<char>((options.mask ? 0x80 : 0) | length);
  for (int at = bytes - 1; at >= 0; --at) head += static_cast<char>(size >> 8 * at);
  if (options.mask) head += kMask;
  return head;
}

// From the first byte of a frame's payload on.
inline std::string masked(std::string_view payload) {
  std::string out(payload);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ kMask[i % 4]);
  return out;
}

// A frame of a client.
inline std::string frame(uint8_t opcode, std::string_view payload, const FrameOptions& options = {}) {
  return frame_head(opcode, payload.size(), options) + (options.mask ? masked(payload) : std::string(payload));
}

// What a server sends.
struct Frame {
  uint8_t opcode = 0;
  std::string payload;
  bool operator==(const Frame&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const Frame& frame) {
  return out << "frame " << int{frame.opcode} << " \"" << frame.payload << '"';
}

inline Frame close_frame(uint16_t code) { return {kClose, {static_cast<char>(code >> 8), static_cast<char>(code)}}; }

// The binary frame in which a server sends `payload`.
inline std::string sent_frame(std::string_view payload) {
  return frame_head(kBinary, payload.size(), {.mask = false}) + std::string(payload);
}

// Takes the first whole frame off `bytes`; false when there is none. Throws std::runtime_error at what no server may
// send to a client that asked for no extension.
inline bool take_frame(std::string& bytes, Frame& out) {
  const auto at = [&](size_t index) { return static_cast<uint8_t>(bytes[index]); };
  if (bytes.size() < 2) return false;
  if (!(at(0) & 0x80) || at(0) & 0x70 || at(1) & 0x80) throw std::runtime_error("not a frame that a server sends");
  const uint8_t code = at(1);
  const size_t more = code == 127 ? 8 : code == 126 ? 2 : 0;
  if (bytes.size() < 2 + more) return false;
  uint64_t size = more ? 0 : code;
  for (size_t i = 0; i < more; ++i) size = size << 8 | at(2 + i);
  if (more && size <= (more == 2 ? 125u : 0xFFFFu)) throw std::runtime_error("a length longer than it need be");
  if (bytes.size() - 2 - more < size) return false;
  out = {static_cast<uint8_t>(at(0) & 0x0F), bytes.substr(2 + more, size)};
  bytes.erase(0, 2 + more + size);
  return true;
}

// All frames; throws when the last is not whole.
inline std::vector<Frame> read_frames(std::string bytes) {
  std::vector<Frame> frames;
  Frame next;
  while (take_frame(bytes, next)) frames.push_back(next);
  if (!bytes.empty()) throw std::runtime_error("half a frame is left");
  return frames;
}

}  // namespace mqttq::ws
