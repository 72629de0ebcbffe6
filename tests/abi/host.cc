// What the tests' host does by the C ABI alone.
#include "host.h"

#include <poll.h>

#include <algorithm>
#include <stdexcept>

namespace mqttq::abi {

MessagePtr make_message(std::string_view topic, std::string_view payload, uint8_t qos, bool retain,
                        mqttq_namespace* ns) {
  mqttq_message_config config = message_config();
  config.ns = ns;
  config.topic = bytes(topic);
  config.payload = bytes(payload);
  config.qos = qos;
  config.retain = retain;
  mqttq_error error = make_error();
  mqttq_message* message = nullptr;
  if (mqttq_message_create(&config, &message, &error) != MQTTQ_OK) throw std::runtime_error(error.text);
  return MessagePtr(message);
}

Host::Host(mqttq_broker_config config) { good(mqttq_broker_create(&config, &broker_, &error_)); }

Host::Host(uint32_t shards) {
  mqttq_broker_config config = broker_config();
  config.shards = shards;
  good(mqttq_broker_create(&config, &broker_, &error_));
}

Host::~Host() { end(); }

void Host::good(mqttq_status status) const {
  if (status != MQTTQ_OK) throw std::runtime_error(std::string(mqttq_status_text(status)) + ": " + error_.text);
}

void Host::start() { good(mqttq_broker_start(broker_, &error_)); }

mqttq_events* Host::open_events(uint32_t capacity) {
  mqttq_events_config config = events_config();
  config.capacity = capacity;
  mqttq_events* events = nullptr;
  good(mqttq_events_open(broker_, &config, &events, &error_));
  events_.push_back(events);
  return events;
}

mqttq_events* Host::open_events(uint32_t mode, mqttq_event_fn on_event, void* user) {
  mqttq_events_config config = events_config();
  config.mode = mode;
  config.on_event = on_event;
  config.user = user;
  mqttq_events* events = nullptr;
  good(mqttq_events_open(broker_, &config, &events, &error_));
  events_.push_back(events);
  return events;
}

std::string Host::listen(mqttq_namespace* ns, uint32_t connect_timeout_ms) {
  mqttq_listener_config config = listener_config();
  config.address = "127.0.0.1:0";
  config.ns = ns;
  config.connect_timeout_ms = connect_timeout_ms;
  return open_listener(config);
}

std::string Host::listen_websocket(const char* path, uint32_t connect_timeout_ms) {
  mqttq_listener_config config = listener_config();
  config.address = "127.0.0.1:0";
  config.connect_timeout_ms = connect_timeout_ms;
  config.transport = MQTTQ_TRANSPORT_WEBSOCKET;
  config.path = path;
  return open_listener(config);
}

std::string Host::open_listener(const mqttq_listener_config& config) {
  mqttq_listener* listener = nullptr;
  good(mqttq_listener_open(broker_, &config, &listener, &error_));
  listeners_.push_back(listener);
  return mqttq_listener_address(listener);
}

mqttq_subscriber* Host::subscribe(std::string_view topic_filter, mqttq_events* events, uint8_t qos, bool answers,
                                  mqttq_namespace* ns, void* user) {
  mqttq_subscriber_config config = subscriber_config();
  config.ns = ns;
  config.topic_filter = bytes(topic_filter);
  config.events = events;
  config.user = user;
  config.qos = qos;
  config.answers = answers;
  mqttq_subscriber* subscriber = nullptr;
  good(mqttq_subscriber_open(broker_, &config, &subscriber, &error_));
  subscribers_.push_back(subscriber);
  return subscriber;
}

void Host::close(mqttq_subscriber* subscriber) {
  std::erase(subscribers_, subscriber);
  mqttq_subscriber_close(subscriber);
}

void Host::publish(std::string_view topic, std::string_view payload, uint8_t qos, bool retain, mqttq_namespace* ns) {
  const MessagePtr message = make_message(topic, payload, qos, retain, ns);
  good(mqttq_publish(broker_, message.get(), &error_));
}

mqttq_namespace* Host::open_namespace(std::string_view name) {
  mqttq_namespace* ns = nullptr;
  good(mqttq_namespace_open(broker_, name.data(), name.size(), &ns, &error_));
  return ns;
}

uint64_t Host::counter(std::string_view name) const {
  std::vector<mqttq_counter> counters(mqttq_broker_counters(broker_, nullptr, 0));
  mqttq_broker_counters(broker_, counters.data(), counters.size());
  for (const mqttq_counter& counter : counters) {
    if (counter.name == name) return counter.value;
  }
  throw std::runtime_error("no counter " + std::string(name));
}

std::vector<std::string> Host::client_ids(mqttq_namespace* ns, size_t page) const {
  std::vector<std::string> found;
  uint64_t cursor = 0;
  do {
    mqttq_clients* clients = nullptr;
    good(mqttq_clients_list(broker_, ns, {}, &cursor, page, &clients, &error_));
    if (page && mqttq_clients_count(clients) > page) throw std::runtime_error("a page is longer than asked for");
    for (size_t i = 0; i < mqttq_clients_count(clients); ++i) {
      found.push_back(text(mqttq_clients_get(clients, i).client_id));
    }
    mqttq_clients_free(clients);
  } while (cursor);
  return found;
}

void Host::end() {
  for (mqttq_listener* listener : listeners_) mqttq_listener_close(listener);
  for (mqttq_subscriber* subscriber : subscribers_) mqttq_subscriber_close(subscriber);
  mqttq_broker_stop(broker_);
  for (mqttq_events* events : events_) mqttq_events_close(events);
  mqttq_broker_destroy(broker_);
  listeners_.clear();
  subscribers_.clear();
  events_.clear();
  broker_ = nullptr;
}

void wait_for_event(mqttq_events* events) {
  pollfd watched{mqttq_events_fd(events), POLLIN, 0};
  if (::poll(&watched, 1, kTimeoutMs) != 1) throw std::runtime_error("no event came in time");
}

Taken take_one(mqttq_events* events) {
  Taken taken;
  while (mqttq_events_take(events, &taken.event, 1) == 0) wait_for_event(events);
  const mqttq_event& event = taken.event;
  taken.namespace_name = event.namespace_name;
  taken.client_id = text(event.client_id);
  taken.user_name = text(event.user_name);
  taken.password = text(event.password);
  taken.address = text(event.address);
  taken.topic = text(event.topic);
  taken.auth_method = text(event.auth_method);
  taken.auth_data = text(event.auth_data);
  if (event.message) {
    taken.message.reset(mqttq_message_hold(event.message));
    taken.topic = text(mqttq_message_topic(event.message));
    taken.payload = text(mqttq_message_payload(event.message));
  }
  return taken;
}

bool is_empty(mqttq_events* events) {
  mqttq_event event;
  return mqttq_events_take(events, &event, 1) == 0;
}

}  // namespace mqttq::abi
