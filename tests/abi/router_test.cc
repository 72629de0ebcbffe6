// Publishing and subscribing in the process, what the router knows, and clients listed and disconnected.
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "host.h"

using namespace mqttq::abi;

namespace {

// Filter and number of subscriptions, sorted.
std::vector<std::pair<std::string, uint32_t>> routes(const Host& host, std::string_view topic = {},
                                                     mqttq_namespace* ns = nullptr) {
  mqttq_routes* list = nullptr;
  REQUIRE(mqttq_routes_list(host.get(), ns, bytes(topic), &list, nullptr) == MQTTQ_OK);
  std::vector<std::pair<std::string, uint32_t>> found;
  for (size_t i = 0; i < mqttq_routes_count(list); ++i) {
    const mqttq_route route = mqttq_routes_get(list, i);
    found.emplace_back(text(route.topic_filter), route.subscriptions);
  }
  mqttq_routes_free(list);
  std::sort(found.begin(), found.end());
  return found;
}

using Routes = std::vector<std::pair<std::string, uint32_t>>;

uint8_t puback_reason(const std::string& packet) {
  REQUIRE(packet.size() >= 4);
  REQUIRE(static_cast<uint8_t>(packet[0]) == 0x40);
  return packet.size() > 4 ? static_cast<uint8_t>(packet[4]) : 0;
}

}  // namespace

TEST_CASE("a message published in the process reaches a client with all its properties", "[abi]") {
  Host host{2};
  host.start();
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  REQUIRE(client.subscribe("t", 1) == 1);
  const mqttq_user_property pairs[] = {{bytes("k"), bytes("1")}, {bytes("k"), bytes("2")}};
  mqttq_message_config config = message_config();
  config.topic = bytes("t");
  config.payload = bytes("hello");
  config.qos = 1;
  config.payload_is_text = 1;
  config.has_message_expiry = 1;
  config.message_expiry_s = 1000;
  config.content_type = bytes("text/plain");
  config.response_topic = bytes("r");
  config.correlation_data = {"\0\1", 2};
  config.user_properties = pairs;
  config.user_property_count = 2;
  mqttq_message* message = nullptr;
  REQUIRE(mqttq_message_create(&config, &message, nullptr) == MQTTQ_OK);
  REQUIRE(mqttq_publish(host.get(), message, nullptr) == MQTTQ_OK);
  const ReadPublish read = read_publish(client.read());
  CHECK(read.payload == "hello");
  CHECK(read.qos == 1);
  const std::string expected_tail = std::string("\1\1") + "\3" + wire_text("text/plain") + "\x08" + wire_text("r") +
                                    "\x09" + wire_text(std::string_view("\0\1", 2)) + "\x26" + wire_text("k") +
                                    wire_text("1") + "\x26" + wire_text("k") + wire_text("2");
  // The expiry is counted down by the broker, so its place and value may differ (MQTT5 3.3.2.3.3).
  std::string others = read.properties;
  const size_t expiry = others.find(std::string("\2\0\0", 3));
  REQUIRE(expiry != std::string::npos);
  const int left_s = static_cast<uint8_t>(others[expiry + 3]) << 8 | static_cast<uint8_t>(others[expiry + 4]);
  CHECK(left_s > 900);
  CHECK(left_s <= 1000);
  CHECK(others.erase(expiry, 5) == expected_tail);

  mqttq_user_property pair;
  CHECK(mqttq_message_user_property(message, 1, &pair) == 1);
  CHECK(text(pair.value) == "2");
  CHECK(mqttq_message_user_property(message, 2, &pair) == 0);
  CHECK(mqttq_message_hold(message) == message);
  mqttq_message_release(message);
  CHECK(text(mqttq_message_correlation_data(message)) == std::string("\0\1", 2));
  mqttq_message_release(message);
}

TEST_CASE("a message that MQTT cannot carry is refused, and the text says which field", "[abi]") {
  const mqttq_user_property bad{bytes("\xFF"), bytes("1")};
  const std::string long_text(65'536, 'x');
  struct Case {
    const char* field;
    void (*spoil)(mqttq_message_config&, const mqttq_user_property&, const std::string&);
  };
  const Case cases[] = {
      {"topic", [](auto& config, auto&, auto&) { config.topic = {}; }},
      {"topic", [](auto& config, auto&, auto&) { config.topic = bytes("a/+"); }},
      {"topic", [](auto& config, auto&, auto&) { config.topic = bytes("\xC0\x80"); }},
      {"topic", [](auto& config, auto&, auto&) { config.topic = bytes("$SYS/x"); }},
      {"topic", [](auto& config, auto&, auto& text) { config.topic = bytes(text); }},
      {"qos", [](auto& config, auto&, auto&) { config.qos = 3; }},
      {"content_type", [](auto& config, auto&, auto&) { config.content_type = bytes("\xED\xA0\x80"); }},
      {"response_topic", [](auto& config, auto&, auto&) { config.response_topic = bytes("#"); }},
      {"correlation_data", [](auto& config, auto&, auto& text) { config.correlation_data = bytes(text); }},
      {"user_properties",
       [](auto& config, auto& property, auto&) {
         config.user_properties = &property;
         config.user_property_count = 1;
       }},
      {"user_properties", [](auto& config, auto&, auto&) { config.user_property_count = 1; }},
  };
  for (const Case& one : cases) {
    mqttq_message_config config = message_config();
    config.topic = bytes("t");
    one.spoil(config, bad, long_text);
    mqttq_error error = make_error();
    mqttq_message* message = nullptr;
    CHECK(mqttq_message_create(&config, &message, &error) == MQTTQ_EINVAL);
    CHECK(message == nullptr);
    CHECK(std::string(error.text).starts_with(one.field));
  }
}

TEST_CASE("what is published by one thread to one topic stays in order", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("t/#", events, 1);
  for (int i = 0; i < 500; ++i) host.publish("t/1", std::to_string(i), 1);
  for (int i = 0; i < 500; ++i) REQUIRE(take_one(events).payload == std::to_string(i));
}

TEST_CASE("subscribers of one message share it: no copy", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  int one = 0, two = 0;
  host.subscribe("t/+", events, 0, false, nullptr, &one);
  host.subscribe("t/#", events, 0, false, nullptr, &two);
  const MessagePtr message = make_message("t/1", "payload");
  REQUIRE(mqttq_publish(host.get(), message.get(), nullptr) == MQTTQ_OK);
  const Taken first = take_one(events), second = take_one(events);
  CHECK(std::set<void*>{first.event.user, second.event.user} == std::set<void*>{&one, &two});
  const void* const payload = mqttq_message_payload(message.get()).data;
  CHECK(mqttq_message_payload(first.message.get()).data == payload);
  CHECK(mqttq_message_payload(second.message.get()).data == payload);
}

TEST_CASE("when the ring is full QoS 0 is dropped and counted, and QoS 1 waits and arrives in order", "[abi]") {
  Host host;
  host.start();
  mqttq_events* events = host.open_events(2);
  mqttq_subscriber* subscriber = host.subscribe("t", events, 1);
  for (int i = 0; i < 5; ++i) host.publish("t", "dropped from the third on " + std::to_string(i), 0);
  for (int i = 0; i < 5; ++i) host.publish("t", std::to_string(i), 1);
  host.settle();
  CHECK(mqttq_subscriber_dropped(subscriber) == 3);
  CHECK(take_one(events).payload == "dropped from the third on 0");
  CHECK(take_one(events).payload == "dropped from the third on 1");
  for (int i = 0; i < 5; ++i) CHECK(take_one(events).payload == std::to_string(i));
  CHECK(mqttq_subscriber_dropped(subscriber) == 3);
  CHECK(host.counter("messages_dropped") == 3);
  CHECK(mqttq_events_lost(events) == 0);
}

TEST_CASE("what waits for a full ring has a bound, and the oldest makes way", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  mqttq_limits limits = make_limits();
  limits.outbox_messages_max = 3;
  config.limits = &limits;
  Host host{config};
  host.start();
  mqttq_events* events = host.open_events(1);
  mqttq_subscriber* subscriber = host.subscribe("t", events, 1);
  for (int i = 0; i < 6; ++i) host.publish("t", std::to_string(i), 1);
  host.settle();
  CHECK(mqttq_subscriber_dropped(subscriber) == 2);
  for (const char* left : {"0", "3", "4", "5"}) CHECK(take_one(events).payload == left);
}

TEST_CASE("a ring emptied while its shard finds it full is filled again", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events(1);
  host.subscribe("t", events, 1);
  // The shard fills the ring while this thread empties it: a wish for room that nobody hears would end in a time-out.
  constexpr int kRounds = 3'000, kBurst = 4;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kBurst; ++i) host.publish("t", std::to_string(round * kBurst + i), 1);
    for (int i = 0; i < kBurst; ++i) REQUIRE(take_one(events).payload == std::to_string(round * kBurst + i));
  }
}

TEST_CASE("a slow subscriber does not hold up another one on the same topic", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* slow = host.open_events(1);
  mqttq_events* quick = host.open_events();
  host.subscribe("t", slow, 1);
  host.subscribe("t", quick, 1);
  for (int i = 0; i < 100; ++i) host.publish("t", std::to_string(i), 1);
  for (int i = 0; i < 100; ++i) CHECK(take_one(quick).payload == std::to_string(i));
  for (int i = 0; i < 100; ++i) CHECK(take_one(slow).payload == std::to_string(i));
}

TEST_CASE("a publisher is acknowledged when the host has answered, with its reason", "[abi][MQTT-3.4.2-1]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("t", events, 2, true);
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  struct Case {
    uint8_t given, said;
  };
  uint16_t packet_id = 1;
  for (const Case& one :
       {Case{0, 0}, Case{0x97, 0x97}, Case{0x99, 0x99}, Case{0x10, 0}, Case{0x8E, 0x83}, Case{0xFF, 0x83}}) {
    client.send(publish_packet("t", "x", 1, packet_id++));
    const Taken asked = take_one(events);
    CHECK(asked.event.has_reply == 1);
    CHECK(client.nothing_but_ping());
    mqttq_reply_message(host.get(), &asked.event.reply, one.given);
    CHECK(puback_reason(client.read()) == one.said);
    mqttq_reply_message(host.get(), &asked.event.reply, 0x97);  // too late to matter
  }
  // At QoS 0 there is nothing to answer.
  client.send(publish_packet("t", "x"));
  CHECK(take_one(events).event.has_reply == 0);
  CHECK(client.nothing_but_ping());
}

TEST_CASE("a refusal reaches a QoS 2 publisher in PUBREC, and ends a 3.1.1 publisher's connection",
          "[abi][MQTT-3.5.2-1]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("t", events, 2, true);
  const std::string address = host.listen();
  WireClient client(address);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("t", "x", 2, 1));
  const Taken asked = take_one(events);
  CHECK(client.nothing_but_ping());
  mqttq_reply_message(host.get(), &asked.event.reply, 0x97);
  const std::string pubrec = client.read();
  REQUIRE(pubrec.size() >= 5);
  CHECK(static_cast<uint8_t>(pubrec[0]) == 0x50);
  CHECK(static_cast<uint8_t>(pubrec[4]) == 0x97);

  WireClient older(address);
  older.send(std::string("\x10\x0D\0\4MQTT\4\2\0\x3C\0\1o", 15));
  CHECK(older.read() == std::string("\x20\2\0\0", 4));
  older.send(std::string("\x32\6\0\1t\0\1x", 8));
  const Taken again = take_one(events);
  CHECK(older.nothing_but_ping());
  mqttq_reply_message(host.get(), &again.event.reply, 0x97);
  CHECK(older.read().empty());
  older.vanish();
}

TEST_CASE("a message for two subscribers that answer is acknowledged when both have, each once", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  int one = 0;
  host.subscribe("t/+", events, 1, true, nullptr, &one);
  host.subscribe("t/#", events, 1, true);
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("t/1", "x", 1, 1));
  const Taken first = take_one(events), second = take_one(events);
  for (int i = 0; i < 3; ++i) mqttq_reply_message(host.get(), &first.event.reply, 0);
  host.settle();
  CHECK(client.nothing_but_ping());
  mqttq_reply_message(host.get(), &second.event.reply, 0x97);
  CHECK(puback_reason(client.read()) == 0x97);  // one refusal is enough
}

TEST_CASE("what a subscriber left unanswered when it closed is refused", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  mqttq_subscriber* subscriber = host.subscribe("t", events, 1, true);
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("t", "x", 1, 1));
  const Taken asked = take_one(events);
  CHECK(client.nothing_but_ping());
  host.close(subscriber);
  CHECK(puback_reason(client.read()) == 0x80);
  mqttq_reply_message(host.get(), &asked.event.reply, 0);
  CHECK(client.nothing_but_ping());
}

TEST_CASE("a subscriber on the shard's own thread publishes from inside its callback", "[abi]") {
  struct Relay {
    mqttq_broker* broker = nullptr;
    std::atomic<int> seen{0};
  } relay;
  Host host{2};
  relay.broker = host.get();
  host.start();
  mqttq_events* on_shard = host.open_events(
      MQTTQ_ON_SHARD,
      [](void* user, const mqttq_event* event) {
        auto& own = *static_cast<Relay*>(user);
        ++own.seen;
        const MessagePtr answer = make_message("answer", text(mqttq_message_payload(event->message)), 1);
        mqttq_publish(own.broker, answer.get(), nullptr);
      },
      &relay);
  mqttq_events* events = host.open_events();
  host.subscribe("question", on_shard, 1);
  host.subscribe("answer", events, 1);
  for (int i = 0; i < 50; ++i) host.publish("question", std::to_string(i), 1);
  for (int i = 0; i < 50; ++i) CHECK(take_one(events).payload == std::to_string(i));
  CHECK(relay.seen == 50);
}

TEST_CASE("what is retained comes first to a new subscriber, unless it skips it", "[abi]") {
  Host host{2};
  host.start();
  host.publish("r/1", "one", 1, true);
  host.publish("r/2", "two", 1, true);
  host.publish("r/2", "", 1, true);  // cleared
  host.client_ids();                 // one round through all shards
  mqttq_events* events = host.open_events();
  while (host.counter("retained_set") < 3) host.client_ids();
  host.subscribe("r/#", events, 1);
  const Taken retained = take_one(events);
  CHECK(retained.payload == "one");
  CHECK(mqttq_message_retain(retained.message.get()) == 1);
  host.publish("r/3", "live", 1);
  CHECK(take_one(events).payload == "live");

  mqttq_events* others = host.open_events();
  mqttq_subscriber_config config = subscriber_config();
  config.topic_filter = bytes("r/#");
  config.events = others;
  config.skip_retained = 1;
  mqttq_subscriber* subscriber = nullptr;
  REQUIRE(mqttq_subscriber_open(host.get(), &config, &subscriber, nullptr) == MQTTQ_OK);
  CHECK(is_empty(others));
  mqttq_subscriber_close(subscriber);
}

TEST_CASE("a subscriber that is closed gets nothing more, and its route is gone", "[abi]") {
  Host host{2};
  host.start();
  mqttq_events* events = host.open_events();
  mqttq_subscriber* subscriber = host.subscribe("t", events);
  CHECK(routes(host) == Routes{{"t", 1}});
  host.publish("t", "1", 1);
  CHECK(take_one(events).payload == "1");
  host.close(subscriber);
  CHECK(routes(host).empty());
  host.publish("t", "2", 1);
  host.client_ids();
  CHECK(is_empty(events));
}

TEST_CASE("filters that are none, and shared ones, are refused to a subscriber", "[abi]") {
  Host host;
  host.start();
  mqttq_subscriber_config config = subscriber_config();
  mqttq_subscriber* subscriber = nullptr;
  config.topic_filter = bytes("a");
  CHECK(mqttq_subscriber_open(host.get(), &config, &subscriber, nullptr) == MQTTQ_EINVAL);  // no events
  config.events = host.open_events();
  for (const char* filter : {"", "a/#/b", "a+", "$share/g/t"}) {
    config.topic_filter = bytes(filter);
    CHECK(mqttq_subscriber_open(host.get(), &config, &subscriber, nullptr) == MQTTQ_EINVAL);
  }
  config.topic_filter = bytes("a");
  config.qos = 3;
  CHECK(mqttq_subscriber_open(host.get(), &config, &subscriber, nullptr) == MQTTQ_EINVAL);
  CHECK(subscriber == nullptr);
}

TEST_CASE("routes are listed with their subscriptions, all of them or those that match a topic", "[abi]") {
  Host host{2};
  host.start();
  mqttq_namespace* tenant = host.open_namespace("tenant");
  WireClient one(host.listen()), two(host.listen()), elsewhere(host.listen(tenant));
  REQUIRE(one.connect({.client_id = "1"}) == 0);
  REQUIRE(two.connect({.client_id = "2"}) == 0);
  REQUIRE(elsewhere.connect({.client_id = "1"}) == 0);
  for (const char* filter : {"a/b", "a/+", "#", "b"}) REQUIRE(one.subscribe(filter, 0) == 0);
  REQUIRE(two.subscribe("a/+", 0) == 0);
  REQUIRE(elsewhere.subscribe("a/c", 0) == 0);
  CHECK(routes(host) == Routes{{"#", 1}, {"a/+", 2}, {"a/b", 1}, {"b", 1}});
  CHECK(routes(host, "a/b") == Routes{{"#", 1}, {"a/+", 2}, {"a/b", 1}});
  CHECK(routes(host, "$x/b").empty());  // [MQTT-4.7.2-1]
  CHECK(routes(host, {}, tenant) == Routes{{"a/c", 1}});
  mqttq_routes* list = nullptr;
  CHECK(mqttq_routes_list(host.get(), nullptr, bytes("a/+"), &list, nullptr) == MQTTQ_EINVAL);
}

TEST_CASE("clients are listed page by page, each once, and inspected", "[abi]") {
  Host host{2};
  host.start();
  const std::string address = host.listen();
  std::vector<std::unique_ptr<WireClient>> clients;
  std::set<std::string> expected;
  for (int i = 0; i < 23; ++i) {
    const std::string client_id = "client-" + std::to_string(i);
    clients.push_back(std::make_unique<WireClient>(address));
    REQUIRE(clients.back()->connect({.client_id = client_id, .user_name = "ann", .session_expiry_s = 60}) == 0);
    expected.insert(client_id);
  }
  for (const size_t page : {size_t{1}, size_t{5}, size_t{23}, size_t{0}}) {
    const auto listed = host.client_ids(nullptr, page);
    CHECK(listed.size() == expected.size());
    CHECK(std::set<std::string>(listed.begin(), listed.end()) == expected);
  }
  REQUIRE(clients[7]->subscribe("a", 1) == 1);
  REQUIRE(clients[7]->subscribe("b", 1) == 1);

  mqttq_clients* list = nullptr;
  uint64_t cursor = 0;
  REQUIRE(mqttq_clients_list(host.get(), nullptr, bytes("client-7"), &cursor, 0, &list, nullptr) == MQTTQ_OK);
  REQUIRE(mqttq_clients_count(list) == 1);
  const mqttq_client client = mqttq_clients_get(list, 0);
  CHECK(client.size == sizeof client);
  CHECK(text(client.client_id) == "client-7");
  CHECK(text(client.user_name) == "ann");
  CHECK(text(client.address).starts_with("127.0.0.1:"));
  CHECK(client.connected == 1);
  CHECK(client.protocol_version == 5);
  CHECK(client.keep_alive_s == 60);
  CHECK(client.session_expiry_s == 60);
  CHECK(client.subscriptions == 2);
  CHECK(cursor == 0);
  mqttq_clients_free(list);
  REQUIRE(mqttq_clients_list(host.get(), nullptr, bytes("nobody"), &cursor, 0, &list, nullptr) == MQTTQ_OK);
  CHECK(mqttq_clients_count(list) == 0);
  mqttq_clients_free(list);
}

TEST_CASE("a session whose client is away is listed as such, with what waits for it", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_SESSIONS, nullptr) == MQTTQ_OK);
  host.start();
  {
    WireClient client(host.listen());
    REQUIRE(client.connect({.client_id = "away", .user_name = "ann", .session_expiry_s = 600}) == 0);
    REQUIRE(client.subscribe("t", 1) == 1);
  }
  while (take_one(events).event.type != MQTTQ_EVENT_DISCONNECTED) {}
  mqttq_events* arrived = host.open_events();
  host.subscribe("t", arrived, 1, true);
  WireClient publisher(host.listen());
  REQUIRE(publisher.connect({.client_id = "publisher"}) == 0);
  publisher.send(publish_packet("t", "x", 1, 1));
  const Taken asked = take_one(arrived);
  mqttq_reply_message(host.get(), &asked.event.reply, 0);
  CHECK(puback_reason(publisher.read()) == 0);
  // The publisher was answered when the log had the message; the session's own shard hears of it soon.
  mqttq_clients* list = nullptr;
  mqttq_client client{};
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTimeoutMs);
  while (client.waiting == 0 && std::chrono::steady_clock::now() < until) {
    mqttq_clients_free(list);
    uint64_t cursor = 0;
    REQUIRE(mqttq_clients_list(host.get(), nullptr, bytes("away"), &cursor, 0, &list, nullptr) == MQTTQ_OK);
    REQUIRE(mqttq_clients_count(list) == 1);
    client = mqttq_clients_get(list, 0);
  }
  CHECK(client.connected == 0);
  CHECK(client.protocol_version == 0);
  CHECK(client.address.size == 0);
  CHECK(client.user_name.size == 0);
  CHECK(client.session_expiry_s == 600);
  CHECK(client.subscriptions == 1);
  CHECK(client.waiting == 1);
  mqttq_clients_free(list);
}

TEST_CASE("a client is disconnected with a reason that DISCONNECT may carry", "[abi][MQTT-3.14.2-1]") {
  Host host{2};
  host.start();
  const std::string address = host.listen();
  for (const auto& [given, said] : {std::pair{0, 0x98}, std::pair{0x8B, 0x8B}, std::pair{0x97, 0x97}}) {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "c"}) == 0);
    mqttq_disconnect how = make(mqttq_disconnect_init);
    how.reason_code = static_cast<uint8_t>(given);
    REQUIRE(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_OK);
    const std::string packet = client.read();
    REQUIRE(packet.size() >= 3);
    CHECK(static_cast<uint8_t>(packet[0]) == 0xE0);
    CHECK(static_cast<uint8_t>(packet[2]) == said);
    CHECK(client.read().empty());
  }
  WireClient client(address);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  for (const int wrong : {0x04, 0x10, 0x86, 0x91, 0xFF}) {
    mqttq_disconnect how = make(mqttq_disconnect_init);
    how.reason_code = static_cast<uint8_t>(wrong);
    CHECK(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_EINVAL);
  }
  CHECK(client.nothing_but_ping());
  mqttq_error error = make_error();
  CHECK(mqttq_client_disconnect(host.get(), nullptr, bytes("nobody"), nullptr, &error) == MQTTQ_ENOTFOUND);
  CHECK(error.status == MQTTQ_ENOTFOUND);
}

TEST_CASE("a disconnected client is told why, and where to go instead", "[abi][MQTT-3.14.2-1][MQTT-3.14.2-3]") {
  Host host{2};
  host.start();
  const std::string address = host.listen();
  mqttq_disconnect how = make(mqttq_disconnect_init);
  how.reason_code = 0x9C;
  how.reason_string = bytes("moving house");
  how.server_reference = bytes("other.example");
  const auto told = [&](std::string properties) {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "c", .properties = std::move(properties)}) == 0);
    REQUIRE(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_OK);
    const Answer answer = read_answer(client.read());
    CHECK(answer.reason_code == 0x9C);
    return answer.reason_string + '|' + answer.server_reference;
  };
  CHECK(told("") == "moving house|other.example");
  CHECK(told(std::string("\x17\x00", 2)) == "|other.example");              // no problem information
  CHECK(told(std::string("\x27\x00\x00\x00\x22", 5)) == "|other.example");  // 34 bytes at most

  WireClient client(address);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  how.reason_code = 0x98;
  CHECK(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_EINVAL);
  how.server_reference = {};
  how.reason_string = bytes("\xff");
  CHECK(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_EINVAL);
  CHECK(client.nothing_but_ping());
}

TEST_CASE("disconnecting may end the session with it", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_SESSIONS, nullptr) == MQTTQ_OK);
  host.start();
  const std::string address = host.listen();
  for (const int end_session : {0, 1}) {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "c", .session_expiry_s = 600}) == 0);
    mqttq_disconnect how = make(mqttq_disconnect_init);
    how.end_session = static_cast<uint8_t>(end_session);
    REQUIRE(mqttq_client_disconnect(host.get(), nullptr, bytes("c"), &how, nullptr) == MQTTQ_OK);
    CHECK_FALSE(client.read().empty());
    CHECK(client.read().empty());
    while (take_one(events).event.type != MQTTQ_EVENT_DISCONNECTED) {}
    if (end_session) CHECK(take_one(events).event.type == MQTTQ_EVENT_SESSION_ENDED);
    CHECK(host.client_ids().size() == (end_session ? 0 : 1));
  }
}
