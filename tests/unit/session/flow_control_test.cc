// Flow control (MQTT5 4.9) at its ends: a window of one and of all identifiers, and every way in which a place in it
// comes back.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
constexpr uint32_t kAll = 65'535;  // packet identifiers
using codec::PacketType;

// A host whose answer to publishes can change; while it is busy the answer is not remembered.
class ChangingAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion&) noexcept override { return Verdict::Allow; }
  Verdict act(const ActionQuestion& question) noexcept override {
    return question.topic == "busy" ? acts : Verdict::Allow;
  }
  Verdict acts = Verdict::Allow;
};

codec::ConnectView with_window(codec::ConnectView connect, uint16_t receive_maximum) {
  connect.receive_maximum = receive_maximum;
  return connect;
}

void append(std::vector<std::byte>& bytes, std::initializer_list<unsigned> packet) {
  for (const unsigned byte : packet) bytes.push_back(std::byte(byte));
}
void append_publish(std::vector<std::byte>& bytes, Qos qos, unsigned packet_id) {
  const unsigned flags = qos == kQos2 ? 4 : 2;
  append(bytes, {0x30 | flags, 6, 0, 1, 't', packet_id >> 8, packet_id & 0xFF, 0});
}
void append_ack(std::vector<std::byte>& bytes, PacketType type, unsigned packet_id) {
  const unsigned flags = type == PacketType::Pubrel ? 2 : 0;
  append(bytes, {static_cast<unsigned>(type) << 4 | flags, 2, packet_id >> 8, packet_id & 0xFF});
}

// As many packets as there are identifiers, made by write(bytes, packet_id), in reads of a usual size.
template <class Write>
void send_all(TestClient& client, Write&& write) {
  constexpr unsigned kAtOnce = 1'000;
  for (unsigned first = 1; first <= kAll; first += kAtOnce) {
    std::vector<std::byte> bytes;
    for (unsigned id = first; id < first + kAtOnce && id <= kAll; ++id) write(bytes, id);
    client.send(bytes);
  }
}

// Each identifier once, in order.
bool in_order(const Lines& lines, const std::string& head, const std::string& tail) {
  if (lines.size() != kAll) return false;
  for (unsigned id = 1; id <= kAll; ++id) {
    if (lines[id - 1] != head + std::to_string(id) + tail) return false;
  }
  return true;
}

}  // namespace

// --- a window of one

TEST_CASE("with a Receive Maximum of 1 a client is sent one message at a time",
          "[session][MQTT-3.3.4-9][MQTT-4.9.0-1][MQTT-4.9.0-2]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    client.accepted(with_window(connect_as("a", true, session_expiry_s), 1)).subscribed("t", kQos2);
    publisher.accepted(connect_as("p"));
    for (uint16_t id = 1; id <= 4; ++id) publisher.publish("t", std::to_string(id), id % 2 ? kQos2 : kQos1, id);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos2 #1"});
    CHECK(client.ack(PacketType::Pubrec, 1).said() == Lines{"PUBREL #1"});
    CHECK(client.ack(PacketType::Pubcomp, 1).said() == Lines{"PUBLISH t '2' qos1 #2"});
    CHECK(client.ack(PacketType::Puback, 2).said() == Lines{"PUBLISH t '3' qos2 #3"});
    CHECK(client.ack(PacketType::Pubrec, 3, ReasonCode::QuotaExceeded).said() == Lines{"PUBLISH t '4' qos1 #4"});
    CHECK(client.ack(PacketType::Puback, 4, ReasonCode::QuotaExceeded).said() == Lines{});
    publisher.publish("t", "5", kQos1, 5);
    CHECK(client.said() == Lines{"PUBLISH t '5' qos1 #5"});
  }
}

TEST_CASE("with a Receive Maximum of 1 the broker takes one publish at a time, and its place is free with the answer",
          "[session][MQTT-3.3.4-7][MQTT-4.3.3-9]") {
  TestSetup setup;
  setup.limits.receive_maximum = 1;
  TestBroker broker(setup);
  TestClient durable(broker), client(broker);
  durable.accepted(connect_as("d", true, 100)).subscribed("t", kQos1);
  client.accepted(connect_as("a", true, 100));
  CHECK(client.publish("t", "1", kQos1, 1).publish("t", "2", kQos1, 2).said() == Lines{"PUBACK #1", "PUBACK #2"});
  CHECK(client.publish("t", "3", kQos2, 3).publish("t", "3", kQos2, 3, false, true).said() ==
        Lines{"PUBREC #3", "PUBREC #3"});
  CHECK(client.ack(PacketType::Pubrel, 3).said() == Lines{"PUBCOMP #3"});
  CHECK(client.publish("$SYS/x", "4", kQos2, 4).said() == Lines{"PUBREC #4 87"});
  broker.log().answer = Status::Io;
  CHECK(client.publish("t", "5", kQos2, 5).said() == Lines{"PUBREC #5 97"});
  CHECK(client.publish("t", "6", kQos1, 6).said() == Lines{"PUBACK #6 97"});
  broker.log().answer = Status::Ok;
  CHECK(client.publish("t", "7", kQos2, 7).said() == Lines{"PUBREC #7"});
  client.drop();
  // What is open of an earlier connection is not held against this one, until it comes again.
  TestClient again(broker);
  again.accepted(connect_as("a", false, 100));
  CHECK(again.publish("t", "8", kQos1, 8).said() == Lines{"PUBACK #8"});
  CHECK(again.publish("t", "7", kQos2, 7, false, true).said() == Lines{"PUBREC #7"});
  CHECK(again.publish("t", "9", kQos1, 9).said() == Lines{"DISCONNECT 93", "closed"});
}

TEST_CASE("a publish that is not answered yet has its place in the Receive Maximum", "[session][MQTT-3.3.4-7]") {
  for (const Qos qos : {kQos1, kQos2}) {
    TestSetup setup;
    setup.limits.receive_maximum = 1;
    TestBroker broker(setup);
    TestClient durable(broker), client(broker);
    durable.accepted(connect_as("d", true, 100)).subscribed("t", kQos1);
    client.accepted(connect_as("a"));
    broker.log().held = true;
    CHECK(client.publish("t", "1", qos, 1).said() == Lines{});
    CHECK(client.publish("t", "2", kQos1, 2).said() == Lines{"DISCONNECT 93", "closed"});
    broker.log().held = false;
    broker.advance_ms(1);
    CHECK(durable.said() == Lines{"PUBLISH t '1' qos1 #1"});
  }
}

// --- how a place comes back

TEST_CASE("a message that expires while it waits takes no place in the window",
          "[session][MQTT-3.3.2-5][MQTT-3.3.4-9]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    client.accepted(with_window(connect_as("a", true, session_expiry_s), 1)).subscribed("t", kQos2);
    publisher.accepted(connect_as("p")).publish("t", "1", kQos1, 1);
    codec::PublishView publish;
    publish.topic_name = "t";
    publish.qos = kQos2;
    publish.packet_id = 2;
    publish.has_message_expiry = true;
    publish.message_expiry_s = 1;
    publisher.publish(publish).publish("t", "3", kQos2, 3).publish("t", "4", kQos2, 4);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1"});
    broker.advance_s(2);
    CHECK(client.said() == Lines{});
    CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '3' qos2 #2"});
    CHECK(client.ack(PacketType::Pubrec, 2, ReasonCode::UnspecifiedError).said() == Lines{"PUBLISH t '4' qos2 #3"});
    CHECK(broker.counter(&Counters::dropped_expired) == 1);
  }
}

TEST_CASE("a message that is too large on the next connection gives its place back",
          "[session][MQTT-3.1.2-24][MQTT-3.1.2-25][MQTT-3.3.4-9]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(with_window(connect_as("a", true, 100), 2)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  publisher.publish("t", std::string(100, 'x'), kQos1, 1).publish("t", std::string(100, 'x'), kQos2, 2);
  publisher.publish("t", "3", kQos2, 3).publish("t", "4", kQos2, 4);
  CHECK(client.said().size() == 2);
  client.drop();
  codec::ConnectView connect = with_window(connect_as("a", false, 100), 1);
  connect.maximum_packet_size = 50;
  TestClient again(broker);
  again.connect(connect);
  // At QoS 2 the client had it before, and would take another one of this identifier for a repeat.
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBREL #2"});
  CHECK(again.ack(PacketType::Pubcomp, 2).said() == Lines{"PUBLISH t '3' qos2 #3"});
  CHECK(again.ack(PacketType::Pubrec, 3).said() == Lines{"PUBREL #3"});
  CHECK(again.ack(PacketType::Pubcomp, 3).said() == Lines{"PUBLISH t '4' qos2 #4"});
  CHECK(broker.counter(&Counters::dropped_too_large) == 2);
}

TEST_CASE("a PUBREL that is sent again waits for no place in the window",
          "[session][MQTT-3.3.4-10][MQTT-4.4.0-1][MQTT-4.9.0-3]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 4; ++id) publisher.publish("t", std::to_string(id), kQos2, id);
  client.ack(PacketType::Pubrec, 3).ack(PacketType::Pubrec, 4).said();
  client.drop();
  TestClient again(broker);
  again.connect(with_window(connect_as("a", false, 100), 1));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos2 #1 dup", "PUBREL #3", "PUBREL #4"});
  // They count all the same until they are complete: no client's way of counting is overrun.
  CHECK(again.ack(PacketType::Pubrec, 1, ReasonCode::UnspecifiedError).said() == Lines{});
  CHECK(again.ack(PacketType::Pubcomp, 4).said() == Lines{});
  CHECK(again.ack(PacketType::Pubcomp, 3).said() == Lines{"PUBLISH t '2' qos2 #2 dup"});
}

TEST_CASE("what is answered before its turn to be sent again is not sent again",
          "[session][MQTT-4.3.3-6][MQTT-4.4.0-1]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a", true, 100)).subscribed("t", kQos2);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 5; ++id) publisher.publish("t", std::to_string(id), kQos2, id);
  client.drop();
  TestClient again(broker);
  again.connect(with_window(connect_as("a", false, 100), 2));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos2 #1 dup", "PUBLISH t '2' qos2 #2 dup"});
  CHECK(again.ack(PacketType::Pubrec, 3).said() == Lines{"PUBREL #3"});
  CHECK(again.ack(PacketType::Pubrec, 4, ReasonCode::UnspecifiedError).said() == Lines{});
  CHECK(again.ack(PacketType::Pubrec, 1, ReasonCode::UnspecifiedError).said() == Lines{});
  CHECK(again.ack(PacketType::Pubrec, 2, ReasonCode::UnspecifiedError).said() == Lines{"PUBLISH t '5' qos2 #5 dup"});
  CHECK(again.ack(PacketType::Pubcomp, 3).said() == Lines{});
}

TEST_CASE("a negative PUBREC of what was not sent is followed by no PUBREL", "[session][MQTT-4.3.3-4]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a"));
  CHECK(client.ack(PacketType::Pubrec, 7, ReasonCode::UnspecifiedError).said() == Lines{});
  CHECK(client.ack(PacketType::Pubrec, 7, ReasonCode::NoMatchingSubscribers).said() == Lines{"PUBREL #7 92"});
}

// --- all identifiers

TEST_CASE("65 535 messages are open to a client, the next waits, and takes the identifier that is free first",
          "[session][MQTT-2.2.1-4][MQTT-3.3.4-9][MQTT-4.3.2-1][MQTT-4.4.0-1][MQTT-4.9.0-2]") {
  TestSetup setup;
  setup.limits.inflight_max = kAll;
  setup.limits.outbox_messages_max = 2 * kAll;
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker(setup);
    TestClient client(broker), publisher(broker);
    client.accepted(connect_as("a", true, session_expiry_s)).subscribed("t", kQos2);
    publisher.accepted(connect_as("p"));
    send_all(publisher, [](auto& bytes, unsigned id) { append_publish(bytes, kQos1, id); });
    CHECK(in_order(client.said(), "PUBLISH t '' qos1 #", ""));
    publisher.publish("t", "x", kQos2, 1).publish("t", "y", kQos1, 2).publish("t", "z", kQos1, 3);
    CHECK(client.said() == Lines{});
    CHECK(client.ack(PacketType::Puback, 40'000).said() == Lines{"PUBLISH t 'x' qos2 #40000"});
    CHECK(client.ack(PacketType::Pubrec, 40'000).said() == Lines{"PUBREL #40000"});
    CHECK(client.ack(PacketType::Pubcomp, 40'000).said() == Lines{"PUBLISH t 'y' qos1 #40000"});
    if (session_expiry_s) {
      client.drop();
      TestClient again(broker);
      again.connect(connect_as("a", false, 100));
      Lines lines = again.said();
      REQUIRE(lines.size() == 1 + kAll);
      CHECK(lines[0] == "CONNACK 00 present");
      CHECK(lines[40'000] == "PUBLISH t '' qos1 #40001 dup");
      CHECK(lines.back() == "PUBLISH t 'y' qos1 #40000 dup");  // sent last, so sent again last
      CHECK(again.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t 'z' qos1 #1"});
      again.drop();
      // One by one: each PUBACK brings the next.
      TestClient last(broker);
      last.connect(with_window(connect_as("a", false, 100), 1));
      CHECK(last.said() == Lines{"CONNACK 00 present", "PUBLISH t '' qos1 #2 dup"});
      send_all(last, [](auto& bytes, unsigned id) {
        if (id != 1 && id != 40'000) append_ack(bytes, PacketType::Puback, id);
      });
      lines = last.said();
      REQUIRE(lines.size() == kAll - 2);
      CHECK(lines[0] == "PUBLISH t '' qos1 #3 dup");
      CHECK(lines.back() == "PUBLISH t 'y' qos1 #40000 dup");
      CHECK(last.ack(PacketType::Puback, 40'000).said() == Lines{"PUBLISH t 'z' qos1 #1 dup"});
      CHECK(last.ack(PacketType::Puback, 1).said() == Lines{});
    } else {
      CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t 'z' qos1 #1"});
    }
  }
}

TEST_CASE("65 535 publishes of a client are open, and the next is one too many", "[session][MQTT-3.3.4-7]") {
  TestSetup setup;
  setup.limits.receive_maximum = kAll;
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker(setup);
    TestClient client(broker, version), again(broker, version);
    const codec::ConnectView connect = connect_as("a", false, version == V5 ? 100 : 0);
    client.accepted(connect);
    send_all(client, [version](auto& bytes, unsigned id) {
      append_publish(bytes, kQos2, id);
      if (version != V311) return;
      bytes.pop_back();  // no properties
      bytes[bytes.size() - 6] = std::byte{5};
    });
    CHECK(in_order(client.said(), "PUBREC #", version == V5 ? " 10" : ""));
    CHECK(client.publish("t", "", kQos2, 9, false, true).said() == Lines{"PUBREC #9"});  // a repeat is none more
    client.publish("t", "", kQos1, 9);
    CHECK(client.said() == (version == V5 ? Lines{"DISCONNECT 93", "closed"} : Lines{"closed"}));
    again.connect(connect);
    CHECK(again.said() == Lines{"CONNACK 00 present"});
    send_all(again, [](auto& bytes, unsigned id) { append_ack(bytes, PacketType::Pubrel, id); });
    CHECK(in_order(again.said(), "PUBCOMP #", ""));
    CHECK(again.publish("t", "", kQos2, 9, true).said() == Lines{"PUBREC #9"});  // new, and retained: somebody took it
  }
}

TEST_CASE("65 535 receipts whose PUBREL does not come are forgotten together", "[session]") {
  TestSetup setup;
  setup.limits.receive_maximum = kAll;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("a", true, 1'000));
  send_all(client, [](auto& bytes, unsigned id) { append_publish(bytes, kQos2, id); });
  client.drop();
  broker.advance_s(setup.limits.receipt_timeout_s + 1);
  TestClient again(broker);
  again.connect(connect_as("a", false, 1'000));
  CHECK(again.said() == Lines{"CONNACK 00 present"});
  CHECK(again.ack(PacketType::Pubrel, 8).said() == Lines{"PUBCOMP #8 92"});
  CHECK(again.publish("t", "", kQos2, 9).said() == Lines{"PUBREC #9 10"});
}

// --- identifiers again

TEST_CASE("an identifier means a new message as soon as PUBACK or PUBCOMP was sent, within one read",
          "[session][MQTT-4.3.2-5][MQTT-4.3.3-12][MQTT-2.2.1-5]") {
  TestSetup setup;
  setup.limits.receive_maximum = 1;
  TestBroker broker(setup);
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("l")).subscribed("t", Qos::AtMostOnce);
  client.accepted(connect_as("a"));
  std::vector<std::byte> bytes;
  Lines expected;
  for (int i = 0; i < 100; ++i) {
    append_publish(bytes, kQos2, 1);
    append_ack(bytes, PacketType::Pubrel, 1);
    append_publish(bytes, kQos1, 1);
    expected.insert(expected.end(), {"PUBREC #1", "PUBCOMP #1", "PUBACK #1"});
  }
  CHECK(client.send(bytes).said() == expected);
  CHECK(listener.said() == Lines(200, "PUBLISH t ''"));
}

// Its answer waits behind that of an earlier publish when the client reconnects and sends it again. It is one exchange
// still, that ends with the one answer: of two, the end of the first would take away the receipt of the second.
TEST_CASE("a refused QoS 2 publish that comes again before its answer is delivered once at most",
          "[session][MQTT-4.3.3-9][MQTT-4.3.3-10]") {
  ChangingAccess access;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient durable(broker), listener(broker), client(broker);
  durable.accepted(connect_as("d", true, 100)).subscribed("t", kQos1);
  listener.accepted(connect_as("l")).subscribed("busy", Qos::AtMostOnce);
  client.accepted(connect_as("a", true, 100));
  broker.log().held = true;
  client.publish("t", "1", kQos2, 1);
  access.acts = Verdict::Busy;
  CHECK(client.publish("busy", "2", kQos2, 2).said() == Lines{});
  client.drop();
  access.acts = Verdict::Allow;
  TestClient again(broker);
  again.accepted(connect_as("a", false, 100)).publish("t", "1", kQos2, 1, false, true);
  CHECK(again.publish("busy", "2", kQos2, 2, false, true).said() == Lines{});
  broker.log().held = false;
  broker.advance_ms(1);
  CHECK(again.said() == Lines{"PUBREC #1", "PUBREC #2 87"});
  CHECK(listener.said() == Lines{});
  CHECK(again.publish("busy", "2", kQos2, 2).publish("busy", "2", kQos2, 2, false, true).said() ==
        Lines{"PUBREC #2", "PUBREC #2"});
  CHECK(listener.said() == Lines{"PUBLISH busy '2'"});
}

}  // namespace mqttq
