/* mqttq/client.h - the clients that are connected, or whose sessions are kept: listed, inspected, disconnected. */
#ifndef MQTTQ_CLIENT_H
#define MQTTQ_CLIENT_H

#include "mqttq/namespace.h"
#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_clients mqttq_clients;

/* One session, as it was when it was listed. Borrowed from the list. */
typedef struct mqttq_client {
  size_t size;                    /* sizeof this struct as the library compiled it */
  mqttq_bytes client_id;
  mqttq_bytes user_name;          /* empty if it gave none, or is not connected */
  mqttq_bytes address;            /* of the peer; empty if it is not connected */
  uint8_t connected;
  uint8_t protocol_version;       /* 3, 4 or 5; 0 if it is not connected */
  uint16_t keep_alive_s;
  uint32_t session_expiry_s;      /* UINT32_MAX = never */
  uint32_t subscriptions;
  uint32_t inflight;              /* QoS 1 and 2 messages sent to it and open */
  uint64_t waiting;               /* messages that wait for it */
} mqttq_client;

/* Lists sessions of a namespace, a page at a time.
 *   client_id  size 0 = all; else only the session of this client.
 *   cursor     in: 0 for the first page, then what the last call left; out: where the next page begins, 0 at the end.
 *              A session that lives during all calls is listed once.
 *   count      at most so many; 0 = 1000.
 *   out        on success the list, owned by caller, ended by mqttq_clients_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_ENOMEM, MQTTQ_ESTATE (not started, or inside a callback on a shard's thread),
 *   MQTTQ_ESHUTDOWN.
 * Thread: any, with host_loop the driving one; not inside a callback (waits for a shard). Since 0.1. */
MQTTQ_API mqttq_status mqttq_clients_list(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes client_id,
                                          uint64_t *cursor, size_t count, mqttq_clients **out, mqttq_error *error);
MQTTQ_API size_t mqttq_clients_count(const mqttq_clients *clients);
/* index below mqttq_clients_count(). */
MQTTQ_API mqttq_client mqttq_clients_get(const mqttq_clients *clients, size_t index);
MQTTQ_API void mqttq_clients_free(mqttq_clients *clients);

/* Ends a client's connection; MQTT 5 clients are told why.
 *   reason_code  0x80 and above as DISCONNECT allows it (MQTT5 3.14.2.1); 0 = 0x98 administrative action.
 *   end_session  1: the session's state is discarded too.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (the reason code), MQTTQ_ENOTFOUND, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_clients_list(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_client_disconnect(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes client_id,
                                               mqttq_reason_code reason_code, int end_session, mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
