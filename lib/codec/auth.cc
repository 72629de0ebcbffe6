// AUTH (MQTT5 3.15), which only version 5 has.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// (MQTT5 3.15.2.1) [MQTT-3.15.2-1]
constexpr ReasonCodeSet kReasonCodes = {
    ReasonCode::Success,
    ReasonCode::ContinueAuthentication,
    ReasonCode::ReAuthenticate,
};

}  // namespace

Decoded<AuthView> decode_auth(Bytes packet) noexcept {
  Reader in;
  // [MQTT-3.15.1-1]
  if (!open_packet(packet, first_byte(PacketType::Auth), ProtocolVersion::V5, in)) return ReasonCode::MalformedPacket;
  AuthView view;
  if (in.left() == 0) return view;  // Success without properties (MQTT5 3.15.2.1)
  uint8_t reason_code = 0;
  if (!in.u8(reason_code)) return ReasonCode::MalformedPacket;
  if (!kReasonCodes.has(reason_code)) return ReasonCode::ProtocolError;
  view.reason_code = static_cast<ReasonCode>(reason_code);
  // Unlike DISCONNECT, AUTH may not leave out the Property Length alone.
  if (!in.properties(view.properties) || in.left() != 0) return ReasonCode::MalformedPacket;
  PropertyDecoder properties(view.properties, property_packets::kAuth);
  for (Property property; properties.next(property);) {
    switch (property.id) {
      case PropertyId::AuthenticationMethod: view.authentication_method = as_text(property.data); break;
      case PropertyId::AuthenticationData: view.authentication_data = property.data; break;
      case PropertyId::ReasonString: view.reason_string = as_text(property.data); break;
      default: break;
    }
  }
  if (properties.reason() != ReasonCode::Success) return properties.reason();
  // The method may not be left out (MQTT5 3.15.2.2.2), except by a Success that could have been sent empty.
  const bool could_be_empty = view.reason_code == ReasonCode::Success && view.properties.empty();
  if (!view.authentication_method && !could_be_empty) return ReasonCode::ProtocolError;
  return view;
}

void encode(const AuthView& packet, Writer& out) noexcept {
  write_packet(out, first_byte(PacketType::Auth), [&](Writer& body) {
    const auto write = [&](Writer& properties) {
      authentication_properties(properties, packet.authentication_method, packet.authentication_data);
      property_text(properties, PropertyId::ReasonString, packet.reason_string);
      user_properties(properties, packet.properties);
    };
    Writer counter;
    write(counter);
    if (counter.size() == 0 && packet.reason_code == ReasonCode::Success) return;
    body.u8(static_cast<uint8_t>(packet.reason_code));
    write_properties(body, write);
  });
}

}  // namespace mqttq::codec
