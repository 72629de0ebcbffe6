// The host as authenticator and authoriser, by events taken, on a worker and on the shard; and as observer.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstring>

#include "host.h"

using namespace mqttq::abi;

namespace {

void ask(Host& host, mqttq_events* events, bool authenticate, bool authorize) {
  REQUIRE(mqttq_broker_set_access(host.get(), events, authenticate, authorize, nullptr) == MQTTQ_OK);
}

// Allows who calls himself "ann"; user is the broker.
void allow_ann(void* user, const mqttq_event* event) {
  const bool allow = event->type == MQTTQ_EVENT_AUTHENTICATE && text(event->user_name) == "ann";
  mqttq_reply_access(static_cast<mqttq_broker*>(user), &event->reply, allow, 0x86);
}

}  // namespace

TEST_CASE("a host that takes events allows and denies, and sees who asks", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  ask(host, events, true, false);
  host.start();
  const std::string address = host.listen(host.open_namespace("tenant"));

  WireClient ann(address);
  ann.send(connect_packet({.client_id = "a1", .user_name = "ann", .password = "secret"}));
  const Taken question = take_one(events);
  CHECK(question.event.size == sizeof(mqttq_event));
  CHECK(question.event.type == MQTTQ_EVENT_AUTHENTICATE);
  CHECK(question.event.has_reply == 1);
  CHECK(question.event.has_user_name == 1);
  CHECK(question.event.has_password == 1);
  CHECK(question.event.protocol_version == 5);
  CHECK(question.namespace_name == "tenant");
  CHECK(question.client_id == "a1");
  CHECK(question.user_name == "ann");
  CHECK(question.password == "secret");
  CHECK(question.address.starts_with("127.0.0.1:"));
  mqttq_reply_access(host.get(), &question.event.reply, 1, 0);
  CHECK(static_cast<uint8_t>(ann.read()[3]) == 0);

  WireClient anonymous(address);
  anonymous.send(connect_packet({.client_id = "x"}));
  const Taken second = take_one(events);
  CHECK(second.event.has_user_name == 0);
  CHECK(second.event.has_password == 0);
  mqttq_reply_access(host.get(), &second.event.reply, 0, 0);
  CHECK(static_cast<uint8_t>(anonymous.read()[3]) == 0x87);
  CHECK(anonymous.read().empty());
}

TEST_CASE("a denial carries the host's reason where CONNACK may, and says not authorized where not",
          "[abi][MQTT-3.2.2-8]") {
  Host host;
  mqttq_events* events = host.open_events();
  ask(host, events, true, false);
  host.start();
  const std::string address = host.listen();
  for (const auto& [given, said] : {std::pair{0x86, 0x86}, std::pair{0x8A, 0x8A}, std::pair{0x8E, 0x87},
                                    std::pair{0x10, 0x87}, std::pair{0x04, 0x87}, std::pair{0xFF, 0x87}}) {
    WireClient client(address);
    client.send(connect_packet({.client_id = "c"}));
    const Taken question = take_one(events);
    mqttq_reply_access(host.get(), &question.event.reply, 0, static_cast<mqttq_reason_code>(given));
    CHECK(static_cast<uint8_t>(client.read()[3]) == said);
  }
}

TEST_CASE("callbacks on a worker and on the shard decide as well", "[abi]") {
  for (const uint32_t mode : {uint32_t{MQTTQ_ON_WORKER}, uint32_t{MQTTQ_ON_SHARD}}) {
    Host host{2};
    mqttq_events* events = host.open_events(mode, allow_ann, host.get());
    ask(host, events, true, false);
    host.start();
    const std::string address = host.listen();
    WireClient ann(address), ben(address);
    CHECK(ann.connect({.client_id = "a", .user_name = "ann"}) == 0);
    CHECK(ben.connect({.client_id = "b", .user_name = "ben"}) == 0x86);
    CHECK(ann.nothing_but_ping());
    CHECK(mqttq_events_fd(events) == -1);
    mqttq_event event;
    CHECK(mqttq_events_take(events, &event, 1) == 0);
  }
}

// What a callback on a shard's thread tries, and what it is told.
struct WaitingCalls {
  mqttq_broker* broker = nullptr;
  mqttq_events* events = nullptr;
  std::vector<mqttq_status> statuses;

  static void try_all(void* user, const mqttq_event* event) {
    auto& to = *static_cast<WaitingCalls*>(user);
    mqttq_clients* clients = nullptr;
    uint64_t cursor = 0;
    to.statuses.push_back(mqttq_clients_list(to.broker, nullptr, {}, &cursor, 0, &clients, nullptr));
    to.statuses.push_back(mqttq_client_disconnect(to.broker, nullptr, {"x", 1}, nullptr, nullptr));
    mqttq_listener_config listener = make(mqttq_listener_config_init);
    listener.address = "127.0.0.1:0";
    mqttq_listener* opened = nullptr;
    to.statuses.push_back(mqttq_listener_open(to.broker, &listener, &opened, nullptr));
    mqttq_subscriber_config subscriber = make(mqttq_subscriber_config_init);
    subscriber.topic_filter = {"t", 1};
    subscriber.events = to.events;
    mqttq_subscriber* made = nullptr;
    to.statuses.push_back(mqttq_subscriber_open(to.broker, &subscriber, &made, nullptr));
    to.statuses.push_back(mqttq_broker_turn(to.broker, 0));
    if (event->has_reply) mqttq_reply_access(to.broker, &event->reply, 1, 0);
  }
};

TEST_CASE("a call that would wait for a shard is refused on a shard's own thread", "[abi]") {
  WaitingCalls calls;
  Host host{2};
  mqttq_events* events = host.open_events(MQTTQ_ON_SHARD, WaitingCalls::try_all, &calls);
  calls.broker = host.get();
  calls.events = events;
  ask(host, events, true, false);
  host.start();
  WireClient client(host.listen());
  CHECK(client.connect({.client_id = "a"}) == 0);
  CHECK(calls.statuses == std::vector<mqttq_status>(5, MQTTQ_ESTATE));
}

TEST_CASE("in a host's loop calls inside a callback are refused too, and what is closed there ends with the turn",
          "[abi]") {
  struct Closing : WaitingCalls {
    mqttq_subscriber* other = nullptr;
    int calls = 0;
  } closing;
  mqttq_broker_config config = broker_config();
  config.host_loop = 1;
  Host host{config};
  const mqttq_event_fn close_other = [](void* user, const mqttq_event* event) {
    auto& to = *static_cast<Closing*>(user);
    ++to.calls;
    WaitingCalls::try_all(&to, event);
    mqttq_subscriber_close(std::exchange(to.other, nullptr));
  };
  mqttq_events* events = host.open_events(MQTTQ_ON_SHARD, close_other, static_cast<void*>(&closing));
  closing.broker = host.get();
  closing.events = events;
  REQUIRE(mqttq_broker_start(host.get(), nullptr) == MQTTQ_OK);
  host.subscribe("t", events, 0);
  mqttq_subscriber_config subscriber = make(mqttq_subscriber_config_init);
  subscriber.topic_filter = {"t", 1};
  subscriber.events = events;
  subscriber.user = &closing;
  REQUIRE(mqttq_subscriber_open(host.get(), &subscriber, &closing.other, nullptr) == MQTTQ_OK);
  host.publish("t", "1", 0);
  for (int i = 0; i < 4; ++i) REQUIRE(mqttq_broker_turn(host.get(), 0) == MQTTQ_OK);
  CHECK(closing.calls == 2);
  CHECK(closing.statuses == std::vector<mqttq_status>(10, MQTTQ_ESTATE));
  host.publish("t", "2", 0);
  for (int i = 0; i < 4; ++i) REQUIRE(mqttq_broker_turn(host.get(), 0) == MQTTQ_OK);
  CHECK(closing.calls == 3);
}

TEST_CASE("a ring says what callbacks its mode needs", "[abi]") {
  Host host;
  mqttq_events_config config = events_config();
  mqttq_events* events = nullptr;
  config.mode = MQTTQ_ON_WORKER;
  CHECK(mqttq_events_open(host.get(), &config, &events, nullptr) == MQTTQ_EINVAL);
  config.mode = MQTTQ_PULL;
  config.on_event = allow_ann;
  CHECK(mqttq_events_open(host.get(), &config, &events, nullptr) == MQTTQ_EINVAL);
  config.mode = 3;
  CHECK(mqttq_events_open(host.get(), &config, &events, nullptr) == MQTTQ_EINVAL);
  CHECK(events == nullptr);
}

TEST_CASE("a host that never answers delays only the client it was asked about", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events();
  ask(host, events, true, false);
  host.start();
  const std::string address = host.listen(nullptr, 300);
  WireClient first(address);
  first.send(connect_packet({.client_id = "first"}));
  const Taken unanswered = take_one(events);

  WireClient other(address);
  other.send(connect_packet({.client_id = "other"}));
  const Taken question = take_one(events);
  CHECK(question.client_id == "other");
  mqttq_reply_access(host.get(), &question.event.reply, 1, 0);
  CHECK(static_cast<uint8_t>(other.read()[3]) == 0);
  CHECK(other.nothing_but_ping());

  // Its time is up: it is refused, and an answer that comes now is nobody's.
  const std::string refused = first.read();
  if (!refused.empty()) CHECK(static_cast<uint8_t>(refused[3]) >= 0x80);
  CHECK(first.read().empty());
  mqttq_reply_access(host.get(), &unanswered.event.reply, 1, 0);
  CHECK(other.nothing_but_ping());
  CHECK(host.client_ids() == std::vector<std::string>{"other"});
}

TEST_CASE("answers that come twice, late, for another client or out of thin air change nothing", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  ask(host, events, true, true);
  host.start();
  const std::string address = host.listen();

  WireClient denied(address);
  denied.send(connect_packet({.client_id = "denied"}));
  const Taken first = take_one(events);
  mqttq_reply_access(host.get(), &first.event.reply, 0, 0);
  mqttq_reply_access(host.get(), &first.event.reply, 1, 0);  // twice: the first one counts
  CHECK(static_cast<uint8_t>(denied.read()[3]) == 0x87);
  CHECK(denied.read().empty());
  denied.vanish();

  // The next connection may stand where the last one stood; the old answer is not for it.
  WireClient next(address);
  next.send(connect_packet({.client_id = "next"}));
  const Taken second = take_one(events);
  mqttq_reply_access(host.get(), &first.event.reply, 1, 0);
  mqttq_reply forged = second.event.reply;
  for (int word = 0; word < 3; ++word) {
    for (const uint64_t value : {uint64_t{1} << 63, UINT64_MAX, uint64_t{0x7FFF'FFFF}, uint64_t{63}}) {
      forged = second.event.reply;
      forged.words[word] ^= value;
      mqttq_reply_access(host.get(), &forged, 1, 0);
      mqttq_reply_message(host.get(), &forged, 0);
    }
  }
  std::memset(&forged, 0, sizeof forged);
  mqttq_reply_access(host.get(), &forged, 1, 0);
  mqttq_reply_message(host.get(), &forged, 0);
  host.settle();
  mqttq_reply_access(host.get(), &second.event.reply, 0, 0x8A);
  CHECK(static_cast<uint8_t>(next.read()[3]) == 0x8A);  // none of the others was taken for an answer
  next.vanish();

  mqttq_broker_stop(host.get());
  mqttq_reply_access(host.get(), &second.event.reply, 1, 0);
}

TEST_CASE("a full ring of questions is told to clients as server busy", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events(1);
  ask(host, events, true, false);
  host.start();
  const std::string address = host.listen();
  WireClient first(address);
  first.send(connect_packet({.client_id = "first"}));
  wait_for_event(events);
  WireClient second(address);
  CHECK(second.connect({.client_id = "second"}) == 0x89);
  const Taken question = take_one(events);
  CHECK(question.client_id == "first");
  mqttq_reply_access(host.get(), &question.event.reply, 1, 0);
  CHECK(static_cast<uint8_t>(first.read()[3]) == 0);
  CHECK(mqttq_events_lost(events) == 0);
}

TEST_CASE("a host is asked before a client publishes or subscribes, once for each topic", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  ask(host, events, false, true);
  host.start();
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c", .user_name = "ann"}) == 0);

  client.send(subscribe_packet(1, "secret/#", 1));
  const Taken subscribing = take_one(events);
  CHECK(subscribing.event.type == MQTTQ_EVENT_AUTHORIZE);
  CHECK(subscribing.event.action == 1);
  CHECK(subscribing.event.qos == 1);
  CHECK(subscribing.topic == "secret/#");
  CHECK(subscribing.client_id == "c");
  CHECK(subscribing.user_name == "ann");
  mqttq_reply_access(host.get(), &subscribing.event.reply, 0, 0);
  const std::string suback = client.read();
  CHECK(static_cast<uint8_t>(suback.back()) == 0x87);

  client.send(publish_packet("open", "1", 1, 7, {}, true));
  const Taken publishing = take_one(events);
  CHECK(publishing.event.action == 0);
  CHECK(publishing.event.retain == 1);
  CHECK(publishing.topic == "open");
  mqttq_reply_access(host.get(), &publishing.event.reply, 1, 0);
  CHECK(static_cast<uint8_t>(client.read()[0]) == 0x40);
  client.send(publish_packet("open", "2", 1, 8));  // remembered
  CHECK(static_cast<uint8_t>(client.read()[0]) == 0x40);
  CHECK(is_empty(events));

  client.send(publish_packet("closed", "3", 1, 9));
  const Taken last = take_one(events);
  mqttq_reply_access(host.get(), &last.event.reply, 0, 0);
  const std::string puback = client.read();
  REQUIRE(puback.size() >= 5);
  CHECK(static_cast<uint8_t>(puback[0]) == 0x40);
  CHECK(static_cast<uint8_t>(puback[4]) == 0x87);
}

TEST_CASE("an observer hears of each client's connection and session in order", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_SESSIONS, nullptr) == MQTTQ_OK);
  host.start();
  const std::string address = host.listen(host.open_namespace("tenant"));
  {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "c"}) == 0);
    client.send(std::string("\xE0\0", 2));
    CHECK(client.read().empty());
  }
  const Taken connected = take_one(events);
  CHECK(connected.event.type == MQTTQ_EVENT_CONNECTED);
  CHECK(connected.client_id == "c");
  CHECK(connected.namespace_name == "tenant");
  CHECK(connected.address.starts_with("127.0.0.1:"));
  CHECK(connected.event.has_reply == 0);
  const Taken gone = take_one(events);
  CHECK(gone.event.type == MQTTQ_EVENT_DISCONNECTED);
  CHECK(gone.event.reason_code == 0);
  const Taken ended = take_one(events);
  CHECK(ended.event.type == MQTTQ_EVENT_SESSION_ENDED);
  CHECK(ended.client_id == "c");
  CHECK(connected.event.sequence < gone.event.sequence);
  CHECK(gone.event.sequence < ended.event.sequence);
}

TEST_CASE("a take-over is a disconnection with 0x8E, then a connection", "[abi][MQTT-3.1.4-3]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_SESSIONS, nullptr) == MQTTQ_OK);
  host.start();
  const std::string address = host.listen();
  WireClient one(address), two(address);
  REQUIRE(one.connect({.client_id = "c", .session_expiry_s = 60}) == 0);
  REQUIRE(two.connect({.client_id = "c", .session_expiry_s = 60, .clean_start = false}) == 0);
  CHECK(take_one(events).event.type == MQTTQ_EVENT_CONNECTED);
  const Taken gone = take_one(events);
  CHECK(gone.event.type == MQTTQ_EVENT_DISCONNECTED);
  CHECK(gone.event.reason_code == 0x8E);
  CHECK(take_one(events).event.type == MQTTQ_EVENT_CONNECTED);
}

TEST_CASE("an observer of messages hears of deliveries and drops, and what does not fit is counted", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events(4);
  REQUIRE(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_MESSAGES, nullptr) == MQTTQ_OK);
  host.start();
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  REQUIRE(client.subscribe("t", 0) == 0);
  host.publish("t", "x");
  CHECK(read_publish(client.read()).payload == "x");
  const Taken delivered = take_one(events);
  CHECK(delivered.event.type == MQTTQ_EVENT_DELIVERED);
  CHECK(delivered.client_id == "c");
  CHECK(delivered.topic == "t");
  for (int i = 0; i < 10; ++i) host.publish("t", "x");
  for (int i = 0; i < 10; ++i) CHECK(read_publish(client.read()).payload == "x");
  CHECK(client.nothing_but_ping());
  mqttq_event batch[16];
  CHECK(mqttq_events_take(events, batch, 16) == 4);
  CHECK(mqttq_events_lost(events) == 6);
}
