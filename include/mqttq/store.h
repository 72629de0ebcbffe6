/* mqttq/store.h - a store of the host's own: where a broker keeps what is to outlive it.
 *
 * A store is ordered keys in a few tables, written in batches that are all or nothing. It is a table of functions,
 * named in mqttq_broker_config.store. The broker calls commit() from one thread at a time, the others from any, several
 * at once and beside a commit; none of them from a thread that serves connections, so that all of them may block. What
 * the bytes mean is the broker's business, and stands in docs/STORE.md.
 *
 * tests/store_suite judges a store from outside; examples/sqlite-store is a complete one. */
#ifndef MQTTQ_STORE_H
#define MQTTQ_STORE_H

#include "mqttq/message.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MQTTQ_STORE_TABLES 16u       /* tables 0 to 15 */
#define MQTTQ_STORE_KEY_MAX 500u     /* bytes of a key, which has at least 1 */
#define MQTTQ_STORE_VALUE_MAX 16384u /* bytes of a value, which may have none */

/* mqttq_store_write.kind */
#define MQTTQ_STORE_PUT 0u         /* key, value: in the place of an older value */
#define MQTTQ_STORE_ERASE 1u       /* key: no matter whether it is there */
#define MQTTQ_STORE_ERASE_RANGE 2u /* every key from `key` on, up to and without `value`; an empty `value` is the end
                                      of the table */

/* One change of a batch. Keys of a table are ordered byte by byte as unsigned numbers, a shorter one before those that
 * begin with it. */
typedef struct mqttq_store_write {
  uint32_t kind;  /* MQTTQ_STORE_PUT, ... */
  uint32_t table;
  mqttq_bytes key;
  mqttq_bytes value;
} mqttq_store_write;

/* A batch that waits for its answer. The broker's. */
typedef struct mqttq_store_batch mqttq_store_batch;

/* What get() has found goes in here. The broker's. */
typedef struct mqttq_store_value mqttq_store_value;

/* Opens the store, once, in mqttq_broker_create(). `error` is to be filled on failure: its text reaches who made the
 * broker. Returns MQTTQ_OK, or any other status: there is no broker then, and close() is not called. */
typedef mqttq_status (*mqttq_store_open_fn)(void *user, mqttq_error *error);

/* Carries out `count` writes in their order, as one: all of them or none, whatever happens meanwhile. Writes and their
 * bytes are borrowed until return. The store answers exactly once by mqttq_store_batch_done(), before it returns or
 * later, from any thread. The next batch comes when this one is answered. */
typedef void (*mqttq_store_commit_fn)(void *user, const mqttq_store_write *writes, size_t count,
                                      mqttq_store_batch *batch);

/* The value of `key`: handed over by mqttq_store_value_set() before it returns.
 * Returns MQTTQ_OK, MQTTQ_ENOTFOUND, MQTTQ_ENOMEM, MQTTQ_ESYSTEM. */
typedef mqttq_status (*mqttq_store_get_fn)(void *user, uint32_t table, mqttq_bytes key, mqttq_store_value *value);

/* The broker's, for scan(). Returns 1 if it wants the next entry, 0 if it has enough. Bytes are borrowed until return;
 * it does not call the store. */
typedef int (*mqttq_store_entry_fn)(void *entry_user, mqttq_bytes key, mqttq_bytes value);

/* Calls on_entry(entry_user, ...) for every entry from `first` on, up to and without `end`, in order; an empty one
 * means from the first, to the last. All entries are those of one moment, which is not before the last batch that was
 * answered with MQTTQ_OK. Returns MQTTQ_OK, MQTTQ_ENOMEM, MQTTQ_ESYSTEM. */
typedef mqttq_status (*mqttq_store_scan_fn)(void *user, uint32_t table, mqttq_bytes first, mqttq_bytes end,
                                            mqttq_store_entry_fn on_entry, void *entry_user);

/* How many bytes hold something, and how many may; 0: no bound is known. */
typedef void (*mqttq_store_usage_fn)(void *user, uint64_t *bytes, uint64_t *bytes_max);

/* The broker ends: every batch has been answered, and nothing is called any more. */
typedef void (*mqttq_store_close_fn)(void *user);

/* All functions but usage have to be there. */
typedef struct mqttq_store {
  size_t size;  /* sizeof this struct as the host compiled it; set by _init */
  void *user;   /* handed to each of them */
  mqttq_store_open_fn open;
  mqttq_store_commit_fn commit;
  mqttq_store_get_fn get;
  mqttq_store_scan_fn scan;
  mqttq_store_usage_fn usage; /* nullable: nothing is known */
  mqttq_store_close_fn close;
} mqttq_store;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_store_init(mqttq_store *store, size_t size);

/* Answers a batch; `batch` is not to be used any more.
 *   status  MQTTQ_OK: it is on stable storage, and no crash can take it back. Else nothing of it is there or ever will
 *           be: MQTTQ_EFULL (no room), MQTTQ_ENOMEM, or any other (the system failed).
 * Thread: any. Since 0.1. */
MQTTQ_API void mqttq_store_batch_done(mqttq_store_batch *batch, mqttq_status status);

/* Copies `bytes` as the value that get() has found.
 * Returns MQTTQ_OK, MQTTQ_ENOMEM (which get() is to return then), MQTTQ_EINVAL (more than MQTTQ_STORE_VALUE_MAX).
 * Thread: that of get(), before it returns. Since 0.1. */
MQTTQ_API mqttq_status mqttq_store_value_set(mqttq_store_value *value, mqttq_bytes bytes);

#ifdef __cplusplus
}
#endif

#endif
