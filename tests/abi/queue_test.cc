// mqttq/queue.h: queues that are declared, listed, changed, looked into and consumed in the process.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "host.h"
#include "temporary_directory.h"

namespace mqttq::abi {

namespace {

mqttq_queue_config queue_config(std::string_view topic_filter) {
  auto config = make(mqttq_queue_config_init);
  config.topic_filter = bytes(topic_filter);
  return config;
}

mqttq_status declare(const Host& host, std::string_view name, const mqttq_queue_config& config,
                     mqttq_namespace* ns = nullptr, mqttq_error* error = nullptr) {
  return mqttq_queue_declare(host.get(), ns, bytes(name), &config, error);
}

struct Listed {
  std::string name, topic_filter, dead_letter_topic, key;
  mqttq_queue figures;
};

std::vector<Listed> list(const Host& host, std::string_view name = {}, mqttq_namespace* ns = nullptr, size_t page = 0) {
  std::vector<Listed> all;
  uint64_t cursor = 0;
  do {
    mqttq_queues* queues = nullptr;
    REQUIRE(mqttq_queues_list(host.get(), ns, bytes(name), &cursor, page, &queues, nullptr) == MQTTQ_OK);
    if (page) CHECK(mqttq_queues_count(queues) <= page);
    for (size_t i = 0; i < mqttq_queues_count(queues); ++i) {
      const mqttq_queue one = mqttq_queues_get(queues, i);
      CHECK(one.size == sizeof one);
      all.push_back({text(one.name), text(one.config.topic_filter), text(one.config.dead_letter_topic),
                     text(one.config.key), one});
    }
    mqttq_queues_free(queues);
  } while (cursor);
  std::sort(all.begin(), all.end(), [](auto& one, auto& other) { return one.name < other.name; });
  return all;
}

mqttq_queue figures(const Host& host, std::string_view name, mqttq_namespace* ns = nullptr) {
  const auto one = list(host, name, ns);
  REQUIRE(one.size() == 1);
  return one[0].figures;
}

// Publishes from the host, and waits until the queue has them.
void fill(Host& host, std::string_view queue, std::string_view topic,
          std::initializer_list<std::string_view> payloads) {
  const uint64_t before = figures(host, queue).entered;
  for (const std::string_view payload : payloads) host.publish(topic, payload, 1);
  while (figures(host, queue).entered < before + payloads.size()) host.settle();
}

std::vector<std::string> peek(const Host& host, std::string_view name, size_t page = 0) {
  std::vector<std::string> payloads;
  uint64_t cursor = 0, last = 0;
  do {
    mqttq_queue_messages* messages = nullptr;
    REQUIRE(mqttq_queue_peek(host.get(), nullptr, bytes(name), &cursor, page, &messages, nullptr) == MQTTQ_OK);
    if (page) CHECK(mqttq_queue_messages_count(messages) <= page);
    for (size_t i = 0; i < mqttq_queue_messages_count(messages); ++i) {
      const mqttq_queued one = mqttq_queue_messages_get(messages, i);
      CHECK(one.size == sizeof one);
      CHECK(one.id > last);
      last = one.id;
      payloads.push_back(text(mqttq_message_payload(one.message)) + ":" + std::to_string(one.deliveries) +
                         (one.inflight ? "*" : ""));
    }
    mqttq_queue_messages_free(messages);
  } while (cursor);
  return payloads;
}

std::vector<Taken> take(mqttq_events* events, int count) {
  std::vector<Taken> taken;
  while (count--) taken.push_back(take_one(events));
  return taken;
}

struct Consumer {
  Consumer(Host& host, std::string_view queue, mqttq_events* events, uint32_t window = 0, void* user = nullptr,
           int32_t priority = 0) {
    auto config = make(mqttq_consumer_config_init);
    config.queue = bytes(queue);
    config.events = events;
    config.user = user;
    config.window = window;
    config.priority = priority;
    REQUIRE(mqttq_consumer_open(host.get(), &config, &consumer, nullptr) == MQTTQ_OK);
  }
  ~Consumer() { close(); }
  void close() { mqttq_consumer_close(std::exchange(consumer, nullptr)); }
  mqttq_consumer* consumer = nullptr;
};

// "work", of which messages die with their first delivery, and "dead", which takes them.
void declare_mortal(const Host& host, mqttq_queue_config config = queue_config("work/+")) {
  config.dead_letter_topic = bytes("dead/work");
  config.deliveries_max = 1;
  REQUIRE(declare(host, "work", config) == MQTTQ_OK);
  REQUIRE(declare(host, "dead", queue_config("dead/#")) == MQTTQ_OK);
}

}  // namespace

TEST_CASE("queues are declared, listed a page at a time, changed and deleted", "[abi]") {
  Host host{3};
  mqttq_namespace* red = host.open_namespace("red");
  mqttq_queue_config config = queue_config("a/#");
  mqttq_error error = make_error();
  CHECK(declare(host, "early", config, nullptr, &error) == MQTTQ_ESTATE);
  host.start();
  for (const char* name : {"q0", "q1", "q2", "q3", "q4"}) REQUIRE(declare(host, name, config) == MQTTQ_OK);
  REQUIRE(declare(host, "q1", queue_config("red/+"), red) == MQTTQ_OK);
  REQUIRE(declare(host, "$q/x/#", queue_config("")) == MQTTQ_OK);
  const auto all = list(host, {}, nullptr, 2);
  REQUIRE(all.size() == 6);
  CHECK(all[0].name == "$q/x/#");
  CHECK(all[0].topic_filter == "x/#");
  CHECK(all[5].name == "q4");
  CHECK(all[5].figures.config.messages_max == 1'000'000);
  CHECK(all[5].figures.config.bytes_max == uint64_t{1} << 30);
  CHECK(all[5].figures.config.age_max_s == 604'800);
  CHECK(all[5].figures.config.redelivery_delay_ms == 100);
  CHECK(list(host, {}, red).size() == 1);
  CHECK(list(host, "q1", red)[0].topic_filter == "red/+");
  CHECK(list(host, "none").empty());

  // The same again with other options, and with another filter.
  config.messages_max = 7;
  config.dead_letter_topic = bytes("dead");
  REQUIRE(declare(host, "q0", config) == MQTTQ_OK);
  CHECK(figures(host, "q0").config.messages_max == 7);
  CHECK(declare(host, "q0", queue_config("b/#"), nullptr, &error) == MQTTQ_EEXIST);
  config.key = bytes("topic");
  CHECK(declare(host, "q0", config, nullptr, &error) == MQTTQ_EEXIST);

  // Some of them, by merge.
  auto change = make(mqttq_queue_config_init);
  change.ack_timeout_ms = 5;
  change.messages_max = MQTTQ_QUEUE_UNLIMITED;
  REQUIRE(mqttq_queue_change(host.get(), nullptr, bytes("q0"),
                             MQTTQ_QUEUE_FIELD_ACK_TIMEOUT_MS | MQTTQ_QUEUE_FIELD_MESSAGES_MAX, &change,
                             nullptr) == MQTTQ_OK);
  const Listed changed = list(host, "q0")[0];
  CHECK(changed.figures.config.ack_timeout_ms == 5);
  CHECK(changed.figures.config.messages_max == MQTTQ_QUEUE_UNLIMITED);
  CHECK(changed.dead_letter_topic == "dead");
  change.dispatch = MQTTQ_QUEUE_KEY_ORDERED;
  CHECK(mqttq_queue_change(host.get(), nullptr, bytes("q0"), MQTTQ_QUEUE_FIELD_DISPATCH, &change, &error) ==
        MQTTQ_EINVAL);
  CHECK(mqttq_queue_change(host.get(), nullptr, bytes("q0"), 1u << 20, &change, &error) == MQTTQ_EINVAL);
  CHECK(mqttq_queue_change(host.get(), nullptr, bytes("none"), 0, &change, &error) == MQTTQ_ENOTFOUND);

  CHECK(mqttq_queue_delete(host.get(), nullptr, bytes("q1"), nullptr) == MQTTQ_OK);
  CHECK(mqttq_queue_delete(host.get(), nullptr, bytes("q1"), nullptr) == MQTTQ_ENOTFOUND);
  CHECK(list(host).size() == 5);
  CHECK(list(host, {}, red).size() == 1);
}

TEST_CASE("what is no queue is refused, with the field that is wrong", "[abi]") {
  Host host;
  host.start();
  mqttq_error error = make_error();
  const auto refused = [&](std::string_view name, const mqttq_queue_config& config) {
    CHECK(declare(host, name, config, nullptr, &error) == MQTTQ_EINVAL);
    const std::string_view said(error.text);
    return std::string(said.substr(0, said.find(':')));
  };
  CHECK(refused("_x", queue_config("t")) == "name");
  CHECK(refused("a/b", queue_config("t")) == "name");
  CHECK(refused("", queue_config("t")) == "name");
  CHECK(refused(std::string(256, 'a'), queue_config("t")) == "name");
  for (const char* filter : {"", "a/#/b", "$SYS/#", "$share/g/t", "$queue/x", "$q/x", "$delayed/1/t"}) {
    CHECK(refused("q", queue_config(filter)) == "topic_filter");
  }
  CHECK(refused("$q/a", queue_config("b")) == "topic_filter");
  mqttq_queue_config config = queue_config("t/#");
  config.dead_letter_topic = bytes("t/dead");
  CHECK(refused("q", config) == "dead_letter_topic");
  config.dead_letter_topic = bytes("a/+");
  CHECK(refused("q", config) == "dead_letter_topic");
  config = queue_config("t");
  config.dispatch = 4;
  CHECK(refused("q", config) == "dispatch");
  config.dispatch = MQTTQ_QUEUE_KEY_ORDERED;
  CHECK(refused("q", config) == "dispatch");
  config = queue_config("t");
  config.overflow = 3;
  CHECK(refused("q", config) == "overflow");
  config = queue_config("t");
  config.last_value = 1;
  CHECK(refused("q", config) == "key");
  for (const char* key :
       {"topics", "topic:1", "topic_level:0", "topic_level:x", "user_property:", "json:a", "json:/~2"}) {
    config.key = bytes(key);
    CHECK(refused("q", config) == "key");
  }
  config = queue_config("t");
  config.deliveries_max = 65'536;
  CHECK(refused("q", config) == "deliveries_max");
  CHECK(list(host).empty());

  auto policy = make(mqttq_queue_policy_init);
  CHECK(mqttq_broker_set_queue_policy(host.get(), &policy, nullptr) == MQTTQ_ESTATE);
  Host other;
  policy.count_max = 2;
  CHECK(mqttq_broker_set_queue_policy(other.get(), &policy, nullptr) == MQTTQ_OK);
  other.start();
  CHECK(declare(other, "a", queue_config("t")) == MQTTQ_OK);
  CHECK(declare(other, "b", queue_config("t")) == MQTTQ_OK);
  CHECK(declare(other, "c", queue_config("t")) == MQTTQ_EFULL);
  CHECK(mqttq_queue_delete(other.get(), nullptr, bytes("a"), nullptr) == MQTTQ_OK);
  CHECK(declare(other, "c", queue_config("t")) == MQTTQ_OK);
}

TEST_CASE("a queue is looked into, and purged, and tenants have queues of their own", "[abi]") {
  Host host{2};
  mqttq_namespace* red = host.open_namespace("red");
  host.start();
  REQUIRE(declare(host, "q", queue_config("t")) == MQTTQ_OK);
  REQUIRE(declare(host, "q", queue_config("t"), red) == MQTTQ_OK);
  fill(host, "q", "t", {"1", "2", "3", "4", "5"});
  CHECK(figures(host, "q", red).messages == 0);
  using Payloads = std::vector<std::string>;
  CHECK(peek(host, "q", 2) == Payloads{"1:0", "2:0", "3:0", "4:0", "5:0"});
  mqttq_queue now = figures(host, "q");
  CHECK(now.messages == 5);
  CHECK(now.bytes == 5 * 2);
  CHECK(now.inflight == 0);

  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c", .properties = std::string("\x21\0\2", 3)}) == 0);  // Receive Maximum 2
  REQUIRE(client.subscribe("$queue/q", 1) == 1);
  client.read();
  client.read();
  while (figures(host, "q").inflight < 2) host.settle();
  CHECK(peek(host, "q", 2) == Payloads{"1:1*", "2:1*", "3:0", "4:0", "5:0"});
  CHECK(figures(host, "q").consumers == 1);
  CHECK(figures(host, "q").consumers_connected == 1);
  uint64_t purged = 0;
  CHECK(mqttq_queue_purge(host.get(), nullptr, bytes("q"), &purged, nullptr) == MQTTQ_OK);
  CHECK(purged == 3);
  CHECK(peek(host, "q") == Payloads{"1:1*", "2:1*"});
  CHECK(figures(host, "q").purged == 3);
  CHECK(mqttq_queue_purge(host.get(), nullptr, bytes("none"), &purged, nullptr) == MQTTQ_ENOTFOUND);
}

TEST_CASE("a host consumes a queue, answers in any order, and what it leaves is another's", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  mqttq_events* others = host.open_events();
  host.start();
  mqttq_queue_config config = queue_config("t");
  config.redelivery_delay_ms = 1;
  REQUIRE(declare(host, "q", config) == MQTTQ_OK);
  fill(host, "q", "t", {"1", "2", "3", "4", "5"});
  int here = 0;
  Consumer consumer(host, "q", events, 3, &here);
  const std::vector<Taken> got = take(events, 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(got[i].event.type == MQTTQ_EVENT_MESSAGE);
    CHECK(got[i].event.user == &here);
    CHECK(got[i].event.has_reply == 1);
    CHECK(got[i].payload == std::to_string(i + 1));
  }
  CHECK(figures(host, "q").inflight == 3);  // its window
  mqttq_reply_message(host.get(), &got[1].event.reply, 0);
  mqttq_reply_message(host.get(), &got[1].event.reply, 0x80);  // the first answer counts
  const std::vector<Taken> fourth = take(events, 1);
  CHECK(fourth[0].payload == "4");
  mqttq_reply_message(host.get(), &got[0].event.reply, 0x83);
  const std::vector<Taken> next = take(events, 1);
  CHECK((next[0].payload == "1" || next[0].payload == "5"));
  Consumer other(host, "q", others);
  consumer.close();
  const std::vector<Taken> rest = take(others, 4);
  std::vector<std::string> payloads;
  for (const Taken& one : rest) {
    payloads.push_back(one.payload);
    mqttq_reply_message(host.get(), &one.event.reply, 0);
  }
  std::sort(payloads.begin(), payloads.end());
  CHECK(payloads == std::vector<std::string>{"1", "3", "4", "5"});
  mqttq_reply_message(host.get(), &got[2].event.reply, 0);  // of one that is closed: no effect
  while (figures(host, "q").messages) host.settle();
  CHECK(figures(host, "q").settled == 5);
  CHECK(figures(host, "q").rejected == 1);

  CHECK(mqttq_queue_delete(host.get(), nullptr, bytes("q"), nullptr) == MQTTQ_OK);
  CHECK(take(others, 1)[0].event.type == MQTTQ_EVENT_CONSUMER_ENDED);
  other.close();
  auto wrong = make(mqttq_consumer_config_init);
  wrong.queue = bytes("q");
  wrong.events = events;
  mqttq_consumer* none = nullptr;
  CHECK(mqttq_consumer_open(host.get(), &wrong, &none, nullptr) == MQTTQ_ENOTFOUND);
  wrong.priority = 128;
  CHECK(mqttq_consumer_open(host.get(), &wrong, &none, nullptr) == MQTTQ_EINVAL);
  CHECK(none == nullptr);
}

TEST_CASE("a host's ring that is full holds a queue up, and loses nothing", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events(2);
  host.start();
  REQUIRE(declare(host, "q", queue_config("t")) == MQTTQ_OK);
  fill(host, "q", "t", {"1", "2", "3", "4", "5", "6", "7", "8", "9"});
  Consumer consumer(host, "q", events);
  for (int i = 1; i <= 9; ++i) {
    const std::vector<Taken> one = take(events, 1);
    CHECK(one[0].payload == std::to_string(i));
    mqttq_reply_message(host.get(), &one[0].event.reply, 0);
  }
  while (figures(host, "q").messages) host.settle();
}

TEST_CASE("a host that consumes by callbacks on the shard's thread answers inside them", "[abi]") {
  Host host;
  struct Seen {
    mqttq_broker* broker;
    std::atomic<int> count{0};
  } seen{host.get(), {}};
  mqttq_events* events = host.open_events(
      MQTTQ_ON_SHARD,
      [](void* user, const mqttq_event* event) {
        auto& of = *static_cast<Seen*>(user);
        ++of.count;
        mqttq_reply_message(of.broker, &event->reply, 0);
      },
      &seen);
  host.start();
  REQUIRE(declare(host, "q", queue_config("t")) == MQTTQ_OK);
  Consumer consumer(host, "q", events, 1);
  fill(host, "q", "t", {"1", "2", "3", "4", "5"});
  while (figures(host, "q").settled < 5) host.settle();
  CHECK(seen.count == 5);
}

TEST_CASE("dead letters move back to the queues they come from, and nowhere else", "[abi]") {
  Host host{3};
  mqttq_events* events = host.open_events();
  host.start();
  declare_mortal(host);
  REQUIRE(declare(host, "also", queue_config("work/#")) == MQTTQ_OK);
  fill(host, "dead", "dead/x", {"no letter"});
  {
    Consumer consumer(host, "work", events);
    fill(host, "work", "work/a", {"1", "2", "3"});
    for (const Taken& one : take(events, 3)) mqttq_reply_message(host.get(), &one.event.reply, 0x80);
    while (figures(host, "dead").messages < 4) host.settle();
  }
  CHECK(figures(host, "work").messages == 0);
  CHECK(figures(host, "work").dead == 3);
  CHECK(figures(host, "also").messages == 3);
  uint64_t moved = 0;
  CHECK(mqttq_queue_move_back(host.get(), nullptr, bytes("dead"), 2, &moved, nullptr) == MQTTQ_OK);
  CHECK(moved == 2);
  CHECK(figures(host, "work").messages == 2);
  CHECK(figures(host, "dead").messages == 2);
  CHECK(mqttq_queue_move_back(host.get(), nullptr, bytes("dead"), 0, &moved, nullptr) == MQTTQ_OK);
  CHECK(moved == 1);
  CHECK(figures(host, "work").messages == 3);
  CHECK(figures(host, "dead").settled == 3);
  CHECK(figures(host, "also").messages == 3);  // it is no new message
  CHECK(peek(host, "dead") == std::vector<std::string>{"no letter:0"});
  Consumer consumer(host, "work", events);
  for (const Taken& one : take(events, 3)) {
    CHECK(text(mqttq_message_topic(one.message.get())) == "work/a");
    mqttq_user_property property;
    CHECK(mqttq_message_user_property(one.message.get(), 0, &property) == 0);  // none is left of those that were added
  }
  CHECK(mqttq_queue_move_back(host.get(), nullptr, bytes("none"), 0, &moved, nullptr) == MQTTQ_ENOTFOUND);
}

TEST_CASE("dead letters that their queue has no room for stay where they are", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  host.start();
  mqttq_queue_config config = queue_config("work/+");
  config.messages_max = 2;
  config.overflow = GENERATE(MQTTQ_QUEUE_REJECT, MQTTQ_QUEUE_DROP_NEWEST);
  declare_mortal(host, config);
  {
    Consumer consumer(host, "work", events);
    for (const char* payload : {"1", "2", "3"}) {
      fill(host, "work", "work/a", {payload});
      mqttq_reply_message(host.get(), &take(events, 1)[0].event.reply, 0x80);
      while (figures(host, "work").messages) host.settle();
    }
    while (figures(host, "dead").messages < 3) host.settle();
  }
  uint64_t moved = 0;
  mqttq_error error = make_error();
  CHECK(mqttq_queue_move_back(host.get(), nullptr, bytes("dead"), 0, &moved, &error) == MQTTQ_EFULL);
  CHECK(std::string_view(error.text) == "their queue, or the store, takes no more: the rest stays");
  CHECK(moved == 2);
  CHECK(figures(host, "work").messages == 2);
  CHECK(peek(host, "dead") == std::vector<std::string>{"3:0"});
}

TEST_CASE("consumers of a queue that is deleted are not subscribed any more", "[abi]") {
  const bool disconnect = GENERATE(false, true);
  Host host{2};
  auto policy = make(mqttq_queue_policy_init);
  policy.disconnect_on_delete = disconnect;
  REQUIRE(mqttq_broker_set_queue_policy(host.get(), &policy, nullptr) == MQTTQ_OK);
  host.start();
  REQUIRE(declare(host, "q", queue_config("t")) == MQTTQ_OK);
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  REQUIRE(client.subscribe("$queue/q", 1) == 1);
  fill(host, "q", "t", {"1"});
  client.read();
  REQUIRE(mqttq_queue_delete(host.get(), nullptr, bytes("q"), nullptr) == MQTTQ_OK);
  if (disconnect) {
    const Answer answer = read_answer(client.read());
    CHECK(answer.type == 0xE0);
    CHECK(answer.reason_code == 0x98);
    CHECK(answer.reason_string == "the queue was deleted");
    return;
  }
  REQUIRE(declare(host, "q", queue_config("t")) == MQTTQ_OK);  // another one
  fill(host, "q", "t", {"2"});
  CHECK(client.nothing_but_ping());
  CHECK(figures(host, "q").consumers == 0);
  client.send(std::string("\x40\x02\x00\x01", 4));  // of the first's message
  CHECK(client.nothing_but_ping());
  CHECK(figures(host, "q").messages == 1);
  REQUIRE(client.subscribe("$queue/q", 1) == 1);
  CHECK(client.read().find('2') != std::string::npos);
}

// Takes questions and answers them, until the client has its SUBACK; returns what was asked: "action:topic".
static std::vector<std::string> ask_until_suback(Host& host, mqttq_events* events, WireClient& client,
                                                 std::string_view topic_filter, std::string_view denied,
                                                 uint8_t& reason_code) {
  std::vector<std::string> asked;
  client.send(subscribe_packet(1, topic_filter, 1));
  for (std::string packet; packet.empty();) {
    mqttq_event event;
    if (mqttq_events_take(events, &event, 1)) {
      asked.push_back(std::to_string(event.action) + ":" + text(event.topic));
      mqttq_reply_access(host.get(), &event.reply, asked.back() != denied, 0);
    } else if (client.has_packet()) {
      packet = client.read();
      reason_code = static_cast<uint8_t>(packet.back());
    }
  }
  return asked;
}

TEST_CASE("who consumes a queue needs permission on it and on its filter, who declares one that too", "[abi]") {
  Host host{GENERATE(1u, 3u)};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_set_access(host.get(), events, 0, 1, nullptr) == MQTTQ_OK);
  auto policy = make(mqttq_queue_policy_init);
  policy.auto_create = 1;
  REQUIRE(mqttq_broker_set_queue_policy(host.get(), &policy, nullptr) == MQTTQ_OK);
  host.start();
  REQUIRE(declare(host, "q", queue_config("secret/#")) == MQTTQ_OK);
  const std::string address = host.listen();
  using Asked = std::vector<std::string>;
  const auto consumers = [&] {
    host.settle();
    return figures(host, "q").consumers;
  };
  const auto try_it = [&](std::string_view topic_filter, std::string_view denied, uint8_t expected) {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "c"}) == 0);
    uint8_t reason_code = 0;
    Asked asked = ask_until_suback(host, events, client, topic_filter, denied, reason_code);
    CHECK(reason_code == expected);
    std::sort(asked.begin(), asked.end());
    if (expected >= 0x80) {
      while (consumers()) {}  // nobody who was refused is one
    }
    return asked;
  };
  // By its name alone: the filter is the queue's, which only its home knows.
  CHECK(try_it("$queue/q", "", 1) == Asked{"1:$queue/q", "1:secret/#"});
  CHECK(try_it("$queue/q", "1:secret/#", 0x87) == Asked{"1:$queue/q", "1:secret/#"});
  CHECK(try_it("$queue/q", "1:$queue/q", 0x87) == Asked{"1:$queue/q"});
  CHECK(try_it("$queue/q/secret/#", "2:$queue/q/secret/#", 1) ==
        Asked{"1:$queue/q", "1:secret/#", "2:$queue/q/secret/#"});  // it is there already
  CHECK(try_it("$queue/q/secret/#", "1:secret/#", 0x87).size() >= 2);
  CHECK(try_it("$queue/new/t", "2:$queue/new/t", 0x8F).size() == 3);
  CHECK(list(host).size() == 1);
  CHECK(try_it("$queue/new/t", "1:t", 0x87).size() >= 2);
  CHECK(list(host).size() == 1);  // it was not declared for who may not have it
  CHECK(try_it("$queue/new/t", "", 1) == Asked{"1:$queue/new", "1:t", "2:$queue/new/t"});
  CHECK(list(host).size() == 2);
  CHECK(try_it("$q/u/+", "", 1) == Asked{"1:$q/u/+", "1:u/+", "2:$q/u/+"});
  CHECK(list(host).size() == 3);
}

TEST_CASE("messages that are not in memory are read where they are looked at and moved", "[abi]") {
  const TemporaryDirectory folder;
  const std::string data = folder / "data";
  mqttq_limits limits = make_limits();
  limits.store_memory_bytes = 1;
  mqttq_broker_config broker = broker_config();
  broker.shards = 2;
  broker.data_dir = data.c_str();
  broker.limits = &limits;
  for (const bool again : {false, true}) {
    Host host{broker};
    mqttq_events* events = host.open_events();
    host.start();
    if (!again) {
      declare_mortal(host);
      Consumer consumer(host, "work", events);
      fill(host, "work", "work/a", {"1", "2", "3"});
      for (const Taken& one : take(events, 3)) mqttq_reply_message(host.get(), &one.event.reply, 0x80);
      while (figures(host, "dead").messages < 3) host.settle();
      continue;
    }
    CHECK(peek(host, "dead", 2) == std::vector<std::string>{"1:0", "2:0", "3:0"});
    uint64_t moved = 0;
    CHECK(mqttq_queue_move_back(host.get(), nullptr, bytes("dead"), 0, &moved, nullptr) == MQTTQ_OK);
    CHECK(moved == 3);
    CHECK(figures(host, "work").messages == 3);
    Consumer consumer(host, "work", events);
    for (const Taken& one : take(events, 3)) mqttq_reply_message(host.get(), &one.event.reply, 0);
    while (figures(host, "work").messages) host.settle();
    CHECK(figures(host, "dead").messages == 0);
  }
}

}  // namespace mqttq::abi
