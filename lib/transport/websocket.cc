#include "transport/websocket.h"

#include <algorithm>

#include "base/assert.h"
#include "transport/http_upgrade.h"

namespace mqttq {

namespace {

constexpr uint8_t kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;  // RFC 6455 5.2
constexpr uint16_t kProtocolError = 1002, kUnsupportedData = 1003;                               // RFC 6455 7.4.1
constexpr size_t kControlSizeMax = 125;                                                          // RFC 6455 5.5
constexpr size_t kMaskSize = 4;
constexpr size_t kPongHeader = 2;
constexpr uint32_t kPiecesMax = 64;  // of one vectored write

uint8_t opcode_of(std::byte first) noexcept { return static_cast<uint8_t>(first) & 0x0F; }
bool is_control(uint8_t opcode) noexcept { return opcode & 8; }
bool has_bits(std::byte byte, uint8_t bits) noexcept { return static_cast<uint8_t>(byte) & bits; }

// `size` bytes from `from` to `to`, which may overlap it if it does not lie behind. Turns `mask` to the next byte's.
void unmask(const std::byte* from, std::byte* to, size_t size, std::byte* mask) noexcept {
  std::byte twice[8];
  std::copy(mask, mask + kMaskSize, std::copy(mask, mask + kMaskSize, twice));
  uint64_t key = 0;
  std::memcpy(&key, twice, sizeof key);
  size_t at = 0;
  for (; size - at >= sizeof key; at += sizeof key) {
    uint64_t word;
    std::memcpy(&word, from + at, sizeof word);
    word ^= key;
    std::memcpy(to + at, &word, sizeof word);
  }
  for (; at < size; ++at) to[at] = from[at] ^ mask[at % kMaskSize];
  std::rotate(mask, mask + size % kMaskSize, mask + kMaskSize);
}

// Codes that a close frame may carry (RFC 6455 7.4).
bool is_close_code(uint32_t code) noexcept {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

// The payload of a write, from the first byte that has not gone.
class Rest {
 public:
  explicit Rest(std::span<const Bytes> pieces) noexcept : pieces_(pieces) {}
  bool empty() const noexcept { return pieces_.empty(); }
  // Pieces of at most `size` bytes, as many as fit into `out`. Returns how many; `bytes`: what they are together.
  uint32_t look(std::span<Bytes> out, size_t size, size_t& bytes) const noexcept {
    uint32_t count = 0;
    bytes = 0;
    for (size_t i = 0; i < pieces_.size() && count < out.size() && bytes < size; ++i) {
      Bytes piece = i == 0 ? pieces_[0].subspan(skipped_) : pieces_[i];
      piece = piece.first(std::min(piece.size(), size - bytes));
      if (piece.empty()) continue;
      out[count++] = piece;
      bytes += piece.size();
    }
    return count;
  }
  void skip(size_t size) noexcept {
    skipped_ += size;
    while (!pieces_.empty() && skipped_ >= pieces_.front().size()) {
      skipped_ -= pieces_.front().size();
      pieces_ = pieces_.subspan(1);
    }
  }

 private:
  std::span<const Bytes> pieces_;
  size_t skipped_ = 0;  // of the first
};

}  // namespace

// --- bytes in

size_t WebSocket::read(std::span<std::byte> bytes) noexcept {
  size_t taken = 0, size = 0;
  if (state_ == State::Request) taken = read_request(bytes);
  while (taken < bytes.size() && state_ == State::Open) {
    if (left_ == 0) {
      taken += read_header(bytes.subspan(taken));
      continue;
    }
    const auto step = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size() - taken));
    const uint8_t opcode = opcode_of(header_[0]);
    // Payload moves to the front over headers that were read; of a control frame, it stays where it is.
    std::byte* const to = bytes.data() + (is_control(opcode) ? taken : size);
    unmask(bytes.data() + taken, to, step, header_ + header_size_ - kMaskSize);
    if (!is_control(opcode)) {
      size += step;
    } else if (opcode != kPong) {
      static_cast<void>(gathered_.append({to, step}));  // there is room
    }
    taken += step;
    left_ -= step;
    if (left_ == 0) end_frame();
  }
  return size;
}

// Returns how many bytes belong to the request. One that comes whole, as nearly all do, is not copied.
size_t WebSocket::read_request(Bytes bytes) noexcept {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const size_t before = gathered_.count();
  if (before == 0) {
    if (!begins_as_request(as_text(bytes))) {
      answer({&kUpgradeRequestMalformed});
      return bytes.size();
    }
    const size_t end = as_text(bytes.first(std::min(bytes.size(), kUpgradeRequestMax))).find(kEnd);
    if (end != std::string_view::npos) {
      answer(judge_upgrade(as_text(bytes.first(end + kEnd.size())), path_));
      return end + kEnd.size();
    }
  }
  const size_t step = std::min(bytes.size(), kUpgradeRequestMax - before), count = before + step;
  // As much again as has come, so that a request in single bytes is not copied for each.
  const size_t room = std::clamp<size_t>(2 * count, 512, kUpgradeRequestMax);
  if (count > gathered_.capacity() && !gathered_.reserve(static_cast<uint32_t>(room))) {
    end_with(End::NoMemory);
    return bytes.size();
  }
  static_cast<void>(gathered_.append(bytes.first(step)));  // there is room
  const std::string_view request = as_text(gathered_.span());
  const size_t end = request.find(kEnd, before < kEnd.size() ? 0 : before - (kEnd.size() - 1));
  if (end != std::string_view::npos) {
    answer(judge_upgrade(request.substr(0, end + kEnd.size()), path_));
    gathered_.reset();
    return end + kEnd.size() - before;
  }
  if (count == kUpgradeRequestMax) answer({&kUpgradeRequestTooLong});
  return step;
}

void WebSocket::answer(const Upgrade& upgrade) noexcept {
  char text[kUpgradeAnswerMax];
  const size_t size = write_upgrade_answer(upgrade, text);
  if (!answer_.append(as_bytes({text, size}))) {
    end_with(End::NoMemory);
  } else if (upgrade.fault) {
    fail(0, upgrade.fault->text);
  } else {
    upgraded_ = true;
    state_ = State::Open;
  }
}

// Returns how many of `bytes` belong to it; the frame has begun when it is whole.
size_t WebSocket::read_header(Bytes bytes) noexcept {
  size_t taken = 0;
  while (taken < bytes.size() && state_ == State::Open) {
    header_[header_size_++] = bytes[taken++];
    if (header_size_ == 2) judge_header();
    if (header_size_ < 2 || header_size_ < header_needed()) continue;
    begin_frame();
    break;
  }
  return taken;
}

size_t WebSocket::header_needed() const noexcept {
  const uint8_t length = static_cast<uint8_t>(header_[1]) & 0x7F;
  return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + kMaskSize;
}

// The first two bytes say nearly everything.
void WebSocket::judge_header() noexcept {
  const uint8_t opcode = opcode_of(header_[0]), length = static_cast<uint8_t>(header_[1]) & 0x7F;
  const bool final = has_bits(header_[0], 0x80);
  if (has_bits(header_[0], 0x70)) return fail(kProtocolError, "a frame with reserved bits");
  if (!has_bits(header_[1], 0x80)) return fail(kProtocolError, "a frame without a mask");
  switch (opcode) {
    case kText: return fail(kUnsupportedData, "a text frame");  // [MQTT-6.0.0-1]
    case kContinuation:
      if (!in_message_) return fail(kProtocolError, "a continuation of nothing");
      return;
    case kBinary:
      if (in_message_) return fail(kProtocolError, "a message within another");
      return;
    case kClose:
    case kPing:
    case kPong:
      if (!final) return fail(kProtocolError, "a control frame in fragments");
      if (length > kControlSizeMax) return fail(kProtocolError, "a control frame of more than 125 bytes");
      return;
    default: return fail(kProtocolError, "a frame of an unknown kind");
  }
}

void WebSocket::begin_frame() noexcept {
  const uint8_t opcode = opcode_of(header_[0]), length = static_cast<uint8_t>(header_[1]) & 0x7F;
  left_ = 0;
  for (size_t at = 2; at < header_size_ - kMaskSize; ++at) left_ = left_ << 8 | static_cast<uint8_t>(header_[at]);
  const bool shortest = length < 126 || (length == 126 ? left_ >= 126 : left_ > 0xFFFF);
  if (length < 126) left_ = length;
  if (!shortest || left_ >> 63) return fail(kProtocolError, "a length that is not as short as can be, or negative");
  if (!is_control(opcode)) {
    in_message_ = !has_bits(header_[0], 0x80);
  } else if (opcode != kPong) {
    gathered_.clear();
    if (!gathered_.reserve(static_cast<uint32_t>(kPongHeader + left_))) return end_with(End::NoMemory);
    const std::byte head[kPongHeader] = {std::byte{0x80 | kPong}, static_cast<std::byte>(left_)};
    static_cast<void>(gathered_.append(head));  // there is room
  }
  if (left_ == 0) end_frame();
}

void WebSocket::end_frame() noexcept {
  header_size_ = 0;
  const uint8_t opcode = opcode_of(header_[0]);
  if (opcode == kPing) {
    pong_ = std::move(gathered_);  // an older one that has not gone need not go any more (RFC 6455 5.5.3)
  } else if (opcode == kClose) {
    on_close_frame();
  }
}

void WebSocket::on_close_frame() noexcept {
  const Bytes payload = gathered_.span().subspan(kPongHeader);
  if (payload.empty()) return end_with(End::ByPeer);
  const uint32_t code =
      payload.size() < 2 ? 0 : static_cast<uint32_t>(payload[0]) << 8 | static_cast<uint32_t>(payload[1]);
  if (!is_close_code(code)) return fail(kProtocolError, "a close frame with a code that is none");
  close_code_ = static_cast<uint16_t>(code);
  end_with(End::ByPeer);
}

void WebSocket::fail(uint16_t code, const char* fault) noexcept {
  close_code_ = code;
  fault_ = fault;
  end_with(End::Violation);
}

void WebSocket::end_with(End end) noexcept {
  state_ = State::Ended;
  end_ = end;
  left_ = 0;
  gathered_.reset();
}

// --- bytes out

size_t WebSocket::write(std::span<const Bytes> payload, WebSocketWire& wire) noexcept {
  Rest rest(payload);
  size_t taken = 0;
  for (;;) {
    Bytes pieces[kPiecesMax];
    uint32_t count = 0;
    size_t answer_left = 0, header_left = 0, payload_size = 0;
    const bool begins = !in_frame();
    if (begins) {
      if (answer_.empty()) answer_ = std::move(pong_);
      answer_left = answer_.count() - answer_sent_;
      if (answer_left) pieces[count++] = answer_.span().subspan(answer_sent_);
      if (upgraded_ && !close_sent_) {  // a frame of what goes with one write, its header before it
        rest.look(std::span(pieces).subspan(count + 1), SIZE_MAX, payload_size);
        if (payload_size) begin_outgoing(payload_size);
      }
    }
    if (in_frame()) {
      header_left = out_header_size_ - out_header_sent_;
      if (header_left) pieces[count++] = Bytes(out_header_).subspan(out_header_sent_, header_left);
      count += rest.look(std::span(pieces).subspan(count), out_left_ - header_left, payload_size);
    }
    if (count == 0) return taken;
    size_t sent = wire.send({pieces, count});
    const bool full = sent < answer_left + header_left + payload_size;
    const size_t of_answer = std::min(sent, answer_left);
    answer_sent_ += static_cast<uint32_t>(of_answer);
    if (answer_sent_ == answer_.count()) {
      answer_.reset();
      answer_sent_ = 0;
    }
    sent -= of_answer;
    if (begins && sent == 0) {
      out_left_ = 0;  // nobody has seen it begin: something else may go before it
    } else {
      const size_t of_header = std::min(sent, header_left);
      out_header_sent_ += static_cast<uint8_t>(of_header);
      out_left_ -= sent;
      rest.skip(sent - of_header);
      taken += sent - of_header;
    }
    if (full) return taken;
  }
}

void WebSocket::begin_outgoing(size_t size) noexcept {
  const auto put = [this](uint64_t value) { out_header_[out_header_size_++] = static_cast<std::byte>(value); };
  const int more = size < 126 ? 0 : size <= 0xFFFF ? 2 : 8;  // bytes of length behind the first
  out_header_size_ = out_header_sent_ = 0;
  put(0x80 | kBinary);
  put(more == 0 ? size : more == 2 ? 126 : 127);
  for (int shift = 8 * (more - 1); shift >= 0; shift -= 8) put(uint64_t{size} >> shift);
  out_left_ = out_header_size_ + size;
}

void WebSocket::close(uint16_t code) noexcept {
  if (!upgraded_ || close_sent_ || in_frame()) return;
  close_sent_ = true;
  pong_.reset();
  if (end_ == End::ByPeer || end_ == End::Violation) code = close_code_;
  const std::byte frame[] = {std::byte{0x80 | kClose}, static_cast<std::byte>(code ? 2 : 0),
                             static_cast<std::byte>(code >> 8), static_cast<std::byte>(code)};
  static_cast<void>(answer_.append(std::span(frame).first(code ? 4 : 2)));  // without memory it goes unsaid
}

}  // namespace mqttq
