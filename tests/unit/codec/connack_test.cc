// lib/codec/connack.cc. The bytes of all kinds of CONNACK are in tests/conformance/connack.txt.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/reason_codes.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

uint8_t return_code_of(ReasonCode reason) {
  ConnackView view;
  view.reason_code = reason;
  const auto bytes = written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); });
  return bytes.size() == 4 ? std::to_integer<uint8_t>(bytes[3]) : 0xFF;
}

}  // namespace

TEST_CASE("CONNACK has the reason codes of section 3.2.2.2 and no other", "[codec]") {
  check_reason_codes({0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
                      0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
                     [](uint8_t value) {
                       const std::byte bytes[] = {std::byte{0x20}, std::byte{3}, std::byte{0}, std::byte{value},
                                                  std::byte{0}};
                       return decode_connack(bytes, ProtocolVersion::V5).reason();
                     });
}

TEST_CASE("CONNACK of 3.1.1 has the return codes 0 to 5", "[codec]") {
  check_reason_codes({0, 1, 2, 3, 4, 5}, [](uint8_t value) {
    const std::byte bytes[] = {std::byte{0x20}, std::byte{2}, std::byte{0}, std::byte{value}};
    return decode_connack(bytes, ProtocolVersion::V311).reason();
  });
}

TEST_CASE("a reason is told to 3.x by the return code that says most of it", "[codec]") {
  CHECK(return_code_of(ReasonCode::Success) == 0);
  CHECK(return_code_of(ReasonCode::UnsupportedProtocolVersion) == 1);
  CHECK(return_code_of(ReasonCode::ClientIdentifierNotValid) == 2);
  CHECK(return_code_of(ReasonCode::ServerUnavailable) == 3);
  CHECK(return_code_of(ReasonCode::ServerBusy) == 3);
  CHECK(return_code_of(ReasonCode::QuotaExceeded) == 3);
  CHECK(return_code_of(ReasonCode::BadUserNameOrPassword) == 4);
  CHECK(return_code_of(ReasonCode::NotAuthorized) == 5);
  CHECK(return_code_of(ReasonCode::Banned) == 5);
}

TEST_CASE("no error is told to 3.x as success", "[codec]") {
  for (unsigned value = 0x80; value < 256; value += 1) {
    CAPTURE(value);
    const uint8_t code = return_code_of(static_cast<ReasonCode>(value));
    CHECK(code >= 1);
    CHECK(code <= 5);
  }
}

TEST_CASE("3.1 is not told that there was a session", "[codec]") {
  ConnackView view;
  view.session_present = true;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V31, out); }) == hex("20 02 00 00"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); }) == hex("20 02 01 00"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) == hex("20 03 01 00 00"));
}

TEST_CASE("a refusal never says that there was a session", "[codec][MQTT-3.2.2-6][MQTT311-3.2.2-4]") {
  ConnackView view;
  view.session_present = true;
  view.reason_code = ReasonCode::NotAuthorized;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); }) == hex("20 02 00 05"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) == hex("20 03 00 87 00"));
}

TEST_CASE("a CONNACK writes what differs from the defaults, and user properties only of the rest", "[codec]") {
  const auto properties = hex("1f 00 01 'x' 26 00 01 'k' 00 01 'v'");
  ConnackView view;
  view.receive_maximum = 10;
  view.assigned_client_id = "id";
  view.server_keep_alive_s = 5;
  view.properties = properties;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) ==
        hex("20 15 | 00 00 | 12 | 21 00 0a | 12 00 02 'id' | 13 00 05 | 26 00 01 'k' 00 01 'v'"));
}

}  // namespace mqttq::codec
