/* mqttq/broker.h - a broker: everything else belongs to one.
 *
 * Any number of brokers live in one process and do not notice each other. A broker prints nothing, installs no signal
 * handler, never exits, and runs only the threads that its configuration names. */
#ifndef MQTTQ_BROKER_H
#define MQTTQ_BROKER_H

#include "mqttq/log.h"
#include "mqttq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_broker mqttq_broker;

/* Bounds. 0 always means the default; a value that must be able to say "none" says how. What a peer is told at each
 * bound stands in docs/LIMITS.md. */
typedef struct mqttq_limits {
  size_t size;                      /* sizeof this struct as the host compiled it; set by _init */
  uint32_t packet_size_max;         /* bytes of one packet from a client; 0 = 1 MiB */
  uint32_t topic_size_max;          /* bytes, at most 65 535; 0 = 65 535 */
  uint32_t topic_levels_max;        /* at most 1024; 0 = 128 */
  uint32_t connect_timeout_ms;      /* from accept to a whole CONNECT, and for its authentication; 0 = 10 000 */
  uint32_t connections_max;         /* 0 = 1 000 000 */
  uint32_t sessions_max;            /* connected or not; 0 = 2 000 000 */
  uint32_t connect_rate;            /* CONNECTs a second and shard; 0 = no bound */
  uint32_t receive_maximum;         /* QoS 1 and 2 publishes a client may have open, 1..65 535; 0 = 1000 */
  uint32_t receipt_timeout_s;       /* after which a QoS 2 publish without PUBREL is forgotten; 0 = 300 */
  uint32_t inflight_max;            /* QoS 1 and 2 messages sent to a client and open, 1..65 535; 0 = 1000 */
  uint32_t outbox_messages_max;     /* waiting for one client; 0 = 10 000 */
  uint32_t outbox_bytes_max;        /* waiting for one client; 0 = 4 MiB */
  uint32_t subscriptions_max;       /* per session; 0 = 100 000 */
  uint32_t session_expiry_max_s;    /* 0 = no bound */
  uint32_t keep_alive_max_s;        /* longer ones are answered with Server Keep Alive, at most 65 535; 0 = no bound */
  uint32_t topic_alias_maximum;     /* aliases a client may use, at most 65 535; 0 = 64; UINT32_MAX = none */
  uint32_t retained_messages_max;   /* 0 = 1 000 000 */
  uint32_t retained_bytes_max;      /* 0 = 1 GiB */
  uint32_t message_rate;            /* publishes a second and connection; 0 = no bound */
  uint32_t byte_rate;               /* bytes a second and connection; 0 = no bound */
  uint32_t connect_size_max;        /* bytes of a CONNECT, which comes before anybody is known; 0 = 256 KiB */
  uint32_t maximum_qos;             /* highest QoS of clients: 1 or 2; 0 = 2; UINT32_MAX = QoS 0 only */
  uint32_t topic_alias_out_maximum; /* aliases used towards a client that takes them, at most 65 535; 0 = 64;
                                       UINT32_MAX = none */
  uint32_t delayed_messages_max;    /* published to `$delayed/...` and waiting, at most 67 108 864; 0 = 100 000;
                                       UINT32_MAX = none */
  uint32_t delayed_bytes_max;       /* of these; 0 = 256 MiB */
  uint32_t delay_max_s;             /* the longest delay, at most 42 949 669; 0 = 42 949 669 */
  uint32_t store_memory_bytes;      /* with data_dir or store: of the newest messages that wait for somebody; older ones
                                       are read again when they are sent; 0 = 64 MiB */
  uint32_t log_segment_bytes;       /* with data_dir: of one file of the log, which is the least that is given back, at
                                       least 4096; 0 = 64 MiB */
  uint64_t store_bytes;             /* with data_dir or store: all that is kept may take, at least 1 MiB; over it what
                                       is new is refused. A store must have usage(). 0 = no bound */
  uint64_t journal_bytes;           /* of what waits for the slowest reader of one topic filter; 0 = no bound */
  uint32_t journal_messages;        /* the same in messages; 0 = no bound */
  uint32_t store_alarm_percent;     /* of store_bytes, over which an alarm is raised, 1..100; 0 = 80 */
  uint32_t outbox_age_max_s;        /* seconds that a message waits for a kept session, or a group of such, before it
                                       is dropped; 0 = 2 592 000; UINT32_MAX = no bound */
} mqttq_limits;

/* What MQTT lets a server not have, for mqttq_broker_config.features_off: clients of MQTT 5 are told in CONNACK
 * (MQTT5 3.2.2.3), and refused when they use it all the same. */
#define MQTTQ_FEATURE_RETAIN 1u                   /* a client's retained messages, wills among them */
#define MQTTQ_FEATURE_WILDCARD_SUBSCRIPTIONS 2u
#define MQTTQ_FEATURE_SHARED_SUBSCRIPTIONS 4u
#define MQTTQ_FEATURE_SUBSCRIPTION_IDENTIFIERS 8u

/* When what is acknowledged is written. */
#define MQTTQ_DURABILITY_ALWAYS 0u   /* before: it is on stable storage then */
#define MQTTQ_DURABILITY_INTERVAL 1u /* within durability_interval_ms; what is settled before that never is */
#define MQTTQ_DURABILITY_NONE 2u     /* when some megabytes have come together, and at the end; nothing is synced */

/* What a broker says of itself below `$SYS/broker` stands in docs/SYS.md. */
typedef struct mqttq_broker_config {
  size_t size;                /* sizeof this struct as the host compiled it; set by _init */
  uint32_t shards;            /* threads that serve connections, 1..63; 0 = one per core that the caller may
                                 run on */
  uint32_t host_loop;         /* 1: no threads; the host drives the only shard, see mqttq_broker_turn() */
  uint32_t mailbox_capacity;  /* messages between each two shards, at least 1; 0 = 4096 */
  mqttq_log_fn log;           /* nullable; copied */
  void *log_user;             /* handed to log */
  const mqttq_limits *limits; /* nullable; borrowed until mqttq_broker_create() returns */
  uint32_t features_off;      /* made of MQTTQ_FEATURE_…; 0 = all are there */
  uint32_t exclusive_subscriptions; /* 1: a client may subscribe to "$exclusive/<filter>", while no other has */
  uint32_t sys_interval_s;    /* between two looks at what $SYS/broker says; 0 = 10 s; UINT32_MAX = it says nothing */
  uint32_t client_events;     /* 1: a message below $SYS/broker/clients for each client that comes or goes */
  const char *response_information; /* nullable; copied; at most 1024 bytes of UTF-8. What a client that asks for
                                       Response Information is told (MQTT5 3.2.2.3.15): the topic below which it
                                       should have its responses. ${client_id} and ${user_name} are filled in */
  const char *data_dir;       /* nullable: everything is kept in memory; copied. A directory, made if its parent is
                                 there, in which the broker keeps what is to outlive it; docs/STORE.md. No two
                                 brokers have the same one */
  const struct mqttq_store *store; /* nullable; copied. The host's own, in the place of a data_dir: mqttq/store.h */
  uint32_t durability;             /* MQTTQ_DURABILITY_…; docs/STORE.md says what a crash may lose */
  uint32_t durability_interval_ms; /* of MQTTQ_DURABILITY_INTERVAL; 0 = 1000 */
} mqttq_broker_config;

/* Everything to its default. size: sizeof *limits.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_limits_init(mqttq_limits *limits, size_t size);

/* Everything to its default. size: sizeof *config.
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_broker_config_init(mqttq_broker_config *config, size_t size);

/* Makes a broker, which does nothing until it is started.
 *   config  nullable, borrowed until return; strings are copied.
 *   out     on success the broker, owned by caller, ended by mqttq_broker_destroy(); untouched on failure.
 *   error   nullable; filled on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (which field and why is in the text), MQTTQ_ENOMEM (also: a limit is below what is
 * there), MQTTQ_ESYSTEM; of data_dir and store also MQTTQ_EEXIST (another broker has it), MQTTQ_EACCES, MQTTQ_EFULL
 * (no space is left), MQTTQ_EUNSUPPORTED (a newer version wrote it).
 * With one of these it reads back what is there before it returns, which may take seconds.
 * Thread: any; not inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_create(const mqttq_broker_config *config, mqttq_broker **out, mqttq_error *error);

/* Starts the broker's threads, or makes it ready for mqttq_broker_turn(). A broker starts once.
 * Returns MQTTQ_OK, MQTTQ_ESTATE (started before), MQTTQ_ESYSTEM (no thread to be had).
 * Thread: any; not inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_start(mqttq_broker *broker, mqttq_error *error);

/* Closes the listeners, sends every client DISCONNECT with 0x8B (MQTT 5) and waits, at most 3 s, until it is read; then
 * ends the threads. No callback begins after it has returned. A stopped broker does not start again. Twice is fine.
 * Thread: any; not inside a callback; with host_loop the thread that drives it. Since 0.1. */
MQTTQ_API void mqttq_broker_stop(mqttq_broker *broker);

/* Stops it if need be, and ends it with all it owns. NULL is fine.
 * Thread: as mqttq_broker_stop(). Since 0.1. */
MQTTQ_API void mqttq_broker_destroy(mqttq_broker *broker);

/* --- driven by the host's own loop (config.host_loop = 1)
 *
 * The host waits until mqttq_broker_fd() is readable or mqttq_broker_timeout_ms() have passed, then calls
 * mqttq_broker_turn(), always from one thread. */

/* A descriptor to be watched for reading with poll, epoll, kqueue or select. Borrowed from the broker until it is
 * destroyed: never read from it, never close it. -1 if the broker has threads of its own.
 * Thread: any. Since 0.1. */
MQTTQ_API int mqttq_broker_fd(mqttq_broker *broker);

/* Milliseconds after which a turn is due even if the descriptor stays quiet; 0 = now. To be asked after each turn, and
 * after calls that give the broker something to do.
 * Thread: the driving one. Since 0.1. */
MQTTQ_API int mqttq_broker_timeout_ms(mqttq_broker *broker);

/* Handles what is ready. Never blocks.
 *   budget_us  after about so many microseconds it returns, and timeout_ms is then 0; 0 = until all is handled once.
 * Returns MQTTQ_OK, MQTTQ_ESTATE (not started, stopped, or not the host's to drive).
 * Thread: the driving one; not inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_turn(mqttq_broker *broker, uint32_t budget_us);

/* --- backups
 *
 * A backup is a directory of portable files, of what a broker keeps at one moment; docs/STORE.md. It is restored by
 * creating a broker whose data_dir is a copy of it. */

/* Makes a backup of the broker's data_dir while it goes on. All that was acknowledged before the call is in it, and it
 * is on stable storage when it returns; whatever ends it before, nothing is there that could be taken for a backup.
 *   broker     must not be destroyed meanwhile; may be started, stopped, or neither.
 *   directory  borrowed until return. Made if its parent is there, or empty; not within data_dir.
 *   error      nullable; filled on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (no directory is named, or one within data_dir), MQTTQ_EUNSUPPORTED (the broker has no
 * data_dir), MQTTQ_EEXIST (directory is not empty), MQTTQ_ENOTFOUND (its parent is not there), MQTTQ_EFULL (no space is
 * left), MQTTQ_EACCES, MQTTQ_ENOMEM, MQTTQ_ESYSTEM (or the store is damaged), MQTTQ_ESTATE (inside a callback on a
 * shard's thread, or the store is written faster than it can be read).
 * What is damaged in the log is as damaged in the backup, and told by the broker's log, level error. Blocks for as long
 * as reading and writing all of it takes, and needs as much memory as four files of the log.
 * Thread: any; not inside a callback on a shard's thread. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_backup(mqttq_broker *broker, const char *directory, mqttq_error *error);

/* The same of a data_dir that no broker of this process has open; one of another process may. It writes nothing there.
 *   data_dir   borrowed until return.
 *   log, user  nullable; called on this thread, before it returns, with what is damaged; user is handed to log.
 * Returns what mqttq_broker_backup() does; MQTTQ_ENOTFOUND also of data_dir, or if nothing was ever kept there;
 * MQTTQ_EINVAL also where this process has it open; MQTTQ_EUNSUPPORTED of one that a newer version wrote.
 * LMDB's pages have no sums: damage in them may end the process.
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_data_dir_backup(const char *data_dir, const char *directory, mqttq_log_fn log, void *user,
                                             mqttq_error *error);

/* --- counters */

/* One figure. */
typedef struct mqttq_counter {
  const char *name;  /* such as "messages_received"; static */
  const char *text;  /* what it counts; static */
  uint64_t value;    /* since the broker was made */
} mqttq_counter;

/* Reads all counters.
 *   out    borrowed until return; room for `count` figures, filled in a fixed order. May be NULL when count is 0.
 * Returns how many there are, which may be more than count.
 * Thread: any. Since 0.1. */
MQTTQ_API size_t mqttq_broker_counters(mqttq_broker *broker, mqttq_counter *out, size_t count);

/* --- what the store takes */

/* The worst that holds; more may come. */
typedef uint32_t mqttq_store_alarm;
#define MQTTQ_STORE_OK 0u
#define MQTTQ_STORE_HIGH 1u    /* little room is left: of limits.store_bytes, or on the disk of data_dir */
#define MQTTQ_STORE_FULL 2u    /* limits.store_bytes is reached: what is new is refused */
#define MQTTQ_STORE_FAILING 3u /* what must be durable could not be written */

typedef struct mqttq_store_figures {
  size_t size;             /* sizeof this struct as the host compiled it; set by the host */
  uint64_t bytes_used;     /* by the log and the store together; about a second old */
  uint64_t bytes_max;      /* limits.store_bytes; 0: there is no bound */
  mqttq_store_alarm alarm; /* MQTTQ_STORE_… */
  uint32_t reserved;       /* 0 */
} mqttq_store_figures;

/* Reads them; docs/STORE.md says what they mean.
 *   out  borrowed until return; filled as far as its `size` says.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (no size), MQTTQ_ESTATE (the broker keeps everything in memory).
 * Thread: any. Since 0.1. */
MQTTQ_API mqttq_status mqttq_broker_store_figures(mqttq_broker *broker, mqttq_store_figures *out);

#ifdef __cplusplus
}
#endif

#endif
