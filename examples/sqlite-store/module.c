/* The same store as a shared library, for the suite that judges stores; docs/STORE.md, "A store of your own". */
#include <stdio.h>

#include "sqlite_store.h"

MQTTQ_API mqttq_status mqttq_store_module(const char* directory, uint64_t bytes_max, mqttq_store* table);

/* Nobody but the table knows the store, so it ends with it: in close(), or in open() that fails. */
static mqttq_status open_or_end(void* user, mqttq_error* error) {
  mqttq_store table;
  mqttq_status status;
  sqlite_store_fill(user, &table);
  status = table.open(user, error);
  if (status) sqlite_store_destroy(user);
  return status;
}

static void close_and_end(void* user) {
  mqttq_store table;
  sqlite_store_fill(user, &table);
  table.close(user);
  sqlite_store_destroy(user);
}

mqttq_status mqttq_store_module(const char* directory, uint64_t bytes_max, mqttq_store* table) {
  char path[4096];
  sqlite_store* store;
  if (snprintf(path, sizeof path, "%s/store.db", directory) >= (int)sizeof path) return MQTTQ_EINVAL;
  store = sqlite_store_create(path, bytes_max);
  if (!store) return MQTTQ_ENOMEM;
  sqlite_store_fill(store, table);
  table->open = open_or_end;
  table->close = close_and_end;
  return MQTTQ_OK;
}
