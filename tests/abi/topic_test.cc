// mqttq/topic.h: rewritten topics and automatic subscriptions, as a host sets them and clients see them.
#include <catch2/catch_test_macros.hpp>

#include "host.h"

namespace mqttq::abi {

namespace {

mqttq_status add_rewrite(Host& host, std::string_view from, std::string_view to, uint32_t actions = 0,
                         mqttq_namespace* ns = nullptr, mqttq_error* error = nullptr) {
  mqttq_rewrite rewrite = make(mqttq_rewrite_init);
  rewrite.ns = ns;
  rewrite.actions = actions;
  rewrite.from = bytes(from);
  rewrite.to = bytes(to);
  return mqttq_broker_add_rewrite(host.get(), &rewrite, error);
}

mqttq_status add_subscription(Host& host, std::string_view topic_filter, uint8_t qos = 0, mqttq_namespace* ns = nullptr,
                              mqttq_error* error = nullptr) {
  mqttq_auto_subscription subscription = make(mqttq_auto_subscription_init);
  subscription.ns = ns;
  subscription.topic_filter = bytes(topic_filter);
  subscription.qos = qos;
  return mqttq_broker_add_auto_subscription(host.get(), &subscription, error);
}

}  // namespace

TEST_CASE("a rule of the host's rewrites what clients of its namespace name", "[abi]") {
  Host host{2};
  mqttq_namespace* red = host.open_namespace("red");
  REQUIRE(add_rewrite(host, "old/+", "new/$1/${client_id}", MQTTQ_REWRITE_PUBLISH) == MQTTQ_OK);
  REQUIRE(add_rewrite(host, "x", "y", 0, red) == MQTTQ_OK);
  mqttq_events* events = host.open_events();
  host.start();
  host.subscribe("#", events);
  host.subscribe("#", events, 1, false, red);
  WireClient client(host.listen()), in_red(host.listen(red));
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  REQUIRE(in_red.connect({.client_id = "c"}) == 0);
  client.send(publish_packet("old/a", "1"));
  CHECK(take_one(events).topic == "new/a/c");
  client.send(publish_packet("x", "2"));
  CHECK(take_one(events).topic == "x");
  in_red.send(publish_packet("x", "3"));
  CHECK(take_one(events).topic == "y");
  in_red.send(publish_packet("old/a", "4"));
  CHECK(take_one(events).topic == "old/a");
  host.publish("old/h", "5");  // the host names what it means
  CHECK(take_one(events).topic == "old/h");
}

TEST_CASE("a rule or a subscription that cannot work is refused with its field", "[abi]") {
  Host host{1};
  mqttq_error error = make_error();
  CHECK(add_rewrite(host, "a/#", "b/#", 0, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "to: a wildcard, and nothing can be published to it");
  CHECK(add_rewrite(host, "a/#", "b/$2", 0, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "to: $2, and 1 wildcard to be named");
  CHECK(add_rewrite(host, "", "b", 0, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "from: not a topic filter");
  CHECK(add_rewrite(host, "a", "b", 8, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(mqttq_broker_add_rewrite(host.get(), nullptr, &error) == MQTTQ_EINVAL);
  CHECK(add_subscription(host, "a/#/b", 0, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "topic_filter: not a topic filter");
  CHECK(add_subscription(host, "a", 3, nullptr, &error) == MQTTQ_EINVAL);
  CHECK(mqttq_broker_add_auto_subscription(host.get(), nullptr, &error) == MQTTQ_EINVAL);
  mqttq_auto_subscription subscription = make(mqttq_auto_subscription_init);
  subscription.topic_filter = bytes("a");
  subscription.retain_handling = 1;
  CHECK(mqttq_broker_add_auto_subscription(host.get(), &subscription, &error) == MQTTQ_EINVAL);
  mqttq_rewrite rewrite = make(mqttq_rewrite_init);
  rewrite.from = {nullptr, 5};
  CHECK(mqttq_broker_add_rewrite(host.get(), &rewrite, &error) == MQTTQ_EINVAL);
  CHECK(std::string_view(error.text) == "from: NULL with a size");
  for (int i = 0; i < 1000; ++i) REQUIRE(add_rewrite(host, "a", "b") == MQTTQ_OK);
  CHECK(add_rewrite(host, "a", "b") == MQTTQ_EFULL);
  for (int i = 0; i < 100; ++i) REQUIRE(add_subscription(host, "a") == MQTTQ_OK);
  CHECK(add_subscription(host, "a") == MQTTQ_EFULL);
  host.start();
  CHECK(add_rewrite(host, "a", "b") == MQTTQ_ESTATE);
  CHECK(add_subscription(host, "a") == MQTTQ_ESTATE);
}

TEST_CASE("clients have the host's automatic subscriptions without asking", "[abi]") {
  Host host{2};
  mqttq_namespace* red = host.open_namespace("red");
  REQUIRE(add_subscription(host, "to/${client_id}", 1) == MQTTQ_OK);
  REQUIRE(add_subscription(host, "red", 0, red) == MQTTQ_OK);
  host.start();
  WireClient client(host.listen()), in_red(host.listen(red));
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  REQUIRE(in_red.connect({.client_id = "c"}) == 0);
  host.publish("to/c", "1", 1);
  host.publish("red", "2");
  host.publish("to/c", "3", 0, false, red);
  host.publish("red", "4", 0, false, red);
  CHECK(client.read() == publish_packet("to/c", "1", 1, 1));
  CHECK(client.nothing_but_ping());
  CHECK(in_red.read() == publish_packet("red", "4"));
  CHECK(in_red.nothing_but_ping());
}

TEST_CASE("response information is the host's template, filled in for who asks", "[abi][MQTT-3.1.2-28]") {
  mqttq_broker_config config = broker_config();
  std::string text = "answers/${client_id}";
  config.response_information = text.c_str();
  Host host{config};
  text.assign(text.size(), 'x');  // it was copied
  host.start();
  const std::string address = host.listen();
  const auto told = [&](std::string properties) {
    WireClient client(address);
    client.send(connect_packet({.client_id = "c", .properties = std::move(properties)}));
    return read_answer(client.read()).response_information;
  };
  CHECK(told("\x19\x01") == "answers/c");
  CHECK(told(std::string("\x19\x00", 2)).empty());
  CHECK(told("").empty());

  mqttq_broker* out = nullptr;
  mqttq_error error = make_error();
  for (const char* wrong : {"\xff", "${clientid}"}) {
    config.response_information = wrong;
    CHECK(mqttq_broker_create(&config, &out, &error) == MQTTQ_EINVAL);
    CHECK(std::string_view(error.text).starts_with("response_information: "));
  }
  const std::string long_text(1025, 'x');
  config.response_information = long_text.c_str();
  CHECK(mqttq_broker_create(&config, &out, &error) == MQTTQ_EINVAL);
}

}  // namespace mqttq::abi
