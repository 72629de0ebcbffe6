// What the fuzz targets of the decoders share.
//
// An input is one byte that chooses, and then a packet. The byte's remainder by six: 0, 1 and 2 are version 3.1, 3.1.1
// and 5, and a packet without its Remaining Length, which is put in so that the fuzzer need not find it; 3, 4 and 5 are
// the same versions, and a packet as it is.
//
// What decodes must encode to the same meaning, and what was encoded once is encoded in no other way.
#pragma once

#include <algorithm>
#include <vector>

#include "codec/codec.h"
#include "require.h"

namespace mqttq::codec::fuzz {

using mqttq::fuzz::require;

struct Input {
  ProtocolVersion version = ProtocolVersion::V5;
  std::vector<std::byte> packet;  // of its exact size, so that a sanitizer sees a read behind its end
};

inline Input read_input(const uint8_t* data, size_t size) {
  Input input;
  if (size == 0) return input;
  const Bytes rest{reinterpret_cast<const std::byte*>(data) + 1, size - 1};
  input.version = static_cast<ProtocolVersion>(3 + data[0] % 3);
  if (data[0] % 6 >= 3 || rest.empty()) {
    input.packet.assign(rest.begin(), rest.end());
    return input;
  }
  const auto body = rest.subspan(1);
  const auto body_size = static_cast<uint32_t>(body.size());
  input.packet.resize(1 + varint_size(body_size) + body_size);
  Writer out(input.packet.data());
  out.raw(rest.first(1));
  out.varint(body_size);
  out.raw(body);
  return input;
}

using RawProperties = std::vector<std::vector<std::byte>>;

// The properties that choose(PropertyId) chooses, in their order.
template <class Choose>
RawProperties raw_properties(Bytes properties, const Choose& choose) {
  RawProperties chosen;
  PropertyReader reader(properties);
  for (Property property; reader.next(property);) {
    if (choose(property.id)) chosen.emplace_back(reader.raw().begin(), reader.raw().end());
  }
  return chosen;
}

inline RawProperties user_properties(Bytes properties) {
  return raw_properties(properties, [](PropertyId id) { return id == PropertyId::UserProperty; });
}

inline std::vector<uint32_t> subscription_identifiers(Bytes properties) {
  std::vector<uint32_t> identifiers;
  PropertyReader reader(properties);
  for (Property property; reader.next(property);) {
    if (property.id == PropertyId::SubscriptionIdentifier) identifiers.push_back(property.number);
  }
  return identifiers;
}

inline bool same(Bytes a, Bytes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

inline bool same(const std::optional<Bytes>& a, const std::optional<Bytes>& b) {
  return a.has_value() == b.has_value() && (!a || same(*a, *b));
}

inline bool same(const PublishView& a, const PublishView& b) {
  const auto goes_along = [](PropertyId id) {
    return id != PropertyId::TopicAlias && id != PropertyId::MessageExpiryInterval &&
           id != PropertyId::SubscriptionIdentifier && id != PropertyId::WillDelayInterval;
  };
  return a.dup == b.dup && a.qos == b.qos && a.retain == b.retain && a.packet_id == b.packet_id &&
         a.topic_alias == b.topic_alias && a.has_message_expiry == b.has_message_expiry &&
         a.message_expiry_s == b.message_expiry_s && a.topic_name == b.topic_name && same(a.payload, b.payload) &&
         raw_properties(a.properties, goes_along) == raw_properties(b.properties, goes_along) &&
         subscription_identifiers(a.properties) == subscription_identifiers(b.properties);
}

inline bool same(const ConnectView& a, const ConnectView& b) {
  return a.version == b.version && a.clean_start == b.clean_start && a.keep_alive_s == b.keep_alive_s &&
         a.client_id == b.client_id && a.user_name == b.user_name && same(a.password, b.password) &&
         a.has_will == b.has_will && same(a.will, b.will) && a.will_delay_s == b.will_delay_s &&
         a.session_expiry_s == b.session_expiry_s && a.receive_maximum == b.receive_maximum &&
         a.maximum_packet_size == b.maximum_packet_size && a.topic_alias_maximum == b.topic_alias_maximum &&
         a.request_response_information == b.request_response_information &&
         a.request_problem_information == b.request_problem_information &&
         a.authentication_method == b.authentication_method && same(a.authentication_data, b.authentication_data) &&
         user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const ConnackView& a, const ConnackView& b) {
  return a.session_present == b.session_present && a.reason_code == b.reason_code &&
         a.session_expiry_s == b.session_expiry_s && a.receive_maximum == b.receive_maximum &&
         a.maximum_qos == b.maximum_qos && a.retain_available == b.retain_available &&
         a.maximum_packet_size == b.maximum_packet_size && a.assigned_client_id == b.assigned_client_id &&
         a.topic_alias_maximum == b.topic_alias_maximum && a.reason_string == b.reason_string &&
         a.wildcard_subscription_available == b.wildcard_subscription_available &&
         a.subscription_identifiers_available == b.subscription_identifiers_available &&
         a.shared_subscription_available == b.shared_subscription_available &&
         a.server_keep_alive_s == b.server_keep_alive_s && a.response_information == b.response_information &&
         a.server_reference == b.server_reference && a.authentication_method == b.authentication_method &&
         same(a.authentication_data, b.authentication_data) &&
         user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const AckView& a, const AckView& b) {
  return a.type == b.type && a.packet_id == b.packet_id && a.reason_code == b.reason_code &&
         a.reason_string == b.reason_string && user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const SubscribeView& a, const SubscribeView& b) {
  return a.packet_id == b.packet_id && a.subscription_identifier == b.subscription_identifier &&
         a.entry_count == b.entry_count && same(a.entries, b.entries) &&
         user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const UnsubscribeView& a, const UnsubscribeView& b) {
  return a.packet_id == b.packet_id && a.entry_count == b.entry_count && same(a.entries, b.entries) &&
         user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const SubackView& a, const SubackView& b) {
  return a.type == b.type && a.packet_id == b.packet_id && same(a.reason_codes, b.reason_codes) &&
         a.reason_string == b.reason_string && user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const DisconnectView& a, const DisconnectView& b) {
  return a.reason_code == b.reason_code && a.session_expiry_s == b.session_expiry_s &&
         a.reason_string == b.reason_string && a.server_reference == b.server_reference &&
         user_properties(a.properties) == user_properties(b.properties);
}

inline bool same(const AuthView& a, const AuthView& b) {
  return a.reason_code == b.reason_code && a.authentication_method == b.authentication_method &&
         same(a.authentication_data, b.authentication_data) && a.reason_string == b.reason_string &&
         user_properties(a.properties) == user_properties(b.properties);
}

template <class View>
std::vector<std::byte> encoded(const View& packet, ProtocolVersion version) {
  View view = packet;
  std::vector<uint32_t> identifiers;
  if constexpr (std::is_same_v<View, PublishView>) {  // decoders leave them in the properties
    identifiers = subscription_identifiers(packet.properties);
    view.subscription_identifiers = identifiers;
  }
  const auto write = [&](Writer& out) {
    if constexpr (std::is_same_v<View, ConnectView> || std::is_same_v<View, AuthView>) {
      encode(view, out);
    } else {
      encode(view, version, out);
    }
  };
  Writer counter;
  write(counter);
  std::vector<std::byte> bytes(counter.size());
  Writer out(bytes.data());
  write(out);
  require(out.size() == bytes.size(), "as many bytes are written as were counted");
  return bytes;
}

// decode(Bytes) -> Decoded<...>. What it takes has to come back.
template <class Decode>
void check_round_trip(const Input& input, const Decode& decode) {
  const auto once = decode(Bytes(input.packet));
  if (!once.ok()) {
    require(is_error(once.reason()), "a refusal has the reason of an error");
    return;
  }
  const Frame frame = scan_frame(input.packet);
  require(frame.kind == Frame::Kind::Complete && frame.size == input.packet.size(), "what decodes is one whole packet");
  const std::vector<std::byte> bytes = encoded(*once, input.version);
  require(bytes.size() <= input.packet.size(), "our own form is the shortest");
  const auto twice = decode(Bytes(bytes));
  require(twice.ok(), "what was encoded decodes");
  require(same(*once, *twice), "what was encoded means the same");
  require(encoded(*twice, input.version) == bytes, "what was encoded is encoded in no other way");
}

}  // namespace mqttq::codec::fuzz
