// CONNECT as the broker acts on it: who is let in, under which name, with which session.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos1 = Qos::AtLeastOnce;

// Denies, allows, or says Pending and remembers what was asked.
class TestAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion& question) noexcept override {
    asked.push_back(question.ticket);
    user_name = question.user_name ? std::string(*question.user_name) : "-";
    client_ids.emplace_back(question.client_id);
    return connects;
  }
  Verdict act(const ActionQuestion&) noexcept override { return Verdict::Allow; }

  Verdict connects = Verdict::Pending;
  std::vector<AccessTicket> asked;
  std::string user_name;
  std::vector<std::string> client_ids;
};

codec::ConnackView connack_of(const std::vector<std::byte>& bytes, ProtocolVersion version) {
  const auto connack = codec::decode_connack(bytes, version);
  REQUIRE(connack.ok());
  return *connack;
}

}  // namespace

TEST_CASE("a connection that does not begin with CONNECT is closed without a word",
          "[session][MQTT-3.1.0-1][MQTT-3.14.0-1][MQTT-3.2.0-1][MQTT311-3.1.0-1][MQTT311-3.2.0-1][MQTT311-4.8.0-1]") {
  TestBroker broker;
  TestClient listener(broker);
  listener.accepted(connect_as("listener")).subscribed("#", Qos::AtMostOnce);
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient ping(broker, version), publish(broker, version), subscribe(broker, version), auth(broker, version);
    CHECK(ping.ping().said() == Lines{"closed"});
    CHECK(publish.publish("a", "x").said() == Lines{"closed"});
    CHECK(subscribe.subscribe(1, {{"a"}}).said() == Lines{"closed"});
    CHECK(auth.raw("f0 00").said() == Lines{"closed"});
  }
  CHECK(listener.said() == Lines{});
}

TEST_CASE("a second CONNECT ends the connection",
          "[session][MQTT-3.1.0-2][MQTT-4.13.1-1][MQTT-4.13.2-1][MQTT-3.14.4-2][MQTT311-3.1.0-2]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311);
  five.accepted(connect_as("five"));
  CHECK(five.connect(connect_as("five")).said() == Lines{"DISCONNECT 82", "closed"});
  three.accepted(connect_as("three"));
  CHECK(three.connect(connect_as("three")).said() == Lines{"closed"});
}

TEST_CASE("a CONNECT that is no good is closed without CONNACK",
          "[session][MQTT-3.1.4-1][MQTT311-3.1.4-1][MQTT311-3.2.2-6]") {
  TestBroker broker;
  const auto said_to = [&](std::string_view packet) { return TestClient(broker).raw(packet).said(); };
  CHECK(said_to("10 0d | 00 04 'MQTT' 05 03 | 00 3c | 00 | 00 00") == Lines{"closed"});     // reserved flag
  CHECK(said_to("10 0c | 00 04 'MQTT' 04 03 | 00 3c | 00 00") == Lines{"closed"});          // the same in 3.1.1
  CHECK(said_to("10 0e | 00 04 'MQTT' 04 42 | 00 3c | 00 00 00 00") == Lines{"closed"});    // password alone
  CHECK(said_to("10 0d | 00 04 'MQTX' 05 02 | 00 3c | 00 | 00 00") == Lines{"closed"});     // another protocol
  CHECK(said_to("10 0e | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 01 ff") == Lines{"closed"});  // no UTF-8
  CHECK(said_to("11 0d | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 00") == Lines{"closed"});     // header flags
  CHECK(broker.counter(&Counters::connections_refused) == 6);
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("the protocol name and the reserved connect flag are judged by the broker",
          "[session][MQTT-3.1.2-1][MQTT-3.1.2-3][MQTT311-3.1.2-1][MQTT311-3.1.2-3]") {
  TestBroker broker;
  TestClient name(broker), flag(broker), name311(broker, V311), flag311(broker, V311);
  CHECK(name.raw("10 0d | 00 04 'mqtt' 05 02 | 00 3c | 00 | 00 00").said() == Lines{"closed"});
  CHECK(flag.raw("10 0d | 00 04 'MQTT' 05 03 | 00 3c | 00 | 00 00").said() == Lines{"closed"});
  CHECK(name311.raw("10 0c | 00 04 'MQTt' 04 02 | 00 3c | 00 00").said() == Lines{"closed"});
  CHECK(flag311.raw("10 0c | 00 04 'MQTT' 04 03 | 00 3c | 00 00").said() == Lines{"closed"});
}

// Each is a CONNECT of one byte or flag too many, too few, or of the wrong kind.
TEST_CASE("a CONNECT whose flags and payload contradict each other is closed without CONNACK",
          "[session][MQTT-1.5.7-1][MQTT-3.1.2-9][MQTT-3.1.2-11][MQTT-3.1.2-12][MQTT-3.1.2-13][MQTT-3.1.2-16]"
          "[MQTT-3.1.2-17][MQTT-3.1.2-18][MQTT-3.1.2-19][MQTT-3.1.3-1][MQTT-3.1.3-3][MQTT-3.1.3-4][MQTT-3.1.3-11]"
          "[MQTT-3.1.3-12][MQTT311-3.1.2-9][MQTT311-3.1.2-11][MQTT311-3.1.2-13][MQTT311-3.1.2-14][MQTT311-3.1.2-15]"
          "[MQTT311-3.1.2-18][MQTT311-3.1.2-19][MQTT311-3.1.2-20][MQTT311-3.1.2-21][MQTT311-3.1.2-22][MQTT311-3.1.3-1]"
          "[MQTT311-3.1.3-3][MQTT311-3.1.3-4][MQTT311-3.1.3-10][MQTT311-3.1.3-11]") {
  struct Case {
    std::string_view flags, properties, payload;
    bool five_too = true;
  };
  const Case cases[] = {
      {"0a", "00", "00 01 'a'"},                                      // Will QoS 1 without a will
      {"22", "00", "00 01 'a'"},                                      // Will Retain without a will
      {"1e", "00", "00 01 'a' WP 00 01 'w' 00 01 'x'"},               // Will QoS 3
      {"06", "00", "00 01 'a'"},                                      // a will announced and not sent
      {"06", "00", "00 01 'a' WP 00 01 'w'"},                         // a will topic without its payload
      {"02", "00", "00 01 'a' WP 00 01 'w' 00 01 'x'"},               // a will sent and not announced
      {"06", "00", "00 01 'a' WP 00 01 ff 00 01 'x'"},                // a will topic that is not UTF-8
      {"82", "00", "00 01 'a'"},                                      // a user name announced and not sent
      {"02", "00", "00 01 'a' 00 01 'u'"},                            // a user name sent and not announced
      {"82", "00", "00 01 'a' 00 01 ff"},                             // a user name that is not UTF-8
      {"c2", "00", "00 01 'a' 00 01 'u'"},                            // a password announced and not sent
      {"82", "00", "00 01 'a' 00 01 'u' 00 01 'p'"},                  // a password sent and not announced
      {"42", "00", "00 01 'a' 00 01 'p'", false},                     // a password alone, which 5 allows
      {"02", "00", ""},                                               // no client identifier
      {"02", "00", "00 01 ff"},                                       // one that is not UTF-8
      {"02", "00", "00 02 'a'"},                                      // one that is cut off
      {"c6", "00", "00 01 'u' 00 01 'p' 00 01 'a' WP 00 01 'w' 00"},  // another order: the last length is cut off
  };
  TestBroker broker;
  const auto packet_of = [](const Case& one, ProtocolVersion version) {
    std::string payload(one.payload);
    if (const size_t at = payload.find("WP"); at != payload.npos) payload.replace(at, 2, version == V5 ? "00" : "");
    const std::string body = std::string("00 04 'MQTT' ") + (version == V5 ? "05 " : "04 ") + std::string(one.flags) +
                             " 00 00 " + (version == V5 ? std::string(one.properties) : "") + payload;
    std::vector<std::byte> packet = hex(body);
    packet.insert(packet.begin(), {std::byte{0x10}, static_cast<std::byte>(packet.size())});
    return packet;
  };
  for (const Case& one : cases) {
    INFO(one.flags << " | " << one.payload);
    TestClient five(broker), three(broker, V311);
    if (one.five_too) {
      CHECK(five.send(packet_of(one, V5)).said() == Lines{"closed"});
    } else {
      CHECK(five.send(packet_of(one, V5)).said() == Lines{"CONNACK 00"});
    }
    CHECK(three.send(packet_of(one, V311)).said() == Lines{"closed"});
  }
  TestClient pair(broker), good(broker), good311(broker, V311);
  CHECK(pair.send(packet_of({"02", "07 26 00 01 ff 00 01 'v'", "00 01 'a'"}, V5)).said() == Lines{"closed"});
  const Case everything{"ee", "00", "00 01 'e' WP 00 01 'w' 00 01 'x' 00 01 'u' 00 01 'p'"};
  CHECK(good.send(packet_of(everything, V5)).said() == Lines{"CONNACK 00"});
  good.disconnect();
  CHECK(good311.send(packet_of(everything, V311)).said() == Lines{"CONNACK 00"});
}

TEST_CASE("an unknown protocol level is answered in the older or newer form and closed",
          "[session][MQTT-3.1.2-2][MQTT-3.2.2-7][MQTT311-3.1.2-2][MQTT311-3.2.2-4][MQTT311-3.2.2-5]") {
  TestBroker broker;
  TestClient newer(broker), older(broker, V311);
  CHECK(newer.raw("10 0d | 00 04 'MQTT' 06 02 | 00 3c | 00 | 00 00").said() == Lines{"CONNACK 84", "closed"});
  older.raw("10 0c | 00 04 'MQTT' 03 02 | 00 3c | 00 00");
  CHECK(older.said_bytes() == hex("20 02 00 01"));
  CHECK(older.closed());
}

TEST_CASE("a client of 3.x whose level is unknown is answered in the older form", "[session][MQTT311-3.1.2-2]") {
  TestBroker broker;
  TestClient bridge(broker), of_3_1(broker), long_one(broker);
  CHECK(bridge.raw("10 0d | 00 04 'MQTT' 84 02 | 00 3c | 00 01 'b'").said_bytes() == hex("20 02 00 01"));
  CHECK(of_3_1.raw("10 0f | 00 06 'MQIsdp' 04 02 | 00 3c | 00 01 'c'").said_bytes() == hex("20 02 00 01"));
  CHECK(long_one.raw("10 8d 00 | 00 04 'MQTT' 03 02 | 00 3c | 00 01 'd'").said_bytes() == hex("20 02 00 01"));
}

TEST_CASE("an accepted CONNECT is answered by CONNACK 0x00",
          "[session][MQTT-3.1.4-5][MQTT-3.2.2-8][MQTT311-3.1.4-4][MQTT311-3.2.0-1]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311), oldest(broker, ProtocolVersion::V31);
  CHECK(five.connect(connect_as("five")).said() == Lines{"CONNACK 00"});
  CHECK(three.connect(connect_as("three")).said_bytes() == hex("20 02 00 00"));
  CHECK(oldest.connect(connect_as("oldest")).said_bytes() == hex("20 02 00 00"));
}

TEST_CASE("what follows CONNECT in the same bytes is handled after it", "[session][MQTT-3.2.0-1][MQTT-3.2.0-2]") {
  TestBroker broker;
  TestClient client(broker);
  client.raw("10 0e | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 01 'a'  c0 00  82 07 00 01 00 00 01 'b' 01  c0 00");
  CHECK(client.said() == Lines{"CONNACK 00", "PINGRESP", "SUBACK #1 01", "PINGRESP"});
}

TEST_CASE("a CONNECT may come byte by byte", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  for (const std::byte byte : hex("10 0e | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 01 'a'  c0 00")) {
    CHECK_FALSE(client.closed());
    client.send(Bytes(&byte, 1));
  }
  CHECK(client.said() == Lines{"CONNACK 00", "PINGRESP"});
}

// --- sessions

TEST_CASE("clean start 1 drops the session there was",
          "[session][MQTT-3.1.2-4][MQTT-3.1.4-4][MQTT-3.2.2-2][MQTT-3.2.2-3]") {
  TestBroker broker;
  TestClient(broker).accepted(connect_as("a", true, 100)).subscribed("t", kQos1).disconnect();
  TestClient again(broker), publisher(broker);
  CHECK(again.connect(connect_as("a", true, 100)).said() == Lines{"CONNACK 00"});
  publisher.accepted(connect_as("p")).publish("t", "x", kQos1, 1);
  CHECK(again.said() == Lines{});
  CHECK(publisher.said() == Lines{"PUBACK #1 10"});
}

TEST_CASE("clean start 0 resumes the session there was, and tells so",
          "[session][MQTT-3.1.2-5][MQTT-3.2.2-3][MQTT-3.1.2-23][MQTT-3.1.3-2][MQTT-4.5.0-1][MQTT-3.2.0-1]") {
  TestBroker broker;
  TestClient(broker).accepted(connect_as("a", true, 100)).subscribed("t", kQos1).disconnect();
  TestClient publisher(broker);
  publisher.accepted(connect_as("p")).publish("t", "kept", kQos1, 1);
  TestClient other(broker), again(broker);
  CHECK(other.connect(connect_as("A", false, 100)).said() == Lines{"CONNACK 00"});  // identifiers are not alike
  CHECK(again.connect(connect_as("a", false, 100)).said() == Lines{"CONNACK 00 present", "PUBLISH t 'kept' qos1 #1"});
  publisher.publish("t", "live");
  CHECK(again.said() == Lines{"PUBLISH t 'live'"});
}

TEST_CASE("clean start 0 without a stored session makes one", "[session][MQTT-3.1.2-6][MQTT-3.2.2-3]") {
  TestBroker broker;
  TestClient client(broker);
  CHECK(client.connect(connect_as("a", false, 100)).said() == Lines{"CONNACK 00"});
  client.subscribed("t", kQos1).drop();
  TestClient again(broker);
  CHECK(again.connect(connect_as("a", false, 100)).said() == Lines{"CONNACK 00 present"});
}

TEST_CASE("clean session 0 of 3.1.1 resumes the session and collects messages meanwhile",
          "[session][MQTT311-3.1.2-4][MQTT311-3.1.2-5][MQTT311-3.2.2-2][MQTT311-3.2.2-3][MQTT311-3.1.3-2]"
          "[MQTT311-4.1.0-1][MQTT311-4.5.0-1]") {
  TestBroker broker;
  TestClient first(broker, V311);
  CHECK(first.connect(connect_as("a", false)).said_bytes() == hex("20 02 00 00"));
  first.subscribed("t", kQos1).disconnect();
  broker.advance_s(1'000'000);
  TestClient publisher(broker, V311);
  publisher.accepted(connect_as("p")).publish("t", "kept", kQos1, 1);
  TestClient again(broker, V311);
  again.connect(connect_as("a", false));
  CHECK(again.said_bytes() == hex("20 02 01 00  32 09 00 01 't' 00 01 'kept'"));
}

TEST_CASE("clean session 1 of 3.1.1 drops the session, and the new one ends with its connection",
          "[session][MQTT311-3.1.2-6][MQTT311-3.1.4-3][MQTT311-3.2.2-1]") {
  TestBroker broker;
  TestClient(broker, V311).accepted(connect_as("a", false)).subscribed("t", kQos1).disconnect();
  TestClient clean(broker, V311);
  CHECK(clean.connect(connect_as("a", true)).said_bytes() == hex("20 02 00 00"));
  clean.disconnect();
  CHECK(broker.core().sessions().count() == 0);
  TestClient again(broker, V311);
  CHECK(again.connect(connect_as("a", false)).said_bytes() == hex("20 02 00 00"));
}

TEST_CASE("a session lasts for its expiry interval after its connection, and no longer",
          "[session][MQTT-4.1.0-1][MQTT-4.1.0-2][MQTT-3.1.2-23]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a", true, 10));
  broker.advance_s(1'000);  // while it is connected nothing counts
  client.drop();
  broker.advance_ms(9'900);
  CHECK(broker.core().sessions().count() == 1);
  TestClient again(broker);
  CHECK(again.connect(connect_as("a", false, 10)).said() == Lines{"CONNACK 00 present"});
  again.drop();
  broker.advance_ms(10'050);
  CHECK(broker.core().sessions().count() == 0);
  CHECK(TestClient(broker).connect(connect_as("a", false, 10)).said() == Lines{"CONNACK 00"});
}

TEST_CASE("a session without an expiry interval ends with its connection", "[session][MQTT-4.1.0-1][MQTT311-4.1.0-2]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a"));
  CHECK(broker.core().sessions().count() == 1);
  client.drop();
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("a session of 0xFFFFFFFF seconds does not expire", "[session]") {
  TestBroker broker;
  TestClient(broker).accepted(connect_as("a", true, kSessionExpiryNever)).disconnect();
  broker.advance_s(1'000'000);
  CHECK(TestClient(broker).connect(connect_as("a", false)).said() == Lines{"CONNACK 00 present"});
}

TEST_CASE("CONNACK names the shorter session expiry interval, which then counts", "[session]") {
  TestSetup setup;
  setup.limits.session_expiry_max_s = 60;
  TestBroker broker(setup);
  TestClient client(broker);
  CHECK(connack_of(client.connect(connect_as("a", true, 100)).said_bytes(), V5).session_expiry_s == 60);
  client.drop();
  broker.advance_ms(60'050);
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("a client takes its session over from an older connection, which is told",
          "[session][MQTT-3.1.4-3][MQTT-3.14.2-2][MQTT-3.14.4-1][MQTT-3.14.4-2][MQTT311-3.1.4-2]") {
  TestBroker broker;
  TestClient older(broker), newer(broker), publisher(broker);
  older.accepted(connect_as("a", true, 100)).subscribed("t", kQos1);
  CHECK(newer.connect(connect_as("a", false, 100)).said() == Lines{"CONNACK 00 present"});
  CHECK(older.said() == Lines{"DISCONNECT 8e", "closed"});
  publisher.accepted(connect_as("p")).publish("t", "x", kQos1, 1);
  CHECK(newer.said() == Lines{"PUBLISH t 'x' qos1 #1"});
  TestClient older3(broker, V311), newer3(broker, V311);
  older3.accepted(connect_as("b", false));
  CHECK(newer3.connect(connect_as("b", false)).said_bytes() == hex("20 02 01 00"));
  CHECK(older3.said() == Lines{"closed"});
}

TEST_CASE("a take-over of a session that ends with its connection begins a new one", "[session][MQTT-3.1.4-3]") {
  TestBroker broker;
  TestClient older(broker), newer(broker);
  older.accepted(connect_as("a")).subscribed("t", kQos1);
  CHECK(newer.connect(connect_as("a", false)).said() == Lines{"CONNACK 00"});
  CHECK(older.said() == Lines{"DISCONNECT 8e", "closed"});
  CHECK(broker.core().sessions().count() == 1);
}

// --- client identifiers

TEST_CASE("client identifiers of 1 to 23 letters and digits, and longer ones, are accepted",
          "[session][MQTT-3.1.3-5][MQTT311-3.1.3-5]") {
  constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  TestBroker broker;
  for (const ProtocolVersion version : {V311, V5}) {
    for (size_t from = 0; from + 23 <= kAlphabet.size(); from += 13) {
      for (size_t size = 1; size <= 23; ++size) {
        TestClient client(broker, version);
        client.accepted(connect_as(kAlphabet.substr(from, size)));
      }
    }
  }
  const std::string longest(65'535, 'x');
  TestClient client(broker);
  client.accepted(connect_as(longest));
}

TEST_CASE("an empty client identifier is replaced by one of ours, which is a client identifier like others",
          "[session][MQTT-3.1.3-6][MQTT-3.1.3-7][MQTT-3.2.2-16]") {
  TestBroker broker;
  std::set<std::string> names;
  for (int i = 0; i < 50; ++i) {
    TestClient client(broker);
    const auto bytes = client.connect(connect_as("", i % 2 == 0, 100)).said_bytes();
    const auto connack = connack_of(bytes, V5);
    CHECK(connack.reason_code == ReasonCode::Success);
    CHECK_FALSE(connack.session_present);
    CHECK_FALSE(connack.assigned_client_id.empty());
    names.insert(std::string(connack.assigned_client_id));
    client.drop();
  }
  CHECK(names.size() == 50);
  TestClient again(broker);
  CHECK(again.connect(connect_as(*names.begin(), false, 100)).said() == Lines{"CONNACK 00 present"});
}

TEST_CASE("a client that brings its identifier is not given another", "[session][MQTT-3.1.3-7]") {
  TestBroker broker;
  TestClient client(broker);
  CHECK(connack_of(client.connect(connect_as("a")).said_bytes(), V5).assigned_client_id.empty());
}

TEST_CASE("an empty client identifier of 3.1.1 needs clean session 1",
          "[session][MQTT311-3.1.3-6][MQTT311-3.1.3-8][MQTT311-3.1.3-9][MQTT311-3.2.2-4][MQTT311-3.2.2-5]") {
  TestBroker broker;
  TestClient one(broker, V311), two(broker, V311), refused(broker, V311);
  one.accepted(connect_as("", true)).subscribed("t", Qos::AtMostOnce);
  two.accepted(connect_as("", true));
  CHECK_FALSE(one.closed());
  two.publish("t", "x");
  CHECK(one.said() == Lines{"PUBLISH t 'x'"});
  refused.connect(connect_as("", false));
  CHECK(refused.said_bytes() == hex("20 02 00 02"));
  CHECK(refused.closed());
}

TEST_CASE("an empty client identifier of 3.1 is refused", "[session]") {
  TestBroker broker;
  TestClient client(broker, ProtocolVersion::V31);
  CHECK(client.connect(connect_as("", true)).said_bytes() == hex("20 02 00 02"));
  CHECK(client.closed());
}

// --- refusals

TEST_CASE("a refused CONNECT ends the connection, and nothing behind it is handled",
          "[session][MQTT-3.1.4-2][MQTT-3.1.4-6][MQTT-3.2.2-7][MQTT-4.13.2-1][MQTT311-3.1.4-5]") {
  TestAccess access;
  access.connects = Verdict::Deny;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient five(broker), three(broker, V311);
  five.raw("10 0e | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 01 'a'  31 05 00 01 't' 00 'x'");
  CHECK(five.said() == Lines{"CONNACK 87", "closed"});
  three.raw("10 0d | 00 04 'MQTT' 04 02 | 00 3c | 00 01 'a'  31 04 00 01 't' 'x'");
  CHECK(three.said_bytes() == hex("20 02 00 05"));
  CHECK(three.closed());
  CHECK(broker.counter(&Counters::retained_set) == 0);
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("a host may take its time to let a client in", "[session][MQTT-3.1.4-2][MQTT-3.1.4-5]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient client(broker), denied(broker);
  client.raw("10 14 | 00 04 'MQTT' 05 c2 | 00 3c | 00 | 00 01 'a' 00 01 'u' 00 01 'p'  c0 00");
  CHECK(client.said() == Lines{});
  CHECK(client.link().paused);
  REQUIRE(access.asked.size() == 1);
  CHECK(access.user_name == "u");
  broker.answer(access.asked[0], Verdict::Allow);
  CHECK(client.said() == Lines{"CONNACK 00", "PINGRESP"});
  CHECK_FALSE(client.link().paused);
  broker.answer(access.asked[0], Verdict::Deny);  // too late: it counts once
  CHECK(client.ping().said() == Lines{"PINGRESP"});

  denied.connect(connect_as("b"));
  broker.answer(access.asked[1], Verdict::Deny, ReasonCode::BadUserNameOrPassword);
  CHECK(denied.said() == Lines{"CONNACK 86", "closed"});
  broker.answer(access.asked[1], Verdict::Allow);  // of a connection that is gone
}

TEST_CASE("a host that never answers has denied", "[session]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  setup.limits.connect_timeout_ms = 5'000;
  TestBroker broker(setup);
  TestClient client(broker);
  client.connect(connect_as("a"));
  broker.advance_ms(4'900);
  CHECK_FALSE(client.closed());
  broker.advance_ms(200);
  CHECK(client.said() == Lines{"CONNACK 87", "closed"});
}

TEST_CASE("a client that does not say CONNECT in time is closed without a word", "[session]") {
  TestSetup setup;
  setup.limits.connect_timeout_ms = 5'000;
  TestBroker broker(setup);
  ListenerInfo hurried;
  hurried.connect_timeout_ms = 1'000;
  TestClient silent(broker), slow(broker), soon(broker, V5, 0, hurried);
  slow.raw("10 0e 00 04");
  broker.advance_ms(1'050);
  CHECK(soon.said() == Lines{"closed"});
  broker.advance_ms(3'900);
  CHECK_FALSE(silent.closed());
  slow.raw("'MQ'");  // a dribble gains no time
  broker.advance_ms(100);
  CHECK(silent.said() == Lines{"closed"});
  CHECK(slow.said() == Lines{"closed"});
}

TEST_CASE("an authentication method is refused, for we have none", "[session][MQTT-4.12.0-1][MQTT-3.2.2-7]") {
  TestBroker broker;
  TestClient client(broker);
  codec::ConnectView connect = connect_as("a");
  connect.authentication_method = "SCRAM-SHA-1";
  CHECK(client.connect(connect).said() == Lines{"CONNACK 8c", "closed"});
}

TEST_CASE("without an authentication method AUTH is a protocol error, and CONNACK names none",
          "[session][MQTT-4.12.0-6][MQTT-4.12.0-7]") {
  TestBroker broker;
  TestClient client(broker);
  CHECK_FALSE(connack_of(client.connect(connect_as("a")).said_bytes(), V5).authentication_method);
  CHECK(client.raw("f0 00").said() == Lines{"DISCONNECT 82", "closed"});
}

TEST_CASE("CONNECTs over the rate and sessions over their number are refused", "[session]") {
  TestSetup setup;
  setup.limits.connect_rate = 2;
  setup.limits.sessions_max = 3;
  TestBroker broker(setup);
  broker.advance_s(1);
  TestClient clients[] = {TestClient(broker), TestClient(broker), TestClient(broker), TestClient(broker)};
  CHECK(clients[0].connect(connect_as("0")).said() == Lines{"CONNACK 00"});
  CHECK(clients[1].connect(connect_as("1")).said() == Lines{"CONNACK 00"});
  CHECK(clients[2].connect(connect_as("2")).said() == Lines{"CONNACK 9f", "closed"});
  broker.advance_s(1);
  TestClient third(broker), fourth(broker);
  CHECK(third.connect(connect_as("3")).said() == Lines{"CONNACK 00"});
  CHECK(fourth.connect(connect_as("4")).said() == Lines{"CONNACK 97", "closed"});
}

TEST_CASE("connections over their number are closed at once", "[session]") {
  TestSetup setup;
  setup.limits.connections_max = 1;
  TestBroker broker(setup);
  TestClient first(broker), second(broker);
  CHECK(second.closed());
  first.accepted(connect_as("a")).disconnect();
  TestClient third(broker);
  third.accepted(connect_as("b"));
}

// --- what CONNACK announces

TEST_CASE("CONNACK announces the broker's bounds", "[session][MQTT-3.1.2-28]") {
  TestSetup setup;
  setup.limits.receive_maximum = 7;
  setup.limits.topic_alias_maximum = 5;
  setup.limits.packet_size_max = 2'000;
  setup.limits.wildcard_subscriptions_available = false;
  setup.limits.shared_subscriptions_available = false;
  setup.limits.subscription_identifiers_available = false;
  TestBroker broker(setup);
  ListenerInfo narrow;
  narrow.packet_size_max = 1'000;
  TestClient client(broker), on_narrow(broker, V5, 0, narrow);
  const auto bytes = client.connect(connect_as("a")).said_bytes();
  const auto connack = connack_of(bytes, V5);
  CHECK(connack.receive_maximum == 7);
  CHECK(connack.topic_alias_maximum == 5);
  CHECK(connack.maximum_packet_size == 2'000);
  CHECK(connack.maximum_qos == Qos::ExactlyOnce);
  CHECK(connack.retain_available);
  CHECK_FALSE(connack.wildcard_subscription_available);
  CHECK_FALSE(connack.shared_subscription_available);
  CHECK_FALSE(connack.subscription_identifiers_available);
  CHECK(connack.response_information.empty());
  CHECK(connack.reason_string.empty());
  CHECK_FALSE(connack.server_keep_alive_s);
  CHECK_FALSE(connack.session_expiry_s);
  CHECK(connack_of(on_narrow.connect(connect_as("b")).said_bytes(), V5).maximum_packet_size == 1'000);
}

TEST_CASE("a broker without QoS 2 says so, grants less, and refuses what is above",
          "[session][MQTT-3.2.2-9][MQTT-3.2.2-10][MQTT-3.2.2-11][MQTT-3.2.2-12]") {
  TestSetup setup;
  setup.limits.maximum_qos = 1;
  TestBroker broker(setup);
  TestClient client(broker), will(broker), good_will(broker);
  CHECK(connack_of(client.connect(connect_as("a")).said_bytes(), V5).maximum_qos == kQos1);
  client.subscribe(1, {{"t", Qos::ExactlyOnce}, {"$share/g/t", Qos::ExactlyOnce}});
  CHECK(client.said() == Lines{"SUBACK #1 01 01"});
  CHECK(client.publish("t", "x", Qos::ExactlyOnce, 2).said() == Lines{"DISCONNECT 9b", "closed"});
  CHECK(will.connect(with_will(connect_as("w"), "t", "x", Qos::ExactlyOnce)).said() == Lines{"CONNACK 9b", "closed"});
  good_will.accepted(with_will(connect_as("w"), "t", "x", kQos1));
}

TEST_CASE("a broker without retained messages says so and refuses them", "[session][MQTT-3.2.2-13][MQTT-3.2.2-14]") {
  TestSetup setup;
  setup.limits.retain_available = false;
  TestBroker broker(setup);
  TestClient client(broker), will(broker);
  CHECK_FALSE(connack_of(client.connect(connect_as("a")).said_bytes(), V5).retain_available);
  CHECK(client.publish("t", "x", kQos1, 2, true).said() == Lines{"DISCONNECT 9a", "closed"});
  CHECK(will.connect(with_will(connect_as("w"), "t", "x", kQos1, true)).said() == Lines{"CONNACK 9a", "closed"});
}

// --- keep alive

TEST_CASE("silence for one and a half times the keep alive closes the connection",
          "[session][MQTT-3.1.2-22][MQTT-3.2.2-22][MQTT311-3.1.2-24]") {
  TestBroker broker;
  TestClient watcher(broker);
  watcher.accepted(connect_as("watcher")).subscribed("will/#", Qos::AtMostOnce);
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    codec::ConnectView connect = with_will(connect_as("a"), "will/a", "gone");
    connect.keep_alive_s = 10;
    client.accepted(connect);
    broker.advance_ms(14'900);
    CHECK(client.ping().said() == Lines{"PINGRESP"});
    broker.advance_ms(14'900);
    CHECK_FALSE(client.closed());
    broker.advance_ms(200);
    CHECK(client.said() == (version == V5 ? Lines{"DISCONNECT 8d", "closed"} : Lines{"closed"}));
    CHECK(watcher.said() == Lines{"PUBLISH will/a 'gone'"});  // as after a failure of the network
  }
}

TEST_CASE("a keep alive of 0 never ends", "[session][MQTT-3.1.2-22]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a"));
  broker.advance_s(1'000'000);
  CHECK(client.ping().said() == Lines{"PINGRESP"});
}

TEST_CASE("the server's keep alive takes the place of a longer one, or of none", "[session][MQTT-3.1.2-22]") {
  TestSetup setup;
  setup.limits.keep_alive_max_s = 20;
  TestBroker broker(setup);
  for (const uint16_t keep_alive_s : {0, 60}) {
    TestClient client(broker);
    codec::ConnectView connect = connect_as("a");
    connect.keep_alive_s = keep_alive_s;
    CHECK(connack_of(client.connect(connect).said_bytes(), V5).server_keep_alive_s == 20);
    broker.advance_ms(29'900);
    CHECK_FALSE(client.closed());
    broker.advance_ms(200);
    CHECK(client.closed());
  }
  TestClient shorter(broker);
  codec::ConnectView connect = connect_as("a");
  connect.keep_alive_s = 10;
  CHECK_FALSE(connack_of(shorter.connect(connect).said_bytes(), V5).server_keep_alive_s);
}

// --- what is said besides

TEST_CASE("a client that asks for it is told where its responses should go", "[session][MQTT-3.1.2-28]") {
  TestSetup setup;
  setup.policy.response_information = TextTemplate("responses/${client_id}/${user_name}");
  TestBroker broker(setup);
  const auto told = [&](std::string_view client_id, bool asks) {
    TestClient client(broker);
    codec::ConnectView connect = connect_as(client_id);
    connect.user_name = "u";
    connect.request_response_information = asks;
    client.connect(connect);
    const std::vector<std::byte> bytes = client.said_bytes();
    return std::string(connack_of(bytes, V5).response_information);
  };
  CHECK(told("c", true) == "responses/c/u");
  CHECK(told("c", false).empty());
  CHECK(told("a/b", true).empty());  // another's topic could come of it
}

TEST_CASE("response information that does not fit is left out", "[session][MQTT-3.1.2-24]") {
  TestSetup setup;
  setup.policy.response_information = TextTemplate("responses/below/this/topic");
  TestBroker broker(setup);
  size_t least = 0, whole = 0;
  for (uint32_t size = 5; size < 100; ++size) {
    TestClient client(broker);
    codec::ConnectView connect = connect_as("c");
    connect.request_response_information = true;
    connect.maximum_packet_size = size;
    const std::vector<std::byte> bytes = client.connect(connect).said_bytes();
    if (bytes.empty()) continue;  // CONNACK without it is larger
    REQUIRE(bytes.size() <= size);
    if (!least) least = size;
    if (!connack_of(bytes, V5).response_information.empty() && !whole) whole = size;
  }
  CHECK(least != 0);
  CHECK(whole == least + 3 + 26);
}

TEST_CASE("a refused client is told why, and where to go instead", "[session][MQTT-3.1.2-29][MQTT-3.2.2-19]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  const auto refused = [&](bool asks, uint32_t packet_size_max) {
    TestClient client(broker);
    codec::ConnectView connect = connect_as("c");
    connect.request_problem_information = asks;
    connect.maximum_packet_size = packet_size_max;
    client.connect(connect);
    AccessAnswer answer;
    answer.reason = ReasonCode::ServerMoved;
    answer.reason_string = "the house is full";
    answer.server_reference = "other.example:1883";
    broker.answer(access.asked.back(), answer);
    const std::vector<std::byte> bytes = client.said_bytes();
    const codec::ConnackView connack = connack_of(bytes, V5);
    CHECK(connack.reason_code == ReasonCode::ServerMoved);
    CHECK(client.closed());
    return std::pair(std::string(connack.reason_string), std::string(connack.server_reference));
  };
  const std::string text = "the house is full", other = "other.example:1883";
  CHECK(refused(true, 0) == std::pair(text, other));
  CHECK(refused(false, 0) == std::pair(std::string(), other));
  const auto reference_only = static_cast<uint32_t>(5 + 3 + other.size());
  CHECK(refused(true, reference_only) == std::pair(std::string(), other));
  CHECK(refused(true, reference_only - 1) == std::pair(std::string(), std::string()));
}

TEST_CASE("a client id that the host refuses is answered so, and the connection is closed",
          "[session][MQTT-3.1.3-8][MQTT311-3.1.3-9]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.connect(connect_as("not here"));
    broker.answer(access.asked.back(), Verdict::Deny, ReasonCode::ClientIdentifierNotValid);
    CHECK(client.said_bytes() == (version == V5 ? hex("20 03 00 85 00") : hex("20 02 00 02")));
    CHECK(client.closed());
    CHECK(broker.core().sessions().count() == 0);
  }
}

TEST_CASE("what the broker itself refuses in CONNACK has its reason string", "[session]") {
  TestSetup setup;
  setup.limits.topic_levels_max = 2;
  TestBroker broker(setup);
  const auto said_to = [&](const codec::ConnectView& connect) {
    TestClient client(broker);
    client.connect(connect);
    const std::vector<std::byte> bytes = client.said_bytes();
    return describe(bytes, V5)[0] + ' ' + reason_strings(bytes)[0];
  };
  CHECK(said_to(with_will(connect_as("c"), "a/b/c", "")) == "CONNACK 90 " + std::string(to_text(Detail::TopicTooDeep)));
  CHECK(said_to(with_will(connect_as("c"), "$x", "")) ==
        "CONNACK 90 " + std::string(to_text(Detail::WillTopicOfServer)));
  codec::ConnectView method = connect_as("c");
  method.authentication_method = "SCRAM";
  CHECK(said_to(method) == "CONNACK 8c " + std::string(to_text(Detail::MethodUnknown)));
}

TEST_CASE("a client without a name is asked about by the name that it then has", "[session][MQTT-3.1.3-7]") {
  TestAccess access;
  TestSetup setup = shards(3);
  setup.access = &access;
  TestBroker broker(setup);
  for (int i = 0; i < 10; ++i) {
    TestClient client(broker, V5, static_cast<uint32_t>(i % 3));
    client.connect(connect_as(""));
    broker.answer(access.asked.back(), Verdict::Allow);
    const std::vector<std::byte> bytes = client.said_bytes();
    CHECK(std::string(connack_of(bytes, V5).assigned_client_id) == access.client_ids.back());
  }
  std::sort(access.client_ids.begin(), access.client_ids.end());
  CHECK(std::unique(access.client_ids.begin(), access.client_ids.end()) == access.client_ids.end());
}

}  // namespace mqttq
