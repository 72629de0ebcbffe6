// SUBACK and UNSUBACK (MQTT5 3.9, 3.11): one reason code for each topic filter of the request.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// (MQTT5 3.9.3) [MQTT-3.9.3-2]
constexpr ReasonCodeSet kSubackCodes = {
    ReasonCode::Success,
    ReasonCode::GrantedQos1,
    ReasonCode::GrantedQos2,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
};
// (MQTT5 3.11.3) [MQTT-3.11.3-2]
constexpr ReasonCodeSet kUnsubackCodes = {
    ReasonCode::Success,
    ReasonCode::NoSubscriptionExisted,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
};
// [MQTT311-3.9.3-2]. 3.1 has no failure, but Servers tell its Clients of one in the same way.
constexpr ReasonCodeSet kSubackCodes3 = {
    ReasonCode::Success,
    ReasonCode::GrantedQos1,
    ReasonCode::GrantedQos2,
    ReasonCode::UnspecifiedError,
};

}  // namespace

Decoded<SubackView> decode_suback(Bytes packet, ProtocolVersion version) noexcept {
  const bool v5 = version == ProtocolVersion::V5;
  const size_t header_size = fixed_header_size(packet, v5);
  if (header_size == 0) return ReasonCode::MalformedPacket;
  SubackView view;
  const bool is_suback = first_byte(packet) == first_byte(PacketType::Suback);
  if (!is_suback && first_byte(packet) != first_byte(PacketType::Unsuback)) return ReasonCode::MalformedPacket;
  view.type = is_suback ? PacketType::Suback : PacketType::Unsuback;
  Reader in(packet.subspan(header_size));
  if (!in.u16(view.packet_id)) return ReasonCode::MalformedPacket;
  if (view.packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-6]: no request had it
  if (!v5 && !is_suback) {
    if (in.left() != 0) return ReasonCode::MalformedPacket;
    return view;
  }
  if (v5) {
    if (!in.properties(view.properties)) return ReasonCode::MalformedPacket;
    PropertyDecoder properties(view.properties, is_suback ? property_packets::kSuback : property_packets::kUnsuback);
    for (Property property; properties.next(property);) {
      if (property.id == PropertyId::ReasonString) view.reason_string = as_text(property.data);
    }
    if (properties.reason() != ReasonCode::Success) return properties.reason();
  }
  view.reason_codes = in.rest();
  if (view.reason_codes.empty()) return ReasonCode::ProtocolError;  // a request has at least one filter
  const ReasonCodeSet& allowed = !is_suback ? kUnsubackCodes : v5 ? kSubackCodes : kSubackCodes3;
  for (const std::byte code : view.reason_codes) {
    if (!allowed.has(std::to_integer<uint8_t>(code))) return ReasonCode::ProtocolError;
  }
  return view;
}

void encode(const SubackView& packet, ProtocolVersion version, Writer& out) noexcept {
  write_packet(out, first_byte(packet.type), [&](Writer& body) {
    body.u16(packet.packet_id);
    if (version == ProtocolVersion::V5) {
      write_properties(body, [&](Writer& properties) {
        property_text(properties, PropertyId::ReasonString, packet.reason_string);
        user_properties(properties, packet.properties);
      });
      body.raw(packet.reason_codes);
    } else if (packet.type == PacketType::Suback) {
      for (const std::byte code : packet.reason_codes) {
        // 3.x knows only one failure.
        body.u8(std::to_integer<uint8_t>(code) < 0x80 ? std::to_integer<uint8_t>(code) : 0x80);
      }
    }
  });
}

}  // namespace mqttq::codec
