#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_events.h"
#include "capi/pages.h"
#include "capi/reason_codes.h"

using namespace mqttq;
using namespace mqttq::capi;

struct mqttq_clients {
  struct Client {
    std::string client_id, user_name, address;
    mqttq_client figures;
  };
  std::vector<Client> clients;
};

namespace {

mqttq_clients::Client describe(Session& session) {
  mqttq_clients::Client one;
  one.client_id = session.client_id();
  one.figures = {};
  one.figures.size = sizeof one.figures;
  one.figures.session_expiry_s = session.expiry_s();
  one.figures.subscriptions = session.subscription_count() + session.membership_count();
  one.figures.inflight = session.inflight_count();
  one.figures.waiting = session.waiting_count() + session.behind_count();
  if (const Connection* connection = session.connection()) {
    one.user_name = connection->user_name();
    one.address = connection->link().peer_address();
    one.figures.connected = 1;
    one.figures.protocol_version = static_cast<uint8_t>(connection->version());
    one.figures.keep_alive_s = connection->keep_alive_s();
  }
  return one;
}

}  // namespace

extern "C" {

mqttq_status mqttq_clients_list(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes client_id, uint64_t* cursor,
                                size_t count, mqttq_clients** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!cursor || !out) return fail(error, MQTTQ_EINVAL, "cursor or out: NULL");
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    if (!count) count = 1000;
    auto list = std::make_unique<mqttq_clients>();
    const NamespaceId id = id_of(ns);
    if (client_id.size) {
      broker->on_shard(broker->broker->shard(0).core().home_of(id, text_of(client_id)), [&](ShardCore& core, Instant) {
        if (Session* session = core.find_session(id, text_of(client_id))) list->clients.push_back(describe(*session));
      });
      *cursor = 0;
      *out = list.release();
      return MQTTQ_OK;
    }
    *cursor = walk_page(
        *broker, *cursor, [](ShardCore& core) -> auto& { return core.sessions(); },
        [&](uint32_t, Session& session, Instant) {
          if (session.namespace_id() != id) return true;
          if (list->clients.size() == count) return false;
          list->clients.push_back(describe(session));
          return true;
        });
    *out = list.release();
    return MQTTQ_OK;
  });
}

size_t mqttq_clients_count(const mqttq_clients* clients) { return clients->clients.size(); }

mqttq_client mqttq_clients_get(const mqttq_clients* clients, size_t index) {
  const auto& one = clients->clients[index];
  mqttq_client client = one.figures;
  client.client_id = bytes_of(one.client_id);
  client.user_name = bytes_of(one.user_name);
  client.address = bytes_of(one.address);
  return client;
}

void mqttq_clients_free(mqttq_clients* clients) { delete clients; }

void mqttq_disconnect_init(mqttq_disconnect* how, size_t size) { init_struct(how, size); }

mqttq_status mqttq_client_disconnect(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes client_id,
                                     const mqttq_disconnect* how, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_disconnect known;
    if (!read_struct(how, known)) return fail(error, MQTTQ_EINVAL, "how: asks for more than this library has");
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    CloseReason close;
    if (known.reason_code) close.code = static_cast<ReasonCode>(known.reason_code);
    if (!kDisconnectErrors.has(static_cast<uint8_t>(close.code))) {
      return fail(error, MQTTQ_EINVAL, "reason_code: not one by which a server ends a connection");
    }
    close.reason_string = text_of(known.reason_string);
    close.server_reference = text_of(known.server_reference);
    if (const char* wrong = judge_reason(close)) return fail(error, MQTTQ_EINVAL, wrong);
    bool found = false;
    const NamespaceId id = id_of(ns);
    broker->on_shard(broker->broker->shard(0).core().home_of(id, text_of(client_id)),
                     [&](ShardCore& core, Instant now) {
                       found = core.disconnect(id, text_of(client_id), close, known.end_session != 0, now);
                     });
    return found ? MQTTQ_OK : fail(error, MQTTQ_ENOTFOUND, "no such client");
  });
}

}  // extern "C"
