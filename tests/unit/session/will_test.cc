// Will Messages and DISCONNECT (MQTT5 3.1.2.5, 3.14): what is published when a client goes, and what is not.
#include <catch2/catch_test_macros.hpp>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;

struct WillTest {
  TestBroker broker;
  TestClient watcher{broker};
  WillTest() { watcher.accepted(connect_as("watcher")).subscribed("will", kQos2); }
};

}  // namespace

TEST_CASE_METHOD(WillTest, "a connection that fails leaves its will",
                 "[session][MQTT-3.1.2-7][MQTT-3.1.2-8][MQTT-3.1.2-10][MQTT311-3.1.2-8][MQTT311-3.1.2-10]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(with_will(connect_as("a"), "will", "gone"));
    client.ping();
    CHECK(watcher.said() == Lines{});
    client.drop();
    CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
    broker.advance_s(1'000);
    CHECK(watcher.said() == Lines{});  // once
  }
}

TEST_CASE_METHOD(WillTest, "DISCONNECT deletes the will",
                 "[session][MQTT-3.1.2-10][MQTT-3.14.4-3][MQTT311-3.14.4-3][MQTT311-3.1.2-10]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(with_will(connect_as("a", true, 10), "will", "gone")).disconnect();
    CHECK(client.said() == Lines{"closed"});
    broker.advance_s(1'000);
    CHECK(watcher.said() == Lines{});
  }
}

TEST_CASE_METHOD(WillTest, "DISCONNECT with another reason code leaves the will", "[session][MQTT-3.1.2-8]") {
  TestClient asks(broker), fails(broker);
  asks.accepted(with_will(connect_as("a"), "will", "asked")).disconnect(ReasonCode::DisconnectWithWill);
  CHECK(watcher.said() == Lines{"PUBLISH will 'asked'"});
  fails.accepted(with_will(connect_as("a"), "will", "failed")).disconnect(ReasonCode::UnspecifiedError);
  CHECK(watcher.said() == Lines{"PUBLISH will 'failed'"});
}

TEST_CASE_METHOD(WillTest, "a protocol error leaves the will", "[session][MQTT-3.1.2-8][MQTT311-3.1.2-8]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(with_will(connect_as("a"), "will", "broken")).raw("c1 00");
    CHECK(client.closed());
    CHECK(watcher.said() == Lines{"PUBLISH will 'broken'"});
  }
}

TEST_CASE_METHOD(WillTest, "a client without a will leaves none", "[session][MQTT311-3.1.2-12]") {
  TestClient three(broker, V311), five(broker), resumed(broker);
  three.accepted(connect_as("a")).drop();
  five.accepted(with_will(connect_as("b", true, 100), "will", "old", kQos0, false, 50)).drop();
  resumed.accepted(connect_as("c"));
  TestClient again(broker);
  again.connect(connect_as("b", false, 100));  // without one: the old one is forgotten
  again.drop();
  broker.advance_s(200);
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "a will has the QoS and the RETAIN it was given",
                 "[session][MQTT-3.1.2-14][MQTT-3.1.2-15][MQTT311-3.1.2-16][MQTT311-3.1.2-17]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient plain(broker, version), retained(broker, version);
    plain.accepted(with_will(connect_as("a"), "will", "plain", kQos1)).drop();
    CHECK(watcher.said().front().starts_with("PUBLISH will 'plain' qos1 #"));
    TestClient later(broker);
    later.accepted(connect_as("later")).subscribed("will", kQos2);
    retained.accepted(with_will(connect_as("a"), "will", "kept", kQos2, true)).drop();
    CHECK(watcher.said().front().starts_with("PUBLISH will 'kept' qos2 #"));
    TestClient latest(broker);
    latest.accepted(connect_as("latest")).subscribe(1, {{"will", kQos0}});
    CHECK(latest.said() == Lines{"SUBACK #1 00", "PUBLISH will 'kept' retain"});
    latest.publish("will", "", kQos0, 0, true);
    for (int i = 1; i < 9; ++i) watcher.ack(codec::PacketType::Puback, static_cast<uint16_t>(i));
    watcher.said();
  }
}

TEST_CASE_METHOD(WillTest, "a will waits for its delay", "[session][MQTT-3.1.2-8]") {
  TestClient client(broker);
  client.accepted(with_will(connect_as("a", true, 100), "will", "gone", kQos0, false, 10)).drop();
  broker.advance_ms(9'950);
  CHECK(watcher.said() == Lines{});
  broker.advance_ms(100);
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
  broker.advance_s(1'000);
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "a will does not wait longer than its session lives", "[session][MQTT-3.1.2-8]") {
  TestClient client(broker), short_lived(broker);
  client.accepted(with_will(connect_as("a", true, 5), "will", "gone", kQos0, false, 10)).drop();
  broker.advance_ms(4'950);
  CHECK(watcher.said() == Lines{});
  broker.advance_ms(100);
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
  short_lived.accepted(with_will(connect_as("b"), "will", "at once", kQos0, false, 10)).drop();
  CHECK(watcher.said() == Lines{"PUBLISH will 'at once'"});
  broker.advance_s(1'000);
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "a client that is back within the delay has not gone", "[session][MQTT-3.1.3-9]") {
  TestClient client(broker);
  client.accepted(with_will(connect_as("a", true, 100), "will", "gone", kQos0, false, 10)).drop();
  broker.advance_s(9);
  TestClient again(broker);
  CHECK(again.connect(with_will(connect_as("a", false, 100), "will", "new", kQos0, false, 10)).said() ==
        Lines{"CONNACK 00 present"});
  broker.advance_s(1'000);
  CHECK(watcher.said() == Lines{});
  again.drop();
  broker.advance_s(11);
  CHECK(watcher.said() == Lines{"PUBLISH will 'new'"});
}

// Timers are late by some milliseconds, and at the start of a broker everybody is back at once.
TEST_CASE_METHOD(WillTest, "a will whose delay has passed comes before a client that is back",
                 "[session][MQTT-3.1.3-9]") {
  TestClient client(broker);
  client.accepted(with_will(connect_as("a", true, 100), "will", "gone", kQos0, false, 10)).drop();
  broker.advance_ms(10'000);
  TestClient again(broker);
  again.connect(connect_as("a", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present"});
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
  broker.advance_s(1'000);
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "a take-over with a clean start ends the session, and the will is published",
                 "[session][MQTT-3.1.2-8]") {
  TestClient client(broker), again(broker);
  client.accepted(with_will(connect_as("a", true, 100), "will", "gone", kQos0, false, 10));
  again.connect(connect_as("a", true, 100));
  CHECK(client.said() == Lines{"DISCONNECT 8e", "closed"});
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
}

TEST_CASE_METHOD(WillTest, "a take-over publishes a will without delay, and not one with", "[session][MQTT-3.1.3-9]") {
  TestClient without(broker), without_again(broker), with(broker), with_again(broker);
  without.accepted(with_will(connect_as("a", true, 100), "will", "gone"));
  without_again.connect(connect_as("a", false, 100));
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
  with.accepted(with_will(connect_as("b", true, 100), "will", "gone", kQos0, false, 10));
  with_again.connect(connect_as("b", false, 100));
  broker.advance_s(1'000);
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "a will's properties are published with it, user properties in their order",
                 "[session][MQTT-3.1.3-10]") {
  TestClient client(broker);
  const auto properties =
      hex("26 00 01 'b' 00 01 '2'  18 00 00 00 00  03 00 04 'text'  26 00 01 'a' 00 01 '1'  02 00 00 00 3c"
          "01 01  26 00 01 'b' 00 01 '0'");
  codec::ConnectView connect = with_will(connect_as("a"), "will", "gone");
  connect.will.properties = properties;
  connect.will.properties_forwardable = false;
  connect.will.has_message_expiry = true;
  connect.will.message_expiry_s = 60;
  client.accepted(connect);
  broker.advance_s(1'000);  // its expiry counts from when it is published
  client.drop();
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone' b:2 type=text a:1 format=1 b:0 expiry=60"});
}

TEST_CASE_METHOD(WillTest, "a will to a topic of ours, or of too many levels, is refused with its CONNECT",
                 "[session][MQTT-3.1.4-2]") {
  TestClient reserved(broker), deep(broker);
  CHECK(reserved.connect(with_will(connect_as("a"), "$SYS/a", "x")).said() == Lines{"CONNACK 90", "closed"});
  std::string topic;
  for (int i = 0; i < 128; ++i) topic += '/';
  CHECK(deep.connect(with_will(connect_as("a"), topic, "x")).said() == Lines{"CONNACK 90", "closed"});
}

// --- DISCONNECT

TEST_CASE_METHOD(WillTest, "nothing behind DISCONNECT is looked at", "[session][MQTT-3.14.4-1]") {
  TestClient client(broker);
  client.accepted(connect_as("a")).raw("e0 00  30 08 00 04 'will' 00 'x'  c0 00");
  CHECK(client.said() == Lines{"closed"});
  CHECK(watcher.said() == Lines{});
}

TEST_CASE_METHOD(WillTest, "DISCONNECT may change the session expiry interval", "[session][MQTT-4.1.0-2]") {
  TestClient longer(broker);
  longer.accepted(connect_as("a", true, 10)).raw("e0 07 | 00 | 05 | 11 00 00 00 64");
  broker.advance_s(50);
  CHECK(TestClient(broker).connect(connect_as("a", false, 10)).said() == Lines{"CONNACK 00 present"});
  TestClient none(broker);
  none.accepted(connect_as("b", true, 10)).raw("e0 07 | 00 | 05 | 11 00 00 00 00");
  CHECK(TestClient(broker).connect(connect_as("b", false, 10)).said() == Lines{"CONNACK 00"});
}

TEST_CASE_METHOD(WillTest, "a session that was to end with its connection cannot be kept by DISCONNECT", "[session]") {
  TestClient client(broker);
  client.accepted(with_will(connect_as("a"), "will", "gone")).raw("e0 07 | 00 | 05 | 11 00 00 00 64");
  CHECK(client.said() == Lines{"DISCONNECT 82", "closed"});
  CHECK(broker.core().sessions().count() == 1);  // the watcher's
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
}

TEST_CASE_METHOD(WillTest, "a DISCONNECT that is no good closes the connection as malformed",
                 "[session][MQTT-3.14.1-1][MQTT-4.13.1-1][MQTT311-3.14.1-1][MQTT311-2.2.2-2]") {
  TestClient five(broker), three(broker, V311), reason(broker);
  CHECK(five.accepted(connect_as("a")).raw("e1 00").said() == Lines{"DISCONNECT 81", "closed"});
  CHECK(three.accepted(connect_as("b")).raw("e1 00").said() == Lines{"closed"});
  CHECK(reason.accepted(connect_as("c")).raw("e0 01 01").said() == Lines{"DISCONNECT 82", "closed"});
}

// --- whether it may be published

namespace {

// Answers about connecting at once, and about publishing as it is told to.
class WillAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion&) noexcept override { return Verdict::Allow; }
  Verdict act(const ActionQuestion& question) noexcept override {
    asked.push_back(question.ticket);
    questions.push_back(std::string(question.client_id) + ' ' + std::string(question.user_name) + ' ' +
                        std::string(question.topic) + (question.retain ? " retain" : ""));
    return acts;
  }
  Verdict acts = Verdict::Pending;
  std::vector<AccessTicket> asked;
  std::vector<std::string> questions;
};

}  // namespace

TEST_CASE("a client is let in with a will that it may publish, and not with another", "[session]") {
  for (const uint32_t shard_count : {1u, 2u}) {
    WillAccess access;
    TestSetup setup = shards(shard_count);
    setup.access = &access;
    setup.policy.rewrites.add(0, TopicRewrites::kPublish, "last/+", "will/$1/${user_name}");
    TestBroker broker(setup);
    const std::string client_id = broker.client_id_at(shard_count - 1);  // it moves first
    codec::ConnectView connect = with_will(connect_as(client_id), "last/words", "gone", kQos0, true);
    connect.user_name = "u";
    TestClient client(broker), other(broker), impatient(broker), old(broker, V311);
    client.connect(connect).ping();
    CHECK(client.said() == Lines{});
    REQUIRE(access.questions == std::vector<std::string>{client_id + " u will/words/u retain"});
    broker.answer(access.asked[0], Verdict::Allow);
    CHECK(client.said() == Lines{"CONNACK 00", "PINGRESP"});

    other.connect(connect);
    broker.answer(access.asked.back(), Verdict::Deny);
    const std::vector<std::byte> denied = other.said_bytes();
    CHECK(describe(denied, V5) == Lines{"CONNACK 87"});
    CHECK(reason_strings(denied)[0] == to_text(Detail::WillDenied));
    CHECK(other.closed());
    CHECK(client.ping().said() == Lines{"PINGRESP"});  // nothing was taken over
    old.connect(connect);
    broker.answer(access.asked.back(), Verdict::Deny);
    CHECK(old.said() == Lines{"CONNACK 87", "closed"});
    impatient.connect(connect);
    broker.advance_s(11);
    CHECK(impatient.said() == Lines{"CONNACK 87", "closed"});  // no answer in time

    access.acts = Verdict::Allow;
    TestClient watcher(broker);
    watcher.accepted(connect_as("watcher")).subscribed("#", kQos0);
    client.drop();
    CHECK(watcher.said() == Lines{"PUBLISH will/words/u 'gone'"});
  }
}

}  // namespace mqttq
