// PUBLISH (MQTT5 3.3): the packet that all others serve, and the one whose decoding has to cost nothing.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

ReasonCode decode_message_properties(PublishView& packet, uint16_t packets, uint32_t* will_delay_s) noexcept {
  PropertyDecoder properties(packet.properties, packets);
  for (Property property; properties.next(property);) {
    switch (property.id) {
      case PropertyId::MessageExpiryInterval:
        packet.has_message_expiry = true;
        packet.message_expiry_s = property.number;
        break;
      case PropertyId::TopicAlias: packet.topic_alias = static_cast<uint16_t>(property.number); break;
      case PropertyId::SubscriptionIdentifier: break;
      case PropertyId::WillDelayInterval: *will_delay_s = property.number; break;
      default: continue;
    }
    packet.properties_forwardable = false;
  }
  return properties.reason();
}

Decoded<PublishView> decode_publish(Bytes packet, ProtocolVersion version) noexcept {
  return Decoded<PublishView>([&](PublishView& view) noexcept {
    const size_t header_size = fixed_header_size(packet, version == ProtocolVersion::V5);
    if (header_size == 0) return ReasonCode::MalformedPacket;
    const uint8_t first = first_byte(packet);
    const uint8_t qos = first >> 1 & 3;
    view.dup = first & 0x08;
    view.qos = static_cast<Qos>(qos);
    view.retain = first & 0x01;
    // QoS 3 does not exist [MQTT-3.3.1-4], and QoS 0 is never sent again [MQTT-3.3.1-2].
    if (first >> 4 != static_cast<uint8_t>(PacketType::Publish) || qos == 3 || (qos == 0 && view.dup)) {
      return ReasonCode::MalformedPacket;
    }
    Reader in(packet.subspan(header_size));
    if (!in.unjudged_text(view.topic_name)) return ReasonCode::MalformedPacket;
    if (qos != 0) {
      if (!in.u16(view.packet_id)) return ReasonCode::MalformedPacket;
      if (view.packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-3] [MQTT-2.2.1-4] [MQTT311-2.3.1-1]
    }
    if (version == ProtocolVersion::V5) {
      if (!in.properties(view.properties)) return ReasonCode::MalformedPacket;
      if (!view.properties.empty()) {
        const ReasonCode reason = decode_message_properties(view, property_packets::kPublish, nullptr);
        if (reason != ReasonCode::Success) return reason;
      }
    }
    view.payload = in.rest();
    return ReasonCode::Success;
  });
}

void encode(const PublishView& packet, ProtocolVersion version, Writer& out) noexcept {
  const auto flags = static_cast<uint8_t>((packet.dup ? 0x08 : 0) | static_cast<uint8_t>(packet.qos) << 1 |
                                          (packet.retain ? 0x01 : 0));
  write_packet(out, first_byte(PacketType::Publish, flags), [&](Writer& body) {
    body.prefixed(packet.topic_name);
    if (packet.qos != Qos::AtMostOnce) body.u16(packet.packet_id);  // [MQTT-2.2.1-2]
    if (version == ProtocolVersion::V5) {
      write_properties(body, [&](Writer& properties) {
        if (packet.topic_alias != 0) property_u16(properties, PropertyId::TopicAlias, packet.topic_alias);
        if (packet.has_message_expiry) {
          property_u32(properties, PropertyId::MessageExpiryInterval, packet.message_expiry_s);
        }
        for (const uint32_t identifier : packet.subscription_identifiers) {
          properties.u8(static_cast<uint8_t>(PropertyId::SubscriptionIdentifier));
          properties.varint(identifier);
        }
        forwardable_properties(properties, packet);
      });
    }
    body.raw(packet.payload);
  });
}

}  // namespace mqttq::codec
