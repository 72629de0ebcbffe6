// CONNACK (MQTT5 3.2), and how the reason codes of version 5 are told to older Clients.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// (MQTT5 3.2.2.2) [MQTT-3.2.2-8]
constexpr ReasonCodeSet kReasonCodes = {
    ReasonCode::Success,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::UnsupportedProtocolVersion,
    ReasonCode::ClientIdentifierNotValid,
    ReasonCode::BadUserNameOrPassword,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerUnavailable,
    ReasonCode::ServerBusy,
    ReasonCode::Banned,
    ReasonCode::BadAuthenticationMethod,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QosNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::ConnectionRateExceeded,
};

// The return codes of 3.x, by their value, and the reason code that each is decoded to.
constexpr ReasonCode kReturnCodes[] = {
    ReasonCode::Success,                     // 0 accepted
    ReasonCode::UnsupportedProtocolVersion,  // 1 unacceptable protocol version
    ReasonCode::ClientIdentifierNotValid,    // 2 identifier rejected
    ReasonCode::ServerUnavailable,           // 3 server unavailable
    ReasonCode::BadUserNameOrPassword,       // 4 bad user name or password
    ReasonCode::NotAuthorized,               // 5 not authorized
};

// The return code that fits best: what has one of its own, then "it is us" (3, try again later), then all others
// "it is you" (5). When nothing fits 3.1.1 wants no CONNACK at all [MQTT311-3.2.2-6]: that is the caller's to know.
constexpr uint8_t return_code_of(ReasonCode reason) noexcept {
  switch (reason) {
    case ReasonCode::Success: return 0;
    case ReasonCode::UnsupportedProtocolVersion: return 1;
    case ReasonCode::ClientIdentifierNotValid: return 2;
    case ReasonCode::UnspecifiedError:
    case ReasonCode::ImplementationSpecificError:
    case ReasonCode::ServerUnavailable:
    case ReasonCode::ServerBusy:
    case ReasonCode::ServerShuttingDown:
    case ReasonCode::QuotaExceeded:
    case ReasonCode::UseAnotherServer:
    case ReasonCode::ServerMoved:
    case ReasonCode::ConnectionRateExceeded: return 3;
    case ReasonCode::BadUserNameOrPassword:
    case ReasonCode::BadAuthenticationMethod: return 4;
    default: return 5;
  }
}

ReasonCode decode_properties(ConnackView& view) noexcept {
  PropertyDecoder properties(view.properties, property_packets::kConnack);
  for (Property property; properties.next(property);) {
    const uint32_t number = property.number;
    const std::string_view text = as_text(property.data);
    switch (property.id) {
      case PropertyId::SessionExpiryInterval: view.session_expiry_s = number; break;
      case PropertyId::ReceiveMaximum: view.receive_maximum = static_cast<uint16_t>(number); break;
      case PropertyId::MaximumQos: view.maximum_qos = static_cast<Qos>(number); break;
      case PropertyId::RetainAvailable: view.retain_available = number == 1; break;
      case PropertyId::MaximumPacketSize: view.maximum_packet_size = number; break;
      case PropertyId::AssignedClientIdentifier: view.assigned_client_id = text; break;
      case PropertyId::TopicAliasMaximum: view.topic_alias_maximum = static_cast<uint16_t>(number); break;
      case PropertyId::ReasonString: view.reason_string = text; break;
      case PropertyId::WildcardSubscriptionAvailable: view.wildcard_subscription_available = number == 1; break;
      case PropertyId::SubscriptionIdentifiersAvailable: view.subscription_identifiers_available = number == 1; break;
      case PropertyId::SharedSubscriptionAvailable: view.shared_subscription_available = number == 1; break;
      case PropertyId::ServerKeepAlive: view.server_keep_alive_s = static_cast<uint16_t>(number); break;
      case PropertyId::ResponseInformation: view.response_information = text; break;
      case PropertyId::ServerReference: view.server_reference = text; break;
      case PropertyId::AuthenticationMethod: view.authentication_method = text; break;
      case PropertyId::AuthenticationData: view.authentication_data = property.data; break;
      default: break;
    }
  }
  return properties.reason();
}

}  // namespace

Decoded<ConnackView> decode_connack(Bytes packet, ProtocolVersion version) noexcept {
  Reader in;
  uint8_t flags = 0, reason_code = 0;
  if (!open_packet(packet, first_byte(PacketType::Connack), version, in) || !in.u8(flags) || !in.u8(reason_code)) {
    return ReasonCode::MalformedPacket;
  }
  ConnackView view;
  if (version == ProtocolVersion::V31) flags = 0;              // 3.1 does not use this byte
  if (flags & 0xFE) return ReasonCode::MalformedPacket;        // [MQTT-3.2.2-1]
  if (flags && reason_code) return ReasonCode::ProtocolError;  // [MQTT-3.2.2-6] [MQTT311-3.2.2-4]
  view.session_present = flags & 1;
  if (version != ProtocolVersion::V5) {
    if (in.left() != 0) return ReasonCode::MalformedPacket;
    if (reason_code >= std::size(kReturnCodes)) return ReasonCode::ProtocolError;
    view.reason_code = kReturnCodes[reason_code];
    return view;
  }
  if (!kReasonCodes.has(reason_code)) return ReasonCode::ProtocolError;
  view.reason_code = static_cast<ReasonCode>(reason_code);
  if (!in.properties(view.properties) || in.left() != 0) return ReasonCode::MalformedPacket;
  const ReasonCode reason = decode_properties(view);
  if (reason != ReasonCode::Success) return reason;
  return view;
}

void encode(const ConnackView& packet, ProtocolVersion version, Writer& out) noexcept {
  write_packet(out, first_byte(PacketType::Connack), [&](Writer& body) {
    // A refusal never says that there is a session [MQTT-3.2.2-6] [MQTT311-3.2.2-4], and 3.1 has no place to say so.
    const bool session_present = packet.session_present && packet.reason_code == ReasonCode::Success;
    body.u8(session_present && version != ProtocolVersion::V31 ? 1 : 0);
    if (version != ProtocolVersion::V5) {
      body.u8(return_code_of(packet.reason_code));
      return;
    }
    body.u8(static_cast<uint8_t>(packet.reason_code));
    write_properties(body, [&](Writer& properties) {
      if (packet.session_expiry_s) {
        property_u32(properties, PropertyId::SessionExpiryInterval, *packet.session_expiry_s);
      }
      if (packet.receive_maximum != kReceiveMaximumDefault) {
        property_u16(properties, PropertyId::ReceiveMaximum, packet.receive_maximum);
      }
      if (packet.maximum_qos != Qos::ExactlyOnce) {
        property_u8(properties, PropertyId::MaximumQos, static_cast<uint8_t>(packet.maximum_qos));
      }
      if (!packet.retain_available) property_u8(properties, PropertyId::RetainAvailable, 0);
      if (packet.maximum_packet_size != 0) {
        property_u32(properties, PropertyId::MaximumPacketSize, packet.maximum_packet_size);
      }
      property_text(properties, PropertyId::AssignedClientIdentifier, packet.assigned_client_id);
      if (packet.topic_alias_maximum != 0) {
        property_u16(properties, PropertyId::TopicAliasMaximum, packet.topic_alias_maximum);
      }
      property_text(properties, PropertyId::ReasonString, packet.reason_string);
      if (!packet.wildcard_subscription_available) {
        property_u8(properties, PropertyId::WildcardSubscriptionAvailable, 0);
      }
      if (!packet.subscription_identifiers_available) {
        property_u8(properties, PropertyId::SubscriptionIdentifiersAvailable, 0);
      }
      if (!packet.shared_subscription_available) property_u8(properties, PropertyId::SharedSubscriptionAvailable, 0);
      if (packet.server_keep_alive_s) {
        property_u16(properties, PropertyId::ServerKeepAlive, *packet.server_keep_alive_s);
      }
      property_text(properties, PropertyId::ResponseInformation, packet.response_information);
      property_text(properties, PropertyId::ServerReference, packet.server_reference);
      authentication_properties(properties, packet.authentication_method, packet.authentication_data);
      user_properties(properties, packet.properties);
    });
  });
}

}  // namespace mqttq::codec
