// The properties of MQTT 5 (MQTT5 2.2.2.2): their identifiers, wire types and the packets that may carry them.
//
// One table yields the enumeration, and what the decoder allows where.
#pragma once

#include <cstdint>

namespace mqttq {

enum class PropertyType : uint8_t { Byte, TwoByte, FourByte, VarInt, Binary, Text, TextPair };

// Which packets may carry a property: bit n stands for packet type n; bit 0, which is no packet, for Will Properties.
namespace property_packets {
inline constexpr uint16_t kWill = 1u << 0, kConnect = 1u << 1, kConnack = 1u << 2, kPublish = 1u << 3,
                          kPuback = 1u << 4, kPubrec = 1u << 5, kPubrel = 1u << 6, kPubcomp = 1u << 7,
                          kSubscribe = 1u << 8, kSuback = 1u << 9, kUnsubscribe = 1u << 10, kUnsuback = 1u << 11,
                          kDisconnect = 1u << 14, kAuth = 1u << 15;
inline constexpr uint16_t kAll = kWill | kConnect | kConnack | kPublish | kPuback | kPubrec | kPubrel | kPubcomp |
                                 kSubscribe | kSuback | kUnsubscribe | kUnsuback | kDisconnect | kAuth;
inline constexpr uint16_t kReasoned =
    kConnack | kPuback | kPubrec | kPubrel | kPubcomp | kSuback | kUnsuback | kDisconnect | kAuth;
}  // namespace property_packets

// X(name, identifier, type, packets)
#define MQTTQ_PROPERTIES(X)                                                   \
  X(PayloadFormatIndicator, 0x01, Byte, kPublish | kWill)                     \
  X(MessageExpiryInterval, 0x02, FourByte, kPublish | kWill)                  \
  X(ContentType, 0x03, Text, kPublish | kWill)                                \
  X(ResponseTopic, 0x08, Text, kPublish | kWill)                              \
  X(CorrelationData, 0x09, Binary, kPublish | kWill)                          \
  X(SubscriptionIdentifier, 0x0B, VarInt, kPublish | kSubscribe)              \
  X(SessionExpiryInterval, 0x11, FourByte, kConnect | kConnack | kDisconnect) \
  X(AssignedClientIdentifier, 0x12, Text, kConnack)                           \
  X(ServerKeepAlive, 0x13, TwoByte, kConnack)                                 \
  X(AuthenticationMethod, 0x15, Text, kConnect | kConnack | kAuth)            \
  X(AuthenticationData, 0x16, Binary, kConnect | kConnack | kAuth)            \
  X(RequestProblemInformation, 0x17, Byte, kConnect)                          \
  X(WillDelayInterval, 0x18, FourByte, kWill)                                 \
  X(RequestResponseInformation, 0x19, Byte, kConnect)                         \
  X(ResponseInformation, 0x1A, Text, kConnack)                                \
  X(ServerReference, 0x1C, Text, kConnack | kDisconnect)                      \
  X(ReasonString, 0x1F, Text, kReasoned)                                      \
  X(ReceiveMaximum, 0x21, TwoByte, kConnect | kConnack)                       \
  X(TopicAliasMaximum, 0x22, TwoByte, kConnect | kConnack)                    \
  X(TopicAlias, 0x23, TwoByte, kPublish)                                      \
  X(MaximumQos, 0x24, Byte, kConnack)                                         \
  X(RetainAvailable, 0x25, Byte, kConnack)                                    \
  X(UserProperty, 0x26, TextPair, kAll)                                       \
  X(MaximumPacketSize, 0x27, FourByte, kConnect | kConnack)                   \
  X(WildcardSubscriptionAvailable, 0x28, Byte, kConnack)                      \
  X(SubscriptionIdentifiersAvailable, 0x29, Byte, kConnack)                   \
  X(SharedSubscriptionAvailable, 0x2A, Byte, kConnack)

enum class PropertyId : uint8_t {
#define MQTTQ_X(name, value, type, packets) name = value,
  MQTTQ_PROPERTIES(MQTTQ_X)
#undef MQTTQ_X
};

}  // namespace mqttq
