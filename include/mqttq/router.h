/* mqttq/router.h - publishing and subscribing in the process, and what the router knows. */
#ifndef MQTTQ_ROUTER_H
#define MQTTQ_ROUTER_H

#include "mqttq/events.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Publishes a message as if a client had. Messages of one topic and one thread keep their order.
 *   message  borrowed until return; a share is kept as long as it is needed.
 * Returns MQTTQ_OK (it is on its way), MQTTQ_EINVAL (more topic levels than the limits allow), MQTTQ_EFULL (too many
 *   are on their way: try again later), MQTTQ_ENOMEM, MQTTQ_ESTATE (not started), MQTTQ_ESHUTDOWN (stopping).
 * Thread: any; also inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_publish(mqttq_broker *broker, mqttq_message *message, mqttq_error *error);

/* --- subscribers of the host */

typedef struct mqttq_subscriber mqttq_subscriber;

typedef struct mqttq_subscriber_config {
  size_t size;                 /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns;         /* NULL = global */
  mqttq_bytes topic_filter;    /* may hold wildcards; not `$share/...` */
  mqttq_events *events;        /* where its messages go; borrowed until the subscriber is closed */
  void *user;                  /* handed along in each event */
  uint8_t qos;                 /* 0, 1 or 2: above QoS 0 messages wait when the ring is full, at 0 they are dropped */
  uint8_t answers;             /* 1: each message above QoS 0 is a request: its publisher is acknowledged when the host
                                  has answered with mqttq_reply_message() */
  uint8_t skip_retained;       /* 1: no retained messages at the start */
} mqttq_subscriber_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_subscriber_config_init(mqttq_subscriber_config *config, size_t size);

/* Subscribes. Messages come as MQTTQ_EVENT_MESSAGE, without a copy.
 *   out  on success the subscriber, owned by caller, ended by mqttq_subscriber_close(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM, MQTTQ_ESTATE (not started, or inside a callback on a
 *   shard's thread), MQTTQ_ESHUTDOWN.
 * Thread: any, with host_loop the driving one; not inside a callback (waits for a shard). Since 0.1. */
MQTTQ_API mqttq_status mqttq_subscriber_open(mqttq_broker *broker, const mqttq_subscriber_config *config,
                                             mqttq_subscriber **out, mqttq_error *error);

/* Messages that were dropped because the ring was full.
 * Thread: any. Since 0.1. */
MQTTQ_API uint64_t mqttq_subscriber_dropped(const mqttq_subscriber *subscriber);

/* Ends the subscription; events that stand in the ring already may still be taken. What it has not answered is refused
 * with 0x80. NULL is fine.
 * Thread: as mqttq_subscriber_open(). To be called before the broker is destroyed. Since 0.1. */
MQTTQ_API void mqttq_subscriber_close(mqttq_subscriber *subscriber);

/* Answers a message of a subscriber that `answers`: 0 accepts it; 0x80 and above is what an MQTT 5 publisher is told,
 * while the connection of a 3.x publisher is closed without an acknowledgement. What PUBACK may not carry (MQTT5
 * 3.4.2.1) is sent as 0x83. The first answer counts.
 * Of a queue's message 0 settles it, and 0x80 and above rejects it (mqttq/queue.h).
 * Thread: any; also inside a callback. Since 0.1. */
MQTTQ_API void mqttq_reply_message(mqttq_broker *broker, const mqttq_reply *reply, mqttq_reason_code reason_code);

/* --- shared subscriptions (MQTT5 4.8.2) */

/* How a group `$share/<group>/<filter>` chooses the member that gets a message. Never one whose window is full while
 * another has room. */
typedef uint32_t mqttq_shared_strategy;
#define MQTTQ_SHARED_ROUND_ROBIN 0    /* each in turn: the default */
#define MQTTQ_SHARED_RANDOM 1         /* any */
#define MQTTQ_SHARED_LEAST_INFLIGHT 2 /* who has the fewest unacknowledged of this group */
#define MQTTQ_SHARED_STICKY 3         /* the same one, for as long as it is connected */
#define MQTTQ_SHARED_HASH_CLIENT_ID 4 /* messages of one publisher go to one member, while the members stay the same */
#define MQTTQ_SHARED_HASH_TOPIC 5     /* messages of one topic go to one member, while the members stay the same */

/* Sets the strategy of a group, or of all groups that have none of their own. To be called before the broker starts.
 *   ns     of the group; NULL = global.
 *   group  the part between `$share/` and the next slash; size 0 = the default of all groups of all namespaces.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (the strategy, or no group's name), MQTTQ_ENOMEM, MQTTQ_ESTATE (started before).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_set_shared_strategy(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes group,
                                                        mqttq_shared_strategy strategy, mqttq_error *error);

/* --- what the router knows */

typedef struct mqttq_routes mqttq_routes;

/* A topic filter with subscribers. */
typedef struct mqttq_route {
  mqttq_bytes topic_filter;
  uint32_t subscriptions; /* a shared group counts once */
} mqttq_route;

/* All topic filters of a namespace that have subscribers, or those that match `topic` when its size is not 0.
 *   out  on success the list, owned by caller, ended by mqttq_routes_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (not a topic name), MQTTQ_ENOMEM.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_routes_list(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes topic,
                                         mqttq_routes **out, mqttq_error *error);
MQTTQ_API size_t mqttq_routes_count(const mqttq_routes *routes);
/* index below mqttq_routes_count(). Borrowed from the list. */
MQTTQ_API mqttq_route mqttq_routes_get(const mqttq_routes *routes, size_t index);
MQTTQ_API void mqttq_routes_free(mqttq_routes *routes);

#ifdef __cplusplus
}
#endif

#endif
