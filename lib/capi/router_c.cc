#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_consumer.h"
#include "capi/host_subscriber.h"
#include "capi/reason_codes.h"
#include "message/topic.h"

using namespace mqttq;
using namespace mqttq::capi;

struct mqttq_subscriber {
  mqttq_subscriber(NamespaceId ns, mqttq_events& events, void* user, Qos qos, bool answers, Slab<HeldAnswer>& held)
      : sink(ns, events, user, qos, answers, held) {}
  mqttq_broker* broker = nullptr;
  uint32_t shard = 0;
  HostSubscriber sink;
};

struct mqttq_routes {
  struct Route {
    std::string topic_filter;
    uint32_t subscriptions;
  };
  std::vector<Route> routes;
};

extern "C" {

mqttq_status mqttq_publish(mqttq_broker* broker, mqttq_message* message, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (const mqttq_status status = broker->running(error); status != MQTTQ_OK) return status;
    MessageRef kept = MessageRef::share(*reinterpret_cast<Message*>(message));
    const DelayedTopic delayed = parse_delayed_topic(kept->topic_name());
    if (delayed.kind == DelayedTopic::Kind::Invalid) {
      return fail(error, MQTTQ_EINVAL, "message: its topic is not $delayed/<seconds>/<topic>");
    }
    if (is_sys_topic(delayed.topic_name)) return fail(error, MQTTQ_EINVAL, "message: $SYS is the broker's own");
    if (topic_level_count(delayed.topic_name) > broker->limits().topic_levels_max) {
      return fail(error, MQTTQ_EINVAL, "message: its topic has more levels than limits.topic_levels_max");
    }
    Broker& inner = *broker->broker;
    const Instant now = clock_now();
    const int64_t delay = delayed.kind == DelayedTopic::Kind::Delayed
                              ? delay_ns(delayed, broker->limits().delay_max_s, now, inner.policy().unix_offset_ms)
                              : 0;
    if (delay < 0) return fail(error, MQTTQ_EINVAL, "message: its delay is longer than limits.delay_max_s");
    if (delayed.kind == DelayedTopic::Kind::Delayed) {
      MessageView view = kept->view();
      view.topic_name = delayed.topic_name;
      if (view.expires()) view.expires_at = view.expires_at + delay;  // it counts from when it is published
      kept = Message::create(view);
      if (!kept) return fail(error, MQTTQ_ENOMEM, "out of memory");
    }
    if (delay && inner.delayed_full()) return fail(error, MQTTQ_EFULL, "limits.delayed_messages_max or _bytes_max");
    constexpr uint32_t kOpenMax = 65'536;
    if (broker->publishes_open.fetch_add(1) >= kOpenMax) {
      broker->publishes_open.fetch_sub(1);
      return fail(error, MQTTQ_EFULL, "65 536 publishes are on their way");
    }
    // One topic, one shard: what a thread publishes to it stays in order.
    Router& router = inner.router();
    const uint32_t shard =
        static_cast<uint32_t>(router.topic_hash(kept->namespace_id(), kept->topic_name()) % router.shard_count());
    std::atomic<uint32_t>* open = &broker->publishes_open;
    const bool taken = inner.shard(shard).run_soon([kept, open, delay, due = now + delay](ShardCore& core, Instant at) {
      if (delay) {
        core.delay_from_inside(kept, due);
      } else if (core.publish_from_inside(kept, at, open)) {
        return;
      }
      open->fetch_sub(1);
    });
    if (taken) return MQTTQ_OK;
    open->fetch_sub(1);
    return fail(error, MQTTQ_ESHUTDOWN, "the broker has stopped");
  });
}

void mqttq_subscriber_config_init(mqttq_subscriber_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_subscriber_open(mqttq_broker* broker, const mqttq_subscriber_config* config, mqttq_subscriber** out,
                                   mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_subscriber_config known;
    if (!config || !out) return fail(error, MQTTQ_EINVAL, "config or out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    if (!known.events) return fail(error, MQTTQ_EINVAL, "events: NULL");
    if (known.qos > 2) return fail(error, MQTTQ_EINVAL, "qos: more than 2");
    const std::string_view filter = text_of(known.topic_filter);
    if (!is_valid_topic_filter(filter) || parse_shared_filter(filter).kind != SharedFilter::Kind::NotShared) {
      return fail(error, MQTTQ_EINVAL, "topic_filter: not a topic filter, or a shared one");
    }
    if (topic_level_count(filter) > broker->limits().topic_levels_max) {
      return fail(error, MQTTQ_EINVAL, "topic_filter: more levels than limits.topic_levels_max");
    }
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    const NamespaceId ns = id_of(known.ns);
    Broker& inner = *broker->broker;
    const auto shard = static_cast<uint32_t>(inner.router().topic_hash(ns, filter) % inner.shard_count());
    auto subscriber = std::make_unique<mqttq_subscriber>(ns, *known.events, known.user, static_cast<Qos>(known.qos),
                                                         known.answers != 0, *broker->held_answers[shard]);
    subscriber->broker = broker;
    subscriber->shard = shard;
    Status status = Status::NoMemory;
    broker->on_shard(subscriber->shard,
                     [&](ShardCore& core, Instant) { status = subscriber->sink.open(core, filter); });
    if (status != Status::Ok) return fail(error, MQTTQ_ENOMEM, "out of memory");
    Ring<MessageRef> retained;
    bool complete = true;
    for (uint32_t i = 0; !known.skip_retained && i < inner.shard_count(); ++i) {
      broker->on_shard(i, [&](ShardCore& core, Instant now) {
        complete = core.collect_retained(ns, filter, now, retained) && complete;
      });
    }
    broker->on_shard(subscriber->shard, [&](ShardCore& core, Instant now) {
      if (complete) subscriber->sink.take_retained(retained);
      if (!complete) subscriber->sink.close(core, now);
    });
    if (!complete) return fail(error, MQTTQ_ENOMEM, "out of memory");
    *out = subscriber.release();
    return MQTTQ_OK;
  });
}

uint64_t mqttq_subscriber_dropped(const mqttq_subscriber* subscriber) { return subscriber->sink.dropped(); }

void mqttq_subscriber_close(mqttq_subscriber* subscriber) {
  if (!subscriber) return;
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    if (subscriber->broker->inside_callback()) {  // lists are being walked: at the end of the turn, and nobody waits
      subscriber->broker->broker->shard(subscriber->shard).run_soon([subscriber](ShardCore& core, Instant now) {
        subscriber->sink.close(core, now);
        delete subscriber;
      });
      subscriber = nullptr;
      return MQTTQ_OK;
    }
    subscriber->broker->on_shard_or_here(subscriber->shard,
                                         [&](ShardCore& core, Instant now) { subscriber->sink.close(core, now); });
    return MQTTQ_OK;
  }));
  delete subscriber;
}

void mqttq_reply_message(mqttq_broker* broker, const mqttq_reply* reply, mqttq_reason_code reason_code) {
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    const ReplyAddress to = ReplyAddress::unpack(*reply);
    if (to.shard >= broker->broker->shard_count()) return MQTTQ_EINVAL;
    ReasonCode reason = ReasonCode::Success;
    if (kPublishErrors.has(reason_code)) {
      reason = static_cast<ReasonCode>(reason_code);
    } else if (reason_code >= 0x80) {
      reason = ReasonCode::ImplementationSpecificError;
    }
    Slab<HeldAnswer>& held = *broker->held_answers[to.shard];
    broker->broker->shard(to.shard).run_soon([=, &held](ShardCore& core, Instant now) {
      HeldAnswer* one = held.find(to.object);
      if (!one) return;
      const HeldAnswer taken = *one;
      held.give_back(*one);
      if (taken.consumer) return taken.consumer->on_reply(taken.number, reason, now);
      core.answer(taken.answer, reason, now);
    });
    return MQTTQ_OK;
  }));
}

mqttq_status mqttq_broker_set_shared_strategy(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes group,
                                              mqttq_shared_strategy strategy, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
#define MQTTQ_X(name, word) +1
    constexpr uint32_t kStrategies = 0 MQTTQ_SHARED_STRATEGIES(MQTTQ_X);
#undef MQTTQ_X
    if (strategy >= kStrategies) return fail(error, MQTTQ_EINVAL, "strategy: not one of MQTTQ_SHARED_…");
    if (text_of(group).find_first_of("/+#") != std::string_view::npos) {
      return fail(error, MQTTQ_EINVAL, "group: the name of a group has no /, + and #");
    }
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    SharedStrategies& strategies = broker->broker->policy().shared;
    if (group.size) {
      strategies.set(id_of(ns), text_of(group), static_cast<SharedStrategy>(strategy));
    } else {
      strategies.set_default(static_cast<SharedStrategy>(strategy));
    }
    return MQTTQ_OK;
  });
}

mqttq_status mqttq_routes_list(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes topic, mqttq_routes** out,
                               mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!out) return fail(error, MQTTQ_EINVAL, "out: NULL");
    if (topic.size && !is_valid_topic_name(text_of(topic))) return fail(error, MQTTQ_EINVAL, "topic: not a topic name");
    auto list = std::make_unique<mqttq_routes>();
    broker->broker->router().for_each_filter([&](const Filter& filter) {
      if (filter.namespace_id() != id_of(ns)) return;
      if (topic.size && !topic_matches(filter.text(), text_of(topic))) return;
      list->routes.push_back({std::string(filter.text()), filter.user_count()});
    });
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_routes_count(const mqttq_routes* routes) { return routes->routes.size(); }

mqttq_route mqttq_routes_get(const mqttq_routes* routes, size_t index) {
  const auto& route = routes->routes[index];
  return {bytes_of(route.topic_filter), route.subscriptions};
}

void mqttq_routes_free(mqttq_routes* routes) { delete routes; }

}  // extern "C"
