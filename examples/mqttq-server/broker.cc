#include "broker.h"

#include <fmt/format.h>

#include <set>

namespace mqttq::server {

namespace {

mqttq_bytes bytes_of(const std::string& text) { return {text.data(), text.size()}; }

// Fields of the library whose keys have other names.
struct Renamed {
  std::string_view field, key;
};
constexpr Renamed kRenamed[] = {{"response_information", "protocol.response_information"}, {"group", "name"}};

// text: the library's. Where it begins with a field's name, the message begins with the place of that key in the file.
[[noreturn]] void refuse(const Options& options, std::string_view owner, mqttq_status status, std::string_view text) {
  const bool of_file = status == MQTTQ_EINVAL || (!owner.empty() && (status == MQTTQ_EEXIST || status == MQTTQ_EFULL));
  if (!of_file) throw std::runtime_error(fmt::format("cannot make a broker: {}", text));
  const size_t colon = text.find(": ");
  std::string_view field = text.substr(0, colon);
  for (const Renamed& one : kRenamed) {
    if (one.field == field) field = one.key;
  }
  const std::string key = owner.empty() ? std::string(field) : fmt::format("{}.{}", owner, field);
  if (colon != std::string_view::npos && options.places.contains(key)) {
    throw OptionError(fmt::format("{}{}", options.place_of(key), text.substr(colon)));
  }
  throw OptionError(owner.empty() ? std::string(text) : fmt::format("{}: {}", options.place_of(owner), text));
}

// Makes a call of the library, and throws if it fails. owner: the array's element that it is about, such as
// "rewrites[0]"; empty if it is about none.
template <class Call>
void check(const Options& options, std::string_view owner, Call&& call) {
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  const mqttq_status status = call(&error);
  if (status != MQTTQ_OK) refuse(options, owner, status, error.text);
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
  if (!options.data_dir.empty()) config.data_dir = options.data_dir.c_str();
  config.durability = options.durability;
  config.durability_interval_ms = options.durability_interval_ms;
  if (!options.response_information.empty()) config.response_information = options.response_information.c_str();
  mqttq_broker* made = nullptr;
  check(options, "", [&](mqttq_error* error) { return mqttq_broker_create(&config, &made, error); });
  return BrokerHandle(made);
}

void set_shared_strategies(mqttq_broker& broker, const Options& options) {
  check(options, "", [&](mqttq_error* error) {
    return mqttq_broker_set_shared_strategy(&broker, nullptr, {}, options.shared_strategy, error);
  });
  for (size_t i = 0; i < options.groups.size(); ++i) {
    const GroupOptions& group = options.groups[i];
    check(options, fmt::format("shared_subscriptions.groups[{}]", i), [&](mqttq_error* error) {
      return mqttq_broker_set_shared_strategy(&broker, nullptr, bytes_of(group.name), group.strategy, error);
    });
  }
}

void add_rewrites(mqttq_broker& broker, const Options& options) {
  for (size_t i = 0; i < options.rewrites.size(); ++i) {
    const RewriteOptions& wanted = options.rewrites[i];
    mqttq_rewrite rewrite;
    mqttq_rewrite_init(&rewrite, sizeof rewrite);
    rewrite.actions = wanted.actions;
    rewrite.from = bytes_of(wanted.from);
    rewrite.to = bytes_of(wanted.to);
    check(options, fmt::format("rewrites[{}]", i),
          [&](mqttq_error* error) { return mqttq_broker_add_rewrite(&broker, &rewrite, error); });
  }
}

void add_auto_subscriptions(mqttq_broker& broker, const Options& options) {
  for (size_t i = 0; i < options.auto_subscriptions.size(); ++i) {
    const AutoSubscriptionOptions& wanted = options.auto_subscriptions[i];
    mqttq_auto_subscription subscription;
    mqttq_auto_subscription_init(&subscription, sizeof subscription);
    subscription.topic_filter = bytes_of(wanted.topic_filter);
    subscription.qos = static_cast<uint8_t>(wanted.qos);
    subscription.no_local = wanted.no_local;
    subscription.retain_as_published = wanted.retain_as_published;
    subscription.retain_handling = wanted.retained ? MQTTQ_RETAINED_SEND : MQTTQ_RETAINED_DO_NOT_SEND;
    check(options, fmt::format("auto_subscriptions[{}]", i),
          [&](mqttq_error* error) { return mqttq_broker_add_auto_subscription(&broker, &subscription, error); });
  }
}

// 0 of the file is no bound.
mqttq_queue_config queue_config(const QueueOptions& options) {
  mqttq_queue_config config;
  mqttq_queue_config_init(&config, sizeof config);
  config.topic_filter = bytes_of(options.topic_filter);
  config.dead_letter_topic = bytes_of(options.dead_letter_topic);
  config.dispatch = options.dispatch;
  config.overflow = options.overflow;
  config.exclusive = options.exclusive;
  config.key = bytes_of(options.key);
  config.keyless = options.keyless;
  config.last_value = options.last_value;
  config.messages_max = options.messages_max ? options.messages_max : MQTTQ_QUEUE_UNLIMITED;
  config.bytes_max = options.bytes_max ? options.bytes_max : MQTTQ_QUEUE_UNLIMITED;
  config.age_max_s = options.age_max_s ? options.age_max_s : MQTTQ_QUEUE_NEVER;
  config.redelivery_delay_ms = options.redelivery_delay_ms;
  config.ack_timeout_ms = options.ack_timeout_ms;
  config.deliveries_max = options.deliveries_max;
  return config;
}

void set_queue_policy(mqttq_broker& broker, const Options& options) {
  const mqttq_queue_config auto_config = queue_config(options.auto_queue);
  mqttq_queue_policy policy;
  mqttq_queue_policy_init(&policy, sizeof policy);
  policy.auto_create = options.auto_create_queues;
  policy.count_max = options.queues_max;
  policy.disconnect_on_delete = kQueueEnds[options.queue_end] == "disconnect";
  policy.auto_config = &auto_config;
  check(options, "queues", [&](mqttq_error* error) { return mqttq_broker_set_queue_policy(&broker, &policy, error); });
}

mqttq_stream_config stream_config(const StreamOptions& options) {
  mqttq_stream_config config;
  mqttq_stream_config_init(&config, sizeof config);
  config.topic_filter = bytes_of(options.topic_filter);
  config.key = bytes_of(options.key);
  config.messages_max = options.messages_max;
  config.bytes_max = options.bytes_max;
  config.age_max_s = options.age_max_s ? options.age_max_s : MQTTQ_STREAM_FOREVER;
  config.last_value = options.last_value;
  return config;
}

void set_stream_policy(mqttq_broker& broker, const Options& options) {
  const mqttq_stream_config auto_config = stream_config(options.auto_stream);
  mqttq_stream_policy policy;
  mqttq_stream_policy_init(&policy, sizeof policy);
  policy.auto_create = options.auto_create_streams;
  policy.count_max = options.streams_max;
  policy.disconnect_on_delete = kQueueEnds[options.stream_end] == "disconnect";
  policy.auto_config = &auto_config;
  check(options, "streams",
        [&](mqttq_error* error) { return mqttq_broker_set_stream_policy(&broker, &policy, error); });
}

// Those of one kind, "queue" or "stream": of a broker that runs, and has no listeners yet; or of one that is not to
// run, where they are judged.
template <class Wanted, class Declare>
void declare_all(const Options& options, std::string_view kind, const std::vector<Wanted>& all, uint32_t count_max,
                 Declare&& declare) {
  if (all.size() > count_max) {
    throw OptionError(fmt::format("{}: {} {}s, which are more than {}s.count_max",
                                  options.place_of(fmt::format("{}s.declared", kind)), all.size(), kind, kind));
  }
  std::set<std::string_view> names;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string owner = fmt::format("{}s.declared[{}]", kind, i);
    if (!names.insert(all[i].name).second) {
      throw OptionError(fmt::format("{}: another {} has this name", options.place_of(owner + ".name"), kind));
    }
    check(options, owner, [&](mqttq_error* error) {
      const mqttq_status status = declare(all[i], error);
      return status == MQTTQ_ESTATE ? MQTTQ_OK : status;
    });
  }
}

void declare_queues_and_streams(mqttq_broker& broker, const Options& options) {
  declare_all(options, "queue", options.queues, options.queues_max, [&](const QueueOptions& one, mqttq_error* error) {
    mqttq_queue_config config = queue_config(one);
    config.no_wait = 1;  // nobody is told that it is there
    return mqttq_queue_declare(&broker, nullptr, bytes_of(one.name), &config, error);
  });
  declare_all(options, "stream", options.streams, options.streams_max,
              [&](const StreamOptions& one, mqttq_error* error) {
                mqttq_stream_config config = stream_config(one);
                config.no_wait = 1;
                return mqttq_stream_declare(&broker, nullptr, bytes_of(one.name), &config, error);
              });
}

BrokerHandle make_broker(const Options& options, Log& log) {
  BrokerHandle broker = create_broker(options, log);
  set_shared_strategies(*broker, options);
  add_rewrites(*broker, options);
  add_auto_subscriptions(*broker, options);
  set_queue_policy(*broker, options);
  set_stream_policy(*broker, options);
  return broker;
}

BrokerHandle start_empty(const Options& options, Log& log) {
  BrokerHandle broker = make_broker(options, log);
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  if (mqttq_broker_start(broker.get(), &error) != MQTTQ_OK) {
    throw std::runtime_error(fmt::format("cannot start: {}", error.text));
  }
  return broker;
}

}  // namespace

void judge_broker(Options options, Log& log) {
  options.data_dir.clear();  // of a broker that runs, perhaps
  declare_queues_and_streams(*make_broker(options, log), options);
}

BrokerHandle start_broker(const Options& options, Log& log) {
  BrokerHandle broker = start_empty(options, log);
  declare_queues_and_streams(*broker, options);
  return broker;
}

}  // namespace mqttq::server
