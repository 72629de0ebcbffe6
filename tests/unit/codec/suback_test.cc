// lib/codec/suback.cc. The bytes of all kinds of SUBACK and UNSUBACK are in tests/conformance/suback.txt.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/reason_codes.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

ReasonCode decoded(uint8_t first, uint8_t reason_code) {
  const std::byte bytes[] = {std::byte{first}, std::byte{4}, std::byte{0},
                             std::byte{1},     std::byte{0}, std::byte{reason_code}};
  return decode_suback(bytes, ProtocolVersion::V5).reason();
}

}  // namespace

TEST_CASE("SUBACK has the reason codes of section 3.9.3 and no other", "[codec]") {
  check_reason_codes({0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
                     [](uint8_t value) { return decoded(0x90, value); });
}

TEST_CASE("UNSUBACK has the reason codes of section 3.11.3 and no other", "[codec]") {
  check_reason_codes({0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}, [](uint8_t value) { return decoded(0xB0, value); });
}

TEST_CASE("SUBACK of 3.1.1 has four return codes", "[codec]") {
  check_reason_codes({0x00, 0x01, 0x02, 0x80}, [](uint8_t value) {
    const std::byte bytes[] = {std::byte{0x90}, std::byte{3}, std::byte{0}, std::byte{1}, std::byte{value}};
    return decode_suback(bytes, ProtocolVersion::V311).reason();
  });
}

TEST_CASE("every failure is the one that 3.1.1 knows", "[codec][MQTT311-3.9.3-2]") {
  const auto codes = hex("00 01 02 80 87 8f a2");
  SubackView view;
  view.packet_id = 1;
  view.reason_codes = codes;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); }) ==
        hex("90 09 00 01 00 01 02 80 80 80 80"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) ==
        hex("90 0a 00 01 00 00 01 02 80 87 8f a2"));
}

TEST_CASE("an UNSUBACK of 3.1.1 is a packet identifier alone", "[codec]") {
  const auto codes = hex("00 11");
  SubackView view;
  view.type = PacketType::Unsuback;
  view.packet_id = 1;
  view.reason_codes = codes;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); }) == hex("b0 02 00 01"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) == hex("b0 05 00 01 00 00 11"));
}

}  // namespace mqttq::codec
