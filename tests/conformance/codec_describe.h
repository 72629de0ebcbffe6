// What a decoded packet says, in words: one line per field, "name value". Text is quoted, other bytes are in
// hexadecimal, what is absent is "none". Two packets that say the same mean the same.
#pragma once

#include <string>
#include <vector>

#include "codec/codec.h"

namespace mqttq::conformance {

using Lines = std::vector<std::string>;

struct Outcome {
  ReasonCode reason = ReasonCode::Success;
  Lines fields;                    // empty if refused
  std::vector<std::byte> encoded;  // the decoded packet, encoded again; empty if refused
};

// Decodes `packet`, whatever its type is, describes and encodes it.
Outcome play(Bytes packet, ProtocolVersion version);

}  // namespace mqttq::conformance
