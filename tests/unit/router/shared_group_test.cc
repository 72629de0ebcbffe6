// Shared subscriptions at their home (MQTT5 4.8.2): who is chosen, who is passed over, and what waits.
#include "router/shared_group.h"

#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <vector>

#include "heap.h"

namespace mqttq {

namespace {

constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;

struct Handed {
  uint32_t shard;
  uint32_t session;
  std::string payload;
  Qos qos;
  bool retain;
  uint32_t identifier;
  uint32_t group;
};

class TestCourier final : public GroupCourier {
 public:
  bool hand_to_member(uint32_t shard, SlabHandle session, const MessageRef& message, Qos qos, bool retain,
                      uint32_t identifier, uint32_t group, Instant) noexcept override {
    if (session.index == refuses) return false;
    handed.push_back({shard, session.index, std::string(as_text(message->payload())), qos, retain, identifier, group});
    return true;
  }
  void count_dropped() noexcept override { ++dropped; }

  // Who got what since the last call: "shard/session:payload".
  std::vector<std::string> take() {
    std::vector<std::string> texts;
    for (const Handed& one : std::exchange(handed, {})) {
      texts.push_back(std::to_string(one.shard) + "/" + std::to_string(one.session) + ":" + one.payload);
    }
    return texts;
  }

  std::vector<Handed> handed;
  uint32_t refuses = UINT32_MAX;
  int dropped = 0;
};

struct GroupTest {
  Router router{3, 1};
  FanOut fan_out{router, 0};
  TestCourier courier;
  SharedGroups groups{fan_out, courier, 3, 1};

  GroupChange change(std::string_view text, Qos qos = kQos2, uint32_t identifier = 0, bool durable = true,
                     bool retain_as_published = false) {
    GroupChange made;
    made.text = static_cast<char*>(allocate(text.size()));
    std::memcpy(made.text, text.data(), text.size());
    made.text_size = static_cast<uint16_t>(text.size());
    made.qos = qos;
    made.identifier = identifier;
    made.durable = durable;
    made.retain_as_published = retain_as_published;
    return made;
  }
  static SlabHandle session(uint32_t index) { return {index, 1}; }
  void join(uint32_t shard, uint32_t index, const GroupChange& how) {
    uint32_t token = 0;
    REQUIRE(groups.join(how, shard, session(index), {}, token) == Status::Ok);
    CHECK(token != 0);
  }
  void publish(std::string_view payload, Qos qos, bool retain = false, std::string_view topic = "t") {
    MessageView view;
    view.topic_name = topic;
    view.payload = as_bytes(payload);
    view.qos = qos;
    view.retain = retain;
    MovingMessage message(view);
    fan_out.deliver(message, *router.match(0, topic), {}, {});
  }
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE_METHOD(GroupTest, "members are chosen in turn, each within its own QoS", "[router][MQTT-4.8.2-3]") {
  join(0, 1, change("$share/g/t", kQos1, 5));
  join(1, 2, change("$share/g/t", kQos0, 0, true, true));
  join(2, 3, change("$share/g/t", kQos2));
  for (const char* payload : {"a", "b", "c", "d"}) publish(payload, kQos2, true);
  REQUIRE(courier.handed.size() == 4);
  CHECK(courier.handed[0].qos == kQos1);
  CHECK(courier.handed[0].identifier == 5);
  CHECK_FALSE(courier.handed[0].retain);
  CHECK(courier.handed[1].qos == kQos0);
  CHECK(courier.handed[1].retain);
  CHECK(courier.handed[2].qos == kQos2);
  CHECK(courier.take() == Texts{"0/1:a", "1/2:b", "2/3:c", "0/1:d"});
  for (uint32_t i = 0; i < 3; ++i) groups.leave(change("$share/g/t"), i, session(i + 1));
  CHECK(groups.count() == 0);
  CHECK(router.match(0, "t")->filters().empty());
}

TEST_CASE_METHOD(GroupTest, "groups of other names are other groups, and each gets the message", "[router]") {
  join(0, 1, change("$share/g/t"));
  join(0, 2, change("$share/h/t"));
  join(0, 3, change("$share/g/#"));
  publish("x", kQos1);
  CHECK(courier.take().size() == 3);
  CHECK(groups.count() == 3);
}

TEST_CASE_METHOD(GroupTest, "a member that joins again is changed and not doubled", "[router]") {
  join(0, 1, change("$share/g/t", kQos0, 1));
  join(0, 1, change("$share/g/t", kQos2, 9));
  publish("x", kQos2);
  publish("y", kQos2);
  REQUIRE(courier.handed.size() == 2);
  CHECK(courier.handed[1].identifier == 9);
  CHECK(courier.handed[1].qos == kQos2);
  groups.leave(change("$share/g/t"), 0, session(1));
  CHECK(groups.count() == 0);
}

TEST_CASE_METHOD(GroupTest, "members that are away are passed over", "[router]") {
  join(0, 1, change("$share/g/t"));
  join(0, 2, change("$share/g/t"));
  groups.set_connected(change("$share/g/t"), 0, session(1), false, {});
  groups.set_connected(change("$share/g/t"), 1, session(2), false, {});  // another session of another shard
  for (const char* payload : {"a", "b"}) publish(payload, kQos1);
  CHECK(courier.take() == Texts{"0/2:a", "0/2:b"});
  groups.set_connected(change("$share/g/t"), 0, session(1), true, {});
  for (const char* payload : {"c", "d"}) publish(payload, kQos1);
  CHECK(courier.take().size() == 2);
}

TEST_CASE_METHOD(GroupTest, "while all are away what is above QoS 0 waits, and the oldest makes way", "[router]") {
  join(0, 1, change("$share/g/t"));
  groups.set_connected(change("$share/g/t"), 0, session(1), false, {});
  publish("lost", kQos0);
  CHECK(courier.dropped == 1);
  for (const char* payload : {"1", "2", "3", "4"}) publish(payload, kQos1);
  CHECK(courier.dropped == 2);
  CHECK(courier.take().empty());
  groups.set_connected(change("$share/g/t"), 0, session(1), true, {});
  CHECK(courier.take() == Texts{"0/1:2", "0/1:3", "0/1:4"});
  publish("5", kQos1);
  CHECK(courier.take() == Texts{"0/1:5"});
}

TEST_CASE_METHOD(GroupTest, "what waits goes to a member that joins", "[router]") {
  join(0, 1, change("$share/g/t"));
  groups.set_connected(change("$share/g/t"), 0, session(1), false, {});
  publish("1", kQos1);
  publish("2", kQos2);
  join(2, 7, change("$share/g/t", kQos1));
  CHECK(courier.take() == Texts{"2/7:1", "2/7:2"});
}

TEST_CASE_METHOD(GroupTest, "a member that cannot take a message is passed over for it", "[router]") {
  join(0, 1, change("$share/g/t"));
  join(0, 2, change("$share/g/t"));
  courier.refuses = 1;
  for (const char* payload : {"a", "b", "c"}) publish(payload, kQos1);
  CHECK(courier.take() == Texts{"0/2:a", "0/2:b", "0/2:c"});
}

// Sessions of two shards may have equal handles.
TEST_CASE_METHOD(GroupTest, "a message given back goes to another member, and only that member counts as away",
                 "[router]") {
  join(0, 4, change("$share/g/t"));
  join(1, 4, change("$share/g/t"));
  publish("a", kQos1);
  REQUIRE(courier.handed.size() == 1);
  const Handed first = courier.handed[0];
  REQUIRE(first.shard == 0);
  courier.take();
  MessageView view;
  view.topic_name = "t";
  view.payload = as_bytes("a");
  view.qos = kQos1;
  groups.give_back(first.group, Message::create(view), 0, session(4), {});
  CHECK(courier.take() == Texts{"1/4:a"});
  publish("b", kQos1);
  publish("c", kQos1);
  CHECK(courier.take() == Texts{"1/4:b", "1/4:c"});
  groups.set_connected(change("$share/g/t"), 0, session(4), true, {});
  groups.give_back(first.group, Message::create(view), 1, session(4), {});  // now the other way round
  publish("d", kQos1);
  CHECK(courier.take() == Texts{"0/4:a", "0/4:d"});
  groups.give_back(first.group + 1'000, Message::create(view), 0, session(4), {});  // of a group that is gone
  CHECK(courier.dropped == 1);
}

TEST_CASE("a group that ends counts what waited and leaves nothing", "[router]") {
  const int64_t before = heap_blocks();
  {
    GroupTest test;
    test.join(0, 1, test.change("$share/g/t"));
    test.groups.set_connected(test.change("$share/g/t"), 0, GroupTest::session(1), false, {});
    test.publish("1", kQos1);
    test.groups.leave(test.change("$share/g/t"), 0, GroupTest::session(1));
    CHECK(test.courier.dropped == 1);
    test.join(0, 1, test.change("$share/g/u"));  // ended with its shard
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
