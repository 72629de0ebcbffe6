/* mqttq/delayed.h - messages that wait for their time: published to `$delayed/<seconds>/<topic>`, listed, cancelled.
 *
 * The broker takes such a message at once, and answers for it as for any other, but routes it (and retains it, if it
 * says so) to <topic> when <seconds> have passed. From 42 949 670 on, <seconds> is a Unix time. */
#ifndef MQTTQ_DELAYED_H
#define MQTTQ_DELAYED_H

#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_delayed_list mqttq_delayed_list;

/* One message, as it was when it was listed. Borrowed from the list. */
typedef struct mqttq_delayed {
  size_t size;            /* sizeof this struct as the library compiled it */
  uint64_t id;            /* for mqttq_delayed_cancel() */
  uint64_t due_ms;        /* from now until it is published */
  mqttq_bytes client_id;  /* who published it; empty: the host */
  mqttq_message *message; /* with the topic it is going to have; hold it to keep it longer */
} mqttq_delayed;

/* Lists the messages of a namespace that wait for their time, a page at a time, in no order.
 *   cursor  in: 0 for the first page, then what the last call left; out: where the next page begins, 0 at the end.
 *           A message that waits during all calls is listed once.
 *   count   at most so many; 0 = 1000.
 *   out     on success the list, owned by caller, ended by mqttq_delayed_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_ENOMEM, MQTTQ_ESTATE (not started, or inside a callback on a shard's thread),
 *   MQTTQ_ESHUTDOWN.
 * Thread: any, with host_loop the driving one; not inside a callback (waits for a shard). Since 0.1. */
MQTTQ_API mqttq_status mqttq_delayed_messages(mqttq_broker *broker, mqttq_namespace *ns, uint64_t *cursor, size_t count,
                                              mqttq_delayed_list **out, mqttq_error *error);
MQTTQ_API size_t mqttq_delayed_count(const mqttq_delayed_list *list);
/* index below mqttq_delayed_count(). */
MQTTQ_API mqttq_delayed mqttq_delayed_get(const mqttq_delayed_list *list, size_t index);
MQTTQ_API void mqttq_delayed_free(mqttq_delayed_list *list);

/* Takes a message back before its time. Nobody gets it.
 *   ns  the message's namespace; NULL = global.
 *   id  from mqttq_delayed.id.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND (published by now, cancelled before, or another namespace's), MQTTQ_ESTATE,
 *   MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_delayed_messages(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_delayed_cancel(mqttq_broker *broker, mqttq_namespace *ns, uint64_t id, mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
