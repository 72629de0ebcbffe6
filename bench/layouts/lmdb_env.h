// LMDB with its default durability, behind as little C++ as it takes to not forget an error or a transaction.
#pragma once

#include <lmdb.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mqttq::layouts {

// Throws std::runtime_error that names `what`, unless code is 0.
void check(int code, const char* what);

inline MDB_val value_of(const void* bytes, size_t size) { return {size, const_cast<void*>(bytes)}; }
inline MDB_val value_of(const uint64_t& number) { return value_of(&number, sizeof number); }
inline std::string_view view_of(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

class Environment {
 public:
  // A map of 32 GiB, MDB_NOMEMINIT, and nothing that weakens a commit.
  Environment(const std::string& directory, bool write_map, unsigned tables_max);
  ~Environment() { mdb_env_close(env_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  [[nodiscard]] MDB_env* get() const { return env_; }
  [[nodiscard]] bool syncs() const;
  void hurry(bool on);
  [[nodiscard]] uint64_t sync_count() const { return sync_count_; }
  void count_commit() { sync_count_ += syncs() ? 2 : 0; }

  // Opens or makes a table. Not while a transaction is open.
  [[nodiscard]] MDB_dbi table(const char* name, unsigned flags);

 private:
  MDB_env* env_ = nullptr;
  uint64_t sync_count_ = 0;
};

// Aborted unless committed.
class Transaction {
 public:
  enum class Kind { Read, Write };
  Transaction(Environment& environment, Kind kind);
  ~Transaction() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  [[nodiscard]] MDB_txn* get() const { return txn_; }
  void commit();

 private:
  Environment& environment_;
  MDB_txn* txn_ = nullptr;
};

// Closed before its transaction ends.
class Cursor {
 public:
  Cursor(const Transaction& transaction, MDB_dbi table) {
    check(mdb_cursor_open(transaction.get(), table, &cursor_), "mdb_cursor_open");
  }
  ~Cursor() { mdb_cursor_close(cursor_); }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  [[nodiscard]] MDB_cursor* get() const { return cursor_; }
  // False if there is no such key.
  [[nodiscard]] bool seek(MDB_val& key, MDB_val& value, MDB_cursor_op operation);

 private:
  MDB_cursor* cursor_ = nullptr;
};

}  // namespace mqttq::layouts
