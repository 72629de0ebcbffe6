/* A store of mqttq/store.h in one file of SQLite's: what a host has to write to keep a broker's state its own way. */
#ifndef SQLITE_STORE_H
#define SQLITE_STORE_H

#include <mqttq/store.h>

typedef struct sqlite_store sqlite_store;

/* Nothing is opened yet: that is what open() of the table does.
 *   path       copied. The file, made if it is not there; what is beside it under the same name and -wal belongs to it.
 *   bytes_max  of pages in use; 0 = as much as the disk has.
 * Returns NULL without memory; to be ended by sqlite_store_destroy(), after the broker. */
sqlite_store* sqlite_store_create(const char* path, uint64_t bytes_max);
void sqlite_store_destroy(sqlite_store* store);

/* Fills the table with this store's functions. */
void sqlite_store_fill(sqlite_store* store, mqttq_store* table);

#endif
