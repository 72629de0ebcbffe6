// scan_frame, against the algorithm of section 1.5.5 as it stands there; and every decoder on every kind of packet.
#include "codec_fuzz.h"

namespace {

using namespace mqttq;
using namespace mqttq::codec;
using mqttq::fuzz::require;

// Reads the Remaining Length with a multiplier, as the specification does it.
Frame expected_frame(Bytes bytes) {
  Frame frame;
  if (bytes.empty()) return frame;
  const auto first = std::to_integer<unsigned>(bytes[0]);
  if (first < 16) {
    frame.kind = Frame::Kind::Malformed;
    return frame;
  }
  uint64_t value = 0;
  uint64_t multiplier = 1;
  size_t at = 1;
  for (;; at += 1) {
    if (at == 5) {
      frame.kind = Frame::Kind::Malformed;
      return frame;
    }
    if (at >= bytes.size()) return frame;
    const auto byte = std::to_integer<unsigned>(bytes[at]);
    value += byte % 128 * multiplier;
    multiplier *= 128;
    if (byte < 128) break;
  }
  frame.type = static_cast<PacketType>(first / 16);
  frame.flags = static_cast<uint8_t>(first % 16);
  frame.header_size = static_cast<uint8_t>(at + 1);
  frame.size = static_cast<uint32_t>(at + 1 + value);
  frame.kind = frame.size > bytes.size() ? Frame::Kind::Partial : Frame::Kind::Complete;
  return frame;
}

// A decoder takes nothing that is not a whole packet of its own type.
template <class Packet>
void check_type(const Decoded<Packet>& packet, const Frame& frame, size_t size, PacketType first, PacketType last) {
  if (!packet.ok()) return;
  require(frame.kind == Frame::Kind::Complete && frame.size == size, "what decodes is one whole packet");
  require(frame.type >= first && frame.type <= last, "a decoder takes its own packets only");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes{reinterpret_cast<const std::byte*>(data), size};
  const Frame frame = scan_frame(bytes);
  const Frame expected = expected_frame(bytes);
  require(frame.kind == expected.kind, "the kind is as in section 1.5.5");
  if (frame.kind == Frame::Kind::Complete || frame.kind == Frame::Kind::Partial) {
    require(frame.type == expected.type && frame.flags == expected.flags, "the first byte is told as it is");
    require(frame.header_size == expected.header_size && frame.size == expected.size, "sizes are as in section 1.5.5");
  }
  for (const auto version : {ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5}) {
    using enum PacketType;
    check_type(decode_connect(bytes), frame, size, Connect, Connect);
    check_type(decode_connack(bytes, version), frame, size, Connack, Connack);
    check_type(decode_publish(bytes, version), frame, size, Publish, Publish);
    check_type(decode_ack(bytes, version), frame, size, Puback, Pubcomp);
    check_type(decode_subscribe(bytes, version), frame, size, Subscribe, Subscribe);
    check_type(decode_suback(bytes, version), frame, size, Suback, Unsuback);
    check_type(decode_unsubscribe(bytes, version), frame, size, Unsubscribe, Unsubscribe);
    check_type(decode_disconnect(bytes, version), frame, size, Disconnect, Disconnect);
    check_type(decode_auth(bytes), frame, size, Auth, Auth);
  }
  if (check_ping(bytes) == ReasonCode::Success) {
    require(size == 2 && (frame.type == PacketType::Pingreq || frame.type == PacketType::Pingresp), "a ping is a ping");
  }
  return 0;
}
