// All 256 values that a byte can have, against the list that a section of the specification gives.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <initializer_list>

#include "message/reason_code.h"

namespace mqttq::codec {

// decode(uint8_t) puts that reason code into a packet and says how it was taken.
template <class Decode>
void check_reason_codes(std::initializer_list<unsigned> allowed, const Decode& decode) {
  for (unsigned value = 0; value < 256; value += 1) {
    bool is_allowed = false;
    for (const unsigned each : allowed) is_allowed = is_allowed || each == value;
    CAPTURE(value);
    CHECK(decode(static_cast<uint8_t>(value)) == (is_allowed ? ReasonCode::Success : ReasonCode::ProtocolError));
  }
}

}  // namespace mqttq::codec
