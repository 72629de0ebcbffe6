// Writes the primitive types of the wire (MQTT5 1.5), or only counts what they would take.
#pragma once

#include "base/bytes.h"

namespace mqttq::codec {

// A Writer without a buffer counts. One with a buffer writes and must not be given more than fits: the caller has
// counted before.
class Writer {
 public:
  Writer() noexcept = default;
  explicit Writer(std::byte* out) noexcept : out_(out) {}

  size_t size() const noexcept { return size_; }  // bytes written or counted so far

  void u8(uint8_t value) noexcept {
    if (out_) out_[size_] = std::byte{value};
    size_ += 1;
  }
  void u16(uint16_t value) noexcept {
    u8(static_cast<uint8_t>(value >> 8));
    u8(static_cast<uint8_t>(value));
  }
  void u32(uint32_t value) noexcept {
    u16(static_cast<uint16_t>(value >> 16));
    u16(static_cast<uint16_t>(value));
  }
  // Variable Byte Integer (MQTT5 1.5.5): value at most 268 435 455, in the fewest bytes [MQTT-1.5.5-1].
  void varint(uint32_t value) noexcept {
    while (value >= 0x80) {
      u8(static_cast<uint8_t>(value | 0x80));
      value >>= 7;
    }
    u8(static_cast<uint8_t>(value));
  }
  void raw(Bytes bytes) noexcept {
    if (out_ && !bytes.empty()) std::memcpy(out_ + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  // Two bytes of length, then the bytes: UTF-8 strings and binary data. At most 65 535 bytes.
  void prefixed(Bytes bytes) noexcept {
    u16(static_cast<uint16_t>(bytes.size()));
    raw(bytes);
  }
  void prefixed(std::string_view text) noexcept { prefixed(as_bytes(text)); }

 private:
  std::byte* out_ = nullptr;
  size_t size_ = 0;
};

// Bytes that `value` takes as a Variable Byte Integer: 1..4.
constexpr size_t varint_size(uint32_t value) noexcept {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20'0000 ? 3 : 4;
}

}  // namespace mqttq::codec
