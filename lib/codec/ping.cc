// PINGREQ and PINGRESP (MQTT5 3.12, 3.13): a fixed header and nothing else.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

ReasonCode check_ping(Bytes packet) noexcept {
  // Two bytes, so that no other way to write a length of 0 passes [MQTT-2.1.3-1].
  const bool is_ping =
      packet.size() == 2 && packet[1] == std::byte{0} &&
      (first_byte(packet) == first_byte(PacketType::Pingreq) || first_byte(packet) == first_byte(PacketType::Pingresp));
  return is_ping ? ReasonCode::Success : ReasonCode::MalformedPacket;
}

void encode_ping(PacketType type, Writer& out) noexcept {
  out.u8(first_byte(type));
  out.u8(0);
}

}  // namespace mqttq::codec
