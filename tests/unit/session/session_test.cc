// What outlives the connection (MQTT5 4.1, 4.3, 4.4): messages on their way to a client, their order and their window.
#include "session/session.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <deque>
#include <map>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;

codec::ConnectView keeping(ProtocolVersion version, std::string_view client_id, bool clean_start = false) {
  return version == V5 ? connect_as(client_id, clean_start, 100) : connect_as(client_id, clean_start);
}

// Sends `count` QoS 1 messages to "t" that the client acknowledges; the first has the identifier `first`.
void use_up_identifiers(TestClient& publisher, TestClient& client, int count, int first) {
  constexpr int kAtOnce = 500;
  for (int done = 0; done < count; done += kAtOnce) {
    std::vector<std::byte> publishes, acknowledgements;
    for (int i = done; i < std::min(count, done + kAtOnce); ++i) {
      const auto own = static_cast<unsigned>(i - done + 1), id = static_cast<unsigned>(first + i);
      for (const unsigned byte : {0x32u, 6u, 0u, 1u, unsigned{'t'}, own >> 8, own & 0xFF, 0u}) {
        publishes.push_back(std::byte(byte));
      }
      for (const unsigned byte : {0x40u, 2u, id >> 8, id & 0xFF}) acknowledgements.push_back(std::byte(byte));
    }
    publisher.send(publishes);
    client.send(acknowledgements);
  }
  publisher.said();
  client.said();
}

}  // namespace

TEST_CASE("a QoS 1 message is unacknowledged until its PUBACK, and then done",
          "[session][MQTT-4.3.2-1][MQTT-4.3.2-2][MQTT-4.3.2-3][MQTT-2.2.1-4][MQTT-3.3.1-1][MQTT-4.4.0-1]"
          "[MQTT311-4.3.2-1][MQTT311-4.4.0-1][MQTT311-3.3.1-1][MQTT311-2.3.1-4]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker;
    TestClient client(broker, version), publisher(broker);
    client.accepted(keeping(version, "a")).subscribed("t", kQos1);
    publisher.accepted(connect_as("p"));
    for (uint16_t id = 1; id <= 3; ++id) publisher.publish("t", std::to_string(id), kQos1, id);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos1 #2", "PUBLISH t '3' qos1 #3"});
    CHECK(client.ack(PacketType::Puback, 2).said() == Lines{});
    broker.advance_s(50);
    CHECK(client.said() == Lines{});  // resent only when the session is resumed
    client.drop();
    TestClient again(broker, version);
    again.connect(keeping(version, "a"));
    CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBLISH t '3' qos1 #3 dup"});
    again.ack(PacketType::Puback, 1).ack(PacketType::Puback, 3).drop();
    TestClient last(broker, version);
    last.connect(keeping(version, "a"));
    CHECK(last.said() == Lines{"CONNACK 00 present"});
    publisher.publish("t", "4", kQos1, 4);
    CHECK(last.said() == Lines{"PUBLISH t '4' qos1 #4"});  // identifiers go on
  }
}

TEST_CASE("a QoS 2 message is resent until its PUBREC, and then its PUBREL until its PUBCOMP",
          "[session][MQTT-4.3.3-1][MQTT-4.3.3-2][MQTT-4.3.3-3][MQTT-4.3.3-4][MQTT-4.3.3-5][MQTT-4.3.3-6][MQTT-4.4.0-1]"
          "[MQTT-2.2.1-5][MQTT-3.6.1-1][MQTT311-4.3.3-1][MQTT311-4.4.0-1][MQTT311-3.6.1-1][MQTT311-2.3.1-6]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker;
    TestClient client(broker, version), publisher(broker);
    client.accepted(keeping(version, "a")).subscribed("t", kQos2);
    publisher.accepted(connect_as("p"));
    publisher.publish("t", "1", kQos2, 1).publish("t", "2", kQos2, 2);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos2 #1", "PUBLISH t '2' qos2 #2"});
    client.ack(PacketType::Pubrec, 1);
    CHECK(client.said_bytes() == hex("62 02 00 01"));
    client.drop();
    TestClient again(broker, version);
    again.connect(keeping(version, "a"));
    CHECK(again.said() == Lines{"CONNACK 00 present", "PUBREL #1", "PUBLISH t '2' qos2 #2 dup"});
    CHECK(again.ack(PacketType::Pubcomp, 1).said() == Lines{});
    CHECK(again.ack(PacketType::Pubrec, 2).said() == Lines{"PUBREL #2"});
    CHECK(again.ack(PacketType::Pubrec, 2).said() == Lines{"PUBREL #2"});  // a repeat
    again.drop();
    TestClient third(broker, version);
    third.connect(keeping(version, "a"));
    CHECK(third.said() == Lines{"CONNACK 00 present", "PUBREL #2"});
    third.ack(PacketType::Pubcomp, 2).drop();
    TestClient last(broker, version);
    last.connect(keeping(version, "a"));
    CHECK(last.said() == Lines{"CONNACK 00 present"});
  }
}

TEST_CASE("a session resends in the order of the first sending", "[session][MQTT311-4.6.0-1][MQTT311-4.6.0-4]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker;
    TestClient client(broker, version), publisher(broker);
    client.accepted(keeping(version, "a")).subscribed("t", kQos2);
    publisher.accepted(connect_as("p"));
    // Identifiers around their end, so that their order is not that of sending.
    use_up_identifiers(publisher, client, 65'530, 1);
    Lines first, again_expected{"CONNACK 00 present"};
    for (uint16_t i = 0; i < 10; ++i)
      publisher.publish("t", std::to_string(i), i % 2 ? kQos1 : kQos2, 1).ack(PacketType::Pubrel, 1);
    for (int i = 0; i < 10; ++i) {
      const int id = (65'530 + i) % 65'535 + 1;
      const std::string line =
          "PUBLISH t '" + std::to_string(i) + (i % 2 ? "' qos1 #" : "' qos2 #") + std::to_string(id);
      first.push_back(line);
      again_expected.push_back(line + " dup");
    }
    CHECK(client.said() == first);
    client.drop();
    TestClient again(broker, version);
    again.connect(keeping(version, "a"));
    CHECK(again.said() == again_expected);
    // PUBRELs in the order of the PUBRECs.
    CHECK(again.ack(PacketType::Pubrec, 4).ack(PacketType::Pubrec, 65'533).ack(PacketType::Pubrec, 65'531).said() ==
          Lines{"PUBREL #4", "PUBREL #65533", "PUBREL #65531"});
  }
}

TEST_CASE("packet identifiers in use are passed over", "[session][MQTT-4.3.2-1][MQTT-4.3.3-1][MQTT-2.2.1-4]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a")).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  publisher.publish("t", "stays", kQos1, 1).publish("t", "stays", kQos1, 1);
  client.said();
  use_up_identifiers(publisher, client, 65'533, 3);
  publisher.publish("t", "x", kQos1, 1);
  CHECK(client.said() == Lines{"PUBLISH t 'x' qos1 #3"});
}

TEST_CASE("a PUBREC of 0x80 or above ends the delivery", "[session][MQTT-4.4.0-2][MQTT-4.3.3-4]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  codec::ConnectView one = connect_as("a", true, 100);
  one.receive_maximum = 1;
  client.accepted(one).subscribed("t", kQos2);
  publisher.accepted(connect_as("p")).publish("t", "1", kQos2, 1).publish("t", "2", kQos2, 2);
  CHECK(client.said() == Lines{"PUBLISH t '1' qos2 #1"});
  CHECK(client.ack(PacketType::Pubrec, 1, ReasonCode::UnspecifiedError).said() == Lines{"PUBLISH t '2' qos2 #2"});
  CHECK(client.ack(PacketType::Pubrec, 2, ReasonCode::NoMatchingSubscribers).said() == Lines{"PUBREL #2"});
}

TEST_CASE("acknowledgements of what was not sent do no harm", "[session]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311);
  five.accepted(connect_as("a"));
  CHECK(five.ack(PacketType::Puback, 7).said() == Lines{});
  CHECK(five.ack(PacketType::Pubrec, 7).said() == Lines{"PUBREL #7 92"});
  CHECK(five.ack(PacketType::Pubcomp, 7).said() == Lines{});
  CHECK(five.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7 92"});
  three.accepted(connect_as("b"));
  CHECK(three.ack(PacketType::Pubrec, 7).said() == Lines{"PUBREL #7"});
  CHECK(three.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7"});
}

TEST_CASE("an acknowledgement of the wrong kind leaves a message unacknowledged", "[session][MQTT-4.3.2-3]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p")).publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2);
  client.said();
  client.ack(PacketType::Pubrec, 1).ack(PacketType::Pubcomp, 1).ack(PacketType::Puback, 2).ack(PacketType::Pubcomp, 2);
  client.drop();
  TestClient again(broker);
  again.connect(connect_as("a", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBLISH t '2' qos2 #2 dup"});
}

TEST_CASE("a bad acknowledgement ends the connection",
          "[session][MQTT-2.1.3-1][MQTT-2.2.1-5][MQTT-3.4.2-1][MQTT-3.5.2-1][MQTT-3.6.1-1][MQTT-3.6.2-1][MQTT-3.7.2-1]"
          "[MQTT311-3.6.1-1][MQTT311-2.2.2-2]") {
  TestBroker broker;
  const auto said_to = [&](std::string_view packet, ProtocolVersion version = V5) {
    TestClient client(broker, version);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  const Lines malformed{"DISCONNECT 81", "closed"}, error{"DISCONNECT 82", "closed"};
  CHECK(said_to("41 02 00 01") == malformed);
  CHECK(said_to("60 02 00 01") == malformed);
  CHECK(said_to("6a 02 00 01") == malformed);
  CHECK(said_to("40 02 00 00") == error);
  CHECK(said_to("40 03 00 01 92") == error);
  CHECK(said_to("50 03 00 01 01") == error);
  CHECK(said_to("62 03 00 01 10") == error);
  CHECK(said_to("70 03 00 01 87") == error);
  CHECK(said_to("60 02 00 01", V311) == Lines{"closed"});
  CHECK(said_to("50 01 00", V311) == Lines{"closed"});
}

// --- the window

TEST_CASE("no more than the client's Receive Maximum is unacknowledged, and everything else goes on",
          "[session][MQTT-3.3.4-9][MQTT-3.3.4-10][MQTT-4.9.0-1][MQTT-4.9.0-2][MQTT-4.9.0-3]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    codec::ConnectView connect = connect_as("a", true, session_expiry_s);
    connect.receive_maximum = 2;
    client.accepted(connect).subscribed("t", kQos2);
    publisher.accepted(connect_as("p"));
    for (uint16_t id = 1; id <= 5; ++id) publisher.publish("t", std::to_string(id), id % 2 ? kQos1 : kQos2, id);
    publisher.publish("t", "0");
    CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos2 #2", "PUBLISH t '0'"});
    CHECK(client.ping().subscribe(1, {{"u"}}).publish("v", "x", kQos1, 9).unsubscribe(2, {"u"}).said() ==
          Lines{"PINGRESP", "SUBACK #1 00", "PUBACK #9 10", "UNSUBACK #2 00"});
    CHECK(client.ack(PacketType::Pubrec, 2).said() == Lines{"PUBREL #2"});  // its place is free with PUBCOMP
    CHECK(client.ack(PacketType::Pubcomp, 2).said() == Lines{"PUBLISH t '3' qos1 #3"});
    CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '4' qos2 #4"});
    CHECK(client.ack(PacketType::Puback, 1).said() == Lines{});  // a second time gives nothing
    CHECK(client.ack(PacketType::Puback, 3).said() == Lines{"PUBLISH t '5' qos1 #5"});
  }
}

TEST_CASE("retained messages keep to the window too", "[session][MQTT-3.3.4-9]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 3; ++id) publisher.publish("t/" + std::to_string(id), "x", kQos1, id, true);
  codec::ConnectView connect = connect_as("a");
  connect.receive_maximum = 1;
  client.accepted(connect).subscribe(1, {{"t/+", kQos1}});
  Lines lines = client.said();
  CHECK(lines.size() == 2);
  for (uint16_t id = 1; id <= 2; ++id) {
    lines = client.ack(PacketType::Puback, id).said();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].ends_with("' qos1 #" + std::to_string(id + 1) + " retain"));
  }
  CHECK(client.ack(PacketType::Puback, 3).said() == Lines{});
}

TEST_CASE("a resumed session keeps to the Receive Maximum of its new connection",
          "[session][MQTT-3.3.4-9][MQTT-4.9.0-1][MQTT-4.9.0-2]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 5; ++id) publisher.publish("t", std::to_string(id), id % 2 ? kQos1 : kQos2, id);
  client.said();
  client.ack(PacketType::Pubrec, 2).drop();
  codec::ConnectView connect = connect_as("a", false, 100);
  connect.receive_maximum = 2;
  TestClient again(broker);
  again.connect(connect);
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBREL #2"});
  publisher.publish("t", "6", kQos1, 6);
  CHECK(again.said() == Lines{});
  CHECK(again.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '3' qos1 #3 dup"});
  CHECK(again.ack(PacketType::Pubcomp, 2).said() == Lines{"PUBLISH t '4' qos2 #4 dup"});
  CHECK(again.ack(PacketType::Puback, 3).said() == Lines{"PUBLISH t '5' qos1 #5 dup"});
  CHECK(again.ack(PacketType::Pubrec, 4).said() == Lines{"PUBREL #4"});
  CHECK(again.ack(PacketType::Pubcomp, 4).said() == Lines{"PUBLISH t '6' qos1 #6"});
}

TEST_CASE("the broker's own window counts when the client's is wider", "[session]") {
  TestSetup setup;
  setup.limits.inflight_max = 1;
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a")).subscribed("t", kQos1);
  publisher.accepted(connect_as("p")).publish("t", "1", kQos1, 1).publish("t", "2", kQos1, 2);
  CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1"});
  CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '2' qos1 #2"});
}

TEST_CASE("over the outbox's bound the oldest message makes way and is counted", "[session]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestSetup setup;
    setup.limits.outbox_messages_max = 3;
    TestBroker broker(setup);
    TestClient client(broker), publisher(broker);
    codec::ConnectView connect = connect_as("a", true, session_expiry_s);
    connect.receive_maximum = 1;
    client.accepted(connect).subscribed("t", kQos1);
    publisher.accepted(connect_as("p"));
    for (uint16_t id = 1; id <= 10; ++id) publisher.publish("t", std::to_string(id), kQos1, id);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1"});
    CHECK(broker.counter(&Counters::messages_dropped) == 6);
    CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '8' qos1 #2"});
    CHECK(client.ack(PacketType::Puback, 2).said() == Lines{"PUBLISH t '9' qos1 #3"});
    CHECK(client.ack(PacketType::Puback, 3).said() == Lines{"PUBLISH t '10' qos1 #4"});
  }
}

TEST_CASE("what is retained after UNSUBSCRIBE does not come, though it was still looked for",
          "[session][MQTT-3.10.4-2][MQTT311-3.10.4-2]") {
  TestSetup setup;
  setup.shard_count = 2;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as(broker.client_id_at(0)));
  client.link().inbox.push_back(hex("82 07 00 01 00 00 01 '+' 00  a2 06 00 02 00 00 01 '+'"));
  broker.turn(0);  // the other shard does not know yet that it was asked
  MessageView message;
  message.qos = kQos0;
  message.retain = true;
  const auto payload = hex("'x'");
  message.payload = payload;
  for (const auto* topic : {"t", "u", "v", "w", "x", "y", "z"}) {  // some of them at home at the other shard
    message.topic_name = topic;
    broker.core(1).publish_from_inside(Message::create(message), broker.now(), nullptr);
  }
  broker.wake(0);
  broker.wake(1);
  broker.settle();
  CHECK(client.said() == Lines{"SUBACK #1 00", "UNSUBACK #2 00"});
}

TEST_CASE("retained messages of a subscription that has ended do not come for a later one of the same filter",
          "[session][MQTT-3.3.1-11][MQTT-3.10.4-2]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("c"));
  publisher.accepted(connect_as("p")).publish("t", "x", kQos0, 0, true);
  // SUBSCRIBE, UNSUBSCRIBE, and a SUBSCRIBE that wants nothing retained, read at once.
  client.raw("82 07 00 01 00 00 01 't' 00  a2 06 00 02 00 00 01 't'  82 07 00 03 00 00 01 't' 20");
  CHECK(client.said() == Lines{"SUBACK #1 00", "UNSUBACK #2 00", "SUBACK #3 00"});
}

TEST_CASE("the outbox's bound counts messages, not the retained flow that they wait behind", "[session]") {
  TestSetup setup;
  setup.shard_count = 2;
  setup.limits.outbox_messages_max = 3;
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as(broker.client_id_at(0)));
  publisher.accepted(connect_as("p" + broker.client_id_at(0)));
  client.link().inbox.push_back(hex("82 07 00 01 00 00 01 '+' 00"));
  broker.turn(0);  // the other shard has not said yet what it has retained
  for (const auto* payload : {"'1'", "'2'", "'3'"}) {
    publisher.link().inbox.push_back(hex(std::string("30 05 00 01 't' 00 ") + payload));
  }
  broker.wake(0);
  broker.wake(1);
  const uint32_t home = publisher.link().shard;
  broker.turn(home);
  broker.settle();
  CHECK(client.said() == Lines{"SUBACK #1 00", "PUBLISH t '1'", "PUBLISH t '2'", "PUBLISH t '3'"});
  CHECK(broker.counter(&Counters::messages_dropped) == 0);
}

// --- what does not go out

TEST_CASE("a message larger than the client's Maximum Packet Size is dropped as if it were delivered",
          "[session][MQTT-3.1.2-24][MQTT-3.1.2-25]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    for (const Qos qos : {kQos0, kQos1, kQos2}) {
      TestBroker broker;
      TestClient client(broker), publisher(broker);
      codec::ConnectView connect = connect_as("a", true, session_expiry_s);
      connect.maximum_packet_size = 100;
      connect.receive_maximum = 1;
      client.accepted(connect).subscribed("t", qos);
      publisher.accepted(connect_as("p"));
      const size_t most = 100 - 2 - 3 - 1 - (qos == kQos0 ? 0 : 2);
      publisher.publish("t", std::string(most + 1, 'x'), kQos2, 1).publish("t", std::string(5'000, 'x'), kQos2, 2);
      CHECK(client.said() == Lines{});
      publisher.publish("t", std::string(most, 'x'), kQos2, 3);
      const auto bytes = client.said_bytes();
      CHECK(bytes.size() == 100);
      CHECK(broker.counter(&Counters::dropped_too_large) == 2);
    }
  }
}

TEST_CASE("no packet of any kind is larger than the client's Maximum Packet Size",
          "[session][MQTT-3.1.2-24][MQTT-3.4.2-2][MQTT-3.4.2-3][MQTT-3.5.2-2][MQTT-3.5.2-3][MQTT-3.6.2-2][MQTT-3.6.2-3]"
          "[MQTT-3.7.2-2][MQTT-3.7.2-3][MQTT-3.9.2-1][MQTT-3.9.2-2][MQTT-3.11.2-1][MQTT-3.11.2-2][MQTT-3.14.2-3]"
          "[MQTT-3.14.2-4]") {
  TestSetup setup;
  setup.limits.receive_maximum = 65'535;
  TestBroker broker(setup);
  TestClient client(broker), huge_suback(broker), publisher(broker);
  codec::ConnectView connect = connect_as("a");
  connect.maximum_packet_size = 20;
  CHECK(client.connect(connect).said() == Lines{"CONNACK 00"});
  client.publish("$SYS/x", "x", kQos1, 1).publish("$SYS/x", "x", kQos2, 2).ack(PacketType::Pubrel, 7);
  client.subscribe(3, {{"t", kQos2}, {"b#"}}).unsubscribe(4, {"none"});
  publisher.accepted(connect_as("p")).publish("t", "x", kQos2, 1);
  client.ack(PacketType::Pubrec, 1).publish("a/+", "x");
  Bytes bytes = client.link().written;
  size_t packets = 0;
  while (!bytes.empty()) {
    const codec::Frame frame = codec::scan_frame(bytes);
    REQUIRE(frame.kind == codec::Frame::Kind::Complete);
    CHECK(frame.size <= 20);
    bytes = bytes.subspan(frame.size);
    ++packets;
  }
  CHECK(packets == 8);
  CHECK(client.said().size() == 9);
  huge_suback.accepted(connect);
  CHECK(huge_suback.subscribe(1, std::vector<TestEntry>(20, TestEntry{"x"})).said() ==
        Lines{"DISCONNECT 95", "closed"});
}

TEST_CASE("a CONNACK larger than the client's Maximum Packet Size is not sent",
          "[session][MQTT-3.1.2-24][MQTT-3.2.2-19][MQTT-3.2.2-20]") {
  TestBroker broker;
  TestClient client(broker);
  codec::ConnectView connect = connect_as("");
  connect.maximum_packet_size = 20;
  CHECK(client.connect(connect).said() == Lines{"closed"});
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("a message whose PUBLISH went out no longer expires", "[session][MQTT-4.3.3-7]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.qos = kQos2;
  publish.packet_id = 1;
  publish.has_message_expiry = true;
  publish.message_expiry_s = 5;
  publisher.accepted(connect_as("p")).publish(publish);
  CHECK(client.said() == Lines{"PUBLISH t '' qos2 #1 expiry=5"});
  client.drop();
  broker.advance_s(60);
  TestClient again(broker);
  again.connect(connect_as("a", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '' qos2 #1 dup expiry=0"});
}

TEST_CASE("what waits for a kept session or a group for too long is dropped and counted", "[session]") {
  TestSetup setup;
  setup.limits.outbox_age_max_s = 64;
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 1000)).subscribed("t/#", kQos1).subscribed("$share/g/t/#", kQos1);
  client.drop();
  publisher.accepted(connect_as("p"));
  publisher.publish("t/1", "old", kQos1, 1);
  const auto pass = [&](int seconds) {  // in steps, since a clock that jumps is late for everything
    for (; seconds; --seconds) broker.advance_s(1);
  };
  pass(40);
  publisher.publish("t/2", "new", kQos1, 2);
  pass(23);
  CHECK(broker.counter(&Counters::dropped_limit) == 0);
  pass(4);
  CHECK(broker.counter(&Counters::dropped_limit) == 2);
  CHECK(broker.counter(&Counters::messages_dropped) == 2);
  TestClient again(broker);
  again.connect(connect_as("a", false, 1000));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t/2 'new' qos1 #1", "PUBLISH t/2 'new' qos1 #2"});
  pass(100);  // what is with a client stays with it
  CHECK(broker.counter(&Counters::dropped_limit) == 2);
  again.ack(codec::PacketType::Puback, 1).ack(codec::PacketType::Puback, 2).drop();
  publisher.publish("t/3", "last", kQos1, 3);
  pass(67);
  CHECK(broker.counter(&Counters::dropped_limit) == 4);
}

TEST_CASE("QoS 0 messages for a client that does not read are dropped and counted", "[session]") {
  TestSetup setup;
  setup.limits.outbox_bytes_max = 1'000;
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a")).subscribed("t", kQos0);
  publisher.accepted(connect_as("p"));
  client.link().room = 10;
  for (int i = 0; i < 100; ++i) publisher.publish("t", std::string(100, 'x'));
  CHECK(broker.counter(&Counters::dropped_outbox_full) > 80);
  CHECK_FALSE(client.closed());
  client.link().room = SIZE_MAX;
  broker.wake(0);
  broker.settle();
  const Lines lines = client.said();
  CHECK(lines.size() + broker.counter(&Counters::dropped_outbox_full) == 100);
  for (const std::string& line : lines) CHECK(line == "PUBLISH t '" + std::string(100, 'x') + "'");
  CHECK(publisher.publish("t", "y").said() == Lines{});
  CHECK(client.said() == Lines{"PUBLISH t 'y'"});
}

TEST_CASE("a client that neither reads nor acknowledges is not read either", "[session]") {
  TestSetup setup;
  setup.limits.outbox_bytes_max = 50;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("a"));
  client.link().room = 0;
  for (int i = 0; i < 100; ++i) client.ping();
  CHECK(client.link().paused);
  CHECK(client.link().inbox.size() > 70);
  client.link().room = SIZE_MAX;
  broker.wake(0);
  broker.settle();
  CHECK(client.said() == Lines(100, "PINGRESP"));
  CHECK_FALSE(client.link().paused);
}

// --- durability

TEST_CASE("a publish for a durable session is acknowledged when the log has it",
          "[session][MQTT-4.3.2-4][MQTT-4.3.3-8]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  broker.log().held = true;
  publisher.publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2).publish("u", "3", kQos1, 3);
  CHECK(publisher.publish("t", "2", kQos2, 2, false, true).said() == Lines{});
  CHECK(client.said() == Lines{});
  broker.log().held = false;
  broker.advance_ms(1);
  CHECK(publisher.said() == Lines{"PUBACK #1", "PUBREC #2", "PUBACK #3 10"});  // in the order of the publishes
  CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos2 #2"});
  CHECK(publisher.ack(PacketType::Pubrel, 2).said() == Lines{"PUBCOMP #2"});
}

TEST_CASE("a log that fails refuses in 5 and closes in 3.1.1, and the identifier is free again",
          "[session][MQTT-4.3.3-9][MQTT311-4.8.0-2]") {
  TestBroker broker;
  TestClient client(broker), five(broker), three(broker, V311);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  five.accepted(connect_as("p"));
  three.accepted(connect_as("q"));
  broker.log().answer = Status::Io;
  CHECK(five.publish("t", "1", kQos1, 1).said() == Lines{"PUBACK #1 97"});
  CHECK(five.publish("t", "2", kQos2, 2).said() == Lines{"PUBREC #2 97"});
  CHECK(three.publish("t", "3", kQos1, 3).said() == Lines{"closed"});
  CHECK(client.said() == Lines{});
  broker.log().answer = Status::Ok;
  CHECK(five.publish("t", "4", kQos2, 2).said() == Lines{"PUBREC #2"});
  CHECK(client.said() == Lines{"PUBLISH t '4' qos2 #1"});
}

TEST_CASE("a PUBREL before its PUBREC is a protocol error", "[session]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  broker.log().held = true;
  publisher.publish("t", "2", kQos2, 2).ack(PacketType::Pubrel, 2);
  CHECK(publisher.said() == Lines{"DISCONNECT 82", "closed"});
  broker.log().held = false;
  broker.advance_ms(1);
}

TEST_CASE("a client that has shut its side is answered before its connection ends",
          "[session][MQTT-4.3.2-4][MQTT-4.3.3-8][MQTT-3.1.2-8][MQTT311-3.1.2-8]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker), idle(broker), lost(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2).subscribed("will/+", kQos0);
  publisher.accepted(with_will(connect_as("p"), "will/p", "gone"));
  idle.accepted(with_will(connect_as("i"), "will/i", "gone")).finish();
  CHECK(idle.said() == Lines{"closed"});
  CHECK(client.said() == Lines{"PUBLISH will/i 'gone'"});
  lost.accepted(connect_as("l"));
  broker.log().held = true;
  publisher.publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2).finish();
  lost.publish("t", "3", kQos1, 1).finish();
  CHECK(publisher.said() == Lines{});
  CHECK(lost.said() == Lines{});
  lost.drop();
  CHECK(lost.said() == Lines{"closed"});
  CHECK(client.said() == Lines{});
  broker.log().held = false;
  broker.advance_ms(1);
  CHECK(publisher.said() == Lines{"PUBACK #1", "PUBREC #2", "closed"});
  const Lines said = client.said();
  CHECK(std::count(said.begin(), said.end(), "PUBLISH will/p 'gone'") == 1);
  CHECK(said.size() == 4);
}

TEST_CASE("a client that has shut its side is not kept for answers that do not come", "[session]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos1);
  publisher.accepted(connect_as("p"));
  broker.log().held = true;
  publisher.publish("t", "1", kQos1, 1).finish();
  broker.advance_ms(1900);
  CHECK_FALSE(publisher.closed());
  broker.advance_ms(200);
  CHECK(publisher.said() == Lines{"closed"});
  broker.log().held = false;
  broker.advance_ms(1);
  CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1"});
}

TEST_CASE("an answer that comes after the publisher has reconnected is not for its new connection", "[session]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p", true, 100));
  broker.log().held = true;
  publisher.publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2).drop();
  TestClient again(broker);
  CHECK(again.connect(connect_as("p", false, 100)).said() == Lines{"CONNACK 00 present"});
  again.publish("t", "1", kQos1, 1, false, true);
  broker.log().held = false;
  broker.advance_ms(1);
  CHECK(again.said() == Lines{"PUBACK #1"});
  CHECK(again.publish("t", "2", kQos2, 2, false, true).said() == Lines{"PUBREC #2"});
  CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos2 #2", "PUBLISH t '1' qos1 #3"});
}

TEST_CASE("messages for a session that is away wait in its journals, in order, and each comes once",
          "[session][MQTT-4.5.0-1][MQTT-4.6.0-5][MQTT311-4.5.0-1]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100))
      .subscribed("t/+", kQos1, 1)
      .subscribed("t/#", kQos1, 2)
      .subscribed("u", kQos1);
  client.drop();
  publisher.accepted(connect_as("p"));
  Lines expected{"CONNACK 00 present"};
  for (uint16_t id = 1; id <= 40; ++id) {
    const std::string topic = id % 3 == 0 ? "u" : id % 3 == 1 ? "t/a" : "t/a/b";
    publisher.publish(topic, std::to_string(id), kQos1, id);
    expected.push_back("PUBLISH " + topic + " '" + std::to_string(id) + "' qos1 #" + std::to_string(id));
  }
  TestClient again(broker);
  again.connect(connect_as("a", false, 100));
  Lines lines = again.said();
  for (std::string& line : lines) line = line.substr(0, line.find(" sub="));
  CHECK(lines == expected);
}

TEST_CASE("messages of many durable subscriptions come merged in the order of their publishing, each once",
          "[session]") {
  constexpr int kFilters = 60, kMessages = 400;
  TestSetup setup;
  setup.limits.outbox_messages_max = 9;  // for each subscription: some lose their oldest
  TestBroker broker(setup);
  TestClient writer(broker);
  writer.accepted(connect_as("writer"));
  {
    TestClient reader(broker);
    reader.accepted(connect_as("reader", true, 100));
    for (int i = 0; i < kFilters; ++i) reader.subscribed("t/" + std::to_string(i), Qos::AtLeastOnce);
    reader.subscribed("t/1/#", Qos::AtLeastOnce);  // what t/1 brings, once more
    reader.unsubscribe(1, {"t/7"}).unsubscribe(1, {"t/0"}).disconnect();
  }
  Random random(1);
  std::map<int, std::deque<int>> kept;
  for (int i = 0; i < kMessages; ++i) {
    const int filter = static_cast<int>(random.below(kFilters));
    writer.publish("t/" + std::to_string(filter), std::to_string(i), Qos::AtLeastOnce, 1);
    if (filter == 7 || filter == 0) continue;
    kept[filter].push_back(i);
    if (kept[filter].size() > setup.limits.outbox_messages_max) kept[filter].pop_front();
  }
  std::map<int, int> wanted;  // number to filter
  for (const auto& [filter, numbers] : kept) {
    for (const int number : numbers) wanted[number] = filter;
  }
  TestClient reader(broker);
  Lines lines{"CONNACK 00 present"};
  uint16_t packet_id = 0;
  for (const auto& [number, filter] : wanted) {
    lines.push_back("PUBLISH t/" + std::to_string(filter) + " '" + std::to_string(number) + "' qos1 #" +
                    std::to_string(++packet_id));
  }
  CHECK(reader.connect(connect_as("reader", false, 100)).said() == lines);
}

}  // namespace mqttq
