// SUBSCRIBE (MQTT5 3.8).
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

// The Subscription Options byte (MQTT5 3.8.3.1); 3.x has only the QoS.
constexpr uint8_t kQosMask = 0x03;
constexpr uint8_t kNoLocal = 0x04;
constexpr uint8_t kRetainAsPublished = 0x08;
constexpr unsigned kRetainHandlingShift = 4;
constexpr uint8_t kRetainHandlingMask = 0x30;
constexpr uint8_t kReservedMask5 = 0xC0;
constexpr uint8_t kReservedMask3 = 0xFC;

constexpr std::string_view kSharedPrefix = "$share/";

ReasonCode judge_entry(std::string_view topic_filter, uint8_t options, ProtocolVersion version) noexcept {
  const bool qos_is_legal = (options & kQosMask) != 3;
  if (version != ProtocolVersion::V5) {  // [MQTT311-3.8.3-4]
    return qos_is_legal && (options & kReservedMask3) == 0 ? ReasonCode::Success : ReasonCode::MalformedPacket;
  }
  if (options & kReservedMask5) return ReasonCode::MalformedPacket;  // [MQTT-3.8.3-5]
  // (MQTT5 3.8.3.1): QoS 3 and Retain Handling 3.
  if (!qos_is_legal || (options & kRetainHandlingMask) == kRetainHandlingMask) return ReasonCode::ProtocolError;
  if ((options & kNoLocal) && topic_filter.starts_with(kSharedPrefix))
    return ReasonCode::ProtocolError;  // [MQTT-3.8.3-4]
  return ReasonCode::Success;
}

}  // namespace

Decoded<SubscribeView> decode_subscribe(Bytes packet, ProtocolVersion version) noexcept {
  const size_t header_size = fixed_header_size(packet, version == ProtocolVersion::V5);
  if (header_size == 0) return ReasonCode::MalformedPacket;
  const uint8_t first = first_byte(packet);
  if (first >> 4 != static_cast<uint8_t>(PacketType::Subscribe) || !has_request_flags(first, version)) {
    return ReasonCode::MalformedPacket;  // [MQTT-3.8.1-1]
  }
  Reader in(packet.subspan(header_size));
  SubscribeView view;
  if (!in.u16(view.packet_id)) return ReasonCode::MalformedPacket;
  if (view.packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-3] [MQTT311-2.3.1-1]
  if (version == ProtocolVersion::V5) {
    if (!in.properties(view.properties)) return ReasonCode::MalformedPacket;
    PropertyDecoder properties(view.properties, property_packets::kSubscribe);
    for (Property property; properties.next(property);) {
      if (property.id == PropertyId::SubscriptionIdentifier) view.subscription_identifier = property.number;
    }
    if (properties.reason() != ReasonCode::Success) return properties.reason();
  }
  view.entries = in.rest();
  if (view.entries.empty()) return ReasonCode::ProtocolError;  // [MQTT-3.8.3-2] [MQTT311-3.8.3-3]
  while (in.left() != 0) {
    std::string_view topic_filter;
    uint8_t options = 0;
    if (!in.text(topic_filter) || !in.u8(options)) return ReasonCode::MalformedPacket;  // [MQTT-3.8.3-1]
    const ReasonCode reason = judge_entry(topic_filter, options, version);
    if (reason != ReasonCode::Success) return reason;
    view.entry_count += 1;
  }
  return view;
}

bool SubscribeReader::next(SubscribeEntry& out) noexcept {
  Reader in(rest_);
  std::string_view topic_filter;
  uint8_t byte = 0;
  if (!in.unjudged_text(topic_filter) || !in.u8(byte)) return false;
  rest_ = in.rest();
  out.topic_filter = topic_filter;
  out.options = {};
  out.options.qos = static_cast<Qos>(byte & kQosMask);
  if (version_ == ProtocolVersion::V5) {
    out.options.no_local = byte & kNoLocal;
    out.options.retain_as_published = byte & kRetainAsPublished;
    out.options.retain_handling = static_cast<RetainHandling>((byte & kRetainHandlingMask) >> kRetainHandlingShift);
  }
  return true;
}

uint8_t encode_options(const SubscriptionOptions& options) noexcept {
  return static_cast<uint8_t>(static_cast<unsigned>(options.qos) | (options.no_local ? kNoLocal : 0u) |
                              (options.retain_as_published ? kRetainAsPublished : 0u) |
                              static_cast<unsigned>(options.retain_handling) << kRetainHandlingShift);
}

void encode(const SubscribeView& packet, ProtocolVersion version, Writer& out) noexcept {
  write_packet(out, first_byte(PacketType::Subscribe, 0x02), [&](Writer& body) {
    body.u16(packet.packet_id);
    if (version == ProtocolVersion::V5) {
      write_properties(body, [&](Writer& properties) {
        if (packet.subscription_identifier != 0) {
          properties.u8(static_cast<uint8_t>(PropertyId::SubscriptionIdentifier));
          properties.varint(packet.subscription_identifier);
        }
        user_properties(properties, packet.properties);
      });
    }
    // Read back rather than copied: what 3.x has no bits for is then left out.
    SubscribeReader entries(packet.entries, version);
    for (SubscribeEntry entry; entries.next(entry);) {
      body.prefixed(entry.topic_filter);
      body.u8(encode_options(entry.options));
    }
  });
}

}  // namespace mqttq::codec
