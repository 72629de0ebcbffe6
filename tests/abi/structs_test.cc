// What STYLE section 3 asks of structs, errors and handles, of every object alike.
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstring>

#include "host.h"

using namespace mqttq::abi;

namespace {

// A host that was compiled against newer headers: our struct with a tail that we do not know.
template <class T>
struct Longer {
  T known;
  unsigned char tail[24];
};

template <class T>
Longer<T> longer(const T& known) {
  Longer<T> made{known, {}};
  made.known.size = sizeof made;
  return made;
}

// Creates and ends a broker; the status is what a test wants to see.
mqttq_status create(const mqttq_broker_config* config, mqttq_error* error = nullptr) {
  mqttq_broker* broker = nullptr;
  const mqttq_status status = mqttq_broker_create(config, &broker, error);
  CHECK((broker != nullptr) == (status == MQTTQ_OK));
  mqttq_broker_destroy(broker);
  return status;
}

}  // namespace

TEST_CASE("_init zeroes a struct as far as the host has it, and sets its size", "[abi]") {
  unsigned char memory[sizeof(mqttq_listener_config) + 8];
  std::memset(memory, 0xAA, sizeof memory);
  auto* config = reinterpret_cast<mqttq_listener_config*>(memory);
  mqttq_listener_config_init(config, sizeof *config);
  CHECK(config->size == sizeof *config);
  CHECK(config->address == nullptr);
  CHECK(config->connect_timeout_ms == 0);
  CHECK(memory[sizeof *config] == 0xAA);

  std::memset(memory, 0xAA, sizeof memory);
  const size_t older = offsetof(mqttq_listener_config, packet_size_max);
  mqttq_listener_config_init(config, older);
  CHECK(config->size == older);
  CHECK(config->ns == nullptr);
  CHECK(memory[older] == 0xAA);
  mqttq_listener_config_init(nullptr, sizeof *config);
}

TEST_CASE("a struct of an older host ends earlier, and what it lacks is the default", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  config.host_loop = 7;  // behind what this host knows, so it is not read
  mqttq_limits limits = make_limits();
  limits.receive_maximum = UINT32_MAX;
  config.limits = &limits;
  config.size = offsetof(mqttq_broker_config, host_loop);
  mqttq_broker* broker = nullptr;
  REQUIRE(mqttq_broker_create(&config, &broker, nullptr) == MQTTQ_OK);
  CHECK(mqttq_broker_fd(broker) == -1);
  mqttq_broker_destroy(broker);
}

TEST_CASE("a struct of a newer host is taken when its tail is 0, and refused when it asks for more", "[abi]") {
  auto config = longer(broker_config());
  config.known.shards = 1;
  CHECK(create(&config.known) == MQTTQ_OK);
  for (const size_t place : {size_t{0}, sizeof config.tail - 1}) {
    config.tail[place] = 1;
    mqttq_error error = make_error();
    CHECK(create(&config.known, &error) == MQTTQ_EINVAL);
    CHECK(error.status == MQTTQ_EINVAL);
    CHECK(std::strlen(error.text) > 0);
    config.tail[place] = 0;
  }
}

TEST_CASE("the limits of a broker's config follow the same rule", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  auto newer = longer(make_limits());
  config.limits = &newer.known;
  CHECK(create(&config) == MQTTQ_OK);
  newer.tail[0] = 1;
  CHECK(create(&config) == MQTTQ_EINVAL);

  mqttq_limits older = make_limits();
  older.size = offsetof(mqttq_limits, receive_maximum);
  older.receive_maximum = UINT32_MAX;  // not read
  config.limits = &older;
  CHECK(create(&config) == MQTTQ_OK);
  older.size = sizeof older;
  CHECK(create(&config) == MQTTQ_EINVAL);
}

TEST_CASE("a struct without a size is refused, as it was not initialised", "[abi]") {
  mqttq_broker_config config{};
  config.shards = 1;
  CHECK(create(&config) == MQTTQ_EINVAL);

  Host host;
  host.start();
  mqttq_listener_config listener{};
  listener.address = "127.0.0.1:0";
  mqttq_listener* opened = nullptr;
  CHECK(mqttq_listener_open(host.get(), &listener, &opened, nullptr) == MQTTQ_EINVAL);
  mqttq_message_config message{};
  message.topic = bytes("a");
  mqttq_message* made = nullptr;
  CHECK(mqttq_message_create(&message, &made, nullptr) == MQTTQ_EINVAL);
  mqttq_events_config events{};
  mqttq_events* ring = nullptr;
  CHECK(mqttq_events_open(host.get(), &events, &ring, nullptr) == MQTTQ_EINVAL);
  CHECK(opened == nullptr);
  CHECK(made == nullptr);
  CHECK(ring == nullptr);
}

TEST_CASE("longer configs of listeners, messages, events and subscribers are judged by their tail", "[abi]") {
  Host host;
  host.start();
  mqttq_events* events = host.open_events();

  auto listener = longer(listener_config());
  listener.known.address = "127.0.0.1:0";
  auto message = longer(message_config());
  message.known.topic = bytes("a");
  auto ring = longer(events_config());
  auto subscriber = longer(subscriber_config());
  subscriber.known.topic_filter = bytes("#");
  subscriber.known.events = events;

  mqttq_listener* opened = nullptr;
  mqttq_message* made = nullptr;
  mqttq_events* rung = nullptr;
  mqttq_subscriber* subscribed = nullptr;
  for (const unsigned char tail : {1, 0}) {
    listener.tail[3] = message.tail[3] = ring.tail[3] = subscriber.tail[3] = tail;
    const mqttq_status expected = tail ? MQTTQ_EINVAL : MQTTQ_OK;
    CHECK(mqttq_listener_open(host.get(), &listener.known, &opened, nullptr) == expected);
    CHECK(mqttq_message_create(&message.known, &made, nullptr) == expected);
    CHECK(mqttq_events_open(host.get(), &ring.known, &rung, nullptr) == expected);
    CHECK(mqttq_subscriber_open(host.get(), &subscriber.known, &subscribed, nullptr) == expected);
  }
  mqttq_listener_close(opened);
  mqttq_message_release(made);
  mqttq_subscriber_close(subscribed);
  mqttq_broker_stop(host.get());
  mqttq_events_close(rung);
}

TEST_CASE("everything that ends an object takes NULL", "[abi]") {
  mqttq_broker_stop(nullptr);
  mqttq_broker_destroy(nullptr);
  mqttq_listener_close(nullptr);
  mqttq_message_release(nullptr);
  mqttq_events_close(nullptr);
  mqttq_subscriber_close(nullptr);
  mqttq_routes_free(nullptr);
  mqttq_clients_free(nullptr);
  CHECK(std::strcmp(mqttq_namespace_name(nullptr), "") == 0);
}

TEST_CASE("an error is filled with status, text and errno, and is not needed", "[abi]") {
  Host host;
  host.start();
  const std::string taken = host.listen();
  mqttq_listener_config config = listener_config();
  config.address = taken.c_str();
  mqttq_error error = make_error();
  auto* const untouched = reinterpret_cast<mqttq_listener*>(&config);
  mqttq_listener* out = untouched;
  CHECK(mqttq_listener_open(host.get(), &config, &out, &error) == MQTTQ_EADDRINUSE);
  CHECK(error.status == MQTTQ_EADDRINUSE);
  CHECK(error.system_error == EADDRINUSE);
  CHECK(std::string(error.text).find(taken) != std::string::npos);
  CHECK(out == untouched);
  CHECK(mqttq_listener_open(host.get(), &config, &out, nullptr) == MQTTQ_EADDRINUSE);

  config.address = "127.0.0.1";
  CHECK(mqttq_listener_open(host.get(), &config, &out, &error) == MQTTQ_EINVAL);
  CHECK(std::string(error.text).find("127.0.0.1") != std::string::npos);
}

TEST_CASE("a text longer than an error has room for is cut and still ends", "[abi]") {
  Host host;
  host.start();
  const std::string address(600, 'x');
  mqttq_listener_config config = listener_config();
  config.address = address.c_str();
  mqttq_error error = make_error();
  mqttq_listener* out = nullptr;
  CHECK(mqttq_listener_open(host.get(), &config, &out, &error) == MQTTQ_EINVAL);
  CHECK(std::memchr(error.text, 0, sizeof error.text) == error.text + sizeof error.text - 1);
}

TEST_CASE("an error of an older host is filled as far as it reaches", "[abi]") {
  mqttq_error error = make_error();
  std::memset(error.text, 'y', sizeof error.text);
  error.size = offsetof(mqttq_error, text) + 8;
  mqttq_broker_config config{};
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  CHECK(error.status == MQTTQ_EINVAL);
  CHECK(std::strlen(error.text) == 7);
  CHECK(error.text[8] == 'y');
  error.size = offsetof(mqttq_error, system_error);
  error.status = MQTTQ_OK;
  error.system_error = 77;
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  CHECK(error.status == MQTTQ_EINVAL);
  CHECK(error.system_error == 77);
}

TEST_CASE("an error that was never initialised is left alone", "[abi]") {
  mqttq_error error;
  std::memset(&error, 0, sizeof error);
  mqttq_broker_config config{};
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  CHECK(error.status == MQTTQ_OK);
}

TEST_CASE("every status and every reason code has a text", "[abi]") {
  CHECK(std::string(mqttq_status_text(MQTTQ_OK)) == "MQTTQ_OK");
  CHECK(std::string(mqttq_status_text(MQTTQ_EADDRINUSE)) == "MQTTQ_EADDRINUSE");
  CHECK(std::string(mqttq_status_text(MQTTQ_EUNSUPPORTED)) == "MQTTQ_EUNSUPPORTED");
  CHECK(std::string(mqttq_status_text(MQTTQ_EUNSUPPORTED - 1)) == "unknown status");
  CHECK(std::string(mqttq_status_text(1)) == "unknown status");
  CHECK(std::string(mqttq_status_text(INT32_MIN)) == "unknown status");
  CHECK(std::string(mqttq_reason_code_text(0x8E)) == "session taken over");
  for (int code = 0; code < 256; ++code) {
    CHECK(std::strlen(mqttq_reason_code_text(static_cast<mqttq_reason_code>(code))) > 0);
  }
}

TEST_CASE("limits beyond what MQTT can say are refused by name", "[abi]") {
  mqttq_broker_config config = broker_config();
  config.shards = 1;
  mqttq_error error = make_error();
  mqttq_limits limits = make_limits();
  config.limits = &limits;
  limits.receive_maximum = 65'536;
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  CHECK(std::string(error.text).find("receive_maximum") != std::string::npos);
  limits.receive_maximum = 65'535;
  CHECK(create(&config, &error) == MQTTQ_OK);
  limits.packet_size_max = 268'435'456;
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  limits.packet_size_max = 0;
  config.shards = 64;
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
  config.shards = 2;
  config.host_loop = 1;
  CHECK(create(&config, &error) == MQTTQ_EINVAL);
}
