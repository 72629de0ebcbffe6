// lib/codec/ack.cc. The bytes of all kinds of acknowledgements are in tests/conformance/ack.txt.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/reason_codes.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

// first: the packet's first byte.
auto with_reason(uint8_t first) {
  return [first](uint8_t value) {
    const std::byte bytes[] = {std::byte{first}, std::byte{3}, std::byte{0}, std::byte{1}, std::byte{value}};
    return decode_ack(bytes, ProtocolVersion::V5).reason();
  };
}

std::vector<std::byte> encoded(const AckView& view, ProtocolVersion version = ProtocolVersion::V5) {
  return written([&](Writer& out) { encode(view, version, out); });
}

}  // namespace

TEST_CASE("PUBACK and PUBREC have the reason codes of their sections and no other",
          "[codec][MQTT-3.4.2-1][MQTT-3.5.2-1]") {
  for (const uint8_t first : {0x40, 0x50}) {
    check_reason_codes({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, with_reason(first));
  }
}

TEST_CASE("PUBREL and PUBCOMP have the reason codes of their sections and no other",
          "[codec][MQTT-3.6.2-1][MQTT-3.7.2-1]") {
  for (const uint8_t first : {0x62, 0x70}) check_reason_codes({0x00, 0x92}, with_reason(first));
}

TEST_CASE("decode_ack takes no other packet", "[codec]") {
  for (unsigned first = 0; first < 256; first += 1) {
    const std::byte bytes[] = {static_cast<std::byte>(first), std::byte{2}, std::byte{0}, std::byte{1}};
    CAPTURE(first);
    const bool is_ack = first == 0x40 || first == 0x50 || first == 0x62 || first == 0x70;
    CHECK(decode_ack(bytes, ProtocolVersion::V311).ok() == is_ack);
    CHECK(decode_ack(bytes, ProtocolVersion::V5).ok() == is_ack);
  }
}

TEST_CASE("an acknowledgement takes the shortest form that says it all", "[codec]") {
  const auto properties = hex("26 00 01 'k' 00 01 'v'");
  AckView view;
  view.packet_id = 258;
  CHECK(encoded(view) == hex("40 02 01 02"));
  view.reason_code = ReasonCode::NoMatchingSubscribers;
  CHECK(encoded(view) == hex("40 03 01 02 10"));
  view.reason_string = "r";
  CHECK(encoded(view) == hex("40 08 01 02 10 04 1f 00 01 'r'"));
  view.reason_code = ReasonCode::Success;
  CHECK(encoded(view) == hex("40 08 01 02 00 04 1f 00 01 'r'"));
  view.reason_string = {};
  view.properties = properties;
  CHECK(encoded(view) == hex("40 0b 01 02 00 07 26 00 01 'k' 00 01 'v'"));
  CHECK(encoded(view, ProtocolVersion::V311) == hex("40 02 01 02"));
}

TEST_CASE("PUBREL is written with its flags", "[codec][MQTT-3.6.1-1][MQTT311-3.6.1-1]") {
  AckView view;
  view.type = PacketType::Pubrel;
  view.packet_id = 1;
  CHECK(encoded(view) == hex("62 02 00 01"));
  CHECK(encoded(view, ProtocolVersion::V31) == hex("62 02 00 01"));
}

}  // namespace mqttq::codec
