// The packets of MQTT as values: what decode_… yields and what encode takes, for every version.
//
// All views point into the buffer that was decoded and live as long as it does. A property that was absent has its
// default here. Versions 3.x have no properties: decoders leave the defaults, encoders ignore the fields.
#pragma once

#include <optional>
#include <type_traits>

#include "base/bytes.h"
#include "codec/frame.h"
#include "message/property.h"
#include "message/qos.h"
#include "message/reason_code.h"
#include "message/topic.h"

namespace mqttq::codec {

// A decoded packet, or the reason why the bytes are not one.
template <class T>
class Decoded {
 public:
  Decoded(const T& packet) noexcept : packet_(packet) {}
  Decoded(ReasonCode reason) noexcept : reason_(reason) {}
  // Fills the packet where it stands: fill(T&) says Success, or why not. To copy a PublishView costs more than to
  // read it from the wire.
  template <class Fill>
    requires std::is_invocable_r_v<ReasonCode, const Fill&, T&>
  explicit Decoded(const Fill& fill) noexcept : reason_(fill(packet_)) {}
  bool ok() const noexcept { return reason_ == ReasonCode::Success; }
  ReasonCode reason() const noexcept { return reason_; }
  const T& operator*() const noexcept { return packet_; }
  T& operator*() noexcept { return packet_; }
  const T* operator->() const noexcept { return &packet_; }

 private:
  T packet_{};  // before reason_, which its filling yields
  ReasonCode reason_ = ReasonCode::Success;
};

// One property as read from the wire. Which members mean something depends on the type of `id`.
struct Property {
  PropertyId id{};
  uint32_t number = 0;  // Byte, TwoByte, FourByte, VarInt
  Bytes data;           // Binary, Text; the name of a TextPair
  Bytes value;          // the value of a TextPair
};

// Walks properties that a decoder has found well formed, in the order of the wire.
class PropertyReader {
 public:
  explicit PropertyReader(Bytes properties) noexcept : rest_(properties) {}
  // False at the end; `out` is then untouched. `raw` is the property's own bytes, identifier included.
  bool next(Property& out) noexcept;
  // The next User Property.
  bool next_user(std::string_view& name, std::string_view& value) noexcept;
  Bytes raw() const noexcept { return raw_; }

 private:
  Bytes rest_;
  Bytes raw_;
};

// PUBLISH (MQTT5 3.3), and the model of a will.
struct PublishView {
  bool dup = false;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  uint16_t packet_id = 0;    // 0 at QoS 0
  uint16_t topic_alias = 0;  // 0 = none
  bool has_message_expiry = false;
  // True if `properties` holds neither alias, expiry nor subscription identifier: it may be forwarded as it is.
  bool properties_forwardable = true;
  uint32_t message_expiry_s = 0;
  // Not judged by decode_publish beyond its length: handle_publish has it judged, once for a topic that is cached.
  std::string_view topic_name;
  Bytes properties;  // all of them, validated, without their length
  Bytes payload;
  // Encoding only: written as Subscription Identifier properties. Decoders leave it empty; they stay in `properties`.
  std::span<const uint32_t> subscription_identifiers;
};

// CONNECT (MQTT5 3.1).
struct ConnectView {
  ProtocolVersion version = ProtocolVersion::V5;
  bool clean_start = false;
  uint16_t keep_alive_s = 0;
  std::string_view client_id;
  std::optional<std::string_view> user_name;
  std::optional<Bytes> password;

  bool has_will = false;
  PublishView will;           // dup, packet_id, topic_alias unused; its topic name was judged
  uint32_t will_delay_s = 0;  // not in will.properties' forwardable part: Will Delay Interval is left out of it

  uint32_t session_expiry_s = 0;  // 3.x: 0 with clean session, else kSessionExpiryNever
  uint16_t receive_maximum = kReceiveMaximumDefault;
  uint32_t maximum_packet_size = 0;  // bytes, 0 = no limit
  uint16_t topic_alias_maximum = 0;
  bool request_response_information = false;
  bool request_problem_information = true;
  std::optional<std::string_view> authentication_method;
  Bytes authentication_data;
  Bytes properties;  // all of them, for the user properties
};

// CONNACK (MQTT5 3.2).
struct ConnackView {
  bool session_present = false;
  ReasonCode reason_code = ReasonCode::Success;  // 3.x: encoded as the return code that fits best, and back
  std::optional<uint32_t> session_expiry_s;
  uint16_t receive_maximum = kReceiveMaximumDefault;
  Qos maximum_qos = Qos::ExactlyOnce;
  bool retain_available = true;
  uint32_t maximum_packet_size = 0;  // 0 = no limit
  std::string_view assigned_client_id;
  uint16_t topic_alias_maximum = 0;
  std::string_view reason_string;
  bool wildcard_subscription_available = true;
  bool subscription_identifiers_available = true;
  bool shared_subscription_available = true;
  std::optional<uint16_t> server_keep_alive_s;
  std::string_view response_information;
  std::string_view server_reference;
  std::optional<std::string_view> authentication_method;
  Bytes authentication_data;
  Bytes properties;  // decoding: all of them. Encoding: only its user properties are written.
};

// PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT5 3.4 to 3.7).
struct AckView {
  PacketType type = PacketType::Puback;
  uint16_t packet_id = 0;
  ReasonCode reason_code = ReasonCode::Success;
  std::string_view reason_string;
  Bytes properties;  // as ConnackView's
};

enum class RetainHandling : uint8_t { Send = 0, SendIfNew = 1, DoNotSend = 2 };

struct SubscriptionOptions {
  Qos qos = Qos::AtMostOnce;
  bool no_local = false;
  bool retain_as_published = false;
  RetainHandling retain_handling = RetainHandling::Send;
};

struct SubscribeEntry {
  std::string_view topic_filter;  // UTF-8 was judged, the filter's grammar was not
  SubscriptionOptions options;
};

// SUBSCRIBE (MQTT5 3.8).
struct SubscribeView {
  uint16_t packet_id = 0;
  uint32_t subscription_identifier = 0;  // 0 = none
  uint32_t entry_count = 0;              // at least 1
  Bytes entries;                         // walk with SubscribeReader
  Bytes properties;
};

class SubscribeReader {
 public:
  SubscribeReader(Bytes entries, ProtocolVersion version) noexcept : rest_(entries), version_(version) {}
  bool next(SubscribeEntry& out) noexcept;

 private:
  Bytes rest_;
  ProtocolVersion version_;
};

// UNSUBSCRIBE (MQTT5 3.10).
struct UnsubscribeView {
  uint16_t packet_id = 0;
  uint32_t entry_count = 0;
  Bytes entries;  // walk with UnsubscribeReader
  Bytes properties;
};

class UnsubscribeReader {
 public:
  explicit UnsubscribeReader(Bytes entries) noexcept : rest_(entries) {}
  bool next(std::string_view& topic_filter) noexcept;

 private:
  Bytes rest_;
};

// SUBACK and UNSUBACK (MQTT5 3.9, 3.11).
struct SubackView {
  PacketType type = PacketType::Suback;
  uint16_t packet_id = 0;
  Bytes reason_codes;  // one byte each, in the order of the request; empty for UNSUBACK of 3.x
  std::string_view reason_string;
  Bytes properties;
};

// DISCONNECT (MQTT5 3.14).
struct DisconnectView {
  ReasonCode reason_code = ReasonCode::Success;
  std::optional<uint32_t> session_expiry_s;
  std::string_view reason_string;
  std::string_view server_reference;
  Bytes properties;
};

// AUTH (MQTT5 3.15).
struct AuthView {
  ReasonCode reason_code = ReasonCode::Success;
  std::optional<std::string_view> authentication_method;
  Bytes authentication_data;
  std::string_view reason_string;
  Bytes properties;
};

}  // namespace mqttq::codec
