// `$SYS/broker` as clients see it: figures that add up over all shards, and clients that come and go.
#include "session/sys_publisher.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <map>

#include "heap.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;
using Said = std::map<std::string, std::string>;

TestSetup with_sys(uint32_t shard_count = 1, uint32_t mailbox_capacity = 64) {
  TestSetup setup;
  setup.shard_count = shard_count;
  setup.mailbox_capacity = mailbox_capacity;
  setup.policy.sys_interval_s = 10;
  setup.policy.version = "1.2.3";
  return setup;
}

TestSetup with_events(uint32_t shard_count = 1, uint32_t mailbox_capacity = 64) {
  TestSetup setup = with_sys(shard_count, mailbox_capacity);
  setup.policy.sys_interval_s = 0;
  setup.policy.client_events = true;
  setup.policy.unix_offset_ms = 5'000;
  return setup;
}

constexpr std::string_view kPrefix = "PUBLISH $SYS/broker/";

// The values of topics by their names below $SYS/broker. retained: of those that came as such, else of all others.
Said values(const Lines& lines, bool retained) {
  Said values;
  for (const std::string& line : lines) {
    REQUIRE(line.starts_with(kPrefix));
    const size_t quote = line.find(" '"), end = line.find("'", quote + 2);
    const std::string rest = line.substr(end + 1);
    REQUIRE((rest.empty() || rest == " retain"));
    if ((rest == " retain") != retained) continue;
    CHECK(values.emplace(line.substr(kPrefix.size(), quote - kPrefix.size()), line.substr(quote + 2, end - quote - 2))
              .second);
  }
  return values;
}

// What a client that comes now is told at once.
Said now(TestBroker& broker, const char* client_id = "watch") {
  TestClient watch(broker);
  watch.accepted(connect_as(client_id));
  watch.subscribe(1, {{"$SYS/#", kQos0}});
  Lines lines = watch.said();
  REQUIRE_FALSE(lines.empty());
  REQUIRE(lines.front() == "SUBACK #1 00");
  lines.erase(lines.begin());
  watch.disconnect();
  return values(lines, true);
}

// Of an event: its topic below $SYS/broker/clients, and one member of its payload.
struct Event {
  std::string topic, reason, session_present;
};
std::vector<Event> events(const Lines& lines) {
  std::vector<Event> events;
  for (const std::string& line : lines) {
    constexpr std::string_view prefix = "PUBLISH $SYS/broker/clients/";
    REQUIRE(line.starts_with(prefix));
    REQUIRE(line.ends_with("' format=1 type=application/json"));
    const auto member = [&](std::string_view name) {
      const std::string quoted = '"' + std::string(name) + "\":";
      const size_t at = line.find(quoted);
      if (at == std::string::npos) return std::string();
      const size_t from = at + quoted.size();
      return line.substr(from, line.find_first_of(",}", from) - from);
    };
    events.push_back({line.substr(prefix.size(), line.find(' ', prefix.size()) - prefix.size()), member("reason"),
                      member("session_present")});
  }
  return events;
}

Lines topics(const Lines& lines) {
  Lines topics;
  for (const Event& event : events(lines)) topics.push_back(event.topic);
  return topics;
}

}  // namespace

TEST_CASE("a subscriber to `$SYS/#` gets every figure at once, on any number of shards", "[session]") {
  const uint32_t shard_count = GENERATE(1u, 3u);
  TestBroker broker(with_sys(shard_count, GENERATE(1u, 64u)));
  broker.advance_ms(50);
  const Said first = now(broker);
  CHECK(first.size() == SysTopics::kCount);
  CHECK(first.at("version") == "libmqttq version 1.2.3");
  CHECK(first.at("uptime") == "0 seconds");
  CHECK(first.at("clients/connected") == "0");
}

TEST_CASE("a wildcard at the front does not match `$SYS`", "[session][MQTT-4.7.2-1]") {
  TestBroker broker(with_sys());
  broker.advance_ms(50);
  TestClient client(broker);
  client.accepted(connect_as("a")).subscribed("#", kQos0).subscribed("+/broker/#", kQos1).subscribed("+/+/+", kQos2);
  broker.advance_s(30);
  CHECK(client.said() == Lines{});
  client.subscribe(1, {{"$SYS/broker/uptime", kQos0}});
  CHECK(client.said() == Lines{"SUBACK #1 00", "PUBLISH $SYS/broker/uptime '30 seconds' retain"});
}

TEST_CASE("only what changed is published again, at every interval", "[session]") {
  TestBroker broker(with_sys(GENERATE(1u, 2u)));
  broker.advance_ms(50);
  TestClient watch(broker);
  watch.accepted(connect_as("watch")).subscribe(1, {{"$SYS/broker/+", kQos0}, {"$SYS/broker/clients/#", kQos0}});
  watch.said();
  broker.advance_s(9);
  CHECK(watch.said() == Lines{});
  broker.advance_s(1);
  Lines lines = watch.said();
  const Said changed = values(lines, false);
  CHECK(changed == Said{{"uptime", "10 seconds"},
                        {"clients/connected", "1"},
                        {"clients/active", "1"},
                        {"clients/total", "1"},
                        {"clients/maximum", "1"}});
  CHECK(lines.size() == changed.size());  // as live messages, not as retained ones
  broker.advance_s(10);
  CHECK(values(watch.said(), false) == Said{{"uptime", "20 seconds"}});
}

TEST_CASE("figures are published at QoS 0, and nothing of them waits for a session that is away", "[session]") {
  TestBroker broker(with_sys());
  broker.advance_ms(50);
  TestClient client(broker);
  client.accepted(connect_as("a", true, 1000)).subscribe(1, {{"$SYS/broker/uptime", kQos2}});
  CHECK(client.said() == Lines{"SUBACK #1 02", "PUBLISH $SYS/broker/uptime '0 seconds' retain"});
  client.disconnect();
  broker.advance_s(30);
  TestClient back(broker);
  CHECK(back.connect(connect_as("a", false, 1000)).said() == Lines{"CONNACK 00 present"});
}

TEST_CASE("figures of clients add up over all shards", "[session]") {
  TestBroker broker(with_sys(3));
  broker.advance_ms(50);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (uint32_t i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<TestClient>(broker, V5, i % 3));
    clients.back()->accepted(connect_as(broker.client_id_at(i % 3) + (i < 3 ? "" : "x"), true, i < 4 ? 60 : 0));
  }
  broker.advance_s(10);
  Said said = now(broker);
  CHECK(said.at("clients/total") == "6");
  CHECK(said.at("clients/connected") == "6");
  CHECK(said.at("clients/disconnected") == "0");
  for (const auto& client : clients) client->disconnect();
  broker.advance_s(10);
  said = now(broker);
  CHECK(said.at("clients/total") == "4");
  CHECK(said.at("clients/connected") == "0");
  CHECK(said.at("clients/active") == "0");
  CHECK(said.at("clients/disconnected") == "4");
  CHECK(said.at("clients/inactive") == "4");
  CHECK(said.at("clients/maximum") == "7");  // the one that looked, too
  CHECK(said.at("clients/expired") == "0");
  broker.advance_s(61);
  broker.advance_s(11);
  said = now(broker);
  CHECK(said.at("clients/total") == "0");
  CHECK(said.at("clients/expired") == "4");
}

TEST_CASE("figures of messages are those of the traffic, without what `$SYS` adds", "[session]") {
  TestBroker broker(with_sys(GENERATE(1u, 3u)));
  broker.advance_ms(50);
  const auto settled = [&] {
    broker.advance_s(10);
    return now(broker);
  };
  CHECK(settled().at("retained messages/count") == "0");
  TestClient reader(broker), writer(broker, V5, broker.router().shard_count() - 1);
  reader.accepted(connect_as("reader", true, 100)).subscribed("t/#", kQos1).subscribed("u", kQos0);
  reader.subscribe(3, {{"$share/g/s", kQos0}});
  reader.said();
  writer.accepted(connect_as("writer"));
  writer.publish("t/1", "12345", kQos1, 1).publish("u", "123").publish("nobody", "1234567", kQos1, 2);
  writer.publish("r/1", "abc", kQos0, 0, true)
      .publish("r/2", "defg", kQos0, 0, true)
      .publish("r/2", "", kQos0, 0, true);
  Said said = settled();
  CHECK(said.at("publish/messages/received") == "6");
  CHECK(said.at("publish/bytes/received") == "22");
  CHECK(said.at("publish/messages/sent") == "2");
  CHECK(said.at("publish/bytes/sent") == "8");
  CHECK(said.at("messages/inflight") == "1");
  CHECK(said.at("subscriptions/count") == "2");
  CHECK(said.at("shared_subscriptions/count") == "1");
  CHECK(said.at("retained messages/count") == "1");
  CHECK(said.at("store/messages/count") == "1");
  CHECK(said.at("store/messages/bytes") == "6");
  reader.ack(PacketType::Puback, 1);
  reader.disconnect();
  writer.publish("t/1", "12345", kQos1, 3).publish("t/2", "67", kQos2, 4);
  said = settled();
  CHECK(said.at("messages/inflight") == "0");
  CHECK(said.at("store/messages/count") == "3");
  CHECK(said.at("messages/stored") == "3");
  CHECK(said.at("store/messages/bytes") == std::to_string(6 + 8 + 5));
  TestClient back(broker);
  back.connect(connect_as("reader", false, 0));
  CHECK(settled().at("store/messages/count") == "1");
  back.disconnect();
  said = settled();
  CHECK(said.at("subscriptions/count") == "0");
  CHECK(said.at("shared_subscriptions/count") == "0");
  CHECK(said.at("messages/inflight") == "0");  // they went with their session
}

TEST_CASE("figures of packets and bytes are those of the wire", "[session]") {
  TestBroker broker(with_sys());
  TestClient client(broker);
  client.accepted(connect_as("a"));
  client.subscribe(1, {{"t", kQos0}}).ping().publish("t", "x", kQos1, 1);
  const Lines answers = client.said();
  CHECK(answers.size() == 4);  // besides the CONNACK
  // A burst of which some is written before the turn ends.
  const uint64_t bytes = broker.counter(&Counters::bytes_sent), packets = broker.counter(&Counters::packets_sent);
  CHECK(packets == 5);
  std::vector<std::byte> burst;
  codec::PublishView view;
  view.topic_name = "t";
  const std::string payload(2'000, 'x');
  view.payload = as_bytes(payload);
  codec::Writer counting;
  codec::encode(view, V5, counting);
  for (int i = 0; i < 200; ++i) {
    const size_t at = burst.size();
    burst.resize(at + counting.size());
    codec::Writer writing(burst.data() + at);
    codec::encode(view, V5, writing);
  }
  client.send(burst);
  CHECK(broker.counter(&Counters::bytes_sent) - bytes == client.said_bytes().size());
  CHECK(broker.counter(&Counters::packets_sent) - packets == 200);
  CHECK(broker.counter(&Counters::message_bytes_sent) == 200 * 2'000 + 1);
  broker.advance_s(10);
  const Said said = now(broker);
  CHECK(said.at("messages/received") == "204");
  CHECK(said.at("messages/sent") == "205");
  CHECK(std::stoull(said.at("bytes/received")) > burst.size());
  CHECK(std::stoull(said.at("bytes/sent")) > burst.size());
}

TEST_CASE("a CONNECT counts once, also when it moves, and when it is refused", "[session]") {
  TestBroker broker(with_sys(2));
  TestClient moves(broker, V5, 0), stays(broker, V5, 0), refused(broker, ProtocolVersion::V311, 0);
  moves.accepted(connect_as(broker.client_id_at(1)));
  stays.accepted(connect_as(broker.client_id_at(0)));
  refused.connect(connect_as("", false));
  CHECK(broker.counter(&Counters::connects_received) == 3);
}

TEST_CASE("what `$SYS` says is no message of a client's", "[session]") {
  TestSetup setup = with_sys();
  setup.limits.outbox_bytes_max = 2'000;
  TestBroker broker(setup);
  broker.advance_ms(50);
  TestClient watch(broker);
  watch.accepted(connect_as("watch")).subscribe(1, {{"$SYS/#", kQos0}});
  CHECK(watch.said().size() == 1 + SysTopics::kCount);
  CHECK(broker.counter(&Counters::messages_sent) == 0);
  CHECK(broker.counter(&Counters::message_bytes_sent) == 0);
  CHECK(broker.counter(&Counters::sys_messages_sent) == SysTopics::kCount);
  CHECK(broker.counter(&Counters::retained_set) == 0);
  CHECK(broker.counter(&Counters::messages_received) == 0);
  watch.link().room = 0;  // it stops reading
  for (int i = 0; i < 20; ++i) broker.advance_s(10);
  CHECK(broker.counter(&Counters::messages_dropped) == 0);
  CHECK(broker.counter(&Counters::dropped_outbox_full) == 0);
  CHECK(broker.counter(&Counters::sys_messages_dropped) > 0);
}

TEST_CASE("another namespace sees nothing of `$SYS`", "[session]") {
  TestSetup setup = with_sys(2);
  setup.policy.client_events = true;
  TestBroker broker(setup);
  broker.advance_ms(50);
  TestClient tenant(broker, V5, 0, ListenerInfo{7, 0, 0}), other(broker, V5, 1, ListenerInfo{7, 0, 0});
  TestClient global(broker);
  global.accepted(connect_as("global")).subscribe(1, {{"$SYS/broker/clients/+/+", kQos0}});
  global.said();
  tenant.accepted(connect_as("tenant")).subscribed("$SYS/#", kQos0);
  other.accepted(connect_as("other"));
  other.disconnect();
  broker.advance_s(30);
  CHECK(tenant.said() == Lines{});
  CHECK(global.said() == Lines{});  // nor does the global one see its clients
}

TEST_CASE("without an interval, nothing is said", "[session]") {
  TestBroker broker;
  broker.advance_s(100);
  CHECK(now(broker).empty());
}

TEST_CASE("figures that memory was refused to come with the next interval", "[session]") {
  TestBroker broker(with_sys(GENERATE(1u, 2u)));
  {
    const FailingHeap failing(static_cast<int64_t>(GENERATE(0, 1, 5, 30, 100)));
    broker.restless = true;
    broker.advance_ms(50);
  }
  broker.restless = false;
  broker.advance_s(10);
  broker.advance_s(10);
  CHECK(now(broker).size() == SysTopics::kCount);
}

// Wherever memory is refused: who subscribes hears of every figure, if his connection outlives it.
TEST_CASE("a figure that reached the retained store and not its subscribers is said again", "[session]") {
  int outlived = 0;
  for (int64_t k = 0; k < 400; ++k) {
    TestBroker broker(with_sys());
    TestClient watch(broker);
    watch.accepted(connect_as("watch")).subscribed("$SYS/#", kQos0);
    {
      const FailingHeap failing(k);
      broker.restless = true;
      broker.advance_ms(50);
    }
    broker.restless = false;
    broker.advance_s(10);  // a look is left out while figures of the last one wait
    broker.advance_s(10);
    if (watch.closed()) continue;
    ++outlived;
    std::map<std::string, int> heard;
    for (const std::string& line : watch.said()) ++heard[line.substr(0, line.find(" '"))];
    INFO(k);
    CHECK(heard.size() == SysTopics::kCount);
  }
  CHECK(outlived > 100);
}

TEST_CASE("a figure that the shard of its topic cannot keep is said again", "[session]") {
  TestBroker broker(with_sys(2));
  broker.pass_ms(50);
  broker.turn(0);
  {
    const FailingHeap failing(0);
    broker.turn(1);
  }
  broker.settle();
  CHECK(now(broker).size() < SysTopics::kCount);
  broker.advance_s(10);
  CHECK(now(broker, "later").size() == SysTopics::kCount);
}

// --- clients

TEST_CASE("clients that come and go are told in order, on any number of shards", "[session]") {
  const uint32_t shard_count = GENERATE(1u, 3u);
  TestBroker broker(with_events(shard_count, GENERATE(1u, 64u)));
  TestClient watch(broker);
  watch.accepted(connect_as("watch")).subscribed("$SYS/broker/clients/+/+", kQos0);
  Lines expected;
  for (uint32_t shard = 0; shard < shard_count; ++shard) {
    const std::string name = broker.client_id_at(shard) + "/x";
    const std::string level = broker.client_id_at(shard) + "%2Fx";
    TestClient client(broker, V5, 0);
    client.accepted(connect_as(name));
    client.disconnect();
    TestClient again(broker, V5, shard_count - 1);
    again.accepted(connect_as(name));
    again.drop();
    for (int i = 0; i < 2; ++i) {
      expected.push_back(level + "/connected");
      expected.push_back(level + "/disconnected");
    }
  }
  const Lines lines = watch.said();
  CHECK(topics(lines) == expected);
  const auto told = events(lines);
  CHECK(told[1].reason == "\"normal disconnection\"");
  CHECK(told[3].reason == "\"connection lost\"");
}

TEST_CASE("a take-over ends one connection before it tells of the next", "[session][MQTT-3.1.4-3]") {
  TestBroker broker(with_events(2, GENERATE(1u, 64u)));
  const std::string name = broker.client_id_at(1);
  TestClient watch(broker);
  watch.accepted(connect_as("watch")).subscribed("$SYS/broker/clients/#", kQos0);
  TestClient first(broker, V5, 0), second(broker, V5, 1), third(broker, V5, 0);
  first.accepted(connect_as(name, true, 100));
  CHECK(second.connect(connect_as(name, false, 100)).said() == Lines{"CONNACK 00 present"});
  CHECK(third.connect(connect_as(name, true)).said() == Lines{"CONNACK 00"});
  const auto told = events(watch.said());
  REQUIRE(told.size() == 5);
  const char* ways[] = {"/connected", "/disconnected", "/connected", "/disconnected", "/connected"};
  for (size_t i = 0; i < told.size(); ++i) CHECK(told[i].topic == name + ways[i]);
  CHECK(told[0].session_present == "false");
  CHECK(told[1].reason == "\"session taken over\"");
  CHECK(told[2].session_present == "true");
  CHECK(told[4].session_present == "false");
}

TEST_CASE("an event says how the client came, and for how long it was there", "[session]") {
  TestBroker broker(with_events());
  TestClient watch(broker);
  watch.accepted(connect_as("watch")).subscribed("$SYS/broker/clients/#", kQos0);
  TestClient client(broker);
  codec::ConnectView connect = connect_as("a", true, 100);
  connect.user_name = "ann";
  connect.keep_alive_s = 30;
  client.accepted(connect);
  const std::string common =
      R"('{"client_id":"a","username":"ann","address":"192.0.2.1:50000","protocol_version":5,"keep_alive_s":30,)"
      R"("clean_start":true,"session_expiry_s":100,"session_present":false,"connected_at_ms":1005000)";
  const std::string end = "' format=1 type=application/json";
  CHECK(watch.said() == Lines{"PUBLISH $SYS/broker/clients/a/connected " + common + "}" + end});
  broker.advance_ms(50'000);
  CHECK(watch.said() == Lines{"PUBLISH $SYS/broker/clients/a/disconnected " + common +
                              R"(,"reason":"keep alive timeout","reason_code":141,"duration_ms":50000})" + end});
}

TEST_CASE("a client that is refused, or asks for nothing, is not told of", "[session]") {
  TestSetup setup = with_events();
  setup.limits.sessions_max = 2;
  TestBroker broker(setup);
  TestClient watch(broker), good(broker), refused(broker), silent(broker);
  watch.accepted(connect_as("watch")).subscribed("$SYS/broker/clients/#", kQos0);
  good.accepted(connect_as("good"));
  CHECK(refused.connect(connect_as("refused")).said() == Lines{"CONNACK 97", "closed"});
  silent.drop();
  CHECK(topics(watch.said()) == Lines{"good/connected"});
  CHECK(broker.counter(&Counters::connections_refused) == 2);
}

// The shard of the watcher does not take its mail: what waits for it has a bound, and what is left is in order.
TEST_CASE("events that wait for a full mailbox are bounded, and stay in order", "[session]") {
  TestSetup setup = with_events(2, 1);
  setup.limits.outbox_messages_max = 4;
  TestBroker broker(setup);
  TestClient watch(broker, V5, 1);
  watch.accepted(connect_as(broker.client_id_at(1))).subscribed("$SYS/broker/clients/#", kQos0);
  const std::string name = broker.client_id_at(0);
  std::vector<std::byte> packet;
  codec::ConnectView connect = connect_as(name);
  codec::Writer counting;
  codec::encode(connect, counting);
  packet.resize(counting.size());
  codec::Writer writing(packet.data());
  codec::encode(connect, writing);
  TestLink* links[10];
  for (TestLink*& link : links) {  // each takes over from the one before; only their own shard has turns
    link = &broker.open(0, {});
    link->inbox.emplace_back(packet);
    broker.turn(0);
  }
  CHECK(broker.counter(&Counters::sessions_taken_over) == 9);
  broker.wake(0);
  broker.wake(1);
  broker.settle();
  const auto told = events(watch.said());
  CHECK(told.size() < 19);
  CHECK(told.size() + broker.counter(&Counters::sys_messages_dropped) == 19);
  REQUIRE(told.size() >= 4);
  for (size_t i = 0; i < told.size(); ++i) {
    CHECK(told[i].topic == name + (i % 2 ? "/disconnected" : "/connected"));
  }
}

TEST_CASE("events are off unless they are asked for", "[session]") {
  TestBroker broker(with_sys());
  TestClient watch(broker), client(broker);
  watch.accepted(connect_as("watch")).subscribed("$SYS/broker/clients/+/+", kQos0);
  client.accepted(connect_as("a"));
  client.disconnect();
  CHECK(watch.said() == Lines{});
}

}  // namespace mqttq
