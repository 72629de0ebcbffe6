// Shared subscriptions at their home (MQTT5 4.8.2): who is chosen, who is passed over, and what waits.
#include "router/shared_group.h"

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "heap.h"

namespace mqttq {

namespace {

constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;
constexpr MemberState kThere{100, true, false}, kAway{0, false, false}, kFull{0, true, false};
// Of a session that outlives its connection: its group is durable.
constexpr MemberState kDurable{100, true, true}, kDurableAway{0, false, true};

using Texts = std::vector<std::string>;

class TestCourier final : public GroupCourier {
 public:
  Handed hand_to_member(uint32_t shard, SlabHandle membership, SlabHandle group, MovingMessage& message,
                        uint64_t number, Instant, uint64_t) noexcept override {
    last_group = group;
    last_number = number;
    if (const auto at = answers.find(membership.index); at != answers.end() && at->second != Handed::Open) {
      if (at->second != Handed::Finished) return at->second;
    }
    handed.push_back(std::to_string(shard) + "/" + std::to_string(membership.index) + ":" +
                     std::string(as_text(message.view().payload)));
    return message.view().qos == kQos0 || answers.contains(membership.index) ? Handed::Finished : Handed::Open;
  }
  void recall(uint32_t shard, SlabHandle membership, Instant) noexcept override {
    recalled.insert(std::to_string(shard) + "/" + std::to_string(membership.index));
  }
  void count_dropped(const MessageView& message) noexcept override { dropped.emplace_back(as_text(message.payload)); }
  void tell_deleted(uint32_t, SlabHandle, Instant) noexcept override {}
  void count_lost() noexcept override { ++lost; }
  bool fetch_for_group(SlabHandle, std::span<const uint64_t> numbers) noexcept override {
    fetched.assign(numbers.begin(), numbers.end());
    return true;
  }
  void confirm_leave(uint32_t, MemberId member, SlabHandle) noexcept override { leaving.insert(member); }
  void note_groups_changed() noexcept override { changed = true; }
  void forget_group(NamespaceId, std::string_view shared_filter) noexcept override {
    forgotten.emplace_back(shared_filter);
  }

  // Who got what since the last call: "shard/membership:payload".
  Texts take() { return std::exchange(handed, {}); }

  Texts handed, dropped;
  std::set<std::string> recalled;
  std::map<uint32_t, Handed> answers;  // by membership; Open where there is none
  SlabHandle last_group;
  uint64_t last_number = 0;
  int lost = 0;
  bool changed = false;
  std::vector<uint64_t> fetched;
  std::set<MemberId> leaving;
  Texts forgotten;
};

struct GroupTest {
  explicit GroupTest(SharedStrategy strategy = SharedStrategy::RoundRobin) {
    strategies.set_default(strategy);
    strategies.set(0, "random", SharedStrategy::Random);
  }
  Router router{3, 1};
  FanOut fan_out{router, 0};
  TestCourier courier;
  SharedStrategies strategies;
  SharedGroups groups{fan_out, courier, strategies, {3, 1000}, 1};

  static std::unique_ptr<GroupJoin, Destroy> how(std::string_view text) {
    return std::unique_ptr<GroupJoin, Destroy>(GroupJoin::create_for(kGlobalNamespace, text));
  }
  MemberId join(uint32_t shard, uint32_t index, MemberState state = kThere, std::string_view text = "$share/g/t") {
    const MemberId member = groups.join(*how(text), shard, {index, 1}, state);
    REQUIRE(member != 0);
    groups.set_state(member, state, {});
    return member;
  }
  static MessageView message(std::string_view payload, Qos qos, std::string_view topic, PublisherId publisher) {
    MessageView view;
    view.topic_name = topic;
    view.payload = as_bytes(payload);
    view.qos = qos;
    view.publisher = publisher;
    return view;
  }
  void publish(std::string_view payload, Qos qos, std::string_view topic = "t", PublisherId publisher = 0) {
    MovingMessage moving(message(payload, qos, topic, publisher));
    fan_out.deliver(moving, *router.match(0, topic), {}, {});
  }
  // Once it is durable: to the journals of those who care, with the next number.
  uint64_t append(std::string_view payload, Qos qos = kQos1, bool in_memory = true) {
    const MessageView view = message(payload, qos, "t", 0);
    const auto wake = [](Cursor& cursor) {
      auto& reader = static_cast<GroupReader&>(cursor);
      reader.group->home->on_journal(reader);
    };
    const RouteRef route = router.match(0, "t");
    REQUIRE(route->durable_shards() == 1);
    MessageRef kept = Message::create(view);
    const uint32_t size = kept->content_size();
    for (Filter* filter : route->filters()) {
      REQUIRE(fan_out.append(*filter, {++number, in_memory ? kept : MessageRef(), size}, {}, wake));
    }
    groups.run({});
    return number;
  }
  // What would be written: "position: what is open".
  std::string recorded(bool all = true) {
    std::string text;
    groups.settle(number, all, {}, [&](const GroupProgress& progress) {
      text += std::to_string(progress.position) + ":";
      for (uint32_t i = 0; i < progress.open.count(); ++i) {
        const GroupOpen& one = progress.open[i];
        text += " " + std::to_string(one.number) + (one.settled ? one.recorded ? "!" : "." : "");
      }
    });
    return text;
  }
  uint64_t number = 0;

  void publish_all(const Texts& payloads, Qos qos = kQos1) {
    for (const std::string& payload : payloads) publish(payload, qos);
  }
};

struct LeastInflightTest : GroupTest {
  LeastInflightTest() : GroupTest(SharedStrategy::LeastInflight) {}
};
struct StickyTest : GroupTest {
  StickyTest() : GroupTest(SharedStrategy::Sticky) {}
};

}  // namespace

TEST_CASE_METHOD(GroupTest, "members are chosen in turn", "[router][MQTT-4.8.2-3]") {
  const MemberId one = join(0, 1), two = join(1, 2), three = join(2, 3);
  publish_all({"a", "b", "c", "d"}, kQos2);
  CHECK(courier.take() == Texts{"0/1:a", "1/2:b", "2/3:c", "0/1:d"});
  for (const MemberId member : {one, two, three}) groups.leave(member, {});
  CHECK(groups.count() == 0);
  CHECK(router.match(0, "t")->filters().empty());
}

TEST_CASE_METHOD(GroupTest, "groups of other names are other groups, and each gets the message", "[router]") {
  join(0, 1, kThere, "$share/g/t");
  join(0, 2, kThere, "$share/h/t");
  join(0, 3, kThere, "$share/g/#");
  publish("x", kQos1);
  CHECK(courier.take().size() == 3);
  CHECK(groups.count() == 3);
}

TEST_CASE_METHOD(GroupTest, "members that are away are passed over", "[router]") {
  const MemberId one = join(0, 1);
  join(0, 2);
  groups.set_state(one, kAway, {});
  publish_all({"a", "b"});
  CHECK(courier.take() == Texts{"0/2:a", "0/2:b"});
  groups.set_state(one, kThere, {});
  publish_all({"c", "d"});
  CHECK(courier.take() == Texts{"0/1:c", "0/2:d"});
}

TEST_CASE_METHOD(GroupTest, "a member is handed no more than its window, and what is finished makes room", "[router]") {
  const MemberId one = join(0, 1, {1, true, false}), two = join(0, 2, {2, true, false});
  publish_all({"a", "b", "c", "d", "e"});
  CHECK(courier.take() == Texts{"0/1:a", "0/2:b", "0/2:c"});
  publish("QoS 0 needs no window", kQos0);
  CHECK(courier.take().size() == 1);
  groups.done(two, 2, {}, {});
  CHECK(courier.take() == Texts{"0/2:d", "0/2:e"});
  publish("f", kQos1);
  CHECK(courier.take().empty());
  groups.done(one, 1, {}, {});
  CHECK(courier.take() == Texts{"0/1:f"});
  groups.done(one, 99, {}, {});  // more than there are
  publish("g", kQos1);
  CHECK(courier.take() == Texts{"0/1:g"});
  CHECK(courier.dropped.empty());
}

TEST_CASE_METHOD(GroupTest, "a member that says it is full is asked again when it has said otherwise", "[router]") {
  const MemberId one = join(0, 1), two = join(0, 2);
  courier.answers[1] = Handed::Full;
  publish_all({"a", "b"});
  CHECK(courier.take() == Texts{"0/2:a", "0/2:b"});
  courier.answers[2] = Handed::Full;
  publish_all({"c", "d"});
  CHECK(courier.take().empty());
  courier.answers.clear();
  groups.set_state(one, kThere, {});
  CHECK(courier.take() == Texts{"0/1:c", "0/1:d"});
  groups.set_state(two, kThere, {});
  publish_all({"e", "f"});
  CHECK(courier.take() == Texts{"0/2:e", "0/1:f"});
}

TEST_CASE_METHOD(GroupTest, "while all are full what is above QoS 0 waits, and the oldest makes way", "[router]") {
  const MemberId one = join(0, 1, kFull);
  publish("at once", kQos0);
  CHECK(courier.take() == Texts{"0/1:at once"});
  publish_all({"1", "2", "3", "4"});
  CHECK(courier.dropped == Texts{"1"});
  publish(std::string(990, 'x'), kQos1);
  CHECK(courier.dropped == Texts{"1", "2"});
  publish(std::string(995, 'y'), kQos1);  // over the bound in bytes: nothing fits beside it
  CHECK(courier.dropped.size() == 5);
  groups.set_state(one, kThere, {});
  CHECK(courier.take() == Texts{"0/1:" + std::string(995, 'y')});
  publish("5", kQos1);
  CHECK(courier.take() == Texts{"0/1:5"});
}

TEST_CASE_METHOD(GroupTest, "nothing waits for members that do not come back", "[router]") {
  join(0, 1, kAway);
  publish("1", kQos1);
  CHECK(courier.dropped == Texts{"1"});
}

TEST_CASE_METHOD(GroupTest, "what waits goes to a member that joins", "[router]") {
  join(0, 1, kFull);
  publish("1", kQos1);
  publish("2", kQos2);
  join(2, 7);
  CHECK(courier.take() == Texts{"2/7:1", "2/7:2"});
}

// --- durable ones

TEST_CASE_METHOD(GroupTest, "a durable group reads its journal, as far as its members have room", "[router]") {
  const MemberId one = join(0, 1, kDurableAway);
  publish("not live", kQos1);
  CHECK(courier.take().empty());
  CHECK(courier.dropped.empty());
  for (const char* payload : {"1", "2", "3"}) append(payload);
  CHECK(courier.take().empty());
  CHECK(recorded() == "1:");
  groups.set_state(one, {2, true, true}, {});
  CHECK(courier.take() == Texts{"0/1:1", "0/1:2"});
  CHECK(courier.last_number == 2);
  CHECK(recorded() == "3: 1 2");
  CHECK(groups.lowest_number(number) == 1);
  const uint64_t first[] = {1 | GroupNumbers::kRecorded}, second[] = {2};
  groups.done(one, 0, first, {});
  CHECK(courier.take() == Texts{"0/1:3"});
  groups.done(one, 0, second, {});
  CHECK(recorded() == "4: 1! 2. 3");
  CHECK(recorded() == "4: 3");
  CHECK(groups.lowest_number(number) == 3);
  append("4");
  CHECK(courier.take() == Texts{"0/1:4"});
  publish("QoS 0 is live", kQos0);
  CHECK(courier.take().size() == 1);
}

TEST_CASE_METHOD(GroupTest, "what a member gives back comes before what is newer, and keeps its number", "[router]") {
  const MemberId one = join(0, 1, {3, true, true});
  const MemberId two = join(1, 2, kDurableAway);
  for (const char* payload : {"1", "2", "3", "4"}) append(payload);
  CHECK(courier.take() == Texts{"0/1:1", "0/1:2", "0/1:3"});
  const MessageRef three = Message::create(message("3", kQos1, "t", 0));
  groups.give_back(one, courier.last_group, three, 3, Handed::Away, {});
  groups.give_back(one, courier.last_group, {}, 1, Handed::Away, {});  // it is to be read
  CHECK(recorded() == "4: 1 2 3");
  groups.set_state(two, {2, true, true}, {});
  CHECK(courier.take().empty());
  CHECK(courier.fetched == std::vector<uint64_t>{1});
  Ring<FetchedMessage> found;
  REQUIRE(found.push_back({1, Message::create(message("1", kQos1, "t", 0))}));
  groups.on_fetched(courier.last_group, found, {});
  CHECK(courier.take() == Texts{"1/2:1", "1/2:3"});
  const uint64_t both[] = {1, 3};
  groups.done(two, 0, both, {});
  CHECK(courier.take() == Texts{"1/2:4"});
  CHECK(recorded() == "5: 1. 2 3. 4");
}

TEST_CASE_METHOD(GroupTest, "what is not in memory is read, and what is lost is passed over", "[router]") {
  const MemberId one = join(0, 1, kDurableAway);
  for (const char* payload : {"1", "2", "3"}) append(payload, kQos1, false);
  append("4");
  groups.set_state(one, kDurable, {});
  CHECK(courier.fetched == std::vector<uint64_t>{1, 2, 3});
  Ring<FetchedMessage> found;
  REQUIRE(found.push_back({1, Message::create(message("1", kQos1, "t", 0))}));
  REQUIRE(found.push_back({2, {}, Status::NotFound}));
  REQUIRE(found.push_back({3, {}, Status::Io}));  // perhaps another time
  groups.on_fetched(groups.find(0, "$share/g/t")->handle(), found, {});
  CHECK(courier.take().empty());  // read ahead, and handed out with the next look
  courier.fetched.clear();
  recorded(false);
  CHECK(courier.take() == Texts{"0/1:1"});
  CHECK(courier.lost == 1);
  CHECK(courier.fetched == std::vector<uint64_t>{3});
  REQUIRE(found.push_back({3, Message::create(message("3", kQos1, "t", 0))}));
  groups.on_fetched(groups.find(0, "$share/g/t")->handle(), found, {});
  CHECK(courier.take() == Texts{"0/1:3", "0/1:4"});
}

TEST_CASE_METHOD(GroupTest, "who has left finishes what he has, once it is durable that he has it", "[router]") {
  const MemberId one = join(0, 1, kDurable);
  append("1");
  append("2");
  const MemberId two = join(1, 2, kDurable);
  CHECK(courier.take() == Texts{"0/1:1", "0/1:2"});
  groups.leave(one, {});
  CHECK(courier.leaving == std::set<MemberId>{one});
  CHECK(recorded() == "3: 1 2");
  // One had been on its way to him.
  groups.give_back(0, courier.last_group, Message::create(message("2", kQos1, "t", 0)), 2, Handed::Away, {});
  CHECK(courier.take() == Texts{"1/2:2"});
  groups.on_left(one, courier.last_group);
  CHECK(recorded() == "3: 1! 2");
  groups.leave(two, {});
  CHECK(courier.forgotten == Texts{"$share/g/t"});
}

TEST_CASE_METHOD(GroupTest, "what a member gives back goes to another at once, or waits", "[router]") {
  const MemberId one = join(0, 4), two = join(1, 4);  // memberships of two shards may have equal handles
  publish("a", kQos1);
  CHECK(courier.take() == Texts{"0/4:a"});
  const MessageRef a = Message::create(message("a", kQos1, "t", 0));
  groups.give_back(one, courier.last_group, a, 0, Handed::Full, {});
  CHECK(courier.take() == Texts{"1/4:a"});
  publish_all({"b", "c"});
  CHECK(courier.take() == Texts{"1/4:b", "1/4:c"});
  groups.give_back(two, courier.last_group, a, 0, Handed::Full, {});
  CHECK(courier.take().empty());
  groups.leave(two, {});
  groups.give_back(two, courier.last_group, a, 0, Handed::Full, {});  // it was on its way when the member left
  groups.set_state(one, kThere, {});
  CHECK(courier.take() == Texts{"0/4:a", "0/4:a"});
  groups.leave(one, {});
  CHECK(courier.dropped.empty());
  groups.give_back(one, courier.last_group, a, 0, Handed::Full, {});  // of a group that is gone
  CHECK(courier.dropped == Texts{"a"});
}

TEST_CASE_METHOD(GroupTest, "what an absent member holds is recalled when others are there", "[router]") {
  const MemberId one = join(0, 1), two = join(1, 2);
  publish_all({"a", "b"});
  groups.set_state(one, kAway, {});
  CHECK(courier.recalled == std::set<std::string>{"0/1"});
  courier.recalled.clear();
  groups.set_state(two, kAway, {});
  CHECK(courier.recalled.empty());  // nobody is there
  const MemberId three = join(2, 3);
  CHECK(courier.recalled == std::set<std::string>{"0/1", "1/2"});
  groups.done(one, 1, {}, {});
  groups.done(two, 1, {}, {});
  courier.recalled.clear();
  groups.set_state(three, kThere, {});
  CHECK(courier.recalled.empty());
}

TEST_CASE_METHOD(LeastInflightTest, "least_inflight chooses who has the fewest open", "[router]") {
  const MemberId one = join(0, 1), two = join(0, 2), three = join(0, 3);
  publish_all({"a", "b", "c", "d", "e", "f"});  // two each
  courier.take();
  groups.done(two, 2, {}, {});
  publish_all({"g", "h"});
  CHECK(courier.take() == Texts{"0/2:g", "0/2:h"});
  groups.done(three, 1, {}, {});
  groups.done(one, 2, {}, {});
  publish_all({"i", "j", "k"});
  CHECK(courier.take() == Texts{"0/1:i", "0/3:j", "0/1:k"});
}

TEST_CASE_METHOD(StickyTest, "sticky keeps to one member, for whom others stand in while it is full", "[router]") {
  const MemberId one = join(0, 1, {2, true, false}), two = join(0, 2);
  publish_all({"a", "b", "c"});
  CHECK(courier.take() == Texts{"0/1:a", "0/1:b", "0/2:c"});
  groups.done(one, 2, {}, {});
  publish("d", kQos1);
  CHECK(courier.take() == Texts{"0/1:d"});
  groups.set_state(one, kAway, {});
  publish("e", kQos1);
  groups.set_state(one, kThere, {});
  publish("f", kQos1);
  CHECK(courier.take() == Texts{"0/2:e", "0/2:f"});
  groups.leave(two, {});
  publish("g", kQos1);
  CHECK(courier.take() == Texts{"0/1:g"});
}

TEST_CASE("hashes send equal publishers, or equal topics, to one member, and spread the others", "[router]") {
  for (const SharedStrategy strategy : {SharedStrategy::HashClientId, SharedStrategy::HashTopic}) {
    GroupTest test(strategy);
    for (uint32_t i = 0; i < 4; ++i) test.join(0, i, kThere, "$share/g/#");
    const bool by_topic = strategy == SharedStrategy::HashTopic;
    std::map<std::string, std::set<std::string>> members;  // by key
    std::set<std::string> chosen;
    for (int i = 0; i < 400; ++i) {
      const auto publisher = static_cast<PublisherId>(1 + i % 20);
      const std::string topic = "t" + std::to_string(i / 20);
      test.publish("x", kQos0, topic, publisher);
      const std::string member = test.courier.take().at(0);
      members[by_topic ? topic : std::to_string(publisher)].insert(member);
      chosen.insert(member);
    }
    CHECK(members.size() == 20);
    for (const auto& [key, ones] : members) CHECK(ones.size() == 1);
    CHECK(chosen.size() == 4);
  }
}

TEST_CASE_METHOD(GroupTest, "a group may have a strategy of its own", "[router]") {
  for (uint32_t i = 0; i < 4; ++i) join(0, i, {1000, true, false}, "$share/random/t");
  std::map<std::string, int> counts;
  for (int i = 0; i < 400; ++i) publish("x", kQos1);
  int repeats = 0;
  std::string before;
  for (const std::string& one : courier.take()) {
    ++counts[one];
    repeats += one == before;
    before = one;
  }
  CHECK(counts.size() == 4);
  for (const auto& [member, count] : counts) CHECK(count > 50);
  CHECK(repeats > 40);  // in turn there would be none
}

TEST_CASE("a group that ends counts what waited and leaves nothing", "[router]") {
  const int64_t before = heap_blocks();
  {
    GroupTest test;
    const MemberId one = test.join(0, 1, kAway);
    test.publish("1", kQos1);
    test.groups.leave(one, {});
    CHECK(test.courier.dropped == Texts{"1"});
    test.join(0, 1, kThere, "$share/g/u");  // ended with its shard
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("without memory nobody becomes a member, and nothing is left behind", "[router]") {
  GroupTest test;
  const int64_t before = heap_blocks();
  const auto how = GroupTest::how("$share/g/t");
  for (int64_t after = 0;; ++after) {
    MemberId member;
    {
      const FailingHeap failing(after);
      member = test.groups.join(*how, 0, {1, 1}, kThere);
    }
    if (member) {
      test.groups.leave(member, {});
      CHECK(after > 3);
      break;
    }
    CHECK(test.groups.count() == 0);
  }
  CHECK(heap_blocks() - before < 8);  // blocks of slabs and tables, which are kept
}

}  // namespace mqttq
