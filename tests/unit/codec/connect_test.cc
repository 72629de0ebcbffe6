// lib/codec/connect.cc. The bytes of all kinds of CONNECT are in tests/conformance/connect.txt.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

TEST_CASE("a ConnectView says all that was on the wire", "[codec][MQTT-3.1.3-1]") {
  const auto bytes =
      hex("10 3b | 00 04 'MQTT' 05 | ee | 00 0a | 05 11 00 00 00 0a | 00 06 'client' | 0b 18 00 00 00 02 26 00 01 'k' "
          "00 00 "
          "| 00 03 'w/t' | 00 04 'gone' | 00 04 'user' | 00 04 'pass'");
  const auto packet = decode_connect(bytes);
  REQUIRE(packet.ok());
  CHECK(packet->version == ProtocolVersion::V5);
  CHECK(packet->clean_start);
  CHECK(packet->keep_alive_s == 10);
  CHECK(packet->session_expiry_s == 10);
  CHECK(packet->client_id == "client");
  REQUIRE(packet->has_will);
  CHECK(packet->will.qos == Qos::AtLeastOnce);
  CHECK(packet->will.retain);
  CHECK(packet->will_delay_s == 2);
  CHECK_FALSE(packet->will.properties_forwardable);
  CHECK(packet->will.topic_name == "w/t");
  CHECK(as_text(packet->will.payload) == "gone");
  CHECK(packet->user_name == "user");
  REQUIRE(packet->password);
  CHECK(as_text(*packet->password) == "pass");
  CHECK(written([&](Writer& out) { encode(*packet, out); }) == bytes);
}

TEST_CASE("a CONNECT is judged from its name on, so that a stranger hears which versions are spoken", "[codec]") {
  // Whatever stands behind the version is that version's own business.
  CHECK(decode_connect(hex("10 07 | 00 04 'MQTT' 06")).reason() == ReasonCode::UnsupportedProtocolVersion);
  CHECK(decode_connect(hex("10 09 | 00 04 'MQTT' 09 ff ff")).reason() == ReasonCode::UnsupportedProtocolVersion);
  CHECK(decode_connect(hex("10 09 | 00 06 'MQIsdp' 04")).reason() == ReasonCode::UnsupportedProtocolVersion);
  // Without a version there is none to be unsupported.
  CHECK(decode_connect(hex("10 06 | 00 04 'MQTT'")).reason() == ReasonCode::MalformedPacket);
}

TEST_CASE("a long Remaining Length is held against version 5 only", "[codec][MQTT-1.5.5-1]") {
  CHECK(decode_connect(hex("10 8d 00 | 00 04 'MQTT' 04 02 00 00 00 01 'c'")).ok());
  CHECK_FALSE(decode_connect(hex("10 8e 00 | 00 04 'MQTT' 05 02 00 00 00 00 01 'c'")).ok());
  CHECK(decode_connect(hex("10 0e | 00 04 'MQTT' 05 02 00 00 00 00 01 'c'")).ok());
}

TEST_CASE("a CONNECT is encoded from fields alone", "[codec]") {
  ConnectView view;
  view.version = ProtocolVersion::V311;
  view.client_id = "c";
  view.user_name = "u";
  view.session_expiry_s = 7;  // 3.x has none
  CHECK(written([&](Writer& out) { encode(view, out); }) ==
        hex("10 10 | 00 04 'MQTT' 04 | 80 | 00 00 | 00 01 'c' | 00 01 'u'"));
  view.version = ProtocolVersion::V31;
  CHECK(written([&](Writer& out) { encode(view, out); }) ==
        hex("10 12 | 00 06 'MQIsdp' 03 | 80 | 00 00 | 00 01 'c' | 00 01 'u'"));
  view.version = ProtocolVersion::V5;
  view.user_name.reset();
  CHECK(written([&](Writer& out) { encode(view, out); }) ==
        hex("10 13 | 00 04 'MQTT' 05 | 00 | 00 00 | 05 11 00 00 00 07 | 00 01 'c'"));
}

TEST_CASE("of a CONNECT's own properties only user properties are written besides the fields", "[codec]") {
  const auto properties = hex("21 00 05 26 00 01 'k' 00 01 'v'");
  ConnectView view;
  view.client_id = "c";
  view.properties = properties;
  CHECK(written([&](Writer& out) { encode(view, out); }) ==
        hex("10 15 | 00 04 'MQTT' 05 | 00 | 00 00 | 07 26 00 01 'k' 00 01 'v' | 00 01 'c'"));
}

}  // namespace mqttq::codec
