// lib/codec/subscribe.cc and unsubscribe.cc. The bytes of all kinds are in tests/conformance/, under the same names.
#include <catch2/catch_test_macros.hpp>

#include "codec/codec.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

TEST_CASE("every byte of Subscription Options is judged as section 3.8.3.1 says", "[codec][MQTT-3.8.3-5]") {
  for (unsigned options = 0; options < 256; options += 1) {
    CAPTURE(options);
    const std::byte bytes[] = {std::byte{0x82}, std::byte{7},   std::byte{0},
                               std::byte{1},    std::byte{0},   std::byte{0},
                               std::byte{1},    std::byte{'a'}, static_cast<std::byte>(options)};
    const auto packet = decode_subscribe(bytes, ProtocolVersion::V5);
    const auto expected = options >= 0x40                                        ? ReasonCode::MalformedPacket
                          : (options & 0x03) == 0x03 || (options & 0x30) == 0x30 ? ReasonCode::ProtocolError
                                                                                 : ReasonCode::Success;
    CHECK(packet.reason() == expected);
    if (!packet.ok()) continue;
    SubscribeReader reader(packet->entries, ProtocolVersion::V5);
    SubscribeEntry entry;
    REQUIRE(reader.next(entry));
    CHECK(static_cast<unsigned>(entry.options.qos) == (options & 3));
    CHECK(entry.options.no_local == ((options & 4) != 0));
    CHECK(entry.options.retain_as_published == ((options & 8) != 0));
    CHECK(static_cast<unsigned>(entry.options.retain_handling) == options >> 4);
    CHECK(encode_options(entry.options) == options);
  }
}

TEST_CASE("every byte of a requested QoS is judged in 3.1.1", "[codec][MQTT311-3.8.3-4]") {
  for (unsigned options = 0; options < 256; options += 1) {
    CAPTURE(options);
    const std::byte bytes[] = {std::byte{0x82}, std::byte{6}, std::byte{0},   std::byte{1},
                               std::byte{0},    std::byte{1}, std::byte{'a'}, static_cast<std::byte>(options)};
    CHECK(decode_subscribe(bytes, ProtocolVersion::V311).ok() == (options <= 2));
  }
}

TEST_CASE("a SubscribeReader yields the entries in their order, then no more", "[codec]") {
  const auto bytes = hex("82 10 | 00 05 | 00 | 00 01 'a' 01 | 00 00 02 | 00 03 'b/#' 00");
  auto packet = decode_subscribe(bytes, ProtocolVersion::V5);
  REQUIRE(packet.ok());
  CHECK(packet->entry_count == 3);
  SubscribeReader reader(packet->entries, ProtocolVersion::V5);
  SubscribeEntry entry;
  REQUIRE(reader.next(entry));
  CHECK(entry.topic_filter == "a");
  CHECK(entry.options.qos == Qos::AtLeastOnce);
  REQUIRE(reader.next(entry));
  CHECK(entry.topic_filter.empty());
  CHECK(entry.options.qos == Qos::ExactlyOnce);
  REQUIRE(reader.next(entry));
  CHECK(entry.topic_filter == "b/#");
  CHECK_FALSE(reader.next(entry));
  CHECK(entry.topic_filter == "b/#");  // untouched at the end
}

TEST_CASE("the options of 5 are not written to 3.1.1", "[codec][MQTT311-3.8.3-4]") {
  const auto entries = hex("00 01 'a' 2d");
  SubscribeView view;
  view.packet_id = 1;
  view.entries = entries;
  view.subscription_identifier = 5;
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); }) ==
        hex("82 09 | 00 01 | 02 0b 05 | 00 01 'a' 2d"));
  CHECK(written([&](Writer& out) { encode(view, ProtocolVersion::V311, out); }) == hex("82 06 | 00 01 | 00 01 'a' 01"));
}

TEST_CASE("a filter of 65 535 bytes decodes", "[codec][MQTT-4.7.3-3]") {
  const std::string filter(65'535, 'f');
  const auto entries = written([&](Writer& out) {
    out.prefixed(filter);
    out.u8(encode_options({}));
  });
  SubscribeView view;
  view.packet_id = 1;
  view.entries = entries;
  const auto bytes = written([&](Writer& out) { encode(view, ProtocolVersion::V5, out); });
  const auto packet = decode_subscribe(bytes, ProtocolVersion::V5);
  REQUIRE(packet.ok());
  CHECK(packet->entry_count == 1);
}

TEST_CASE("an UnsubscribeReader yields the filters in their order, then no more", "[codec]") {
  const auto bytes = hex("a2 0a | 00 05 | 00 01 'a' | 00 03 'b/#'");
  auto packet = decode_unsubscribe(bytes, ProtocolVersion::V311);
  REQUIRE(packet.ok());
  CHECK(packet->entry_count == 2);
  UnsubscribeReader reader(packet->entries);
  std::string_view topic_filter;
  REQUIRE(reader.next(topic_filter));
  CHECK(topic_filter == "a");
  REQUIRE(reader.next(topic_filter));
  CHECK(topic_filter == "b/#");
  CHECK_FALSE(reader.next(topic_filter));
}

}  // namespace mqttq::codec
