#include "capi/guard.h"
#include "capi/handles.h"
#include "message/topic.h"
#include "store/stored_message.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

void write_line(mqttq_log_fn log, void* user, LogLevel level, std::string_view text) noexcept {
  char line[1024];
  const size_t size = std::min(text.size(), sizeof line - 1);
  std::memcpy(line, text.data(), size);
  line[size] = '\0';
  log(user, static_cast<mqttq_log_level>(level), line, size);
}

// Takes a figure of the host's, 0 meaning the default, and holds it to what it can mean.
template <class T>
void take(T& limit, uint64_t given, const char* name, uint64_t max = std::numeric_limits<T>::max()) {
  if (!given) return;
  if (given > max) throw std::invalid_argument(fmt::format("limits.{}: {} is more than {}", name, given, max));
  limit = static_cast<T>(given);
}

Limits limits_of(const mqttq_limits& given) {
  Limits limits;
#define MQTTQ_TAKE(name, ...) take(limits.name, given.name, #name __VA_OPT__(, ) __VA_ARGS__)
  MQTTQ_TAKE(packet_size_max, kRemainingLengthMax);
  MQTTQ_TAKE(topic_size_max, 65'535);
  MQTTQ_TAKE(topic_levels_max, 1024);  // the walk of a topic goes down a level a call
  MQTTQ_TAKE(connect_timeout_ms);
  MQTTQ_TAKE(connections_max);
  MQTTQ_TAKE(sessions_max);
  MQTTQ_TAKE(connect_rate);
  MQTTQ_TAKE(receive_maximum);
  MQTTQ_TAKE(receipt_timeout_s);
  MQTTQ_TAKE(inflight_max);
  MQTTQ_TAKE(outbox_messages_max);
  MQTTQ_TAKE(outbox_bytes_max);
  MQTTQ_TAKE(subscriptions_max);
  MQTTQ_TAKE(session_expiry_max_s);
  MQTTQ_TAKE(keep_alive_max_s);
  MQTTQ_TAKE(retained_messages_max);
  MQTTQ_TAKE(retained_bytes_max);
  MQTTQ_TAKE(message_rate);
  MQTTQ_TAKE(byte_rate);
  MQTTQ_TAKE(connect_size_max, kRemainingLengthMax);
  MQTTQ_TAKE(delayed_bytes_max);
  MQTTQ_TAKE(delay_max_s, kDelayMax_s);
  MQTTQ_TAKE(store_memory_bytes);
  MQTTQ_TAKE(log_segment_bytes);
  MQTTQ_TAKE(store_bytes);
  MQTTQ_TAKE(journal_bytes);
  MQTTQ_TAKE(journal_messages);
  MQTTQ_TAKE(store_alarm_percent, 100);
#undef MQTTQ_TAKE
  if (limits.log_segment_bytes < 4096) throw std::invalid_argument("limits.log_segment_bytes: less than 4096");
  constexpr uint64_t kStoreBytesMin = 1 << 20;  // below, what is there without a message would be a part of it
  if (limits.store_bytes && limits.store_bytes < kStoreBytesMin) {
    throw std::invalid_argument(fmt::format("limits.store_bytes: less than {}", kStoreBytesMin));
  }
  const auto take_or_none = [](auto& limit, uint32_t value, const char* name, uint64_t max) {
    if (value == UINT32_MAX) {
      limit = 0;
    } else {
      take(limit, value, name, max);
    }
  };
  take_or_none(limits.topic_alias_maximum, given.topic_alias_maximum, "topic_alias_maximum", 65'535);
  if (given.maximum_qos > 2 && given.maximum_qos != UINT32_MAX)
    throw std::invalid_argument("limits.maximum_qos: more than 2");
  if (given.maximum_qos)
    limits.maximum_qos = given.maximum_qos == UINT32_MAX ? 0 : static_cast<uint8_t>(given.maximum_qos);
  take_or_none(limits.topic_alias_out_maximum, given.topic_alias_out_maximum, "topic_alias_out_maximum", 65'535);
  take_or_none(limits.outbox_age_max_s, given.outbox_age_max_s, "outbox_age_max_s", UINT32_MAX - 1);
  take_or_none(limits.delayed_messages_max, given.delayed_messages_max, "delayed_messages_max",
               DelayedMessages::kCountMax);
  return limits;
}

mqttq_status status_of_backup(Status status) noexcept {
  switch (status) {
    case Status::Ok: return MQTTQ_OK;
    case Status::NoMemory: return MQTTQ_ENOMEM;
    case Status::Permission: return MQTTQ_EACCES;
    case Status::Full: return MQTTQ_EFULL;
    case Status::Unsupported: return MQTTQ_EUNSUPPORTED;
    case Status::Exists: return MQTTQ_EEXIST;
    case Status::NotFound: return MQTTQ_ENOTFOUND;
    case Status::Invalid: return MQTTQ_EINVAL;
    case Status::Busy: return MQTTQ_ESTATE;
    default: return MQTTQ_ESYSTEM;
  }
}

mqttq_status status_of_start(Status status) noexcept {
  switch (status) {
    case Status::NoMemory: return MQTTQ_ENOMEM;
    case Status::Permission: return MQTTQ_EACCES;
    case Status::Full: return MQTTQ_EFULL;
    case Status::Unsupported: return MQTTQ_EUNSUPPORTED;
    case Status::Busy:
    case Status::Exists: return MQTTQ_EEXIST;
    default: return MQTTQ_ESYSTEM;
  }
}

BackupOptions backup_options(LogSink* log) { return {random_secret(), to_unix_ms(clock_now(), unix_offset_ms()), log}; }

// Of a host's, for as long as a call.
class HostLog final : public LogSink {
 public:
  HostLog(mqttq_log_fn log, void* user) noexcept : log_(log), user_(user) {}
  void write(LogLevel level, std::string_view text) noexcept override {
    if (log_) write_line(log_, user_, level, text);
  }

 private:
  const mqttq_log_fn log_;
  void* const user_;
};

// The counters in the order of their table.
struct CounterName {
  const char* name;
  const char* text;
  Counter Counters::* member;
};
constexpr CounterName kCounters[] = {
#define MQTTQ_X(name, text) {#name, text, &Counters::name},
    MQTTQ_COUNTERS(MQTTQ_X)
#undef MQTTQ_X
};

}  // namespace

mqttq_broker::mqttq_broker(const mqttq_broker_config& config)
    : host_loop(config.host_loop != 0), log_(config.log), log_user_(config.log_user) {
  mqttq_limits limits;
  if (!read_struct(config.limits, limits)) throw std::invalid_argument("limits: asks for more than this library has");
  BrokerSetup setup;
  setup.limits = limits_of(limits);
  constexpr uint32_t kFeatures = MQTTQ_FEATURE_RETAIN | MQTTQ_FEATURE_WILDCARD_SUBSCRIPTIONS |
                                 MQTTQ_FEATURE_SHARED_SUBSCRIPTIONS | MQTTQ_FEATURE_SUBSCRIPTION_IDENTIFIERS;
  const uint32_t off = config.features_off;
  if (off & ~kFeatures) throw std::invalid_argument("features_off: a feature that this library does not know");
  setup.policy.exclusive_subscriptions = config.exclusive_subscriptions != 0;
  setup.limits.retain_available = !(off & MQTTQ_FEATURE_RETAIN);
  setup.limits.wildcard_subscriptions_available = !(off & MQTTQ_FEATURE_WILDCARD_SUBSCRIPTIONS);
  setup.limits.shared_subscriptions_available = !(off & MQTTQ_FEATURE_SHARED_SUBSCRIPTIONS);
  setup.limits.subscription_identifiers_available = !(off & MQTTQ_FEATURE_SUBSCRIPTION_IDENTIFIERS);
  setup.shard_count = config.shards;
  if (config.mailbox_capacity) setup.mailbox_capacity = config.mailbox_capacity;
  setup.own_threads = !host_loop;
  constexpr uint32_t kSysIntervalDefault = 10;
  setup.policy.sys_interval_s = config.sys_interval_s ? config.sys_interval_s : kSysIntervalDefault;
  if (config.sys_interval_s == UINT32_MAX) setup.policy.sys_interval_s = 0;
  setup.policy.client_events = config.client_events != 0;
  setup.policy.version = mqttq_version_text();
  if (config.response_information) {
    const std::string_view text = config.response_information;
    if (text.size() > 1024 || !is_valid_utf8(text)) {
      throw std::invalid_argument("response_information: not UTF-8 of at most 1024 bytes");
    }
    try {
      setup.policy.response_information = TextTemplate(text);
    } catch (const std::invalid_argument& failure) {
      throw std::invalid_argument(fmt::format("response_information: {}", failure.what()));
    }
  }
  if (log_) setup.log = this;
  namespaces_.emplace_back();  // the global one
  if (config.data_dir || config.store) open_directory(config, setup.limits);
  setup.directory = directory;
  broker = std::make_unique<Broker>(setup);
  for (uint32_t i = 0; i < broker->shard_count(); ++i)
    held_answers.push_back(std::make_unique<Slab<HeldAnswer>>(UINT32_MAX));
}

void mqttq_broker::open_directory(const mqttq_broker_config& config, const Limits& of) {
  if (config.data_dir && config.store) throw std::invalid_argument("store: there is a data_dir too");
  DataDirectory::Options options;
  options.seed = random_secret();
  options.unix_offset_ms = unix_offset_ms();
  options.memory_bytes = of.store_memory_bytes;
  options.segment_bytes = of.log_segment_bytes;
  constexpr uint32_t kIntervalDefault_ms = 1000;
  const uint32_t interval_ms = config.durability_interval_ms ? config.durability_interval_ms : kIntervalDefault_ms;
  switch (config.durability) {
    case MQTTQ_DURABILITY_ALWAYS: break;
    case MQTTQ_DURABILITY_INTERVAL: options.hold_ns = int64_t{interval_ms} * kMillisecond; break;
    case MQTTQ_DURABILITY_NONE:
      options.hold_ns = INT64_MAX;
      options.syncs = false;
      break;
    default: throw std::invalid_argument("durability: none of MQTTQ_DURABILITY_...");
  }
  options.quota = {of.store_bytes, of.store_alarm_percent};
  if (log_) options.log = this;
  Status status{};
  std::string problem;
  if (config.data_dir) {
    own_store = LmdbDirectory::open({config.data_dir, options}, status, problem);
    if (own_store) directory = &own_store->directory();
  } else {
    mqttq_store table;
    if (of.store_bytes && read_struct(config.store, table) && !table.usage) {
      throw std::invalid_argument("limits.store_bytes: the store has no usage()");
    }
    host_store = HostStore::open(*config.store, status, problem);
    if (!host_store && status == Status::Invalid) throw std::invalid_argument(fmt::format("store: {}", problem));
    if (host_store) host_directory = DataDirectory::open(nullptr, *host_store, options, status, problem);
    directory = host_directory.get();
  }
  if (!directory) throw StartFailure(status, fmt::format("{}: {}", config.data_dir ? "data_dir" : "store", problem));
  for (const std::string& name : directory->namespaces()) {
    namespaces_.emplace_back(mqttq_namespace{static_cast<NamespaceId>(namespaces_.size()), name});
  }
}

Status mqttq_broker::back_up(const char* to, std::string& problem) {
  return own_store->back_up(to, backup_options(log_ ? this : nullptr), problem);
}

// What a stopped broker still held open will never be answered.
mqttq_broker::~mqttq_broker() {
  broker->stop();
  for (const auto& held : held_answers) {
    for (uint32_t i = 0; i < held->index_end(); ++i) {
      if (HeldAnswer* one = held->at(i)) held->give_back(*one);
    }
  }
}

mqttq_status mqttq_broker::running(mqttq_error* error) const noexcept {
  if (!started) return fail(error, MQTTQ_ESTATE, "the broker was not started");
  if (stopped) return fail(error, MQTTQ_ESHUTDOWN, "the broker has stopped");
  return MQTTQ_OK;
}

bool mqttq_broker::inside_callback() const noexcept {
  for (uint32_t i = 0; i < broker->shard_count(); ++i) {
    if (broker->shard(i).is_here()) return true;
  }
  return false;
}

mqttq_status mqttq_broker::may_wait(mqttq_error* error) const noexcept {
  if (inside_callback()) return fail(error, MQTTQ_ESTATE, "inside a callback on a shard's thread");
  return running(error);
}

mqttq_namespace* mqttq_broker::open_namespace(std::string_view name) {
  constexpr size_t kNamespacesMax = 65'536;
  const std::lock_guard lock(namespaces_mutex_);
  for (mqttq_namespace& one : namespaces_) {
    if (one.name == name) return &one;
  }
  if (namespaces_.size() == kNamespacesMax) return nullptr;
  if (directory && directory->add_namespace(name) != Status::Ok) {
    throw std::system_error(EIO, std::generic_category(), "the store cannot be written");
  }
  return &namespaces_.emplace_back(mqttq_namespace{static_cast<NamespaceId>(namespaces_.size()), std::string(name)});
}

const char* mqttq_broker::namespace_name(NamespaceId id) noexcept {
  const std::lock_guard lock(namespaces_mutex_);
  return id < namespaces_.size() ? namespaces_[id].name.c_str() : "";
}

bool mqttq_broker::on_shard(uint32_t shard, const Task& task) {
  if (!host_loop) return broker->shard(shard).run_and_wait(task);
  task(broker->shard(shard).core(), clock_now());
  return true;
}

void mqttq_broker::on_shard_or_here(uint32_t shard, const Task& task) {
  if (on_shard(shard, task)) return;
  const std::lock_guard lock(stop_mutex_);  // it takes no more tasks, but its thread may not have ended yet
  task(broker->shard(shard).core(), clock_now());
}

void mqttq_broker::stop() noexcept {
  const std::lock_guard lock(stop_mutex_);
  stopped = true;
  broker->stop();
}

void mqttq_broker::write(LogLevel level, std::string_view text) noexcept { write_line(log_, log_user_, level, text); }

extern "C" {

void mqttq_limits_init(mqttq_limits* limits, size_t size) { init_struct(limits, size); }

void mqttq_broker_config_init(mqttq_broker_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_broker_create(const mqttq_broker_config* config, mqttq_broker** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!out) return fail(error, MQTTQ_EINVAL, "out: NULL");
    mqttq_broker_config known;
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    try {
      *out = new mqttq_broker(known);
    } catch (const StartFailure& failure) {
      return fail(error, status_of_start(failure.status), failure.what());
    }
    return MQTTQ_OK;
  });
}

mqttq_status mqttq_broker_start(mqttq_broker* broker, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started before");
    broker->broker->start();
    broker->started = true;
    return MQTTQ_OK;
  });
}

void mqttq_broker_stop(mqttq_broker* broker) {
  if (broker && broker->started) broker->stop();
}

void mqttq_broker_destroy(mqttq_broker* broker) {
  mqttq_broker_stop(broker);
  delete broker;
}

int mqttq_broker_fd(mqttq_broker* broker) { return broker->host_loop ? broker->broker->shard(0).descriptor() : -1; }

int mqttq_broker_timeout_ms(mqttq_broker* broker) {
  return broker->host_loop ? broker->broker->shard(0).timeout_ms() : -1;
}

mqttq_status mqttq_broker_turn(mqttq_broker* broker, uint32_t budget_us) {
  return guard(nullptr, [&]() -> mqttq_status {
    if (!broker->host_loop || !broker->started || broker->stopped || broker->inside_callback()) return MQTTQ_ESTATE;
    Shard& shard = broker->broker->shard(0);
    const Instant until = clock_now() + int64_t{budget_us} * kMicrosecond;
    do {
      shard.turn();
    } while (budget_us && shard.timeout_ms() == 0 && clock_now() < until);
    return MQTTQ_OK;
  });
}

mqttq_status mqttq_broker_backup(mqttq_broker* broker, const char* directory, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!directory || !*directory) return fail(error, MQTTQ_EINVAL, "directory: none is named");
    if (broker->inside_callback()) return fail(error, MQTTQ_ESTATE, "inside a callback on a shard's thread");
    if (!broker->own_store) return fail(error, MQTTQ_EUNSUPPORTED, "the broker has no data_dir");
    std::string problem;
    const Status status = broker->back_up(directory, problem);
    return status == Status::Ok ? MQTTQ_OK : fail(error, status_of_backup(status), problem);
  });
}

mqttq_status mqttq_data_dir_backup(const char* data_dir, const char* directory, mqttq_log_fn log, void* user,
                                   mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!data_dir || !*data_dir) return fail(error, MQTTQ_EINVAL, "data_dir: none is named");
    if (!directory || !*directory) return fail(error, MQTTQ_EINVAL, "directory: none is named");
    HostLog lines(log, user);
    std::string problem;
    const Status status = LmdbDirectory::back_up(data_dir, directory, backup_options(&lines), problem);
    return status == Status::Ok ? MQTTQ_OK : fail(error, status_of_backup(status), problem);
  });
}

size_t mqttq_broker_counters(mqttq_broker* broker, mqttq_counter* out, size_t count) {
  for (size_t i = 0; i < std::min(count, std::size(kCounters)); ++i) {
    out[i] = {kCounters[i].name, kCounters[i].text, broker->broker->counter(kCounters[i].member)};
  }
  return std::size(kCounters);
}

mqttq_status mqttq_broker_store_figures(mqttq_broker* broker, mqttq_store_figures* out) {
  return guard(nullptr, [&]() -> mqttq_status {
    if (!out || out->size < sizeof out->size) return MQTTQ_EINVAL;
    if (!broker->directory) return MQTTQ_ESTATE;
    const StoreHealth& health = broker->broker->store_health();
    mqttq_store_figures figures{};
    figures.size = out->size;
    figures.bytes_used = health.bytes_used.load(std::memory_order_relaxed);
    figures.bytes_max = health.bytes_max.load(std::memory_order_relaxed);
    figures.alarm = static_cast<mqttq_store_alarm>(health.alarm.load(std::memory_order_relaxed));
    const size_t size = out->size;
    std::memset(out, 0, size);
    std::memcpy(out, &figures, std::min(size, sizeof figures));
    return MQTTQ_OK;
  });
}

}  // extern "C"
