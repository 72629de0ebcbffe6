// Turns the views of codec/packets.h into lines of text.
#include "codec_describe.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace mqttq::conformance {

using namespace codec;

namespace {

std::string show(Bytes bytes) {
  const auto is_plain = [](std::byte b) { return b >= std::byte{0x20} && b < std::byte{0x7F} && b != std::byte{'\''}; };
  if (std::all_of(bytes.begin(), bytes.end(), is_plain)) return "'" + std::string(as_text(bytes)) + "'";
  std::string text;
  for (const std::byte b : bytes) {
    std::array<char, 4> pair{};
    std::snprintf(pair.data(), pair.size(), "%02x ", std::to_integer<unsigned>(b));
    text += pair.data();
  }
  text.pop_back();
  return text;
}
std::string show(std::string_view text) { return show(as_bytes(text)); }
std::string show(bool value) { return value ? "yes" : "no"; }
std::string show(uint32_t value) { return std::to_string(value); }
std::string show(uint16_t value) { return std::to_string(value); }
std::string show(Qos value) { return std::to_string(static_cast<unsigned>(value)); }
std::string show(ReasonCode value) {
  std::string text(to_text(value));
  std::replace(text.begin(), text.end(), ' ', '-');
  return text;
}
template <class T>
std::string show(const std::optional<T>& value) {
  return value ? show(*value) : "none";
}

constexpr std::string_view property_name(PropertyId id) {
  switch (id) {
#define MQTTQ_X(name, value, type, packets) \
  case PropertyId::name: return #name;
    MQTTQ_PROPERTIES(MQTTQ_X)
#undef MQTTQ_X
  }
  return "no property";
}

class Description {
 public:
  template <class T>
  void say(const std::string& name, const T& value) {
    lines_.push_back(name + " " + show(value));
  }
  void say_line(const std::string& line) { lines_.push_back(line); }

  // The properties that a packet carries and that no field holds.
  void say_properties(Bytes properties, std::initializer_list<PropertyId> in_fields) {
    PropertyReader reader(properties);
    for (Property property; reader.next(property);) {
      if (std::find(in_fields.begin(), in_fields.end(), property.id) != in_fields.end()) continue;
      std::string line = "property " + std::string(property_name(property.id));
      switch (property.id) {
        case PropertyId::UserProperty: line += " " + show(property.data) + " " + show(property.value); break;
        case PropertyId::PayloadFormatIndicator: line += " " + show(property.number); break;
        default: line += " " + show(property.data);
      }
      lines_.push_back(line);
    }
  }
  void say_user_properties(Bytes properties) {
    PropertyReader reader(properties);
    for (Property property; reader.next(property);) {
      if (property.id != PropertyId::UserProperty) continue;
      lines_.push_back("property UserProperty " + show(property.data) + " " + show(property.value));
    }
  }
  Lines take() { return std::move(lines_); }

 private:
  Lines lines_;
};

// The subscription identifiers, which a decoder leaves in the properties.
std::vector<uint32_t> subscription_identifiers(Bytes properties) {
  std::vector<uint32_t> identifiers;
  PropertyReader reader(properties);
  for (Property property; reader.next(property);) {
    if (property.id == PropertyId::SubscriptionIdentifier) identifiers.push_back(property.number);
  }
  return identifiers;
}

void describe_message(const PublishView& view, const std::string& prefix, Description& out) {
  out.say(prefix + "qos", view.qos);
  out.say(prefix + "retain", view.retain);
  out.say(prefix + "topic_name", view.topic_name);
  out.say(prefix + "payload", view.payload);
  out.say(prefix + "message_expiry_s",
          view.has_message_expiry ? std::optional<uint32_t>(view.message_expiry_s) : std::nullopt);
  out.say(prefix + "properties_forwardable", view.properties_forwardable);
  out.say_properties(view.properties, {PropertyId::TopicAlias, PropertyId::MessageExpiryInterval,
                                       PropertyId::SubscriptionIdentifier, PropertyId::WillDelayInterval});
}

Lines describe(const ConnectView& view, ProtocolVersion) {
  Description out;
  out.say("version", static_cast<uint32_t>(view.version));
  out.say("clean_start", view.clean_start);
  out.say("keep_alive_s", view.keep_alive_s);
  out.say("client_id", view.client_id);
  out.say("user_name", view.user_name);
  out.say("password", view.password);
  out.say("has_will", view.has_will);
  if (view.has_will) {
    describe_message(view.will, "will.", out);
    out.say("will_delay_s", view.will_delay_s);
  }
  out.say("session_expiry_s", view.session_expiry_s);
  out.say("receive_maximum", view.receive_maximum);
  out.say("maximum_packet_size", view.maximum_packet_size);
  out.say("topic_alias_maximum", view.topic_alias_maximum);
  out.say("request_response_information", view.request_response_information);
  out.say("request_problem_information", view.request_problem_information);
  out.say("authentication_method", view.authentication_method);
  out.say("authentication_data", view.authentication_data);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const ConnackView& view, ProtocolVersion) {
  Description out;
  out.say("session_present", view.session_present);
  out.say("reason_code", view.reason_code);
  out.say("session_expiry_s", view.session_expiry_s);
  out.say("receive_maximum", view.receive_maximum);
  out.say("maximum_qos", view.maximum_qos);
  out.say("retain_available", view.retain_available);
  out.say("maximum_packet_size", view.maximum_packet_size);
  out.say("assigned_client_id", view.assigned_client_id);
  out.say("topic_alias_maximum", view.topic_alias_maximum);
  out.say("reason_string", view.reason_string);
  out.say("wildcard_subscription_available", view.wildcard_subscription_available);
  out.say("subscription_identifiers_available", view.subscription_identifiers_available);
  out.say("shared_subscription_available", view.shared_subscription_available);
  out.say("server_keep_alive_s", view.server_keep_alive_s);
  out.say("response_information", view.response_information);
  out.say("server_reference", view.server_reference);
  out.say("authentication_method", view.authentication_method);
  out.say("authentication_data", view.authentication_data);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const PublishView& view, ProtocolVersion) {
  Description out;
  out.say("dup", view.dup);
  out.say("packet_id", view.packet_id);
  out.say("topic_alias", view.topic_alias);
  describe_message(view, "", out);
  for (const uint32_t identifier : subscription_identifiers(view.properties)) {
    out.say("subscription_identifier", identifier);
  }
  return out.take();
}

Lines describe(const AckView& view, ProtocolVersion) {
  Description out;
  out.say("type", static_cast<uint32_t>(view.type));
  out.say("packet_id", view.packet_id);
  out.say("reason_code", view.reason_code);
  out.say("reason_string", view.reason_string);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const SubscribeView& view, ProtocolVersion version) {
  Description out;
  out.say("packet_id", view.packet_id);
  out.say("subscription_identifier", view.subscription_identifier);
  out.say("entry_count", view.entry_count);
  SubscribeReader entries(view.entries, version);
  for (SubscribeEntry entry; entries.next(entry);) {
    std::string line = "entry " + show(entry.topic_filter) + " qos " + show(entry.options.qos);
    if (entry.options.no_local) line += " no-local";
    if (entry.options.retain_as_published) line += " retain-as-published";
    line += " retain-handling " + std::to_string(static_cast<unsigned>(entry.options.retain_handling));
    out.say_line(line);
  }
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const UnsubscribeView& view, ProtocolVersion) {
  Description out;
  out.say("packet_id", view.packet_id);
  out.say("entry_count", view.entry_count);
  UnsubscribeReader entries(view.entries);
  for (std::string_view topic_filter; entries.next(topic_filter);) out.say("entry", topic_filter);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const SubackView& view, ProtocolVersion) {
  Description out;
  out.say("type", static_cast<uint32_t>(view.type));
  out.say("packet_id", view.packet_id);
  for (const std::byte code : view.reason_codes) out.say("code", static_cast<ReasonCode>(code));
  out.say("reason_string", view.reason_string);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const DisconnectView& view, ProtocolVersion) {
  Description out;
  out.say("reason_code", view.reason_code);
  out.say("session_expiry_s", view.session_expiry_s);
  out.say("reason_string", view.reason_string);
  out.say("server_reference", view.server_reference);
  out.say_user_properties(view.properties);
  return out.take();
}

Lines describe(const AuthView& view, ProtocolVersion) {
  Description out;
  out.say("reason_code", view.reason_code);
  out.say("authentication_method", view.authentication_method);
  out.say("authentication_data", view.authentication_data);
  out.say("reason_string", view.reason_string);
  out.say_user_properties(view.properties);
  return out.take();
}

// Counts, and writes into as many bytes as were counted.
template <class Write>
std::vector<std::byte> written(const Write& write) {
  Writer counter;
  write(counter);
  std::vector<std::byte> bytes(counter.size());
  Writer writer(bytes.data());
  write(writer);
  return bytes;
}

template <class T>
Outcome outcome(const Decoded<T>& packet, ProtocolVersion version) {
  Outcome result;
  result.reason = packet.reason();
  if (!packet.ok()) return result;
  result.fields = describe(*packet, version);
  T view = *packet;
  std::vector<uint32_t> identifiers;
  if constexpr (std::is_same_v<T, PublishView>) {
    identifiers = subscription_identifiers(view.properties);
    view.subscription_identifiers = identifiers;
  }
  result.encoded = written([&](Writer& out) {
    if constexpr (std::is_same_v<T, ConnectView> || std::is_same_v<T, AuthView>) {
      encode(view, out);
    } else {
      encode(view, version, out);
    }
  });
  return result;
}

Outcome ping_outcome(Bytes packet) {
  Outcome result;
  result.reason = check_ping(packet);
  if (result.reason != ReasonCode::Success) return result;
  const auto type = static_cast<PacketType>(std::to_integer<unsigned>(packet[0]) >> 4);
  result.encoded = written([&](Writer& out) { encode_ping(type, out); });
  return result;
}

}  // namespace

Outcome play(Bytes packet, ProtocolVersion version) {
  using enum PacketType;
  if (packet.empty()) return {ReasonCode::MalformedPacket, {}, {}};
  switch (static_cast<PacketType>(std::to_integer<unsigned>(packet[0]) >> 4)) {
    case Connect: return outcome(decode_connect(packet), version);
    case Connack: return outcome(decode_connack(packet, version), version);
    case Publish: return outcome(decode_publish(packet, version), version);
    case Puback:
    case Pubrec:
    case Pubrel:
    case Pubcomp: return outcome(decode_ack(packet, version), version);
    case Subscribe: return outcome(decode_subscribe(packet, version), version);
    case Suback:
    case Unsuback: return outcome(decode_suback(packet, version), version);
    case Unsubscribe: return outcome(decode_unsubscribe(packet, version), version);
    case Pingreq:
    case Pingresp: return ping_outcome(packet);
    case Disconnect: return outcome(decode_disconnect(packet, version), version);
    case Auth: return outcome(decode_auth(packet), version);
  }
  return {ReasonCode::MalformedPacket, {}, {}};  // type 0
}

}  // namespace mqttq::conformance
