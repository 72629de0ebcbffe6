// What MQTT says to a peer (MQTT5 2.4). One table yields the enumeration and its names.
//
// A reason code is never a Status: it travels on the wire and ends, at most, one connection.
#pragma once

#include <cstdint>
#include <string_view>

namespace mqttq {

// X(name, value, text). Success is also Normal Disconnection and Granted QoS 0.
#define MQTTQ_REASON_CODES(X)                                                            \
  X(Success, 0x00, "success")                                                            \
  X(GrantedQos1, 0x01, "granted QoS 1")                                                  \
  X(GrantedQos2, 0x02, "granted QoS 2")                                                  \
  X(DisconnectWithWill, 0x04, "disconnect with will message")                            \
  X(NoMatchingSubscribers, 0x10, "no matching subscribers")                              \
  X(NoSubscriptionExisted, 0x11, "no subscription existed")                              \
  X(ContinueAuthentication, 0x18, "continue authentication")                             \
  X(ReAuthenticate, 0x19, "re-authenticate")                                             \
  X(UnspecifiedError, 0x80, "unspecified error")                                         \
  X(MalformedPacket, 0x81, "malformed packet")                                           \
  X(ProtocolError, 0x82, "protocol error")                                               \
  X(ImplementationSpecificError, 0x83, "implementation specific error")                  \
  X(UnsupportedProtocolVersion, 0x84, "unsupported protocol version")                    \
  X(ClientIdentifierNotValid, 0x85, "client identifier not valid")                       \
  X(BadUserNameOrPassword, 0x86, "bad user name or password")                            \
  X(NotAuthorized, 0x87, "not authorized")                                               \
  X(ServerUnavailable, 0x88, "server unavailable")                                       \
  X(ServerBusy, 0x89, "server busy")                                                     \
  X(Banned, 0x8A, "banned")                                                              \
  X(ServerShuttingDown, 0x8B, "server shutting down")                                    \
  X(BadAuthenticationMethod, 0x8C, "bad authentication method")                          \
  X(KeepAliveTimeout, 0x8D, "keep alive timeout")                                        \
  X(SessionTakenOver, 0x8E, "session taken over")                                        \
  X(TopicFilterInvalid, 0x8F, "topic filter invalid")                                    \
  X(TopicNameInvalid, 0x90, "topic name invalid")                                        \
  X(PacketIdentifierInUse, 0x91, "packet identifier in use")                             \
  X(PacketIdentifierNotFound, 0x92, "packet identifier not found")                       \
  X(ReceiveMaximumExceeded, 0x93, "receive maximum exceeded")                            \
  X(TopicAliasInvalid, 0x94, "topic alias invalid")                                      \
  X(PacketTooLarge, 0x95, "packet too large")                                            \
  X(MessageRateTooHigh, 0x96, "message rate too high")                                   \
  X(QuotaExceeded, 0x97, "quota exceeded")                                               \
  X(AdministrativeAction, 0x98, "administrative action")                                 \
  X(PayloadFormatInvalid, 0x99, "payload format invalid")                                \
  X(RetainNotSupported, 0x9A, "retain not supported")                                    \
  X(QosNotSupported, 0x9B, "QoS not supported")                                          \
  X(UseAnotherServer, 0x9C, "use another server")                                        \
  X(ServerMoved, 0x9D, "server moved")                                                   \
  X(SharedSubscriptionsNotSupported, 0x9E, "shared subscriptions not supported")         \
  X(ConnectionRateExceeded, 0x9F, "connection rate exceeded")                            \
  X(MaximumConnectTime, 0xA0, "maximum connect time")                                    \
  X(SubscriptionIdentifiersNotSupported, 0xA1, "subscription identifiers not supported") \
  X(WildcardSubscriptionsNotSupported, 0xA2, "wildcard subscriptions not supported")

enum class ReasonCode : uint8_t {
#define MQTTQ_X(name, value, text) name = value,
  MQTTQ_REASON_CODES(MQTTQ_X)
#undef MQTTQ_X
};

// Reason codes of 0x80 and above say that it failed (MQTT5 2.4).
constexpr bool is_error(ReasonCode code) noexcept { return static_cast<uint8_t>(code) >= 0x80; }

// The lower-case name of `code`, "unknown reason code" for a value that the specification does not have. Static text.
std::string_view to_text(ReasonCode code) noexcept;

// True if `value` is a reason code of the specification.
bool is_reason_code(uint8_t value) noexcept;

}  // namespace mqttq
