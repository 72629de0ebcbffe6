// MQTT in the frames of a WebSocket (RFC 6455), from the opening handshake to the closing one.
//
// No I/O: bytes from the peer come in and are payload afterwards; payload comes in and goes out in frames. Beside an
// idle connection stands this object and nothing else.
#pragma once

#include "base/array.h"
#include "base/bytes.h"

namespace mqttq {

struct Upgrade;

// Where the bytes of a WebSocket go.
class WebSocketWire {
 public:
  // As Link::write: takes bytes from `pieces` in order and returns how many; fewer than all means that it is full.
  virtual size_t send(std::span<const Bytes> pieces) noexcept = 0;

 protected:
  ~WebSocketWire() = default;
};

class WebSocket {
 public:
  enum class End : uint8_t {
    None,
    ByPeer,     // it sent a close frame
    Violation,  // what it sent is no WebSocket, or not MQTT in one: fault() says how
    NoMemory,
  };

  // path: where it is looked for; outlives this object.
  explicit WebSocket(std::string_view path) noexcept : path_(path) {}

  // Takes all of `bytes`, which came from the peer. The payload among them is left at their front, unmasked, frame
  // joined to frame; returns its size. What is to be answered waits for write(). Behind an end nothing is read.
  size_t read(std::span<std::byte> bytes) noexcept;
  End end() const noexcept { return end_; }
  const char* fault() const noexcept { return fault_; }  // static

  // Sends `payload` in binary frames, behind what is to be answered. Returns how much of it went, as Link::write: less
  // than all means that the wire is full. A frame that it took a part of is continued by the next call, whose payload
  // begins with the bytes that were left.
  size_t write(std::span<const Bytes> payload, WebSocketWire& wire) noexcept;
  // Is there something to send that is no payload, and may go now?
  bool has_answer() const noexcept { return !in_frame() && !(answer_.empty() && pong_.empty()); }

  // Says goodbye, if it can be said now: for write() to send. code: of RFC 6455 7.4; a fault's own or the peer's goes
  // before it.
  void close(uint16_t code) noexcept;

  static constexpr uint16_t kNormal = 1000, kGoingAway = 1001;

 private:
  enum class State : uint8_t { Request, Open, Ended };

  size_t read_request(Bytes bytes) noexcept;
  void answer(const Upgrade& upgrade) noexcept;
  size_t read_header(Bytes bytes) noexcept;
  void judge_header() noexcept;
  void begin_frame() noexcept;
  void end_frame() noexcept;
  void on_close_frame() noexcept;
  void fail(uint16_t code, const char* fault) noexcept;
  void end_with(End end) noexcept;
  size_t header_needed() const noexcept;
  void begin_outgoing(size_t size) noexcept;
  bool in_frame() const noexcept { return out_left_ > 0; }

  const std::string_view path_;
  // What is whole only later: the request; a control frame of the peer's, as the pong that answers it.
  Array<std::byte> gathered_;
  Array<std::byte> answer_;  // to the request, a pong, a goodbye: being sent
  Array<std::byte> pong_;    // to the newest ping, not begun
  uint32_t answer_sent_ = 0;
  uint16_t close_code_ = 0;  // ours or the peer's; 0: none
  State state_ = State::Request;
  End end_ = End::None;
  bool upgraded_ = false;
  bool in_message_ = false;  // the peer's message goes on in further frames
  bool close_sent_ = false;
  uint8_t header_size_ = 0;      // bytes of header_ that have come
  uint8_t out_header_size_ = 0;  // of the frame that is being sent
  uint8_t out_header_sent_ = 0;
  std::byte header_[14];      // of the peer's frame; its last four bytes are the mask, turned to the next byte's place
  std::byte out_header_[10];  // of ours
  uint64_t left_ = 0;         // bytes of the peer's frame still to come
  size_t out_left_ = 0;       // bytes of ours still to go, header included
  const char* fault_ = "";
};

}  // namespace mqttq
