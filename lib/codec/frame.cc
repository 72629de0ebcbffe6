// The fixed header (MQTT5 2.1): the first thing that is read of any packet.
#include "codec/frame.h"

#include "codec/reader.h"

namespace mqttq::codec {

namespace {

constexpr size_t kLengthSizeMax = 4;  // bytes of a Variable Byte Integer (MQTT5 1.5.5)

}  // namespace

Frame scan_frame(Bytes bytes) noexcept {
  Frame frame;
  if (bytes.empty()) return frame;
  const uint8_t first = first_byte(bytes);
  if (first >> 4 == 0) {
    frame.kind = Frame::Kind::Malformed;
    return frame;
  }
  uint32_t length = 0;
  for (size_t index = 0; index < kLengthSizeMax; index += 1) {
    if (bytes.size() < index + 2) return frame;
    const auto byte = std::to_integer<uint32_t>(bytes[index + 1]);
    length |= (byte & 0x7F) << 7 * index;
    if (byte >= 0x80) continue;
    frame.type = static_cast<PacketType>(first >> 4);
    frame.flags = first & 0x0F;
    frame.header_size = static_cast<uint8_t>(index + 2);
    frame.size = frame.header_size + length;
    frame.kind = frame.size <= bytes.size() ? Frame::Kind::Complete : Frame::Kind::Partial;
    return frame;
  }
  frame.kind = Frame::Kind::Malformed;
  return frame;
}

size_t long_fixed_header_size(Bytes packet, bool shortest_only) noexcept {
  const Frame frame = scan_frame(packet);
  if (frame.kind != Frame::Kind::Complete || frame.size != packet.size()) return 0;
  const bool shortest = frame.header_size == 1 + varint_size(frame.size - frame.header_size);
  return shortest || !shortest_only ? frame.header_size : 0;
}

bool Reader::long_varint(uint32_t& out) noexcept {
  uint32_t value = 0;
  for (size_t index = 0; index < kLengthSizeMax && index < left_; index += 1) {
    value |= uint32_t{byte(index) & 0x7Fu} << 7 * index;
    if (byte(index) >= 0x80) continue;
    if (varint_size(value) != index + 1) return false;
    out = value;
    skip(index + 1);
    return true;
  }
  return false;
}

}  // namespace mqttq::codec
