#include "broker.h"

#include <fmt/format.h>

namespace mqttq::server {

namespace {

// Fields of the library whose keys have other names.
struct Renamed {
  std::string_view field, key;
};
constexpr Renamed kRenamed[] = {{"response_information", "protocol.response_information"}};

// text: the library's. Where it begins with a field's name, the message begins with the place of that key in the file.
[[noreturn]] void refuse(const Options& options, mqttq_status status, std::string_view text) {
  if (status != MQTTQ_EINVAL) throw std::runtime_error(fmt::format("cannot make a broker: {}", text));
  const size_t colon = text.find(": ");
  std::string_view key = text.substr(0, colon);
  for (const Renamed& one : kRenamed) {
    if (one.field == key) key = one.key;
  }
  if (colon == std::string_view::npos || !options.places.contains(key)) throw OptionError(std::string(text));
  throw OptionError(fmt::format("{}{}", options.place_of(key), text.substr(colon)));
}

// Makes a call of the library, and throws if it fails.
template <class Call>
void check(const Options& options, Call&& call) {
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  const mqttq_status status = call(&error);
  if (status != MQTTQ_OK) refuse(options, status, error.text);
}

BrokerHandle create_broker(const Options& options, Log& log) {
  mqttq_broker_config config;
  mqttq_broker_config_init(&config, sizeof config);
  config.shards = options.shards;
  config.log = Log::on_library_line;
  config.log_user = &log;
  mqttq_limits limits = options.limits;
  limits.size = sizeof limits;
  config.limits = &limits;
  config.features_off = (options.retain ? 0 : MQTTQ_FEATURE_RETAIN) |
                        (options.wildcard_subscriptions ? 0 : MQTTQ_FEATURE_WILDCARD_SUBSCRIPTIONS) |
                        (options.shared_subscriptions ? 0 : MQTTQ_FEATURE_SHARED_SUBSCRIPTIONS) |
                        (options.subscription_identifiers ? 0 : MQTTQ_FEATURE_SUBSCRIPTION_IDENTIFIERS);
  config.exclusive_subscriptions = options.exclusive_subscriptions;
  config.sys_interval_s = options.sys_interval_s;
  config.client_events = options.client_events;
  if (!options.response_information.empty()) config.response_information = options.response_information.c_str();
  mqttq_broker* made = nullptr;
  check(options, [&](mqttq_error* error) { return mqttq_broker_create(&config, &made, error); });
  return BrokerHandle(made);
}

}  // namespace

BrokerHandle make_broker(const Options& options, Log& log) {
  BrokerHandle broker = create_broker(options, log);
  check(options, [&](mqttq_error* error) {
    return mqttq_broker_set_shared_strategy(broker.get(), nullptr, {}, options.shared_strategy, error);
  });
  return broker;
}

BrokerHandle start_broker(const Options& options, Log& log) {
  BrokerHandle broker = make_broker(options, log);
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  if (mqttq_broker_start(broker.get(), &error) != MQTTQ_OK) {
    throw std::runtime_error(fmt::format("cannot start: {}", error.text));
  }
  return broker;
}

}  // namespace mqttq::server
