// PUBLISH from a client (MQTT5 3.3): judged, routed once, answered, and what of it reaches subscribers.
#include <catch2/catch_test_macros.hpp>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;

class TestAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion&) noexcept override { return Verdict::Allow; }
  Verdict act(const ActionQuestion& question) noexcept override {
    asked.push_back(question.ticket);
    topics.emplace_back(question.topic);
    return acts;
  }
  Verdict acts = Verdict::Deny;
  std::vector<AccessTicket> asked;
  std::vector<std::string> topics;
};

}  // namespace

TEST_CASE("each QoS has its answer, and the answer the identifier of its PUBLISH",
          "[session][MQTT-3.3.4-1][MQTT-4.3.2-4][MQTT-4.3.3-8][MQTT-4.3.3-11][MQTT-2.2.1-5]"
          "[MQTT311-3.3.4-1][MQTT311-4.3.2-2][MQTT311-4.3.3-2][MQTT311-2.3.1-6]") {
  TestBroker broker;
  TestClient listener(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(connect_as("a"));
    CHECK(client.publish("t", "0").said() == Lines{});
    CHECK(client.publish("t", "1", kQos1, 0xABCD).said() == Lines{"PUBACK #43981"});
    CHECK(client.publish("t", "2", kQos2, 65'535).said() == Lines{"PUBREC #65535"});
    CHECK(client.ack(PacketType::Pubrel, 65'535).said() == Lines{"PUBCOMP #65535"});
    CHECK(listener.said() == Lines{"PUBLISH t '0'", "PUBLISH t '1'", "PUBLISH t '2'"});
  }
}

TEST_CASE("a publish that nobody takes is told so in 5, and not in 3.1.1", "[session][MQTT-3.4.2-1][MQTT-3.5.2-1]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311);
  five.accepted(connect_as("a"));
  CHECK(five.publish("t", "1", kQos1, 1).said() == Lines{"PUBACK #1 10"});
  CHECK(five.publish("t", "2", kQos2, 2).said() == Lines{"PUBREC #2 10"});
  CHECK(five.ack(PacketType::Pubrel, 2).said() == Lines{"PUBCOMP #2"});
  CHECK(five.publish("t", "2", kQos1, 1, true).said() == Lines{"PUBACK #1"});  // retained: the store took it
  three.accepted(connect_as("b"));
  CHECK(three.publish("u", "1", kQos1, 1).said() == Lines{"PUBACK #1"});
  CHECK(three.publish("u", "2", kQos2, 2).said() == Lines{"PUBREC #2"});
}

TEST_CASE("a repeated QoS 2 PUBLISH is answered again and delivered once",
          "[session][MQTT-4.3.3-10][MQTT-4.3.3-12][MQTT311-4.3.3-2]") {
  TestBroker broker;
  TestClient listener(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(connect_as("a"));
    CHECK(client.publish("t", "x", kQos2, 7).said() == Lines{"PUBREC #7"});
    CHECK(client.publish("t", "x", kQos2, 7, false, true).said() == Lines{"PUBREC #7"});
    CHECK(client.publish("t", "x", kQos2, 7).said() == Lines{"PUBREC #7"});
    CHECK(client.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7"});
    CHECK(listener.said() == Lines{"PUBLISH t 'x'"});
    // After PUBCOMP the identifier means a new message, whatever DUP says.
    CHECK(client.publish("t", "y", kQos2, 7, false, true).said() == Lines{"PUBREC #7"});
    CHECK(client.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7"});
    CHECK(listener.said() == Lines{"PUBLISH t 'y'"});
  }
}

TEST_CASE("a QoS 2 receipt outlives the connection, and a repeat after it is no second message",
          "[session][MQTT-4.3.3-10][MQTT-4.3.3-13]") {
  TestBroker broker;
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  client.accepted(connect_as("a", true, 100));
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.payload = as_bytes("x");
  publish.qos = kQos2;
  publish.packet_id = 7;
  publish.has_message_expiry = true;
  publish.message_expiry_s = 5;
  client.publish(publish).drop();
  broker.advance_s(10);  // past the message's expiry: the handshake goes on all the same
  TestClient again(broker);
  again.accepted(connect_as("a", false, 100));
  publish.dup = true;
  CHECK(again.publish(publish).said() == Lines{"PUBREC #7"});
  CHECK(again.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7"});
  CHECK(listener.said() == Lines{"PUBLISH t 'x' expiry=5"});
}

TEST_CASE("after PUBACK an identifier means a new message, whatever DUP says",
          "[session][MQTT-4.3.2-5][MQTT311-4.3.2-2]") {
  TestBroker broker;
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  client.accepted(connect_as("a")).publish("t", "x", kQos1, 3).publish("t", "y", kQos1, 3, false, true);
  CHECK(client.said() == Lines{"PUBACK #3", "PUBACK #3"});
  CHECK(listener.said() == Lines{"PUBLISH t 'x'", "PUBLISH t 'y'"});
}

TEST_CASE("DUP of a PUBLISH is not forwarded",
          "[session][MQTT-3.3.1-3][MQTT-4.3.2-2][MQTT-4.3.3-2][MQTT-4.3.1-1]"
          "[MQTT311-3.3.1-3][MQTT311-4.3.1-1][MQTT-3.3.1-2][MQTT311-3.3.1-2]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311), client(broker);
  five.accepted(connect_as("five")).subscribed("t", kQos2);
  three.accepted(connect_as("three")).subscribed("t", kQos2);
  client.accepted(connect_as("a")).publish("t", "x", kQos1, 3, false, true).publish("t", "y", kQos2, 4, false, true);
  client.publish("t", "z");
  CHECK(five.said() == Lines{"PUBLISH t 'x' qos1 #1", "PUBLISH t 'y' qos2 #2", "PUBLISH t 'z'"});
  CHECK(three.said() == Lines{"PUBLISH t 'x' qos1 #1", "PUBLISH t 'y' qos2 #2", "PUBLISH t 'z'"});
}

TEST_CASE("the order of a publisher's messages is kept, and that of its acknowledgements",
          "[session][MQTT-4.6.0-5][MQTT-4.6.0-6][MQTT311-4.6.0-5][MQTT311-4.6.0-6]") {
  TestBroker broker;
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("listener", true, 100)).subscribed("t/+", kQos2).subscribed("u", kQos0);
  client.accepted(connect_as("a"));
  std::vector<std::byte> all;
  Lines expected, answers;
  for (int i = 1; i <= 9; ++i) {
    const std::string digit(1, static_cast<char>('0' + i));
    const auto packet = hex((i % 3 ? "32 08 00 03 't/" : "34 08 00 03 't/") + digit + "' 00 0" + digit + " 00");
    all.insert(all.end(), packet.begin(), packet.end());
    expected.push_back("PUBLISH t/" + digit + " ''" + (i % 3 ? " qos1 #" : " qos2 #") + digit);
    answers.push_back((i % 3 ? "PUBACK #" : "PUBREC #") + digit);
  }
  client.send(all);
  CHECK(client.said() == answers);
  CHECK(listener.said() == expected);
}

// --- refusals

TEST_CASE("a topic name with a wildcard, without a character or with U+0000 is refused",
          "[session][MQTT-3.3.2-1][MQTT-3.3.2-2][MQTT-4.7.0-1][MQTT-4.7.3-1][MQTT-4.7.3-2][MQTT-1.5.4-1][MQTT-1.5.4-2]"
          "[MQTT311-3.3.2-1][MQTT311-3.3.2-2][MQTT311-4.7.1-1][MQTT311-4.7.3-1][MQTT311-4.7.3-2][MQTT311-1.5.3-1]"
          "[MQTT311-1.5.3-2][MQTT311-4.8.0-1]") {
  TestBroker broker;
  TestClient listener(broker);
  listener.accepted(connect_as("listener")).subscribed("#", kQos0);
  const auto said_to = [&](std::string_view packet, ProtocolVersion version) {
    TestClient client(broker, version);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  CHECK(said_to("30 06 00 03 'a/+' 00", V5) == Lines{"DISCONNECT 90", "closed"});
  CHECK(said_to("30 06 00 03 'a/#' 00", V5) == Lines{"DISCONNECT 90", "closed"});
  CHECK(said_to("30 04 00 01 '+' 00", V5) == Lines{"DISCONNECT 90", "closed"});
  CHECK(said_to("30 03 00 00 00", V5) == Lines{"DISCONNECT 82", "closed"});
  CHECK(said_to("30 05 00 02 'a' 00 00", V5) == Lines{"DISCONNECT 81", "closed"});
  CHECK(said_to("30 05 00 02 c3 28 00", V5) == Lines{"DISCONNECT 81", "closed"});
  CHECK(said_to("30 06 00 03 ed a0 80 00", V5) == Lines{"DISCONNECT 81", "closed"});
  CHECK(said_to("30 05 00 03 'a/+'", V311) == Lines{"closed"});
  CHECK(said_to("30 02 00 00", V311) == Lines{"closed"});
  CHECK(said_to("30 04 00 02 'a' 00", V311) == Lines{"closed"});
  CHECK(said_to("30 05 00 03 ed a0 80", V311) == Lines{"closed"});
  CHECK(listener.said() == Lines{});
}

TEST_CASE("a PUBLISH whose header contradicts itself ends the connection",
          "[session][MQTT-3.3.1-2][MQTT-3.3.1-4][MQTT-2.2.1-3][MQTT-2.2.2-1][MQTT-4.13.1-1]"
          "[MQTT311-3.3.1-2][MQTT311-3.3.1-4][MQTT311-2.3.1-1]") {
  TestBroker broker;
  const auto said_to = [&](std::string_view packet, ProtocolVersion version) {
    TestClient client(broker, version);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  CHECK(said_to("38 04 00 01 't' 00", V5) == Lines{"DISCONNECT 81", "closed"});        // DUP at QoS 0
  CHECK(said_to("36 06 00 01 't' 00 01 00", V5) == Lines{"DISCONNECT 81", "closed"});  // QoS 3
  CHECK(said_to("32 06 00 01 't' 00 00 00", V5) == Lines{"DISCONNECT 82", "closed"});  // identifier 0
  CHECK(said_to("30 03 00 01 't'", V5) == Lines{"DISCONNECT 81", "closed"});           // no property length
  CHECK(said_to("38 03 00 01 't'", V311) == Lines{"closed"});
  CHECK(said_to("36 05 00 01 't' 00 01", V311) == Lines{"closed"});
  CHECK(said_to("34 05 00 01 't' 00 00", V311) == Lines{"closed"});
}

TEST_CASE("a PUBLISH of a client has no subscription identifier", "[session][MQTT-3.3.4-6]") {
  TestBroker broker;
  TestClient client(broker);
  CHECK(client.accepted(connect_as("a")).raw("30 06 00 01 't' 02 0b 01").said() == Lines{"DISCONNECT 82", "closed"});
}

TEST_CASE("more unanswered publishes than the Receive Maximum end the connection", "[session][MQTT-3.3.4-7]") {
  TestSetup setup;
  setup.limits.receive_maximum = 3;
  TestBroker broker(setup);
  TestClient client(broker), good(broker);
  client.accepted(connect_as("a"));
  for (uint16_t id = 1; id <= 3; ++id) client.publish("t", "x", kQos2, id);
  CHECK(client.said() == Lines{"PUBREC #1 10", "PUBREC #2 10", "PUBREC #3 10"});
  CHECK(client.publish("t", "x").said() == Lines{});                                    // QoS 0 does not count
  CHECK(client.publish("t", "x", kQos2, 2, false, true).said() == Lines{"PUBREC #2"});  // nor does a repeat
  CHECK(client.ack(PacketType::Pubrel, 1).said() == Lines{"PUBCOMP #1"});
  CHECK(client.publish("t", "x", kQos1, 4).said() == Lines{"PUBACK #4 10"});
  CHECK(client.publish("t", "x", kQos2, 1).said() == Lines{"PUBREC #1 10"});
  CHECK(client.publish("t", "x", kQos1, 4).said() == Lines{"DISCONNECT 93", "closed"});
  good.accepted(connect_as("b"));
  for (uint16_t id = 1; id <= 100; ++id) good.publish("t", "x", kQos1, id);
  CHECK_FALSE(good.closed());
}

TEST_CASE("a publish to `$SYS` or without permission is refused in 5, and answered and dropped in 3.1.1",
          "[session][MQTT-3.4.2-1][MQTT-3.5.2-1][MQTT-4.3.3-9][MQTT311-3.3.5-2]") {
  TestBroker broker;
  TestClient listener(broker), five(broker), three(broker, V311);
  listener.accepted(connect_as("listener")).subscribed("$SYS/#", kQos0);
  five.accepted(connect_as("a"));
  three.accepted(connect_as("b"));
  CHECK(five.publish("$SYS/x", "x").said() == Lines{});
  CHECK(five.publish("$SYS/x", "x", kQos1, 1).said() == Lines{"PUBACK #1 87"});
  CHECK(five.publish("$SYS/x", "x", kQos2, 2).said() == Lines{"PUBREC #2 87"});
  CHECK(five.publish("$SYS/x", "x", kQos2, 2).said() == Lines{"PUBREC #2 87"});  // the identifier was free again
  CHECK(three.publish("$SYS/x", "x", kQos1, 1).said() == Lines{"PUBACK #1"});
  CHECK(three.publish("$SYS/x", "x", kQos2, 2).said() == Lines{"PUBREC #2"});
  CHECK(three.ack(PacketType::Pubrel, 2).said() == Lines{"PUBCOMP #2"});
  CHECK(listener.said() == Lines{});
  CHECK(broker.counter(&Counters::publishes_refused) >= 5);
}

TEST_CASE("only `$SYS` and what lies below it is the broker's own", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a")).subscribed("$SYSTEM/x", kQos0);
  CHECK(client.publish("$SYSTEM/x", "1", kQos1, 1).said() == Lines{"PUBLISH $SYSTEM/x '1'", "PUBACK #1"});
  CHECK(client.publish("$SYS", "1", kQos1, 1).said() == Lines{"PUBACK #1 87"});
  CHECK(broker.counter(&Counters::publishes_refused) == 1);
}

TEST_CASE("an identifier that is still open is refused, and the first message answered as if nothing had been",
          "[session][MQTT-2.2.1-3]") {
  TestBroker broker;
  TestClient sleeper(broker), listener(broker);
  sleeper.accepted(connect_as("sleeper", true, 100)).subscribed("t", kQos2);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  broker.log().held = true;
  TestClient five(broker), three(broker, V311);
  five.accepted(connect_as("five"));
  three.accepted(connect_as("three"));
  five.publish("t", "1", kQos1, 7).publish("t", "2", kQos1, 7).publish("t", "3", kQos2, 7).publish("t", "4", kQos1, 6);
  three.publish("t", "5", kQos1, 7).publish("t", "5", kQos1, 7, false, true).publish("t", "6", kQos1, 7);
  broker.log().held = false;
  broker.wake(1);
  broker.settle();
  CHECK(five.said() == Lines{"PUBACK #7", "PUBACK #7 91", "PUBREC #7 91", "PUBACK #6"});
  CHECK(three.said() == Lines{"PUBACK #7", "closed"});
  CHECK(listener.said() == Lines{"PUBLISH t '1'", "PUBLISH t '4'", "PUBLISH t '5'"});
  // A QoS 2 message that is not released holds its identifier too.
  CHECK(five.publish("t", "7", kQos2, 7).publish("t", "8", kQos1, 7).said() == Lines{"PUBREC #7", "PUBACK #7 91"});
  CHECK(five.ack(PacketType::Pubrel, 7).publish("t", "9", kQos1, 7).said() == Lines{"PUBCOMP #7", "PUBACK #7"});
}

// Nothing would answer it: the PUBREC is the other's.
TEST_CASE("in 3.1.1 a QoS 1 publish with DUP does not repeat the QoS 2 publish that holds its identifier",
          "[session]") {
  TestBroker broker;
  TestClient listener(broker), client(broker, V311);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  client.accepted(connect_as("a"));
  CHECK(client.publish("t", "1", kQos2, 7).publish("t", "2", kQos1, 7, false, true).said() ==
        Lines{"PUBREC #7", "closed"});
  CHECK(listener.said() == Lines{"PUBLISH t '1'"});
}

TEST_CASE("what was refused for its identifier touches nothing of a later publish of the same",
          "[session][MQTT-4.3.3-10]") {
  TestBroker broker;
  TestClient sleeper(broker), listener(broker), client(broker), again(broker);
  sleeper.accepted(connect_as("sleeper", true, 100)).subscribed("t", kQos2);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  broker.log().held = true;
  client.accepted(connect_as("a", true, 100)).publish("t", "1", kQos1, 7).publish("t", "2", kQos2, 7).drop();
  again.accepted(connect_as("a", false, 100)).publish("t", "3", kQos2, 7).publish("t", "3", kQos2, 7, false, true);
  broker.log().held = false;
  broker.wake(1);
  broker.settle();
  CHECK(again.said() == Lines{"PUBREC #7"});
  CHECK(again.publish("t", "3", kQos2, 7, false, true).said() == Lines{"PUBREC #7"});
  CHECK(again.ack(PacketType::Pubrel, 7).said() == Lines{"PUBCOMP #7"});
  CHECK(listener.said() == Lines{"PUBLISH t '1'", "PUBLISH t '3'"});
}

TEST_CASE("a topic alias counts when it came with a repeat", "[session][MQTT-3.3.2-12]") {
  TestBroker broker;
  TestClient listener(broker), client(broker), again(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.qos = kQos2;
  publish.packet_id = 7;
  client.accepted(connect_as("a", true, 100)).publish(publish).drop();
  publish.dup = true;
  publish.topic_alias = 1;
  again.accepted(connect_as("a", false, 100)).publish(publish);
  publish = {};
  publish.topic_alias = 1;
  publish.payload = as_bytes("x");
  CHECK(again.publish(publish).said() == Lines{"PUBREC #7"});
  CHECK(listener.said() == Lines{"PUBLISH t ''", "PUBLISH t 'x'"});
}

TEST_CASE("a publish waits for the host's permission, which is asked once for a topic", "[session]") {
  TestAccess access;
  access.acts = Verdict::Pending;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("a")).raw("32 07 00 01 't' 00 01 00 'x'  c0 00");
  CHECK(client.said() == Lines{});
  CHECK(client.link().paused);
  REQUIRE(access.asked.size() == 1);
  broker.answer(access.asked[0], Verdict::Allow);
  CHECK(client.said() == Lines{"PUBACK #1 10", "PINGRESP"});
  CHECK(client.publish("t", "y", kQos1, 2).said() == Lines{"PUBACK #2 10"});
  CHECK(access.topics == std::vector<std::string>{"t"});
  client.publish("u", "y", kQos1, 3);
  broker.answer(access.asked[1], Verdict::Deny);
  CHECK(client.said() == Lines{"PUBACK #3 87"});
}

TEST_CASE("who asks for problem information is told why in words, and nobody else",
          "[session][MQTT-3.1.2-29][MQTT-3.4.2-1][MQTT-3.9.2-1]") {
  TestSetup setup;
  setup.limits.retained_messages_max = 1;
  setup.limits.subscriptions_max = 1;
  TestBroker broker(setup);
  for (const bool asks : {true, false}) {
    TestClient client(broker);
    codec::ConnectView connect = connect_as("a");
    connect.request_problem_information = asks;
    client.accepted(connect).publish("$SYS/x", "x", kQos1, 1).publish("$SYS/x", "x", kQos2, 2);
    client.publish("one", "x", kQos1, 3, true).publish("two", "x", kQos1, 4, true);
    client.subscribe(5, {{"a", kQos1}, {"b", kQos1}, {"c/#d", kQos1}}).unsubscribe(6, {"none"});
    client.ack(PacketType::Pubrel, 9).raw("30 04 00 01 '+' 00");
    const std::vector<std::byte> said = client.said_bytes();
    CHECK(describe(said, V5) == Lines{"PUBACK #1 87", "PUBREC #2 87", "PUBACK #3", "PUBACK #4 97", "SUBACK #5 01 97 8f",
                                      "UNSUBACK #6 11", "PUBCOMP #9 92", "DISCONNECT 90"});
    const Lines texts = reason_strings(said);
    REQUIRE(texts.size() == 8);
    const std::vector<Detail> why = {Detail::SysTopic,          Detail::SysTopic, Detail::None, Detail::RetainedFull,
                                     Detail::SubscriptionsFull, Detail::None,     Detail::None, Detail::NotATopicName};
    for (size_t k = 0; k < why.size(); ++k) CHECK(texts[k] == (asks ? to_text(why[k]) : std::string_view()));
  }
}

TEST_CASE("a reason string is left out where it would not fit",
          "[session][MQTT-3.4.2-2][MQTT-3.5.2-2][MQTT-3.9.2-1][MQTT-3.14.2-3][MQTT-3.1.2-24]") {
  const std::string_view text = to_text(Detail::SysTopic);
  for (const uint32_t size :
       {40u, static_cast<uint32_t>(5 + 1 + 3 + text.size()) - 1, static_cast<uint32_t>(5 + 1 + 3 + text.size())}) {
    TestBroker broker;
    TestClient client(broker);
    codec::ConnectView connect = connect_as("a");
    connect.maximum_packet_size = size;
    client.accepted(connect).publish("$SYS/x", "x", kQos1, 1).publish("$SYS/x", "x", kQos2, 2);
    client.subscribe(3, {{"b#"}}).raw("30 04 00 01 '+' 00");
    const std::vector<std::byte> said = client.said_bytes();
    CHECK(describe(said, V5) == Lines{"PUBACK #1 87", "PUBREC #2 87", "SUBACK #3 8f", "DISCONNECT 90"});
    const Lines texts = reason_strings(said);
    const bool fits = size == 5 + 1 + 3 + text.size();
    CHECK(texts[0] == (fits ? text : std::string_view()));
    CHECK(texts[1] == texts[0]);
    CHECK(texts[2].empty());
    CHECK(texts[3].empty());
  }
}

TEST_CASE("an answer that waits for another keeps its words", "[session]") {
  TestBroker broker;
  broker.log().held = true;
  TestClient durable(broker), client(broker);
  durable.accepted(connect_as("d", true, 100)).subscribed("t", kQos1);
  client.accepted(connect_as("a")).publish("t", "x", kQos1, 1).publish("$SYS/x", "x", kQos1, 2);
  CHECK(client.said() == Lines{});
  broker.log().held = false;
  broker.wake(1);
  broker.settle();
  const std::vector<std::byte> said = client.said_bytes();
  CHECK(describe(said, V5) == Lines{"PUBACK #1", "PUBACK #2 87"});
  CHECK(reason_strings(said) == Lines{"", std::string(to_text(Detail::SysTopic))});
}

// --- rewritten and delayed

TEST_CASE("a topic is rewritten first, and authorised, retained and routed as what it is then", "[session]") {
  TestAccess access;
  access.acts = Verdict::Allow;
  TestSetup setup;
  setup.access = &access;
  setup.policy.rewrites.add(0, TopicRewrites::kPublish, "old/+/#", "new/$2/${client_id}/$1");
  setup.policy.rewrites.add(0, TopicRewrites::kPublish, "deep/#", "x/x/x/x/$1");
  setup.limits.topic_levels_max = 4;
  TestBroker broker(setup);
  TestClient listener(broker), client(broker), late(broker), other(broker);
  listener.accepted(connect_as("listener")).subscribed("#", kQos1);
  client.accepted(connect_as("c"));
  access.topics.clear();
  client.publish("old/1/2", "x", kQos1, 1, true).publish("$delayed/0/old/3/4", "y", kQos1, 2).publish("new/old", "z");
  CHECK(client.said() == Lines{"PUBACK #1", "PUBACK #2"});
  CHECK(access.topics == std::vector<std::string>{"new/2/c/1", "new/4/c/3", "new/old"});
  CHECK(listener.said() ==
        Lines{"PUBLISH new/2/c/1 'x' qos1 #1", "PUBLISH new/4/c/3 'y' qos1 #2", "PUBLISH new/old 'z'"});
  late.accepted(connect_as("late")).subscribe(1, {{"#", kQos1}});
  CHECK(late.said() == Lines{"SUBACK #1 01", "PUBLISH new/2/c/1 'x' qos1 #1 retain"});
  // An alias stands for what the client named.
  client.raw("30 0d 00 07 'old/1/2' 03 23 00 01").raw("30 06 00 00 03 23 00 01");
  CHECK(listener.said() == Lines{"PUBLISH new/2/c/1 ''", "PUBLISH new/2/c/1 ''"});
  const std::vector<std::byte> deep = client.publish("deep/a", "x").said_bytes();
  CHECK(describe(deep, V5) == Lines{"DISCONNECT 90"});
  CHECK(reason_strings(deep)[0] == to_text(Detail::TopicTooDeep));
  other.accepted(connect_as("a/b"));
  const std::vector<std::byte> unfit = other.publish("old/1/2", "x").said_bytes();
  CHECK(describe(unfit, V5) == Lines{"DISCONNECT 90"});
  CHECK(reason_strings(unfit)[0] == to_text(Detail::RewriteImpossible));
  CHECK(listener.said() == Lines{});
}

TEST_CASE("the size of a topic is that of the one it means", "[session]") {
  TestSetup setup;
  setup.limits.topic_size_max = 10;
  setup.policy.rewrites.add(0, TopicRewrites::kPublish, "longer/#", "$1");
  setup.policy.rewrites.add(0, TopicRewrites::kPublish, "up/#", "1234567/$1");
  TestBroker broker(setup);
  const auto said_to = [&](const char* topic) {
    TestClient client(broker);
    return client.accepted(connect_as("c")).publish(topic, "x", kQos1, 1).said()[0];
  };
  CHECK(said_to("longer/123456789") == "PUBACK #1 10");
  CHECK(said_to("$delayed/1/1234567890") == "PUBACK #1");
  CHECK(said_to("$delayed/1/longer/1234567890") == "PUBACK #1");
  for (const char* wrong : {"12345678901", "up/xyz", "$delayed/1/12345678901", "longer/12345678901"}) {
    CHECK(said_to(wrong) == "DISCONNECT 90");
  }
  for (const char* topic : {"longer/a", "longer/12345678901"}) {  // as a will
    TestClient client(broker);
    client.connect(with_will(connect_as("c"), topic, "x"));
    CHECK(client.said()[0] == (topic == std::string_view("longer/a") ? "CONNACK 00" : "CONNACK 90"));
  }
}

TEST_CASE("a delayed message is answered at once, and published when its time has come", "[session]") {
  for (const uint32_t shard_count : {1u, 2u}) {
    TestBroker broker(shards(shard_count));
    for (const ProtocolVersion version : {V311, V5}) {
      TestClient listener(broker), client(broker, version), late(broker);
      listener.accepted(connect_as("listener")).subscribed("#", kQos2);
      client.accepted(connect_as(broker.client_id_at(shard_count - 1)));
      client.publish("$delayed/10/a", "0").publish("$delayed/10/a", "1", kQos1, 1, true);
      client.publish("$delayed/10/a", "2", kQos2, 2).ack(PacketType::Pubrel, 2);
      client.publish("$delayed/5/b", "first", kQos1, 3).publish("$delayed/0/c", "now", kQos1, 4);
      CHECK(client.said() == Lines{"PUBACK #1", "PUBREC #2", "PUBCOMP #2", "PUBACK #3", "PUBACK #4"});
      client.disconnect();  // it need not stay
      CHECK(listener.said() == Lines{"PUBLISH c 'now' qos1 #1"});
      broker.advance_ms(4'900);
      CHECK(listener.said() == Lines{});
      broker.advance_ms(200);
      CHECK(listener.said() == Lines{"PUBLISH b 'first' qos1 #2"});
      late.accepted(connect_as("late")).subscribed("a", kQos1);
      CHECK(late.said() == Lines{});  // it is retained when it is published
      broker.advance_s(5);
      CHECK(listener.said() == Lines{"PUBLISH a '0'", "PUBLISH a '1' qos1 #3", "PUBLISH a '2' qos2 #4"});
      TestClient later(broker);
      later.accepted(connect_as("later")).subscribe(1, {{"a", kQos1}});
      CHECK(later.said() == Lines{"SUBACK #1 01", "PUBLISH a '1' qos1 #1 retain"});
      later.publish("a", "", kQos0, 0, true);
    }
  }
}

TEST_CASE("a delayed message expires so long after it is published", "[session]") {
  TestBroker broker;
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("listener")).subscribed("a", kQos1);
  client.accepted(connect_as("c"));
  codec::PublishView publish;
  publish.topic_name = "$delayed/10/a";
  publish.has_message_expiry = true;
  publish.message_expiry_s = 5;
  client.publish(publish);
  broker.advance_s(11);
  CHECK(listener.said() == Lines{"PUBLISH a '' expiry=4"});
}

TEST_CASE("what is delayed needs the permission for the topic it is going to have", "[session]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("c")).publish("$delayed/10/secret", "x", kQos1, 1);
  CHECK(access.topics == std::vector<std::string>{"secret"});
  CHECK(client.publish("$delayed/10/$SYS/broker/x", "x", kQos1, 2).said() == Lines{"PUBACK #1 87", "PUBACK #2 87"});
  CHECK(broker.core().delayed().count() == 0);
}

TEST_CASE("a delay that is none, or too long, ends the connection like any topic name that is none", "[session]") {
  TestSetup setup;
  setup.limits.delay_max_s = 100;
  setup.policy.unix_offset_ms = 1'700'000'000'000 - 1'000'000;  // the test's clock begins at 1000 s
  TestBroker broker(setup);
  const auto said_to = [&](const char* topic) {
    TestClient client(broker);
    const std::vector<std::byte> said = client.accepted(connect_as("c")).publish(topic, "x", kQos1, 1).said_bytes();
    return describe(said, V5)[0] + ' ' + reason_strings(said)[0];
  };
  const std::string no_delay = "DISCONNECT 90 " + std::string(to_text(Detail::DelayNotUnderstood));
  const std::string too_long = "DISCONNECT 90 " + std::string(to_text(Detail::DelayTooLong));
  for (const char* topic : {"$delayed/x/a", "$delayed/-1/a", "$delayed/5", "$delayed/5/", "$delayed/1/$delayed/1/a"}) {
    CHECK(said_to(topic) == no_delay);
  }
  for (const char* topic : {"$delayed/101/a", "$delayed/42949669/a", "$delayed/1700000101/a"}) {
    CHECK(said_to(topic) == too_long);
  }
  CHECK(said_to("$delayed/5/a/+") == "DISCONNECT 90 " + std::string(to_text(Detail::NotATopicName)));
  CHECK(said_to("$delayed/100/a") == "PUBACK #1 ");
  CHECK(said_to("$delayed/1700000100/a") == "PUBACK #1 ");
  CHECK(broker.core().delayed().count() == 2);
  broker.advance_s(101);
  CHECK(broker.core().delayed().count() == 0);
}

TEST_CASE("messages for one Unix time leave in the order in which they came", "[session][MQTT-4.6.0-6]") {
  TestSetup setup;
  setup.policy.unix_offset_ms = 1'700'000'000'000 - 1'000'000;
  TestBroker broker(setup);
  TestClient listener(broker), client(broker);
  listener.accepted(connect_as("listener")).subscribed("a", kQos0);
  client.accepted(connect_as("c"));
  Lines expected;
  for (char digit = '0'; digit <= '9'; ++digit) {
    client.publish("$delayed/1700000003/a", std::string(1, digit));
    broker.advance_ms(7);
    expected.push_back(std::string("PUBLISH a '") + digit + "'");
  }
  broker.advance_s(4);
  CHECK(listener.said() == expected);
}

TEST_CASE("over its bounds a delayed message is refused, and what is there stays", "[session]") {
  TestSetup setup;
  setup.limits.delayed_messages_max = 1;
  TestBroker broker(setup);
  TestClient listener(broker), client(broker), old(broker, V311);
  listener.accepted(connect_as("listener")).subscribed("#", kQos1);
  client.accepted(connect_as("c")).publish("$delayed/9/a", "1", kQos1, 1).publish("$delayed/9/a", "2", kQos1, 2);
  client.publish("$delayed/9/a", "3", kQos2, 2).publish("$delayed/9/a", "4");
  CHECK(client.said() == Lines{"PUBACK #1", "PUBACK #2 97", "PUBREC #2 97"});
  CHECK(broker.counter(&Counters::publishes_refused) == 3);
  old.accepted(connect_as("old")).publish("$delayed/9/a", "5", kQos1, 1);
  CHECK(old.said() == Lines{"closed"});  // 3.x cannot be told
  broker.advance_s(10);
  CHECK(listener.said() == Lines{"PUBLISH a '1' qos1 #1"});
  CHECK(client.publish("$delayed/9/a", "6", kQos2, 2).said() == Lines{"PUBREC #2"});
}

// --- topic aliases

TEST_CASE("a topic alias stands for its topic until the connection ends", "[session][MQTT-3.3.2-7][MQTT-3.3.2-12]") {
  TestSetup setup;
  setup.limits.topic_alias_maximum = 3;
  TestBroker broker(setup);
  TestClient listener(broker), client(broker), again(broker);
  listener.accepted(connect_as("listener")).subscribed("#", kQos0);
  client.accepted(connect_as("a", true, 100));
  for (const char* alias : {"1", "2", "3"}) {
    const std::string digit = alias;
    client.raw("30 08 00 01 '" + digit + "' 03 23 00 0" + digit + " 'x'");
    client.raw("30 07 00 00 03 23 00 0" + digit + " 'y'");
    CHECK(listener.said() == Lines{"PUBLISH " + digit + " 'x'", "PUBLISH " + digit + " 'y'"});
  }
  client.raw("30 08 00 01 'z' 03 23 00 02 'x'").raw("30 07 00 00 03 23 00 02 'y'");  // given to another
  CHECK(listener.said() == Lines{"PUBLISH z 'x'", "PUBLISH z 'y'"});
  client.drop();
  again.connect(connect_as("a", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present"});
  CHECK(again.raw("30 07 00 00 03 23 00 02 'y'").said() == Lines{"DISCONNECT 82", "closed"});
  CHECK(listener.said() == Lines{});
}

TEST_CASE("a topic alias of 0, above the maximum, or of no topic ends the connection",
          "[session][MQTT-3.3.2-8][MQTT-3.3.2-9][MQTT-3.2.2-17][MQTT-3.2.2-18]") {
  TestSetup setup;
  setup.limits.topic_alias_maximum = 3;
  TestBroker broker(setup);
  setup.limits.topic_alias_maximum = 0;
  TestBroker without(setup);
  const auto said_to = [&](TestBroker& by, std::string_view packet) {
    TestClient client(by);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  CHECK(said_to(broker, "30 08 00 01 't' 03 23 00 00 'x'") == Lines{"DISCONNECT 94", "closed"});
  CHECK(said_to(broker, "30 08 00 01 't' 03 23 00 04 'x'") == Lines{"DISCONNECT 94", "closed"});
  CHECK(said_to(broker, "30 07 00 00 03 23 00 01 'x'") == Lines{"DISCONNECT 82", "closed"});
  CHECK(said_to(without, "30 08 00 01 't' 03 23 00 01 'x'") == Lines{"DISCONNECT 94", "closed"});
}

TEST_CASE("a topic that repeats is sent as an alias to a client that takes aliases",
          "[session][MQTT-3.1.2-26][MQTT-3.1.2-27][MQTT-3.3.2-11]") {
  TestBroker broker;
  TestClient none(broker), some(broker), publisher(broker);
  codec::ConnectView connect = connect_as("some");
  connect.topic_alias_maximum = 1;
  some.accepted(connect).subscribed("#", kQos1, 7);
  none.accepted(connect_as("none")).subscribed("#", kQos0);
  publisher.accepted(connect_as("p"));
  // The publisher's alias is its own affair.
  publisher.raw("30 0c 00 05 'topic' 03 23 00 09 '1'")
      .raw("30 07 00 00 03 23 00 09 '2'")
      .publish("topic", "3", kQos1, 1);
  CHECK(none.said() == Lines{"PUBLISH topic '1'", "PUBLISH topic '2'", "PUBLISH topic '3'"});
  CHECK(some.said() ==
        Lines{"PUBLISH topic '1' sub=7", "PUBLISH topic '2' sub=7 alias=1", "PUBLISH  '3' qos1 #1 sub=7 alias=1"});
  // Another topic takes the alias over when it repeats, and short ones gain nothing.
  for (int i = 0; i < 3; ++i) publisher.publish("other", "4");
  for (int i = 0; i < 3; ++i) publisher.publish("t", "5");
  publisher.publish("topic", "6").publish("other", "7").publish("topic", "8");
  CHECK(some.said() == Lines{"PUBLISH other '4' sub=7", "PUBLISH other '4' sub=7 alias=1", "PUBLISH  '4' sub=7 alias=1",
                             "PUBLISH t '5' sub=7", "PUBLISH t '5' sub=7", "PUBLISH t '5' sub=7",
                             "PUBLISH topic '6' sub=7", "PUBLISH  '7' sub=7 alias=1",
                             "PUBLISH topic '8' sub=7 alias=1"});
}

TEST_CASE("aliases end with their connection, and what is sent again has one of the new", "[session][MQTT-3.3.2-7]") {
  TestBroker broker;
  TestClient client(broker), again(broker), publisher(broker);
  codec::ConnectView connect = connect_as("a", true, 100);
  connect.topic_alias_maximum = 9;
  client.accepted(connect).subscribed("topic", kQos1);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 3; ++id) publisher.publish("topic", std::to_string(id), kQos1, id);
  CHECK(client.said().size() == 3);
  client.drop();
  connect.clean_start = false;
  again.connect(connect);
  Lines lines = again.said();
  REQUIRE(lines.size() == 4);
  CHECK(lines[1] == "PUBLISH topic '1' qos1 #1 dup");
  CHECK(lines[2].starts_with("PUBLISH topic '2' qos1 #2 dup alias="));
  CHECK(lines[3].starts_with("PUBLISH  '3' qos1 #3 dup alias="));
}

TEST_CASE("an alias that came with a message too large for its client is not taken for known", "[session]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  codec::ConnectView connect = connect_as("a");
  connect.topic_alias_maximum = 1;
  connect.maximum_packet_size = 30;
  client.accepted(connect).subscribed("topic", kQos0);
  publisher.accepted(connect_as("p")).publish("topic", "1").publish("topic", std::string(30, 'x'));
  publisher.publish("topic", "2").publish("topic", "3");
  CHECK(client.said() == Lines{"PUBLISH topic '1'", "PUBLISH topic '2' alias=1", "PUBLISH  '3' alias=1"});
  CHECK(broker.counter(&Counters::dropped_too_large) == 1);
}

TEST_CASE("aliases are fewer bytes for all but the first repeat", "[session]") {
  const auto bytes = [](uint16_t maximum) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    codec::ConnectView connect = connect_as("a");
    connect.topic_alias_maximum = maximum;
    client.accepted(connect).subscribed("#", kQos0);
    publisher.accepted(connect_as("p"));
    for (int round = 0; round < 50; ++round) {
      for (int topic = 0; topic < 10; ++topic) {
        publisher.publish("site/building/floor/room/sensor" + std::to_string(topic), std::string(64, 'x'));
      }
    }
    return client.said_bytes().size();
  };
  const size_t without = bytes(0), with = bytes(65'535);
  CHECK(with < without * 80 / 100);  // 101 bytes a message, and 72
}

// --- what reaches subscribers

TEST_CASE("the properties of a message reach subscribers unaltered and in their order",
          "[session][MQTT-3.3.2-4][MQTT-3.3.2-15][MQTT-3.3.2-16][MQTT-3.3.2-17][MQTT-3.3.2-18][MQTT-3.3.2-20]") {
  TestBroker broker;
  TestClient live(broker), durable(broker), three(broker, V311), publisher(broker);
  live.accepted(connect_as("live")).subscribed("t", kQos0);
  durable.accepted(connect_as("durable", true, 100)).subscribed("t", kQos1, 5);
  three.accepted(connect_as("three")).subscribed("t", kQos0);
  const auto properties =
      hex("26 00 01 'z' 00 01 '1' | 03 00 04 'json' | 26 00 01 'a' 00 01 '2' | 08 00 03 're/' | 09 00 02 'id' | 01 01"
          "26 00 01 'z' 00 01 '1'");
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.payload = as_bytes("x");
  publish.qos = kQos1;
  publish.packet_id = 1;
  publish.properties = properties;
  publisher.accepted(connect_as("p")).publish(publish);
  const std::string forwarded = " z:1 type=json a:2 response=re/ correlation=id format=1 z:1";
  CHECK(live.said() == Lines{"PUBLISH t 'x'" + forwarded});
  CHECK(durable.said() == Lines{"PUBLISH t 'x' qos1 #1 sub=5" + forwarded});
  CHECK(three.said() == Lines{"PUBLISH t 'x'"});
  publish.topic_alias = 1;  // which makes them be copied around it
  publish.properties_forwardable = true;
  publisher.publish(publish);
  CHECK(live.said() == Lines{"PUBLISH t 'x'" + forwarded});
}

TEST_CASE("a message's expiry interval shrinks while it waits, and it goes when it has passed",
          "[session][MQTT-3.3.2-5][MQTT-3.3.2-6]") {
  TestBroker broker;
  TestClient live(broker), away(broker), publisher(broker);
  live.accepted(connect_as("live")).subscribed("t", kQos0);
  away.accepted(connect_as("away", true, 100)).subscribed("t", kQos1).disconnect();
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.qos = kQos1;
  publish.packet_id = 1;
  publish.has_message_expiry = true;
  publisher.accepted(connect_as("p"));
  for (const uint32_t expiry_s : {3, 10}) {
    publish.message_expiry_s = expiry_s;
    publish.retain = expiry_s == 10;
    publisher.publish(publish);
  }
  CHECK(live.said() == Lines{"PUBLISH t '' expiry=3", "PUBLISH t '' expiry=10"});
  broker.advance_s(4);
  TestClient back(broker);
  CHECK(back.connect(connect_as("away", false, 100)).said() ==
        Lines{"CONNACK 00 present", "PUBLISH t '' qos1 #1 expiry=6"});
  CHECK(broker.counter(&Counters::dropped_expired) == 1);
}

TEST_CASE("a retained message's expiry interval shrinks too", "[session][MQTT-3.3.2-5][MQTT-3.3.2-6]") {
  TestBroker broker;
  TestClient publisher(broker);
  codec::PublishView publish;
  publish.topic_name = "t";
  publish.payload = as_bytes("x");
  publish.retain = true;
  publish.has_message_expiry = true;
  publish.message_expiry_s = 10;
  publisher.accepted(connect_as("p")).publish(publish);
  broker.advance_ms(3'500);
  TestClient early(broker), late(broker);
  early.accepted(connect_as("early")).subscribe(1, {{"t"}});
  CHECK(early.said() == Lines{"SUBACK #1 00", "PUBLISH t 'x' retain expiry=7"});  // 6.5 s are not yet 6
  broker.advance_ms(6'500);
  late.accepted(connect_as("late")).subscribe(1, {{"t"}});
  CHECK(late.said() == Lines{"SUBACK #1 00"});
}

// --- retained messages

TEST_CASE("a retained message is kept for later subscribers and replaced by the next",
          "[session][MQTT-3.3.1-5][MQTT-3.3.1-8][MQTT311-3.3.1-5][MQTT311-3.3.1-6][MQTT311-3.3.1-7][MQTT311-3.3.1-8]"
          "[MQTT311-3.3.1-12][MQTT311-3.1.2-7]") {
  TestBroker broker;
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient publisher(broker, version);
    publisher.accepted(connect_as("p"));
    const auto kept = [&] {
      TestClient client(broker, version);
      Lines lines = client.accepted(connect_as("s")).subscribe(1, {{"t", kQos2}}).said();
      CHECK(lines.front() == "SUBACK #1 02");
      lines.erase(lines.begin());
      return lines;
    };
    CHECK(kept() == Lines{});
    publisher.publish("t", "1", kQos1, 1, true);
    CHECK(kept() == Lines{"PUBLISH t '1' qos1 #1 retain"});
    publisher.publish("t", "live");  // RETAIN 0 leaves what is kept alone
    CHECK(kept() == Lines{"PUBLISH t '1' qos1 #1 retain"});
    publisher.publish("t", "2", kQos0, 0, true);  // QoS 0 displaces QoS 1
    CHECK(kept() == Lines{"PUBLISH t '2' retain"});
    publisher.disconnect();
    CHECK(kept() == Lines{"PUBLISH t '2' retain"});  // which is no part of its publisher's session
    TestClient(broker).accepted(connect_as("q")).publish("t", "", kQos0, 0, true);
    CHECK(kept() == Lines{});
  }
}

TEST_CASE("an empty retained message is delivered, clears its topic and is not kept",
          "[session][MQTT-3.3.1-6][MQTT-3.3.1-7][MQTT311-3.3.1-10][MQTT311-3.3.1-11]") {
  TestBroker broker;
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient publisher(broker, version), before(broker, version), after(broker, version);
    before.accepted(connect_as("before")).subscribed("t", kQos0);
    publisher.accepted(connect_as("p")).publish("t", "1", kQos0, 0, true).publish("t", "", kQos0, 0, true);
    CHECK(before.said() == Lines{"PUBLISH t '1'", "PUBLISH t ''"});
    CHECK(after.accepted(connect_as("after")).subscribe(1, {{"t"}}).said() == Lines{"SUBACK #1 00"});
  }
}

TEST_CASE("retained messages over their number are refused and routed all the same", "[session]") {
  TestSetup setup;
  setup.limits.retained_messages_max = 1;
  TestBroker broker(setup);
  TestClient listener(broker), five(broker), three(broker, V311);
  listener.accepted(connect_as("listener")).subscribed("#", kQos0);
  five.accepted(connect_as("five"));
  CHECK(five.publish("a", "1", kQos1, 1, true).said() == Lines{"PUBACK #1"});
  CHECK(five.publish("b", "2", kQos1, 2, true).said() == Lines{"PUBACK #2 97"});
  CHECK(five.publish("b", "3", kQos2, 3, true).said() == Lines{"PUBREC #3 97"});
  CHECK(five.publish("a", "4", kQos1, 4, true).said() == Lines{"PUBACK #4"});
  CHECK(listener.said() == Lines{"PUBLISH a '1'", "PUBLISH b '2'", "PUBLISH b '3'", "PUBLISH a '4'"});
  three.accepted(connect_as("three"));
  CHECK(three.publish("b", "5", kQos1, 5, true).said() == Lines{"closed"});  // 3.1.1 has no way to say so
  CHECK(broker.counter(&Counters::retained_set) == 2);
  CHECK(broker.counter(&Counters::retained_refused) == 3);
}

TEST_CASE("a retained message that has expired takes no place", "[session][MQTT-3.3.2-5]") {
  TestSetup setup;
  setup.limits.retained_messages_max = 1;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("client"));
  codec::PublishView publish;
  publish.topic_name = "a";
  publish.payload = as_bytes("1");
  publish.qos = kQos1;
  publish.packet_id = 1;
  publish.retain = true;
  publish.has_message_expiry = true;
  publish.message_expiry_s = 5;
  CHECK(client.publish(publish).said() == Lines{"PUBACK #1"});
  broker.advance_s(4);
  CHECK(client.publish("b", "2", kQos1, 2, true).said() == Lines{"PUBACK #2 97"});
  broker.advance_s(2);
  CHECK(client.publish("b", "3", kQos1, 3, true).said() == Lines{"PUBACK #3"});
  CHECK(broker.counter(&Counters::retained_refused) == 1);
}

TEST_CASE("a message that is not retained is counted where nobody is told", "[session]") {
  for (const uint32_t shard_count : {1u, 3u}) {
    TestSetup setup;
    setup.shard_count = shard_count;
    setup.limits.retained_messages_max = shard_count;  // one for each
    TestBroker broker(setup);
    TestClient client(broker);
    client.accepted(connect_as("client"));
    for (uint32_t i = 0; i < 20; ++i) client.publish("t/" + std::to_string(i), "x", kQos0, 0, true);
    CHECK(client.ping().said() == Lines{"PINGRESP"});
    const uint64_t kept = broker.counter(&Counters::retained_set);
    CHECK(kept == shard_count);
    CHECK(broker.counter(&Counters::retained_refused) == 20 - kept);
  }
}

}  // namespace mqttq
