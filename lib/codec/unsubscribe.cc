// UNSUBSCRIBE (MQTT5 3.10).
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

Decoded<UnsubscribeView> decode_unsubscribe(Bytes packet, ProtocolVersion version) noexcept {
  const size_t header_size = fixed_header_size(packet, version == ProtocolVersion::V5);
  if (header_size == 0) return ReasonCode::MalformedPacket;
  const uint8_t first = first_byte(packet);
  if (first >> 4 != static_cast<uint8_t>(PacketType::Unsubscribe) || !has_request_flags(first, version)) {
    return ReasonCode::MalformedPacket;  // [MQTT-3.10.1-1]
  }
  Reader in(packet.subspan(header_size));
  UnsubscribeView view;
  if (!in.u16(view.packet_id)) return ReasonCode::MalformedPacket;
  if (view.packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-3] [MQTT311-2.3.1-1]
  if (version == ProtocolVersion::V5) {
    if (!in.properties(view.properties)) return ReasonCode::MalformedPacket;
    PropertyDecoder properties(view.properties, property_packets::kUnsubscribe);
    for (Property property; properties.next(property);) {}
    if (properties.reason() != ReasonCode::Success) return properties.reason();
  }
  view.entries = in.rest();
  if (view.entries.empty()) return ReasonCode::ProtocolError;  // [MQTT-3.10.3-2] [MQTT311-3.10.3-2]
  while (in.left() != 0) {
    std::string_view topic_filter;
    if (!in.text(topic_filter)) return ReasonCode::MalformedPacket;  // [MQTT-3.10.3-1]
    view.entry_count += 1;
  }
  return view;
}

bool UnsubscribeReader::next(std::string_view& topic_filter) noexcept {
  Reader in(rest_);
  if (!in.unjudged_text(topic_filter)) return false;
  rest_ = in.rest();
  return true;
}

void encode(const UnsubscribeView& packet, ProtocolVersion version, Writer& out) noexcept {
  write_packet(out, first_byte(PacketType::Unsubscribe, 0x02), [&](Writer& body) {
    body.u16(packet.packet_id);
    if (version == ProtocolVersion::V5) {
      write_properties(body, [&](Writer& properties) { user_properties(properties, packet.properties); });
    }
    body.raw(packet.entries);
  });
}

}  // namespace mqttq::codec
