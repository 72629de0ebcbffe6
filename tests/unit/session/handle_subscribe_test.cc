// SUBSCRIBE and UNSUBSCRIBE (MQTT5 3.8, 3.10), and what a subscription then brings.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;
using codec::RetainHandling;

class TestAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion&) noexcept override { return Verdict::Allow; }
  Verdict act(const ActionQuestion& question) noexcept override {
    asked.push_back(question.ticket);
    if (pending) return Verdict::Pending;
    return question.topic.starts_with("secret") ? Verdict::Deny : Verdict::Allow;
  }
  bool pending = false;
  std::vector<AccessTicket> asked;
};

}  // namespace

TEST_CASE("SUBSCRIBE is answered by one SUBACK with a code for each filter, in their order",
          "[session][MQTT-3.8.4-1][MQTT-3.8.4-2][MQTT-3.8.4-5][MQTT-3.8.4-6][MQTT-3.8.4-7][MQTT-3.9.3-1][MQTT-3.9.3-2]"
          "[MQTT-2.2.1-6][MQTT311-3.8.4-1][MQTT311-3.8.4-2][MQTT311-3.8.4-4][MQTT311-3.8.4-5][MQTT311-3.9.3-1]"
          "[MQTT311-3.9.3-2][MQTT311-2.3.1-7]") {
  TestBroker broker;
  TestClient publisher(broker), five(broker), three(broker, V311);
  publisher.accepted(connect_as("p"));
  five.accepted(connect_as("five"));
  five.subscribe(0xFEDC, {{"a", kQos2}, {"b/#c", kQos1}, {"c", kQos0}, {"+/d", kQos1}, {"e+"}});
  CHECK(five.said() == Lines{"SUBACK #65244 02 8f 00 01 8f"});
  three.accepted(connect_as("three"));
  three.subscribe(1, {{"a", kQos2}, {"b/#c", kQos1}, {"c", kQos0}, {"+/d", kQos1}, {"e+"}});
  CHECK(three.said_bytes() == hex("90 07 00 01 02 80 00 01 80"));
  for (const char* topic : {"a", "b", "c", "x/d", "e"}) publisher.publish(topic, "x");
  CHECK(five.said() == Lines{"PUBLISH a 'x'", "PUBLISH c 'x'", "PUBLISH x/d 'x'"});
  CHECK(three.said() == Lines{"PUBLISH a 'x'", "PUBLISH c 'x'", "PUBLISH x/d 'x'"});
}

TEST_CASE("a message is delivered at the lower of its own QoS and the one granted",
          "[session][MQTT-3.8.4-8][MQTT311-3.8.4-6]") {
  for (const uint32_t session_expiry_s : {0, 100}) {  // live, and through journals
    TestBroker broker;
    TestClient publisher(broker);
    publisher.accepted(connect_as("p"));
    for (const ProtocolVersion version : {V311, V5}) {
      for (const Qos granted : {kQos0, kQos1, kQos2}) {
        TestClient client(broker, version);
        client.accepted(connect_as("s", version == V5 || session_expiry_s == 0, session_expiry_s));
        client.subscribed("t", granted);
        publisher.publish("t", "0", kQos0).publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2);
        publisher.ack(PacketType::Pubrel, 2);
        const Lines lines = client.said();
        REQUIRE(lines.size() == 3);
        CHECK(lines[0] == "PUBLISH t '0'");
        CHECK(lines[1] == (granted == kQos0 ? "PUBLISH t '1'" : "PUBLISH t '1' qos1 #1"));
        CHECK(lines[2] == (granted == kQos0   ? "PUBLISH t '2'"
                           : granted == kQos1 ? "PUBLISH t '2' qos1 #2"
                                              : "PUBLISH t '2' qos2 #2"));
        TestClient(broker).accepted(connect_as("s"));  // nothing is left for the next
      }
    }
  }
}

TEST_CASE("a filter matches names level by level, by their bytes alone",
          "[session][MQTT-3.3.2-3][MQTT-4.7.1-1][MQTT-4.7.1-2][MQTT-4.7.2-1][MQTT-4.7.3-4][MQTT-1.5.4-3]"
          "[MQTT311-3.3.2-3][MQTT311-4.7.1-2][MQTT311-4.7.1-3][MQTT311-4.7.2-1][MQTT311-4.7.3-4][MQTT311-1.5.3-3]") {
  constexpr std::string_view kNames[] = {"a",  "/a", "a/", "a/b", "a//b", "a/b/c",     "A",           "$x/a",
                                         "$a", "b",  "/",  "a b", "ä",    "a\xcc\x88", "\xef\xbb\xbf"};
  constexpr std::string_view kFilters[] = {
      "a",  "/a",    "a/",    "a/b",  "a//b", "+",  "#",   "+/+",   "a/+", "a/#",       "+/b",          "/+",
      "+/", "a/+/c", "a/+/+", "$x/#", "+/a",  "$a", "a b", "a/b/#", "ä",   "a\xcc\x88", "\xef\xbb\xbf", "/#"};
  TestBroker broker;
  for (const ProtocolVersion version : {V311, V5}) {
    for (const std::string_view filter : kFilters) {
      TestClient publisher(broker), client(broker, version);
      publisher.accepted(connect_as("p"));
      client.accepted(connect_as("s")).subscribed(filter, kQos0);
      Lines expected;
      for (const std::string_view name : kNames) {
        publisher.publish(name, "x");
        if (topic_matches(filter, name)) expected.push_back("PUBLISH " + std::string(name) + " 'x'");
      }
      CHECK(client.said() == expected);
    }
  }
}

TEST_CASE("names and filters may be 65 535 bytes long", "[session][MQTT-4.7.3-3][MQTT311-4.7.3-3]") {
  const std::string longest(65'535, 'x');
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker;
    TestClient client(broker, version);
    client.accepted(connect_as("a")).subscribed(longest, kQos1).publish(longest, "y");
    CHECK(client.said() == Lines{"PUBLISH " + longest + " 'y'"});
  }
}

TEST_CASE("a SUBSCRIBE or UNSUBSCRIBE that is no good ends the connection",
          "[session][MQTT-3.8.1-1][MQTT-3.8.3-1][MQTT-3.8.3-2][MQTT-3.8.3-5][MQTT-3.10.1-1][MQTT-3.10.3-1]"
          "[MQTT-3.10.3-2][MQTT-2.2.1-3][MQTT-2.1.3-1][MQTT311-3.8.1-1][MQTT311-3.8.3-1][MQTT311-3.8.3-3]"
          "[MQTT311-3.8.3-4][MQTT311-3.10.1-1][MQTT311-3.10.3-1][MQTT311-3.10.3-2][MQTT311-2.3.1-1]"
          "[MQTT311-2.2.2-1][MQTT311-2.2.2-2]") {
  TestBroker broker;
  const auto said_to = [&](std::string_view packet, ProtocolVersion version) {
    TestClient client(broker, version);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  const Lines malformed{"DISCONNECT 81", "closed"}, error{"DISCONNECT 82", "closed"}, closed{"closed"};
  CHECK(said_to("80 07 00 01 00 00 01 'a' 00", V5) == malformed);    // header flags
  CHECK(said_to("82 07 00 01 00 00 01 ff 00", V5) == malformed);     // no UTF-8
  CHECK(said_to("82 03 00 01 00", V5) == error);                     // no filter
  CHECK(said_to("82 07 00 01 00 00 01 'a' 40", V5) == malformed);    // reserved option
  CHECK(said_to("82 07 00 01 00 00 01 'a' 03", V5) == error);        // QoS 3
  CHECK(said_to("82 07 00 01 00 00 01 'a' 30", V5) == error);        // Retain Handling 3
  CHECK(said_to("82 07 00 00 00 00 01 'a' 00", V5) == error);        // identifier 0
  CHECK(said_to("82 09 00 01 02 0b 00 00 01 'a' 00", V5) == error);  // subscription identifier 0
  CHECK(said_to("a0 06 00 01 00 00 01 'a'", V5) == malformed);
  CHECK(said_to("a2 06 00 01 00 00 01 ff", V5) == malformed);
  CHECK(said_to("a2 03 00 01 00", V5) == error);
  CHECK(said_to("a2 06 00 00 00 00 01 'a'", V5) == error);
  CHECK(said_to("80 06 00 01 00 01 'a' 00", V311) == closed);
  CHECK(said_to("82 06 00 01 00 01 ff 00", V311) == closed);
  CHECK(said_to("82 02 00 01", V311) == closed);
  CHECK(said_to("82 06 00 01 00 01 'a' 03", V311) == closed);
  CHECK(said_to("82 06 00 01 00 01 'a' 04", V311) == closed);
  CHECK(said_to("82 06 00 00 00 01 'a' 00", V311) == closed);
  CHECK(said_to("a0 05 00 01 00 01 'a'", V311) == closed);
  CHECK(said_to("a2 05 00 01 00 01 ff", V311) == closed);
  CHECK(said_to("a2 02 00 01", V311) == closed);
  CHECK(said_to("a2 05 00 00 00 01 'a'", V311) == closed);
}

// --- replacing

TEST_CASE("subscribing again to the same filter replaces the subscription",
          "[session][MQTT-3.8.4-3][MQTT-3.8.4-4][MQTT311-3.8.4-3]") {
  for (const ProtocolVersion version : {V311, V5}) {
    for (const uint32_t session_expiry_s : {0, 100}) {
      TestBroker broker;
      TestClient client(broker, version), publisher(broker);
      publisher.accepted(connect_as("p")).publish("t", "kept", kQos0, 0, true);
      client.accepted(connect_as("s", true, session_expiry_s)).subscribe(1, {{"t", kQos0}});
      CHECK(client.said() == Lines{"SUBACK #1 00", "PUBLISH t 'kept' retain"});
      client.subscribe(2, {{"t", kQos1}});  // with Retain Handling 0 the retained message comes again
      CHECK(client.said() == Lines{"SUBACK #2 01", "PUBLISH t 'kept' retain"});
      publisher.publish("t", "x", kQos2, 1).ack(PacketType::Pubrel, 1);
      CHECK(client.said() == Lines{"PUBLISH t 'x' qos1 #1"});  // once
      client.subscribe(3, {{"t", kQos0}});
      client.said();
      publisher.publish("t", "y", kQos2, 1).ack(PacketType::Pubrel, 1);
      CHECK(client.said() == Lines{"PUBLISH t 'y'"});
    }
  }
}

TEST_CASE("a subscription replaced while messages wait loses none of them", "[session][MQTT-3.8.4-4]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  codec::ConnectView narrow = connect_as("s", true, 100);
  narrow.receive_maximum = 1;
  client.accepted(narrow).subscribed("t", kQos1);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 4; ++id) publisher.publish("t", std::to_string(id), kQos1, id);
  CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1"});
  client.subscribe(1, {{"t", kQos0}});
  client.subscribe(2, {{"t", kQos2}});
  publisher.publish("t", "5", kQos1, 5);
  CHECK(client.said() == Lines{"SUBACK #1 00", "SUBACK #2 02"});
  Lines rest;
  for (uint16_t id = 1; id <= 5; ++id) {
    client.ack(PacketType::Puback, id);
    for (std::string& line : client.said()) rest.push_back(std::move(line));
  }
  CHECK(rest ==
        Lines{"PUBLISH t '2' qos1 #2", "PUBLISH t '3' qos1 #3", "PUBLISH t '4' qos1 #4", "PUBLISH t '5' qos1 #5"});
}

TEST_CASE("a subscription lowered to QoS 0 still brings what waited", "[session][MQTT-3.8.4-4]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  codec::ConnectView narrow = connect_as("s", true, 100);
  narrow.receive_maximum = 1;
  client.accepted(narrow).subscribed("t", kQos1);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 3; ++id) publisher.publish("t", std::to_string(id), kQos1, id);
  client.said();
  client.subscribe(1, {{"t", kQos0}});
  CHECK(client.said() == Lines{"SUBACK #1 00"});
  client.ack(PacketType::Puback, 1);
  CHECK(client.said() == Lines{"PUBLISH t '2'", "PUBLISH t '3'"});
  publisher.publish("t", "4", kQos1, 4);
  CHECK(client.said() == Lines{"PUBLISH t '4'"});
}

// --- retain handling, retain as published, no local

TEST_CASE("Retain Handling says when retained messages are sent",
          "[session][MQTT-3.3.1-9][MQTT-3.3.1-10]"
          "[MQTT-3.3.1-11]") {
  TestBroker broker;
  TestClient client(broker), publisher(broker);
  publisher.accepted(connect_as("p")).publish("t/a", "a", kQos0, 0, true).publish("t/b", "b", kQos0, 0, true);
  client.accepted(connect_as("s"));
  const auto said_to = [&](RetainHandling handling) {
    Lines lines = client.subscribe(1, {{"t/+", kQos0, false, false, handling}}).said();
    REQUIRE(lines.front() == "SUBACK #1 00");
    lines.erase(lines.begin());
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  const Lines both{"PUBLISH t/a 'a' retain", "PUBLISH t/b 'b' retain"};
  CHECK(said_to(RetainHandling::DoNotSend) == Lines{});
  CHECK(said_to(RetainHandling::SendIfNew) == Lines{});
  CHECK(said_to(RetainHandling::Send) == both);
  CHECK(said_to(RetainHandling::Send) == both);
  client.unsubscribe(2, {"t/+"}).said();
  CHECK(said_to(RetainHandling::SendIfNew) == both);
  CHECK(said_to(RetainHandling::SendIfNew) == Lines{});
}

TEST_CASE("Retain As Published keeps the publisher's RETAIN, and without it there is none",
          "[session][MQTT-3.3.1-12][MQTT-3.3.1-13][MQTT311-3.3.1-9]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient as_published(broker), plain(broker), three(broker, V311), publisher(broker);
    as_published.accepted(connect_as("r", true, session_expiry_s)).subscribe(1, {{"t", kQos1, false, true}});
    plain.accepted(connect_as("s", true, session_expiry_s)).subscribe(1, {{"t", kQos1}});
    three.accepted(connect_as("q", true, session_expiry_s)).subscribe(1, {{"t", kQos1}});
    for (TestClient* client : {&as_published, &plain, &three}) CHECK(client->said() == Lines{"SUBACK #1 01"});
    publisher.accepted(connect_as("p")).publish("t", "0", kQos0, 0, true).publish("t", "1", kQos1, 1, true);
    publisher.publish("t", "2", kQos1, 2, false);
    CHECK(as_published.said() ==
          Lines{"PUBLISH t '0' retain", "PUBLISH t '1' qos1 #1 retain", "PUBLISH t '2' qos1 #2"});
    for (TestClient* client : {&plain, &three}) {
      CHECK(client->said() == Lines{"PUBLISH t '0'", "PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos1 #2"});
    }
  }
}

TEST_CASE("No Local keeps a client's own messages from it", "[session][MQTT-3.8.3-3]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), other(broker);
    client.accepted(connect_as("a", true, session_expiry_s)).subscribe(1, {{"t", kQos1, true}, {"u", kQos1}});
    other.accepted(connect_as("b", true, session_expiry_s)).subscribe(1, {{"t", kQos1, true}});
    client.said();
    other.said();
    client.publish("t", "0").publish("t", "1", kQos1, 1).publish("u", "2", kQos1, 2);
    Lines lines = client.said();
    std::sort(lines.begin(), lines.end());
    CHECK(lines == Lines{"PUBACK #1", "PUBACK #2", "PUBLISH u '2' qos1 #1"});
    CHECK(other.said() == Lines{"PUBLISH t '0'", "PUBLISH t '1' qos1 #1"});
    // The same client on its next connection is the same client.
    client.drop();
    TestClient again(broker);
    again.connect(connect_as("a", false, session_expiry_s));
    if (session_expiry_s == 0) continue;
    again.said();
    other.publish("t", "x").said();
    again.publish("t", "y");
    CHECK(again.said() == Lines{"PUBLISH t 'x'"});
  }
}

TEST_CASE("No Local keeps a client's own retained messages from it, also when it has come back",
          "[session][MQTT-3.8.3-3]") {
  TestBroker broker;
  TestClient client(broker), other(broker), again(broker);
  client.accepted(connect_as("a")).publish("t/1", "mine", kQos0, 0, true).disconnect();
  other.accepted(connect_as("b")).publish("t/2", "another's", kQos0, 0, true);
  again.accepted(connect_as("a")).subscribe(1, {{.topic_filter = "t/+", .no_local = true}});
  CHECK(again.said() == Lines{"SUBACK #1 00", "PUBLISH t/2 'another's' retain"});
  CHECK(again.subscribe(2, {{.topic_filter = "t/1"}}).said() == Lines{"SUBACK #2 00", "PUBLISH t/1 'mine' retain"});
}

TEST_CASE("No Local on a shared subscription is a protocol error", "[session][MQTT-3.8.3-4]") {
  TestBroker broker;
  TestClient client(broker);
  CHECK(client.accepted(connect_as("a")).subscribe(1, {{"$share/g/t", kQos0, true}}).said() ==
        Lines{"DISCONNECT 82", "closed"});
}

TEST_CASE("a No Local subscription beside a live one brings a client's own message once", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a", true, 100)).subscribe(1, {{"t/#", kQos1, true}, {"t/a", kQos0}});
  client.said();
  client.publish("t/a", "x", kQos1, 1);
  CHECK(client.said() == Lines{"PUBLISH t/a 'x'", "PUBACK #1"});
}

// --- identifiers and overlap

TEST_CASE("messages carry the identifiers of the subscriptions that brought them",
          "[session][MQTT-3.3.4-2][MQTT-3.3.4-3][MQTT-3.3.4-4][MQTT311-3.3.5-1]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), three(broker, V311), publisher(broker);
    client.accepted(connect_as("a", true, session_expiry_s));
    client.subscribed("t/#", kQos0, 7)
        .subscribed("t/a", kQos2, 268'435'455)
        .subscribed("+/+", kQos1)
        .subscribed("u", kQos1, 1);
    three.accepted(connect_as("b", true, session_expiry_s)).subscribed("t/#", kQos0).subscribed("t/+", kQos2);
    publisher.accepted(connect_as("p")).publish("t/a", "x", kQos2, 1);
    const Lines lines = client.said();
    REQUIRE(lines.size() == 1);
    CHECK((lines[0] == "PUBLISH t/a 'x' qos2 #1 sub=7,268435455" ||
           lines[0] == "PUBLISH t/a 'x' qos2 #1 sub=268435455,7"));
    CHECK(three.said() == Lines{"PUBLISH t/a 'x' qos2 #1"});
    publisher.publish("t/b", "y").publish("t", "z").publish("u", "1");
    CHECK(client.said() == Lines{"PUBLISH t/b 'y' sub=7", "PUBLISH t 'z' sub=7", "PUBLISH u '1' sub=1"});
    client.subscribed("u", kQos1);  // replaced by one without
    publisher.publish("u", "2");
    CHECK(client.said() == Lines{"PUBLISH u '2'"});
  }
}

TEST_CASE("retained messages carry the identifier of the new subscription", "[session][MQTT-3.3.4-3]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a")).publish("t", "x", kQos0, 0, true).subscribe(1, {{"t", kQos1}}, 9);
  CHECK(client.said() == Lines{"SUBACK #1 01", "PUBLISH t 'x' retain sub=9"});
}

TEST_CASE("a session with many subscriptions has each message once, with every identifier", "[session][MQTT-3.3.4-2]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    client.accepted(connect_as("a", true, session_expiry_s));
    for (uint32_t i = 0; i < 30; ++i) client.subscribed("x/" + std::to_string(i), kQos1, 100 + i);
    client.subscribed("x/+", kQos1, 1).subscribed("x/#", kQos2, 1).subscribed("#", kQos0, 1);
    publisher.accepted(connect_as("p")).publish("x/7", "m", kQos1, 1);
    const Lines lines = client.said();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].starts_with("PUBLISH x/7 'm' qos1 #1 sub="));
    CHECK(lines[0].find("107") != std::string::npos);
    CHECK(std::count(lines[0].begin(), lines[0].end(), ',') == 3);
  }
}

// --- UNSUBSCRIBE

TEST_CASE("UNSUBSCRIBE ends the subscriptions it names byte by byte, and is always answered",
          "[session][MQTT-3.10.4-1][MQTT-3.10.4-2][MQTT-3.10.4-4][MQTT-3.10.4-5][MQTT-3.10.4-6][MQTT-3.11.3-1]"
          "[MQTT-3.11.3-2][MQTT311-3.10.4-1][MQTT311-3.10.4-2][MQTT311-3.10.4-4][MQTT311-3.10.4-5]"
          "[MQTT311-3.10.4-6]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    for (const ProtocolVersion version : {V311, V5}) {
      TestBroker broker;
      TestClient client(broker, version), publisher(broker);
      publisher.accepted(connect_as("p"));
      client.accepted(connect_as("a", true, session_expiry_s));
      client.subscribed("t/+", kQos1).subscribed("t/a", kQos1).subscribed("u", kQos0);
      client.unsubscribe(5, {"t/A", "t/+", "t/#", "u", "u"});
      if (version == V5) {
        CHECK(client.said() == Lines{"UNSUBACK #5 11 00 11 00 11"});
      } else {
        CHECK(client.said_bytes() == hex("b0 02 00 05"));
      }
      publisher.publish("t/b", "x", kQos1, 1).publish("u", "x", kQos1, 2).publish("t/a", "x", kQos1, 3);
      CHECK(client.said() == Lines{"PUBLISH t/a 'x' qos1 #1"});
      CHECK(broker.counter(&Counters::subscriptions_removed) == 2);
    }
  }
}

TEST_CASE("deliveries begun before UNSUBSCRIBE are finished", "[session][MQTT-3.10.4-3][MQTT311-3.10.4-3]") {
  for (const ProtocolVersion version : {V311, V5}) {
    TestBroker broker;
    TestClient client(broker, version), publisher(broker);
    publisher.accepted(connect_as("p"));
    client.accepted(version == V5 ? connect_as("a", true, 100) : connect_as("a", false)).subscribed("t", kQos2);
    publisher.publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2);
    CHECK(client.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos2 #2"});
    client.unsubscribe(1, {"t"}).said();
    client.drop();
    TestClient again(broker, version);
    again.connect(connect_as("a", false, 100));
    CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBLISH t '2' qos2 #2 dup"});
    CHECK(again.ack(PacketType::Puback, 1).ack(PacketType::Pubrec, 2).said() == Lines{"PUBREL #2"});
    CHECK(again.ack(PacketType::Pubcomp, 2).said() == Lines{});
  }
}

// --- refusals

TEST_CASE("what the broker does not offer or the host does not allow is refused filter by filter",
          "[session][MQTT-3.8.4-7][MQTT311-3.8.3-2]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  setup.limits.wildcard_subscriptions_available = false;
  setup.limits.shared_subscriptions_available = false;
  setup.limits.subscriptions_max = 2;
  setup.limits.topic_levels_max = 3;
  TestBroker broker(setup);
  TestClient client(broker), three(broker, V311), publisher(broker);
  client.accepted(connect_as("a"));
  client.subscribe(1, {{"a/+"}, {"#"}, {"$share/g/t"}, {"secret/t"}, {"a/b/c/d"}, {"a"}, {"b"}, {"c"}, {"a", kQos1}});
  CHECK(client.said() == Lines{"SUBACK #1 a2 a2 9e 87 8f 00 00 97 01"});
  three.accepted(connect_as("b")).subscribe(1, {{"a/+"}, {"secret"}, {"a"}, {"#"}});
  CHECK(three.said_bytes() == hex("90 06 00 01 80 80 00 80"));
  publisher.accepted(connect_as("p")).publish("a/b", "x");
  CHECK(client.said() == Lines{});
}

TEST_CASE("subscription identifiers are refused where there are none", "[session]") {
  TestSetup setup;
  setup.limits.subscription_identifiers_available = false;
  TestBroker broker(setup);
  TestClient client(broker);
  CHECK(client.accepted(connect_as("a")).subscribe(1, {{"t"}}, 5).said() == Lines{"DISCONNECT a1", "closed"});
}

TEST_CASE("a SUBSCRIBE waits for all permissions, and takes effect once", "[session]") {
  TestAccess access;
  access.pending = true;
  TestSetup setup;
  setup.access = &access;
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("a")).subscribe(1, {{"a", kQos1}, {"b", kQos1}, {"$share/g/c", kQos1}});
  CHECK(client.said() == Lines{});
  REQUIRE(access.asked.size() == 3);
  broker.answer(access.asked[2], Verdict::Allow);
  broker.answer(access.asked[0], Verdict::Allow);
  CHECK(client.said() == Lines{});
  CHECK(broker.counter(&Counters::subscriptions_added) == 0);
  broker.answer(access.asked[1], Verdict::Deny);
  CHECK(client.said() == Lines{"SUBACK #1 01 87 01"});
  CHECK(access.asked.size() == 3);
}

// --- shared subscriptions

TEST_CASE("a share name is not empty, has no wildcard, and a filter follows it",
          "[session][MQTT-4.8.2-1][MQTT-4.8.2-2]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a"));
  client.subscribe(1, {{"$share//t"},
                       {"$share/g"},
                       {"$share/g/"},
                       {"$share/+/t"},
                       {"$share/g#/t"},
                       {"$share/g/t#"},
                       {"$share/g/t"},
                       {"$share/g//"},
                       {"$shared/g/t"}});
  CHECK(client.said() == Lines{"SUBACK #1 8f 8f 8f 8f 8f 8f 00 00 00"});
}

TEST_CASE("each message to a shared subscription goes to one member, within the QoS it was granted",
          "[session][MQTT-4.8.2-3]") {
  TestBroker broker;
  TestClient one(broker), two(broker), other(broker), plain(broker), publisher(broker);
  one.accepted(connect_as("one")).subscribed("$share/g/t/+", kQos0, 4);
  two.accepted(connect_as("two")).subscribed("$share/g/t/+", kQos1);
  other.accepted(connect_as("other")).subscribed("$share/h/t/+", kQos2);
  plain.accepted(connect_as("plain")).subscribed("t/a", kQos0);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 6; ++id) publisher.publish("t/a", std::to_string(id), kQos2, id);
  Lines got = one.said(), got_two = two.said();
  CHECK(got.size() == 3);
  CHECK(got_two.size() == 3);
  for (const std::string& line : got) CHECK((line.starts_with("PUBLISH t/a '") && line.ends_with("' sub=4")));
  for (const std::string& line : got_two) CHECK(line.find("qos1 #") != std::string::npos);
  CHECK(other.said().size() == 6);
  CHECK(plain.said().size() == 6);
  one.unsubscribe(1, {"$share/g/t/+"});
  CHECK(one.said() == Lines{"UNSUBACK #1 00"});
  publisher.publish("t/a", "x");
  CHECK(two.said().size() == 1);
}

TEST_CASE("shared subscriptions are sent no retained messages", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a")).publish("t", "x", kQos0, 0, true).subscribe(1, {{"$share/g/t"}});
  CHECK(client.said() == Lines{"SUBACK #1 00"});
}

TEST_CASE("Retain As Published counts for shared subscriptions too", "[session][MQTT-3.3.1-13]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a")).subscribe(1, {{"$share/g/t", kQos1, false, true}, {"$share/h/t", kQos1}});
  client.said();
  client.publish("t", "x", kQos0, 0, true);
  Lines lines = client.said();
  std::sort(lines.begin(), lines.end());
  CHECK(lines == Lines{"PUBLISH t 'x'", "PUBLISH t 'x' retain"});
}

TEST_CASE("while no member is there, what is above QoS 0 waits for one that returns", "[session]") {
  TestBroker broker;
  TestClient one(broker), publisher(broker);
  one.accepted(connect_as("one", true, 100)).subscribed("$share/g/t", kQos1).drop();
  publisher.accepted(connect_as("p")).publish("t", "lost").publish("t", "1", kQos1, 1).publish("t", "2", kQos1, 2);
  TestClient again(broker);
  again.connect(connect_as("one", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos1 #2"});
}

TEST_CASE("a QoS 2 delivery begun to a member is finished with that member, or with nobody",
          "[session][MQTT-4.8.2-4][MQTT-4.8.2-5]") {
  TestBroker broker;
  TestClient one(broker), two(broker), publisher(broker);
  one.accepted(connect_as("one", true, 10)).subscribed("$share/g/t", kQos2);
  publisher.accepted(connect_as("p")).publish("t", "x", kQos2, 1);
  CHECK(one.said() == Lines{"PUBLISH t 'x' qos2 #1"});
  one.drop();
  two.accepted(connect_as("two")).subscribed("$share/g/t", kQos2);
  CHECK(two.said() == Lines{});
  TestClient again(broker);
  again.connect(connect_as("one", false, 10));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t 'x' qos2 #1 dup"});
  again.drop();
  broker.advance_s(20);
  CHECK(broker.core().sessions().count() == 2);  // the publisher's, and that of the other member
  CHECK(two.said() == Lines{});
}

TEST_CASE("a member's refusal discards the message for the whole group", "[session][MQTT-4.8.2-6][MQTT-4.4.0-2]") {
  TestBroker broker;
  TestClient one(broker), two(broker), publisher(broker);
  one.accepted(connect_as("one", true, 100)).subscribed("$share/g/t", kQos2);
  publisher.accepted(connect_as("p")).publish("t", "1", kQos1, 1).publish("t", "2", kQos2, 2);
  CHECK(one.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos2 #2"});
  two.accepted(connect_as("two")).subscribed("$share/g/t", kQos2);
  one.ack(PacketType::Puback, 1, ReasonCode::UnspecifiedError).ack(PacketType::Pubrec, 2, ReasonCode::QuotaExceeded);
  CHECK(one.said() == Lines{});
  one.drop();
  TestClient again(broker);
  again.connect(connect_as("one", false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present"});
  CHECK(two.said() == Lines{});
}

TEST_CASE("an exclusive subscription is one client's at a time, whatever shard it is on", "[session]") {
  TestSetup setup;
  setup.policy.exclusive_subscriptions = true;
  setup.shard_count = 2;
  TestBroker broker(setup);
  TestClient one(broker, V5, 0), two(broker, V5, 1), plain(broker), publisher(broker);
  one.accepted(connect_as(broker.client_id_at(0), true, 100));
  two.accepted(connect_as(broker.client_id_at(1)));
  plain.accepted(connect_as("plain")).subscribed("t/+", kQos0);
  publisher.accepted(connect_as("p")).publish("t/a", "kept", kQos0, 0, true);
  plain.said();
  CHECK(one.subscribe(1, {{"$exclusive/t/+", kQos1}}, 7).said() ==
        Lines{"SUBACK #1 01", "PUBLISH t/a 'kept' retain sub=7"});
  CHECK(two.subscribe(1, {{"$exclusive/t/+"}, {"$exclusive/t/a"}, {"t/b"}}).said() ==
        Lines{"SUBACK #1 97 00 00", "PUBLISH t/a 'kept' retain"});
  CHECK(one.subscribe(2, {{.topic_filter = "$exclusive/t/+", .retain_handling = codec::RetainHandling::SendIfNew}}, 8)
            .said() == Lines{"SUBACK #2 00"});
  publisher.publish("t/c", "x", kQos1, 1);
  CHECK(one.said() == Lines{"PUBLISH t/c 'x' sub=8"});
  CHECK(plain.said() == Lines{"PUBLISH t/c 'x'"});
  // A session that is kept keeps it, and one that ends gives it up.
  one.drop();
  CHECK(two.subscribe(2, {{"$exclusive/t/+"}}).said() == Lines{"SUBACK #2 97"});
  broker.advance_s(200);
  two.subscribe(3, {{.topic_filter = "$exclusive/t/+", .retain_handling = codec::RetainHandling::DoNotSend}});
  CHECK(two.said() == Lines{"SUBACK #3 00"});
  TestClient three(broker);
  three.accepted(connect_as("three"));
  CHECK(three.subscribe(1, {{"$exclusive/t/+"}}).said() == Lines{"SUBACK #1 97"});
  CHECK(two.unsubscribe(4, {"$exclusive/t/+", "$exclusive/t/+"}).said() == Lines{"UNSUBACK #4 00 11"});
  three.subscribe(2, {{.topic_filter = "$exclusive/t/+", .retain_handling = codec::RetainHandling::DoNotSend}});
  CHECK(three.said() == Lines{"SUBACK #2 00"});
  // Subscribed again without the prefix it is anybody's.
  three.subscribe(3, {{.topic_filter = "t/+", .retain_handling = codec::RetainHandling::DoNotSend}}).said();
  two.subscribe(5, {{.topic_filter = "$exclusive/t/+", .retain_handling = codec::RetainHandling::DoNotSend}});
  CHECK(two.said() == Lines{"SUBACK #5 00"});
}

TEST_CASE("an exclusive filter is as good as what stands behind its prefix, and none where it is off", "[session]") {
  TestSetup setup;
  setup.policy.exclusive_subscriptions = true;
  TestBroker broker(setup), without;
  TestClient client(broker), other(without);
  client.accepted(connect_as("a"));
  client.subscribe(1, {{"$exclusive/"}, {"$exclusive/a#"}, {"$exclusive/$share/g/t"}, {"$exclusive"}});
  CHECK(client.said() == Lines{"SUBACK #1 8f 8f 8f 00"});
  CHECK(other.accepted(connect_as("a")).subscribe(1, {{"$exclusive/t"}}).said() == Lines{"SUBACK #1 8f"});
}

TEST_CASE("a message that comes by an own and a shared subscription has the identifier of each",
          "[session][MQTT-3.3.4-5]") {
  for (const uint32_t session_expiry_s : {0, 100}) {
    TestBroker broker;
    TestClient publisher(broker), client(broker);
    publisher.accepted(connect_as("p"));
    client.accepted(connect_as("c", true, session_expiry_s));
    client.subscribed("t", kQos1, 1).subscribed("$share/g/t", kQos1, 2).subscribed("+", kQos0, 3);
    publisher.publish("t", "x", kQos1, 1);
    const Lines copies = client.said();  // which comes first is not said
    REQUIRE(copies.size() == 2);
    const size_t own = copies[0].ends_with(" sub=1,3") ? 0 : 1;
    CHECK(copies[own].ends_with(" sub=1,3"));
    CHECK(copies[1 - own].ends_with(" sub=2"));
  }
}

// --- rewritten filters

TEST_CASE("a filter is rewritten before anything else, and unsubscribed by the name the client gave it", "[session]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  setup.policy.exclusive_subscriptions = true;
  setup.policy.rewrites.add(0, TopicRewrites::kSubscribe, "old/#", "new/$1");
  setup.policy.rewrites.add(0, TopicRewrites::kSubscribe, "open/+", "secret/$1");
  setup.policy.rewrites.add(0, TopicRewrites::kSubscribe, "bad/#", "$1/x");
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  publisher.accepted(connect_as("p"));
  client.accepted(connect_as("c"));
  client.subscribe(1,
                   {{"old/+/x", kQos1}, {"$share/g/old/s", kQos1}, {"$exclusive/old/e", kQos1}, {"open/a"}, {"bad/#"}});
  CHECK(client.said() == Lines{"SUBACK #1 01 01 01 87 8f"});
  for (const char* topic : {"new/1/x", "new/s", "new/e", "old/1/x", "old/s", "old/e"}) publisher.publish(topic, "x");
  CHECK(client.said() == Lines{"PUBLISH new/1/x 'x'", "PUBLISH new/s 'x'", "PUBLISH new/e 'x'"});
  client.unsubscribe(2, {"old/+/x", "$share/g/old/s", "$exclusive/old/e", "old/none", "bad/#"});
  CHECK(client.said() == Lines{"UNSUBACK #2 00 00 00 11 11"});
  CHECK(broker.core().find_session(0, "c")->subscription_count() == 0);
  CHECK(broker.core().find_session(0, "c")->membership_count() == 0);
}

// --- automatic subscriptions

TEST_CASE("every client has the automatic subscriptions from its CONNACK on", "[session]") {
  TestSetup setup;
  codec::SubscriptionOptions quiet{kQos2, true, false, RetainHandling::DoNotSend};
  setup.policy.auto_subscriptions.emplace_back(0, "to/${client_id}/#", codec::SubscriptionOptions{kQos1});
  setup.policy.auto_subscriptions.emplace_back(0, "all", quiet);
  setup.policy.auto_subscriptions.emplace_back(0, "$share/g/work", codec::SubscriptionOptions{kQos1});
  setup.policy.auto_subscriptions.emplace_back(5, "of/another/namespace", codec::SubscriptionOptions{});
  for (const uint32_t shard_count : {1u, 2u}) {
    setup.shard_count = shard_count;
    TestBroker broker(setup);
    TestClient publisher(broker);
    publisher.accepted(connect_as("p/p"));  // cannot stand in a filter: it does without
    publisher.publish("to/c/kept", "r", kQos1, 1, true).publish("all", "r", kQos1, 2, true);
    for (const ProtocolVersion version : {V311, V5}) {
      TestClient client(broker, version);
      client.connect(connect_as("c"));
      CHECK(client.said() == Lines{"CONNACK 00", "PUBLISH to/c/kept 'r' qos1 #1 retain"});
      publisher.publish("to/c/x", "1", kQos2, 3).ack(PacketType::Pubrel, 3).publish("to/d", "2").publish("all", "3");
      CHECK(client.said() == Lines{"PUBLISH to/c/x '1' qos1 #2", "PUBLISH all '3'"});
      client.publish("all", "own");
      CHECK(client.said() == Lines{});  // No Local is the broker's word, in every version
      CHECK(client.unsubscribe(1, {"all"}).said().size() == 1);
      publisher.publish("all", "4");
      CHECK(client.said() == Lines{});
      client.disconnect();
      TestClient again(broker, version);
      again.connect(connect_as("c")).said();
      publisher.publish("all", "5");
      CHECK(again.said() == Lines{"PUBLISH all '5'"});
      again.disconnect();
    }
  }
}

TEST_CASE("an automatic subscription is ended by its own name, which no rule rewrites", "[session]") {
  TestSetup setup;
  setup.policy.rewrites.add(0, TopicRewrites::kSubscribe, "news/#", "neu/$1");
  setup.policy.auto_subscriptions.emplace_back(0, "news/#", codec::SubscriptionOptions{});
  TestBroker broker(setup);
  TestClient client(broker);
  client.connect(connect_as("c"));
  CHECK(client.said() == Lines{"CONNACK 00"});
  client.subscribe(1, {{"news/#", kQos0}}).unsubscribe(2, {"news/#", "news/#", "news/#"});
  CHECK(client.said() == Lines{"SUBACK #1 00", "UNSUBACK #2 00 00 11"});
}

TEST_CASE("nobody subscribes below $delayed", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("c")).subscribe(1, {{"$delayed/1/a"}, {"$delayed/#"}, {"$share/g/$delayed/1/a"}});
  const std::vector<std::byte> said = client.said_bytes();
  CHECK(describe(said, V5) == Lines{"SUBACK #1 8f 8f 8f"});
  CHECK(reason_strings(said)[0] == to_text(Detail::DelayedFilter));
}

TEST_CASE("members by automatic subscription share what comes", "[session]") {
  TestSetup setup = shards(2);
  setup.policy.auto_subscriptions.emplace_back(0, "$share/g/work", codec::SubscriptionOptions{kQos1});
  TestBroker broker(setup);
  TestClient one(broker), two(broker);
  one.accepted(connect_as(broker.client_id_at(0)));
  two.accepted(connect_as(broker.client_id_at(1)));
  TestClient publisher(broker);
  publisher.accepted(connect_as("p"));
  for (int i = 0; i < 9; ++i) publisher.publish("work", "x");
  CHECK(one.said().size() == 3);
  CHECK(two.said().size() == 3);
  CHECK(publisher.said().size() == 3);  // it has the subscription too
}

TEST_CASE("a session keeps the subscription that it has", "[session]") {
  TestSetup setup;
  setup.policy.auto_subscriptions.emplace_back(0, "a", codec::SubscriptionOptions{kQos1});
  TestBroker broker(setup);
  TestClient first(broker), second(broker), publisher(broker);
  publisher.accepted(connect_as("p")).publish("a", "r", kQos1, 1, true);
  publisher.said();
  first.connect(connect_as("c", true, 100));
  CHECK(first.said() == Lines{"CONNACK 00", "PUBLISH a 'r' qos1 #1 retain"});
  first.ack(PacketType::Puback, 1).subscribe(2, {{"a", kQos0, false, false, RetainHandling::DoNotSend}}, 7);
  first.disconnect();
  CHECK(second.connect(connect_as("c", false, 100)).said() ==
        Lines{"CONNACK 00 present"});  // not the retained one again
  publisher.publish("a", "x", kQos1, 2);
  CHECK(second.said() == Lines{"PUBLISH a 'x' sub=7"});
}

TEST_CASE("an automatic subscription needs no permission, and no room that is not there", "[session]") {
  TestAccess access;
  TestSetup setup;
  setup.access = &access;
  setup.limits.subscriptions_max = 1;
  setup.policy.auto_subscriptions.emplace_back(0, "secret", codec::SubscriptionOptions{});
  setup.policy.auto_subscriptions.emplace_back(0, "more", codec::SubscriptionOptions{});
  setup.policy.auto_subscriptions.emplace_back(0, "$share/g/more", codec::SubscriptionOptions{});
  TestBroker broker(setup);
  TestClient client(broker);
  client.accepted(connect_as("c"));
  client.publish("secret/no", "x").publish("more", "x").publish("x", "x");
  CHECK(client.said() == Lines{});
  CHECK(broker.core().find_session(0, "c")->subscription_count() == 1);
  CHECK(broker.core().find_session(0, "c")->membership_count() == 0);
}

TEST_CASE("an automatic subscription that cannot be is refused as it is set", "[session]") {
  const auto refused = [](std::string_view filter, bool no_local = false) {
    try {
      AutoSubscription(0, filter, {kQos0, no_local});
    } catch (const std::invalid_argument& failure) {
      return std::string(failure.what());
    }
    return std::string("taken");
  };
  CHECK(refused("a/${client_id}/#") == "taken");
  CHECK(refused("$share/g/${client_id}") == "taken");
  CHECK(refused("a/#/b") == "topic_filter: not a topic filter");
  CHECK(refused("") == "topic_filter: not a topic filter");
  CHECK(refused("$share/g") == "topic_filter: not a topic filter");
  CHECK(refused("a/${client}") == "topic_filter: ${client_id} and ${user_name} are what can be filled in");
  CHECK(refused("$delayed/1/a") == "topic_filter: nothing is delivered below $delayed");
  CHECK(refused("$exclusive/a") == "topic_filter: $exclusive/, which one client alone can have");
  CHECK(refused("$share/g/a", true) == "no_local: not for a shared subscription");
}

TEST_CASE("who subscribes to a stream is told that there is none, or what is wrong with its address", "[session]") {
  TestBroker broker;
  TestClient client(broker), old(broker, V311);
  client.accepted(connect_as("a"));
  old.accepted(connect_as("b"));
  for (const auto& [address, why] : {std::pair{"$stream/orders", "there is no such stream"},
                                     {"$s/earliest/o/#", "there is no such stream"},
                                     {"$s/@7/$stream/orders/o/+", "there is no such stream"},
                                     {"$stream/", "a stream's name is"},
                                     {"$s/-1/o", "an offset is earliest"},
                                     {"$exclusive/$stream/orders", "exclusive subscriptions are off"}}) {
    INFO(address);
    const std::vector<std::byte> bytes = client.subscribe(1, {{address, kQos1}}).said_bytes();
    CHECK(describe(bytes, V5) == Lines{"SUBACK #1 8f"});
    const auto texts = reason_strings(bytes);
    REQUIRE(texts.size() == 1);
    CHECK(texts[0].starts_with(why));
    old.subscribe(1, {{address, kQos1}});
    CHECK(old.said() == Lines{"SUBACK #1 80"});
  }
}

}  // namespace mqttq
