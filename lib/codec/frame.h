// Where one MQTT Control Packet ends and the next begins (MQTT5 2.1), before anything in it is read.
#pragma once

#include "base/bytes.h"

namespace mqttq::codec {

// The type in the upper half of the first byte (MQTT5 2.1.2).
enum class PacketType : uint8_t {
  Connect = 1,
  Connack,
  Publish,
  Puback,
  Pubrec,
  Pubrel,
  Pubcomp,
  Subscribe,
  Suback,
  Unsubscribe,
  Unsuback,
  Pingreq,
  Pingresp,
  Disconnect,
  Auth,
};

struct Frame {
  enum class Kind : uint8_t {
    Incomplete,  // the length is not known yet (fewer than 2 to 5 bytes); only kind is set
    Partial,     // the length is known, the body has not all come; every field is set
    Complete,    // the first `size` bytes are one packet; every field is set
    Malformed,   // a Remaining Length of more than four bytes, or type 0
  };
  Kind kind = Kind::Incomplete;
  PacketType type = PacketType::Connect;
  uint8_t flags = 0;        // the lower four bits of the first byte, not judged
  uint8_t header_size = 0;  // bytes, 2..5
  uint32_t size = 0;        // bytes, fixed header included
};

// Looks at the first packet in `bytes`, which may hold less or more than one. Reads at most five bytes.
Frame scan_frame(Bytes bytes) noexcept;

}  // namespace mqttq::codec
