#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_access.h"
#include "capi/host_events.h"
#include "capi/reason_codes.h"
#include "message/topic.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

constexpr size_t kFieldSizeMax = 65'535;  // bytes, of binary data and text in a packet (MQTT5 1.5.4, 1.5.6)

// What a host says, with its strings: on its way to the shard.
struct HostAnswer {
  Verdict verdict = Verdict::Deny;
  ReasonCode reason = ReasonCode::NotAuthorized;
  std::string data, user_name, reason_string, server_reference;
};

ReasonCode reason_of_denial(mqttq_reason_code given) noexcept {
  return kConnackErrors.has(given) ? static_cast<ReasonCode>(given) : ReasonCode::NotAuthorized;
}

mqttq_status send_answer(mqttq_broker& broker, const mqttq_reply& reply, HostAnswer answer) {
  const ReplyAddress to = ReplyAddress::unpack(reply);
  if (to.shard >= broker.broker->shard_count()) return MQTTQ_EINVAL;
  const AccessTicket ticket{to.shard, to.object, to.question};
  broker.broker->shard(to.shard).run_soon([ticket, answer = std::move(answer)](ShardCore& core, Instant now) {
    core.on_access_answer(ticket,
                          {answer.verdict, answer.reason, as_bytes(answer.data), answer.user_name, answer.reason_string,
                           answer.server_reference},
                          now);
  });
  return MQTTQ_OK;
}

}  // namespace

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
    return send_answer(*broker, *reply,
                       {allow ? Verdict::Allow : Verdict::Deny, reason_of_denial(reason_code), {}, {}, {}, {}});
  }));
}

void mqttq_auth_answer_init(mqttq_auth_answer* answer, size_t size) { init_struct(answer, size); }

mqttq_status mqttq_reply_auth(mqttq_broker* broker, const mqttq_reply* reply, const mqttq_auth_answer* answer) {
  return guard(nullptr, [&]() -> mqttq_status {
    static constexpr Verdict kVerdicts[] = {Verdict::Deny, Verdict::Allow, Verdict::Continue};
    mqttq_auth_answer known;
    if (!answer || !read_struct(answer, known) || known.decision >= std::size(kVerdicts)) return MQTTQ_EINVAL;
    const std::string_view data = text_of(known.data), user_name = text_of(known.user_name);
    if (data.size() > kFieldSizeMax || user_name.size() > kFieldSizeMax || !is_valid_utf8(user_name)) {
      return MQTTQ_EINVAL;
    }
    CloseReason denial = reason_of_denial(known.reason_code);
    denial.reason_string = text_of(known.reason_string);
    denial.server_reference = text_of(known.server_reference);
    if (judge_reason(denial)) return MQTTQ_EINVAL;
    return send_answer(*broker, *reply,
                       {kVerdicts[known.decision], denial.code, std::string(data), std::string(user_name),
                        std::string(denial.reason_string), std::string(denial.server_reference)});
  });
}

mqttq_status mqttq_broker_set_auth_methods(mqttq_broker* broker, const char* const* methods, size_t count,
                                           mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (broker->started) return fail(error, MQTTQ_ESTATE, "the broker was started");
    std::vector<std::string> named;
    for (size_t i = 0; i < count; ++i) {
      if (!methods || !methods[i] || !*methods[i]) return fail(error, MQTTQ_EINVAL, "methods: one has no name");
      const std::string_view method = methods[i];
      if (method.size() > kFieldSizeMax || !is_valid_utf8(method)) {
        return fail(error, MQTTQ_EINVAL, "methods: not a name that MQTT can carry");
      }
      named.emplace_back(method);
    }
    broker->auth_methods = std::move(named);
    return MQTTQ_OK;
  });
}

}  // extern "C"
