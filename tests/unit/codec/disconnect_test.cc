// lib/codec/disconnect.cc, auth.cc and ping.cc. The bytes of all kinds are in tests/conformance/.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/reason_codes.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

TEST_CASE("DISCONNECT has the reason codes of sections 2.4 and 3.14.2.1 and no other", "[codec][MQTT-3.14.2-1]") {
  check_reason_codes({0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
                      0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
                     [](uint8_t value) {
                       const std::byte bytes[] = {std::byte{0xE0}, std::byte{1}, std::byte{value}};
                       return decode_disconnect(bytes, ProtocolVersion::V5).reason();
                     });
}

TEST_CASE("a Client has not all reasons of a Server", "[codec][MQTT-3.14.2-1]") {
  check_reason_codes({0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99},
                     [](uint8_t value) {
                       return is_client_disconnect_reason(static_cast<ReasonCode>(value)) ? ReasonCode::Success
                                                                                          : ReasonCode::ProtocolError;
                     });
}

TEST_CASE("a Server gives errors only, and not all that a Client may", "[codec][MQTT-3.14.2-1]") {
  check_reason_codes({0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
                      0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
                     [](uint8_t value) {
                       return is_server_disconnect_reason(static_cast<ReasonCode>(value)) ? ReasonCode::Success
                                                                                          : ReasonCode::ProtocolError;
                     });
}

TEST_CASE("a DISCONNECT takes the shortest form that says it all", "[codec]") {
  DisconnectView view;
  const auto encoded = [&](ProtocolVersion version) {
    return written([&](Writer& out) { encode(view, version, out); });
  };
  CHECK(encoded(ProtocolVersion::V5) == hex("e0 00"));
  view.reason_code = ReasonCode::ServerShuttingDown;
  CHECK(encoded(ProtocolVersion::V5) == hex("e0 01 8b"));
  view.server_reference = "b";
  CHECK(encoded(ProtocolVersion::V5) == hex("e0 06 8b 04 1c 00 01 'b'"));
  view.session_expiry_s = 0;
  view.reason_string = "a";
  CHECK(encoded(ProtocolVersion::V5) == hex("e0 0f 8b 0d 11 00 00 00 00 1f 00 01 'a' 1c 00 01 'b'"));
  CHECK(encoded(ProtocolVersion::V311) == hex("e0 00"));
}

TEST_CASE("AUTH has the reason codes of section 3.15.2.1 and no other", "[codec][MQTT-3.15.2-1]") {
  check_reason_codes({0x00, 0x18, 0x19}, [](uint8_t value) {
    const std::byte bytes[] = {std::byte{0xF0}, std::byte{6}, std::byte{value}, std::byte{4},
                               std::byte{0x15}, std::byte{0}, std::byte{1},     std::byte{'m'}};
    return decode_auth(bytes).reason();
  });
}

TEST_CASE("an AUTH writes its method and data", "[codec]") {
  const auto data = hex("01 02");
  AuthView view;
  CHECK(written([&](Writer& out) { encode(view, out); }) == hex("f0 00"));
  view.reason_code = ReasonCode::ContinueAuthentication;
  view.authentication_method = "m";
  view.authentication_data = data;
  CHECK(written([&](Writer& out) { encode(view, out); }) == hex("f0 0b 18 09 15 00 01 'm' 16 00 02 01 02"));
}

TEST_CASE("a ping is two bytes, of which none may differ", "[codec][MQTT-2.1.3-1]") {
  for (unsigned first = 0; first < 256; first += 1) {
    for (const unsigned length : {0u, 1u, 0x80u}) {
      const std::byte bytes[] = {static_cast<std::byte>(first), static_cast<std::byte>(length)};
      CAPTURE(first, length);
      const bool is_ping = (first == 0xC0 || first == 0xD0) && length == 0;
      CHECK((check_ping(bytes) == ReasonCode::Success) == is_ping);
    }
  }
  CHECK(check_ping(hex("c0 01 00")) == ReasonCode::MalformedPacket);
  CHECK(check_ping(hex("c0")) == ReasonCode::MalformedPacket);
  CHECK(check_ping({}) == ReasonCode::MalformedPacket);
  CHECK(written([](Writer& out) { encode_ping(PacketType::Pingreq, out); }) == hex("c0 00"));
  CHECK(written([](Writer& out) { encode_ping(PacketType::Pingresp, out); }) == hex("d0 00"));
}

}  // namespace mqttq::codec
