// The delivery of a routed message to the sinks of one shard (MQTT5 3.3.4).
#include "router/fan_out.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <map>
#include <memory>
#include <string>

#include "heap.h"
#include "router/random_topics.h"

namespace mqttq {

namespace {

struct TestSink final : Sink {
  explicit TestSink(PublisherId publisher = 0) : Sink(kGlobalNamespace), id(publisher) {}
  void deliver(const Delivery& delivery, Instant) noexcept override {
    ++count;
    qos = delivery.qos;
    retain = delivery.retain;
    identifiers.assign(delivery.identifiers.begin(), delivery.identifiers.end());
    std::sort(identifiers.begin(), identifiers.end());
  }
  PublisherId publisher_id() const noexcept override { return id; }

  PublisherId id;
  int count = 0;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  std::vector<uint32_t> identifiers;
};

struct Options {
  Qos qos = Qos::AtMostOnce;
  uint32_t identifier = 0;
  bool no_local = false;
  bool retain_as_published = false;
  bool durable = false;
};

Subscription subscription_of(Sink& sink, const Options& options) {
  Subscription subscription;
  subscription.sink = &sink;
  subscription.qos = options.qos;
  subscription.identifier = options.identifier;
  subscription.no_local = options.no_local;
  subscription.retain_as_published = options.retain_as_published;
  subscription.durable = options.durable;
  return subscription;
}

MessageView message_at(std::string_view topic, Qos qos, bool retain = false, PublisherId publisher = 0) {
  MessageView view;
  view.topic_name = topic;
  view.qos = qos;
  view.retain = retain;
  view.publisher = publisher;
  return view;
}

constexpr auto kQos0 = Qos::AtMostOnce, kQos1 = Qos::AtLeastOnce, kQos2 = Qos::ExactlyOnce;

}  // namespace

TEST_CASE("a sink with one matching subscription gets the message by its options", "[router][MQTT-3.8.4-8]") {
  Router router(2, 1);
  FanOut fan_out(router, 1);
  TestSink one(11), two(22);
  Subscription first = subscription_of(one, {kQos1, 7, true, true}), second = subscription_of(two, {kQos2});
  REQUIRE(fan_out.add(first, 0, "a/+") == Status::Ok);
  REQUIRE(fan_out.add(second, 0, "a/+") == Status::Ok);
  CHECK(first.filter == second.filter);
  MovingMessage message(message_at("a/b", kQos2, true, 22));
  CHECK(fan_out.deliver(message, *router.match(0, "a/b"), {}, {}) == 2);
  CHECK(one.qos == kQos1);
  CHECK(one.retain);
  CHECK(one.identifiers == std::vector<uint32_t>{7});
  CHECK(two.qos == kQos2);
  CHECK_FALSE(two.retain);
  CHECK(two.identifiers.empty());
  MovingMessage own(message_at("a/b", kQos0, false, 11));  // No Local
  CHECK(fan_out.deliver(own, *router.match(0, "a/b"), {}, {}) == 1);
  CHECK(one.count == 1);
  CHECK(two.count == 2);
  fan_out.remove(first);
  CHECK(first.filter == nullptr);
  CHECK(fan_out.deliver(own, *router.match(0, "a/b"), {}, {}) == 1);
  fan_out.remove(second);
  CHECK(router.match(0, "a/b")->shards() == 0);
}

TEST_CASE("a filter says of each shard whether it subscribes, and durably", "[router]") {
  Router router(2, 1);
  FanOut here(router, 0), there(router, 1);
  TestSink sink;
  Subscription live = subscription_of(sink, {kQos1}), durable = subscription_of(sink, {kQos1, 0, false, false, true});
  REQUIRE(here.add(live, 0, "a") == Status::Ok);
  REQUIRE(there.add(durable, 0, "a") == Status::Ok);
  Filter& filter = *live.filter;
  constexpr uint8_t kDurable = Filter::kAny | Filter::kDurable;
  CHECK(filter.interest(0) == Filter::kAny);
  CHECK(filter.interest(1) == kDurable);
  REQUIRE(here.set_durable(live, true) == Status::Ok);
  CHECK(filter.interest(0) == kDurable);
  REQUIRE(there.set_durable(durable, false) == Status::Ok);
  CHECK(filter.interest(0) == kDurable);
  CHECK(filter.interest(1) == Filter::kAny);
  here.remove(live);
  CHECK(filter.interest(0) == 0);
  CHECK(filter.interest(1) == Filter::kAny);
  there.remove(durable);
}

TEST_CASE("messages above QoS 0 are left to the journal of a durable subscription", "[router]") {
  Router router(1, 1);
  FanOut fan_out(router, 0);
  TestSink sink, live;
  Subscription durable = subscription_of(sink, {kQos1, 0, false, false, true}), also = subscription_of(sink, {kQos0}),
               other = subscription_of(live, {kQos0});
  REQUIRE(fan_out.add(durable, 0, "a/b") == Status::Ok);
  REQUIRE(fan_out.add(also, 0, "a/+") == Status::Ok);
  REQUIRE(fan_out.add(other, 0, "#") == Status::Ok);
  const RouteRef route = router.match(0, "a/b");
  MovingMessage at_1(message_at("a/b", kQos1)), at_0(message_at("a/b", kQos0));
  CHECK(fan_out.deliver(at_1, *route, {}, {}) == 1);
  CHECK(sink.count == 0);
  CHECK(fan_out.deliver(at_0, *route, {}, {}) == 2);
  CHECK(sink.count == 1);

  Cursor cursor;
  Journal& journal = durable.filter->local(0).rare->journal;
  REQUIRE(journal.attach(cursor));
  journal.wait(cursor);
  std::vector<Cursor*> woken;
  int limited = 0;
  fan_out.set_limiter(&limited, [](void* user, Journal&) noexcept { ++*static_cast<int*>(user); });
  CHECK(fan_out.append(5, at_1.keep(), *route, {}, {}, [&](Cursor& one) { woken.push_back(&one); }));
  CHECK(fan_out.append(6, at_1.keep(), *route, {}, {}, [&](Cursor& one) { woken.push_back(&one); }));
  CHECK(woken == std::vector<Cursor*>{&cursor});  // it does not wait twice by itself
  CHECK(limited == 2);
  CHECK(journal.peek(cursor)->number == 5);
  journal.detach(cursor);
  for (Subscription* one : {&durable, &also, &other}) fan_out.remove(*one);
}

TEST_CASE("a journal over its bound makes its filter full until an eighth is free", "[router]") {
  Router router(2, 1);
  FanOut fan_out(router, 0);
  const bool by_count = GENERATE(true, false);
  const std::string payload(100, 'x');
  fan_out.set_bounds(by_count ? 16 : UINT64_MAX, by_count ? UINT64_MAX : 16 * (payload.size() + 3));
  TestSink sink;
  Subscription subscription = subscription_of(sink, {kQos1, 0, false, false, true});
  REQUIRE(fan_out.add(subscription, 0, "a/+") == Status::Ok);
  Filter& filter = *subscription.filter;
  Journal& journal = fan_out.journal_of(filter);
  Cursor slow, fast;
  REQUIRE(journal.attach(slow));
  REQUIRE(journal.attach(fast));
  MessageView view = message_at("a/b", kQos1);
  view.payload = as_bytes(payload);
  uint64_t number = 0;
  const auto append = [&] {
    const RouteRef route = router.match(0, "a/b");
    REQUIRE(fan_out.append(++number, Message::create(view), *route, {}, {}, [](Cursor&) {}));
    if (journal.peek(fast)) journal.advance(fast);
    fan_out.judge_lengths();
  };
  const auto full = [&] { return router.match(0, "a/b")->has_full_journals(); };
  for (int i = 0; i < 15; ++i) append();
  CHECK_FALSE(full());
  append();
  CHECK(full());
  CHECK(fan_out.has_full());
  append();  // the route names no journal
  CHECK(journal.behind_count(slow) == 16);
  journal.advance(slow);
  fan_out.reopen();
  CHECK(full());
  journal.advance(slow);
  fan_out.reopen();
  CHECK_FALSE(full());
  CHECK_FALSE(fan_out.has_full());
  const RouteRef route = router.match(0, "a/b");
  for (int i = 0; i < 2; ++i) REQUIRE(fan_out.append(++number, Message::create(view), *route, {}, {}, [](Cursor&) {}));
  for (int i = 0; i < 2; ++i) journal.advance(slow);
  CHECK_FALSE(fan_out.judge_lengths());  // it was sent at once
  append();
  append();
  CHECK(full());
  journal.detach(slow);
  journal.detach(fast);
  fan_out.remove(subscription);
  CHECK_FALSE(fan_out.has_full());
  CHECK_FALSE(full());
}

// Sinks, each with any number of subscriptions, against a model that looks at all of them.
TEST_CASE("overlapping subscriptions bring one message, with the highest QoS and all identifiers",
          "[router][MQTT-3.3.4-2][MQTT-3.3.4-3][MQTT-3.3.4-4][MQTT311-3.3.5-1]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 7))));
  const int64_t before = heap_blocks();
  {
    Router router(1, random.next());
    FanOut fan_out(router, 0);
    std::vector<std::unique_ptr<TestSink>> sinks;
    for (PublisherId id = 1; id <= 10; ++id) sinks.push_back(std::make_unique<TestSink>(id));
    std::map<std::pair<Sink*, std::string>, std::unique_ptr<Subscription>> subscriptions;
    for (int step = 0; step < 400; ++step) {
      TestSink& sink = *sinks[random.below(sinks.size())];
      auto& place = subscriptions[{&sink, random_filter(random)}];
      const std::string text = std::find_if(subscriptions.begin(), subscriptions.end(), [&](const auto& one) {
                                 return &one.second == &place;
                               })->first.second;
      if (place) {
        fan_out.remove(*place);
        subscriptions.erase({&sink, text});
      } else {
        place = std::make_unique<Subscription>(
            subscription_of(sink, {static_cast<Qos>(random.below(3)), static_cast<uint32_t>(random.below(4)),
                                   random.below(4) == 0, random.below(2) == 0, random.below(5) == 0}));
        REQUIRE(fan_out.add(*place, 0, text) == Status::Ok);
      }
      const std::string name = random_name(random);
      const MessageView view =
          message_at(name, static_cast<Qos>(random.below(3)), random.below(2) == 0, random.below(12));
      for (const auto& one : sinks) one->count = 0;
      MovingMessage message(view);
      const uint32_t taken = fan_out.deliver(message, *router.match(0, name), {}, {});
      uint32_t expected_taken = 0;
      for (const auto& one : sinks) {
        Qos qos = kQos0;
        bool retain = false, durable = false, matched = false;
        std::vector<uint32_t> identifiers;
        for (const auto& [key, subscription] : subscriptions) {
          if (key.first != one.get() || !topic_matches(key.second, name)) continue;
          if (subscription->no_local && one->id == view.publisher) continue;
          matched = true;
          qos = std::max(qos, subscription->qos);
          retain |= subscription->retain_as_published;
          durable |= subscription->durable;
          if (subscription->identifier) identifiers.push_back(subscription->identifier);
        }
        std::sort(identifiers.begin(), identifiers.end());
        const bool expected = matched && !(durable && view.qos != kQos0);
        expected_taken += expected;
        REQUIRE(one->count == (expected ? 1 : 0));
        if (!expected) continue;
        REQUIRE(one->qos == std::min(qos, view.qos));
        REQUIRE(one->retain == (view.retain && retain));
        REQUIRE(one->identifiers == identifiers);
      }
      REQUIRE(taken == expected_taken);
    }
    for (auto& [key, subscription] : subscriptions) fan_out.remove(*subscription);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a subscription without memory leaves nothing behind", "[router]") {
  Router router(1, 1);
  FanOut fan_out(router, 0);
  TestSink sink;
  const int64_t before = heap_blocks();
  Subscription subscription = subscription_of(sink, {kQos1, 0, false, false, true});
  int failures = 0;
  for (int64_t after = 0;; ++after) {
    Status status;
    {
      FailingHeap some(after);
      status = fan_out.add(subscription, 0, "a/+");
    }
    if (status == Status::Ok) break;
    ++failures;
    CHECK(status == Status::NoMemory);
    CHECK(heap_blocks() == before);
  }
  CHECK(failures >= 4);
  fan_out.remove(subscription);
  CHECK(heap_blocks() == before);
}

// --- queues

namespace {

struct TestHome final : QueueHome {
  bool take(const NumberedMessage& message, Instant) noexcept override {
    if (!ready) return false;
    numbers.push_back(message.number);
    bytes += message.size;
    in_memory += message.message ? 1 : 0;
    return true;
  }
  std::vector<uint64_t> numbers;
  uint64_t bytes = 0;
  int in_memory = 0;
  bool ready = true;
};

// One queue of the filter "a".
struct OneQueue {
  OneQueue() {
    REQUIRE(filter);
    fan_out.open_queue(*filter);
  }
  ~OneQueue() { fan_out.remove_queue(*filter); }
  bool append(uint64_t number) {
    return fan_out.append(number, message.keep(), *router.match(0, "a"), {}, {}, [](Cursor&) {});
  }
  Router router{1, 1};
  FanOut fan_out{router, 0};
  TestHome home;
  Filter* filter = fan_out.add_queue(home, 0, 7, "a");
  MovingMessage message{message_at("a", kQos1)};
};

}  // namespace

TEST_CASE("a message at QoS 0 goes to the journals of queues, and above to those of sessions too", "[router]") {
  Router router(2, 1);
  FanOut fan_out(router, 0);
  TestSink sink;
  TestHome home, same_text;
  Subscription durable = subscription_of(sink, {kQos1, 0, false, false, true}), live = subscription_of(sink, {kQos1});
  REQUIRE(fan_out.add(durable, 0, "a/+") == Status::Ok);
  REQUIRE(fan_out.add(live, 0, "#") == Status::Ok);
  Filter* filters[] = {fan_out.add_queue(home, 0, 7, "a/+"), fan_out.add_queue(same_text, 0, 8, "a/+")};
  REQUIRE(filters[0]);
  REQUIRE(filters[1]);
  CHECK(filters[0]->interest(0) == 0);  // what may enter is to be said first
  for (Filter* filter : filters) fan_out.open_queue(*filter);
  CHECK(filters[0]->interest(0) == Filter::kDurable);
  CHECK(filters[0]->interest(1) == 0);
  Cursor cursor;
  REQUIRE(fan_out.journal_of(*durable.filter).attach(cursor));

  const RouteRef route = router.match(0, "a/b");
  CHECK(route->queues().size() == 2);
  const auto ignore = [](Cursor&) {};
  MovingMessage at_0(message_at("a/b", kQos0)), at_1(message_at("a/b", kQos1));
  CHECK(fan_out.deliver(at_0, *route, {}, {}) == 1);  // to the session, and no queue
  CHECK(fan_out.append(1, at_0.keep(), *route, {}, {}, ignore));
  CHECK(fan_out.append(2, at_1.keep(), *route, {}, {}, ignore));
  CHECK(home.numbers == std::vector<uint64_t>{1, 2});
  CHECK(home.bytes == 6);
  CHECK(home.in_memory == 2);
  CHECK(same_text.numbers == home.numbers);
  CHECK(fan_out.journal_of(*durable.filter).peek(cursor)->number == 2);

  // Who does without it, and who has ended.
  Filter* without[] = {filters[0]};
  CHECK(fan_out.append(3, at_1.keep(), *route, without, {}, ignore));
  CHECK(home.numbers.size() == 2);
  CHECK(fan_out.journal_of(*durable.filter).behind_count(cursor) == 2);
  fan_out.remove_queue(*filters[0]);
  CHECK(fan_out.append(4, at_1.keep(), *route, {}, {}, ignore));
  CHECK(home.numbers.size() == 2);
  CHECK(router.match(0, "a/b")->queues().size() == 1);
  fan_out.remove_queue(*filters[1]);
  CHECK(router.match(0, "a/b")->queues().empty());
  fan_out.journal_of(*durable.filter).detach(cursor);
  for (Subscription* one : {&durable, &live}) fan_out.remove(*one);
}

TEST_CASE("a queue's journal has no bound but its own", "[router]") {
  OneQueue one;
  one.fan_out.set_bounds(2, UINT64_MAX);
  for (uint64_t number = 1; number <= 10; ++number) REQUIRE(one.append(number));
  CHECK_FALSE(one.fan_out.judge_lengths());
  CHECK(one.home.numbers.size() == 10);
}

TEST_CASE("a queue that has no memory for its first message does not have it", "[router]") {
  OneQueue one;
  for (const bool ready : {false, true}) {
    one.home.ready = ready;
    REQUIRE(one.filter->gate().enter(one.message.keep()->content_size()));
    CHECK(one.append(1) == ready);
    CHECK(one.filter->gate().messages() == (ready ? 1 : 0));
    CHECK(one.home.numbers.size() == (ready ? 1 : 0));
  }
}

TEST_CASE("a queue without memory leaves nothing behind", "[router]") {
  Router router(1, 1);
  FanOut fan_out(router, 0);
  TestHome home;
  const int64_t before = heap_blocks();
  Filter* filter = nullptr;
  int failures = -1;
  for (int64_t after = 0; !filter; ++after, ++failures) {
    CHECK(heap_blocks() == before);
    FailingHeap some(after);
    filter = fan_out.add_queue(home, 0, 7, "a/+");
  }
  CHECK(failures >= 3);
  fan_out.remove_queue(*filter);
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
