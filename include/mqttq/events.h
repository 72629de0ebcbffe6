/* mqttq/events.h - what the broker has to tell or to ask its host: authentication and authorisation requests,
 * connections and sessions, messages for subscribers in the process.
 *
 * Events stand in a bounded ring. The host takes them in batches from its own thread, waiting on one descriptor; or it
 * registers a callback, which runs on one thread of the library, or, if it says so, on the shard's own thread. */
#ifndef MQTTQ_EVENTS_H
#define MQTTQ_EVENTS_H

#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_events mqttq_events;

typedef uint32_t mqttq_event_type;

#define MQTTQ_EVENT_AUTHENTICATE 1   /* a client wants to connect: answer with mqttq_reply_access() or _reply_auth() */
#define MQTTQ_EVENT_AUTHORIZE 2      /* a client wants to publish or subscribe: answer with mqttq_reply_access() */
#define MQTTQ_EVENT_CONNECTED 3      /* a client was accepted */
#define MQTTQ_EVENT_DISCONNECTED 4   /* its connection is gone; reason_code says why */
#define MQTTQ_EVENT_SESSION_ENDED 5  /* its session's state is discarded */
#define MQTTQ_EVENT_MESSAGE 6        /* a message for a subscriber of the host's, or a consumer of a queue */
#define MQTTQ_EVENT_DELIVERED 7      /* a message was written for a client */
#define MQTTQ_EVENT_DROPPED 8        /* a message was dropped for a client */
#define MQTTQ_EVENT_CONSUMER_ENDED 9 /* the queue of a consumer of the host's is deleted */

/* Sets of types, for mqttq_broker_observe(). */
#define MQTTQ_OBSERVE_SESSIONS 1u /* CONNECTED, DISCONNECTED, SESSION_ENDED */
#define MQTTQ_OBSERVE_MESSAGES 2u /* DELIVERED, DROPPED: one event a message, which costs */

/* What an AUTHORIZE event asks about, and its topic. Of who consumes a queue it asks twice: with `$queue/<name>` or
 * `$q/<filter>`, and with the queue's filter; of who reads a stream with `$stream/<name>` or `$s/<filter>`, wherever he
 * begins, and with the filter that he names, or the stream's. */
#define MQTTQ_ACTION_PUBLISH 0u       /* a topic name */
#define MQTTQ_ACTION_SUBSCRIBE 1u     /* a topic filter */
#define MQTTQ_ACTION_DECLARE_QUEUE 2u /* `$queue/<name>/<filter>` or `$q/<filter>`, where clients may declare queues;
                                         `$stream/<name>/<filter>` or `$s/<filter>`, where they may declare streams: a
                                         denial still lets the client have one that is there */

/* Names one request. Copied freely; an answer that comes late, twice or never is safe. */
typedef struct mqttq_reply {
  uint64_t words[3];
} mqttq_reply;

/* One event. All pointers are borrowed from the ring until the next mqttq_events_take(), or the callback's return. */
typedef struct mqttq_event {
  size_t size;                  /* sizeof this struct as the library compiled it */
  mqttq_event_type type;
  mqttq_reason_code reason_code; /* DISCONNECTED */
  uint8_t action;               /* AUTHORIZE: MQTTQ_ACTION_… */
  uint8_t qos;                  /* AUTHORIZE */
  uint8_t retain;               /* AUTHORIZE */
  uint8_t has_user_name;        /* AUTHENTICATE; a user name may be empty */
  uint8_t has_password;         /* AUTHENTICATE */
  uint8_t has_reply;            /* 1: `reply` is to be answered */
  uint8_t protocol_version;     /* AUTHENTICATE: 3, 4 or 5 */
  uint64_t sequence;            /* counts up by one with each event of one shard: in order for each client */
  const char *namespace_name;   /* "" = global; ends in NUL */
  mqttq_bytes client_id;        /* empty for MESSAGE */
  mqttq_bytes user_name;        /* AUTHENTICATE, AUTHORIZE */
  mqttq_bytes password;         /* AUTHENTICATE */
  mqttq_bytes address;          /* of the peer: "127.0.0.1:50312" */
  mqttq_bytes topic;            /* AUTHORIZE: see MQTTQ_ACTION_…; DELIVERED, DROPPED */
  mqttq_message *message;       /* MESSAGE: hold it to keep it longer */
  void *user;                   /* MESSAGE: the subscriber's or consumer's; CONSUMER_ENDED */
  mqttq_reply reply;
  mqttq_bytes auth_method;      /* AUTHENTICATE: the client's Authentication Method; empty = none, no AUTH comes */
  mqttq_bytes auth_data;        /* AUTHENTICATE: its Authentication Data, up to 65 535 bytes */
  uint8_t reauthentication;     /* AUTHENTICATE: 1 of a connection in use; user_name is what it is known by */
  uint8_t round;                /* AUTHENTICATE: 0 first, then one more with each packet that the client goes on by */
} mqttq_event;

/* Takes one event. user as given with the callback; event borrowed until return.
 * Thread: by mode. May call the library, but nothing that waits for a shard (those functions say so). */
typedef void (*mqttq_event_fn)(void *user, const mqttq_event *event);

#define MQTTQ_PULL 0      /* the host takes events with mqttq_events_take() */
#define MQTTQ_ON_WORKER 1 /* the callback runs on a thread of the library's, one for these events */
#define MQTTQ_ON_SHARD 2  /* the callback runs on the shard's thread, and the host answers for its time */

typedef struct mqttq_events_config {
  size_t size;              /* sizeof this struct as the host compiled it; set by _init */
  uint32_t capacity;        /* events waiting, from each shard; 0 = 1024 */
  uint32_t mode;            /* MQTTQ_PULL, MQTTQ_ON_WORKER, MQTTQ_ON_SHARD */
  mqttq_event_fn on_event;  /* not for MQTTQ_PULL */
  void *user;               /* handed to on_event */
} mqttq_events_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_events_config_init(mqttq_events_config *config, size_t size);

/* Makes a ring. MQTTQ_ON_WORKER starts its thread now.
 *   out  on success the ring, owned by caller, ended by mqttq_events_close(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM, MQTTQ_ESYSTEM.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_events_open(mqttq_broker *broker, const mqttq_events_config *config, mqttq_events **out,
                                         mqttq_error *error);

/* A descriptor that is readable while events wait; -1 unless MQTTQ_PULL. Borrowed from the ring; never read from it.
 * Thread: any. Since 0.1. */
MQTTQ_API int mqttq_events_fd(mqttq_events *events);

/* Takes up to `count` events, oldest first for each shard; never waits. What was taken before is ended.
 *   out  borrowed until return; its pointers until the next take or close.
 * Returns how many; of a ring that is not MQTTQ_PULL none.
 * Thread: one at a time. Since 0.1. */
MQTTQ_API size_t mqttq_events_take(mqttq_events *events, mqttq_event *out, size_t count);

/* Events that did not fit: connection, session, delivered and dropped ones only. A request that does not fit has its
 * answer on the wire (authentication: 0x89 server busy; authorisation: denied); a message waits or is dropped by QoS.
 * Thread: any. Since 0.1. */
MQTTQ_API uint64_t mqttq_events_lost(mqttq_events *events);

/* Ends the ring. Everything that feeds it was ended before: the broker is stopped, and its subscribers are closed; the
 * broker itself is destroyed after it. No callback begins after return. NULL is fine.
 * Thread: any; not inside a callback. Since 0.1. */
MQTTQ_API void mqttq_events_close(mqttq_events *events);

/* --- who feeds it */

/* Asks `events` before a client connects, and before it publishes or subscribes where `authorize` is 1; a permission is
 * remembered while the connection lasts, or until it is authenticated anew. Without an answer within the listener's
 * connect time-out a client is refused.
 *   events  borrowed until the broker is stopped; NULL = everybody may do everything.
 * Returns MQTTQ_OK, MQTTQ_ESTATE (the broker was started).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_set_access(mqttq_broker *broker, mqttq_events *events, int authenticate,
                                               int authorize, mqttq_error *error);

/* Names the methods of enhanced authentication (MQTT5 4.12) that the host takes. A client that names another in CONNECT
 * is refused with 0x8C, and all are while AUTHENTICATE is not asked for by mqttq_broker_set_access(), in either order.
 *   methods  `count` names, each of 1 to 65 535 bytes of UTF-8, ending in NUL, such as "SCRAM-SHA-256"; copied. They
 *            take the place of those named before. May be NULL when count is 0 = none, the default.
 *   error    nullable; filled on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM, MQTTQ_ESTATE (the broker was started).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_set_auth_methods(mqttq_broker *broker, const char *const *methods, size_t count,
                                                     mqttq_error *error);

/* Tells `events` what happens; `what` is made of MQTTQ_OBSERVE_….
 * Returns and thread: as mqttq_broker_set_access(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_observe(mqttq_broker *broker, mqttq_events *events, uint32_t what,
                                            mqttq_error *error);

/* Answers an AUTHENTICATE or AUTHORIZE event.
 *   allow        1 or 0.
 *   reason_code  why not, for CONNACK (MQTT5 3.2.2.2): 0, and what CONNACK may not carry = 0x87 not authorized. So is
 *                at a re-authentication what DISCONNECT may not carry (MQTT5 3.14.2.1).
 * Thread: any; also inside a callback. Since 0.1. */
MQTTQ_API void mqttq_reply_access(mqttq_broker *broker, const mqttq_reply *reply, int allow,
                                  mqttq_reason_code reason_code);

typedef uint32_t mqttq_auth_decision;

#define MQTTQ_AUTH_DENY 0     /* CONNACK, or at a re-authentication DISCONNECT, with reason_code */
#define MQTTQ_AUTH_ALLOW 1    /* CONNACK 0x00, or at a re-authentication AUTH 0x00 */
#define MQTTQ_AUTH_CONTINUE 2 /* AUTH 0x18; what the client says to it is the next event. At most 16 times, then 0x87 */

/* An answer to an AUTHENTICATE event. */
typedef struct mqttq_auth_answer {
  size_t size;                   /* sizeof this struct as the host compiled it; set by _init */
  mqttq_auth_decision decision;  /* CONTINUE is a denial if the client named no method */
  mqttq_reason_code reason_code; /* DENY: as for mqttq_reply_access() */
  mqttq_bytes data;              /* ALLOW, CONTINUE with a method: Authentication Data, up to 65 535 bytes; copied */
  mqttq_bytes user_name;         /* ALLOW: who it is, in UTF-8, up to 65 535 bytes; empty = as before; copied */
  mqttq_bytes reason_string;     /* DENY: for people, in UTF-8, up to 65 535 bytes, to a client that asks for problem
                                    information; empty = none; copied */
  mqttq_bytes server_reference;  /* DENY with 0x9C or 0x9D: where to go instead (MQTT5 4.13), in UTF-8, up to 65 535
                                    bytes; empty = none; copied */
} mqttq_auth_answer;

/* A denial for no stated reason. size: sizeof *answer.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_auth_answer_init(mqttq_auth_answer *answer, size_t size);

/* Answers an AUTHENTICATE event, with or without a method. An AUTHORIZE event is answered too: ALLOW, else denied.
 *   reply   borrowed until return. An answer that comes late, twice or in a later round is safe, and MQTTQ_OK.
 *   answer  borrowed until return; its bytes are copied.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (nothing was answered: a field is out of its bounds, or `reply` never came from an
 *   event), MQTTQ_ENOMEM (nothing was answered).
 * Thread: any; also inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_reply_auth(mqttq_broker *broker, const mqttq_reply *reply,
                                        const mqttq_auth_answer *answer);

#ifdef __cplusplus
}
#endif

#endif
