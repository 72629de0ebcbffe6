// Several shards and their mail: connections that move, messages that cross, groups and retained messages with a home.
#include "session/shard_core.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "heap.h"
#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;

}  // namespace

TEST_CASE("a connection moves to the shard of its session, with all that was read", "[session][MQTT-3.2.0-1]") {
  TestBroker broker(shards(3, GENERATE(1u, 64u)));
  for (uint32_t accepted_on = 0; accepted_on < 3; ++accepted_on) {
    for (uint32_t home = 0; home < 3; ++home) {
      const std::string name = broker.client_id_at(home);
      TestClient client(broker, V5, accepted_on);
      client.accepted(connect_as(name));
      CHECK(client.link().shard == home);
      CHECK(client.ping().said() == Lines{"PINGRESP"});
      client.disconnect();
    }
  }
  CHECK(broker.counter(&Counters::connections_moved) == 6);
}

// The part of a packet that moves along is completed by what comes later.
TEST_CASE("a connection may move in the middle of a packet", "[session]") {
  TestBroker broker(shards(2));
  const std::string name = broker.client_id_at(1);
  REQUIRE(name.size() == 2);
  const auto all = hex("10 0f | 00 04 'MQTT' 05 02 | 00 00 | 00 | 00 02 '" + name +
                       "'  82 07 00 01 00 00 01 't' 01  32 07 00 01 't' 00 05 00 'x'  c0 00");
  for (size_t cut = 1; cut < all.size(); ++cut) {
    TestClient client(broker, V5, 0);
    client.send(Bytes(all).first(cut)).send(Bytes(all).subspan(cut));
    Lines lines = client.said();
    std::sort(lines.begin(), lines.end());
    CHECK(lines == Lines{"CONNACK 00", "PINGRESP", "PUBACK #5", "PUBLISH t 'x' qos1 #1", "SUBACK #1 01"});
    client.disconnect();
  }
}

TEST_CASE("assigned client identifiers are at home where they are given", "[session]") {
  TestBroker broker(shards(3));
  for (uint32_t shard = 0; shard < 3; ++shard) {
    TestClient client(broker, V5, shard);
    client.accepted(connect_as(""));
    CHECK(client.link().shard == shard);
  }
  CHECK(broker.counter(&Counters::connections_moved) == 0);
}

TEST_CASE("a client is taken over whatever shard it comes in by", "[session][MQTT-3.1.4-3]") {
  TestBroker broker(shards(2));
  const std::string name = broker.client_id_at(0);
  TestClient older(broker, V5, 0), newer(broker, V5, 1);
  older.accepted(connect_as(name, true, 100)).subscribed("t", kQos1);
  CHECK(newer.connect(connect_as(name, false, 100)).said() == Lines{"CONNACK 00 present"});
  CHECK(older.said() == Lines{"DISCONNECT 8e", "closed"});
}

TEST_CASE("messages reach the subscribers of every shard once and in order, however small the mailboxes",
          "[session][MQTT-4.6.0-5][MQTT-4.5.0-1]") {
  const uint32_t capacity = GENERATE(1u, 2u, 64u);
  const uint32_t session_expiry_s = GENERATE(0u, 100u);
  TestBroker broker(shards(3, capacity));
  std::vector<TestClient> readers;
  for (uint32_t shard = 0; shard < 3; ++shard) {
    readers.emplace_back(broker, V5, shard);
    readers.back()
        .accepted(connect_as(broker.client_id_at(shard), true, session_expiry_s))
        .subscribed("t/#", kQos2)
        .subscribed("t/+", kQos1);
  }
  TestClient publisher(broker, V5, 1);
  publisher.accepted(connect_as(broker.client_id_at(2) + "p"));
  std::vector<std::byte> all;
  Lines answers, expected;
  for (int i = 10; i < 70; ++i) {
    const std::string digits = std::to_string(i);
    const int qos = i % 3;
    const auto packet =
        qos ? hex((qos == 1 ? "32 0a" : "34 0a") + (" 00 03 't/a' 00 " + digits) + " 00 '" + digits + "'")
            : hex("30 08 00 03 't/a' 00 '" + digits + "'");
    all.insert(all.end(), packet.begin(), packet.end());
    const int id = i / 10 * 16 + i % 10;
    if (qos) answers.push_back((qos == 1 ? "PUBACK #" : "PUBREC #") + std::to_string(id));
  }
  publisher.send(all);
  CHECK(publisher.said() == answers);
  for (TestClient& reader : readers) {
    Lines above;
    int at_0 = 0, next_id = 1;
    for (const std::string& line : reader.said()) {
      if (line.find(" qos") == std::string::npos) {
        ++at_0;
        continue;
      }
      above.push_back(line);
    }
    CHECK(at_0 == 20);
    expected.clear();
    for (int i = 10; i < 70; ++i) {
      if (i % 3 == 0) continue;
      expected.push_back("PUBLISH t/a '" + std::to_string(i) + "' qos" + std::to_string(i % 3) + " #" +
                         std::to_string(next_id++));
    }
    CHECK(above == expected);
  }
}

TEST_CASE("a publish that has to wait for a mailbox keeps its place, and its publisher is not read", "[session]") {
  TestBroker broker(shards(2, 1));
  const std::string here = broker.client_id_at(0), there = broker.client_id_at(1);
  TestClient reader(broker, V5, 1), publisher(broker, V5, 0);
  reader.accepted(connect_as(there)).subscribed("t", kQos0);
  publisher.accepted(connect_as(here));
  TestLink& link = publisher.link();
  link.inbox.push_back(hex("30 05 00 01 't' 00 '1'  30 05 00 01 't' 00 '2'  30 05 00 01 't' 00 '3'  c0 00"));
  broker.turn(0);
  CHECK(link.paused);
  CHECK(publisher.said() == Lines{});
  broker.wake(0);
  broker.wake(1);
  broker.settle();
  CHECK_FALSE(link.paused);
  CHECK(publisher.said() == Lines{"PINGRESP"});
  CHECK(reader.said() == Lines{"PUBLISH t '1'", "PUBLISH t '2'", "PUBLISH t '3'"});
}

TEST_CASE("retained messages are found at their homes, whatever shard asks",
          "[session][MQTT-3.3.1-5][MQTT-3.3.1-6][MQTT-3.3.1-9]") {
  TestBroker broker(shards(3, GENERATE(1u, 64u)));
  TestClient publisher(broker, V5, 0);
  publisher.accepted(connect_as(broker.client_id_at(0)));
  for (uint16_t i = 1; i <= 30; ++i) {
    CHECK(publisher.publish("t/" + std::to_string(i), "x", kQos1, i, true).said() ==
          Lines{"PUBACK #" + std::to_string(i)});
  }
  for (uint16_t i = 1; i <= 10; ++i) publisher.publish("t/" + std::to_string(i), "", kQos0, 0, true);
  for (uint32_t shard = 0; shard < 3; ++shard) {
    TestClient reader(broker, V5, shard);
    reader.accepted(connect_as(broker.client_id_at(shard) + "r")).subscribe(1, {{"t/+"}, {"t/20"}, {"t/5"}});
    Lines lines = reader.said();
    REQUIRE(lines.size() == 22);
    CHECK(lines[0] == "SUBACK #1 00 00 00");
    std::sort(lines.begin() + 1, lines.end());
    CHECK(std::count(lines.begin(), lines.end(), "PUBLISH t/20 'x' retain") == 2);
    CHECK(std::count(lines.begin(), lines.end(), "PUBLISH t/30 'x' retain") == 1);
  }
}

TEST_CASE("a shared group's members may be on any shard, and each message goes to one of them",
          "[session][MQTT-4.8.2-3]") {
  TestBroker broker(shards(3, GENERATE(1u, 64u)));
  std::vector<TestClient> members;
  for (uint32_t shard = 0; shard < 3; ++shard) {
    members.emplace_back(broker, V5, shard);
    members.back().accepted(connect_as(broker.client_id_at(shard), true, shard * 100));
    members.back().subscribe(1, {{"$share/g/t/#", kQos1, false, shard == 0}}, shard + 1);
    CHECK(members.back().said() == Lines{"SUBACK #1 01"});
  }
  TestClient publisher(broker, V5, 2);
  publisher.accepted(connect_as(broker.client_id_at(1) + "p"));
  for (uint16_t id = 1; id <= 30; ++id) publisher.publish("t/a", std::to_string(id), kQos2, id, true);
  for (uint32_t shard = 0; shard < 3; ++shard) {
    const Lines lines = members[shard].said();
    CHECK(lines.size() == 10);
    for (const std::string& line : lines) {
      const std::string end = (shard == 0 ? std::string(" retain") : "") + " sub=" + std::to_string(shard + 1);
      CHECK(line.ends_with(end));
      CHECK(line.find(" qos1 #") != std::string::npos);
    }
  }
}

// A session's handle says nothing about its shard: both members have the same one here.
TEST_CASE("a message given back by one member goes to another, who stays a member", "[session]") {
  TestBroker broker(shards(2));
  TestClient one(broker, V5, 0), two(broker, V5, 1);
  one.accepted(connect_as(broker.client_id_at(0), true, 100)).subscribed("$share/g/t", kQos1);
  two.accepted(connect_as(broker.client_id_at(1), true, 100)).subscribed("$share/g/t", kQos1);
  const uint32_t home = broker.core().group_home_of(0, "$share/g/t");
  TestClient &near = home == 0 ? one : two, &far = home == 0 ? two : one;
  TestClient publisher(broker, V5, home);
  publisher.accepted(connect_as(""));
  // The far member goes, and its group hears of it only after it has chosen it.
  for (uint16_t id = 1; id <= 2; ++id) {
    publisher.link().inbox.push_back(hex(id == 1 ? "32 07 00 01 't' 00 01 00 '1'" : "32 07 00 01 't' 00 02 00 '2'"));
  }
  broker.core(1 - home).on_closed(*far.link().connection, true, broker.now());
  broker.turn(1 - home);
  broker.turn(home);
  broker.settle();
  CHECK(near.said() == Lines{"PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos1 #2"});
  publisher.publish("t", "3", kQos1, 3);
  CHECK(near.said() == Lines{"PUBLISH t '3' qos1 #3"});
}

TEST_CASE("a message waits where its group is at home until a member returns elsewhere", "[session]") {
  TestBroker broker(shards(2, 1));
  const uint32_t home = broker.core().group_home_of(0, "$share/g/t");
  const std::string name = broker.client_id_at(1 - home);
  TestClient member(broker, V5, 0), publisher(broker, V5, 1);
  member.accepted(connect_as(name, true, 100)).subscribed("$share/g/t", kQos2).drop();
  publisher.accepted(connect_as(""));
  for (uint16_t id = 1; id <= 5; ++id) publisher.publish("t", std::to_string(id), kQos1, id);
  TestClient again(broker, V5, 0);
  again.connect(connect_as(name, false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1", "PUBLISH t '2' qos1 #2",
                              "PUBLISH t '3' qos1 #3", "PUBLISH t '4' qos1 #4", "PUBLISH t '5' qos1 #5"});
}

TEST_CASE("a will crosses shards", "[session][MQTT-3.1.2-8]") {
  TestBroker broker(shards(2, 1));
  TestClient watcher(broker, V5, 0), client(broker, V5, 1);
  watcher.accepted(connect_as(broker.client_id_at(0))).subscribed("will", kQos1);
  client.accepted(with_will(connect_as(broker.client_id_at(1)), "will", "gone", kQos1, true)).drop();
  CHECK(watcher.said() == Lines{"PUBLISH will 'gone' qos1 #1"});
}

TEST_CASE("connections, sessions and messages leave nothing behind", "[session]") {
  const int64_t before = heap_blocks();
  {
    TestBroker broker(shards(GENERATE(1u, 3u)));
    for (int round = 0; round < 3; ++round) {
      TestClient one(broker), two(broker), three(broker, ProtocolVersion::V311);
      one.accepted(with_will(connect_as("one", true, 10), "will", "x", kQos1, true));
      two.accepted(connect_as("two", true, 10));
      three.accepted(connect_as("three"));
      for (TestClient* client : {&one, &two, &three}) {
        client->subscribe(9, {{"a/+", kQos2}, {"b", kQos1}, {"will", kQos1}, {"$share/g/a/#", kQos2}, {"#", kQos0}});
        client->publish("a/1", std::string(3'000, 'x'), kQos2, 1, true).publish("b", "y", kQos1, 2);
        client->raw(client == &three ? "32 05 00 01" : "32 08 00 01 't' 00");  // a part of a packet
      }
      one.drop();
      two.disconnect();
      three.drop();
      broker.advance_s(round == 2 ? 0 : 20);
    }
  }
  CHECK(heap_blocks() == before);
}

// From the k-th allocation on there is no memory, for every k; later there is some again.
TEST_CASE("a broker without memory neither breaks nor leaks, and works again when there is some", "[session]") {
  const uint32_t shard_count = GENERATE(1u, 2u);
  const int64_t before = heap_blocks();
  for (int64_t after = 0; after < 400; after += after < 150 ? 1 : 7) {
    INFO("no memory after " << after);
    {
      TestBroker broker(shards(shard_count));
      TestClient one(broker), two(broker), three(broker, ProtocolVersion::V311);
      {
        FailingHeap some(after);
        broker.restless = true;
        const auto alive = [](TestClient& client) { return !client.closed(); };
        one.connect(with_will(connect_as("one", true, 10), "will", "x", kQos1, true));
        two.connect(connect_as("two"));
        three.connect(connect_as("three", false));
        for (TestClient* client : {&one, &two, &three}) {
          if (alive(*client))
            client->subscribe(9, {{"a/+", kQos2}, {"will", kQos1}, {"$share/g/a/#", kQos2}, {"#"}}, 5);
          if (alive(*client)) client->publish("a/1", std::string(3'000, 'x'), kQos2, 1, true);
          if (alive(*client)) client->publish("a/2", "y", kQos1, 2);
          if (alive(*client)) client->ack(PacketType::Pubrec, 1).raw(client == &three ? "32 05 00" : "32 08 00");
        }
        one.drop();
        if (alive(two)) two.disconnect();
        broker.advance_s(20);
      }
      broker.restless = false;
      broker.advance_s(1);
      TestClient again(broker);
      again.connect(connect_as("again"));
      Lines lines = again.said();
      REQUIRE(lines == Lines{"CONNACK 00"});
      again.subscribe(1, {{"b", kQos1}}).publish("b", "z", kQos1, 1);
      lines = again.said();
      std::sort(lines.begin(), lines.end());
      CHECK(lines == Lines{"PUBACK #1", "PUBLISH b 'z' qos1 #1", "SUBACK #1 01"});
    }
    REQUIRE(heap_blocks() == before);
  }
}

}  // namespace mqttq
