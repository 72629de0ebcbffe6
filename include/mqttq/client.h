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

/* How a client is disconnected. */
typedef struct mqttq_disconnect {
  size_t size;                   /* sizeof this struct as the host compiled it; set by _init */
  mqttq_reason_code reason_code; /* 0x80 and above as DISCONNECT allows it (MQTT5 3.14.2.1); 0 = 0x98 administrative
                                    action */
  uint8_t end_session;           /* 1: the session's state is discarded too */
  mqttq_bytes reason_string;     /* for people, in UTF-8, up to 65 535 bytes, to a client that asks for problem
                                    information; empty = none */
  mqttq_bytes server_reference;  /* with 0x9C or 0x9D: where to go instead (MQTT5 4.13), in UTF-8, up to 65 535 bytes;
                                    empty = none */
} mqttq_disconnect;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_disconnect_init(mqttq_disconnect *how, size_t size);

/* Ends a client's connection; MQTT 5 clients are told why. What does not fit into the client's Maximum Packet Size is
 * left out: the reason string first.
 *   how  nullable: everything to its default; borrowed until return.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_ENOTFOUND, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_clients_list(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_client_disconnect(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes client_id,
                                               const mqttq_disconnect *how, mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
