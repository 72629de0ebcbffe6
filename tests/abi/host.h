// A host in a test: a broker with all that was opened from it, ended in the order that the headers ask for.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mqttq/mqttq.h"
#include "wire_client.h"

namespace mqttq::abi {

// The structs of the ABI, initialised as a host does it.
template <class T>
T make(void (*init)(T*, size_t)) {
  T made;
  init(&made, sizeof made);
  return made;
}
inline mqttq_broker_config broker_config() { return make(mqttq_broker_config_init); }
inline mqttq_limits make_limits() { return make(mqttq_limits_init); }
inline mqttq_listener_config listener_config() { return make(mqttq_listener_config_init); }
inline mqttq_message_config message_config() { return make(mqttq_message_config_init); }
inline mqttq_events_config events_config() { return make(mqttq_events_config_init); }
inline mqttq_subscriber_config subscriber_config() { return make(mqttq_subscriber_config_init); }
inline mqttq_auth_answer auth_answer() { return make(mqttq_auth_answer_init); }
inline mqttq_error make_error() { return make(mqttq_error_init); }

inline mqttq_bytes bytes(std::string_view text) { return {text.data(), text.size()}; }
inline std::string text(mqttq_bytes bytes) { return {static_cast<const char*>(bytes.data), bytes.size}; }

struct Release {
  void operator()(mqttq_message* message) const { mqttq_message_release(message); }
};
using MessagePtr = std::unique_ptr<mqttq_message, Release>;
MessagePtr make_message(std::string_view topic, std::string_view payload, uint8_t qos = 0, bool retain = false,
                        mqttq_namespace* ns = nullptr);

// An event with copies of what its pointers named; a message is held.
struct Taken {
  mqttq_event event{};
  std::string namespace_name, client_id, user_name, password, address, topic, payload, auth_method, auth_data;
  MessagePtr message;
};

// Every function that opens something throws std::runtime_error with the library's text when that fails.
class Host {
 public:
  explicit Host(mqttq_broker_config config);
  // shards: threads.
  explicit Host(uint32_t shards = 1);
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  mqttq_broker* get() const { return broker_; }
  void start();
  mqttq_events* open_events(uint32_t capacity = 0);
  mqttq_events* open_events(uint32_t mode, mqttq_event_fn on_event, void* user);
  // Returns the address with the port that was free.
  std::string listen(mqttq_namespace* ns = nullptr, uint32_t connect_timeout_ms = 0);
  // The same for WebSockets. path: NULL = the default.
  std::string listen_websocket(const char* path = nullptr, uint32_t connect_timeout_ms = 0);
  mqttq_subscriber* subscribe(std::string_view topic_filter, mqttq_events* events, uint8_t qos = 1,
                              bool answers = false, mqttq_namespace* ns = nullptr, void* user = nullptr);
  void close(mqttq_subscriber* subscriber);
  void publish(std::string_view topic, std::string_view payload, uint8_t qos = 0, bool retain = false,
               mqttq_namespace* ns = nullptr);
  mqttq_namespace* open_namespace(std::string_view name);
  uint64_t counter(std::string_view name) const;
  // The client ids of a namespace, in the order listed; waits for every shard.
  std::vector<std::string> client_ids(mqttq_namespace* ns = nullptr, size_t page = 0) const;
  // Returns when all that was asked of the broker's only shard so far is done.
  void settle() const { static_cast<void>(client_ids()); }
  // Stops and ends everything; the destructor does what is left.
  void end();

 private:
  void good(mqttq_status status) const;
  std::string open_listener(const mqttq_listener_config& config);

  mqttq_broker* broker_ = nullptr;
  mutable mqttq_error error_ = make_error();
  std::vector<mqttq_events*> events_;
  std::vector<mqttq_listener*> listeners_;
  std::vector<mqttq_subscriber*> subscribers_;
};

// The next event; throws when none comes in time.
Taken take_one(mqttq_events* events);
// Returns when an event waits, without taking it.
void wait_for_event(mqttq_events* events);
// True if no event waits now.
bool is_empty(mqttq_events* events);

}  // namespace mqttq::abi
