// Opens LMDB and counts what its commits sync.
#include "layouts/lmdb_env.h"

#include <stdexcept>

namespace mqttq::layouts {

void check(int code, const char* what) {
  if (code != 0) throw std::runtime_error(std::string(what) + ": " + mdb_strerror(code));
}

Environment::Environment(const std::string& directory, bool write_map, unsigned tables_max) {
  check(mdb_env_create(&env_), "mdb_env_create");
  check(mdb_env_set_mapsize(env_, size_t{32} << 30), "mdb_env_set_mapsize");
  check(mdb_env_set_maxdbs(env_, tables_max), "mdb_env_set_maxdbs");
  const unsigned flags = MDB_NOTLS | MDB_NOMEMINIT | (write_map ? MDB_WRITEMAP : 0U);
  check(mdb_env_open(env_, directory.c_str(), flags, 0644), "mdb_env_open");
}

bool Environment::syncs() const {
  unsigned flags = 0;
  check(mdb_env_get_flags(env_, &flags), "mdb_env_get_flags");
  return (flags & (MDB_NOSYNC | MDB_NOMETASYNC | MDB_MAPASYNC)) == 0;
}

void Environment::hurry(bool on) {
  check(mdb_env_set_flags(env_, MDB_NOSYNC, on ? 1 : 0), "mdb_env_set_flags");
  if (!on) check(mdb_env_sync(env_, 1), "mdb_env_sync");
}

MDB_dbi Environment::table(const char* name, unsigned flags) {
  Transaction transaction(*this, Transaction::Kind::Write);
  MDB_dbi table = 0;
  check(mdb_dbi_open(transaction.get(), name, flags | MDB_CREATE, &table), name);
  transaction.commit();
  return table;
}

Transaction::Transaction(Environment& environment, Kind kind) : environment_(environment) {
  check(mdb_txn_begin(environment.get(), nullptr, kind == Kind::Read ? MDB_RDONLY : 0, &txn_), "mdb_txn_begin");
}

void Transaction::commit() {
  MDB_txn* const txn = txn_;
  txn_ = nullptr;
  check(mdb_txn_commit(txn), "mdb_txn_commit");
  environment_.count_commit();
}

bool Cursor::seek(MDB_val& key, MDB_val& value, MDB_cursor_op operation) {
  const int code = mdb_cursor_get(cursor_, &key, &value, operation);
  if (code == MDB_NOTFOUND) return false;
  check(code, "mdb_cursor_get");
  return true;
}

}  // namespace mqttq::layouts
