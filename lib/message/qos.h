// Quality of Service (MQTT5 4.3) and the versions of the protocol we speak.
#pragma once

#include <cstdint>

namespace mqttq {

enum class Qos : uint8_t { AtMostOnce = 0, AtLeastOnce = 1, ExactlyOnce = 2 };

// The value of the Protocol Version byte of CONNECT.
enum class ProtocolVersion : uint8_t {
  V31 = 3,   // "MQIsdp"
  V311 = 4,  // "MQTT"
  V5 = 5,
};

// MQTT 5 (MQTT5 3.2.2.3.4) and the bounds both versions share.
inline constexpr uint32_t kRemainingLengthMax = 268'435'455;  // bytes, four bytes of seven bits (MQTT5 1.5.5)
inline constexpr uint16_t kReceiveMaximumDefault = 65'535;    // packets (MQTT5 3.1.2.11.3)
inline constexpr uint32_t kSessionExpiryNever = 0xFFFF'FFFF;  // seconds (MQTT5 3.1.2.11.2)

}  // namespace mqttq
