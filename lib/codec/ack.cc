// PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT5 3.4 to 3.7): four packets of one shape.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// PUBACK and PUBREC (MQTT5 3.4.2.1, 3.5.2.1) [MQTT-3.4.2-1] [MQTT-3.5.2-1]
constexpr ReasonCodeSet kReceiptCodes = {
    ReasonCode::Success,
    ReasonCode::NoMatchingSubscribers,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
};
// PUBREL and PUBCOMP (MQTT5 3.6.2.1, 3.7.2.1) [MQTT-3.6.2-1] [MQTT-3.7.2-1]
constexpr ReasonCodeSet kReleaseCodes = {ReasonCode::Success, ReasonCode::PacketIdentifierNotFound};

constexpr bool is_receipt(PacketType type) noexcept { return type == PacketType::Puback || type == PacketType::Pubrec; }

constexpr uint16_t packets_of(PacketType type) noexcept {
  return static_cast<uint16_t>(1u << static_cast<unsigned>(type));
}

}  // namespace

Decoded<AckView> decode_ack(Bytes packet, ProtocolVersion version) noexcept {
  const size_t header_size = fixed_header_size(packet, version == ProtocolVersion::V5);
  if (header_size == 0) return ReasonCode::MalformedPacket;
  const uint8_t first = first_byte(packet);
  AckView view;
  view.type = static_cast<PacketType>(first >> 4);
  if (view.type < PacketType::Puback || view.type > PacketType::Pubcomp) return ReasonCode::MalformedPacket;
  // [MQTT-2.1.3-1] [MQTT-3.6.1-1]
  const bool legal_flags = view.type == PacketType::Pubrel ? has_request_flags(first, version) : (first & 0x0F) == 0;
  if (!legal_flags) return ReasonCode::MalformedPacket;
  Reader in(packet.subspan(header_size));
  if (!in.u16(view.packet_id)) return ReasonCode::MalformedPacket;
  if (view.packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-5]: no PUBLISH had it
  if (in.left() == 0) return view;
  if (version != ProtocolVersion::V5) return ReasonCode::MalformedPacket;

  uint8_t reason_code = 0;
  if (!in.u8(reason_code)) return ReasonCode::MalformedPacket;
  if (!(is_receipt(view.type) ? kReceiptCodes : kReleaseCodes).has(reason_code)) return ReasonCode::ProtocolError;
  view.reason_code = static_cast<ReasonCode>(reason_code);
  if (in.left() == 0) return view;  // no Property Length below a Remaining Length of 4 (MQTT5 3.4.2.2.1)
  if (!in.properties(view.properties) || in.left() != 0) return ReasonCode::MalformedPacket;
  PropertyDecoder properties(view.properties, packets_of(view.type));
  for (Property property; properties.next(property);) {
    if (property.id == PropertyId::ReasonString) view.reason_string = as_text(property.data);
  }
  if (properties.reason() != ReasonCode::Success) return properties.reason();
  return view;
}

void encode(const AckView& packet, ProtocolVersion version, Writer& out) noexcept {
  const uint8_t flags = packet.type == PacketType::Pubrel ? 0x02 : 0x00;
  write_packet(out, first_byte(packet.type, flags), [&](Writer& body) {
    body.u16(packet.packet_id);
    if (version != ProtocolVersion::V5) return;
    const auto write = [&](Writer& properties) {
      property_text(properties, PropertyId::ReasonString, packet.reason_string);
      user_properties(properties, packet.properties);
    };
    Writer counter;
    write(counter);
    if (counter.size() == 0 && packet.reason_code == ReasonCode::Success) return;
    body.u8(static_cast<uint8_t>(packet.reason_code));
    if (counter.size() != 0) write_properties(body, write);
  });
}

}  // namespace mqttq::codec
