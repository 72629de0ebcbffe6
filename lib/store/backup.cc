#include "store/backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/crc32c.h"
#include "store/backup_file.h"
#include "store/data_directory.h"
#include "store/memory_store.h"
#include "store/system_status.h"

namespace mqttq {

namespace {

constexpr const char* kUnfinished = "backup-unfinished";
// Of Meta, from the last batch of a restore until its `backup` is gone: the id of that.
constexpr std::string_view kRestoredKey = "restored";
constexpr auto kMeta = static_cast<uint8_t>(StateTable::Meta);
constexpr auto kNamespaces = static_cast<uint8_t>(StateTable::Namespaces);
constexpr size_t kMetaMax = 64 << 10;  // bytes of its entries, which are a few numbers

Status failed(Status status, std::string& problem, std::string_view what) {
  problem = fmt::format("{}: {}", what, words(status));
  return status;
}

void note_status(void* user, uint64_t, Status status) noexcept { *static_cast<Status*>(user) = status; }

// One batch, of a store that answers before commit() returns.
Status commit(Store& store, std::span<const StoreWrite> writes) noexcept {
  Status status = Status::Io;
  store.commit(writes, 0, note_status, &status);
  return status;
}

// What is known of a directory before it is opened, by the entries of Meta.
class MetaEntries {
 public:
  // Errors: NoMemory; Invalid, when there are too many to be one.
  Status take(Bytes key, Bytes value) noexcept {
    bytes_ += key.size() + value.size();
    if (bytes_ > kMetaMax) return Status::Invalid;
    const StoreWrite write{StoreWrite::Kind::Put, kMeta, key, value};
    return commit(entries_, {&write, 1});
  }
  // As DataDirectory::read_meta(), and Unsupported. problem: unless it is NotFound.
  Status judge(DataDirectory::Meta& meta, std::string& problem) {
    Status status = DataDirectory::read_meta(entries_, meta);
    if (status == Status::Ok && meta.format > DataDirectory::kFormat) {
      problem = fmt::format("the store has format {}, written by a newer version; this one reads format {}",
                            meta.format, DataDirectory::kFormat);
      return Status::Unsupported;
    }
    if (status == Status::Invalid) problem = "the store is damaged: what it says of itself is incomplete";
    return status;
  }
  MemoryStore& entries() noexcept { return entries_; }

 private:
  MemoryStore entries_;
  size_t bytes_ = 0;
};

// --- making one

// The files of the log at one moment, held open, so that it does not matter if they are removed.
class OpenLog {
 public:
  explicit OpenLog(Disk& disk) noexcept : disk_(disk) {}

  // Opens those that are there and not open yet. Those that go meanwhile are left out, and so are those before them.
  Status open();
  // Opens those that have come since. False: some may have come and gone, and it is to begin anew.
  Status open_newer(bool& complete);

  struct Segment {
    uint64_t id;
    std::unique_ptr<File> file;
  };
  const std::vector<Segment>& segments() const noexcept { return segments_; }
  void clear() noexcept { segments_.clear(); }

 private:
  Status list(std::vector<uint64_t>& ids) {
    std::vector<std::string> names;
    const Status status = disk_.list(names);
    ids = FileLog::segments_among(names);
    return status;
  }
  Status open(std::span<const uint64_t> ids);

  Disk& disk_;
  std::vector<Segment> segments_;  // by growing ids
};

Status OpenLog::open(std::span<const uint64_t> ids) {
  for (const uint64_t id : ids) {
    std::unique_ptr<File> file;
    const Status status = disk_.open(FileLog::segment_name(id), false, file);
    if (status == Status::NotFound) {  // older ones have gone before it
      segments_.clear();
      continue;
    }
    if (status != Status::Ok) return status;
    segments_.push_back({id, std::move(file)});
  }
  return Status::Ok;
}

Status OpenLog::open() {
  std::vector<uint64_t> ids;
  const Status status = list(ids);
  return status == Status::Ok ? open(ids) : status;
}

// They are removed from the oldest on, and one always stays. So while one of those from before is still there, all that
// came after it are.
Status OpenLog::open_newer(bool& complete) {
  complete = false;
  std::vector<uint64_t> ids;
  Status status = list(ids);
  if (status != Status::Ok) return status;
  if (segments_.empty()) {
    complete = ids.empty();
    return Status::Ok;
  }
  const uint64_t last = segments_.back().id;
  const auto newer = std::upper_bound(ids.begin(), ids.end(), last);
  if (newer == ids.begin() || *(newer - 1) != last) return Status::Ok;
  const size_t count = segments_.size() + static_cast<size_t>(ids.end() - newer);
  status = open({newer, ids.end()});
  complete = segments_.size() == count;
  return status;
}

class BackupMaking {
 public:
  BackupMaking(Disk& log, SnapshotSource& store, Disk& to, const BackupOptions& options, std::string& problem) noexcept
      : source_(log), store_(store), to_(to), options_(options), problem_(problem), log_(log) {}

  Status run();
  // Removes what was made.
  void undo() noexcept {
    for (const std::string& name : made_) static_cast<void>(to_.remove(name));
    static_cast<void>(to_.sync());
  }

 private:
  static constexpr int kTries = 20;

  Status make(const std::string& name, std::unique_ptr<File>& file);
  Status copy_tables(bool& whole);
  Status copy_table(StoreSnapshot& snapshot, uint8_t table);
  Status copy_log();
  Status copy_namespaces();
  Status finish();
  Status check();

  Disk& source_;
  SnapshotSource& store_;
  Disk& to_;
  const BackupOptions options_;
  std::string& problem_;
  OpenLog log_;
  std::vector<std::string> made_;
  std::unique_ptr<File> file_;
  std::optional<BackupWriter> writer_;
  DataDirectory::Meta meta_;
  std::vector<BackupSegment> segments_;
};

Status BackupMaking::make(const std::string& name, std::unique_ptr<File>& file) {
  if (std::find(made_.begin(), made_.end(), name) == made_.end()) made_.push_back(name);
  const Status status = to_.open(name, true, file);
  return status == Status::Ok ? status : failed(status, problem_, fmt::format("{} cannot be made", name));
}

// Keys that do not grow are a damaged tree, which might be gone around in for ever.
Status BackupMaking::copy_table(StoreSnapshot& snapshot, uint8_t table) {
  struct Copier final : StoreVisitor {
    Copier(BackupWriter& to, uint8_t of, MetaEntries* as_meta) noexcept : writer(to), table(of), meta(as_meta) {}
    bool on_entry(Bytes key, Bytes value) noexcept override try {
      sound = key.size() <= Store::kKeySizeMax && value.size() <= Store::kValueSizeMax && as_text(key) > last;
      if (!sound) return false;
      last = as_text(key);
      if (meta) status = meta->take(key, value);
      sound = status != Status::Invalid;
      if (status == Status::Ok) status = writer.add(table, key, value);
      return status == Status::Ok;
    } catch (const std::bad_alloc&) {
      status = Status::NoMemory;
      return false;
    }
    BackupWriter& writer;
    const uint8_t table;
    MetaEntries* const meta;
    std::string last;
    Status status = Status::Ok;
    bool sound = true;
  };
  MetaEntries meta;
  Copier copier(*writer_, table, table == kMeta ? &meta : nullptr);
  const Status status = snapshot.scan(table, copier);
  if (!copier.sound || (status != Status::Ok && status != Status::NotFound)) {
    problem_ = fmt::format("the store is damaged: its table {} cannot be read to its end", table);
    return copier.sound ? status : Status::Invalid;
  }
  if (copier.status != Status::Ok) return failed(copier.status, problem_, "the backup cannot be written");
  if (table != kMeta) return Status::Ok;
  const Status judged = meta.judge(meta_, problem_);
  if (judged == Status::NotFound) problem_ = "no broker has kept anything there";
  return judged;
}

// All but namespaces. whole: of one moment, which the files of the log that are open belong to.
Status BackupMaking::copy_tables(bool& whole) {
  whole = false;
  log_.clear();
  Status status = log_.open();
  if (status != Status::Ok) return failed(status, problem_, "the log cannot be opened");
  const std::unique_ptr<StoreSnapshot> snapshot = store_.snapshot(status, problem_);
  if (!snapshot) return status;
  status = log_.open_newer(whole);
  if (status != Status::Ok) return failed(status, problem_, "the log cannot be opened");
  if (!whole) return Status::Ok;
  status = make(kUnfinished, file_);
  if (status != Status::Ok) return status;
  writer_.emplace(*file_);
  status = writer_->begin({BackupWriter::kFormat, options_.id, options_.made_ms});
  if (status != Status::Ok) return failed(status, problem_, "the backup cannot be written");
  for (uint8_t table = 0; table < Store::kTables && status == Status::Ok; ++table) {
    if (table != kNamespaces) status = copy_table(*snapshot, table);
  }
  whole = snapshot->whole();
  return whole ? status : Status::Ok;  // what was written over may have looked damaged
}

Status BackupMaking::copy_log() {
  for (const OpenLog::Segment& segment : log_.segments()) {
    const bool open = &segment == &log_.segments().back();
    const std::string name = FileLog::segment_name(segment.id);
    std::unique_ptr<File> file;
    Status status = make(name, file);
    if (status != Status::Ok) return status;
    LogSegment::Kind kind{};
    FileLog::Copied copied;
    status = FileLog::copy_segment(*segment.file, segment.id, open, *file, kind, copied);
    if (status != Status::Ok) return failed(status, problem_, fmt::format("{} cannot be copied", name));
    if (kind == LogSegment::Kind::Newer) {
      problem_ = fmt::format("{} was written by a newer version", name);
      return Status::Unsupported;
    }
    if (kind == LogSegment::Kind::Empty) {
      file.reset();
      status = to_.remove(name);
      if (status != Status::Ok) return failed(status, problem_, fmt::format("{} cannot be removed", name));
    } else {
      segments_.push_back({segment.id, copied.bytes, copied.sum});
    }
  }
  log_.clear();
  return Status::Ok;
}

// Last of all: they do not go through the log, and a message there may be of one that was not there before. They only
// ever grow.
Status BackupMaking::copy_namespaces() {
  struct Keeper final : StoreVisitor {
    bool on_entry(Bytes key, Bytes value) noexcept override {
      const StoreWrite write{StoreWrite::Kind::Put, kNamespaces, key, value};
      status = commit(kept, {&write, 1});
      return status == Status::Ok;
    }
    MemoryStore kept;
    Status status = Status::Ok;
  };
  struct Adder final : StoreVisitor {
    explicit Adder(BackupWriter& to) noexcept : writer(to) {}
    bool on_entry(Bytes key, Bytes value) noexcept override {
      status = writer.add(kNamespaces, key, value);
      return status == Status::Ok;
    }
    BackupWriter& writer;
    Status status = Status::Ok;
  };
  for (int tries = 0; tries < kTries; ++tries) {
    Status status{};
    const std::unique_ptr<StoreSnapshot> snapshot = store_.snapshot(status, problem_);
    if (!snapshot) return status;
    Keeper keeper;
    status = snapshot->scan(kNamespaces, keeper);
    if (!snapshot->whole()) continue;
    if (status == Status::Ok) status = keeper.status;
    if (status != Status::Ok && status != Status::NotFound) {
      return failed(status, problem_, "the store cannot be read");
    }
    Adder adder(*writer_);
    static_cast<void>(keeper.kept.scan(kNamespaces, {}, {}, adder));  // of memory
    if (adder.status != Status::Ok) return failed(adder.status, problem_, "the backup cannot be written");
    return Status::Ok;
  }
  problem_ = "the store is written faster than it can be read";
  return Status::Busy;
}

// What a start would say of it. Damage is as it was before, and nothing that the backup could mend: it is told.
Status BackupMaking::check() {
  struct Ignorer final : BackupVisitor {
    Status on_entry(uint8_t, Bytes, Bytes) noexcept override { return Status::Ok; }
  } ignorer;
  BackupContents contents;
  Status status = read_backup(*file_, ignorer, contents, problem_);
  if (status != Status::Ok) return status;
  struct Listener final : LogReplay {
    explicit Listener(LogSink* to) noexcept : log(to) {}
    bool on_entry(const LogEntry&) noexcept override { return true; }
    void on_damage(std::string_view text) noexcept override {
      if (log) log->write(LogLevel::Error, text);
    }
    void on_segment(const LogSegment&) noexcept override { ++read; }
    LogSink* const log;
    size_t read = 0;
  } listener(options_.log);
  status = FileLog::replay_only(to_, std::min(meta_.followed + 1, meta_.wanted), listener, problem_);
  if (status != Status::Ok || listener.read == segments_.size()) return status;
  problem_ = "the backup cannot be read back";
  return Status::Io;
}

Status BackupMaking::finish() {
  Status status = writer_->finish(segments_);
  if (status == Status::Ok) status = to_.sync();
  if (status != Status::Ok) return failed(status, problem_, "the backup cannot be written");
  status = check();
  if (status != Status::Ok) return status;
  file_.reset();
  made_.emplace_back(kBackupFile);
  status = to_.rename(kUnfinished, kBackupFile);
  if (status == Status::Ok) status = to_.sync();
  return status == Status::Ok ? status : failed(status, problem_, "the backup cannot be written");
}

Status BackupMaking::run() {
  bool whole = false;
  for (int tries = 0; tries < kTries && !whole; ++tries) {
    const Status status = copy_tables(whole);
    if (status != Status::Ok) return status;
  }
  if (!whole) {
    problem_ = "the store and the log are written faster than they can be read";
    return Status::Busy;
  }
  Status status = copy_log();
  if (status == Status::Ok) status = copy_namespaces();
  return status == Status::Ok ? finish() : status;
}

// --- restoring

// Puts entries into a store, many in one batch, and holds back those of Meta: without them the store is none.
class Loader final : public BackupVisitor {
 public:
  explicit Loader(Store& store) noexcept : store_(store) {}

  Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
    if (table == kMeta) return meta_.take(key, value);
    add(table, key, value);
    if (bytes_.ok() && buffer_.count() < kBatch) return Status::Ok;
    return flush();
  }
  Status finish(uint64_t backup_id) noexcept;

 private:
  static constexpr uint32_t kBatch = 1u << 20;  // bytes
  struct Entry {
    uint8_t table;
    uint16_t key_size;
    uint32_t value_size;
  };
  void add(uint8_t table, Bytes key, Bytes value) noexcept {
    bytes_.raw(key);
    bytes_.raw(value);
    full_ |= !entries_.push_back({table, static_cast<uint16_t>(key.size()), static_cast<uint32_t>(value.size())});
  }
  Status flush() noexcept;

  Store& store_;
  MetaEntries meta_;
  Array<std::byte> buffer_;
  FieldWriter bytes_{buffer_};
  Array<Entry> entries_;
  Array<StoreWrite> writes_;
  bool full_ = false;  // an entry is missing for want of memory
};

Status Loader::flush() noexcept {
  writes_.clear();
  size_t at = 0;
  for (const Entry& entry : entries_) {
    const Bytes key = buffer_.span().subspan(at, entry.key_size);
    const Bytes value = buffer_.span().subspan(at + entry.key_size, entry.value_size);
    at += key.size() + value.size();
    full_ |= !writes_.push_back({StoreWrite::Kind::Put, entry.table, key, value});
  }
  if (full_ || !bytes_.ok()) return Status::NoMemory;
  const Status status = commit(store_, writes_.span());
  buffer_.clear();
  entries_.clear();
  return status;
}

// With Meta it is a store, and with the backup's id one whose `backup` is to be removed.
Status Loader::finish(uint64_t backup_id) noexcept {
  struct Adder final : StoreVisitor {
    explicit Adder(Loader& of) noexcept : loader(of) {}
    bool on_entry(Bytes key, Bytes value) noexcept override {
      if (as_text(key) != kRestoredKey) loader.add(kMeta, key, value);
      return true;
    }
    Loader& loader;
  } adder(*this);
  static_cast<void>(meta_.entries().scan(kMeta, {}, {}, adder));  // of memory
  std::byte id[sizeof backup_id];
  put_little(id, backup_id);
  add(kMeta, as_bytes(kRestoredKey), id);
  return flush();
}

class Restoring {
 public:
  Restoring(Disk& disk, Store& store, LogSink* log, std::string& problem) noexcept
      : disk_(disk), store_(store), log_(log), problem_(problem) {}

  Status run();

 private:
  Status invalid(std::string text) {
    problem_ = std::move(text);
    return Status::Invalid;
  }
  Status store_failed(Status status) { return failed(status, problem_, "the store cannot be written"); }
  Status judge();
  Status judge_segments();
  Status judge_segment(const BackupSegment& segment);
  Status load();
  Status forget_backup();
  Status judge_unfinished();

  Disk& disk_;
  Store& store_;
  LogSink* const log_;
  std::string& problem_;
  std::unique_ptr<File> file_;
  BackupContents contents_;
};

// Before anything is written.
Status Restoring::judge() {
  struct MetaTaker final : BackupVisitor {
    Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
      return table == kMeta ? entries.take(key, value) : Status::Ok;
    }
    MetaEntries entries;
  } meta;
  Status status = read_backup(*file_, meta, contents_, problem_);
  if (status == Status::Invalid && problem_.empty()) problem_ = "the backup is damaged: its table 0 is too large";
  if (status != Status::Ok) return problem_.empty() ? failed(status, problem_, "the backup cannot be read") : status;
  DataDirectory::Meta known;
  status = meta.entries.judge(known, problem_);
  if (status == Status::NotFound) return invalid("the backup is of a store that is none");
  return status == Status::Ok ? judge_segments() : status;
}

// A log without one of its files would be read up to there; one with a file of another log not at all.
Status Restoring::judge_segments() {
  std::vector<std::string> names;
  Status status = disk_.list(names);
  if (status != Status::Ok) return failed(status, problem_, "the directory cannot be listed");
  for (const uint64_t id : FileLog::segments_among(names)) {
    const bool known = std::any_of(contents_.segments.begin(), contents_.segments.end(),
                                   [&](const BackupSegment& segment) { return segment.id == id; });
    if (!known) return invalid(fmt::format("{} does not belong to the backup", FileLog::segment_name(id)));
  }
  for (const BackupSegment& segment : contents_.segments) {
    status = judge_segment(segment);
    if (status != Status::Ok) return status;
  }
  return Status::Ok;
}

Status Restoring::judge_segment(const BackupSegment& segment) {
  const std::string name = FileLog::segment_name(segment.id);
  std::unique_ptr<File> file;
  Status status = disk_.open(name, false, file);
  if (status == Status::NotFound) return invalid(fmt::format("{} is missing, which belongs to the backup", name));
  std::vector<std::byte> piece(256 << 10);
  uint64_t bytes = 0;
  uint32_t sum = 0;
  for (size_t got = piece.size(); status == Status::Ok && got == piece.size(); bytes += got) {
    status = file->read(bytes, piece, got);
    if (status == Status::Ok) sum = crc32c(Bytes(piece).first(got), sum);
  }
  if (status != Status::Ok) return failed(status, problem_, fmt::format("{} cannot be read", name));
  if (bytes == segment.bytes && sum == segment.sum) return Status::Ok;
  return invalid(fmt::format("{} is not as it was when the backup was made", name));
}

// What an earlier try has left is taken out first: it may have been of another backup.
Status Restoring::load() {
  std::vector<StoreWrite> writes;
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    writes.push_back({StoreWrite::Kind::EraseRange, table, {}, {}});
  }
  Status status = commit(store_, writes);
  if (status != Status::Ok) return store_failed(status);
  Loader loader(store_);
  status = read_backup(*file_, loader, contents_, problem_);
  if (status == Status::Ok) status = loader.finish(contents_.head.id);
  if (status != Status::Ok && problem_.empty()) return store_failed(status);
  return status;
}

// The name in Meta goes last: until then a `backup` that is there has been loaded.
Status Restoring::forget_backup() {
  file_.reset();
  Status status = disk_.remove(kBackupFile);
  if (status == Status::NotFound) status = Status::Ok;
  if (status == Status::Ok) status = disk_.sync();
  if (status != Status::Ok) {
    return failed(status, problem_, fmt::format("{}, which has been restored, cannot be removed", kBackupFile));
  }
  const StoreWrite write{StoreWrite::Kind::Erase, kMeta, as_bytes(kRestoredKey), {}};
  status = commit(store_, {&write, 1});
  return status == Status::Ok ? status : store_failed(status);
}

// The beginning of a backup would pass for a directory in which nothing was kept yet.
Status Restoring::judge_unfinished() {
  Status status = disk_.open(kUnfinished, false, file_);
  if (status == Status::NotFound) return Status::Ok;
  DataDirectory::Meta meta;
  if (status == Status::Ok && DataDirectory::read_meta(store_, meta) != Status::NotFound) return status;
  if (status != Status::Ok) return failed(status, problem_, fmt::format("{} cannot be read", kUnfinished));
  return invalid("there is a backup that was not finished: it is none");
}

Status Restoring::run() {
  Array<std::byte> restored;
  Status status = store_.get(kMeta, as_bytes(kRestoredKey), restored);
  if (status != Status::Ok && status != Status::NotFound) return failed(status, problem_, "the store cannot be read");
  const bool was_restored = status == Status::Ok && restored.count() == sizeof(uint64_t);
  status = disk_.open(kBackupFile, false, file_);
  if (status == Status::NotFound) return was_restored ? forget_backup() : judge_unfinished();
  if (status != Status::Ok) return failed(status, problem_, fmt::format("{} cannot be read", kBackupFile));
  if (was_restored) {
    status = read_backup_head(*file_, contents_.head, problem_);
    if (status != Status::Ok && status != Status::Invalid && status != Status::Unsupported) return status;
    if (status == Status::Ok && contents_.head.id == get_little<uint64_t>(restored.begin())) return forget_backup();
  }
  DataDirectory::Meta meta;
  status = DataDirectory::read_meta(store_, meta);
  if (status != Status::NotFound) {
    return invalid(fmt::format(
        "there is a {} beside a store that is in use: a backup is restored into a directory of its own", kBackupFile));
  }
  if (log_) log_->write(LogLevel::Notice, "there is a backup: it is looked at as a whole, and made a store");
  status = judge();
  if (status == Status::Ok) status = load();
  if (status == Status::Ok) status = forget_backup();
  if (status != Status::Ok || !log_) return status;
  log_->write(LogLevel::Notice, fmt::format("restored a backup: {} entries of the store, {} files of the log",
                                            contents_.entries, contents_.segments.size()));
  return status;
}

}  // namespace

Status make_backup(Disk& log, SnapshotSource& store, Disk& to, const BackupOptions& options,
                   std::string& problem) noexcept try {
  BackupMaking making(log, store, to, options, problem);
  Status status = Status::NoMemory;
  try {
    status = making.run();
  } catch (const std::bad_alloc&) {
    problem = "out of memory";
  }
  if (status != Status::Ok) making.undo();
  return status == Status::Invalid ? Status::Io : status;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status restore_backup(Disk& disk, Store& store, LogSink* log, std::string& problem) noexcept try {
  return Restoring(disk, store, log, problem).run();
} catch (const std::bad_alloc&) {
  problem = "out of memory";
  return Status::NoMemory;
}

}  // namespace mqttq
