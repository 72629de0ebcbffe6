// mqttq/delayed.h: messages that wait for their time.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "host.h"

namespace mqttq::abi {

namespace {

struct Waiting {
  uint64_t id, due_ms;
  std::string client_id, topic, payload;
};

std::vector<Waiting> list(const Host& host, mqttq_namespace* ns = nullptr, size_t page = 0) {
  std::vector<Waiting> all;
  uint64_t cursor = 0;
  do {
    mqttq_delayed_list* messages = nullptr;
    REQUIRE(mqttq_delayed_messages(host.get(), ns, &cursor, page, &messages, nullptr) == MQTTQ_OK);
    if (page) CHECK(mqttq_delayed_count(messages) <= page);
    for (size_t i = 0; i < mqttq_delayed_count(messages); ++i) {
      const mqttq_delayed one = mqttq_delayed_get(messages, i);
      CHECK(one.size == sizeof one);
      all.push_back({one.id, one.due_ms, text(one.client_id), text(mqttq_message_topic(one.message)),
                     text(mqttq_message_payload(one.message))});
    }
    mqttq_delayed_free(messages);
  } while (cursor);
  std::sort(all.begin(), all.end(), [](auto& one, auto& other) { return one.payload < other.payload; });
  return all;
}

}  // namespace

TEST_CASE("delayed messages of clients and of the host are listed, a page at a time, and cancelled", "[abi]") {
  Host host{3};
  mqttq_namespace* red = host.open_namespace("red");
  mqttq_events* events = host.open_events();
  host.start();
  host.subscribe("#", events);
  const std::string address = host.listen();
  for (int i = 0; i < 5; ++i) {
    WireClient client(address);
    const std::string id = std::to_string(i);
    REQUIRE(client.connect({.client_id = id}) == 0);
    client.send(publish_packet("$delayed/1000/t/" + id, id, 1, 1));
    CHECK(client.read() == std::string("\x40\x02\x00\x01", 4));
  }
  host.publish("$delayed/2000/h", "host");
  host.publish("$delayed/2000/h", "red", 0, false, red);
  host.settle();
  std::vector<Waiting> all = list(host, nullptr, 2);
  while (all.size() < 6) all = list(host, nullptr, 2);  // the host's is on its way
  REQUIRE(all.size() == 6);
  for (int i = 0; i < 5; ++i) {
    CHECK(all[i].client_id == std::to_string(i));
    CHECK(all[i].topic == "t/" + std::to_string(i));
    CHECK(all[i].due_ms <= 1'000'000);
    CHECK(all[i].due_ms > 900'000);
  }
  CHECK(all[5].client_id.empty());
  CHECK(all[5].topic == "h");
  std::vector<Waiting> of_red = list(host, red);
  while (of_red.empty()) of_red = list(host, red);
  REQUIRE(of_red.size() == 1);

  mqttq_error error = make_error();
  CHECK(mqttq_delayed_cancel(host.get(), nullptr, of_red[0].id, &error) == MQTTQ_ENOTFOUND);
  CHECK(mqttq_delayed_cancel(host.get(), red, of_red[0].id, nullptr) == MQTTQ_OK);
  CHECK(mqttq_delayed_cancel(host.get(), red, of_red[0].id, nullptr) == MQTTQ_ENOTFOUND);
  for (const uint64_t wrong : {uint64_t{0}, uint64_t{1} << 58, UINT64_MAX}) {
    CHECK(mqttq_delayed_cancel(host.get(), nullptr, wrong, nullptr) == MQTTQ_ENOTFOUND);
  }
  for (const Waiting& one : all) CHECK(mqttq_delayed_cancel(host.get(), nullptr, one.id, nullptr) == MQTTQ_OK);
  CHECK(list(host).empty());
  CHECK(is_empty(events));
}

TEST_CASE("a delayed message of the host's comes when its time has come", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  host.start();
  host.subscribe("#", events);
  host.publish("$delayed/1/later", "1", 1);
  host.publish("$delayed/0/now", "2", 1);
  CHECK(take_one(events).topic == "now");
  const Taken later = take_one(events);
  CHECK(later.topic == "later");
  CHECK(later.payload == "1");
  CHECK(list(host).empty());
}

TEST_CASE("a delay of the host's that cannot be is refused", "[abi]") {
  mqttq_broker_config config = broker_config();
  mqttq_limits limits = make_limits();
  limits.delay_max_s = 100;
  limits.delayed_messages_max = 1;
  config.limits = &limits;
  Host host{config};
  host.start();
  const auto publish = [&](const char* topic) {
    const MessagePtr message = make_message(topic, "x");
    return mqttq_publish(host.get(), message.get(), nullptr);
  };
  for (const char* wrong : {"$delayed/x/a", "$delayed/1", "$delayed/101/a", "$delayed/1/$SYS/a"}) {
    CHECK(publish(wrong) == MQTTQ_EINVAL);
  }
  CHECK(publish("$delayed/100/a") == MQTTQ_OK);
  while (list(host).empty()) {}
  CHECK(publish("$delayed/100/a") == MQTTQ_EFULL);

  mqttq_broker* out = nullptr;
  for (const auto field : {&mqttq_limits::delay_max_s, &mqttq_limits::delayed_messages_max}) {
    mqttq_limits wrong = make_limits();
    wrong.*field = UINT32_MAX - 1;
    config.limits = &wrong;
    CHECK(mqttq_broker_create(&config, &out, nullptr) == MQTTQ_EINVAL);
  }
}

}  // namespace mqttq::abi
