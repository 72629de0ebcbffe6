// Directed scenarios: one thing each that has gone wrong somewhere, told in the order of its events, in many worlds.
//
// The seed chooses the number of shards, the size of mailboxes and links, and the order of everything between.
#include <catch2/catch_test_macros.hpp>
#include <map>

#include "client.h"
#include "link.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::sim;

namespace {

using Payloads = std::vector<std::string>;

// Runs `scenario(World&)` in as many worlds as there are seeds.
template <class Scenario>
void in_worlds(const WorldSetup& setup, Scenario&& scenario) {
  for (const uint64_t seed : seeds(60)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    World world(seed, setup);
    scenario(world);
  }
}

std::string numbered(int number) { return "m" + std::to_string(number); }

}  // namespace

TEST_CASE("an acknowledged QoS 1 message waits for a session that is away", "[sim][MQTT-4.1.0-1]") {
  in_worlds({}, [](World& world) {
    Client& reader = world.client("reader");
    reader.connect({.session_expiry_s = 3600}).subscribe("a/#", Qos::AtLeastOnce).drop();
    world.client("writer").connect({}).publish("a/b", "x", Qos::AtLeastOnce).until_acknowledged();
    reader.connect({.clean_start = false, .session_expiry_s = 3600});
    world.settle();
    CHECK(reader.session_present());
    CHECK(reader.received() == Payloads{"x"});
  });
}

TEST_CASE("a QoS 2 exchange that a take-over interrupts ends once", "[sim][MQTT-4.3.3-10][MQTT-3.1.4-3]") {
  in_worlds({}, [](World& world) {
    Client& reader = world.client("reader");
    Client& writer = world.client("writer");
    reader.connect({.session_expiry_s = 3600}).subscribe("a", Qos::ExactlyOnce);
    writer.connect({.session_expiry_s = 3600});
    for (int i = 0; i < 6; ++i) {
      writer.begin_publish({"a", numbered(i), Qos::ExactlyOnce});
      for (uint64_t steps = world.random().below(40); steps > 0 && world.step(); --steps) {}
      // The first connection is left standing; what is in flight on it may still arrive.
      Client& taken_over = world.chance(500) ? reader : writer;
      taken_over.connect({.clean_start = false, .session_expiry_s = 3600});
      CHECK(taken_over.session_present());
    }
    writer.until_acknowledged();
    CHECK(reader.received() == Payloads{"m0", "m1", "m2", "m3", "m4", "m5"});
  });
}

TEST_CASE("a reader that does not read delays nobody else", "[sim]") {
  WorldSetup setup;
  setup.limits.outbox_bytes_max = 20'000;
  setup.limits.outbox_messages_max = 50;
  in_worlds(setup, [](World& world) {
    world.model().may_lose = true;
    Client& stuck = world.client("stuck");
    Client& quick = world.client("quick");
    Client& writer = world.client("writer");
    stuck.connect({}).subscribe("a/#", Qos::AtLeastOnce);
    quick.connect({}).subscribe("a/#", Qos::AtLeastOnce);
    writer.connect({});
    stuck.reads = false;
    Payloads expected;
    for (int i = 0; i < 200; ++i) {
      expected.push_back(numbered(i) + std::string(400, '.'));
      writer.publish("a/b", expected.back(), i % 2 ? Qos::AtLeastOnce : Qos::ExactlyOnce).until_acknowledged();
    }
    CHECK(quick.received() == expected);
    CHECK(world.count(&Counters::dropped_outbox_full) > 0);
    // What is left for it comes in order once it reads again, and the newest is there.
    stuck.reads = true;
    world.settle();
    REQUIRE_FALSE(stuck.received().empty());
    CHECK(stuck.received().back() == expected.back());
    CHECK(stuck.received().size() < expected.size());
  });
}

TEST_CASE("what waits for a slow link is sent when the link has room again", "[sim]") {
  WorldSetup setup;
  setup.limits.outbox_bytes_max = 2000;
  setup.window = 100'000;
  in_worlds(setup, [](World& world) {
    // More than the outbox at once, to a link that takes all of it.
    Client& writer = world.client("writer");
    writer.connect({});
    Payloads expected;
    for (int i = 0; i < 10; ++i) {
      expected.push_back(numbered(i) + std::string(900, '.'));
      writer.publish("r/" + std::to_string(i), expected.back(), Qos::AtLeastOnce, true).until_acknowledged();
    }
    Client& reader = world.client("reader");
    reader.connect({}).subscribe("r/#", Qos::AtLeastOnce);
    CHECK(reader.received().size() == expected.size());
  });
}

TEST_CASE("a shared group goes on when a member's connection dies", "[sim][MQTT-4.8.2-4]") {
  in_worlds({}, [](World& world) {
    Client& first = world.client("first");
    Client& second = world.client("second");
    Client& writer = world.client("writer");
    first.connect({.session_expiry_s = 3600}).subscribe("$share/g/a/#", Qos::AtLeastOnce);
    second.connect({.session_expiry_s = 3600}).subscribe("$share/g/a/#", Qos::ExactlyOnce);
    writer.connect({});
    int next = 0;
    const auto publish = [&](int count) {
      for (; count > 0; --count) writer.begin_publish({"a/b", numbered(next++), Qos::AtLeastOnce});
      for (uint64_t steps = world.random().below(60); steps > 0 && world.step(); --steps) {}
    };
    publish(5);
    first.break_link(false);
    publish(5);
    writer.until_acknowledged();
    second.break_link(true);
    publish(5);  // for nobody who is there
    writer.until_acknowledged();
    first.connect({.clean_start = false, .session_expiry_s = 3600});
    publish(5);
    second.connect({.clean_start = false, .session_expiry_s = 3600});
    publish(5);
    writer.until_acknowledged();
    std::multiset<std::string> got;
    for (Client* member : {&first, &second}) {
      for (const std::string& payload : member->received()) got.insert(payload);
    }
    for (int i = 0; i < 25; ++i) {
      INFO(numbered(i));
      CHECK(got.count(numbered(i)) >= 1);  // what was in flight may be repeated to the same member
    }
    for (Client* member : {&first, &second}) world.model().session(member->client_id())->present_at_end = true;
    world.model().judge();
  });
}

TEST_CASE("a member that has left its group gets nothing more through it", "[sim][MQTT-3.10.4-2]") {
  in_worlds({}, [](World& world) {
    Client& stays = world.client("stays");
    Client& leaves = world.client("leaves");
    Client& writer = world.client("writer");
    stays.connect({}).subscribe("$share/g/a", Qos::AtLeastOnce);
    leaves.connect({}).subscribe("$share/g/a", Qos::AtLeastOnce);
    writer.connect({});
    leaves.begin_unsubscribe({"$share/g/a"});
    while (leaves.has_requests() && world.step()) {}
    CHECK(leaves.take_received().empty());
    for (int i = 0; i < 6; ++i) writer.begin_publish({"a", numbered(i), Qos::AtLeastOnce});
    writer.until_acknowledged();
    CHECK(leaves.received().empty());
    CHECK(stays.received().size() == 6);
  });
}

TEST_CASE("a log that fails is told to version 5, and ends the connection of 3.x", "[sim]") {
  in_worlds({}, [](World& world) {
    Client& reader = world.client("reader");
    Client& modern = world.client("modern");
    Client& older = world.client("older", ProtocolVersion::V311);
    reader.connect({.session_expiry_s = 3600}).subscribe("a", Qos::ExactlyOnce);
    modern.connect({.session_expiry_s = 3600});
    older.connect({.clean_start = false});
    world.log().failure = world.chance(500) ? Status::Io : Status::Full;
    modern.publish("a", "m1", Qos::AtLeastOnce).publish("a", "m2", Qos::ExactlyOnce);
    CHECK(modern.acknowledgements() == std::vector{ReasonCode::QuotaExceeded, ReasonCode::QuotaExceeded});
    CHECK(modern.is_connected());
    older.publish("a", "o1", Qos::AtLeastOnce);
    CHECK(older.idle());
    older.begin_connect({.clean_start = false});  // and sends it again
    world.settle();
    CHECK(older.idle());
    CHECK(reader.received().empty());
    // The disk has room again: what 3.x was not answered arrives, once.
    world.log().failure = Status::Ok;
    older.connect({.clean_start = false}).publish("a", "o2", Qos::ExactlyOnce).until_acknowledged();
    modern.publish("a", "m3", Qos::AtLeastOnce).until_acknowledged();
    CHECK(reader.received() == Payloads{"o1", "o2", "m3"});
  });
}

TEST_CASE("nothing is acknowledged before the log says that it is durable", "[sim]") {
  WorldSetup setup;
  setup.shard_count = 2;
  for (const uint64_t seed : seeds(60)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    World world(seed, setup);
    Client& reader = world.client("reader");
    Client& writer = world.client("writer");
    reader.connect({.session_expiry_s = 3600}).subscribe("a", Qos::AtLeastOnce);
    writer.connect({});
    world.log().held = true;
    writer.begin_publish({"a", "m1", Qos::AtLeastOnce});
    writer.begin_publish({"a", "m2", Qos::ExactlyOnce});
    world.settle();
    CHECK(writer.open_publishes() == 2);
    CHECK(reader.received().empty());
    world.log().held = false;
    writer.until_acknowledged();
    CHECK(reader.received() == Payloads{"m1", "m2"});
  }
}

TEST_CASE("a session ends when its expiry has passed, and not before", "[sim][MQTT-3.1.2-23]") {
  in_worlds({}, [](World& world) {
    Client& reader = world.client("reader");
    Client& writer = world.client("writer");
    writer.connect({});
    reader.connect({.session_expiry_s = 60}).subscribe("a", Qos::AtLeastOnce).drop();
    world.advance_s(59).settle();
    CHECK(world.session_count() == 2);
    writer.publish("a", "m1", Qos::AtLeastOnce).until_acknowledged();
    reader.connect({.clean_start = false, .session_expiry_s = 60});
    CHECK(reader.session_present());
    CHECK(reader.take_received() == Payloads{"m1"});
    reader.drop();
    world.advance_s(61).settle();
    CHECK(world.session_count() == 1);
    writer.publish("a", "m2", Qos::AtLeastOnce).until_acknowledged();
    reader.connect({.clean_start = false, .session_expiry_s = 60});
    CHECK_FALSE(reader.session_present());
    CHECK(reader.received().empty());
  });
}

TEST_CASE("a will comes when its delay has passed or its session ends, whichever is first", "[sim][MQTT-3.1.3-9]") {
  in_worlds({}, [](World& world) {
    Client& watcher = world.client("watcher");
    watcher.connect({}).subscribe("w/#", Qos::AtLeastOnce);
    Client& delayed = world.client("delayed");
    delayed.connect({.session_expiry_s = 600, .will = WillSetup{"w/1", "delay", Qos::AtLeastOnce, false, 30}}).drop();
    world.advance_s(29).settle();
    CHECK(watcher.received().empty());
    world.advance_s(2).settle();
    CHECK(watcher.take_received() == Payloads{"delay"});

    Client& expiring = world.client("expiring");
    expiring.connect({.session_expiry_s = 10, .will = WillSetup{"w/2", "expiry", Qos::ExactlyOnce, false, 30}}).drop();
    world.advance_s(9).settle();
    CHECK(watcher.received().empty());
    world.advance_s(2).settle();
    CHECK(watcher.take_received() == Payloads{"expiry"});
    world.advance_s(60).settle();
    CHECK(watcher.received().empty());
  });
}

TEST_CASE("a will whose client is back before its delay has passed does not come", "[sim][MQTT-3.1.3-9]") {
  in_worlds({}, [](World& world) {
    Client& watcher = world.client("watcher");
    watcher.connect({}).subscribe("w/#", Qos::AtLeastOnce);
    Client& client = world.client("client");
    client.connect({.session_expiry_s = 600, .will = WillSetup{"w/1", "one", Qos::AtLeastOnce, false, 30}}).drop();
    world.advance_s(20).settle();
    client.connect({.clean_start = false, .session_expiry_s = 600});
    world.advance_s(60).settle();
    client.drop();
    world.advance_s(60).settle();
    CHECK(watcher.received().empty());
    // One that leaves as it should takes its will with it; one that asks for it has it sent.
    client.connect({.clean_start = false, .will = WillSetup{"w/1", "two"}}).disconnect();
    client.connect({.clean_start = false, .will = WillSetup{"w/1", "three"}})
        .disconnect(ReasonCode::DisconnectWithWill);
    CHECK(watcher.received() == Payloads{"three"});
  });
}

TEST_CASE("a client that is silent for one and a half keep alives is gone", "[sim][MQTT-3.1.2-22]") {
  in_worlds({}, [](World& world) {
    Client& watcher = world.client("watcher");
    watcher.connect({}).subscribe("w/#", Qos::AtLeastOnce);
    Client& client = world.client("client");
    client.connect({.keep_alive_s = 20, .will = WillSetup{"w/1", "gone"}});
    world.advance_s(29).settle();
    client.begin_ping();
    world.settle().advance_s(29).settle();
    CHECK(client.is_connected());
    world.advance_s(2).settle();
    CHECK(client.idle());
    CHECK(client.disconnect_reason() == ReasonCode::KeepAliveTimeout);
    CHECK(watcher.received() == Payloads{"gone"});
  });
}

TEST_CASE("a new subscriber misses no retained message and gets none that is older than what it has", "[sim]") {
  in_worlds({}, [](World& world) {
    Client& writer = world.client("writer");
    writer.connect({});
    for (int round = 0; round < 8; ++round) {
      Client& reader = world.client("reader" + std::to_string(round));
      reader.connect({});
      const std::string last = "r" + std::to_string(round);
      writer.begin_publish({"r/a", last + "-first", Qos::AtLeastOnce, true});
      for (uint64_t steps = world.random().below(12); steps > 0 && world.step(); --steps) {}
      writer.begin_publish({"r/a", last, Qos::AtLeastOnce, true});
      for (uint64_t steps = world.random().below(12); steps > 0 && world.step(); --steps) {}
      reader.begin_subscribe({{world.chance(500) ? "r/a" : "r/#", Qos::AtLeastOnce}});
      world.settle();
      REQUIRE_FALSE(reader.received().empty());
      CHECK(reader.received().back() == last);
    }
  });
}

TEST_CASE("a receiver that comes back with a smaller Receive Maximum is sent no more than that",
          "[sim][MQTT-3.3.4-9]") {
  in_worlds({}, [](World& world) {
    Client& reader = world.client("reader");
    Client& writer = world.client("writer");
    writer.connect({});
    reader.connect({.session_expiry_s = 600, .receive_maximum = 10}).subscribe("a", Qos::ExactlyOnce);
    reader.acknowledges = false;
    for (int i = 0; i < 12; ++i) writer.publish("a", numbered(i), i % 2 ? Qos::AtLeastOnce : Qos::ExactlyOnce);
    CHECK(reader.received().size() == 10);
    reader.drop();
    reader.connect({.clean_start = false, .session_expiry_s = 600, .receive_maximum = 3});
    world.settle();
    reader.acknowledges = true;
    world.settle();
    const std::set<std::string> got(reader.received().begin(), reader.received().end());
    CHECK(got.size() == 12);
    CHECK(reader.received().back() == numbered(11));
  });
}

TEST_CASE("a broker that stops tells everybody, and leaves nothing behind", "[sim]") {
  in_worlds({}, [](World& world) {
    Client& modern = world.client("modern");
    Client& older = world.client("older", ProtocolVersion::V31);
    modern.may_be_refused = true;
    modern.connect({.session_expiry_s = 600}).subscribe({{"a/#", Qos::ExactlyOnce}, {"$share/g/b", Qos::AtLeastOnce}});
    older.connect({.clean_start = false}).subscribe("#", Qos::AtLeastOnce);
    modern.begin_publish({"a/b", "m", Qos::ExactlyOnce, true});
    for (uint64_t steps = world.random().below(30); steps > 0 && world.step(); --steps) {}
    for (uint32_t shard = 0; shard < world.shard_count(); ++shard) world.stop(shard);
    world.settle();
    CHECK(modern.disconnect_reason() == ReasonCode::ServerShuttingDown);
    CHECK(older.idle());
    CHECK(world.connection_count() == 0);
  });
}

// Whatever is on its way when a connection is taken over or breaks, each of them is told of once, and in order.
TEST_CASE("clients that come and go are told of in order", "[sim][MQTT-3.1.4-3]") {
  WorldSetup setup;
  setup.policy.client_events = true;
  setup.policy.sys_interval_s = 1;
  in_worlds(setup, [](World& world) {
    Client& watch = world.client("watch");
    watch.connect({}).subscribe("$SYS/broker/clients/+/+", Qos::AtMostOnce);
    std::vector<Client*> others;
    for (int i = 0; i < 3; ++i) others.push_back(&world.client("c" + std::to_string(i)));
    std::map<std::string, int> accepted;
    for (int i = 0; i < 40; ++i) {
      Client& one = *others[world.random().below(others.size())];
      if (one.is_connected() && world.chance(300)) {
        one.begin_disconnect();
      } else if (one.is_connected() && world.chance(300)) {
        one.break_link(world.chance(500));
      } else if (one.is_connected() || one.may_connect()) {  // a second connection takes over from the first
        one.connect({.clean_start = world.chance(500), .session_expiry_s = world.chance(500) ? 100u : 0u});
        ++accepted[one.client_id()];
      }
      for (uint64_t steps = world.random().below(30); steps > 0 && world.step(); --steps) {}
      if (world.chance(200)) world.advance_ms(500);
    }
    world.settle();
    CHECK(world.count(&Counters::sys_messages_dropped) == 0);
    std::map<std::string, std::vector<std::string>> told;
    for (const auto& [topic, payload] : watch.said_by_broker()) {
      const size_t from = topic.rfind('/', topic.rfind('/') - 1) + 1, to = topic.rfind('/');
      told[topic.substr(from, to - from)].push_back(topic.substr(to + 1));
    }
    for (Client* one : others) {
      const auto& events = told[one->client_id()];
      for (size_t i = 0; i < events.size(); ++i) CHECK(events[i] == (i % 2 ? "disconnected" : "connected"));
      CHECK(static_cast<int>(events.size() + 1) / 2 == accepted[one->client_id()]);
      CHECK((events.size() % 2 == 1) == one->is_connected());
    }
  });
}
