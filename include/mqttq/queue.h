/* mqttq/queue.h - message queues: each message goes to one consumer, and is kept until one has settled it.
 *
 * A queue has a name and a topic filter. From its declaration on it takes every message that matches, at any QoS,
 * beside whoever subscribes. Clients consume it by subscribing to `$queue/<name>`, `$queue/<name>/<filter>` or, if it
 * has no name of its own, `$q/<filter>`; docs/QUEUES.md says what they see. */
#ifndef MQTTQ_QUEUE_H
#define MQTTQ_QUEUE_H

#include "mqttq/events.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the consumer is chosen that gets a message, among those of the highest priority whose windows have room. */
typedef uint32_t mqttq_queue_dispatch;
#define MQTTQ_QUEUE_ROUND_ROBIN 0u    /* each in turn: the default */
#define MQTTQ_QUEUE_RANDOM 1u         /* any */
#define MQTTQ_QUEUE_LEAST_INFLIGHT 2u /* who has the fewest unacknowledged of this queue */
#define MQTTQ_QUEUE_KEY_ORDERED 3u    /* one for all messages of a key that are under way; a queue with a key */

/* What becomes of a message for which a queue has no room. */
typedef uint32_t mqttq_queue_overflow;
#define MQTTQ_QUEUE_DROP_OLDEST 0u /* the oldest makes way for it: the default */
#define MQTTQ_QUEUE_DROP_NEWEST 1u /* the queue does without it */
#define MQTTQ_QUEUE_REJECT 2u      /* the same, and its publisher is told: PUBACK or PUBREC 0x97 */

/* What becomes of a message in which a queue does not find its key. */
typedef uint32_t mqttq_queue_keyless;
#define MQTTQ_QUEUE_KEYLESS_TAKE 0u   /* it is taken, and belongs to no other: the default */
#define MQTTQ_QUEUE_KEYLESS_DROP 1u   /* the queue does without it */
#define MQTTQ_QUEUE_KEYLESS_REJECT 2u /* the same, and its publisher is told: PUBACK or PUBREC 0x83 */

/* Values of a limit. */
#define MQTTQ_QUEUE_UNLIMITED UINT64_MAX
#define MQTTQ_QUEUE_NEVER UINT32_MAX

typedef struct mqttq_queue_config {
  size_t size;                    /* sizeof this struct as the host compiled it; set by _init */
  mqttq_bytes topic_filter;       /* without `$share/` and the like; copied. It never changes */
  mqttq_bytes dead_letter_topic;  /* where a message goes that was delivered deliveries_max times; empty = it is
                                     dropped; copied. The queue's own filter does not match it */
  mqttq_queue_dispatch dispatch;  /* MQTTQ_QUEUE_ROUND_ROBIN, … */
  mqttq_queue_overflow overflow;  /* MQTTQ_QUEUE_DROP_OLDEST, … */
  uint64_t messages_max;          /* waiting and in flight; 0 = 1 000 000; MQTTQ_QUEUE_UNLIMITED */
  uint64_t bytes_max;             /* of their topics, properties and payloads; 0 = 1 GiB; MQTTQ_QUEUE_UNLIMITED */
  uint32_t age_max_s;             /* that a message waits; 0 = 604 800 (7 days); MQTTQ_QUEUE_NEVER = as long as it has
                                     to */
  uint32_t redelivery_delay_ms;   /* before who rejected a message gets it again; 0 = 100 */
  uint32_t ack_timeout_ms;        /* after which an unacknowledged message is given to another; 0 = never */
  uint32_t deliveries_max;        /* of one message; 0 = no limit */
  uint32_t exclusive;             /* 1: one consumer at a time has the queue, the others stand by */
  uint32_t last_value;            /* 1: of what waits, the newest message of each key is all that there is. It never
                                     changes */
  mqttq_queue_keyless keyless;    /* MQTTQ_QUEUE_KEYLESS_TAKE, … It never changes */
  uint32_t no_wait;               /* 1: mqttq_queue_declare() does not wait until it is durable, as with host_loop */
  mqttq_bytes key;                /* what messages go by that belong together: `client_id`, `topic`, `topic_level:N`
                                     (from 1), `user_property:NAME` or `json:POINTER` (RFC 6901); empty = none; copied.
                                     It never changes */
} mqttq_queue_config;

/* Everything to its default. size: sizeof *config.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_queue_config_init(mqttq_queue_config *config, size_t size);

/* Declares a queue. One that is there with the same filter gets these options.
 *   ns      NULL = global.
 *   name    0-9 A-Z a-z . _ -, beginning with a letter or digit, at most 255; or "$q/<filter>" for the one queue of a
 *           filter that has no other name, whose topic_filter may be empty then.
 *   config  borrowed until return; strings are copied.
 *   error   nullable; filled on failure.
 * It is durable when this returns; with host_loop, where that takes turns, and with no_wait, which is for many queues:
 * when the next message is acknowledged that it took.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_EEXIST (with another filter, key, keyless
 *   or last_value), MQTTQ_EFULL (as many as there may be), MQTTQ_EUNSUPPORTED (a key in JSON, of a library that was
 *   built without), MQTTQ_ENOMEM, MQTTQ_ESYSTEM (it could not be written; it is there all the same, and
 *   written as soon as that works), MQTTQ_ESTATE (not started, or inside a callback on a shard's thread),
 *   MQTTQ_ESHUTDOWN.
 * Thread: any, with host_loop the driving one; not inside a callback (waits for a shard). Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_declare(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                           const mqttq_queue_config *config, mqttq_error *error);

/* Fields of mqttq_queue_config, for mqttq_queue_change(). */
#define MQTTQ_QUEUE_FIELD_DEAD_LETTER_TOPIC 1u
#define MQTTQ_QUEUE_FIELD_DISPATCH 2u
#define MQTTQ_QUEUE_FIELD_OVERFLOW 4u
#define MQTTQ_QUEUE_FIELD_MESSAGES_MAX 8u
#define MQTTQ_QUEUE_FIELD_BYTES_MAX 16u
#define MQTTQ_QUEUE_FIELD_AGE_MAX_S 32u
#define MQTTQ_QUEUE_FIELD_REDELIVERY_DELAY_MS 64u
#define MQTTQ_QUEUE_FIELD_ACK_TIMEOUT_MS 128u
#define MQTTQ_QUEUE_FIELD_DELIVERIES_MAX 256u
#define MQTTQ_QUEUE_FIELD_EXCLUSIVE 512u

/* Changes some of a queue's options, while it is used. What no longer fits is dropped, the oldest first.
 *   fields  made of MQTTQ_QUEUE_FIELD_…: which fields of config are meant; the others stay as they are.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_ENOMEM, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_change(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name, uint32_t fields,
                                          const mqttq_queue_config *config, mqttq_error *error);

/* Ends a queue, with all messages in it. Its consumers are not subscribed any more; see mqttq_queue_policy.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_delete(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                          mqttq_error *error);

/* Drops all messages that wait. What consumers have stays theirs.
 *   purged  nullable; set to how many those were.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_purge(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name, uint64_t *purged,
                                         mqttq_error *error);

/* --- what there is */

typedef struct mqttq_queues mqttq_queues;

/* One queue, as it was when it was listed. Borrowed from the list. */
typedef struct mqttq_queue {
  size_t size;               /* sizeof this struct as the library compiled it */
  mqttq_bytes name;
  mqttq_queue_config config; /* as it stands: no field is 0 for its default, but for those where 0 is a value */
  uint64_t messages;         /* waiting and in flight */
  uint64_t bytes;            /* of those */
  uint64_t inflight;         /* of those: with consumers */
  uint64_t oldest_ms;        /* for how long the oldest is there, to a thirty-second; 0 without one */
  uint32_t consumers;        /* subscribed, connected or not */
  uint32_t consumers_connected;
  /* Since the broker started. */
  uint64_t entered;          /* taken */
  uint64_t refused;          /* not taken: it was full */
  uint64_t delivered;        /* to a consumer, again or not */
  uint64_t redelivered;      /* of those: again */
  uint64_t settled;          /* acknowledged, or moved back */
  uint64_t rejected;         /* acknowledged negatively */
  uint64_t timed_out;        /* not acknowledged within ack_timeout_ms */
  uint64_t expired;          /* by their own expiry, or by age_max_s */
  uint64_t dropped;          /* to make room for newer ones */
  uint64_t replaced;         /* by newer ones of their keys */
  uint64_t keyless;          /* not taken: without the queue's key */
  uint64_t dead;             /* delivered deliveries_max times */
  uint64_t purged;
} mqttq_queue;

/* Lists the queues of a namespace, a page at a time, in no order.
 *   name    size 0 = all; else this one alone.
 *   cursor  in: 0 for the first page, then what the last call left; out: where the next page begins, 0 at the end.
 *           A queue that is there during all calls is listed once.
 *   count   at most so many; 0 = 1000.
 *   out     on success the list, owned by caller, ended by mqttq_queues_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_queues_list(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name, uint64_t *cursor,
                                         size_t count, mqttq_queues **out, mqttq_error *error);
MQTTQ_API size_t mqttq_queues_count(const mqttq_queues *queues);
/* index below mqttq_queues_count(). */
MQTTQ_API mqttq_queue mqttq_queues_get(const mqttq_queues *queues, size_t index);
MQTTQ_API void mqttq_queues_free(mqttq_queues *queues);

/* --- consumers in the process */

typedef struct mqttq_consumer mqttq_consumer;

typedef struct mqttq_consumer_config {
  size_t size;          /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns;  /* NULL = global */
  mqttq_bytes queue;    /* its name */
  mqttq_events *events; /* where its messages go; borrowed until the consumer is closed */
  void *user;           /* handed along in each event */
  uint32_t window;      /* messages that it has unanswered at once, at most 65 535; 0 = 100 */
  int32_t priority;     /* from -128 to 127: lower ones get a message only while no higher one has room */
} mqttq_consumer_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_consumer_config_init(mqttq_consumer_config *config, size_t size);

/* Consumes a queue beside its clients. Messages come as MQTTQ_EVENT_MESSAGE, without a copy; each is to be answered
 * with mqttq_reply_message(): 0 settles it, 0x80 and above rejects it, as a client's PUBACK. With MQTTQ_PULL the host
 * takes them when it likes; one that it has taken and not answered counts in the window. When the queue is deleted,
 * MQTTQ_EVENT_CONSUMER_ENDED comes, and no message any more.
 *   out  on success the consumer, owned by caller, ended by mqttq_consumer_close(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND (no such queue), MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_consumer_open(mqttq_broker *broker, const mqttq_consumer_config *config,
                                           mqttq_consumer **out, mqttq_error *error);

/* Ends it. What it has not answered is another consumer's at once; events that stand in the ring already may still be
 * taken, and answering them has no effect. NULL is fine.
 * Thread: as mqttq_queue_declare(). To be called before the broker is destroyed. Since 0.1. */
MQTTQ_API void mqttq_consumer_close(mqttq_consumer *consumer);

/* --- looking in, and moving back */

typedef struct mqttq_queue_messages mqttq_queue_messages;

/* One message, as it was when it was looked at. Borrowed from the list. */
typedef struct mqttq_queued {
  size_t size;            /* sizeof this struct as the library compiled it */
  uint64_t id;            /* grows from the oldest to the newest */
  uint32_t deliveries;    /* until now */
  uint32_t inflight;      /* 1: a consumer has it */
  mqttq_message *message; /* hold it to keep it longer */
} mqttq_queued;

/* Looks at messages of a queue without consuming them, from the oldest on.
 *   cursor  in: 0 for the first page, then what the last call left; out: where the next page begins, 0 at the end.
 *   count   at most so many; 0 = 100. Fewer come where some cannot be read.
 *   out     on success the list, owned by caller, ended by mqttq_queue_messages_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(); it may read files. Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_peek(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name, uint64_t *cursor,
                                        size_t count, mqttq_queue_messages **out, mqttq_error *error);
MQTTQ_API size_t mqttq_queue_messages_count(const mqttq_queue_messages *messages);
/* index below mqttq_queue_messages_count(). */
MQTTQ_API mqttq_queued mqttq_queue_messages_get(const mqttq_queue_messages *messages, size_t index);
MQTTQ_API void mqttq_queue_messages_free(mqttq_queue_messages *messages);

/* Moves dead letters out of the queue `name` that collects them, back into the queues that they come from, each under
 * the topic that it was published to: of those that wait, the oldest first. What is no dead letter, or whose queue is
 * not there, stays. So does what its queue does without: its overflow, `bytes_max` or `keyless` say so, whatever
 * that does to other publishers. Moved messages count as settled, and are in their queues when it returns, durably
 * where there is a data directory; a crash in between may leave some in both. With the host's loop it does not wait.
 * They are the newest of their queues, among last values too, and have no publisher any more, so no `client_id` key.
 *   count  at most so many; 0 = all that wait when it is called.
 *   moved  nullable; set to how many those were, also where it fails.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_EFULL (their queue, or the store, takes no more: the rest
 * stays), MQTTQ_ENOMEM, MQTTQ_ESYSTEM (that they are gone here is not written yet), MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_queue_declare(); it may read files. Since 0.1. */
MQTTQ_API mqttq_status mqttq_queue_move_back(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                             uint64_t count, uint64_t *moved, mqttq_error *error);

/* --- what clients may do */

typedef struct mqttq_queue_policy {
  size_t size;                  /* sizeof this struct as the host compiled it; set by _init */
  uint32_t auto_create;         /* 1: a subscription to `$queue/<name>/<filter>` or `$q/<filter>` declares a queue that
                                   is not there, if the access control allows MQTTQ_ACTION_DECLARE_QUEUE */
  uint32_t count_max;           /* queues of all namespaces; 0 = 100 000. SUBACK 0x97 */
  uint32_t disconnect_on_delete; /* 1: consumers of a queue that is deleted are sent DISCONNECT 0x98 (3.x: closed); 0:
                                   their subscription ends without a word */
  const mqttq_queue_config *auto_config; /* nullable; options of queues that clients declare; topic_filter is empty;
                                            copied */
} mqttq_queue_policy;

/* Everything to its default. size: sizeof *policy.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_queue_policy_init(mqttq_queue_policy *policy, size_t size);

/* Sets it for all queues of a broker. To be called before the broker starts.
 *   policy  borrowed until return.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ESTATE (started before).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_set_queue_policy(mqttq_broker *broker, const mqttq_queue_policy *policy,
                                                     mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
