/* mqttq/message.h - an Application Message, immutable and shared: whoever gets one gets a share, not a copy. */
#ifndef MQTTQ_MESSAGE_H
#define MQTTQ_MESSAGE_H

#include "mqttq/namespace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_message mqttq_message;

/* Bytes of somebody's. Text is UTF-8 and does not end in NUL. */
typedef struct mqttq_bytes {
  const void *data; /* may be NULL when size is 0 */
  size_t size;
} mqttq_bytes;

typedef struct mqttq_user_property {
  mqttq_bytes name;
  mqttq_bytes value;
} mqttq_user_property;

/* What a message is made of. Everything is borrowed until return. */
typedef struct mqttq_message_config {
  size_t size;                    /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns;            /* NULL = global */
  mqttq_bytes topic;              /* a topic name without wildcards, 1..65 535 bytes */
  mqttq_bytes payload;
  uint8_t qos;                    /* 0, 1 or 2 */
  uint8_t retain;                 /* 1: kept for later subscribers; with an empty payload: what is kept is cleared */
  uint8_t payload_is_text;        /* 1: Payload Format Indicator says UTF-8 */
  uint8_t has_message_expiry;     /* 1: message_expiry_s counts */
  uint32_t message_expiry_s;      /* seconds after which nobody is to get it any more */
  mqttq_bytes content_type;       /* size 0 = none */
  mqttq_bytes response_topic;     /* size 0 = none */
  mqttq_bytes correlation_data;   /* size 0 = none */
  const mqttq_user_property *user_properties; /* in this order, duplicates kept; may be NULL */
  size_t user_property_count;
} mqttq_message_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_message_config_init(mqttq_message_config *config, size_t size);

/* Makes a message by copying what `config` names.
 *   out  on success one share of the message, owned by caller, ended by mqttq_message_release(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_ENOMEM.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_message_create(const mqttq_message_config *config, mqttq_message **out,
                                            mqttq_error *error);

/* One share more, owned by caller; returns `message`.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_message *mqttq_message_hold(mqttq_message *message);

/* Gives a share back. NULL is fine.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_message_release(mqttq_message *message);

/* Views into the message, borrowed from it until the caller's share ends.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_bytes mqttq_message_topic(const mqttq_message *message);
MQTTQ_API mqttq_bytes mqttq_message_payload(const mqttq_message *message);
MQTTQ_API uint8_t mqttq_message_qos(const mqttq_message *message);
MQTTQ_API uint8_t mqttq_message_retain(const mqttq_message *message);
/* size 0 when it has none. */
MQTTQ_API mqttq_bytes mqttq_message_content_type(const mqttq_message *message);
MQTTQ_API mqttq_bytes mqttq_message_response_topic(const mqttq_message *message);
MQTTQ_API mqttq_bytes mqttq_message_correlation_data(const mqttq_message *message);
/* The user property at `index`, in the order they were sent. Returns 1, or 0 when there are no more. */
MQTTQ_API int mqttq_message_user_property(const mqttq_message *message, size_t index, mqttq_user_property *out);

#ifdef __cplusplus
}
#endif

#endif
