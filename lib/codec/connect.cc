// CONNECT (MQTT5 3.1), the only packet that says which version it is of.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

constexpr std::string_view kProtocolName = "MQTT";
constexpr std::string_view kProtocolName31 = "MQIsdp";

// The Connect Flags (MQTT5 3.1.2.3).
enum ConnectFlag : uint8_t {
  kReserved = 0x01,
  kCleanStart = 0x02,
  kWill = 0x04,
  kWillQos = 0x18,
  kWillRetain = 0x20,
  kPassword = 0x40,
  kUserName = 0x80,
};
constexpr unsigned kWillQosShift = 3;

// Reads Protocol Name and Protocol Version [MQTT-3.1.2-1] [MQTT-3.1.2-2]. A name that is not MQTT's is not a CONNECT.
ReasonCode decode_version(Reader& in, ProtocolVersion& version) noexcept {
  std::string_view name;
  uint8_t level = 0;
  if (!in.unjudged_text(name) || !in.u8(level)) return ReasonCode::MalformedPacket;
  if (name != kProtocolName && name != kProtocolName31) return ReasonCode::MalformedPacket;
  const bool known = name == kProtocolName31 ? level == 3 : level == 4 || level == 5;
  if (!known) return ReasonCode::UnsupportedProtocolVersion;
  version = static_cast<ProtocolVersion>(level);
  return ReasonCode::Success;
}

bool flags_are_legal(uint8_t flags, ProtocolVersion version) noexcept {
  const bool has_will = flags & kWill;
  // [MQTT-3.1.2-12] [MQTT311-3.1.2-14]
  if (has_will && (flags & kWillQos) == kWillQos) return false;
  // From here on 3.1 disregards what later versions forbid, except that it too knows no password without a user name.
  if (version != ProtocolVersion::V31) {
    if (flags & kReserved) return false;                                // [MQTT-3.1.2-3] [MQTT311-3.1.2-3]
    if (!has_will && (flags & (kWillQos | kWillRetain))) return false;  // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
  }
  // [MQTT311-3.1.2-22], which version 5 has lifted (MQTT5 3.1.2.9).
  return version == ProtocolVersion::V5 || (flags & kUserName) || !(flags & kPassword);
}

ReasonCode decode_properties(ConnectView& view) noexcept {
  PropertyDecoder properties(view.properties, property_packets::kConnect);
  for (Property property; properties.next(property);) {
    switch (property.id) {
      case PropertyId::SessionExpiryInterval: view.session_expiry_s = property.number; break;
      case PropertyId::ReceiveMaximum: view.receive_maximum = static_cast<uint16_t>(property.number); break;
      case PropertyId::MaximumPacketSize: view.maximum_packet_size = property.number; break;
      case PropertyId::TopicAliasMaximum: view.topic_alias_maximum = static_cast<uint16_t>(property.number); break;
      case PropertyId::RequestResponseInformation: view.request_response_information = property.number == 1; break;
      case PropertyId::RequestProblemInformation: view.request_problem_information = property.number == 1; break;
      case PropertyId::AuthenticationMethod: view.authentication_method = as_text(property.data); break;
      case PropertyId::AuthenticationData: view.authentication_data = property.data; break;
      default: break;
    }
  }
  return properties.reason();
}

// The three parts of a will that stand in the payload [MQTT-3.1.2-9].
ReasonCode decode_will(Reader& in, ConnectView& view) noexcept {
  PublishView& will = view.will;
  if (view.version == ProtocolVersion::V5) {
    if (!in.properties(will.properties)) return ReasonCode::MalformedPacket;
    const ReasonCode reason = decode_message_properties(will, property_packets::kWill, &view.will_delay_s);
    if (reason != ReasonCode::Success) return reason;
  }
  // A topic with wildcards is not well formed: TopicNameInvalid is for those that are (MQTT5 3.2.2.2).
  if (!in.unjudged_text(will.topic_name) || !is_valid_topic_name(will.topic_name) ||  // [MQTT-3.1.3-11] [MQTT-4.7.0-1]
      !in.binary(will.payload)) {
    return ReasonCode::MalformedPacket;
  }
  return ReasonCode::Success;
}

}  // namespace

Decoded<ConnectView> decode_connect(Bytes packet) noexcept {
  const size_t header_size = fixed_header_size(packet, false);
  if (header_size == 0 || first_byte(packet) != first_byte(PacketType::Connect)) return ReasonCode::MalformedPacket;
  Reader in(packet.subspan(header_size));
  ConnectView view;
  ReasonCode reason = decode_version(in, view.version);
  if (reason != ReasonCode::Success) return reason;
  const bool v5 = view.version == ProtocolVersion::V5;
  if (v5 && fixed_header_size(packet, true) == 0) return ReasonCode::MalformedPacket;

  uint8_t flags = 0;
  if (!in.u8(flags) || !flags_are_legal(flags, view.version)) return ReasonCode::MalformedPacket;
  view.clean_start = flags & kCleanStart;
  view.has_will = flags & kWill;
  if (view.has_will) {
    view.will.qos = static_cast<Qos>((flags & kWillQos) >> kWillQosShift);
    view.will.retain = flags & kWillRetain;
  }
  if (!in.u16(view.keep_alive_s)) return ReasonCode::MalformedPacket;
  if (v5) {
    if (!in.properties(view.properties)) return ReasonCode::MalformedPacket;
    reason = decode_properties(view);
    if (reason != ReasonCode::Success) return reason;
  } else {
    view.session_expiry_s = view.clean_start ? 0 : kSessionExpiryNever;
  }

  // The payload, in the one order it has [MQTT-3.1.3-1].
  if (!in.text(view.client_id)) return ReasonCode::MalformedPacket;  // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
  if (view.has_will) {
    reason = decode_will(in, view);
    if (reason != ReasonCode::Success) return reason;
  }
  // In 3.1 Remaining Length overrules these two flags: what was promised but does not come was not meant.
  const bool may_lack = view.version == ProtocolVersion::V31;
  if ((flags & kUserName) && !(may_lack && in.left() == 0)) {
    if (!in.text(view.user_name.emplace())) return ReasonCode::MalformedPacket;  // [MQTT-3.1.2-17] [MQTT-3.1.3-12]
  }
  if ((flags & kPassword) && !(may_lack && in.left() == 0)) {
    if (!in.binary(view.password.emplace())) return ReasonCode::MalformedPacket;  // [MQTT-3.1.2-19]
  }
  if (in.left() != 0) return ReasonCode::MalformedPacket;  // [MQTT-3.1.2-16] [MQTT-3.1.2-18]
  return view;
}

// A level above 5 is a later version, which can read 5's refusal [MQTT-3.1.2-2]. All others know the return codes of
// 3.x, Mosquitto's bridges among them: their levels are 3 and 4 with the highest bit set, which they take back at 1.
ProtocolVersion refusal_version(Bytes packet) noexcept {
  Reader in(packet.subspan(fixed_header_size(packet, false)));
  std::string_view name;
  uint8_t level = 0;
  const bool known = in.unjudged_text(name) && in.u8(level) && name == kProtocolName;
  return known && level > 5 && level < 0x80 ? ProtocolVersion::V5 : ProtocolVersion::V311;
}

void encode(const ConnectView& packet, Writer& out) noexcept {
  const bool v5 = packet.version == ProtocolVersion::V5;
  uint8_t flags = 0;
  if (packet.clean_start) flags |= kCleanStart;
  if (packet.has_will) {
    flags |= kWill;
    flags |= static_cast<uint8_t>(static_cast<unsigned>(packet.will.qos) << kWillQosShift);
    if (packet.will.retain) flags |= kWillRetain;
  }
  if (packet.password) flags |= kPassword;
  if (packet.user_name) flags |= kUserName;

  write_packet(out, first_byte(PacketType::Connect), [&](Writer& body) {
    body.prefixed(packet.version == ProtocolVersion::V31 ? kProtocolName31 : kProtocolName);
    body.u8(static_cast<uint8_t>(packet.version));
    body.u8(flags);
    body.u16(packet.keep_alive_s);
    if (v5) {
      write_properties(body, [&](Writer& properties) {
        if (packet.session_expiry_s != 0) {
          property_u32(properties, PropertyId::SessionExpiryInterval, packet.session_expiry_s);
        }
        if (packet.receive_maximum != kReceiveMaximumDefault) {
          property_u16(properties, PropertyId::ReceiveMaximum, packet.receive_maximum);
        }
        if (packet.maximum_packet_size != 0) {
          property_u32(properties, PropertyId::MaximumPacketSize, packet.maximum_packet_size);
        }
        if (packet.topic_alias_maximum != 0) {
          property_u16(properties, PropertyId::TopicAliasMaximum, packet.topic_alias_maximum);
        }
        if (packet.request_response_information) property_u8(properties, PropertyId::RequestResponseInformation, 1);
        if (!packet.request_problem_information) property_u8(properties, PropertyId::RequestProblemInformation, 0);
        authentication_properties(properties, packet.authentication_method, packet.authentication_data);
        user_properties(properties, packet.properties);
      });
    }
    body.prefixed(packet.client_id);
    if (packet.has_will) {
      if (v5) {
        write_properties(body, [&](Writer& properties) {
          if (packet.will_delay_s != 0) property_u32(properties, PropertyId::WillDelayInterval, packet.will_delay_s);
          if (packet.will.has_message_expiry) {
            property_u32(properties, PropertyId::MessageExpiryInterval, packet.will.message_expiry_s);
          }
          forwardable_properties(properties, packet.will);
        });
      }
      body.prefixed(packet.will.topic_name);
      body.prefixed(packet.will.payload);
    }
    if (packet.user_name) body.prefixed(*packet.user_name);
    if (packet.password) body.prefixed(*packet.password);
  });
}

}  // namespace mqttq::codec
