/* mqttq/stream.h - replayable streams: every message that matches is kept for a time, and each reader gets all of them.
 *
 * A stream has a name and a topic filter. From its declaration on it takes every message that matches, at any QoS,
 * beside whoever subscribes, and gives each a position, counted from 0. Clients read it by subscribing to
 * `$stream/<name>`, `$stream/<name>/<filter>` or `$s/<offset>/…`; docs/STREAMS.md says what they see. */
#ifndef MQTTQ_STREAM_H
#define MQTTQ_STREAM_H

#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values of a limit. */
#define MQTTQ_STREAM_UNLIMITED UINT64_MAX
#define MQTTQ_STREAM_FOREVER UINT32_MAX

typedef struct mqttq_stream_config {
  size_t size;              /* sizeof this struct as the host compiled it; set by _init */
  mqttq_bytes topic_filter; /* without `$share/` and the like; copied. It never changes */
  mqttq_bytes key;          /* what messages go by that belong together, as mqttq_queue_config.key; empty = none;
                               copied. It never changes */
  uint64_t messages_max;    /* that it keeps, the newest; 0 or MQTTQ_STREAM_UNLIMITED = no limit */
  uint64_t bytes_max;       /* of their topics, properties and payloads; 0 or MQTTQ_STREAM_UNLIMITED = no limit */
  uint32_t age_max_s;       /* that it keeps a message; 0 = 604 800 (7 days); MQTTQ_STREAM_FOREVER */
  uint32_t no_wait;         /* 1: mqttq_stream_declare() does not wait until it is durable, as with host_loop */
  uint32_t last_value;      /* 1: of each key it keeps the newest message alone, and those without a key. It never
                               changes */
} mqttq_stream_config;

/* Everything to its default. size: sizeof *config.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_stream_config_init(mqttq_stream_config *config, size_t size);

/* Declares a stream. One that is there with the same filter, key and last_value gets these limits.
 *   ns      NULL = global.
 *   name    0-9 A-Z a-z . _ -, beginning with a letter or digit, at most 255; or "$s/<filter>" for the one stream of a
 *           filter that has no other name, whose topic_filter may be empty then.
 *   config  borrowed until return; strings are copied.
 *   error   nullable; filled on failure.
 * It is durable when this returns; with host_loop and with no_wait, when the next message is acknowledged that it took.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_EEXIST (with another filter, key or
 *   last_value), MQTTQ_EFULL (as many as there may be), MQTTQ_EUNSUPPORTED (a key in JSON, of a library that was built
 *   without), MQTTQ_ENOMEM, MQTTQ_ESYSTEM (it could not be written; it is there all the same, and written as soon as
 *   that works),
 *   MQTTQ_ESTATE (not started, or inside a callback on a shard's thread), MQTTQ_ESHUTDOWN.
 * Thread: any, with host_loop the driving one; not inside a callback (waits for a shard). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_declare(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                            const mqttq_stream_config *config, mqttq_error *error);

/* Changes the limits of a stream that is used: those of config, all of them. What is over them is gone at once.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_ENOMEM, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_change(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                           const mqttq_stream_config *config, mqttq_error *error);

/* Ends a stream, with all messages in it. Its readers are not subscribed any more; see mqttq_stream_policy.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_delete(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                           mqttq_error *error);

/* Drops the messages before an offset, which is as in mqttq_stream_seek(): "latest" drops all.
 *   dropped  nullable; set to how many those were.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_truncate(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                             mqttq_bytes offset, uint64_t *dropped, mqttq_error *error);

/* --- what there is */

typedef struct mqttq_streams mqttq_streams;

/* One stream, as it was when it was listed. Borrowed from the list. */
typedef struct mqttq_stream {
  size_t size;                /* sizeof this struct as the library compiled it */
  mqttq_bytes name;
  mqttq_stream_config config; /* as it stands: no field is 0 for its default */
  uint64_t messages;          /* that it keeps */
  uint64_t bytes;             /* of those */
  uint64_t first_position;    /* of the oldest of them */
  uint64_t next_position;     /* that the next message will have */
  int64_t first_us;           /* Unix time of the oldest, 0 without one */
  int64_t last_us;            /* of the newest that there ever was, 0 without one */
  uint64_t last_minute;       /* messages of the last 60 seconds, as far as they are kept */
  uint32_t readers;           /* subscribed, connected or not, and the host's */
  uint32_t readers_connected;
  /* Since the broker started. */
  uint64_t entered;
  uint64_t trimmed;           /* by a limit, or truncated */
  uint64_t delivered;         /* to readers */
  uint64_t replaced;          /* by newer messages of their keys */
} mqttq_stream;

/* Lists the streams of a namespace, a page at a time, in no order.
 *   name    size 0 = all; else this one alone.
 *   cursor  in: 0 for the first page, then what the last call left; out: where the next page begins, 0 at the end.
 *           A stream that is there during all calls is listed once.
 *   count   at most so many; 0 = 1000.
 *   out     on success the list, owned by caller, ended by mqttq_streams_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_streams_list(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                          uint64_t *cursor, size_t count, mqttq_streams **out, mqttq_error *error);
MQTTQ_API size_t mqttq_streams_count(const mqttq_streams *streams);
/* index below mqttq_streams_count(). */
MQTTQ_API mqttq_stream mqttq_streams_get(const mqttq_streams *streams, size_t index);
MQTTQ_API void mqttq_streams_free(mqttq_streams *streams);

typedef struct mqttq_stream_lags mqttq_stream_lags;

/* One reader of a stream, or one of its named cursors, as it was when it was listed. Borrowed from the list. */
typedef struct mqttq_stream_lag {
  size_t size;              /* sizeof this struct as the library compiled it */
  mqttq_bytes client_id;    /* empty: the host's, or a cursor's */
  mqttq_bytes cursor;       /* its name; empty: it is a reader with a place of its own */
  mqttq_bytes topic_filter; /* of the messages that it reads; empty: all */
  uint64_t position;        /* of the next message that it is handed; of a cursor the first that is not acknowledged */
  uint64_t messages;        /* between that and the end */
  uint64_t time_us;         /* between the time of that and the newest's; 0 at the end */
  uint64_t delivered;
  uint32_t connected;       /* 1; of a cursor: how many of those that read with it are */
} mqttq_stream_lag;

/* Lists the readers of a stream, and how far each is behind.
 *   out  on success the list, owned by caller, ended by mqttq_stream_lags_free(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND, MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_lags_list(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                              mqttq_stream_lags **out, mqttq_error *error);
MQTTQ_API size_t mqttq_stream_lags_count(const mqttq_stream_lags *lags);
/* index below mqttq_stream_lags_count(). */
MQTTQ_API mqttq_stream_lag mqttq_stream_lags_get(const mqttq_stream_lags *lags, size_t index);
MQTTQ_API void mqttq_stream_lags_free(mqttq_stream_lags *lags);

/* --- readers in the process */

typedef struct mqttq_stream_reader mqttq_stream_reader;
typedef struct mqttq_stream_messages mqttq_stream_messages;

typedef struct mqttq_stream_reader_config {
  size_t size;              /* sizeof this struct as the host compiled it; set by _init */
  mqttq_namespace *ns;      /* NULL = global */
  mqttq_bytes stream;       /* its name */
  mqttq_bytes topic_filter; /* of the messages to be read, which the stream's covers; empty = all */
  mqttq_bytes offset;       /* as in mqttq_stream_seek(); empty = latest */
  mqttq_bytes cursor;       /* one that is there says where it begins, and else has its place from `offset` on;
                               mqttq_stream_commit() moves it. Empty = none; not with topic_filter */
  uint32_t ahead;           /* messages that are held ready; 0 = 1000 */
} mqttq_stream_reader_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_stream_reader_config_init(mqttq_stream_reader_config *config, size_t size);

/* Reads a stream beside its clients: from an offset on every message, and those that come.
 *   out  on success the reader, owned by caller, ended by mqttq_stream_reader_close(); untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND (no such stream), MQTTQ_EEXIST (a client reads with this cursor),
 *   MQTTQ_EFULL (as many cursors as there may be), MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_reader_open(mqttq_broker *broker, const mqttq_stream_reader_config *config,
                                                mqttq_stream_reader **out, mqttq_error *error);

/* Ends it; no other call of it may be under way. NULL is fine. To be called before the broker is destroyed.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API void mqttq_stream_reader_close(mqttq_stream_reader *reader);

/* Where it goes on: "earliest", "latest", a Unix time in microseconds in decimal (the first message that is not older),
 * or "@" and a position.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND (the stream was deleted), MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(), one call of a reader at a time. Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_seek(mqttq_stream_reader *reader, mqttq_bytes offset, mqttq_error *error);

/* Done with all messages up to this position: the reader's cursor stands behind it, and never goes back so.
 * It is durable when this returns; with host_loop a moment later.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (the reader has no cursor, or the stream has no such position yet),
 *   MQTTQ_ENOTFOUND (the stream or the cursor was deleted),
 *   MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_seek(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_commit(mqttq_stream_reader *reader, uint64_t position, mqttq_error *error);

/* Ends a named cursor. Clients that read with it are not subscribed any more.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND (no such stream or cursor), MQTTQ_ESYSTEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_cursor_delete(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes stream,
                                                  mqttq_bytes cursor, mqttq_error *error);

/* Takes the next messages.
 *   count       at most so many; 0 = 100.
 *   timeout_ms  how long it waits for the first; 0 = not at all, which is all that there is with host_loop.
 *   out         on success the list, which may be empty, owned by caller, ended by mqttq_stream_messages_free();
 *               untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOTFOUND (the stream was deleted), MQTTQ_ENOMEM, MQTTQ_ESTATE,
 *   MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_seek(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_read(mqttq_stream_reader *reader, size_t count, uint32_t timeout_ms,
                                         mqttq_stream_messages **out, mqttq_error *error);

/* One message of a stream. Borrowed from the list. */
typedef struct mqttq_streamed {
  size_t size;            /* sizeof this struct as the library compiled it */
  uint64_t position;
  int64_t time_us;        /* Unix time at which it was taken; never less than that of the message before */
  uint64_t skipped;       /* messages in front of it that were gone before this reader came to them */
  mqttq_message *message; /* hold it to keep it longer */
} mqttq_streamed;
MQTTQ_API size_t mqttq_stream_messages_count(const mqttq_stream_messages *messages);
/* index below mqttq_stream_messages_count(). */
MQTTQ_API mqttq_streamed mqttq_stream_messages_get(const mqttq_stream_messages *messages, size_t index);
MQTTQ_API void mqttq_stream_messages_free(mqttq_stream_messages *messages);

/* The messages of a list as NDJSON, one line of JSON for each: what mqttq_stream_import() takes. docs/STREAMS.md has
 * the fields.
 *   out  on success the text, borrowed from the list; untouched on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ENOMEM.
 * Thread: any, one call of a list at a time. Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_messages_ndjson(mqttq_stream_messages *messages, mqttq_bytes *out,
                                                    mqttq_error *error);

/* Appends the messages of NDJSON to one stream, and to nothing else: nobody who subscribes gets them. They keep their
 * times, as far as these do not go back from the stream's newest and are not in the future, and get positions of its
 * own.
 *   ndjson    whole lines; borrowed until return. Nothing is taken if one of them is no such line.
 *   imported  nullable; set to how many were taken, on failure too.
 * What was taken is durable when this returns; with host_loop it is on its way.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which line and why is in the text; a topic that the stream does not match is one
 *   reason), MQTTQ_ENOTFOUND, MQTTQ_EFULL (the store takes no more, or one is larger than all that the stream may
 *   hold), MQTTQ_EUNSUPPORTED (a library that was built without JSON), MQTTQ_ENOMEM, MQTTQ_ESTATE, MQTTQ_ESHUTDOWN.
 * Thread: as mqttq_stream_declare(). Since 0.1. */
MQTTQ_API mqttq_status mqttq_stream_import(mqttq_broker *broker, mqttq_namespace *ns, mqttq_bytes name,
                                           mqttq_bytes ndjson, uint64_t *imported, mqttq_error *error);

/* --- what clients may do */

typedef struct mqttq_stream_policy {
  size_t size;                   /* sizeof this struct as the host compiled it; set by _init */
  uint32_t auto_create;          /* 1: a subscription to `$stream/<name>/<filter>` or `$s/<offset>/<filter>` declares a
                                    stream that is not there, if the access control allows MQTTQ_ACTION_DECLARE_QUEUE */
  uint32_t count_max;            /* streams of all namespaces; 0 = 10 000. SUBACK 0x97 */
  uint32_t disconnect_on_delete; /* 1: readers of a stream that is deleted are sent DISCONNECT 0x98 (3.x: closed); 0:
                                    their subscription ends without a word */
  const mqttq_stream_config *auto_config; /* nullable; limits of streams that clients declare; topic_filter, key and
                                             last_value are empty; copied */
} mqttq_stream_policy;

/* Everything to its default. size: sizeof *policy.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_stream_policy_init(mqttq_stream_policy *policy, size_t size);

/* Sets it for all streams of a broker. To be called before the broker starts.
 *   policy  borrowed until return.
 * Returns MQTTQ_OK, MQTTQ_EINVAL, MQTTQ_ESTATE (started before).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_set_stream_policy(mqttq_broker *broker, const mqttq_stream_policy *policy,
                                                      mqttq_error *error);

#ifdef __cplusplus
}
#endif

#endif
