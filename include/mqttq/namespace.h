/* mqttq/namespace.h - a tenant's separate topics, clients, subscriptions and retained messages.
 *
 * Every call that names a topic or a client takes a namespace; NULL is the global one. */
#ifndef MQTTQ_NAMESPACE_H
#define MQTTQ_NAMESPACE_H

#include "mqttq/broker.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_namespace mqttq_namespace;

/* Finds the namespace of this name, or makes it.
 *   name   1..255 bytes of [0-9A-Za-z._-], not beginning with '.' or '-'; borrowed until return.
 *   out    on success the namespace, borrowed from the broker until it is destroyed; untouched on failure.
 *   error  nullable; filled on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (the name), MQTTQ_ENOMEM, MQTTQ_EFULL (65 535 namespaces).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_namespace_open(mqttq_broker *broker, const char *name, size_t name_size,
                                            mqttq_namespace **out, mqttq_error *error);

/* Its name, "" for the global one. Borrowed from the namespace; ends in NUL. ns: nullable.
 * Thread: any. Since 0.1. */
MQTTQ_API const char *mqttq_namespace_name(const mqttq_namespace *ns);

#ifdef __cplusplus
}
#endif

#endif
