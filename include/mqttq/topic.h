/* mqttq/topic.h - what a broker makes of the topics that its clients name: rewritten ones, and subscriptions that a
 * client has without asking. All of it is set before the broker starts. */
#ifndef MQTTQ_TOPIC_H
#define MQTTQ_TOPIC_H

#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MQTTQ_REWRITE_PUBLISH 1u   /* topic names of PUBLISH and of wills */
#define MQTTQ_REWRITE_SUBSCRIBE 2u /* topic filters of SUBSCRIBE and UNSUBSCRIBE */

/* A topic that clients name, and the one it stands for. The texts are UTF-8.
 *
 * `from` is a topic filter. Its wildcards match as they do in a subscription, and each catches what it matched: the
 * first is `$1`, the next `$2`. A filter that a client subscribes to is matched level by level: `+` of it is caught by
 * `+` and `#`, and `#` of it by `#` alone. `to` may name what was caught, and ${client_id} and ${user_name}. */
typedef struct mqttq_rewrite {
  size_t size;         /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns; /* whose clients; NULL = global */
  uint32_t actions;    /* made of MQTTQ_REWRITE_…; 0 = all of them */
  mqttq_bytes from;    /* a topic filter; what stands behind `$share/<group>/`, `$exclusive/` and `$delayed/<s>/` */
  mqttq_bytes to;      /* a topic name; with MQTTQ_REWRITE_SUBSCRIBE alone also a topic filter. Not below `$` */
} mqttq_rewrite;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_rewrite_init(mqttq_rewrite *rewrite, size_t size);

/* Adds a rule. The first one that matches is applied, and no other. A message is authorised, retained and routed by the
 * topic that comes of it. A client whose id or user name is empty or has `/`, `+` or `#` in it cannot take their place:
 * its publish or subscription is refused as one of a topic that cannot be, and so is one whose result is too long.
 *   rewrite  borrowed until return; copied.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_EFULL (1000 rules), MQTTQ_ENOMEM,
 *   MQTTQ_ESTATE (the broker was started).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_add_rewrite(mqttq_broker *broker, const mqttq_rewrite *rewrite, mqttq_error *error);

typedef uint32_t mqttq_retain_handling;
#define MQTTQ_RETAINED_SEND 0        /* what is retained is sent when the subscription is made */
#define MQTTQ_RETAINED_DO_NOT_SEND 2 /* it is not (MQTT5 3.8.3.1) */

/* A subscription that every client has from its CONNACK on. */
typedef struct mqttq_auto_subscription {
  size_t size;                           /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns;                   /* whose clients; NULL = global */
  mqttq_bytes topic_filter;              /* may hold ${client_id} and ${user_name}; may be `$share/<group>/<filter>` */
  uint8_t qos;                           /* 0, 1 or 2 */
  uint8_t no_local;                      /* 1: not the client's own messages; not for a shared one */
  uint8_t retain_as_published;           /* 1: RETAIN as its publisher set it */
  mqttq_retain_handling retain_handling; /* MQTTQ_RETAINED_SEND, MQTTQ_RETAINED_DO_NOT_SEND */
} mqttq_auto_subscription;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_auto_subscription_init(mqttq_auto_subscription *subscription, size_t size);

/* Adds a subscription, which nobody is asked about: not the client, and not who authorises. A session that has one of
 * this filter keeps its own. A client may unsubscribe from it, until it connects again. A client whose id or user name
 * cannot stand in the filter (as above), or that is over its limits, does without, which is logged.
 *   subscription  borrowed until return; copied.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_EFULL (100 subscriptions),
 *   MQTTQ_ENOMEM, MQTTQ_ESTATE (the broker was started).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_add_auto_subscription(mqttq_broker *broker,
                                                          const mqttq_auto_subscription *subscription,
                                                          mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
