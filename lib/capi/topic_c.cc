#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_events.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

// Throws std::invalid_argument for what cannot be looked at.
std::string_view text_of(mqttq_bytes bytes, const char* field) {
  if (bytes.size && !bytes.data) throw std::invalid_argument(fmt::format("{}: NULL with a size", field));
  return capi::text_of(bytes);
}

}  // namespace

extern "C" {

void mqttq_rewrite_init(mqttq_rewrite* rewrite, size_t size) { init_struct(rewrite, size); }

mqttq_status mqttq_broker_add_rewrite(mqttq_broker* broker, const mqttq_rewrite* rewrite, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_rewrite known;
    if (!rewrite) return fail(error, MQTTQ_EINVAL, "rewrite: NULL");
    if (!read_struct(rewrite, known)) return fail(error, MQTTQ_EINVAL, "rewrite: asks for more than this library has");
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    constexpr uint32_t kAll = MQTTQ_REWRITE_PUBLISH | MQTTQ_REWRITE_SUBSCRIBE;
    static_assert(kAll == (TopicRewrites::kPublish | TopicRewrites::kSubscribe));
    if (known.actions & ~kAll) return fail(error, MQTTQ_EINVAL, "actions: not made of MQTTQ_REWRITE_…");
    TopicRewrites& rules = broker->broker->policy().rewrites;
    if (rules.count() == TopicRewrites::kRulesMax) return fail(error, MQTTQ_EFULL, "1000 rules");
    rules.add(id_of(known.ns), static_cast<uint8_t>(known.actions ? known.actions : kAll), text_of(known.from, "from"),
              text_of(known.to, "to"));
    return MQTTQ_OK;
  });
}

void mqttq_auto_subscription_init(mqttq_auto_subscription* subscription, size_t size) {
  init_struct(subscription, size);
}

mqttq_status mqttq_broker_add_auto_subscription(mqttq_broker* broker, const mqttq_auto_subscription* subscription,
                                                mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_auto_subscription known;
    if (!subscription) return fail(error, MQTTQ_EINVAL, "subscription: NULL");
    if (!read_struct(subscription, known)) {
      return fail(error, MQTTQ_EINVAL, "subscription: asks for more than this library has");
    }
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    if (known.qos > 2) return fail(error, MQTTQ_EINVAL, "qos: more than 2");
    if (known.retain_handling != MQTTQ_RETAINED_SEND && known.retain_handling != MQTTQ_RETAINED_DO_NOT_SEND) {
      return fail(error, MQTTQ_EINVAL, "retain_handling: not one of MQTTQ_RETAINED_…");
    }
    auto& all = broker->broker->policy().auto_subscriptions;
    if (all.size() == AutoSubscription::kCountMax) return fail(error, MQTTQ_EFULL, "100 subscriptions");
    codec::SubscriptionOptions options;
    options.qos = static_cast<Qos>(known.qos);
    options.no_local = known.no_local != 0;
    options.retain_as_published = known.retain_as_published != 0;
    options.retain_handling = static_cast<codec::RetainHandling>(known.retain_handling);
    all.emplace_back(id_of(known.ns), text_of(known.topic_filter, "topic_filter"), options);
    return MQTTQ_OK;
  });
}

}  // extern "C"
