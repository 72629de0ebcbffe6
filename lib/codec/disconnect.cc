// DISCONNECT (MQTT5 3.14). In 3.x it is a Client's alone, and says nothing.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// (MQTT5 3.14.2.1) [MQTT-3.14.2-1], by who may send them.
constexpr ReasonCodeSet kClientCodes = {
    ReasonCode::Success,
    ReasonCode::DisconnectWithWill,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::BadAuthenticationMethod,  // only (MQTT5 2.4) lists it; section 3.14.2.1 forgot it
    ReasonCode::TopicNameInvalid,
    ReasonCode::ReceiveMaximumExceeded,
    ReasonCode::TopicAliasInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::MessageRateTooHigh,
    ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction,
    ReasonCode::PayloadFormatInvalid,
};
constexpr ReasonCodeSet kServerOnlyCodes = {
    ReasonCode::NotAuthorized,
    ReasonCode::ServerBusy,
    ReasonCode::ServerShuttingDown,
    ReasonCode::KeepAliveTimeout,
    ReasonCode::SessionTakenOver,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QosNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::ConnectionRateExceeded,
    ReasonCode::MaximumConnectTime,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
};

}  // namespace

bool is_client_disconnect_reason(ReasonCode reason) noexcept { return kClientCodes.has(static_cast<uint8_t>(reason)); }

// Of a Client's, all errors but one: a Server that knows no such method never came so far.
bool is_server_disconnect_reason(ReasonCode reason) noexcept {
  if (kServerOnlyCodes.has(static_cast<uint8_t>(reason))) return true;
  return is_error(reason) && is_client_disconnect_reason(reason) && reason != ReasonCode::BadAuthenticationMethod;
}

Decoded<DisconnectView> decode_disconnect(Bytes packet, ProtocolVersion version) noexcept {
  Reader in;
  // [MQTT-3.14.1-1]
  if (!open_packet(packet, first_byte(PacketType::Disconnect), version, in)) return ReasonCode::MalformedPacket;
  DisconnectView view;
  if (in.left() == 0) return view;
  if (version != ProtocolVersion::V5) return ReasonCode::MalformedPacket;
  uint8_t reason_code = 0;
  if (!in.u8(reason_code)) return ReasonCode::MalformedPacket;
  if (!kClientCodes.has(reason_code) && !kServerOnlyCodes.has(reason_code)) return ReasonCode::ProtocolError;
  view.reason_code = static_cast<ReasonCode>(reason_code);
  if (in.left() == 0) return view;  // no Property Length below a Remaining Length of 2 (MQTT5 3.14.2.2.1)
  if (!in.properties(view.properties) || in.left() != 0) return ReasonCode::MalformedPacket;
  PropertyDecoder properties(view.properties, property_packets::kDisconnect);
  for (Property property; properties.next(property);) {
    switch (property.id) {
      case PropertyId::SessionExpiryInterval: view.session_expiry_s = property.number; break;
      case PropertyId::ReasonString: view.reason_string = as_text(property.data); break;
      case PropertyId::ServerReference: view.server_reference = as_text(property.data); break;
      default: break;
    }
  }
  if (properties.reason() != ReasonCode::Success) return properties.reason();
  return view;
}

void encode(const DisconnectView& packet, ProtocolVersion version, Writer& out) noexcept {
  write_packet(out, first_byte(PacketType::Disconnect), [&](Writer& body) {
    if (version != ProtocolVersion::V5) return;
    const auto write = [&](Writer& properties) {
      if (packet.session_expiry_s) {
        property_u32(properties, PropertyId::SessionExpiryInterval, *packet.session_expiry_s);
      }
      property_text(properties, PropertyId::ReasonString, packet.reason_string);
      property_text(properties, PropertyId::ServerReference, packet.server_reference);
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
