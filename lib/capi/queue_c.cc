#include "capi/at_home.h"
#include "capi/host_consumer.h"
#include "capi/host_events.h"
#include "capi/letters.h"
#include "capi/pages.h"
#include "queue/queue_address.h"
#include "queue/queue_message.h"

using namespace mqttq;
using namespace mqttq::capi;

struct mqttq_queues {
  struct One {
    std::string name, topic_filter, dead_letter_topic, key;
    mqttq_queue figures;
  };
  std::vector<One> queues;
};

struct mqttq_consumer {
  mqttq_consumer(mqttq_broker& of, uint32_t on, mqttq_events& events, void* user, uint16_t window, int8_t priority)
      : broker(of), shard(on), inside(events, user, window, priority, *of.held_answers[on]) {}
  mqttq_broker& broker;
  const uint32_t shard;
  HostConsumer inside;
};

struct mqttq_queue_messages {
  struct One {
    uint64_t number;
    uint32_t deliveries;
    bool inflight;
    MessageRef message;
  };
  std::vector<One> messages;
};

namespace {

constexpr QueueOptions kDefaults;

#define MQTTQ_X(name, word) +1
constexpr uint32_t kDispatches = 0 MQTTQ_QUEUE_DISPATCHES(MQTTQ_X), kOverflows = 0 MQTTQ_QUEUE_OVERFLOWS(MQTTQ_X),
                   kKeyless = 0 MQTTQ_QUEUE_KEYLESS(MQTTQ_X);
#undef MQTTQ_X

// Those fields of `config` that `fields` names. Returns what is wrong, or nullptr.
const char* read_options(const mqttq_queue_config& config, uint32_t fields, QueueOptions& options) noexcept {
  const auto has = [&](uint32_t field) { return (fields & field) != 0; };
  if (has(MQTTQ_QUEUE_FIELD_DISPATCH)) {
    if (config.dispatch >= kDispatches) return "dispatch: not one of MQTTQ_QUEUE_ROUND_ROBIN, …";
    options.dispatch = static_cast<QueueDispatch>(config.dispatch);
  }
  if (has(MQTTQ_QUEUE_FIELD_OVERFLOW)) {
    if (config.overflow >= kOverflows) return "overflow: not one of MQTTQ_QUEUE_DROP_OLDEST, …";
    options.overflow = static_cast<QueueOverflow>(config.overflow);
  }
  if (has(MQTTQ_QUEUE_FIELD_EXCLUSIVE)) {
    if (config.exclusive > 1) return "exclusive: neither 0 nor 1";
    options.exclusive = config.exclusive != 0;
  }
  if (has(MQTTQ_QUEUE_FIELD_MESSAGES_MAX)) options.messages_max = limit_of(config.messages_max, kDefaults.messages_max);
  if (has(MQTTQ_QUEUE_FIELD_BYTES_MAX)) options.bytes_max = limit_of(config.bytes_max, kDefaults.bytes_max);
  if (has(MQTTQ_QUEUE_FIELD_AGE_MAX_S)) {
    options.age_max_s = limit_of(config.age_max_s, kDefaults.age_max_s);
  }
  if (has(MQTTQ_QUEUE_FIELD_REDELIVERY_DELAY_MS)) {
    options.redelivery_delay_ms =
        config.redelivery_delay_ms ? config.redelivery_delay_ms : kDefaults.redelivery_delay_ms;
  }
  if (has(MQTTQ_QUEUE_FIELD_ACK_TIMEOUT_MS)) options.ack_timeout_ms = config.ack_timeout_ms;
  if (has(MQTTQ_QUEUE_FIELD_DELIVERIES_MAX)) {
    if (config.deliveries_max > UINT16_MAX) return "deliveries_max: more than 65 535";
    options.deliveries_max = config.deliveries_max;
  }
  return nullptr;
}

const char* judge_dead_letter_topic(std::string_view topic, std::string_view topic_filter) noexcept {
  if (topic.empty()) return nullptr;
  if (!is_valid_topic_name(topic) || topic.front() == '$') {
    return "dead_letter_topic: not a topic name, or one that begins with $";
  }
  return topic_matches(topic_filter, topic) ? "dead_letter_topic: the queue's own topic filter matches it" : nullptr;
}

// What is wrong with the name, or the moment.
mqttq_status judge_call(mqttq_broker& broker, mqttq_bytes name, mqttq_error* error) {
  if (!is_valid_queue_name(text_of(name))) {
    return fail(error, MQTTQ_EINVAL,
                "name: at most 255 of 0-9 A-Z a-z . _ -, beginning with a letter or digit, or $q/<filter>");
  }
  return broker.may_wait(error);
}

constexpr Outcome kUnknown{MQTTQ_ENOTFOUND, "there is no such queue"};

// change_at_home() of a queue that has to be there, and is handed to `change`.
template <class Change>
mqttq_status change_queue(mqttq_broker& broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_error* error,
                          Change&& change) {
  if (const mqttq_status status = judge_call(broker, name, error); status != MQTTQ_OK) return status;
  return change_at_home(broker, ns, text_of(name), error, [&](ShardCore& core, NamespaceId id, Instant now) -> Outcome {
    Queue* queue = core.queues().find(id, text_of(name));
    return queue ? change(core.queues(), *queue, now) : kUnknown;
  });
}

// Of what never changes: what is wrong, or nullptr.
const char* read_identity(const mqttq_queue_config& config, QueueIdentity& identity) noexcept {
  if (config.keyless >= kKeyless) return "keyless: not one of MQTTQ_QUEUE_KEYLESS_TAKE, …";
  if (config.last_value > 1) return "last_value: neither 0 nor 1";
  if (config.no_wait > 1) return "no_wait: neither 0 nor 1";
  identity.key = text_of(config.key);
  identity.keyless = static_cast<QueueKeyless>(config.keyless);
  identity.last_value = config.last_value != 0;
  if (identity.key.empty() && (identity.last_value || config.keyless)) return "key: last_value and keyless need one";
  MessageKey key;
  const bool wrong = MessageKey::parse(identity.key, key) == Status::Invalid;
  return wrong ? "key: client_id, topic, topic_level:N, user_property:NAME or json:POINTER" : nullptr;
}

constexpr const char* kKeyOrderedWithoutKey = "dispatch: key_ordered needs a key";

// In what a queue that is there differs from what is declared.
Outcome other_of(const QueueIdentity& there, const QueueIdentity& declared) noexcept {
  if (there.topic_filter != declared.topic_filter) return {MQTTQ_EEXIST, "topic_filter: the queue has another one"};
  if (there.key != declared.key) return {MQTTQ_EEXIST, "key: the queue has another one"};
  if (there.keyless != declared.keyless) return {MQTTQ_EEXIST, "keyless: the queue has another"};
  return {MQTTQ_EEXIST, "last_value: the queue has another"};
}

Outcome of_status(Status status) noexcept {
  switch (status) {
    case Status::Ok: return {MQTTQ_OK, ""};
    case Status::Full: return {MQTTQ_EFULL, "there are as many queues as there may be"};
    case Status::Unsupported: return {MQTTQ_EUNSUPPORTED, "key: this library was built without JSON"};
    default: return {MQTTQ_ENOMEM, "out of memory"};
  }
}

// Messages of a queue from the number `from` on, at most so many. Those that are not in memory are read here; what
// cannot be read is left out. next: set to the number behind them, 0 at the end. False: there is no such queue.
bool peek(mqttq_broker& broker, uint32_t home, NamespaceId id, std::string_view name, uint64_t from, size_t count,
          std::vector<mqttq_queue_messages::One>& out, uint64_t& next) {
  bool found = false;
  next = 0;
  broker.on_shard(home, [&](ShardCore& core, Instant) {
    Queue* queue = core.queues().find(id, name);
    if (!queue) return;
    found = true;
    std::exception_ptr failure;
    core.queues().look(*queue, from,
                       [&](uint64_t number, uint32_t deliveries, bool inflight, const MessageRef& message) {
                         if (out.size() == count) {
                           next = number;
                           return false;
                         }
                         try {
                           out.push_back({number, deliveries, inflight, message});
                         } catch (...) {
                           failure = std::current_exception();
                         }
                         return !failure;
                       });
    if (failure) std::rethrow_exception(failure);
  });
  MessageFetcher* fetcher = broker.broker->fetcher();
  std::erase_if(out, [&](mqttq_queue_messages::One& one) {
    return !one.message && (!fetcher || fetcher->read(one.number, one.message) != Status::Ok);
  });
  return found;
}

// Back where it came from, if that is still there and it still waits in `name`. Throws std::bad_alloc.
void move_back(mqttq_broker& broker, uint32_t home, NamespaceId id, std::string_view name,
               const mqttq_queue_messages::One& one, Letters& moves) {
  DeadLetterOrigin origin;
  if (one.inflight || !read_dead_letter(one.message->view(), origin)) return;
  const uint32_t to = home_of(broker, id, origin.queue);
  RouteRef route;
  bool memory = true;
  broker.on_shard(to, [&](ShardCore& core, Instant) {
    Queue* queue = core.queues().find(id, origin.queue);
    if (!queue || !topic_matches(queue->topic_filter(), origin.topic_name)) return;
    route = core.router().route_to_queue(*queue->filter, core.index());
    memory = static_cast<bool>(route);
  });
  const MessageRef message = route ? revived(one.message->view(), origin) : MessageRef();
  if (!memory || (route && !message)) throw std::bad_alloc();
  if (!route) return;
  const ShardCore::LetterWait wait = moves.begin();
  bool begun = false;
  broker.on_shard(home, [&](ShardCore& core, Instant now) {
    Queue* queue = core.queues().find(id, name);
    begun = queue && core.move_to_queue(*queue, one.number, message, route, wait, now);
  });
  moves.note_begun(begun);
}

mqttq_queues::One describe(Queue& queue, int64_t now_ms) {
  const QueueIdentity identity = queue.identity();
  mqttq_queues::One one{std::string(identity.name),
                        std::string(identity.topic_filter),
                        std::string(queue.dead_letter_topic.view()),
                        std::string(identity.key),
                        {}};
  mqttq_queue& out = one.figures;
  const QueueOptions& options = queue.options;
  const QueueFigures& figures = queue.work->figures;
  out.size = sizeof out;
  out.config.size = sizeof out.config;
  out.config.dispatch = static_cast<uint32_t>(options.dispatch);
  out.config.overflow = static_cast<uint32_t>(options.overflow);
  out.config.messages_max = said_of(options.messages_max);
  out.config.bytes_max = said_of(options.bytes_max);
  out.config.age_max_s = said_of(options.age_max_s);
  out.config.redelivery_delay_ms = options.redelivery_delay_ms;
  out.config.ack_timeout_ms = options.ack_timeout_ms;
  out.config.deliveries_max = options.deliveries_max;
  out.config.exclusive = options.exclusive;
  out.config.last_value = identity.last_value;
  out.config.keyless = static_cast<uint32_t>(identity.keyless);
  out.messages = queue.depth();
  out.bytes = queue.bytes();
  out.inflight = queue.work->open_count - queue.work->waiting_count;
  if (out.messages && !queue.work->arrivals.empty()) {
    out.oldest_ms = static_cast<uint64_t>(std::max<int64_t>(now_ms - queue.work->arrivals.oldest_ms(), 0));
  }
  out.consumers = queue.work->members.count();
  for (const QueueMember* member : queue.work->members) out.consumers_connected += member->state.connected;
  out.entered = figures.entered;
  out.refused = queue.filter->gate().refused_count();
  out.delivered = figures.delivered;
  out.redelivered = figures.redelivered;
  out.settled = figures.settled;
  out.rejected = figures.rejected;
  out.timed_out = figures.timed_out;
  out.expired = figures.expired;
  out.dropped = figures.dropped;
  out.replaced = figures.replaced;
  out.keyless = queue.filter->gate().unfit_count();
  out.dead = figures.dead;
  out.purged = figures.purged;
  return one;
}

}  // namespace

extern "C" {

void mqttq_queue_config_init(mqttq_queue_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_queue_declare(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name,
                                 const mqttq_queue_config* config, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_queue_config known;
    if (!config || !read_struct(config, known)) {
      return fail(error, MQTTQ_EINVAL, "config: NULL, or asks for more than this library has");
    }
    if (!is_valid_queue_name(text_of(name))) return judge_call(*broker, name, error);
    std::string_view topic_filter = text_of(known.topic_filter);
    if (is_unnamed_queue(text_of(name))) {
      const std::string_view own = parse_queue_address(text_of(name)).topic_filter;
      if (!topic_filter.empty() && topic_filter != own) {
        return fail(error, MQTTQ_EINVAL, "topic_filter: another one than the name says");
      }
      topic_filter = own;
    }
    if (topic_filter.empty()) return fail(error, MQTTQ_EINVAL, "topic_filter: to be given");
    if (!is_valid_topic_filter(topic_filter) || !may_be_kept(topic_filter) ||
        topic_level_count(topic_filter) > broker->limits().topic_levels_max) {
      return fail(error, MQTTQ_EINVAL,
                  "topic_filter: not a topic filter, one of the server's topics, or too many levels");
    }
    QueueOptions options;
    if (const char* wrong = read_options(known, ~0u, options)) return fail(error, MQTTQ_EINVAL, wrong);
    QueueIdentity identity{id_of(ns), text_of(name), topic_filter};
    if (const char* wrong = read_identity(known, identity)) return fail(error, MQTTQ_EINVAL, wrong);
    if (options.dispatch == QueueDispatch::KeyOrdered && identity.key.empty()) {
      return fail(error, MQTTQ_EINVAL, kKeyOrderedWithoutKey);
    }
    const std::string_view dead_letter_topic = text_of(known.dead_letter_topic);
    if (const char* wrong = judge_dead_letter_topic(dead_letter_topic, topic_filter)) {
      return fail(error, MQTTQ_EINVAL, wrong);
    }
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    return change_at_home(
        *broker, ns, text_of(name), error,
        [&](ShardCore& core, NamespaceId, Instant now) {
          Queue* queue = nullptr;
          Status status = core.declare_queue(identity, options, dead_letter_topic, queue);
          if (status != Status::Exists) return of_status(status);
          const QueueIdentity there = queue->identity();
          if (!there.same_kind(identity)) return other_of(there, identity);
          status = core.queues().set_options(*queue, options, dead_letter_topic, now);
          return of_status(status);
        },
        !known.no_wait);
  });
}

mqttq_status mqttq_queue_change(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint32_t fields,
                                const mqttq_queue_config* config, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    constexpr uint32_t kFields = 2 * MQTTQ_QUEUE_FIELD_EXCLUSIVE - 1;
    mqttq_queue_config known;
    if (!config || !read_struct(config, known)) {
      return fail(error, MQTTQ_EINVAL, "config: NULL, or asks for more than this library has");
    }
    if (fields & ~kFields) return fail(error, MQTTQ_EINVAL, "fields: not made of MQTTQ_QUEUE_FIELD_…");
    QueueOptions judged;
    if (const char* wrong = read_options(known, fields, judged)) return fail(error, MQTTQ_EINVAL, wrong);
    return change_queue(*broker, ns, name, error, [&](Queues& queues, Queue& queue, Instant now) -> Outcome {
      QueueOptions options = queue.options;
      static_cast<void>(read_options(known, fields, options));  // it was judged before
      if (options.dispatch == QueueDispatch::KeyOrdered && !queue.values) return {MQTTQ_EINVAL, kKeyOrderedWithoutKey};
      const std::string before(queue.dead_letter_topic.view());
      const bool another = fields & MQTTQ_QUEUE_FIELD_DEAD_LETTER_TOPIC;
      const std::string_view dead_letter_topic = another ? text_of(known.dead_letter_topic) : std::string_view(before);
      if (const char* wrong = judge_dead_letter_topic(dead_letter_topic, queue.topic_filter())) {
        return {MQTTQ_EINVAL, wrong};
      }
      return of_status(queues.set_options(queue, options, dead_letter_topic, now));
    });
  });
}

mqttq_status mqttq_queue_delete(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    return change_queue(*broker, ns, name, error, [](Queues& queues, Queue& queue, Instant now) -> Outcome {
      queues.remove(queue, now);
      return {MQTTQ_OK, ""};
    });
  });
}

mqttq_status mqttq_queue_purge(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint64_t* purged,
                               mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    uint64_t count = 0;
    const mqttq_status status =
        change_queue(*broker, ns, name, error, [&](Queues& queues, Queue& queue, Instant now) -> Outcome {
          count = queues.purge(queue, now);
          return {MQTTQ_OK, ""};
        });
    if (purged && status == MQTTQ_OK) *purged = count;
    return status;
  });
}

mqttq_status mqttq_queues_list(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint64_t* cursor,
                               size_t count, mqttq_queues** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!cursor || !out) return fail(error, MQTTQ_EINVAL, "cursor or out: NULL");
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    if (!count) count = 1000;
    auto list = std::make_unique<mqttq_queues>();
    const NamespaceId id = id_of(ns);
    const Policy& policy = broker->broker->policy();
    if (name.size) {
      broker->on_shard(home_of(*broker, id, text_of(name)), [&](ShardCore& core, Instant now) {
        Queue* queue = core.queues().find(id, text_of(name));
        if (queue) list->queues.push_back(describe(*queue, policy.unix_ms(now)));
      });
      *cursor = 0;
      *out = list.release();
      return MQTTQ_OK;
    }
    *cursor = walk_page(
        *broker, *cursor, [](ShardCore& core) -> auto& { return core.queues().slab(); },
        [&](uint32_t, Queue& queue, Instant now) {
          if (queue.namespace_id != id) return true;
          if (list->queues.size() == count) return false;
          list->queues.push_back(describe(queue, policy.unix_ms(now)));
          return true;
        });
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_queues_count(const mqttq_queues* queues) { return queues->queues.size(); }

mqttq_queue mqttq_queues_get(const mqttq_queues* queues, size_t index) {
  const auto& one = queues->queues[index];
  mqttq_queue queue = one.figures;
  queue.name = bytes_of(one.name);
  queue.config.topic_filter = bytes_of(one.topic_filter);
  queue.config.dead_letter_topic = bytes_of(one.dead_letter_topic);
  queue.config.key = bytes_of(one.key);
  return queue;
}

void mqttq_queues_free(mqttq_queues* queues) { delete queues; }

// --- consumers

void mqttq_consumer_config_init(mqttq_consumer_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_consumer_open(mqttq_broker* broker, const mqttq_consumer_config* config, mqttq_consumer** out,
                                 mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    constexpr uint32_t kWindow = 100;
    mqttq_consumer_config known;
    if (!config || !out) return fail(error, MQTTQ_EINVAL, "config or out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    if (!known.events) return fail(error, MQTTQ_EINVAL, "events: NULL");
    if (known.window > UINT16_MAX) return fail(error, MQTTQ_EINVAL, "window: more than 65 535");
    if (known.priority < INT8_MIN || known.priority > INT8_MAX) {
      return fail(error, MQTTQ_EINVAL, "priority: not from -128 to 127");
    }
    const std::string_view name = text_of(known.queue);
    if (const mqttq_status status = judge_call(*broker, known.queue, error); status != MQTTQ_OK) return status;
    const NamespaceId id = id_of(known.ns);
    const uint32_t shard = home_of(*broker, id, name);
    const auto window = static_cast<uint16_t>(known.window ? known.window : kWindow);
    auto consumer = std::make_unique<mqttq_consumer>(*broker, shard, *known.events, known.user, window,
                                                     static_cast<int8_t>(known.priority));
    Status status = Status::Shutdown;
    broker->on_shard(shard, [&](ShardCore& core, Instant now) { status = consumer->inside.open(core, id, name, now); });
    if (status == Status::Shutdown) return fail(error, MQTTQ_ESHUTDOWN, "the broker is stopping");
    if (status == Status::NotFound) return fail(error, MQTTQ_ENOTFOUND, kUnknown.text);
    if (status != Status::Ok) return fail(error, MQTTQ_ENOMEM, "out of memory");
    *out = consumer.release();
    return MQTTQ_OK;
  });
}

void mqttq_consumer_close(mqttq_consumer* consumer) {
  if (!consumer) return;
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    if (consumer->broker.inside_callback()) {  // the queue is handing out: at the end of the turn, and nobody waits
      consumer->broker.broker->shard(consumer->shard).run_soon([consumer](ShardCore&, Instant now) {
        consumer->inside.close(now);
        delete consumer;
      });
      consumer = nullptr;
      return MQTTQ_OK;
    }
    consumer->broker.on_shard_or_here(consumer->shard, [&](ShardCore&, Instant now) { consumer->inside.close(now); });
    return MQTTQ_OK;
  }));
  delete consumer;
}

// --- looking in

mqttq_status mqttq_queue_peek(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint64_t* cursor,
                              size_t count, mqttq_queue_messages** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!cursor || !out) return fail(error, MQTTQ_EINVAL, "cursor or out: NULL");
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    auto list = std::make_unique<mqttq_queue_messages>();
    const NamespaceId id = id_of(ns);
    const uint32_t home = home_of(*broker, id, text_of(name));
    if (!peek(*broker, home, id, text_of(name), *cursor, count ? count : 100, list->messages, *cursor)) {
      return fail(error, MQTTQ_ENOTFOUND, kUnknown.text);
    }
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_queue_messages_count(const mqttq_queue_messages* messages) { return messages->messages.size(); }

mqttq_queued mqttq_queue_messages_get(const mqttq_queue_messages* messages, size_t index) {
  const auto& one = messages->messages[index];
  return {sizeof(mqttq_queued), one.number, one.deliveries, one.inflight, handle_of(one.message)};
}

void mqttq_queue_messages_free(mqttq_queue_messages* messages) { delete messages; }

mqttq_status mqttq_queue_move_back(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes name, uint64_t count,
                                   uint64_t* moved, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    constexpr size_t kPage = 100;
    uint64_t next = 1;
    if (moved) *moved = 0;
    if (const mqttq_status status = judge_call(*broker, name, error); status != MQTTQ_OK) return status;
    const NamespaceId id = id_of(ns);
    const uint32_t home = home_of(*broker, id, text_of(name));
    uint64_t last = 0;  // of those that wait now: what comes back meanwhile is not moved twice
    bool found = false;
    broker->on_shard(home, [&](ShardCore& core, Instant) {
      found = core.queues().find(id, text_of(name)) != nullptr;
      last = core.state().seen_number();
    });
    Letters moves(!broker->host_loop);
    while (found && next && next <= last && !moves.refused && (!count || moves.taken < count)) {
      std::vector<mqttq_queue_messages::One> page;
      const size_t size = count ? static_cast<size_t>(std::min<uint64_t>(kPage, count - moves.taken)) : kPage;
      found = peek(*broker, home, id, text_of(name), next, size, page, next);
      std::exception_ptr failure;
      try {
        for (const auto& one : page) {
          if (one.number <= last) move_back(*broker, home, id, text_of(name), one, moves);
        }
      } catch (...) {
        failure = std::current_exception();
      }
      moves.wait();  // they know of it
      if (moved) *moved = moves.taken;
      if (failure) std::rethrow_exception(failure);
    }
    if (!found) return fail(error, MQTTQ_ENOTFOUND, kUnknown.text);
    // Behind two turns of each shard all homes have read what was posted to them before the answers.
    for (uint32_t i = 0; !broker->host_loop && moves.taken && i < 2 * broker->broker->shard_count(); ++i) {
      broker->on_shard(i / 2, [](ShardCore&, Instant) {});
    }
    DurableWait wait;
    if (!broker->host_loop) broker->on_shard(home, [&](ShardCore& core, Instant) { wait.begin(core); });
    if (!wait.end()) return fail(error, MQTTQ_ESYSTEM, "that they were moved could not be written yet");
    return moves.refused ? fail(error, MQTTQ_EFULL, "their queue, or the store, takes no more: the rest stays")
                         : MQTTQ_OK;
  });
}

void mqttq_queue_policy_init(mqttq_queue_policy* policy, size_t size) { init_struct(policy, size); }

mqttq_status mqttq_broker_set_queue_policy(mqttq_broker* broker, const mqttq_queue_policy* policy, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_queue_policy known;
    if (!read_struct(policy, known)) return fail(error, MQTTQ_EINVAL, "policy: asks for more than this library has");
    mqttq_queue_config config;
    if (!read_struct(known.auto_config, config)) {
      return fail(error, MQTTQ_EINVAL, "auto_config: asks for more than this library has");
    }
    if (known.auto_create > 1) return fail(error, MQTTQ_EINVAL, "auto_create: neither 0 nor 1");
    if (known.disconnect_on_delete > 1) return fail(error, MQTTQ_EINVAL, "disconnect_on_delete: neither 0 nor 1");
    if (config.topic_filter.size || config.dead_letter_topic.size || config.key.size || config.keyless ||
        config.last_value) {
      return fail(error, MQTTQ_EINVAL,
                  "auto_config: topic_filter, dead_letter_topic and keys are for queues that are declared");
    }
    if (config.dispatch == MQTTQ_QUEUE_KEY_ORDERED) {
      return fail(error, MQTTQ_EINVAL, "auto_config: key_ordered needs a key, and so a queue that is declared");
    }
    QueuePolicy made;
    if (const char* wrong = read_options(config, ~0u, made.auto_options)) return fail(error, MQTTQ_EINVAL, wrong);
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    made.auto_create = known.auto_create != 0;
    if (known.count_max) made.count_max = known.count_max;
    made.disconnect_on_delete = known.disconnect_on_delete != 0;
    broker->broker->policy().queues = made;
    return MQTTQ_OK;
  });
}

}  // extern "C"
