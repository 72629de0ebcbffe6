#include "store/lmdb_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "store/lmdb_check.h"
#include "store/system_status.h"

namespace mqttq {

namespace {

constexpr uint32_t kReadersMax = 128;  // at once: shards, workers, tools beside the broker
// Beyond bytes_max: what a batch changes is written elsewhere first, and old pages are free two batches later.
constexpr uint64_t slack(uint64_t bytes_max) noexcept { return bytes_max / 16 + (uint64_t{64} << 20); }
constexpr mode_t kFileMode = 0600;  // what clients sent is nobody else's business

Status status_of(int error) noexcept {
  switch (error) {
    case MDB_NOTFOUND: return Status::NotFound;
    case MDB_MAP_FULL: return Status::Full;
    case EINVAL:
    case MDB_BAD_VALSIZE: return Status::Invalid;
    default: return status_of_errno(error);
  }
}

MDB_val val(Bytes bytes) noexcept { return {bytes.size(), const_cast<std::byte*>(bytes.data())}; }
Bytes bytes(const MDB_val& of) noexcept { return {static_cast<const std::byte*>(of.mv_data), of.mv_size}; }

struct TableName {
  explicit TableName(uint8_t table) noexcept : text{static_cast<char>('a' + table), '\0'} {}
  const char text[2];
};

// One transaction, undone unless it was committed.
class Transaction {
 public:
  Transaction(MDB_env* env, unsigned flags) noexcept : error_(mdb_txn_begin(env, nullptr, flags, &handle_)) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (handle_) mdb_txn_abort(handle_);
  }
  int error() const noexcept { return error_; }
  MDB_txn* get() const noexcept { return handle_; }
  int commit() noexcept { return mdb_txn_commit(std::exchange(handle_, nullptr)); }

 private:
  MDB_txn* handle_ = nullptr;
  const int error_;
};

class TableCursor {
 public:
  TableCursor(const Transaction& transaction, MDB_dbi table) noexcept
      : error_(mdb_cursor_open(transaction.get(), table, &handle_)) {}
  TableCursor(const TableCursor&) = delete;
  TableCursor& operator=(const TableCursor&) = delete;
  ~TableCursor() {
    if (handle_) mdb_cursor_close(handle_);
  }
  int error() const noexcept { return error_; }
  // To the first entry that is not before `key`.
  int seek(Bytes key, MDB_val& found, MDB_val& value) noexcept {
    found = val(key);
    return mdb_cursor_get(handle_, &found, &value, key.empty() ? MDB_FIRST : MDB_SET_RANGE);
  }
  int next(MDB_val& found, MDB_val& value) noexcept { return mdb_cursor_get(handle_, &found, &value, MDB_NEXT); }
  int erase() noexcept { return mdb_cursor_del(handle_, 0); }

 private:
  MDB_cursor* handle_ = nullptr;
  const int error_;
};

bool reached(const MDB_val& key, Bytes end) noexcept { return !end.empty() && as_text(bytes(key)) >= as_text(end); }

int erase_range(const Transaction& transaction, MDB_dbi table, Bytes first, Bytes end) noexcept {
  TableCursor cursor(transaction, table);
  if (cursor.error()) return cursor.error();
  MDB_val key, value;
  int error = cursor.seek(first, key, value);
  while (!error && !reached(key, end)) {
    error = cursor.erase();
    if (!error) error = cursor.next(key, value);  // the one that stood behind it
  }
  return error == MDB_NOTFOUND ? 0 : error;
}

Status scan_range(const Transaction& transaction, MDB_dbi table, Bytes first, Bytes end,
                  StoreVisitor& visitor) noexcept {
  if (transaction.error()) return status_of(transaction.error());
  TableCursor cursor(transaction, table);
  if (cursor.error()) return status_of(cursor.error());
  MDB_val key, value;
  int error = cursor.seek(first, key, value);
  while (!error && !reached(key, end) && visitor.on_entry(bytes(key), bytes(value))) error = cursor.next(key, value);
  return error == MDB_NOTFOUND ? Status::Ok : status_of(error);
}

int apply(const Transaction& transaction, MDB_dbi table, const StoreWrite& write) noexcept {
  MDB_val key = val(write.key), value = val(write.value);
  switch (write.kind) {
    case StoreWrite::Kind::Put: return mdb_put(transaction.get(), table, &key, &value, 0);
    case StoreWrite::Kind::Erase: {
      const int error = mdb_del(transaction.get(), table, &key, nullptr);
      return error == MDB_NOTFOUND ? 0 : error;
    }
    case StoreWrite::Kind::EraseRange: return erase_range(transaction, table, write.key, write.value);
  }
  return EINVAL;
}

}  // namespace

struct LmdbStore::Parts {
  ~Parts() {
    MDB_envinfo info;
    const bool clean = env && opened && !failed && mdb_env_info(env, &info) == 0;
    if (env) mdb_env_close(env);
    if (clean) mark_clean(info.me_last_txnid);
    if (owner >= 0) ::close(owner);
  }
  // Nothing is written behind it. Without it the next one to open looks at the trees first.
  void mark_clean(uint64_t transaction) const {
    struct stat of;
    if (::stat(path.c_str(), &of) != 0) return;
    const std::string mark = clean_mark(transaction, static_cast<uint64_t>(of.st_size));
    if (::lseek(owner, 0, SEEK_END) < 0 || ::write(owner, mark.data(), mark.size()) < 0) return;
    static_cast<void>(::fdatasync(owner));
  }
  std::string path;  // of the file
  int owner = -1;    // the descriptor by which the directory is ours
  MDB_env* env = nullptr;
  bool opened = false, failed = false;  // failed: what is in the file is not known
  MDB_dbi tables[kTables] = {};
  uint64_t bytes_max = 0;

  uint64_t bytes_in_use(const Transaction& transaction) const noexcept {
    uint64_t sum = 0;
    MDB_stat stat;
    for (const MDB_dbi table : tables) {
      if (mdb_stat(transaction.get(), table, &stat) != 0) continue;
      sum += (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
    }
    return sum;
  }
};

namespace {

// Takes the directory for this process: LMDB itself would let a second one in. 0, or what the system said. mark: what
// who had it before left behind its number; it is gone from the disk before anything else is written.
int take_directory(const std::string& directory, int& descriptor, std::string& mark, std::string& problem) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    const int error = errno;
    problem = fmt::format("cannot make the data directory {}: {}", directory, std::strerror(error));
    return error;
  }
  const std::string path = directory + "/owner";
  descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode);
  if (descriptor < 0) {
    const int error = errno;
    problem = fmt::format("cannot write to the data directory {}: {}", directory, std::strerror(error));
    return error;
  }
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  char text[128] = "";
  const ssize_t size = ::pread(descriptor, text, sizeof text - 1, 0);
  if (::fcntl(descriptor, F_OFD_SETLK, &whole) != 0) {
    const long long process = size > 0 ? std::strtoll(text, nullptr, 10) : 0;
    problem = fmt::format("the data directory {} is in use by another broker (process {})", directory, process);
    return EBUSY;
  }
  if (const char* line = size > 0 ? std::strchr(text, '\n') : nullptr) mark = line + 1;
  const auto end = fmt::format_to_n(text, sizeof text, "{}\n", ::getpid()).out;
  if (::ftruncate(descriptor, 0) != 0 || ::pwrite(descriptor, text, static_cast<size_t>(end - text), 0) < 0 ||
      ::fdatasync(descriptor) != 0) {
    const int error = errno;
    problem = fmt::format("cannot write to the data directory {}: {}", directory, std::strerror(error));
    return error;
  }
  return 0;
}

}  // namespace

LmdbStore::LmdbStore(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
LmdbStore::~LmdbStore() = default;

std::unique_ptr<LmdbStore> LmdbStore::open(const Options& options, Status& status, std::string& problem) {
  auto parts = std::make_unique<Parts>();
  parts->bytes_max = options.bytes_max ? options.bytes_max : kBytesMaxDefault;
  LmdbCheck check{options.directory, {}, options.check_ms_max, options.log};
  int error = take_directory(options.directory, parts->owner, check.mark, problem);
  if (error) {
    status = error == EBUSY ? Status::Busy : status_of(error);
    return nullptr;
  }
  status = check_lmdb(check, problem);
  if (status != Status::Ok) return nullptr;
  const std::string& path = parts->path = options.directory + "/" + kStoreFile;
  error = mdb_env_create(&parts->env);
  if (!error) error = mdb_env_set_mapsize(parts->env, parts->bytes_max + slack(parts->bytes_max));
  if (!error) error = mdb_env_set_maxdbs(parts->env, kTables);
  if (!error) error = mdb_env_set_maxreaders(parts->env, kReadersMax);
  if (!error) error = mdb_env_open(parts->env, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, kFileMode);
  if (!error) {
    Transaction transaction(parts->env, 0);
    error = transaction.error();
    for (uint8_t table = 0; table < kTables && !error; ++table) {
      error = mdb_dbi_open(transaction.get(), TableName(table).text, MDB_CREATE, &parts->tables[table]);
    }
    if (!error) error = transaction.commit();
  }
  if (error) {
    problem = fmt::format("cannot open {}: {}", path, mdb_strerror(error));
    status = status_of(error);
    return nullptr;
  }
  parts->opened = true;
  return std::unique_ptr<LmdbStore>(new LmdbStore(std::move(parts)));
}

Status LmdbStore::write(std::span<const StoreWrite> writes) noexcept {
  mdb_reader_check(parts_->env, nullptr);  // a tool that was killed beside us would keep old pages for ever
  Transaction transaction(parts_->env, 0);
  int error = transaction.error();
  bool puts = false;
  for (const StoreWrite& write : writes) {
    if (error) break;
    error = apply(transaction, parts_->tables[write.table], write);
    puts |= write.kind == StoreWrite::Kind::Put;
  }
  if (!error && puts && parts_->bytes_in_use(transaction) > parts_->bytes_max) return Status::Full;
  if (error) return status_of(error);
  error = transaction.commit();
  parts_->failed |= error != 0;
  return status_of(error);
}

void LmdbStore::commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable, void* user) noexcept {
  on_durable(user, batch, write(writes));
}

Status LmdbStore::get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept {
  const Transaction transaction(parts_->env, MDB_RDONLY);
  if (transaction.error()) return status_of(transaction.error());
  MDB_val wanted = val(key), found;
  const int error = mdb_get(transaction.get(), parts_->tables[table], &wanted, &found);
  if (error) return status_of(error);
  value.clear();
  return value.append(bytes(found)) ? Status::Ok : Status::NoMemory;
}

Status LmdbStore::scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept {
  const Transaction transaction(parts_->env, MDB_RDONLY);
  return scan_range(transaction, parts_->tables[table], first, end, visitor);
}

StoreUsage LmdbStore::usage() noexcept {
  const Transaction transaction(parts_->env, MDB_RDONLY);
  return {transaction.error() ? 0 : parts_->bytes_in_use(transaction), parts_->bytes_max};
}

// --- for tools

std::optional<int64_t> owner_of(const std::string& directory) {
  const int descriptor = ::open((directory + "/owner").c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  const bool taken = ::fcntl(descriptor, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
  char text[32] = "";
  const ssize_t size = ::pread(descriptor, text, sizeof text - 1, 0);
  ::close(descriptor);
  if (!taken) return {};
  return size > 0 ? std::strtoll(text, nullptr, 10) : 0;
}

struct LmdbSnapshot::Parts {
  ~Parts() {
    transaction.reset();
    if (env && !tables) mdb_env_close(env);
  }
  MDB_env* env = nullptr;
  const MDB_dbi* tables = nullptr;  // of the store that has them open, and is open for longer; null: of its own
  bool locked = false;
  std::optional<Transaction> transaction;
};

LmdbSnapshot::LmdbSnapshot(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}
LmdbSnapshot::~LmdbSnapshot() = default;

// LMDB writes a lock file afresh that nobody else has open, and without one it cannot know which pages are still read:
// it is used beside a broker if it can be written, and else it is looked at afterwards whether pages were used again.
std::unique_ptr<LmdbSnapshot> LmdbSnapshot::open(const std::string& directory, Status& status, std::string& problem) {
  const std::string path = directory + "/" + kStoreFile;
  struct stat of;
  if (::stat(path.c_str(), &of) == 0 ? of.st_size == 0 : errno == ENOENT) {
    status = Status::NotFound;
    problem = fmt::format("there is no {}, or it is empty", path);
    return nullptr;
  }
  auto parts = std::make_unique<Parts>();
  parts->locked = owner_of(directory) && ::access((path + "-lock").c_str(), R_OK | W_OK) == 0;
  const unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | MDB_RDONLY | (parts->locked ? 0u : MDB_NOLOCK);
  int error = mdb_env_create(&parts->env);
  if (!error) error = mdb_env_set_maxdbs(parts->env, Store::kTables);
  if (!error) error = mdb_env_open(parts->env, path.c_str(), flags, kFileMode);
  if (!error) error = parts->transaction.emplace(parts->env, MDB_RDONLY).error();
  if (error) {
    problem = fmt::format("cannot open {}: {}", path, mdb_strerror(error));
    status = status_of(error);
    return nullptr;
  }
  status = Status::Ok;
  return std::unique_ptr<LmdbSnapshot>(new LmdbSnapshot(std::move(parts)));
}

std::unique_ptr<StoreSnapshot> LmdbStore::snapshot(Status& status, std::string& problem) {
  auto parts = std::make_unique<LmdbSnapshot::Parts>();
  parts->env = parts_->env;
  parts->tables = parts_->tables;
  parts->locked = true;
  const int error = parts->transaction.emplace(parts->env, MDB_RDONLY).error();
  status = status_of(error);
  if (!error) return std::unique_ptr<LmdbSnapshot>(new LmdbSnapshot(std::move(parts)));
  problem = fmt::format("the store cannot be read: {}", mdb_strerror(error));
  return nullptr;
}

Status LmdbSnapshot::scan(uint8_t table, StoreVisitor& visitor) noexcept {
  if (parts_->tables) return scan_range(*parts_->transaction, parts_->tables[table], {}, {}, visitor);
  MDB_dbi opened = 0;
  const int error = mdb_dbi_open(parts_->transaction->get(), TableName(table).text, 0, &opened);
  return error ? status_of(error) : scan_range(*parts_->transaction, opened, {}, {}, visitor);
}

// A writer without readers uses a page again two batches after the one that let it go.
bool LmdbSnapshot::whole() const noexcept {
  MDB_envinfo info;
  if (parts_->locked || mdb_env_info(parts_->env, &info) != 0) return parts_->locked;
  return info.me_last_txnid <= mdb_txn_id(parts_->transaction->get()) + 1;
}

}  // namespace mqttq
