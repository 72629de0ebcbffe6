// Queues seen by those who publish to them and consume them: what they are told, and what is on its way meanwhile.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
using codec::PacketType;
using Payloads = std::vector<std::string>;

Payloads payloads(const Lines& lines) {
  Payloads found;
  for (const std::string& line : lines) {
    if (!line.starts_with("PUBLISH")) continue;
    const size_t begin = line.find('\'') + 1;
    found.push_back(line.substr(begin, line.find('\'', begin) - begin));
  }
  return found;
}

Payloads sorted(Payloads some) {
  std::sort(some.begin(), some.end());
  return some;
}

// The Packet Identifiers of PUBLISH lines.
std::vector<uint16_t> identifiers(const Lines& lines) {
  std::vector<uint16_t> found;
  for (const std::string& line : lines) {
    if (line.starts_with("PUBLISH")) found.push_back(static_cast<uint16_t>(std::stoi(line.substr(line.find('#') + 1))));
  }
  return found;
}

codec::ConnectView narrow(std::string_view client_id, uint16_t receive_maximum, uint32_t session_expiry_s = 0) {
  codec::ConnectView connect = connect_as(client_id, true, session_expiry_s);
  connect.receive_maximum = receive_maximum;
  return connect;
}

TestSetup declaring(uint32_t shard_count = 1, uint32_t mailbox_capacity = 64) {
  TestSetup setup = shards(shard_count, mailbox_capacity);
  setup.policy.queues.auto_create = true;
  return setup;
}

// A broker where clients may declare queues, and a publisher.
struct Queued {
  explicit Queued(const TestSetup& setup = declaring()) : broker(setup) { publisher.accepted(connect_as("")); }
  // The home of the queue "q".
  uint32_t home() const { return const_cast<TestBroker&>(broker).core().group_home_of(0, "q"); }
  Queue& queue(std::string_view name = "q") {
    Queue* found = broker.core(broker.core().group_home_of(0, name)).queues().find(0, name);
    REQUIRE(found);
    return *found;
  }
  void publish(int first, int last, Qos qos = kQos1) {
    for (int i = first; i <= last; ++i) publisher.publish("t", std::to_string(i), qos, static_cast<uint16_t>(i));
    publisher.said();
  }
  TestBroker broker;
  TestClient publisher{broker, V5, 0};
};

}  // namespace

TEST_CASE("messages come from a queue at QoS 1, or at QoS 0 to who wants that, whatever they were published at",
          "[session]") {
  Queued world(declaring(GENERATE(1u, 2u), GENERATE(1u, 64u)));
  TestClient one(world.broker), zero(world.broker);
  one.accepted(narrow("one", 3)).subscribe(1, {{"$queue/q/t", kQos2}}, 9);
  CHECK(one.said() == Lines{"SUBACK #1 01"});
  zero.accepted(connect_as("zero")).subscribe(1, {{"$queue/q", kQos0, false, true}});
  CHECK(zero.said() == Lines{"SUBACK #1 00"});
  zero.drop();
  CHECK(world.publisher.publish("t", "a").publish("t", "b", kQos1, 1).publish("t", "c", kQos2, 2, true).said() ==
        Lines{"PUBACK #1", "PUBREC #2"});
  CHECK(one.said() ==
        Lines{"PUBLISH t 'a' qos1 #1 sub=9", "PUBLISH t 'b' qos1 #2 sub=9", "PUBLISH t 'c' qos1 #3 sub=9"});
  TestClient again(world.broker);
  again.accepted(connect_as("again")).subscribe(1, {{"$queue/q", kQos0, false, true}});
  one.drop();
  CHECK(sorted(payloads(again.said())) == Payloads{"a", "b", "c"});
  CHECK(world.queue().depth() == 0);  // settled when they were written
  CHECK(world.publisher.publish("t", "d", kQos1, 3, true).said() == Lines{"PUBACK #3"});
  CHECK(again.said() == Lines{"PUBLISH t 'd' retain"});
}

TEST_CASE("who may not consume is told why", "[session]") {
  TestSetup setup = declaring();
  setup.policy.queues.count_max = 1;
  Queued world(setup);
  TestClient client(world.broker), old(world.broker, V311);
  client.accepted(connect_as("a"));
  old.accepted(connect_as("b"));
  CHECK(client.subscribe(1, {{"$queue/q", kQos1}}).said() == Lines{"SUBACK #1 8f"});  // there is none
  CHECK(client.subscribe(1, {{"$queue/q/t", kQos1, true}}).said() == Lines{"SUBACK #1 83"});
  CHECK(client.subscribe(1, {{"$queue/q/t", kQos1}}).said() == Lines{"SUBACK #1 01"});
  CHECK(client.subscribe(1, {{"$queue/q/u", kQos1}}).said() == Lines{"SUBACK #1 8f"});
  for (const char* wrong : {"$queue/", "$queue/.a", "$queue/q/", "$queue/q/a#", "$q/", "$queue/q/$SYS/#",
                            "$q/$share/g/a", "$q/$delayed/1/a", "$queue/q/$q/a"}) {
    INFO(wrong);
    CHECK(client.subscribe(1, {{wrong, kQos1}}).said() == Lines{"SUBACK #1 8f"});
  }
  CHECK(client.subscribe(1, {{"$q/u", kQos1}}).said() == Lines{"SUBACK #1 97"});  // as many as there may be
  CHECK(old.subscribe(1, {{"$queue/x", kQos1}, {"$queue/q", kQos2}}).said() == Lines{"SUBACK #1 80 01"});
  CHECK(client.unsubscribe(2, {"$queue/q/t", "$queue/q"}).said() == Lines{"UNSUBACK #2 00 11"});
}

TEST_CASE("a queue of a filter that has no name is one for all who name the filter", "[session]") {
  Queued world;
  TestClient one(world.broker), two(world.broker);
  one.accepted(connect_as("one")).subscribed("$q/t", kQos1);
  two.accepted(connect_as("two")).subscribed("$q/t", kQos1);
  world.publish(1, 2);
  CHECK(payloads(one.said()) == Payloads{"1"});
  CHECK(payloads(two.said()) == Payloads{"2"});
}

TEST_CASE("each subscription of a client is a consumer, and beside them it is a subscriber", "[session]") {
  Queued world;
  TestClient client(world.broker);
  client.accepted(connect_as("a")).subscribed("$queue/q/t", kQos1, 1).subscribed("$queue/q", kQos1, 2);
  client.subscribed("t", kQos1, 3);
  world.publish(1, 2);
  Lines lines = client.said();
  const auto of = [&](const char* end) {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.ends_with(end); });
  };
  CHECK(of("sub=1") == 1);
  CHECK(of("sub=2") == 1);
  CHECK(of("sub=3") == 2);
}

TEST_CASE("PUBACK says that a queue took the message, or that it had no room", "[session]") {
  TestSetup setup = declaring(GENERATE(1u, 2u));
  setup.policy.queues.auto_options.messages_max = 1;
  setup.policy.queues.auto_options.overflow = QueueOverflow::Reject;
  Queued world(setup);
  TestClient client(world.broker), old(world.broker, V311);
  old.accepted(connect_as("old"));
  client.accepted(narrow("a", 1)).subscribed("$queue/q/t", kQos1);
  CHECK(world.publisher.publish("u", "x", kQos1, 1).publish("t", "1", kQos1, 2).publish("t", "2", kQos1, 3).said() ==
        Lines{"PUBACK #1 10", "PUBACK #2", "PUBACK #3 97"});
  CHECK(world.publisher.publish("t", "2", kQos2, 4).said() == Lines{"PUBREC #4 97"});
  CHECK(old.publish("t", "3", kQos1, 1).said() == Lines{"closed"});
  CHECK(client.ack(PacketType::Puback, 1).said() == Lines{"PUBLISH t '1' qos1 #1"});
  CHECK(world.publisher.publish("t", "4", kQos2, 5).said() == Lines{"PUBREC #5"});
  CHECK(payloads(client.said()) == Payloads{"4"});
}

TEST_CASE("what a consumer has goes to another when he goes, however he does", "[session]") {
  Queued world(declaring(GENERATE(1u, 2u), GENERATE(1u, 64u)));
  const int how = GENERATE(0, 1, 2, 3, 4);
  TestClient goes(world.broker), other(world.broker);
  goes.accepted(narrow("goes", 3, 100)).subscribed("$queue/q/t", kQos1);
  world.publish(1, 4);
  CHECK(payloads(goes.ack(PacketType::Puback, 2).said()) == Payloads{"1", "2", "3", "4"});
  other.accepted(connect_as("other")).subscribed("$queue/q", kQos1);
  if (how == 0) goes.drop();
  if (how == 1) goes.disconnect();
  if (how == 2) goes.unsubscribe(1, {"$queue/q/t"});
  if (how == 3) TestClient(world.broker).accepted(connect_as("goes", true));
  if (how == 4) {  // to itself, on another connection, within its window
    other.unsubscribe(1, {"$queue/q"});
    TestClient again(world.broker);
    again.connect(connect_as("goes", false, 100));
    const Lines lines = again.said();
    CHECK(sorted(payloads(lines)) == Payloads{"1", "3", "4"});
    for (const uint16_t packet_id : identifiers(lines)) again.ack(PacketType::Puback, packet_id);
    CHECK(world.queue().depth() == 0);
    return;
  }
  CHECK(sorted(payloads(other.said())) == Payloads{"1", "3", "4"});
  // What he acknowledges now is another's.
  if (how == 2) goes.ack(PacketType::Puback, 1).ack(PacketType::Puback, 3).ack(PacketType::Puback, 4);
  CHECK(world.queue().depth() == 3);
  TestClient again(world.broker);
  again.connect(connect_as("goes", false, 100));
  CHECK(payloads(again.said()).empty());
}

// Its queue hears first what it gives back, and hands some of that to it again before it hears that it has gone.
TEST_CASE("what a consumer on another shard gives back when he goes is handed out in order", "[session]") {
  Queued world(declaring(2));
  const uint32_t home = world.home();
  TestClient goes(world.broker, V5, 1 - home), other(world.broker, V5, home);
  goes.accepted(connect_as(world.broker.client_id_at(1 - home))).subscribed("$queue/q/t", kQos1);
  world.publish(1, 6);
  REQUIRE(payloads(goes.said()).size() == 6);
  other.accepted(connect_as(world.broker.client_id_at(home))).subscribed("$queue/q", kQos1);
  goes.drop();
  const Payloads got = payloads(other.said());
  REQUIRE(got.size() == 6);
  CHECK(got == sorted(got));
}

TEST_CASE("a consumer that other subscriptions have filled gives messages back, and has them when he has room",
          "[session]") {
  Queued world(declaring(2, GENERATE(1u, 64u)));
  const uint32_t shard = GENERATE(0u, 1u);
  TestClient busy(world.broker, V5, shard);
  busy.accepted(narrow(world.broker.client_id_at(shard), 2)).subscribed("own", kQos1).subscribed("$queue/q/t", kQos1);
  world.publisher.publish("own", "a", kQos1, 1).publish("own", "b", kQos1, 2);
  CHECK(payloads(busy.said()).size() == 2);
  world.publish(1, 2);
  CHECK(payloads(busy.said()).empty());
  CHECK(payloads(busy.ack(PacketType::Puback, 1).said()) == Payloads{"1"});
  CHECK(payloads(busy.ack(PacketType::Puback, 2).said()) == Payloads{"2"});
  CHECK(world.queue().work->figures.delivered == 2);
}

TEST_CASE("a rejected message is another's, and a dead letter once it was delivered as often as may be", "[session]") {
  Queued world(declaring(GENERATE(1u, 2u)));
  TestClient one(world.broker), two(world.broker), letters(world.broker);
  one.accepted(connect_as("one")).subscribed("$queue/q/t", kQos1);
  QueueOptions options = world.queue().options;
  options.deliveries_max = 2;
  REQUIRE(world.broker.core(world.home()).queues().set_options(world.queue(), options, "dead", world.broker.now()) ==
          Status::Ok);
  letters.accepted(connect_as("letters")).subscribed("dead", kQos1);
  world.publish(1, 1);
  CHECK(payloads(one.said()) == Payloads{"1"});
  two.accepted(connect_as("two")).subscribed("$queue/q", kQos1);
  one.ack(PacketType::Puback, 1, ReasonCode::UnspecifiedError);
  CHECK(payloads(two.said()) == Payloads{"1"});
  two.ack(PacketType::Puback, 1, ReasonCode::UnspecifiedError);
  CHECK(payloads(one.said()).empty());
  CHECK(letters.said() == Lines{"PUBLISH dead '1' qos1 #1 dead-letter-queue:q dead-letter-reason:rejected "
                                "dead-letter-topic:t dead-letter-hops:1 delivery-count:2"});
  CHECK(world.queue().depth() == 0);
}

TEST_CASE("a message that is larger than a consumer takes is rejected, and not lost", "[session]") {
  Queued world(declaring(2));
  const uint32_t shard = GENERATE(0u, 1u);
  const std::string name = world.broker.client_id_at(shard);
  TestClient small(world.broker, V5, shard);
  codec::ConnectView connect = connect_as(name);
  connect.maximum_packet_size = 40;
  small.accepted(connect).subscribed("$queue/q/t", kQos1);
  world.publisher.publish("t", std::string(100, 'x'), kQos1, 1).publish("t", "y", kQos1, 2);
  CHECK(payloads(small.said()) == Payloads{"y"});
  CHECK(world.queue().work->figures.rejected >= 1);
  CHECK(world.queue().depth() == 2);
  TestClient large(world.broker);
  large.accepted(connect_as("large")).subscribe(1, {{"$queue/q", kQos1}});
  world.broker.advance_ms(200);
  CHECK(payloads(large.said()) == Payloads{std::string(100, 'x')});
}

TEST_CASE("who consumes a queue that is deleted is not subscribed any more, and may be told", "[session]") {
  TestSetup setup = declaring(2, GENERATE(1u, 64u));
  setup.policy.queues.disconnect_on_delete = GENERATE(true, false);
  Queued world(setup);
  const uint32_t shard = GENERATE(0u, 1u);
  TestClient client(world.broker, V5, shard);
  client.accepted(connect_as(world.broker.client_id_at(shard))).subscribed("$queue/q/t", kQos1);
  world.publish(1, 2);
  client.said();
  const uint32_t home = world.home();
  world.broker.router().epoch().online(home);
  world.broker.core(home).queues().remove(world.queue(), world.broker.now());
  world.broker.router().epoch().offline(home);
  world.broker.wake(home);
  world.broker.settle();
  if (setup.policy.queues.disconnect_on_delete) {
    CHECK(client.said() == Lines{"DISCONNECT 98", "closed"});
  } else {
    CHECK(client.ack(PacketType::Puback, 1).unsubscribe(1, {"$queue/q/t"}).said() == Lines{"UNSUBACK #1 11"});
    client.subscribed("$queue/q/t", kQos1);  // another one
    CHECK(client.said().empty());
    CHECK(world.queue().depth() == 0);
  }
  CHECK(world.publisher.publish("u", "x", kQos1, 9).said() == Lines{"PUBACK #9 10"});
}

// --- what is on its way to a consumer that has left

namespace {

// The first message of two is on its way from the queue's home to the other shard, and the second waits for room there,
// while the consumer there leaves.
struct Leaving : Queued {
  Leaving() : Queued(declaring(2, 1)), leaver(broker, V5, 1 - home()), writer(broker, V5, home()) {
    leaver.accepted(connect_as(broker.client_id_at(1 - home()))).subscribed("$queue/q/t", kQos1);
    writer.accepted(connect_as(broker.client_id_at(home())));
  }
  void leave() {
    writer.link().inbox.push_back(hex("32 07 00 01 't' 00 01 00 '1'"));
    writer.link().inbox.push_back(hex("32 07 00 01 't' 00 02 00 '2'"));
    for (int i = 0; i < 10; ++i) {
      broker.turn(home());
      broker.commit();
    }
    REQUIRE(queue().work->figures.delivered == 2);
    leaver.unsubscribe(1, {"$queue/q/t"});
  }
  TestClient leaver, writer;
};

}  // namespace

// It had been handed over in time. As a rejected one it would even become a dead letter.
TEST_CASE_METHOD(Leaving, "a message that expires on its way to a consumer has expired, and is not rejected",
                 "[session]") {
  writer.link().inbox.push_back(hex("32 0c 00 01 't' 00 01 05 02 00 00 00 01 '1'"));
  for (int i = 0; i < 5; ++i) {
    broker.turn(home());
    broker.commit();
  }
  REQUIRE(queue().work->figures.delivered == 1);
  broker.pass_ms(2000);
  broker.wake(1 - home());
  broker.settle();
  REQUIRE(payloads(leaver.said()).empty());
  CHECK(queue().work->figures.rejected == 0);
}

TEST_CASE_METHOD(Leaving, "what is on its way to a consumer that leaves stays in the queue", "[session]") {
  leave();
  CHECK(queue().depth() == 2);
  TestClient other(broker);
  other.accepted(connect_as("other")).subscribe(1, {{"$queue/q", kQos1}});
  CHECK(payloads(other.said()) == Payloads{"1", "2"});
}

TEST_CASE_METHOD(Leaving, "what is on its way to a consumer that leaves is not dropped, and not counted so",
                 "[session]") {
  leave();
  REQUIRE(queue().depth() == 2);
  CHECK(broker.counter(&Counters::messages_dropped) == 0);
}

// The mail names the queue by a handle, which may be a group's too.
TEST_CASE_METHOD(Leaving, "what is on its way to a consumer that leaves does not come back to a shared group",
                 "[session]") {
  std::string group;
  for (int i = 0; group.empty() || broker.core().group_home_of(0, group) != home(); ++i) {
    group = "$share/g" + std::to_string(i) + "/t";
  }
  TestClient member(broker);
  member.accepted(connect_as("member", true, 100)).subscribed(group, kQos2);
  leave();
  CHECK(payloads(member.said()) == Payloads{"1", "2"});
}

// --- what a consumer gives back and what is handed to it meanwhile

namespace {

// With a declared queue "q" of the filter "t".
struct Declared : Queued {
  Declared(uint32_t shard_count, std::string_view key, const QueueOptions& options)
      : Queued(declaring(shard_count, 1)) {
    QueueIdentity identity;
    identity.name = "q";
    identity.topic_filter = "t";
    identity.key = key;
    Queue* made = nullptr;
    broker.router().epoch().online(home());
    REQUIRE(broker.core(home()).queues().declare(identity, options, "", made) == Status::Ok);
    broker.router().epoch().offline(home());
    broker.wake(home());
    broker.settle();
  }
};

QueueOptions key_ordered() {
  QueueOptions options;
  options.dispatch = QueueDispatch::KeyOrdered;
  return options;
}

QueueOptions exclusive() {
  QueueOptions options;
  options.exclusive = true;
  return options;
}

// A kept consumer has the message 1; while 2 reaches the queue another connection takes over.
struct TakenOver : Declared {
  TakenOver(std::string_view key, const QueueOptions& options) : Declared(1, key, options) {
    before.accepted(connect_as("c0", false, 100)).subscribed("$queue/q", kQos1);
    writer.accepted(connect_as("writer"));
    writer.publish("t", "1", kQos1, 1).said();
    REQUIRE(payloads(before.said()) == Payloads{"1"});
    other.accepted(connect_as("other")).subscribed("$queue/q", kQos1);
    writer.link().inbox.push_back(hex("32 07 00 01 't' 00 02 00 '2'"));
    broker.wake(0);
    broker.turn(0);
    broker.commit();
    after.link().inbox.push_back(hex("10 14 00 04 'MQTT' 05 00 00 3c 05 11 00 00 00 64 00 02 'c0'"));
    broker.settle();
  }
  TestClient before{broker}, after{broker}, writer{broker}, other{broker};
};

}  // namespace

TEST_CASE("an exclusive queue whose consumer is taken over is one consumer's", "[session]") {
  TakenOver world("", exclusive());
  const Payloads one = payloads(world.after.said()), two = payloads(world.other.said());
  CAPTURE(one, two);
  CHECK((one.empty() || two.empty()));
}

TEST_CASE("what comes back by a takeover comes before the next of its key", "[session]") {
  TakenOver world("topic", key_ordered());
  const Payloads one = payloads(world.after.said()), two = payloads(world.other.said());
  CAPTURE(one, two);
  CHECK((one.empty() || one[0] == "1"));
  CHECK((two.empty() || two[0] == "1"));
}

// The first finds no room at the other shard; the second is on its way, and finds what was freed meanwhile.
TEST_CASE("messages of a key come in order to a consumer that other subscriptions have filled", "[session]") {
  Declared world(2, "topic", key_ordered());
  TestBroker& broker = world.broker;
  const uint32_t home = world.home(), away = 1 - home;
  TestClient busy(broker, V5, away), writer(broker, V5, home);
  busy.accepted(narrow(broker.client_id_at(away), 2)).subscribed("own", kQos1).subscribed("$queue/q", kQos1);
  writer.accepted(connect_as(broker.client_id_at(home)));
  world.publisher.publish("own", "a", kQos1, 1).publish("own", "b", kQos1, 2);
  REQUIRE(payloads(busy.said()) == Payloads{"a", "b"});  // its Receive Maximum
  writer.link().inbox.push_back(hex("32 07 00 01 't' 00 01 00 '1'"));
  writer.link().inbox.push_back(hex("32 07 00 01 't' 00 02 00 '2'"));
  for (int i = 0; i < 10; ++i) {
    broker.turn(home);
    broker.commit();
  }
  REQUIRE(world.queue().work->figures.delivered == 2);
  broker.turn(away);
  busy.link().inbox.push_back(hex("40 02 00 01"));  // PUBACK of "a"
  broker.wake(away);
  broker.turn(away);
  broker.turn(away);
  broker.wake(home);
  broker.settle();
  CHECK(payloads(busy.ack(PacketType::Puback, 2).said()) == Payloads{"1", "2"});
}

// A message for it waits behind other mail while its connection ends and it comes back.
TEST_CASE("what was on its way to a consumer that comes back at once is the next one's of an exclusive queue",
          "[session]") {
  Declared world(2, "", exclusive());
  TestBroker& broker = world.broker;
  const uint32_t home = world.home(), away = 1 - home;
  const std::string client_id = broker.client_id_at(away);
  TestClient before(broker, V5, away), after(broker, V5, away), beside(broker, V5, away);
  TestClient other(broker, V5, home), writer(broker, V5, home);
  before.accepted(connect_as(client_id, false, 100)).subscribed("$queue/q", kQos1);
  beside.accepted(connect_as("")).subscribed("x", kQos0);
  other.accepted(connect_as("")).subscribed("$queue/q", kQos1);
  writer.accepted(connect_as(""));
  writer.link().inbox.push_back(hex("30 05 00 01 'x' 00 'x'"));  // which fills the mailbox
  writer.link().inbox.push_back(hex("32 07 00 01 't' 00 01 00 '1'"));
  for (int i = 0; i < 10; ++i) {
    broker.turn(home);
    broker.commit();
  }
  REQUIRE(world.queue().work->figures.delivered == 1);
  before.link().inbox.push_back(hex("e0 00"));
  broker.turn(away);
  after.link().inbox.push_back(hex("10 14 00 04 'MQTT' 05 00 00 3c 05 11 00 00 00 64 00 02 '" + client_id + "'"));
  broker.settle();
  writer.publish("t", "2", kQos1, 2).said();
  const Payloads one = payloads(after.said()), two = payloads(other.said());
  CAPTURE(one, two);
  CHECK((one.empty() || two.empty()));
  CHECK(one.size() + two.size() == 2);
}

}  // namespace mqttq
