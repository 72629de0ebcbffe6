// The life of a broker: its states, its neighbours in the process, its words and its figures.
#include <poll.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "host.h"

using namespace mqttq::abi;

namespace {

// Each of the calls that need a running broker.
std::vector<mqttq_status> calls_that_need_it_running(Host& host, mqttq_events* events) {
  mqttq_listener_config endpoint = listener_config();
  endpoint.address = "127.0.0.1:0";
  mqttq_subscriber_config subscription = subscriber_config();
  subscription.topic_filter = bytes("#");
  subscription.events = events;
  const MessagePtr message = make_message("a", "b");
  mqttq_listener* listener = nullptr;
  mqttq_subscriber* subscriber = nullptr;
  mqttq_clients* clients = nullptr;
  uint64_t cursor = 0;
  return {mqttq_listener_open(host.get(), &endpoint, &listener, nullptr),
          mqttq_subscriber_open(host.get(), &subscription, &subscriber, nullptr),
          mqttq_publish(host.get(), message.get(), nullptr),
          mqttq_clients_list(host.get(), nullptr, {}, &cursor, 0, &clients, nullptr),
          mqttq_client_disconnect(host.get(), nullptr, bytes("x"), nullptr, nullptr)};
}

}  // namespace

TEST_CASE("a broker is started once, used, and stopped for good", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events();
  CHECK(calls_that_need_it_running(host, events) == std::vector<mqttq_status>(5, MQTTQ_ESTATE));
  CHECK(mqttq_broker_start(host.get(), nullptr) == MQTTQ_OK);
  mqttq_error error = make_error();
  CHECK(mqttq_broker_start(host.get(), &error) == MQTTQ_ESTATE);
  CHECK(std::strlen(error.text) > 0);
  CHECK(mqttq_broker_set_access(host.get(), events, 1, 1, nullptr) == MQTTQ_ESTATE);
  CHECK(mqttq_broker_observe(host.get(), events, MQTTQ_OBSERVE_SESSIONS, nullptr) == MQTTQ_ESTATE);
  CHECK(mqttq_broker_turn(host.get(), 0) == MQTTQ_ESTATE);  // not the host's to drive
  mqttq_broker_stop(host.get());
  mqttq_broker_stop(host.get());
  CHECK(calls_that_need_it_running(host, events) == std::vector<mqttq_status>(5, MQTTQ_ESHUTDOWN));
  CHECK(mqttq_broker_start(host.get(), nullptr) == MQTTQ_ESTATE);
}

TEST_CASE("a broker that was never started is ended like any other", "[abi]") {
  Host host;
  host.open_events();
  mqttq_broker_stop(host.get());
}

TEST_CASE("a client of a stopping broker is told so, and its listener is gone", "[abi][MQTT-3.1.4-6]") {
  Host host{2};
  host.start();
  const std::string address = host.listen();
  WireClient client(address);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  std::thread stopper([&] { mqttq_broker_stop(host.get()); });
  const std::string last = client.read();
  REQUIRE(last.size() >= 3);
  CHECK(static_cast<uint8_t>(last[0]) == 0xE0);
  CHECK(static_cast<uint8_t>(last[2]) == 0x8B);
  CHECK(client.read().empty());
  client.vanish();
  stopper.join();
  CHECK_THROWS(WireClient(address));
}

TEST_CASE("what was opened may be closed after the broker was stopped, in any order", "[abi]") {
  for (const bool subscriber_first : {true, false}) {
    mqttq_broker_config config = broker_config();
    config.shards = 2;
    mqttq_broker* broker = nullptr;
    REQUIRE(mqttq_broker_create(&config, &broker, nullptr) == MQTTQ_OK);
    REQUIRE(mqttq_broker_start(broker, nullptr) == MQTTQ_OK);
    mqttq_events_config ring = events_config();
    ring.capacity = 1;
    mqttq_events* events = nullptr;
    REQUIRE(mqttq_events_open(broker, &ring, &events, nullptr) == MQTTQ_OK);
    mqttq_subscriber_config subscription = subscriber_config();
    subscription.topic_filter = bytes("#");
    subscription.events = events;
    subscription.qos = 1;
    subscription.answers = 1;
    mqttq_subscriber* subscriber = nullptr;
    REQUIRE(mqttq_subscriber_open(broker, &subscription, &subscriber, nullptr) == MQTTQ_OK);
    mqttq_listener_config endpoint = listener_config();
    endpoint.address = "127.0.0.1:0";
    mqttq_listener* listener = nullptr;
    REQUIRE(mqttq_listener_open(broker, &endpoint, &listener, nullptr) == MQTTQ_OK);
    // One message in the ring, and one that waits for room in it.
    for (int i = 0; i < 2; ++i) mqttq_publish(broker, make_message("t", "x", 1).get(), nullptr);
    const mqttq_event first = take_one(events).event;
    mqttq_broker_stop(broker);
    if (subscriber_first) mqttq_subscriber_close(subscriber);
    mqttq_listener_close(listener);
    if (!subscriber_first) mqttq_subscriber_close(subscriber);
    mqttq_event left[4];
    mqttq_events_take(events, left, 4);
    mqttq_reply_message(broker, &first.reply, 0);
    mqttq_events_close(events);
    mqttq_broker_destroy(broker);
  }
}

TEST_CASE("a message that is held outlives its ring and its broker", "[abi]") {
  MessagePtr kept;
  {
    Host host{2};
    host.start();
    mqttq_events* events = host.open_events();
    host.subscribe("t", events);
    host.publish("t", "x");
    kept = take_one(events).message;
  }
  CHECK(text(mqttq_message_payload(kept.get())) == "x");
}

TEST_CASE("a listener accepts as soon as it is open", "[abi]") {
  Host host{1};
  host.start();
  host.settle();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {  // each may meet a shard that sleeps for a second
    WireClient client(host.listen());
    REQUIRE(client.connect({}) == 0);
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
}

TEST_CASE("two brokers in one process do not notice each other", "[abi]") {
  Host one{2}, two{2};
  one.start();
  two.start();
  const std::string first = one.listen(), second = two.listen();
  mqttq_events* in_one = one.open_events();
  mqttq_events* in_two = two.open_events();
  one.subscribe("#", in_one);
  two.subscribe("#", in_two);

  WireClient here(first), there(second);
  REQUIRE(here.connect({.client_id = "same"}) == 0);
  REQUIRE(there.connect({.client_id = "same"}) == 0);
  REQUIRE(here.subscribe("t", 0) == 0);
  REQUIRE(there.subscribe("t", 0) == 0);
  one.publish("t", "one");
  CHECK(read_publish(here.read()).payload == "one");
  CHECK(there.nothing_but_ping());
  CHECK(take_one(in_one).payload == "one");
  CHECK(is_empty(in_two));
  CHECK(two.counter("messages_sent") == 0);

  std::thread stopper([&] { one.end(); });
  CHECK_FALSE(here.read().empty());  // DISCONNECT
  here.vanish();
  stopper.join();
  two.publish("t", "two");
  CHECK(read_publish(there.read()).payload == "two");
  CHECK(take_one(in_two).payload == "two");
  CHECK(two.listen() != second);
}

TEST_CASE("a peer that vanishes does not kill a host that leaves SIGPIPE alone", "[abi]") {
  struct sigaction before{};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &before) == 0);
  REQUIRE(before.sa_handler == SIG_DFL);
  Host host;
  host.start();
  const std::string address = host.listen();
  mqttq_events* events = host.open_events();
  host.subscribe("up", events);
  const std::string payload(8'000, 'x');
  for (int i = 0; i < 20; ++i) {
    WireClient victim(address);
    REQUIRE(victim.connect({.client_id = "victim"}) == 0);
    REQUIRE(victim.subscribe("t", 0) == 0);
    // It vanishes between two messages for it, so that some are written to a socket that is reset.
    host.publish("t", payload);
    victim.vanish();
    for (int k = 0; k < 50; ++k) host.publish("t", payload);
    host.settle();
  }
  struct sigaction after{};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &after) == 0);
  CHECK(after.sa_handler == SIG_DFL);
  WireClient client(address);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("up", "alive"));
  CHECK(take_one(events).payload == "alive");
}

TEST_CASE("the log callback gets whole lines with who was wrong", "[abi]") {
  struct Lines {
    std::mutex mutex;
    std::vector<std::pair<mqttq_log_level, std::string>> lines;
    bool ends_in_nul = true;
  } log;
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  config.log_user = &log;
  config.log = [](void* user, mqttq_log_level level, const char* line, size_t size) {
    auto& to = *static_cast<Lines*>(user);
    const std::lock_guard lock(to.mutex);
    to.ends_in_nul &= line[size] == '\0';
    to.lines.emplace_back(level, std::string(line, size));
  };
  Host host{config};
  host.start();
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "wrong-doer"}) == 0);
  client.send(std::string("\x36\x04\0\1ax", 6));  // QoS 3 [MQTT-3.3.1-4]
  while (!client.read().empty()) {}
  client.vanish();
  host.end();
  REQUIRE(log.lines.size() == 1);
  CHECK(log.ends_in_nul);
  CHECK(log.lines[0].first == MQTTQ_LOG_NOTICE);
  CHECK(log.lines[0].second.find("wrong-doer") != std::string::npos);
  CHECK(log.lines[0].second.find("127.0.0.1:") != std::string::npos);
  CHECK(log.lines[0].second.find('\n') == std::string::npos);
}

TEST_CASE("`$SYS` says which library this is, unless it is switched off", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  Host host(config);
  mqttq_events* events = host.open_events();
  host.start();
  host.subscribe("$SYS/broker/version", events, 0);
  const Taken version = take_one(events);  // retained, or live if the first look at the figures comes now
  CHECK(version.topic == "$SYS/broker/version");
  CHECK(version.payload == std::string("libmqttq version ") + mqttq_version_text());

  config.sys_interval_s = UINT32_MAX;
  Host silent(config);
  mqttq_events* nothing = silent.open_events();
  silent.start();
  silent.subscribe("$SYS/#", nothing, 0);
  silent.subscribe("a", nothing, 0);
  silent.publish("a", "1");
  CHECK(take_one(nothing).topic == "a");  // and nothing before it
}

TEST_CASE("a broker in the host's loop says in `$SYS` what it does", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.host_loop = 1;
  config.sys_interval_s = 1;
  Host host(config);
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("$SYS/broker/uptime", events, 0);
  std::vector<std::string> said;
  while (said.size() < 3) {
    pollfd watched{mqttq_broker_fd(host.get()), POLLIN, 0};
    REQUIRE(poll(&watched, 1, mqttq_broker_timeout_ms(host.get())) >= 0);
    REQUIRE(mqttq_broker_turn(host.get(), 0) == MQTTQ_OK);
    mqttq_event event;
    while (mqttq_events_take(events, &event, 1)) said.push_back(text(mqttq_message_payload(event.message)));
  }
  CHECK(said == std::vector<std::string>{"0 seconds", "1 seconds", "2 seconds"});
}

TEST_CASE("clients that come and go are messages where the host asks for it", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 2;
  config.client_events = 1;
  Host host(config);
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("$SYS/broker/clients/+/+", events, 0);
  const std::string address = host.listen();
  {
    WireClient client(address);
    CHECK(client.connect({.client_id = "a+b"}) == 0);
  }
  const Taken came = take_one(events), went = take_one(events);
  CHECK(came.topic == "$SYS/broker/clients/a%2Bb/connected");
  CHECK(went.topic == "$SYS/broker/clients/a%2Bb/disconnected");
  CHECK(went.payload.find("\"client_id\":\"a+b\"") != std::string::npos);
  // Unix time, of this century and in milliseconds.
  const std::string name = "\"connected_at_ms\":";
  const int64_t at_ms = std::stoll(came.payload.substr(came.payload.find(name) + name.size()));
  CHECK(at_ms / 1000 >= std::time(nullptr) - 600);
  CHECK(at_ms / 1000 <= std::time(nullptr) + 1);
}

TEST_CASE("a broker in memory has no figures of a store", "[abi]") {
  Host host;
  mqttq_store_figures figures = {};
  figures.size = sizeof figures;
  CHECK(mqttq_broker_store_figures(host.get(), &figures) == MQTTQ_ESTATE);
  CHECK(mqttq_broker_store_figures(host.get(), nullptr) == MQTTQ_EINVAL);
  figures.size = 0;
  CHECK(mqttq_broker_store_figures(host.get(), &figures) == MQTTQ_EINVAL);
}

TEST_CASE("a broker with a data directory says what it takes, and may take", "[abi]") {
  char folder[] = "/tmp/mqttq-abi-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string data = std::string(folder) + "/data";
  mqttq_limits limits = make_limits();
  limits.store_bytes = 1 << 20;
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  config.limits = &limits;
  config.data_dir = data.c_str();
  {
    Host host(config);
    mqttq_store_figures figures = {};
    figures.size = sizeof figures;
    CHECK(mqttq_broker_store_figures(host.get(), &figures) == MQTTQ_OK);
    CHECK(figures.bytes_max == limits.store_bytes);
    CHECK(figures.bytes_used < limits.store_bytes / 2);
    CHECK(figures.alarm <= MQTTQ_STORE_HIGH);  // by the disk of the machine
    mqttq_store_figures older = {};
    older.size = offsetof(mqttq_store_figures, bytes_max);
    older.bytes_max = 7;
    CHECK(mqttq_broker_store_figures(host.get(), &older) == MQTTQ_OK);
    CHECK(older.bytes_max == 7);
  }
  limits.store_bytes = 1000;
  mqttq_broker* broker = nullptr;
  mqttq_error error = make_error();
  CHECK(mqttq_broker_create(&config, &broker, &error) == MQTTQ_EINVAL);
  CHECK(std::string(error.text) == "limits.store_bytes: less than 1048576");
  std::filesystem::remove_all(folder);
}

TEST_CASE("counters have names and texts, and a short array gets the first of them", "[abi]") {
  Host host;
  host.start();
  const size_t count = mqttq_broker_counters(host.get(), nullptr, 0);
  REQUIRE(count > 10);
  std::vector<mqttq_counter> all(count + 1), few(2);
  all[count].name = "untouched";
  CHECK(mqttq_broker_counters(host.get(), all.data(), count + 1) == count);
  CHECK(std::string(all[count].name) == "untouched");
  CHECK(mqttq_broker_counters(host.get(), few.data(), few.size()) == count);
  CHECK(few[1].name == all[1].name);
  for (size_t i = 0; i < count; ++i) {
    CHECK(std::strlen(all[i].name) > 0);
    CHECK(std::strlen(all[i].text) > 0);
  }
  WireClient client(host.listen());
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("t", "1")).send(publish_packet("t", "2"));
  REQUIRE(client.nothing_but_ping());
  CHECK(host.counter("messages_received") == 2);
  CHECK(host.counter("connections_opened") == 1);
}

TEST_CASE("two namespaces with the same topics and client ids see nothing of each other", "[abi]") {
  Host host{2};
  host.start();
  mqttq_namespace* red = host.open_namespace("red");
  mqttq_namespace* blue = host.open_namespace("blue");
  CHECK(host.open_namespace("red") == red);
  CHECK(std::string(mqttq_namespace_name(blue)) == "blue");
  mqttq_events* events = host.open_events();
  host.subscribe("#", events, 1, false, red);
  WireClient in_red(host.listen(red)), in_blue(host.listen(blue)), in_global(host.listen());
  for (WireClient* client : {&in_red, &in_blue, &in_global}) {
    REQUIRE(client->connect({.client_id = "same"}) == 0);  // nobody is taken over
  }
  in_blue.send(publish_packet("t/1", "of blue", 1, 1, {}, true));
  REQUIRE(static_cast<uint8_t>(in_blue.read()[0]) == 0x40);
  for (WireClient* client : {&in_red, &in_blue, &in_global}) REQUIRE(client->subscribe("t/#", 0) == 0);
  CHECK(read_publish(in_blue.read()).payload == "of blue");
  host.publish("t/1", "of global");
  CHECK(read_publish(in_global.read()).payload == "of global");
  host.publish("t/1", "of red", 0, false, red);
  CHECK(read_publish(in_red.read()).payload == "of red");
  for (WireClient* client : {&in_red, &in_blue, &in_global}) CHECK(client->nothing_but_ping());
  CHECK(take_one(events).payload == "of red");
  CHECK(is_empty(events));
  CHECK(host.client_ids(red) == std::vector<std::string>{"same"});
  CHECK(mqttq_client_disconnect(host.get(), red, bytes("same"), nullptr, nullptr) == MQTTQ_OK);
  CHECK_FALSE(in_red.read().empty());
  CHECK(in_blue.nothing_but_ping());
}

TEST_CASE("a namespace's name is judged", "[abi]") {
  Host host;
  mqttq_namespace* ns = nullptr;
  for (const std::string& name : {std::string(), std::string("a/b"), std::string("-a"), std::string(".a"),
                                  std::string("\xC3\xA4"), std::string(256, 'a'), std::string("a\0b", 3)}) {
    CHECK(mqttq_namespace_open(host.get(), name.data(), name.size(), &ns, nullptr) == MQTTQ_EINVAL);
  }
  CHECK(ns == nullptr);
  const std::string longest(255, 'a');
  CHECK(mqttq_namespace_open(host.get(), longest.data(), longest.size(), &ns, nullptr) == MQTTQ_OK);
  CHECK(mqttq_namespace_name(ns) == longest);
}

TEST_CASE("what is not offered is said in CONNACK and refused", "[abi][MQTT-3.2.2-9][MQTT-3.2.2-13]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  mqttq_limits limits = make_limits();
  limits.maximum_qos = 1;
  config.limits = &limits;
  config.features_off = MQTTQ_FEATURE_RETAIN | MQTTQ_FEATURE_SHARED_SUBSCRIPTIONS;
  Host host{config};
  host.start();
  const std::string address = host.listen();
  const auto answer_to = [&](const std::string& packet) {
    WireClient client(address);
    REQUIRE(client.connect({.client_id = "a"}) == 0);
    client.send(packet);
    return client.read();
  };
  CHECK(answer_to(publish_packet("t", "x", 2, 1)) == "\xe0\x01\x9b");
  CHECK(answer_to(publish_packet("t", "x", 0, 0, {}, true)) == "\xe0\x01\x9a");
  WireClient client(address);
  REQUIRE(client.connect({.client_id = "a"}) == 0);
  CHECK(client.subscribe("$share/g/t", 1) == 0x9E);
  CHECK(client.subscribe("t", 2) == 1);  // granted

  config.features_off = 1u << 31;
  mqttq_broker* broker = nullptr;
  mqttq_error error = make_error();
  CHECK(mqttq_broker_create(&config, &broker, &error) == MQTTQ_EINVAL);
  CHECK(std::string(error.text).starts_with("features_off"));
  config.features_off = 0;
  limits.maximum_qos = 3;
  CHECK(mqttq_broker_create(&config, &broker, &error) == MQTTQ_EINVAL);
}

TEST_CASE("Response Information that cannot be filled in is refused by its name", "[abi]") {
  mqttq_broker_config config = broker_config();
  const std::string long_text(1025, 'a');
  for (const char* text : {"${group}", "$1", "\xff", long_text.c_str()}) {
    CAPTURE(text);
    config.response_information = text;
    mqttq_broker* broker = nullptr;
    mqttq_error error = make_error();
    CHECK(mqttq_broker_create(&config, &broker, &error) == MQTTQ_EINVAL);
    CHECK(std::string(error.text).starts_with("response_information: "));
  }
}

TEST_CASE("a host sets how shared groups choose, until it starts", "[abi]") {
  Host host;
  mqttq_error error = make_error();
  const mqttq_bytes group{"sticky", 6}, wrong{"a/b", 3};
  CHECK(mqttq_broker_set_shared_strategy(host.get(), nullptr, group, MQTTQ_SHARED_STICKY, &error) == MQTTQ_OK);
  CHECK(mqttq_broker_set_shared_strategy(host.get(), nullptr, wrong, MQTTQ_SHARED_STICKY, &error) == MQTTQ_EINVAL);
  CHECK(mqttq_broker_set_shared_strategy(host.get(), nullptr, group, 6, &error) == MQTTQ_EINVAL);
  host.start();
  CHECK(mqttq_broker_set_shared_strategy(host.get(), nullptr, group, MQTTQ_SHARED_RANDOM, &error) == MQTTQ_ESTATE);
  const std::string address = host.listen();
  const auto members_served = [&](const std::string& name) {
    std::vector<std::unique_ptr<WireClient>> members;
    for (int i = 0; i < 3; ++i) {
      members.push_back(std::make_unique<WireClient>(address));
      REQUIRE(members.back()->connect({.client_id = name + std::to_string(i)}) == 0);
      REQUIRE(members.back()->subscribe("$share/" + name + "/t", 0) == 0);
    }
    for (int i = 0; i < 6; ++i) host.publish("t", "x");
    host.settle();
    int served = 0;
    for (const auto& member : members) served += !member->nothing_but_ping();
    return served;
  };
  CHECK(members_served("sticky") == 1);
  CHECK(members_served("fair") == 3);
}

TEST_CASE("all shards tell their clients at once that the broker stops", "[abi]") {
  Host host{8};
  host.start();
  const std::string address = host.listen();
  std::vector<std::unique_ptr<WireClient>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<WireClient>(address));
    REQUIRE(clients.back()->connect({.client_id = "c" + std::to_string(i)}) == 0);
  }
  const auto began = std::chrono::steady_clock::now();
  mqttq_broker_stop(host.get());  // they are told, and do not close
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK(took < std::chrono::seconds(6));  // one after the other it would be sixteen
  for (const auto& client : clients) CHECK(read_answer(client->read()).reason_code == 0x8B);
}
