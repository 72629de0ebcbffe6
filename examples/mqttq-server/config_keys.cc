#include "config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

namespace mqttq::server {

namespace {

constexpr uint32_t kPacketSizeMax = 268'435'455;  // what four bytes of Remaining Length can say (MQTT5 2.1.4)
constexpr uint32_t kAny = UINT32_MAX;
constexpr uint64_t kLargeMax = uint64_t{1} << 53;   // what every reader of JSON takes exactly
constexpr uint32_t kTextSizeMax = 65'535;           // of a string on the wire (MQTT5 1.5.4)
constexpr uint32_t kResponseInformationMax = 1024;  // mqttq_broker_config.response_information
constexpr uint32_t kGroupsMax = 1000;               // each new group looks through all of them
constexpr uint32_t kRewritesMax = 1000;             // mqttq_broker_add_rewrite()
constexpr uint32_t kAutoSubscriptionsMax = 100;     // mqttq_broker_add_auto_subscription()
constexpr uint32_t kQueuesDeclaredMax = 100'000;
constexpr uint32_t kStreamsDeclaredMax = 100'000;
constexpr uint32_t kQueueNameMax = 65'535;            // of "$q/FILTER"
constexpr uint32_t kDeliveriesMax = 65'535;           // mqttq_queue_config.deliveries_max
constexpr uint32_t kDelayedMessagesMax = 67'108'864;  // mqttq_limits.delayed_messages_max
constexpr uint32_t kDelayMax_s = 42'949'669;          // mqttq_limits.delay_max_s

template <auto elements>
constexpr Array array_of(uint32_t count_min, uint32_t count_max) {
  return {count_min, count_max,
          [](Options& options) {
            (options.*elements).emplace_back();
            return (options.*elements).size() - 1;
          },
          [](const Options& one, const Options& other) { return one.*elements == other.*elements; }};
}

// A member of an array's element.
template <auto elements, auto member>
auto& of_element(const Target& to) {
  return (to.options.*elements)[to.index].*member;
}

// Of a queue that the file declares, and of those that clients do.
template <auto member>
auto& of_auto_queue(const Target& to) {
  return to.options.auto_queue.*member;
}
#define MQTTQ_QUEUE_KEYS(path, of, dispatches)                                                                 \
  {path ".dispatch", Choice{dispatches, of<&QueueOptions::dispatch>}, "", "\"round_robin\"",                   \
   "How the consumer is chosen that gets a message"},                                                          \
      {path ".exclusive", Switch{of<&QueueOptions::exclusive>}, "", "false",                                   \
       "Whether one consumer at a time has the queue, while the others stand by"},                             \
      {path ".overflow", Choice{kQueueOverflows, of<&QueueOptions::overflow>}, "", "\"drop_oldest\"",          \
       "What becomes of a message for which there is no room; with `reject` its publisher is told"},           \
      {path ".messages_max", Large{0, kLargeMax, of<&QueueOptions::messages_max>}, "messages", "1000000",      \
       "Messages that wait or are in flight; 0: no bound"},                                                    \
      {path ".bytes_max", Large{0, kLargeMax, of<&QueueOptions::bytes_max>}, "bytes", "1073741824",            \
       "Bytes of these; 0: no bound"},                                                                         \
      {path ".age_max_s", Whole{0, kAny - 1, of<&QueueOptions::age_max_s>}, "s", "604800",                     \
       "For which a message may wait; 0: no bound"},                                                           \
      {path ".redelivery_delay_ms", Whole{1, kAny, of<&QueueOptions::redelivery_delay_ms>}, "ms", "100",       \
       "Before who rejected a message gets it again; others get it at once"},                                  \
      {path ".ack_timeout_ms", Whole{0, kAny, of<&QueueOptions::ack_timeout_ms>}, "ms", "0",                   \
       "After which an unacknowledged message is another's; 0: never"},                                        \
      {path ".deliveries_max", Whole{0, kDeliveriesMax, of<&QueueOptions::deliveries_max>}, "deliveries", "0", \
       "Of one message, which is then a dead letter; 0: no bound"}

template <auto member>
auto& of_queue(const Target& to) {
  return of_element<&Options::queues, member>(to);
}

// The same of streams.
template <auto member>
auto& of_auto_stream(const Target& to) {
  return to.options.auto_stream.*member;
}
template <auto member>
auto& of_stream(const Target& to) {
  return of_element<&Options::streams, member>(to);
}
#define MQTTQ_STREAM_KEYS(path, of)                                                              \
  {path ".messages_max", Large{0, kLargeMax, of<&StreamOptions::messages_max>}, "messages", "0", \
   "The newest messages that it keeps; 0: no bound"},                                            \
      {path ".bytes_max", Large{0, kLargeMax, of<&StreamOptions::bytes_max>}, "bytes", "0",      \
       "Bytes of these; 0: no bound"},                                                           \
      {path ".age_max_s", Whole{0, kAny - 1, of<&StreamOptions::age_max_s>}, "s", "604800",      \
       "For which a message is kept; 0: no bound"}

// A key of `limits`, which has the name of its field in mqttq_limits.
#define MQTTQ_LIMIT(name, min, max, unit, default_json, text, ...)                                                   \
  {"limits." #name,                                                                                                  \
   Whole{min, max, [](const Target& to) -> uint32_t& { return to.options.limits.name; } __VA_OPT__(, ) __VA_ARGS__}, \
   unit, default_json, text}

// One of bytes without a bound by default.
#define MQTTQ_LARGE_LIMIT(name, unit, text)                                                                          \
  {"limits." #name, Large{0, kLargeMax, [](const Target& to) -> uint64_t& { return to.options.limits.name; }}, unit, \
   "0", text}

constexpr Key kKeys[] = {
    {"listeners", array_of<&Options::listeners>(1, kAny), "", R"([{"url": "tcp://127.0.0.1:1883"}])",
     "Where clients come in", true},
    {"listeners[].url", Url{of_element<&Options::listeners, &ListenerOptions::url>}, "", "",
     "Where to listen: `tcp://HOST:PORT` (an IPv4 address, `[IPv6]` or `localhost`; port 0 is any free one), "
     "`ws://HOST:PORT/PATH` (MQTT over WebSocket; default path `/mqtt`) or `unix:///PATH`",
     true, true},
    {"listeners[].packet_size_max",
     Whole{1, kPacketSizeMax, of_element<&Options::listeners, &ListenerOptions::packet_size_max>}, "bytes", "",
     "The same as `limits.packet_size_max`, for clients of this listener", true},
    {"listeners[].connect_timeout_ms",
     Whole{1, kAny, of_element<&Options::listeners, &ListenerOptions::connect_timeout_ms>}, "ms", "",
     "The same as `limits.connect_timeout_ms`, for clients of this listener", true},
    {"allow_anonymous", Switch{[](const Target& to) -> bool& { return to.options.allow_anonymous; }}, "", "false",
     "Whether anybody may come in, without authentication, through listeners that other machines can reach", true},
    {"data_dir", Text{1, 4096, [](const Target& to) -> std::string& { return to.options.data_dir; }}, "", R"("")",
     "The directory in which sessions, retained messages and what waits are kept; empty: in memory"},
    {"shards", Whole{0, kShardsMax, [](const Target& to) -> uint32_t& { return to.options.shards; }}, "threads", "0",
     "Threads that serve connections; 0: one per core that it may run on"},
    {"durability", Choice{kDurabilities, [](const Target& to) -> uint8_t& { return to.options.durability; }}, "",
     "\"always\"",
     "When what is acknowledged is written to `data_dir`: `always` before, `interval` within `durability_interval_ms`, "
     "`none` when some megabytes have come together, and at the end, without waiting for the disk"},
    {"durability_interval_ms",
     Whole{50, 3'600'000, [](const Target& to) -> uint32_t& { return to.options.durability_interval_ms; }}, "ms",
     "1000", "What is settled within it is never written"},
    {"log.level", Choice{kLogLevels, [](const Target& to) -> uint8_t& { return to.options.log_level; }}, "",
     "\"notice\"", "Which lines are written: those of this level and of the levels before it", true},
    {"log.format", Choice{kLogFormats, [](const Target& to) -> uint8_t& { return to.options.log_format; }}, "",
     "\"text\"", "How lines are written on stderr", true},
    {"protocol.retain", Switch{[](const Target& to) -> bool& { return to.options.retain; }}, "", "true",
     "Whether clients may have messages retained"},
    {"protocol.wildcard_subscriptions",
     Switch{[](const Target& to) -> bool& { return to.options.wildcard_subscriptions; }}, "", "true",
     "Whether topic filters may have wildcards"},
    {"protocol.shared_subscriptions", Switch{[](const Target& to) -> bool& { return to.options.shared_subscriptions; }},
     "", "true", "Whether there are shared subscriptions"},
    {"protocol.subscription_identifiers",
     Switch{[](const Target& to) -> bool& { return to.options.subscription_identifiers; }}, "", "true",
     "Whether subscriptions may have identifiers"},
    {"protocol.exclusive_subscriptions",
     Switch{[](const Target& to) -> bool& { return to.options.exclusive_subscriptions; }}, "", "false",
     "Whether a client may subscribe to `$exclusive/FILTER`, which no other has then"},
    {"protocol.response_information",
     Text{0, kResponseInformationMax, [](const Target& to) -> std::string& { return to.options.response_information; }},
     "", R"("")",
     "What a client that asks for Response Information is told: the topic below which it should have its responses; "
     "`${client_id}` and `${user_name}` are filled in"},
    {"shared_subscriptions.strategy",
     Choice{kSharedStrategies, [](const Target& to) -> uint8_t& { return to.options.shared_strategy; }}, "",
     "\"round_robin\"", "How a shared group chooses the member that gets a message"},
    {"shared_subscriptions.groups", array_of<&Options::groups>(0, kGroupsMax), "", "[]",
     "Groups with a strategy of their own"},
    {"shared_subscriptions.groups[].name", Text{1, kTextSizeMax, of_element<&Options::groups, &GroupOptions::name>}, "",
     "", "What stands between `$share/` and the next slash", false, true},
    {"shared_subscriptions.groups[].strategy",
     Choice{kSharedStrategies, of_element<&Options::groups, &GroupOptions::strategy>}, "", "",
     "The same as `shared_subscriptions.strategy`, for this group", false, true},

    {"rewrites", array_of<&Options::rewrites>(0, kRewritesMax), "", "[]",
     "Topics that clients name, and those that they stand for; the first rule that matches is applied, and no other"},
    {"rewrites[].from", Text{1, kTextSizeMax, of_element<&Options::rewrites, &RewriteOptions::from>}, "", "",
     "A topic filter; what its first wildcard matches is `$1`, the next `$2`", false, true},
    {"rewrites[].to", Text{1, kTextSizeMax, of_element<&Options::rewrites, &RewriteOptions::to>}, "", "",
     "The topic instead; `$1`, `$2`, `${client_id}` and `${user_name}` are filled in", false, true},
    {"rewrites[].actions", Choice{kRewriteActions, of_element<&Options::rewrites, &RewriteOptions::actions>}, "",
     "\"all\"",
     "Whether the topics of PUBLISH and of wills are rewritten, or the filters of SUBSCRIBE and UNSUBSCRIBE, or all"},

    {"auto_subscriptions", array_of<&Options::auto_subscriptions>(0, kAutoSubscriptionsMax), "", "[]",
     "Subscriptions that every client has from its CONNACK on"},
    {"auto_subscriptions[].topic_filter",
     Text{1, kTextSizeMax, of_element<&Options::auto_subscriptions, &AutoSubscriptionOptions::topic_filter>}, "", "",
     "May be `$share/GROUP/FILTER`; `${client_id}` and `${user_name}` are filled in", false, true},
    {"auto_subscriptions[].qos", Whole{0, 2, of_element<&Options::auto_subscriptions, &AutoSubscriptionOptions::qos>},
     "", "0", "The highest QoS of its messages"},
    {"auto_subscriptions[].no_local",
     Switch{of_element<&Options::auto_subscriptions, &AutoSubscriptionOptions::no_local>}, "", "false",
     "Whether the client's own messages are left out; not for a shared subscription"},
    {"auto_subscriptions[].retain_as_published",
     Switch{of_element<&Options::auto_subscriptions, &AutoSubscriptionOptions::retain_as_published>}, "", "false",
     "Whether messages keep the RETAIN of their publisher"},
    {"auto_subscriptions[].retained",
     Switch{of_element<&Options::auto_subscriptions, &AutoSubscriptionOptions::retained>}, "", "true",
     "Whether what is retained is sent when the subscription is made"},

    {"queues.auto_create", Switch{[](const Target& to) -> bool& { return to.options.auto_create_queues; }}, "", "false",
     "Whether a subscription to `$queue/NAME/FILTER` or `$q/FILTER` declares a queue that is not there"},
    {"queues.count_max", Whole{1, kAny, [](const Target& to) -> uint32_t& { return to.options.queues_max; }}, "queues",
     "100000", "The most queues"},
    {"queues.on_delete", Choice{kQueueEnds, [](const Target& to) -> uint8_t& { return to.options.queue_end; }}, "",
     "\"unsubscribe\"",
     "Whether consumers of a queue that is deleted lose their subscription, or their connection too"},
    MQTTQ_QUEUE_KEYS("queues.auto", of_auto_queue, kAutoQueueDispatches),
    {"queues.declared", array_of<&Options::queues>(0, kQueuesDeclaredMax), "", "[]",
     "Queues that are there from the start on; one that is taken out of the file stays"},
    {"queues.declared[].name", Text{1, kQueueNameMax, of_queue<&QueueOptions::name>}, "", "",
     "Letters, digits, `.`, `_` and `-`, at most 255, or `$q/FILTER` for the one queue of a filter that has no name",
     false, true},
    {"queues.declared[].topic_filter", Text{0, kTextSizeMax, of_queue<&QueueOptions::topic_filter>}, "", R"("")",
     "What it takes; to be given, but where the name is `$q/FILTER`. It never changes"},
    {"queues.declared[].dead_letter_topic", Text{0, kTextSizeMax, of_queue<&QueueOptions::dead_letter_topic>}, "",
     R"("")", "Where dead letters are published; empty: they are dropped"},
    {"queues.declared[].key", Text{0, kTextSizeMax, of_queue<&QueueOptions::key>}, "", R"("")",
     "What messages go by that belong together: `client_id`, `topic`, `topic_level:N` (from 1), `user_property:NAME` "
     "or `json:POINTER`; empty: none. It never changes"},
    {"queues.declared[].last_value", Switch{of_queue<&QueueOptions::last_value>}, "", "false",
     "Whether of what waits the newest message of each key is all that there is. It never changes"},
    {"queues.declared[].keyless", Choice{kQueueKeyless, of_queue<&QueueOptions::keyless>}, "", R"("take")",
     "What becomes of a message in which the key is not found; with `reject` its publisher is told. It never changes"},
    MQTTQ_QUEUE_KEYS("queues.declared[]", of_queue, kQueueDispatches),

    {"streams.auto_create", Switch{[](const Target& to) -> bool& { return to.options.auto_create_streams; }}, "",
     "false",
     "Whether a subscription to `$stream/NAME/FILTER` or `$s/OFFSET/FILTER` declares a stream that is not there"},
    {"streams.count_max", Whole{1, kAny, [](const Target& to) -> uint32_t& { return to.options.streams_max; }},
     "streams", "10000", "The most streams"},
    {"streams.on_delete", Choice{kQueueEnds, [](const Target& to) -> uint8_t& { return to.options.stream_end; }}, "",
     "\"unsubscribe\"", "Whether readers of a stream that is deleted lose their subscription, or their connection too"},
    MQTTQ_STREAM_KEYS("streams.auto", of_auto_stream),
    {"streams.declared", array_of<&Options::streams>(0, kStreamsDeclaredMax), "", "[]",
     "Streams that are there from the start on; one that is taken out of the file stays"},
    {"streams.declared[].name", Text{1, kQueueNameMax, of_stream<&StreamOptions::name>}, "", "",
     "Letters, digits, `.`, `_` and `-`, at most 255, or `$s/FILTER` for the one stream of a filter that has no name",
     false, true},
    {"streams.declared[].topic_filter", Text{0, kTextSizeMax, of_stream<&StreamOptions::topic_filter>}, "", R"("")",
     "What it takes; to be given, but where the name is `$s/FILTER`. It never changes"},
    {"streams.declared[].key", Text{0, kTextSizeMax, of_stream<&StreamOptions::key>}, "", R"("")",
     "What messages go by that belong together, as of a queue; empty: none. It never changes"},
    {"streams.declared[].last_value", Switch{of_stream<&StreamOptions::last_value>}, "", "false",
     "Whether of each key it keeps the newest message alone. It never changes"},
    MQTTQ_STREAM_KEYS("streams.declared[]", of_stream),

    MQTTQ_LIMIT(packet_size_max, 1, kPacketSizeMax, "bytes", "1048576", "The longest packet from a client"),
    MQTTQ_LIMIT(topic_size_max, 1, 65'535, "bytes", "65535", "The longest topic name and topic filter"),
    MQTTQ_LIMIT(topic_levels_max, 1, 1024, "levels", "128", "The most levels of a topic name or topic filter"),
    MQTTQ_LIMIT(connect_timeout_ms, 1, kAny, "ms", "10000",
                "From accept to a whole CONNECT, and for its authentication"),
    MQTTQ_LIMIT(connections_max, 1, kAny, "connections", "1000000", "Connected clients"),
    MQTTQ_LIMIT(sessions_max, 1, kAny, "sessions", "2000000", "Sessions, connected or not"),
    MQTTQ_LIMIT(connect_rate, 0, kAny, "packets/s", "0", "CONNECT packets a second and shard; 0: no bound"),
    MQTTQ_LIMIT(receive_maximum, 1, 65'535, "messages", "1000",
                "QoS 1 and 2 messages that a client may have sent and open (Receive Maximum)"),
    MQTTQ_LIMIT(receipt_timeout_s, 1, kAny, "s", "300", "After which a QoS 2 message without PUBREL is forgotten"),
    MQTTQ_LIMIT(inflight_max, 1, 65'535, "messages", "1000",
                "QoS 1 and 2 messages sent to a client and open; the client's own Receive Maximum holds too"),
    MQTTQ_LIMIT(outbox_messages_max, 1, kAny, "messages", "10000", "Messages that wait for one client"),
    MQTTQ_LIMIT(outbox_bytes_max, 1, kAny, "bytes", "4194304", "Bytes that wait for one client"),
    MQTTQ_LIMIT(outbox_age_max_s, 0, kAny, "s", "2592000",
                "For which a message waits for a kept session or a group of such; 0: no bound", kAny),
    MQTTQ_LIMIT(subscriptions_max, 1, kAny, "subscriptions", "100000", "Subscriptions of one session"),
    MQTTQ_LIMIT(session_expiry_max_s, 0, kAny, "s", "0",
                "The longest Session Expiry Interval that is granted; 0: no bound"),
    MQTTQ_LIMIT(keep_alive_max_s, 0, 65'535, "s", "0",
                "The longest Keep Alive; a longer one, or none, is replaced by this; 0: the client's own"),
    MQTTQ_LIMIT(topic_alias_maximum, 0, 65'535, "aliases", "64", "Topic aliases that a client may use; 0: none", kAny),
    MQTTQ_LIMIT(retained_messages_max, 1, kAny, "messages", "1000000", "Retained messages"),
    MQTTQ_LIMIT(retained_bytes_max, 1, kAny, "bytes", "1073741824", "Bytes of all retained messages"),
    MQTTQ_LIMIT(message_rate, 0, kAny, "messages/s", "0", "PUBLISH packets a second and connection; 0: no bound"),
    MQTTQ_LIMIT(byte_rate, 0, kAny, "bytes/s", "0", "Bytes a second and connection; 0: no bound"),
    MQTTQ_LIMIT(connect_size_max, 1, kPacketSizeMax, "bytes", "262144", "The longest CONNECT"),
    MQTTQ_LIMIT(maximum_qos, 0, 2, "", "2", "The highest QoS of clients", kAny),
    MQTTQ_LIMIT(topic_alias_out_maximum, 0, 65'535, "aliases", "64",
                "Topic aliases used towards a client that takes them; 0: none", kAny),
    MQTTQ_LIMIT(delayed_messages_max, 0, kDelayedMessagesMax, "messages", "100000",
                "Messages published to `$delayed/SECONDS/TOPIC` that wait; 0: none", kAny),
    MQTTQ_LIMIT(delayed_bytes_max, 1, kAny, "bytes", "268435456", "Bytes of these"),
    MQTTQ_LIMIT(delay_max_s, 1, kDelayMax_s, "s", "42949669", "The longest delay"),
    MQTTQ_LIMIT(
        store_memory_bytes, 1, kAny, "bytes", "67108864",
        "Of the newest messages in `data_dir` that wait for somebody; older ones are read again when they are sent"),
    MQTTQ_LIMIT(log_segment_bytes, 4096, kAny, "bytes", "67108864",
                "One file of the log in `data_dir`, which is the least that is given back"),
    MQTTQ_LARGE_LIMIT(store_bytes, "bytes", "All that `data_dir` may take, at least 1048576; 0: no bound"),
    MQTTQ_LIMIT(store_alarm_percent, 1, 100, "percent", "80", "Of `store_bytes`, over which an alarm is raised"),
    MQTTQ_LIMIT(journal_messages, 0, kAny, "messages", "0",
                "Messages that wait for the slowest reader of one topic filter; 0: no bound"),
    MQTTQ_LARGE_LIMIT(journal_bytes, "bytes", "Bytes of these; 0: no bound"),

    {"sys.interval_s", Whole{0, 86'400, [](const Target& to) -> uint32_t& { return to.options.sys_interval_s; }, kAny},
     "s", "10", "How often the figures below `$SYS/broker` are looked at; 0: there are none"},
    {"sys.client_events", Switch{[](const Target& to) -> bool& { return to.options.client_events; }}, "", "false",
     "Whether each client that comes or goes is a message below `$SYS/broker/clients`"},
};

#undef MQTTQ_QUEUE_KEYS
#undef MQTTQ_LIMIT
#undef MQTTQ_LARGE_LIMIT

}  // namespace

std::span<const Key> config_keys() { return kKeys; }

std::vector<Child> children_of(std::string_view path) {
  std::vector<Child> children;
  for (const Key& key : kKeys) {
    std::string_view rest = key.path;
    if (!path.empty()) {
      if (!rest.starts_with(path) || rest.substr(path.size(), 1) != ".") continue;
      rest.remove_prefix(path.size() + 1);
    }
    std::string_view name = rest.substr(0, rest.find('.'));
    const size_t end = static_cast<size_t>(name.data() + name.size() - key.path.data());
    Child child{name.size() == rest.size() ? Child::Kind::Leaf : Child::Kind::Object, name,
                std::string(key.path.substr(0, end)), &key};
    if (name.ends_with("[]")) continue;  // of an element: the array stands before it
    if (std::holds_alternative<Array>(key.value)) {
      child.kind = Child::Kind::Array;
      child.path += "[]";
    }
    const auto same = [&](const Child& one) { return one.name == child.name; };
    if (std::none_of(children.begin(), children.end(), same)) children.push_back(std::move(child));
  }
  return children;
}

std::string choices_text(const std::string_view* names, size_t count) {
  std::string text(names[0]);
  for (size_t i = 1; i < count; ++i) text += fmt::format("{}{}", i + 1 == count ? " or " : ", ", names[i]);
  return text;
}

std::string expected_text(const Key& key) {
  if (const auto* whole = std::get_if<Whole>(&key.value)) {
    return fmt::format("a whole number from {} to {}", whole->min, whole->max);
  }
  if (const auto* large = std::get_if<Large>(&key.value)) {
    return fmt::format("a whole number from {} to {}", large->min, large->max);
  }
  if (const auto* choice = std::get_if<Choice>(&key.value)) {
    return choices_text(choice->names.data(), choice->names.size());
  }
  if (const auto* text = std::get_if<Text>(&key.value)) {
    return fmt::format("a string of {} to {} bytes", text->size_min, text->size_max);
  }
  if (std::holds_alternative<Array>(key.value)) return "an array in brackets";
  return std::holds_alternative<Switch>(key.value) ? "true or false" : "a URL in quotes";
}

std::vector<const Key*> changed_keys(Options one, Options other) {
  std::vector<const Key*> changed;
  const Target left{one, 0}, right{other, 0};
  for (const Key& key : kKeys) {
    if (key.path.find("[]") != std::string_view::npos) continue;
    const bool same = std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<decltype(value), const Array&>) {
            return value.same(one, other);
          } else {
            return value.of(left) == value.of(right);
          }
        },
        key.value);
    if (!same) changed.push_back(&key);
  }
  return changed;
}

}  // namespace mqttq::server
