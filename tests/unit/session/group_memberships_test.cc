// Shared subscriptions seen by their members (MQTT5 4.8.2): windows, deaths, and what is on its way meanwhile.
#include "session/group_memberships.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <ctime>
#include <set>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;

codec::ConnectView narrow(std::string_view client_id, uint16_t receive_maximum, uint32_t session_expiry_s = 0,
                          bool clean_start = true) {
  codec::ConnectView connect = connect_as(client_id, clean_start, session_expiry_s);
  connect.receive_maximum = receive_maximum;
  return connect;
}

// The payloads of PUBLISH lines.
std::vector<std::string> payloads(const Lines& lines) {
  std::vector<std::string> found;
  for (const std::string& line : lines) {
    if (!line.starts_with("PUBLISH")) continue;
    const size_t begin = line.find('\'') + 1;
    found.push_back(line.substr(begin, line.find('\'', begin) - begin));
  }
  return found;
}

// A group with a member on each of two shards, and a publisher at the group's home.
struct TwoShards {
  explicit TwoShards(uint32_t mailbox_capacity = 64) : broker(shards(2, mailbox_capacity)) {
    publisher.accepted(connect_as(""));
  }
  std::string name(uint32_t shard) const { return broker.client_id_at(shard); }
  void publish(int first, int last, Qos qos = kQos1) {
    for (int i = first; i <= last; ++i) publisher.publish("t", std::to_string(i), qos, static_cast<uint16_t>(i));
    publisher.said();
  }
  TestBroker broker;
  uint32_t home = broker.core().group_home_of(0, "$share/g/t");
  TestClient publisher{broker, V5, home};
};

}  // namespace

TEST_CASE("a filter named twice in one SUBSCRIBE is one membership, with the later options", "[session]") {
  TestBroker broker(shards(GENERATE(1u, 2u)));
  TestClient client(broker), publisher(broker);
  client.accepted(connect_as("a"));
  client.subscribe(1, {{"$share/g/t", kQos0}, {"$share/g/t", kQos2}, {"$share/g/t", kQos1, false, true}}, 7);
  CHECK(client.said() == Lines{"SUBACK #1 00 02 01"});
  publisher.accepted(connect_as("p")).publish("t", "x", kQos2, 1, true);
  CHECK(client.said() == Lines{"PUBLISH t 'x' qos1 #1 retain sub=7"});
  CHECK(client.unsubscribe(2, {"$share/g/t", "$share/g/t"}).said() == Lines{"UNSUBACK #2 00 11"});
  CHECK(publisher.said() == Lines{"PUBREC #1"});
  CHECK(publisher.publish("t", "y", kQos1, 2).said() == Lines{"PUBACK #2 10"});
}

TEST_CASE("thousands of shared subscriptions of one session cost no more each than a few", "[session]") {
  const auto took = [](int count) {
    TestBroker broker;
    TestClient client(broker), publisher(broker);
    client.accepted(connect_as("a"));
    std::vector<std::string> filters;
    for (int i = 0; i < count; ++i) filters.push_back("$share/g/t/" + std::to_string(i));
    const std::clock_t begin = std::clock();  // of this process: whatever else the machine does
    for (int i = 0; i < count; i += 1000) {
      std::vector<TestEntry> entries;
      for (int k = i; k < i + 1000; ++k) entries.push_back({filters[static_cast<size_t>(k)], kQos1});
      client.subscribe(1, entries);
    }
    publisher.accepted(connect_as("p"));
    for (int i = 0; i < count; i += 100) {
      publisher.publish("t/" + std::to_string(i), "x", kQos1, 1);
      client.ack(PacketType::Puback, static_cast<uint16_t>(i / 100 + 1));
    }
    return static_cast<double>(std::clock() - begin);
  };
  const double few = took(2'000), many = took(20'000);
  CHECK(many < few * 60);  // ten times as many; by the square it would be a hundred
}

TEST_CASE("no member whose window is full is chosen while another has room", "[session]") {
  TwoShards world(GENERATE(1u, 64u));
  TestClient narrow_one(world.broker, V5, 0), wide(world.broker, V5, 1);
  narrow_one.accepted(narrow(world.name(0), 2)).subscribed("$share/g/t", kQos1);
  wide.accepted(narrow(world.name(1), 7)).subscribed("$share/g/t", kQos1);
  world.publish(1, 9);
  CHECK(payloads(narrow_one.said()).size() == 2);
  CHECK(payloads(wide.said()).size() == 7);
  world.publish(10, 12);  // nobody has room
  CHECK(narrow_one.said() == Lines{});
  CHECK(wide.ack(PacketType::Puback, 3).ack(PacketType::Puback, 1).said() ==
        Lines{"PUBLISH t '10' qos1 #8", "PUBLISH t '11' qos1 #9"});
  CHECK(narrow_one.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '12' qos1 #3"});
}

// The window is the session's, and not the membership's alone: its home cannot know what else is in it.
TEST_CASE("a member that other subscriptions have filled gives messages back, and takes them when it has room",
          "[session]") {
  TwoShards world(GENERATE(1u, 64u));
  TestClient busy(world.broker, V5, 1 - world.home), free(world.broker, V5, world.home);
  busy.accepted(narrow(world.name(1 - world.home), 2)).subscribed("own", kQos1).subscribed("$share/g/t", kQos1);
  free.accepted(narrow(world.name(world.home), 3)).subscribed("$share/g/t", kQos1);
  world.publisher.publish("own", "a", kQos1, 1).publish("own", "b", kQos1, 2);
  CHECK(payloads(busy.said()).size() == 2);
  world.publish(1, 5);
  CHECK(payloads(free.said()) == std::vector<std::string>{"1", "2", "3"});
  CHECK(payloads(busy.said()).empty());
  CHECK(payloads(busy.ack(PacketType::Puback, 1).said()).size() == 1);
  CHECK(payloads(free.ack(PacketType::Puback, 1).said()).size() == 1);
}

TEST_CASE("what a member that dies has unacknowledged at QoS 1 goes to another, in order", "[session]") {
  TwoShards world(GENERATE(1u, 64u));
  const bool durable = GENERATE(false, true), to_home = GENERATE(false, true);
  const uint32_t first = to_home ? 1 - world.home : world.home;
  TestClient dying(world.broker, V5, first), other(world.broker, V5, 1 - first);
  dying.accepted(connect_as(world.name(first), true, durable ? 100 : 0)).subscribed("$share/g/t", kQos1);
  world.publish(1, 4);
  CHECK(payloads(dying.said()).size() == 4);
  dying.ack(PacketType::Puback, 2);
  other.accepted(connect_as(world.name(1 - first))).subscribed("$share/g/t", kQos1);
  CHECK(other.said() == Lines{});
  dying.drop();
  CHECK(payloads(other.said()) == std::vector<std::string>{"1", "3", "4"});
  TestClient again(world.broker, V5, first);
  again.connect(connect_as(world.name(first), false, 100));
  CHECK(again.said() == Lines{durable ? "CONNACK 00 present" : "CONNACK 00"});  // nothing is sent to it again
}

TEST_CASE("what a member that was alone has unacknowledged waits for it, or for who comes first", "[session]") {
  TwoShards world(GENERATE(1u, 64u));
  const bool returns = GENERATE(false, true);
  {
    TestClient alone(world.broker, V5, 1 - world.home);
    alone.accepted(connect_as(world.name(1 - world.home), true, 100)).subscribed("$share/g/t", kQos1);
    world.publish(1, 2);
    alone.drop();
  }
  world.publish(3, 3);
  if (returns) {
    TestClient again(world.broker, V5, world.home);
    again.connect(connect_as(world.name(1 - world.home), false, 100));
    CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBLISH t '2' qos1 #2 dup",
                                "PUBLISH t '3' qos1 #3"});
  } else {
    TestClient other(world.broker, V5, world.home);
    other.accepted(connect_as(world.name(world.home))).subscribe(1, {{"$share/g/t", kQos1}});
    const auto got = payloads(other.said());
    CHECK(std::set<std::string>(got.begin(), got.end()) == std::set<std::string>{"1", "2", "3"});
    CHECK(got.size() == 3);
  }
}

TEST_CASE("a session that ends leaves its unacknowledged messages to those who come", "[session]") {
  TwoShards world;
  TestClient one(world.broker, V5, 0), two(world.broker, V5, 1);
  one.accepted(connect_as(world.name(0), true, 10)).subscribed("$share/g/t", kQos2);
  two.accepted(connect_as(world.name(1), true, 100)).subscribed("$share/g/t", kQos2);
  world.publish(1, 2);
  world.publish(3, 4, kQos2);
  CHECK(payloads(one.said()).size() == 2);
  CHECK(payloads(two.said()).size() == 2);
  two.drop();
  one.drop();
  world.broker.advance_s(20);
  TestClient again(world.broker, V5, 0);
  again.connect(connect_as(world.name(1), false, 100));
  // Its own, and the other's at QoS 1; what the other had begun at QoS 2 went with it [MQTT-4.8.2-5].
  CHECK(payloads(again.said()).size() == 3);
}

TEST_CASE("a message on its way to a member that leaves goes to another", "[session]") {
  TwoShards world;
  TestClient leaver(world.broker, V5, 1 - world.home), other(world.broker, V5, world.home);
  leaver.accepted(connect_as(world.name(1 - world.home))).subscribed("$share/g/t", kQos1);
  other.accepted(connect_as(world.name(world.home))).subscribed("$share/g/t", kQos1);
  world.publisher.link().inbox.push_back(hex("32 07 00 01 't' 00 01 00 '1'"));
  world.publisher.link().inbox.push_back(hex("32 07 00 01 't' 00 02 00 '2'"));
  world.broker.turn(world.home);  // one of them is under way
  leaver.unsubscribe(1, {"$share/g/t"});
  const auto got = payloads(other.said());
  CHECK(std::set<std::string>(got.begin(), got.end()) == std::set<std::string>{"1", "2"});
  CHECK(leaver.said() == Lines{"UNSUBACK #1 00"});
}

TEST_CASE("deliveries begun through a group are finished after UNSUBSCRIBE", "[session][MQTT-3.10.4-3]") {
  TwoShards world;
  TestClient leaver(world.broker, V5, 0), other(world.broker, V5, 1);
  leaver.accepted(connect_as(world.name(0), true, 100)).subscribed("$share/g/t", kQos2);
  world.publish(1, 1, kQos1);
  world.publish(2, 2, kQos2);
  leaver.unsubscribe(1, {"$share/g/t"});
  other.accepted(connect_as(world.name(1))).subscribed("$share/g/t", kQos1);
  leaver.said();
  leaver.drop();
  TestClient again(world.broker, V5, 0);
  again.connect(connect_as(world.name(0), false, 100));
  CHECK(again.said() == Lines{"CONNACK 00 present", "PUBLISH t '1' qos1 #1 dup", "PUBLISH t '2' qos2 #2 dup"});
  CHECK(other.said() == Lines{});
}

TEST_CASE("a message too large for the member that was chosen is dropped, and its place is free again", "[session]") {
  TwoShards world(GENERATE(1u, 64u));
  const std::string name = world.name(1 - world.home);
  codec::ConnectView connect = narrow(name, 1);
  connect.maximum_packet_size = 30;
  TestClient client(world.broker, V5, world.home);
  client.accepted(connect).subscribed("$share/g/t", kQos1);
  world.publisher.publish("t", std::string(100, 'x'), kQos1, 1);
  CHECK(world.broker.counter(&Counters::dropped_too_large) == 1);
  world.publish(2, 2);
  CHECK(client.said() == Lines{"PUBLISH t '2' qos1 #2"});
}

TEST_CASE("members of every version share a group", "[session]") {
  TestBroker broker;
  TestClient five(broker), three(broker, V311), publisher(broker, V311);
  five.accepted(connect_as("five")).subscribed("$share/g/t", kQos2);
  three.accepted(connect_as("three")).subscribed("$share/g/t", kQos1);
  publisher.accepted(connect_as("p"));
  for (uint16_t id = 1; id <= 4; ++id) publisher.publish("t", std::to_string(id), kQos2, id);
  CHECK(payloads(five.said()).size() == 2);
  CHECK(payloads(three.said()).size() == 2);
}

}  // namespace mqttq
