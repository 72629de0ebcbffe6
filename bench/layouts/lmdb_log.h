// An append-only log in LMDB, cut from the front by stretches: one table for all, or a table for each stretch.
#pragma once

#include <vector>

#include "layouts/lmdb_env.h"

namespace mqttq::layouts {

class LmdbLog {
 public:
  static constexpr unsigned kTables = 256;

  // tables: a stretch has a table of its own, from a ring, and dropping it is mdb_drop, which frees the pages without
  // reading them. Else a stretch is dropped record by record.
  LmdbLog(Environment& environment, const char* name, bool tables) : tables_(tables) {
    if (!tables) dbis_.push_back(environment.table(name, MDB_INTEGERKEY));
    for (unsigned i = 0; tables && i < kTables; ++i) {
      dbis_.push_back(environment.table((std::string(name) + std::to_string(i)).c_str(), MDB_INTEGERKEY));
    }
  }

  [[nodiscard]] MDB_dbi table(uint32_t stretch) const { return dbis_[stretch % dbis_.size()]; }

  // Room for a record of this size behind all others of the cursor's table, to be filled before the next call.
  static std::byte* append(Cursor& cursor, uint64_t key, size_t size) {
    MDB_val key_value = value_of(key);
    MDB_val value = value_of(nullptr, size);
    check(mdb_cursor_put(cursor.get(), &key_value, &value, MDB_APPEND | MDB_RESERVE), "append to the log");
    return static_cast<std::byte*>(value.mv_data);
  }

  // Deletes keys of the stretch up to and including `last`, at most `count` of them; true when none is left.
  [[nodiscard]] bool drop(Transaction& transaction, uint32_t stretch, uint64_t first, uint64_t last, size_t count) {
    if (tables_) {
      check(mdb_drop(transaction.get(), table(stretch), 0), "mdb_drop");
      return true;
    }
    return erase(transaction, table(stretch), first, last, count);
  }

  // The same for any table whose keys are native integers.
  static bool erase(Transaction& transaction, MDB_dbi table, uint64_t first, uint64_t last, size_t count) {
    Cursor cursor(transaction, table);
    MDB_val key = value_of(first);
    MDB_val value;
    bool found = cursor.seek(key, value, MDB_SET_RANGE);
    // MDB_NEXT after a deletion is what followed the deleted one.
    for (; found && key_of(key) <= last; found = cursor.seek(key, value, MDB_NEXT)) {
      if (count-- == 0) return false;
      check(mdb_cursor_del(cursor.get(), 0), "mdb_cursor_del");
    }
    return true;
  }

  static uint64_t key_of(const MDB_val& key) {
    uint64_t number = 0;
    __builtin_memcpy(&number, key.mv_data, sizeof number);
    return number;
  }

 private:
  const bool tables_;
  std::vector<MDB_dbi> dbis_;
};

}  // namespace mqttq::layouts
