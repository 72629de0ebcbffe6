#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_events.h"
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

// A cursor is the shard and the place in its slab at which to go on, so that what lives on is met once.
uint64_t cursor_at(uint32_t shard, uint32_t index) noexcept { return (uint64_t{shard} << 32 | index) + 1; }

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
    uint32_t shard = 0, index = 0;
    if (*cursor) {
      shard = static_cast<uint32_t>((*cursor - 1) >> 32);
      index = static_cast<uint32_t>(*cursor - 1);
    }
    uint64_t next = 0;
    for (; shard < broker->broker->shard_count() && !next; ++shard, index = 0) {
      broker->on_shard(shard, [&](ShardCore& core, Instant) {
        for (; index < core.sessions().index_end(); ++index) {
          if (list->clients.size() == count) {
            next = cursor_at(shard, index);
            return;
          }
          Session* session = core.sessions().at(index);
          if (session && session->namespace_id() == id) list->clients.push_back(describe(*session));
        }
      });
    }
    *cursor = next;
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

mqttq_status mqttq_client_disconnect(mqttq_broker* broker, mqttq_namespace* ns, mqttq_bytes client_id,
                                     mqttq_reason_code reason_code, int end_session, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    const auto reason = reason_code ? static_cast<ReasonCode>(reason_code) : ReasonCode::AdministrativeAction;
    if (!kDisconnectErrors.has(static_cast<uint8_t>(reason))) {
      return fail(error, MQTTQ_EINVAL, "reason_code: not one by which a server ends a connection");
    }
    bool found = false;
    const NamespaceId id = id_of(ns);
    broker->on_shard(broker->broker->shard(0).core().home_of(id, text_of(client_id)),
                     [&](ShardCore& core, Instant now) {
                       found = core.disconnect(id, text_of(client_id), reason, end_session != 0, now);
                     });
    return found ? MQTTQ_OK : fail(error, MQTTQ_ENOTFOUND, "no such client");
  });
}

}  // extern "C"
