// Properties (MQTT5 2.2.2): the one place that reads them, judges their values and copies them on.
#include "codec/packet_writer.h"
#include "codec/reader.h"

namespace mqttq::codec {

namespace {

struct PropertyRule {
  PropertyType type = PropertyType::Byte;
  uint16_t packets = 0;  // 0: no such property
};

struct PropertyRules {
  PropertyRule of[64];  // identifiers end at 0x2A
};

constexpr PropertyRules make_rules() noexcept {
  using namespace property_packets;
  PropertyRules rules;
#define MQTTQ_X(name, value, type, packets) rules.of[value] = {PropertyType::type, packets};
  MQTTQ_PROPERTIES(MQTTQ_X)
#undef MQTTQ_X
  return rules;
}

constexpr PropertyRules kRules = make_rules();

// An identifier is a Variable Byte Integer of which only one-byte values are given out. nullptr if this is none.
const PropertyRule* rule_of(uint8_t id) noexcept {
  return id < std::size(kRules.of) && kRules.of[id].packets != 0 ? &kRules.of[id] : nullptr;
}

// Reads the value of property `out.id`. False if the bytes are not one of `type`.
bool read_value(Reader& in, PropertyType type, Property& out) noexcept {
  uint8_t byte = 0;
  uint16_t two_bytes = 0;
  std::string_view name, value;
  switch (type) {
    case PropertyType::Byte:
      if (!in.u8(byte)) return false;
      out.number = byte;
      return true;
    case PropertyType::TwoByte:
      if (!in.u16(two_bytes)) return false;
      out.number = two_bytes;
      return true;
    case PropertyType::FourByte: return in.u32(out.number);
    case PropertyType::VarInt: return in.varint(out.number);
    case PropertyType::Binary: return in.binary(out.data);
    case PropertyType::Text:
      if (!in.text(value)) return false;
      out.data = as_bytes(value);
      return true;
    case PropertyType::TextPair:  // [MQTT-1.5.7-1]
      if (!in.text(name) || !in.text(value)) return false;
      out.data = as_bytes(name);
      out.value = as_bytes(value);
      return true;
  }
  return false;
}

// Whether the specification allows this value, which is of the right type.
ReasonCode judge_value(const Property& property, PropertyType type) noexcept {
  // Every property of one byte is a yes or a no, or a Maximum QoS of 0 or 1.
  if (type == PropertyType::Byte && property.number > 1) return ReasonCode::ProtocolError;
  switch (property.id) {
    case PropertyId::TopicAlias:  // [MQTT-3.3.2-8]
      return property.number == 0 ? ReasonCode::TopicAliasInvalid : ReasonCode::Success;
    case PropertyId::ReceiveMaximum:          // (MQTT5 3.1.2.11.3)
    case PropertyId::MaximumPacketSize:       // (MQTT5 3.1.2.11.4)
    case PropertyId::SubscriptionIdentifier:  // (MQTT5 3.8.2.1.2)
      return property.number == 0 ? ReasonCode::ProtocolError : ReasonCode::Success;
    case PropertyId::ResponseTopic:  // a Topic Name: no wildcards [MQTT-3.3.2-14], not empty [MQTT-4.7.3-1]
      return property.data.empty() || has_wildcard(as_text(property.data)) ? ReasonCode::ProtocolError
                                                                           : ReasonCode::Success;
    default: return ReasonCode::Success;
  }
}

}  // namespace

bool PropertyDecoder::next(Property& out) noexcept {
  if (in_.left() == 0) {
    // (MQTT5 3.1.2.11.10): data without the method they belong to mean nothing.
    if (seen(PropertyId::AuthenticationData) && !seen(PropertyId::AuthenticationMethod)) {
      return refuse(ReasonCode::ProtocolError);
    }
    return false;
  }
  uint8_t id = 0;
  if (!in_.u8(id)) return refuse(ReasonCode::MalformedPacket);
  // An identifier that is unknown, or not for this packet, makes the packet malformed (MQTT5 2.2.2.2).
  const PropertyRule* rule = rule_of(id);
  if (!rule || (rule->packets & packets_) == 0) return refuse(ReasonCode::MalformedPacket);
  Property property;
  property.id = static_cast<PropertyId>(id);
  if (!read_value(in_, rule->type, property)) return refuse(ReasonCode::MalformedPacket);
  // A Server gives a PUBLISH one Subscription Identifier for each subscription that matched (MQTT5 3.3.4).
  const bool repeatable = property.id == PropertyId::UserProperty ||
                          (property.id == PropertyId::SubscriptionIdentifier && packets_ == property_packets::kPublish);
  if (!repeatable && seen(property.id)) return refuse(ReasonCode::ProtocolError);
  seen_ |= uint64_t{1} << id;
  const ReasonCode reason = judge_value(property, rule->type);
  if (reason != ReasonCode::Success) return refuse(reason);
  out = property;
  return true;
}

bool PropertyReader::next(Property& out) noexcept {
  Reader in(rest_);
  uint8_t id = 0;
  if (!in.u8(id)) return false;
  const PropertyRule* rule = rule_of(id);
  Property property;
  property.id = static_cast<PropertyId>(id);
  if (!rule || !read_value(in, rule->type, property)) return false;
  raw_ = rest_.first(rest_.size() - in.left());
  rest_ = in.rest();
  out = property;
  return true;
}

bool PropertyReader::next_user(std::string_view& name, std::string_view& value) noexcept {
  for (Property property; next(property);) {
    if (property.id != PropertyId::UserProperty) continue;
    name = as_text(property.data);
    value = as_text(property.value);
    return true;
  }
  return false;
}

void user_properties(Writer& out, Bytes properties) noexcept {
  PropertyReader reader(properties);
  for (Property property; reader.next(property);) {
    if (property.id == PropertyId::UserProperty) out.raw(reader.raw());
  }
}

void forwardable_properties(Writer& out, const PublishView& message) noexcept {
  if (message.properties_forwardable) {
    out.raw(message.properties);
    return;
  }
  PropertyReader reader(message.properties);
  for (Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::TopicAlias:
      case PropertyId::MessageExpiryInterval:
      case PropertyId::SubscriptionIdentifier:
      case PropertyId::WillDelayInterval: break;
      default: out.raw(reader.raw());
    }
  }
}

}  // namespace mqttq::codec
