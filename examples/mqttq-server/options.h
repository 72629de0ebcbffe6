// What mqttq-server is asked to do: by its flags, its configuration file, and the defaults, in this order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "mqttq/mqttq.h"

namespace mqttq::server {

// The flags or the configuration are wrong. The text is the one message, with its place and what was expected.
struct OptionError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Names of choices, in the order of their values.
inline constexpr std::string_view kLogLevels[] = {"error", "warning", "notice", "info", "debug"};  // MQTTQ_LOG_... - 1
inline constexpr std::string_view kLogFormats[] = {"text", "json"};

inline constexpr std::string_view kDurabilities[] = {"always", "interval", "none"};  // MQTTQ_DURABILITY_...
inline constexpr std::string_view kSharedStrategies[] = {"round_robin", "random",         "least_inflight",
                                                         "sticky",      "hash_client_id", "hash_topic"};
inline constexpr std::string_view kQueueDispatches[] = {"round_robin", "random", "least_inflight",
                                                        "key_ordered"};                          // MQTTQ_QUEUE_...
inline constexpr std::string_view kQueueOverflows[] = {"drop_oldest", "drop_newest", "reject"};  // MQTTQ_QUEUE_...
inline constexpr std::string_view kQueueKeyless[] = {"take", "drop", "reject"};  // MQTTQ_QUEUE_KEYLESS_...
inline constexpr std::string_view kQueueEnds[] = {"unsubscribe", "disconnect"};
// Of queues that have no key.
inline constexpr std::span<const std::string_view> kAutoQueueDispatches =
    std::span(kQueueDispatches).first(std::size(kQueueDispatches) - 1);
inline constexpr std::string_view kRewriteActions[] = {"all", "publish", "subscribe"};  // mqttq_rewrite.actions

struct LogFormat {
  static constexpr uint8_t kText = 0;
  static constexpr uint8_t kJson = 1;
};

struct ListenerOptions {
  std::string url;
  uint32_t packet_size_max = 0;     // bytes; 0 = that of limits
  uint32_t connect_timeout_ms = 0;  // 0 = that of limits

  bool operator==(const ListenerOptions&) const = default;
};

struct GroupOptions {
  std::string name;
  uint8_t strategy = 0;  // MQTTQ_SHARED_…

  bool operator==(const GroupOptions&) const = default;
};

struct RewriteOptions {
  std::string from, to;
  uint8_t actions = 0;  // index in kRewriteActions

  bool operator==(const RewriteOptions&) const = default;
};

struct AutoSubscriptionOptions {
  std::string topic_filter;
  uint32_t qos = 0;
  bool no_local = false, retain_as_published = false;
  bool retained = true;

  bool operator==(const AutoSubscriptionOptions&) const = default;
};

// Where the file has 0 for no bound, the library is told so by another number.
// As a queue's, 0 is no bound.
struct StreamOptions {
  std::string name;
  std::string topic_filter;
  std::string key;
  uint64_t messages_max = 0;
  uint64_t bytes_max = 0;
  uint32_t age_max_s = 604'800;
  bool last_value = false;

  bool operator==(const StreamOptions&) const = default;
};

struct QueueOptions {
  std::string name, topic_filter, dead_letter_topic, key;  // of one that is declared
  uint8_t keyless = 0;                                     // MQTTQ_QUEUE_KEYLESS_…
  bool last_value = false;
  uint8_t dispatch = 0, overflow = 0;  // MQTTQ_QUEUE_…
  bool exclusive = false;
  uint64_t messages_max = 1'000'000, bytes_max = 1'073'741'824;
  uint32_t age_max_s = 604'800;
  uint32_t redelivery_delay_ms = 100;
  uint32_t ack_timeout_ms = 0, deliveries_max = 0;

  bool operator==(const QueueOptions&) const = default;
};

struct Options {
  std::vector<ListenerOptions> listeners;
  bool allow_anonymous = false;
  std::string data_dir;    // empty: all is kept in memory
  uint8_t durability = 0;  // MQTTQ_DURABILITY_…
  uint32_t durability_interval_ms = 1000;
  uint32_t shards = 0;    // 0 = one per core
  uint8_t log_level = 2;  // index in kLogLevels
  uint8_t log_format = LogFormat::kText;
  bool retain = true, wildcard_subscriptions = true, shared_subscriptions = true, subscription_identifiers = true;
  bool exclusive_subscriptions = false;
  std::string response_information;  // empty: none
  uint8_t shared_strategy = 0;       // MQTTQ_SHARED_…
  std::vector<GroupOptions> groups;
  std::vector<RewriteOptions> rewrites;
  std::vector<AutoSubscriptionOptions> auto_subscriptions;
  std::vector<StreamOptions> streams;
  StreamOptions auto_stream;  // of those that clients declare
  bool auto_create_streams = false;
  uint32_t streams_max = 10'000;
  uint8_t stream_end = 0;  // index in kQueueEnds
  std::vector<QueueOptions> queues;
  QueueOptions auto_queue;  // of those that clients declare
  bool auto_create_queues = false;
  uint32_t queues_max = 100'000;
  uint8_t queue_end = 0;  // index in kQueueEnds
  mqttq_limits limits = {};
  uint32_t sys_interval_s = 0;  // as mqttq_broker_config.sys_interval_s
  bool client_events = false;

  // Where the file has its keys, and the elements of its arrays: "rewrites[0].to" is at "mqttq.json:12".
  std::map<std::string, std::string, std::less<>> places;
  // How a message about `key` begins: "mqttq.json:12: rewrites[0].to"; without the place if the file has no such key.
  std::string place_of(std::string_view key) const;
};

enum class Action { Serve, BackUp, CheckConfig, PrintVersion, PrintHelp, PrintConfigSchema, PrintConfigKeys };

struct Flags {
  Action action = Action::Serve;
  std::optional<std::string> config;
  std::vector<std::string> listen;
  bool allow_anonymous = false;
  std::optional<std::string> data_dir;
  std::string backup;  // of Action::BackUp: where it is made
  std::optional<uint32_t> shards;
  std::optional<uint8_t> log_level;
  std::optional<uint8_t> log_format;
};

// Reads the words after the program's name. Throws OptionError.
Flags parse_flags(int argc, const char* const* argv);

// Reads the file that the flags name, lays the flags over it, and checks what only the whole can show. Throws
// OptionError; called again for each reload.
Options resolve(const Flags& flags);

// The text of --help.
std::string help_text();

// The one of `known` that `given` was probably meant to be; empty if none is near.
std::string_view nearest(std::string_view given, const std::vector<std::string_view>& known);

}  // namespace mqttq::server
