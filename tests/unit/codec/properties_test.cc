// lib/codec/properties.cc: which packet may carry which property, how often, and with which values.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>

#include "codec/reader.h"
#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

// One row of table 2-4 of the specification, with a legal value. The columns are the packets that may carry it; W is
// the will. This table is kept apart from property.h on purpose: it is what that one is judged by.
struct Row {
  const char* property;
  const char* packets;
};

constexpr Row kTable[] = {
    {"01 01", "PUBLISH W"},
    {"02 00 00 00 01", "PUBLISH W"},
    {"03 00 01 'a'", "PUBLISH W"},
    {"08 00 01 'a'", "PUBLISH W"},
    {"09 00 01 ff", "PUBLISH W"},
    {"0b 01", "PUBLISH SUBSCRIBE"},
    {"11 00 00 00 01", "CONNECT CONNACK DISCONNECT"},
    {"12 00 01 'a'", "CONNACK"},
    {"13 00 01", "CONNACK"},
    {"15 00 01 'a'", "CONNECT CONNACK AUTH"},
    {"15 00 01 'a' 16 00 01 ff", "CONNECT CONNACK AUTH"},
    {"17 01", "CONNECT"},
    {"18 00 00 00 01", "W"},
    {"19 01", "CONNECT"},
    {"1a 00 01 'a'", "CONNACK"},
    {"1c 00 01 'a'", "CONNACK DISCONNECT"},
    {"1f 00 01 'a'", "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"},
    {"21 00 01", "CONNECT CONNACK"},
    {"22 00 01", "CONNECT CONNACK"},
    {"23 00 01", "PUBLISH"},
    {"24 01", "CONNACK"},
    {"25 01", "CONNACK"},
    {"26 00 01 'k' 00 01 'v'",
     "CONNECT CONNACK PUBLISH W PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"},
    {"27 00 00 00 01", "CONNECT CONNACK"},
    {"28 01", "CONNACK"},
    {"29 01", "CONNACK"},
    {"2a 01", "CONNACK"},
};

struct Carrier {
  const char* name;
  uint16_t packets;
};

using namespace property_packets;
constexpr Carrier kCarriers[] = {
    {"W", kWill},
    {"CONNECT", kConnect},
    {"CONNACK", kConnack},
    {"PUBLISH", kPublish},
    {"PUBACK", kPuback},
    {"PUBREC", kPubrec},
    {"PUBREL", kPubrel},
    {"PUBCOMP", kPubcomp},
    {"SUBACK", kSuback},
    {"SUBSCRIBE", kSubscribe},
    {"UNSUBSCRIBE", kUnsubscribe},
    {"UNSUBACK", kUnsuback},
    {"DISCONNECT", kDisconnect},
    {"AUTH", kAuth},
};

ReasonCode judge(Bytes properties, uint16_t packets) {
  PropertyDecoder decoder(properties, packets);
  for (Property property; decoder.next(property);) {}
  return decoder.reason();
}

bool lists(const std::string& packets, const std::string& name) {
  return (" " + packets + " ").find(" " + name + " ") != std::string::npos;
}

}  // namespace

TEST_CASE("each property is for the packets of table 2-4, and malformed in all others", "[codec]") {
  for (const Row& row : kTable) {
    for (const Carrier& carrier : kCarriers) {
      CAPTURE(row.property, carrier.name);
      const auto expected = lists(row.packets, carrier.name) ? ReasonCode::Success : ReasonCode::MalformedPacket;
      CHECK(judge(hex(row.property), carrier.packets) == expected);
    }
  }
}

TEST_CASE("an identifier that is in no row of table 2-4 is malformed", "[codec]") {
  for (unsigned id = 0; id < 256; id += 1) {
    const bool known = std::any_of(std::begin(kTable), std::end(kTable),
                                   [&](const Row& row) { return hex(row.property)[0] == static_cast<std::byte>(id); });
    if (known || id == 0x16) continue;  // 0x16 stands behind 0x15 in its row
    CAPTURE(id);
    std::vector<std::byte> bytes(16, std::byte{0});
    bytes[0] = static_cast<std::byte>(id);
    for (const Carrier& carrier : kCarriers) CHECK(judge(bytes, carrier.packets) == ReasonCode::MalformedPacket);
  }
}

TEST_CASE("only user properties, and subscription identifiers in PUBLISH, come more than once", "[codec]") {
  for (const Row& row : kTable) {
    for (const Carrier& carrier : kCarriers) {
      if (!lists(row.packets, carrier.name)) continue;
      CAPTURE(row.property, carrier.name);
      auto twice = hex(row.property);
      const auto once = twice;
      twice.insert(twice.end(), once.begin(), once.end());
      const bool repeatable = once[0] == std::byte{0x26} || (once[0] == std::byte{0x0B} && carrier.packets == kPublish);
      CHECK(judge(twice, carrier.packets) == (repeatable ? ReasonCode::Success : ReasonCode::ProtocolError));
    }
  }
}

TEST_CASE("a property cut short at any byte is malformed", "[codec]") {
  for (const Row& row : kTable) {
    const auto whole = hex(row.property);
    const size_t first_size = whole[0] == std::byte{0x15} ? 4 : whole.size();  // 0x15 may be followed by 0x16
    for (const Carrier& carrier : kCarriers) {
      if (!lists(row.packets, carrier.name)) continue;
      for (size_t size = 1; size < whole.size(); size += 1) {
        if (size == first_size) continue;
        CAPTURE(row.property, carrier.name, size);
        CHECK(judge(Bytes(whole).first(size), carrier.packets) == ReasonCode::MalformedPacket);
      }
    }
  }
}

TEST_CASE("a property of one byte is 0 or 1", "[codec]") {
  for (const uint8_t id : {0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A}) {
    for (unsigned value = 0; value < 256; value += 1) {
      CAPTURE(id, value);
      const std::byte bytes[] = {std::byte{id}, static_cast<std::byte>(value)};
      const uint16_t packets = id == 0x01 ? kPublish : id == 0x17 || id == 0x19 ? kConnect : kConnack;
      CHECK(judge(bytes, packets) == (value < 2 ? ReasonCode::Success : ReasonCode::ProtocolError));
    }
  }
}

TEST_CASE("numbers that may not be 0 are refused when they are, and the others are not", "[codec][MQTT-3.3.2-8]") {
  CHECK(judge(hex("21 00 00"), kConnect) == ReasonCode::ProtocolError);
  CHECK(judge(hex("21 00 00"), kConnack) == ReasonCode::ProtocolError);
  CHECK(judge(hex("27 00 00 00 00"), kConnect) == ReasonCode::ProtocolError);
  CHECK(judge(hex("0b 00"), kSubscribe) == ReasonCode::ProtocolError);
  CHECK(judge(hex("23 00 00"), kPublish) == ReasonCode::TopicAliasInvalid);
  CHECK(judge(hex("22 00 00"), kConnect) == ReasonCode::Success);
  CHECK(judge(hex("11 00 00 00 00"), kConnect) == ReasonCode::Success);
  CHECK(judge(hex("02 00 00 00 00"), kPublish) == ReasonCode::Success);
  CHECK(judge(hex("13 00 00"), kConnack) == ReasonCode::Success);
  CHECK(judge(hex("18 00 00 00 00"), kWill) == ReasonCode::Success);
}

TEST_CASE("authentication data need a method, before or behind them", "[codec]") {
  CHECK(judge(hex("16 00 01 ff"), kConnect) == ReasonCode::ProtocolError);
  CHECK(judge(hex("16 00 01 ff"), kAuth) == ReasonCode::ProtocolError);
  CHECK(judge(hex("16 00 01 ff 15 00 01 'm'"), kAuth) == ReasonCode::Success);
}

TEST_CASE("the first fault is the one that is told", "[codec]") {
  CHECK(judge(hex("21 00 00 7f"), kConnect) == ReasonCode::ProtocolError);
  CHECK(judge(hex("7f 21 00 00"), kConnect) == ReasonCode::MalformedPacket);
}

TEST_CASE("a PropertyReader walks in the order of the wire and shows each property's own bytes", "[codec]") {
  const auto bytes = hex("26 00 01 'k' 00 01 'v' 02 00 00 00 3c 0b 80 01 26 00 00 00 01 'w'");
  PropertyReader reader(bytes);
  Property property;
  REQUIRE(reader.next(property));
  CHECK(property.id == PropertyId::UserProperty);
  CHECK(as_text(property.data) == "k");
  CHECK(as_text(property.value) == "v");
  CHECK(reader.raw().size() == 7);
  CHECK(reader.raw().data() == bytes.data());
  REQUIRE(reader.next(property));
  CHECK(property.id == PropertyId::MessageExpiryInterval);
  CHECK(property.number == 60);
  CHECK(reader.raw().size() == 5);
  REQUIRE(reader.next(property));
  CHECK(property.id == PropertyId::SubscriptionIdentifier);
  CHECK(property.number == 128);
  CHECK(reader.raw().size() == 3);
  REQUIRE(reader.next(property));
  CHECK(property.data.empty());
  CHECK(as_text(property.value) == "w");
  CHECK_FALSE(reader.next(property));
  CHECK(as_text(property.value) == "w");  // untouched at the end
}

TEST_CASE("a PropertyReader stops at what no decoder has passed", "[codec]") {
  Property property;
  CHECK_FALSE(PropertyReader({}).next(property));
  CHECK_FALSE(PropertyReader(hex("7f 00")).next(property));
  CHECK_FALSE(PropertyReader(hex("02 00 00")).next(property));
  CHECK_FALSE(PropertyReader(hex("26 00 01 'k' 00 05 'v'")).next(property));
}

}  // namespace mqttq::codec
