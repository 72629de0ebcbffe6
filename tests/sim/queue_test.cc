// Directed scenarios with queues, in many worlds: over some shards whose mailboxes have room for one.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>

#include "client.h"
#include "link.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::sim;

namespace {

using Payloads = std::vector<std::string>;

// Runs `scenario(World&)` in as many worlds as there are seeds.
template <class Scenario>
void in_worlds(Scenario&& scenario) {
  for (const uint64_t seed : seeds(40)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    WorldSetup setup;
    setup.shard_count = 2 + static_cast<uint32_t>(seed % 2);
    setup.mailbox_capacity = 1;
    World world(seed, setup);
    scenario(world);
  }
}

QueueOptions plain() {
  QueueOptions options;
  options.messages_max = options.bytes_max = options.age_max_s = 0;
  return options;
}

std::string numbered(int number) { return "m" + std::to_string(number); }

// A client that consumes "q" when it subscribes.
Client& consumer(World& world, const std::string& name, ProtocolVersion version = ProtocolVersion::V5) {
  Client& client = world.client(name, version);
  client.consumes = "q";
  client.queue_address = "$queue/q";
  return client;
}

Client& subscribed(Client& client, const ConnectSetup& setup = {}) {
  return client.connect(setup).subscribe(client.queue_address, Qos::AtLeastOnce);
}

void some_steps(World& world, uint64_t most) {
  for (uint64_t steps = world.random().below(most); steps > 0 && world.step(); --steps) {}
}

// A broker that may die, and what it keeps.
struct Durable {
  explicit Durable(uint64_t seed, uint32_t shard_count = 2) : kept(seed), world(seed, setup(shard_count), &kept) {}
  static WorldSetup setup(uint32_t shard_count) {
    WorldSetup setup;
    setup.shard_count = shard_count;
    setup.mailbox_capacity = 1;
    return setup;
  }
  void pass_ms(int64_t duration_ms) { world.settle().advance_ms(duration_ms).settle(); }
  Kept kept;
  World world;
};

}  // namespace

TEST_CASE("consumers that come and go have each message of a queue settled", "[sim]") {
  in_worlds([](World& world) {
    world.queues().declare("q", "a", plain());
    Client* consumers[] = {&consumer(world, "one"), &consumer(world, "two", ProtocolVersion::V311),
                           &consumer(world, "three")};
    Client& writer = world.client("writer");
    writer.connect({});
    const auto come = [&](Client& client) {
      client.begin_connect({.clean_start = world.chance(500), .session_expiry_s = 1000, .receive_maximum = 3});
      some_steps(world, 60);
      if (client.is_connected()) client.begin_subscribe({{client.queue_address, Qos::AtLeastOnce}});
    };
    for (int i = 0; i < 40; ++i) {
      writer.begin_publish({"a", numbered(i), static_cast<Qos>(1 + i % 2)});
      Client& client = *consumers[world.random().below(3)];
      if (world.chance(300) && client.is_connected()) {
        world.chance(300) ? client.begin_unsubscribe({client.queue_address}) : client.break_link(world.chance(500));
      } else if (world.chance(500) && (client.is_connected() || client.may_connect())) {
        come(client);
      }
      some_steps(world, 60);
    }
    writer.until_acknowledged();
    world.queues().quiet(false);
    for (Client* client : consumers) {
      if (client->may_connect()) subscribed(*client, {.clean_start = true});
    }
    world.settle();
    world.queues().judge(false);
  });
}

TEST_CASE("messages that are rejected go to and fro, and are dead letters in the end", "[sim]") {
  in_worlds([](World& world) {
    QueueOptions options = plain();
    options.deliveries_max = 3;
    options.redelivery_delay_ms = 100;
    world.declare_queue("q", "a", options, "dead/a");
    world.declare_queue("letters", "dead/#", plain());
    world.queues().expect("q", "a", options);
    Client *good = &subscribed(consumer(world, "good")), *bad = &subscribed(consumer(world, "bad"));
    bad->rejects_in_1000 = 1000;
    Client& writer = world.client("writer");
    writer.connect({});
    for (int i = 0; i < 10; ++i) writer.begin_publish({"a", numbered(i), Qos::AtLeastOnce});
    writer.until_acknowledged();
    for (int i = 0; i < 5; ++i) world.advance_ms(200).settle();
    CHECK(world.queue("q").depth() == 0);
    CHECK(world.queue("letters").depth() == world.queue("q").work->figures.dead);
    good->drop();
    for (int i = 10; i < 20; ++i) writer.begin_publish({"a", numbered(i), Qos::AtLeastOnce});
    writer.until_acknowledged();
    for (int i = 0; i < 5; ++i) world.advance_ms(200).settle();
    CHECK(world.queue("q").depth() == 0);
    const QueueFigures& figures = world.queue("q").work->figures;
    CHECK(figures.dead >= 10);
    CHECK(figures.dead + figures.settled == 20);
    CHECK(world.queue("letters").depth() == figures.dead);
  });
}

TEST_CASE("a queue that rejects takes no more than it may, and of what it takes nothing is lost", "[sim]") {
  in_worlds([](World& world) {
    QueueOptions options = plain();
    options.messages_max = 4;
    options.overflow = QueueOverflow::Reject;
    world.queues().declare("q", "a", options);
    Client& slow = subscribed(consumer(world, "slow"), {.receive_maximum = 1});
    Client* writers[] = {&world.client("w0"), &world.client("w1"), &world.client("w2")};
    for (Client* writer : writers) writer->connect({});
    slow.acknowledges = false;
    for (int i = 0; i < 30; ++i) {
      writers[i % 3]->begin_publish({"a", numbered(i), static_cast<Qos>(1 + i % 2)});
      some_steps(world, 30);
      if (world.chance(200)) slow.acknowledges = !slow.acknowledges;
      world.queues().judge_limits();
    }
    slow.acknowledges = true;
    uint64_t accepted = 0, refused = 0;
    for (Client* writer : writers) {
      writer->until_acknowledged();
      for (const ReasonCode reason : writer->acknowledgements()) ++(is_error(reason) ? refused : accepted);
    }
    CHECK(accepted + refused == 30);
    CHECK(slow.received().size() == accepted);
    CHECK(world.queue("q").filter->gate().refused_count() == refused);
  });
}

TEST_CASE("a consumer that is silent loses what it has to another, and has no effect when it speaks", "[sim]") {
  in_worlds([](World& world) {
    QueueOptions options = plain();
    options.ack_timeout_ms = 1000;
    world.queues().declare("q", "a", options);
    Client& silent = subscribed(consumer(world, "silent"));
    silent.acknowledges = false;
    Client& writer = world.client("writer");
    writer.connect({});
    for (int i = 0; i < 4; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce);
    CHECK(silent.received() == Payloads{"m0", "m1", "m2", "m3"});
    Client& other = subscribed(consumer(world, "other"));
    CHECK(other.received().empty());
    world.advance_ms(1100).settle();
    CHECK(other.received() == Payloads{"m0", "m1", "m2", "m3"});
    CHECK(world.queue("q").depth() == 0);
    silent.acknowledges = true;
    world.settle();
    CHECK(world.queue("q").work->figures.settled == 4);
    CHECK(world.queue("q").work->figures.timed_out == 4);
    writer.publish("a", numbered(5), Qos::AtLeastOnce).publish("a", numbered(6), Qos::AtLeastOnce);
    CHECK(silent.received().size() == 5);  // it has room again
    CHECK(other.received().size() == 5);
  });
}

TEST_CASE("an exclusive queue is the next one's when its consumer goes", "[sim]") {
  in_worlds([](World& world) {
    QueueOptions options = plain();
    options.exclusive = true;
    world.queues().declare("q", "a", options);
    Client& first = subscribed(consumer(world, "first"), {.session_expiry_s = 1000});
    Client& second = subscribed(consumer(world, "second"));
    Client& writer = world.client("writer");
    writer.connect({});
    writer.publish("a", "m0", Qos::AtLeastOnce).publish("a", "m1", Qos::AtLeastOnce);
    CHECK(first.take_received() == Payloads{"m0", "m1"});
    first.acknowledges = false;
    writer.publish("a", "m2", Qos::AtLeastOnce);
    CHECK(second.received().empty());
    first.drop();
    CHECK(second.take_received() == Payloads{"m2"});
    first.acknowledges = true;
    first.connect({.clean_start = false, .session_expiry_s = 1000});
    writer.publish("a", "m3", Qos::AtLeastOnce);
    CHECK(second.take_received() == Payloads{"m3"});
    second.unsubscribe(second.queue_address);
    writer.publish("a", "m4", Qos::AtLeastOnce);
    CHECK(first.take_received() == Payloads{"m2", "m4"});
  });
}

TEST_CASE("a queue that is deleted and declared again under traffic is another one", "[sim]") {
  in_worlds([](World& world) {
    world.queues().declare("q", "a", plain());
    Client& reader = subscribed(consumer(world, "reader"), {.receive_maximum = 2});
    Client& writer = world.client("writer");
    writer.connect({});
    reader.acknowledges = false;
    for (int i = 0; i < 10; ++i) {
      writer.begin_publish({"a", numbered(i), Qos::AtLeastOnce});
      some_steps(world, 20);
    }
    world.delete_queue("q");
    some_steps(world, 20);
    reader.acknowledges = true;
    writer.until_acknowledged();
    reader.take_received();
    world.queues().declare("q", "a", plain());
    writer.publish("a", "new", Qos::AtLeastOnce);
    CHECK(reader.received().empty());  // it was the other one's
    reader.subscribe(reader.queue_address, Qos::AtLeastOnce);
    CHECK(reader.received() == Payloads{"new"});
    CHECK(world.queue("q").depth() == 0);
    CHECK(world.queue("q").work->members.count() == 1);
  });
}

TEST_CASE("what is purged does not come, and what a consumer has is its own", "[sim]") {
  in_worlds([](World& world) {
    world.queues().declare("q", "a", plain());
    Client& reader = subscribed(consumer(world, "reader"), {.receive_maximum = 2});
    Client& writer = world.client("writer");
    writer.connect({});
    reader.acknowledges = false;
    for (int i = 0; i < 6; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce);
    CHECK(world.purge_queue("q") == 4);
    CHECK(world.queue("q").depth() == 2);
    reader.acknowledges = true;
    writer.publish("a", "m6", Qos::AtLeastOnce);
    CHECK(reader.received() == Payloads{"m0", "m1", "m6"});
    CHECK(world.queue("q").depth() == 0);
  });
}

// --- a broker that dies

TEST_CASE("what waits and what is not settled outlives the broker, and what was settled does not come again", "[sim]") {
  for (const uint64_t seed : seeds(40)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    Durable durable(seed, 1 + static_cast<uint32_t>(seed % 3));
    World& world = durable.world;
    world.queues().declare("q", "a", plain());
    Client& reader = subscribed(consumer(world, "reader"), {.session_expiry_s = 1000, .receive_maximum = 3});
    Client& writer = world.client("writer");
    writer.connect({});
    for (int i = 0; i < 3; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce);
    CHECK(reader.take_received() == Payloads{"m0", "m1", "m2"});
    reader.acknowledges = false;
    for (int i = 3; i < 9; ++i) writer.publish("a", numbered(i), static_cast<Qos>(i % 3));
    writer.until_acknowledged();
    CHECK(reader.take_received() == Payloads{"m3", "m4", "m5"});
    world.queues().quiet(false);
    durable.pass_ms(100);
    world.queues().quiet(true);
    world.crash(seed % 2);
    CHECK(world.queue("q").depth() == 6);
    reader.acknowledges = true;
    reader.connect({.clean_start = false, .session_expiry_s = 1000, .receive_maximum = 3});
    CHECK(reader.received() == Payloads{"m3", "m4", "m5", "m6", "m7", "m8"});
    CHECK(world.queue("q").work->figures.redelivered == 3);  // how often they were delivered is known
    CHECK(world.queue("q").depth() == 0);
    durable.pass_ms(100);
    world.crash(seed % 2);
    CHECK(world.queue("q").depth() == 0);
    world.queues().end("q");
    durable.pass_ms(100);
    world.crash(seed % 2);
    CHECK_FALSE(world.has_queue("q"));
  }
}

TEST_CASE("the bounds of a queue hold when the broker comes back", "[sim]") {
  for (const uint64_t seed : seeds(20)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    Durable durable(seed);
    World& world = durable.world;
    QueueOptions options = plain();
    options.messages_max = 3;
    options.overflow = seed % 2 ? QueueOverflow::DropOldest : QueueOverflow::DropNewest;
    world.queues().declare("q", "a", options);
    Client& writer = world.client("writer");
    writer.connect({});
    for (int i = 0; i < 5; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce);
    durable.pass_ms(100);
    world.crash(false);
    writer.connect({});
    writer.publish("a", "m5", Qos::AtLeastOnce);
    Client& reader = subscribed(consumer(world, "reader"));
    CHECK(reader.received() == (seed % 2 ? Payloads{"m3", "m4", "m5"} : Payloads{"m0", "m1", "m2"}));
    CHECK(world.queue("q").depth() == 0);
    CHECK(world.queue("q").filter->gate().messages() == 0);
  }
}

// Its place, and with it when its messages came, is recorded when something is taken out of it, and not before.
TEST_CASE("what came before the broker was started is as old as it is", "[sim]") {
  Durable durable(1);
  World& world = durable.world;
  QueueOptions options = plain();
  options.age_max_s = 60;
  world.queues().declare("q", "a", options);
  Client& writer = world.client("writer");
  writer.connect({}).publish("a", "m0", Qos::AtLeastOnce).until_acknowledged();
  world.advance_s(40).settle();
  world.crash(false);
  world.advance_s(30).settle();
  CHECK(subscribed(consumer(world, "reader")).received().empty());
}

// The same where it was recorded: what is read from the log comes as if it had just come.
TEST_CASE("what is known to have come before the broker was started is as old as it is", "[sim]") {
  Durable durable(1);
  World& world = durable.world;
  QueueOptions options = plain();
  options.age_max_s = 60;
  world.queues().declare("q", "a", options);
  Client& reader = subscribed(consumer(world, "reader"), {.receive_maximum = 1});
  Client& writer = world.client("writer");
  writer.connect({}).publish("a", "m0", Qos::AtLeastOnce).until_acknowledged();
  reader.acknowledges = false;
  for (int i = 1; i < 4; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce).until_acknowledged();
  reader.drop();
  durable.pass_ms(100);
  world.advance_s(40).settle();
  world.crash(false);
  world.advance_s(30).settle();
  CHECK(subscribed(consumer(world, "other")).received().empty());
}

// No timer is set for it.
TEST_CASE("what waits when the broker is started is dropped for its age, though nobody comes", "[sim]") {
  Durable durable(1);
  World& world = durable.world;
  QueueOptions options = plain();
  options.age_max_s = 60;
  world.queues().declare("q", "a", options);
  Client& writer = world.client("writer");
  writer.connect({});
  Client& reader = subscribed(consumer(world, "reader"), {.receive_maximum = 1});
  reader.acknowledges = false;
  for (int i = 0; i < 3; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce).until_acknowledged();
  durable.pass_ms(100);
  world.crash(false);
  for (int i = 0; i < 20; ++i) world.advance_s(10).settle();
  CHECK(world.queue("q").depth() == 0);
}

TEST_CASE("what was taken before the broker was started is not counted as taken since", "[sim]") {
  Durable durable(1);
  World& world = durable.world;
  world.queues().declare("q", "a", plain());
  world.client("writer").connect({}).publish("a", "m0", Qos::AtLeastOnce).until_acknowledged();
  world.crash(false);
  REQUIRE(world.queue("q").depth() == 1);
  CHECK(world.queue("q").work->figures.entered == 0);
}

// While the disk failed, the shard set the alarm of what is to be recorded to look at it later. What changes until that
// goes off sets no other, and when it goes off nothing is recorded.
TEST_CASE("what is settled when the disk works again does not come back", "[sim]") {
  Durable durable(1, 1);
  World& world = durable.world;
  world.model().may_refuse = true;
  world.queues().declare("q", "a", plain());
  Client& reader = subscribed(consumer(world, "reader"));
  reader.acknowledges = false;
  Client& writer = world.client("writer");
  writer.may_be_refused = reader.may_be_refused = true;
  writer.connect({});
  for (int i = 0; i < 2; ++i) writer.publish("a", numbered(i), Qos::AtLeastOnce).until_acknowledged();
  REQUIRE(reader.received().size() == 2);
  durable.pass_ms(100);
  durable.kept.disk.fail(0, Status::Io, true);
  writer.publish("a", "refused", Qos::AtLeastOnce);
  REQUIRE(world.store_failing());
  world.queues().quiet(false);
  reader.acknowledges = true;  // one is settled while it fails: that is to be recorded
  world.settle().advance_ms(90).settle();
  durable.kept.disk.heal();
  world.advance_ms(40).settle();
  REQUIRE_FALSE(world.store_failing());
  reader.acknowledges = false;
  writer.publish("a", "m2", Qos::AtLeastOnce);
  reader.acknowledges = true;
  world.settle();
  REQUIRE(world.queue("q").depth() == 0);
  for (int i = 0; i < 20; ++i) durable.pass_ms(1000);
  world.crash(false);
  CHECK(world.queue("q").depth() == 0);
}
