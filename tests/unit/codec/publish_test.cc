// lib/codec/publish.cc. The bytes of all kinds of PUBLISH are in tests/conformance/publish.txt.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>

#include "codec/codec.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

std::vector<std::byte> encoded(const PublishView& view, ProtocolVersion version = ProtocolVersion::V5) {
  return written([&](Writer& out) { encode(view, version, out); });
}

}  // namespace

// The fixed header's flags are judged before anything behind them is read.
TEST_CASE("a PUBLISH at QoS 0 with DUP set is malformed", "[codec][MQTT-3.3.1-2]") {
  const auto bytes = hex("38 05 | 00 01 'a' | 00 | 'x'");
  const auto packet = decode_publish(bytes, ProtocolVersion::V5);
  REQUIRE_FALSE(packet.ok());
  CHECK(packet.reason() == ReasonCode::MalformedPacket);
}

TEST_CASE("what decode_publish yields points into the packet", "[codec]") {
  const auto bytes = hex("32 0b | 00 03 'a/b' | 00 07 | 02 01 01 | 'x'");
  const auto packet = decode_publish(bytes, ProtocolVersion::V5);
  REQUIRE(packet.ok());
  CHECK(as_bytes(packet->topic_name).data() == bytes.data() + 4);
  CHECK(packet->properties.data() == bytes.data() + 10);
  CHECK(packet->properties.size() == 2);
  CHECK(packet->payload.data() == bytes.data() + 12);
  CHECK(packet->payload.size() == 1);
}

TEST_CASE("a topic name is not judged, so that a known one costs nothing", "[codec]") {
  for (const auto* text : {"30 05 | 00 02 '+#' | 00", "30 05 | 00 02 c3 28 | 00", "30 04 | 00 01 00 | 00"}) {
    CAPTURE(text);
    CHECK(decode_publish(hex(text), ProtocolVersion::V5).ok());
  }
}

TEST_CASE("a PUBLISH with a payload of a mebibyte", "[codec]") {
  const std::vector<std::byte> payload(1 << 20, std::byte{0x5A});
  PublishView view;
  view.topic_name = "big";
  view.payload = payload;
  const auto bytes = encoded(view);
  CHECK(bytes.size() == 4 + 5 + 1 + payload.size());  // header, topic, no properties, payload
  const auto packet = decode_publish(bytes, ProtocolVersion::V5);
  REQUIRE(packet.ok());
  CHECK(std::equal(packet->payload.begin(), packet->payload.end(), payload.begin(), payload.end()));
}

TEST_CASE("a topic name of 65 535 bytes decodes", "[codec][MQTT-4.7.3-3]") {
  const std::string topic(65'535, 't');
  PublishView view;
  view.topic_name = topic;
  const auto bytes = encoded(view, ProtocolVersion::V311);
  const auto packet = decode_publish(bytes, ProtocolVersion::V311);
  REQUIRE(packet.ok());
  CHECK(packet->topic_name == topic);
}

TEST_CASE("forwarding drops alias, expiry and identifiers of the sender and writes those of the receiver", "[codec]") {
  const auto bytes =
      hex("30 20 | 00 01 'a' | 1b | 23 00 07 | 26 00 01 'k' 00 01 'v' | 0b 05 | 02 00 00 00 3c | "
          "09 00 01 ff | 01 01 | 03 00 01 't' | 'x'");
  auto view = *decode_publish(bytes, ProtocolVersion::V5);
  REQUIRE_FALSE(view.properties_forwardable);
  const uint32_t identifiers[] = {1, 200};
  view.topic_alias = 0;
  view.message_expiry_s = 59;
  view.subscription_identifiers = identifiers;
  CHECK(encoded(view) == hex("30 20 | 00 01 'a' | 1b | 02 00 00 00 3b | 0b 01 | 0b c8 01 | 26 00 01 'k' 00 01 'v' | "
                             "09 00 01 ff | 01 01 | 03 00 01 't' | 'x'"));
}

TEST_CASE("a will's delay does not go out with its PUBLISH", "[codec]") {
  const auto properties = hex("18 00 00 00 05 01 01");
  PublishView will;
  will.topic_name = "w";
  will.properties = properties;
  will.properties_forwardable = false;
  CHECK(encoded(will) == hex("30 06 | 00 01 'w' | 02 01 01"));
}

TEST_CASE("3.x is sent no properties", "[codec]") {
  const auto bytes = hex("32 0c | 00 01 'a' | 00 09 | 05 02 00 00 00 3c | 'x'");
  const auto packet = decode_publish(bytes, ProtocolVersion::V5);
  REQUIRE(packet.ok());
  CHECK(encoded(*packet, ProtocolVersion::V311) == hex("32 06 | 00 01 'a' | 00 09 | 'x'"));
  CHECK(encoded(*packet, ProtocolVersion::V31) == hex("32 06 | 00 01 'a' | 00 09 | 'x'"));
}

TEST_CASE("a PUBLISH at QoS 0 is written without its packet identifier", "[codec][MQTT-2.2.1-2]") {
  PublishView view;
  view.topic_name = "a";
  view.packet_id = 5;
  CHECK(encoded(view, ProtocolVersion::V311) == hex("30 03 | 00 01 'a'"));
}

TEST_CASE("a refused PUBLISH carries its reason alone", "[codec]") {
  const auto packet = decode_publish(hex("30 07 | 00 01 'a' | 03 23 00 00"), ProtocolVersion::V5);
  CHECK_FALSE(packet.ok());
  CHECK(packet.reason() == ReasonCode::TopicAliasInvalid);
}

}  // namespace mqttq::codec
