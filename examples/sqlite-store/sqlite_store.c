/* Threads: one connection, and a mutex around each use of it. A second connection for readers would not be let in, as
 * the file is locked exclusively, by which a second process is kept out; and SQLite's own serialised mode guards single
 * calls, whereas a scan beside a commit must see one moment. So a reader waits for at most one commit. The broker reads
 * when it starts and rarely afterwards. */
#define _POSIX_C_SOURCE 200809L /* strdup, in strict C99 */

#include "sqlite_store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For a process that is about to end and still has the file. */
#define BUSY_TIMEOUT_MS 500

enum { BEGIN, COMMIT, ROLLBACK, PUT, ERASE, ERASE_RANGE, GET, SCAN, USAGE, STATEMENTS };

/* Blobs are compared byte by byte as unsigned numbers, a shorter one before those that begin with it. */
static const char* const statement_texts[STATEMENTS] = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "INSERT OR REPLACE INTO entries (tbl, key, value) VALUES (?1, ?2, ?3)",
    "DELETE FROM entries WHERE tbl = ?1 AND key = ?2",
    "DELETE FROM entries WHERE tbl = ?1 AND key >= ?2 AND key < ?3",
    "SELECT key, value FROM entries WHERE tbl = ?1 AND key = ?2",
    "SELECT key, value FROM entries WHERE tbl = ?1 AND key >= ?2 AND key < ?3 ORDER BY key",
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
};

/* locking_mode comes first: the log's index is then kept in our memory, and needs no file that others can map.
 * synchronous FULL makes COMMIT wait until the log is on stable storage. */
static const char* const prepare_file =
    "PRAGMA locking_mode = EXCLUSIVE;"
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "BEGIN EXCLUSIVE;"
    "CREATE TABLE IF NOT EXISTS entries ("
    "  tbl INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID;"
    "COMMIT";

struct sqlite_store {
  char* path;
  uint64_t bytes_max;
  pthread_mutex_t mutex; /* for what follows */
  sqlite3* db;
  sqlite3_stmt* statements[STATEMENTS];
};

/* --- Statements */

static mqttq_status status_of(int code) {
  if (code == SQLITE_IOERR_NOMEM) return MQTTQ_ENOMEM;
  switch (code & 0xFF) { /* without what makes it an extended one */
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return MQTTQ_OK;
    case SQLITE_FULL: return MQTTQ_EFULL;
    case SQLITE_NOMEM: return MQTTQ_ENOMEM;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY: return MQTTQ_EACCES;
    default: return MQTTQ_ESYSTEM;
  }
}

/* The bytes are borrowed until finish(). A blob of no bytes is no NULL, for which SQLite takes a NULL pointer. */
static int bind_bytes(sqlite3_stmt* statement, int index, mqttq_bytes bytes) {
  return sqlite3_bind_blob(statement, index, bytes.size ? bytes.data : "", (int)bytes.size, SQLITE_STATIC);
}

/* No key reaches the end of a table. */
static mqttq_bytes or_end_of_table(mqttq_bytes end) {
  static const unsigned char after_all[MQTTQ_STORE_KEY_MAX + 1] = {
#define TEN 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
#define HUNDRED TEN, TEN, TEN, TEN, TEN, TEN, TEN, TEN, TEN, TEN
      HUNDRED, HUNDRED, HUNDRED, HUNDRED, HUNDRED, 255};
  mqttq_bytes last;
  last.data = after_all;
  last.size = sizeof after_all;
  return end.size ? end : last;
}

static mqttq_bytes column(sqlite3_stmt* statement, int index) {
  mqttq_bytes bytes;
  bytes.data = sqlite3_column_blob(statement, index);
  bytes.size = (size_t)sqlite3_column_bytes(statement, index);
  return bytes;
}

/* Forgets what a statement was bound to, and ends its read of the file. */
static void finish(sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
}

/* Runs a statement that gives no rows. Returns SQLITE_OK or what went wrong. */
static int run(sqlite3_stmt* statement) {
  const int code = sqlite3_step(statement);
  finish(statement);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

static uint64_t bytes_in_use(sqlite_store* store) {
  sqlite3_stmt* statement = store->statements[USAGE];
  const uint64_t bytes = sqlite3_step(statement) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
  finish(statement);
  return bytes;
}

/* --- Opening and closing */

static void close_file(sqlite_store* store) {
  int i;
  for (i = 0; i < STATEMENTS; ++i) {
    sqlite3_finalize(store->statements[i]);
    store->statements[i] = NULL;
  }
  sqlite3_close(store->db);
  store->db = NULL;
}

static mqttq_status open_file(void* user, mqttq_error* error) {
  sqlite_store* store = user;
  int code, i;
  code =
      sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
  if (!code) code = sqlite3_extended_result_codes(store->db, 1);
  if (!code) code = sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
  if (!code) code = sqlite3_exec(store->db, prepare_file, NULL, NULL, NULL);
  for (i = 0; i < STATEMENTS && !code; ++i) {
    code =
        sqlite3_prepare_v3(store->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);
  }
  if (!code) return MQTTQ_OK;
  if ((code & 0xFF) == SQLITE_BUSY) {
    snprintf(error->text, sizeof error->text, "%s is in use by another broker", store->path);
  } else {
    snprintf(error->text, sizeof error->text, "cannot open %s: %s", store->path,
             store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code));
  }
  close_file(store);
  return (code & 0xFF) == SQLITE_BUSY ? MQTTQ_ESTATE : status_of(code);
}

static void close_store(void* user) { close_file(user); }

/* --- Writing */

static int apply(sqlite_store* store, const mqttq_store_write* write) {
  static const int kinds[] = {PUT, ERASE, ERASE_RANGE}; /* MQTTQ_STORE_PUT, ... */
  sqlite3_stmt* statement = store->statements[kinds[write->kind]];
  int code = sqlite3_bind_int(statement, 1, (int)write->table);
  if (!code) code = bind_bytes(statement, 2, write->key);
  if (!code && write->kind == MQTTQ_STORE_PUT) code = bind_bytes(statement, 3, write->value);
  if (!code && write->kind == MQTTQ_STORE_ERASE_RANGE) code = bind_bytes(statement, 3, or_end_of_table(write->value));
  return code ? code : run(statement);
}

/* Whatever is only taken out is taken out, also when there is no room. */
static int exceeds_bound(sqlite_store* store, const mqttq_store_write* writes, size_t count) {
  size_t i;
  if (!store->bytes_max) return 0;
  for (i = 0; i < count && writes[i].kind != MQTTQ_STORE_PUT; ++i) continue;
  return i < count && bytes_in_use(store) > store->bytes_max;
}

static int write_batch(sqlite_store* store, const mqttq_store_write* writes, size_t count) {
  size_t i;
  int code = run(store->statements[BEGIN]);
  for (i = 0; i < count && !code; ++i) code = apply(store, &writes[i]);
  if (!code && exceeds_bound(store, writes, count)) code = SQLITE_FULL;
  if (!code) code = run(store->statements[COMMIT]);
  if (!code) return code;
  /* Some errors have rolled it back already. */
  if (!sqlite3_get_autocommit(store->db)) run(store->statements[ROLLBACK]);
  /* A log that could not be synced may hold the whole batch behind its end, and a crash would bring it back: the log is
   * emptied. A disk that goes on failing does not let us; then the next batch takes its place, and only a crash before
   * that would show it. */
  if ((code & 0xFF) == SQLITE_IOERR) {
    sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  }
  return code;
}

static void commit(void* user, const mqttq_store_write* writes, size_t count, mqttq_store_batch* batch) {
  sqlite_store* store = user;
  int code;
  pthread_mutex_lock(&store->mutex);
  code = write_batch(store, writes, count);
  pthread_mutex_unlock(&store->mutex);
  mqttq_store_batch_done(batch, status_of(code));
}

/* --- Reading */

static mqttq_status get(void* user, uint32_t table, mqttq_bytes key, mqttq_store_value* value) {
  sqlite_store* store = user;
  sqlite3_stmt* statement = store->statements[GET];
  mqttq_status status;
  int code;
  pthread_mutex_lock(&store->mutex);
  code = sqlite3_bind_int(statement, 1, (int)table);
  if (!code) code = bind_bytes(statement, 2, key);
  if (!code) code = sqlite3_step(statement);
  status = code == SQLITE_ROW    ? mqttq_store_value_set(value, column(statement, 1))
           : code == SQLITE_DONE ? MQTTQ_ENOTFOUND
                                 : status_of(code);
  finish(statement);
  pthread_mutex_unlock(&store->mutex);
  return status;
}

static mqttq_status scan(void* user, uint32_t table, mqttq_bytes first, mqttq_bytes end, mqttq_store_entry_fn on_entry,
                         void* entry_user) {
  sqlite_store* store = user;
  sqlite3_stmt* statement = store->statements[SCAN];
  int code;
  pthread_mutex_lock(&store->mutex);
  code = sqlite3_bind_int(statement, 1, (int)table);
  if (!code) code = bind_bytes(statement, 2, first);
  if (!code) code = bind_bytes(statement, 3, or_end_of_table(end));
  if (!code) {
    do code = sqlite3_step(statement);
    while (code == SQLITE_ROW && on_entry(entry_user, column(statement, 0), column(statement, 1)));
  }
  finish(statement);
  pthread_mutex_unlock(&store->mutex);
  return status_of(code);
}

static void usage(void* user, uint64_t* bytes, uint64_t* bytes_max) {
  sqlite_store* store = user;
  pthread_mutex_lock(&store->mutex);
  *bytes = bytes_in_use(store);
  pthread_mutex_unlock(&store->mutex);
  *bytes_max = store->bytes_max;
}

/* --- The store as a whole */

sqlite_store* sqlite_store_create(const char* path, uint64_t bytes_max) {
  sqlite_store* store = calloc(1, sizeof *store);
  if (!store) return NULL;
  store->path = strdup(path);
  store->bytes_max = bytes_max;
  if (store->path && pthread_mutex_init(&store->mutex, NULL) == 0) return store;
  free(store->path);
  free(store);
  return NULL;
}

void sqlite_store_destroy(sqlite_store* store) {
  if (!store) return;
  pthread_mutex_destroy(&store->mutex);
  free(store->path);
  free(store);
}

void sqlite_store_fill(sqlite_store* store, mqttq_store* table) {
  mqttq_store_init(table, sizeof *table);
  table->user = store;
  table->open = open_file;
  table->commit = commit;
  table->get = get;
  table->scan = scan;
  table->usage = usage;
  table->close = close_store;
}
