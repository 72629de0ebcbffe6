#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_access.h"
#include "capi/host_events.h"
#include "capi/reason_codes.h"

using namespace mqttq;
using namespace mqttq::capi;

extern "C" {

void mqttq_events_config_init(mqttq_events_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_events_open(mqttq_broker* broker, const mqttq_events_config* config, mqttq_events** out,
                               mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_events_config known;
    if (!out) return fail(error, MQTTQ_EINVAL, "out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    *out = new mqttq_events(*broker->broker, known);
    return MQTTQ_OK;
  });
}

int mqttq_events_fd(mqttq_events* events) { return events->is_pulled() ? events->descriptor() : -1; }

// Of any other ring the host is handed everything already.
size_t mqttq_events_take(mqttq_events* events, mqttq_event* out, size_t count) {
  return events->is_pulled() ? events->take(out, count) : 0;
}

uint64_t mqttq_events_lost(mqttq_events* events) { return events->lost(); }

void mqttq_events_close(mqttq_events* events) { delete events; }

mqttq_status mqttq_broker_set_access(mqttq_broker* broker, mqttq_events* events, int authenticate, int authorize,
                                     mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    broker->access.reset();
    if (events) broker->access = std::make_unique<HostAccess>(*events, *broker, authenticate != 0, authorize != 0);
    for (uint32_t i = 0; i < broker->broker->shard_count(); ++i) {
      broker->broker->shard(i).core().set_access(broker->access.get());
    }
    return MQTTQ_OK;
  });
}

mqttq_status mqttq_broker_observe(mqttq_broker* broker, mqttq_events* events, uint32_t what, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    broker->observer.reset();
    if (events && what) broker->observer = std::make_unique<HostObserver>(*events, *broker, what);
    for (uint32_t i = 0; i < broker->broker->shard_count(); ++i) {
      broker->broker->shard(i).core().set_observer(broker->observer.get());
    }
    return MQTTQ_OK;
  });
}

void mqttq_reply_access(mqttq_broker* broker, const mqttq_reply* reply, int allow, mqttq_reason_code reason_code) {
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    const ReplyAddress to = ReplyAddress::unpack(*reply);
    if (to.shard >= broker->broker->shard_count()) return MQTTQ_EINVAL;
    const AccessTicket ticket{to.shard, to.object, to.question};
    const Verdict verdict = allow ? Verdict::Allow : Verdict::Deny;
    const ReasonCode reason =
        kConnackErrors.has(reason_code) ? static_cast<ReasonCode>(reason_code) : ReasonCode::NotAuthorized;
    broker->broker->shard(to.shard).run_soon(
        [=](ShardCore& core, Instant now) { core.on_access_answer(ticket, {verdict, reason}, now); });
    return MQTTQ_OK;
  }));
}

}  // extern "C"
