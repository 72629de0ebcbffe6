// Bytes in, bytes out, and the ends of a connection, whatever the packets say.
#include "session/connection.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "heap.h"
#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;

}  // namespace

TEST_CASE("PINGREQ is answered by PINGRESP", "[session][MQTT-3.12.4-1][MQTT311-3.12.4-1]") {
  TestBroker broker;
  for (const ProtocolVersion version : {V311, V5}) {
    TestClient client(broker, version);
    client.accepted(connect_as("a"));
    CHECK(client.ping().said_bytes() == hex("d0 00"));
    CHECK(client.raw("c0 00 c0 00 c0 00").said_bytes() == hex("d0 00 d0 00 d0 00"));
  }
}

TEST_CASE("what is no packet of a client ends the connection",
          "[session][MQTT-4.13.1-1][MQTT-2.1.3-1][MQTT-1.5.5-1][MQTT-3.15.1-1][MQTT311-4.8.0-1][MQTT311-2.2.2-1]"
          "[MQTT311-2.2.2-2]") {
  TestBroker broker;
  const auto said_to = [&](std::string_view packet, ProtocolVersion version) {
    TestClient client(broker, version);
    return client.accepted(connect_as("a")).raw(packet).said();
  };
  const Lines malformed{"DISCONNECT 81", "closed"}, error{"DISCONNECT 82", "closed"};
  CHECK(said_to("00 00", V5) == malformed);              // type 0
  CHECK(said_to("c0 ff ff ff ff 01", V5) == malformed);  // a length of five bytes
  CHECK(said_to("c0 80 00", V5) == malformed);           // a length in more bytes than it needs
  CHECK(said_to("c4 00", V5) == malformed);              // flags
  CHECK(said_to("c0 01 00", V5) == malformed);           // a PINGREQ with something in it
  CHECK(said_to("f1 00", V5) == malformed);              // flags of AUTH
  CHECK(said_to("20 03 00 00 00", V5) == error);         // a server's packets
  CHECK(said_to("90 04 00 01 00 00", V5) == error);
  CHECK(said_to("b0 04 00 01 00 00", V5) == error);
  CHECK(said_to("d0 00", V5) == error);
  for (const char* packet :
       {"00 00", "c0 ff ff ff ff 01", "c4 00", "f0 00", "20 02 00 00", "90 03 00 01 00", "b0 02 00 01", "d0 00"}) {
    CHECK(said_to(packet, V311) == Lines{"closed"});
  }
  CHECK(broker.counter(&Counters::protocol_errors) == 18);
}

TEST_CASE("a packet larger than the maximum ends the connection when its header has come", "[session][MQTT-3.2.2-15]") {
  TestSetup setup;
  setup.limits.packet_size_max = 1'000;
  TestBroker broker(setup);
  ListenerInfo narrow;
  narrow.packet_size_max = 100;
  TestClient exact(broker), large(broker), listener(broker, V5, 0, narrow), unknown(broker), three(broker, V311);
  exact.accepted(connect_as("a")).publish("t", std::string(1'000 - 3 - 3 - 1 - 2, 'x'), kQos1, 1);
  CHECK(exact.said() == Lines{"PUBACK #1 10"});
  CHECK(large.accepted(connect_as("b")).raw("30 e6 07").said() == Lines{"DISCONNECT 95", "closed"});
  CHECK(listener.accepted(connect_as("c")).raw("30 64").said() == Lines{"DISCONNECT 95", "closed"});
  CHECK(unknown.raw("10 ff ff ff 7f").said() == Lines{"closed"});  // before CONNECT there is nobody to tell
  CHECK(three.accepted(connect_as("d")).raw("30 e6 07").said() == Lines{"closed"});
}

TEST_CASE("a length that lies is given no more memory than what has come", "[session]") {
  TestSetup setup;
  setup.limits.packet_size_max = setup.limits.connect_size_max = 66 * 1024 * 1024;
  TestBroker broker(setup);
  TestClient client(broker), connected(broker);
  connected.accepted(connect_as("a"));
  const int64_t before = heap_bytes();
  client.raw("10 80 80 80 1f").raw("00 04");  // of 65 MB
  connected.raw("30 80 80 80 1f 00 01");
  CHECK(heap_bytes() - before < 4096);
  CHECK_FALSE(client.closed());
  CHECK_FALSE(connected.closed());
}

TEST_CASE("a CONNECT has a bound of its own", "[session]") {
  TestSetup setup;
  setup.limits.connect_size_max = 100;
  TestBroker broker(setup);
  TestClient client(broker), small(broker);
  CHECK(client.raw("10 63").said() == Lines{"closed"});  // 101 bytes
  CHECK(small.accepted(connect_as("a")).publish("t", std::string(1'000, 'x'), kQos1, 1).said() ==
        Lines{"PUBACK #1 10"});
}

TEST_CASE("bytes that do not become a packet keep no connection alive", "[session][MQTT-3.1.2-22][MQTT311-3.1.2-24]") {
  TestBroker broker;
  TestClient client(broker);
  codec::ConnectView connect = connect_as("a");
  connect.keep_alive_s = 2;
  client.accepted(connect).raw("30 10 00 01");
  for (int i = 0; i < 4 && !client.closed(); ++i) {
    broker.advance_ms(900);
    if (!client.closed()) client.raw("78");
  }
  CHECK(client.said() == Lines{"DISCONNECT 8d", "closed"});
}

TEST_CASE("a client whose packets cost much has a share of each turn, and loses nothing", "[session]") {
  TestBroker broker;
  TestClient listeners(broker), client(broker), other(broker);
  std::vector<std::unique_ptr<TestClient>> many;
  for (int i = 0; i < 300; ++i) {
    many.push_back(std::make_unique<TestClient>(broker));
    many.back()->accepted(connect_as("s" + std::to_string(i))).subscribed("t", kQos0);
  }
  client.accepted(connect_as("a"));
  other.accepted(connect_as("b"));
  std::vector<std::byte> publishes;
  for (int i = 0; i < 1'000; ++i) {
    const auto one = hex("30 04 00 01 't' 00");
    publishes.insert(publishes.end(), one.begin(), one.end());
  }
  // 300 000 copies: the other's ping is answered before the last of them is sent.
  client.link().inbox.push_back(publishes);
  broker.turn(0);
  CHECK(client.link().paused);
  other.link().inbox.push_back(hex("c0 00"));
  broker.turn(0);
  CHECK(other.said() == Lines{"PINGRESP"});
  CHECK(broker.counter(&Counters::messages_received) < 900);
  broker.wake(0);
  broker.settle();
  CHECK(broker.counter(&Counters::messages_received) == 1'000);
  CHECK(broker.counter(&Counters::messages_sent) == 300'000);
  CHECK_FALSE(client.link().paused);
}

TEST_CASE("packets may come in any pieces", "[session]") {
  const auto all =
      hex("10 0e | 00 04 'MQTT' 05 02 | 00 00 | 00 | 00 01 'a'"
          "82 07 | 00 01 | 00 | 00 01 't' | 01"
          "32 0b | 00 01 't' | 00 05 | 00 | 'hello'"
          "c0 00"
          "34 0b | 00 01 't' | 00 06 | 00 | 'world'"
          "62 02 | 00 06"
          "a2 06 | 00 02 | 00 | 00 01 'u'"
          "c0 00");
  Lines expected{"CONNACK 00", "SUBACK #1 01", "PUBLISH t 'hello' qos1 #1", "PUBACK #5",      "PINGRESP",
                 "PUBREC #6",  "PUBCOMP #6",   "PUBLISH t 'world' qos1 #2", "UNSUBACK #2 11", "PINGRESP"};
  std::sort(expected.begin(), expected.end());
  for (size_t step = 1; step <= all.size(); ++step) {
    TestBroker broker;
    TestClient client(broker);
    for (size_t at = 0; at < all.size(); at += step) {
      client.send(Bytes(all).subspan(at, std::min(step, all.size() - at)));
    }
    Lines lines = client.said();
    // What the client is sent by itself may come before or after its acknowledgement.
    std::sort(lines.begin(), lines.end());
    CHECK(lines == expected);
  }
}

TEST_CASE("a link that takes a few bytes at a time loses none and keeps their order", "[session]") {
  for (size_t room = 1; room < 40; ++room) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    client.accepted(connect_as("a")).subscribed("t", kQos1);
    publisher.accepted(connect_as("p"));
    client.link().room = 0;
    Lines expected;
    for (uint16_t id = 1; id <= 10; ++id) {
      const std::string payload(id * 100, static_cast<char>('a' + id));  // copied, and by reference
      publisher.publish("t", payload, kQos1, id);
      expected.push_back("PUBLISH t '" + payload + "' qos1 #" + std::to_string(id));
    }
    client.ping();
    expected.push_back("PINGRESP");
    for (int i = 0; i < 10'000 && client.link().refused_some; ++i) {
      client.link().room = room;
      broker.wake(0);
      broker.settle();
    }
    CHECK(client.said() == expected);
  }
}

TEST_CASE("a connection that was not read while its outbox was full is read again, however the outbox was emptied",
          "[session]") {
  TestSetup setup;
  setup.limits.outbox_bytes_max = 1'000;
  TestBroker broker(setup);
  TestClient sleeper(broker), writer(broker), again(broker);
  sleeper.accepted(connect_as("a", true, 100)).subscribed("t", kQos1).disconnect();
  writer.accepted(connect_as("w"));
  for (uint16_t id = 1; id <= 9; ++id) writer.publish("t", std::string(100, 'x'), kQos1, id);
  again.link().room = 0;
  again.connect(connect_as("a", false, 100)).ping();
  CHECK(again.said() == Lines{});
  for (uint16_t id = 10; id <= 18; ++id) writer.publish("t", std::string(100, 'x'), kQos1, id);
  // The link takes all, but for a moment the outbox is full again: of what the journal still had.
  again.link().room = SIZE_MAX;
  broker.wake(0);
  broker.settle();
  const Lines lines = again.said();
  CHECK(lines.size() == 20);
  CHECK(std::count(lines.begin(), lines.end(), "PINGRESP") == 1);
  CHECK_FALSE(again.link().paused);
}

TEST_CASE("a client over its message rate is read more slowly and loses nothing", "[session]") {
  TestSetup setup;
  setup.limits.message_rate = 10;
  TestBroker broker(setup);
  TestClient client(broker), listener(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  client.accepted(connect_as("a"));
  for (int i = 0; i < 30; ++i) client.publish("t", std::to_string(i));
  const size_t at_once = listener.said().size();
  CHECK(at_once >= 10);
  CHECK(at_once <= 11);
  CHECK(client.link().paused);
  broker.advance_s(1);
  const size_t in_a_second = listener.said().size();
  CHECK(in_a_second >= 1);
  CHECK(in_a_second <= 11);
  for (int i = 0; i < 40; ++i) broker.advance_ms(100);
  CHECK(at_once + in_a_second + listener.said().size() == 30);
  CHECK_FALSE(client.link().paused);
  CHECK_FALSE(client.closed());
}

TEST_CASE("a client over its byte rate is read more slowly and loses nothing", "[session]") {
  TestSetup setup;
  setup.limits.byte_rate = 1'000;
  TestBroker broker(setup);
  TestClient client(broker), listener(broker);
  listener.accepted(connect_as("listener")).subscribed("t", kQos0);
  client.accepted(connect_as("a"));
  for (int i = 0; i < 30; ++i) client.publish("t", std::string(194, 'x'));  // 200 bytes
  size_t got = listener.said().size();
  CHECK(got <= 6);
  for (int i = 0; i < 20; ++i) {
    broker.advance_ms(100);
    got += listener.said().size();
  }
  CHECK(got >= 13);
  CHECK(got <= 17);
  for (int i = 0; i < 50; ++i) broker.advance_ms(100);
  CHECK(got + listener.said().size() == 30);
}

TEST_CASE("the time in which we do not read is not held against the client's keep alive", "[session]") {
  TestSetup setup;
  setup.limits.message_rate = 1;
  TestBroker broker(setup);
  TestClient client(broker);
  codec::ConnectView connect = connect_as("a");
  connect.keep_alive_s = 1;
  client.accepted(connect);
  for (int i = 0; i < 8; ++i) client.publish("t", "x");
  for (int i = 0; i < 60; ++i) broker.advance_ms(100);
  CHECK_FALSE(client.closed());
}

TEST_CASE("when the broker stops its clients are told", "[session]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311), silent(broker);
  five.accepted(connect_as("a"));
  three.accepted(connect_as("b"));
  broker.core().close_all(ReasonCode::ServerShuttingDown, broker.now());
  broker.wake(0);
  broker.settle();
  CHECK(five.said() == Lines{"DISCONNECT 8b", "closed"});
  CHECK(three.said() == Lines{"closed"});
  CHECK(silent.said() == Lines{"closed"});
  CHECK_FALSE(broker.core().has_connections());
}

TEST_CASE("the host ends a client's connection, or its session with it", "[session]") {
  TestBroker broker;
  TestClient client(broker);
  client.accepted(connect_as("a", true, 100));
  CHECK_FALSE(broker.core().disconnect(1, "a", ReasonCode::AdministrativeAction, false, broker.now()));
  CHECK(broker.core().disconnect(0, "a", ReasonCode::AdministrativeAction, false, broker.now()));
  broker.wake(0);
  broker.settle();
  CHECK(client.said() == Lines{"DISCONNECT 98", "closed"});
  CHECK(broker.core().sessions().count() == 1);
  TestClient again(broker);
  CHECK(again.connect(connect_as("a", false, 100)).said() == Lines{"CONNACK 00 present"});
  CHECK(broker.core().disconnect(0, "a", ReasonCode::AdministrativeAction, true, broker.now()));
  broker.wake(0);
  broker.settle();
  CHECK(again.said() == Lines{"DISCONNECT 98", "closed"});
  CHECK(broker.core().sessions().count() == 0);
}

TEST_CASE("namespaces share neither clients, topics nor retained messages", "[session]") {
  TestBroker broker;
  ListenerInfo tenant;
  tenant.namespace_id = 7;
  TestClient ours(broker, V5, 0, tenant), theirs(broker),
      both[] = {TestClient(broker, V5, 0, tenant), TestClient(broker)};
  ours.accepted(connect_as("a", true, 100)).subscribed("#", kQos1).subscribed("$share/g/t", kQos1);
  theirs.accepted(connect_as("a", true, 100)).subscribed("#", kQos1);
  CHECK_FALSE(ours.closed());
  both[1].accepted(connect_as("b")).publish("t", "x", kQos1, 1, true);
  CHECK(ours.said() == Lines{});
  CHECK(theirs.said() == Lines{"PUBLISH t 'x' qos1 #1"});
  both[0].accepted(connect_as("b")).subscribe(1, {{"#"}});
  CHECK(both[0].said() == Lines{"SUBACK #1 00"});
  both[0].publish("t", "y", kQos2, 1);
  CHECK(theirs.said() == Lines{});
  CHECK(ours.said().size() == 2);
}

TEST_CASE("a client that reads again is read again, though what waited fills its outbox once more", "[session]") {
  TestSetup setup;
  setup.limits.outbox_bytes_max = 100;
  TestBroker broker(setup);
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a")).subscribed("t", Qos::AtLeastOnce);
  publisher.accepted(connect_as("p"));
  client.link().room = 0;
  for (uint16_t id = 1; id <= 40; ++id) publisher.publish("t", "full", Qos::AtLeastOnce, id);
  CHECK(client.ping().said() == Lines{});
  CHECK(client.link().paused);
  client.link().room = SIZE_MAX;
  broker.wake(0);
  broker.settle();
  const Lines said = client.said();
  CHECK(std::count(said.begin(), said.end(), "PINGRESP") == 1);
  CHECK_FALSE(client.link().paused);
}

}  // namespace mqttq
