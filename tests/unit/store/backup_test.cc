// Backups of a directory that is in use, and stores made of them: on disks that fail at any call, and lose their power.
#include "store/backup.h"

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <tuple>
#include <utility>

#include "simulated_disk.h"
#include "store/backup_file.h"
#include "store/data_directory.h"
#include "store/memory_store.h"

namespace mqttq {

namespace {

using Entries = std::vector<std::tuple<uint8_t, std::string, std::string>>;

Entries entries_of(Store& store) {
  struct Collector final : StoreVisitor {
    bool on_entry(Bytes key, Bytes value) noexcept override {
      entries.emplace_back(table, as_text(key), as_text(value));
      return true;
    }
    uint8_t table = 0;
    Entries entries;
  } collector;
  for (; collector.table < Store::kTables; ++collector.table) {
    REQUIRE(store.scan(collector.table, {}, {}, collector) == Status::Ok);
  }
  return collector.entries;
}

void put(Store& store, uint8_t table, std::string_view key, std::string_view value) {
  const StoreWrite write{StoreWrite::Kind::Put, table, as_bytes(key), as_bytes(value)};
  store.commit({&write, 1}, 0, [](void*, uint64_t, Status) noexcept {}, nullptr);
}

// Whose batches fail, or answer that they did, from the one that it is told on.
class FailingStore final : public Store {
 public:
  explicit FailingStore(MemoryStore& store) noexcept : store_(store) {}
  void fail(uint64_t after, bool carries_out) noexcept {
    after_ = after;
    carries_out_ = carries_out;
  }
  bool failed() const noexcept { return failed_; }
  void commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable, void* user) noexcept override {
    failed_ |= after_ == 0;
    if (after_ > 0) {
      --after_;
      return store_.commit(writes, batch, on_durable, user);
    }
    if (carries_out_) store_.commit(writes, batch, [](void*, uint64_t, Status) noexcept {}, nullptr);
    carries_out_ = false;  // the process goes on for a while, and nothing more reaches the disk
    on_durable(user, batch, Status::Full);
  }
  Status get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept override {
    return store_.get(table, key, value);
  }
  Status scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept override {
    return store_.scan(table, first, end, visitor);
  }
  StoreUsage usage() noexcept override { return store_.usage(); }

 private:
  MemoryStore& store_;
  uint64_t after_ = UINT64_MAX;
  bool carries_out_ = false, failed_ = false;
};

// Looks at a store in memory, by a copy; and what is done meanwhile.
struct Source final : SnapshotSource {
  explicit Source(MemoryStore& of) noexcept : store(of) {}
  std::unique_ptr<StoreSnapshot> snapshot(Status& status, std::string&) override {
    struct Copy final : StoreSnapshot {
      Status scan(uint8_t table, StoreVisitor& visitor) noexcept override { return copy.scan(table, {}, {}, visitor); }
      bool whole() const noexcept override { return is_whole; }
      MemoryStore copy;
      bool is_whole = true;
    };
    ++count;
    if (before) before(count);
    auto made = std::make_unique<Copy>();
    for (const auto& [table, key, value] : entries_of(store)) put(made->copy, table, key, value);
    made->is_whole = overwritten == 0;
    if (overwritten > 0) --overwritten;
    if (after) after(count);
    status = Status::Ok;
    return made;
  }
  MemoryStore& store;
  int count = 0;
  int overwritten = 0;  // so many are not of one moment
  std::function<void(int)> before, after;
};

struct Lines final : LogSink {
  void write(LogLevel, std::string_view line) noexcept override { text.append(line).append("\n"); }
  std::string text;
};

// A directory in use.
struct Directory {
  explicit Directory(uint64_t segment_bytes = 4096) {
    DataDirectory::Options options;
    options.segment_bytes = segment_bytes;
    options.seed = 42;
    options.memory_bytes = 1000;
    Status status = Status::Ok;
    std::string problem;
    directory = DataDirectory::open(&disk, store, options, status, problem);
    INFO(problem);
    REQUIRE(directory);
  }
  // A message for a journal, and a change of state beside it.
  void append(size_t payload_size = 100) {
    const std::string payload(payload_size, static_cast<char>('a' + number % 26));
    MessageView view;
    view.topic_name = "a/b";
    view.payload = as_bytes(payload);
    view.namespace_id = static_cast<NamespaceId>(directory->namespaces().size());
    view.expires_at = Instant{INT64_MAX};
    const MessageRef message = Message::create(view);
    const uint64_t journal = 7;
    StateWrites writes;
    writes.put(StateTable::Receipts, StateKey().add(number).add(number).add(uint16_t{1}).bytes(), {});
    writes.put_large(StateTable::Retained, StateKey().add(number % 5).add(uint64_t{1}).bytes(), as_bytes(payload));
    LogRecord batch[2];
    batch[0].number = ++number;
    batch[0].message = message.get();
    batch[0].journals = {&journal, 1};
    batch[1].number = ++number;
    batch[1].state = writes.bytes();
    REQUIRE(directory->append(batch) == Status::Ok);
  }
  void fill(int count) {
    for (int i = 0; i < count; ++i) append();
  }
  // The store has it all, and what is before is needed no more.
  void follow(uint64_t wanted) {
    directory->set_lowest(wanted);
    REQUIRE(directory->follow() == Status::Ok);
  }

  SimulatedDisk disk{1};
  MemoryStore store;
  std::unique_ptr<DataDirectory> directory;
  uint64_t number = 0;
};

Status back_up(Directory& of, Source& source, Disk& to, std::string& problem, LogSink* log = nullptr) {
  return make_backup(of.disk, source, to, {99, 1'700'000'000'000, log}, problem);
}
void back_up(Directory& of, SimulatedDisk& to) {
  Source source(of.store);
  std::string problem;
  const Status status = back_up(of, source, to, problem);
  INFO(problem);
  REQUIRE(status == Status::Ok);
}

// All that a start finds in a directory.
struct Found {
  Entries entries;  // but how often it was opened
  std::vector<std::pair<uint64_t, uint32_t>> messages;
  std::vector<std::string> namespaces;
  uint64_t last = 0;
  std::string damage;
  bool operator==(const Found&) const = default;
};
Found start(SimulatedDisk& disk, Store& store) {
  DataDirectory::Options options;
  options.seed = 43;
  Lines lines;
  options.log = &lines;
  Status status = Status::Ok;
  std::string problem;
  const auto directory = DataDirectory::open(&disk, store, options, status, problem);
  INFO(problem);
  REQUIRE(directory);
  REQUIRE(directory->follow() == Status::Ok);
  Found found;
  for (const auto& [table, key, value] : entries_of(store)) {
    if (table != 0 || key != "boot") found.entries.emplace_back(table, key, value);
  }
  for (const auto& one : directory->loaded_messages()) found.messages.emplace_back(one.number, one.size);
  found.namespaces = directory->namespaces();
  found.last = directory->durable_number();
  found.damage = lines.text;
  return found;
}
// What the directory itself would be found to be, if its broker were killed now.
Found start_again(Directory& of) {
  SimulatedDisk disk(2);
  disk.copy(of.disk);
  MemoryStore store;
  for (const auto& [table, key, value] : entries_of(of.store)) put(store, table, key, value);
  return start(disk, store);
}
Found restore_and_start(SimulatedDisk& disk) {
  MemoryStore store;
  std::string problem;
  const Status status = restore_backup(disk, store, nullptr, problem);
  INFO(problem);
  REQUIRE(status == Status::Ok);
  return start(disk, store);
}

bool names_have(const SimulatedDisk& disk, std::string_view name) {
  const auto names = disk.names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> without_log(const std::vector<std::string>& names) {
  std::vector<std::string> others;
  for (const std::string& name : names) {
    if (!name.starts_with("log-")) others.push_back(name);
  }
  return others;
}

}  // namespace

TEST_CASE("a backup that is restored is what the directory was", "[store][backup]") {
  Directory directory;
  REQUIRE(directory.directory->add_namespace("tenant") == Status::Ok);
  for (const int more : {0, 1, 30, 60}) {
    directory.fill(more);
    if (more == 60) directory.follow(40);
    directory.fill(more / 3);
    const Found expected = start_again(directory);
    SimulatedDisk backup(2);
    back_up(directory, backup);
    backup.cut_power();
    CHECK(without_log(backup.names()) == std::vector<std::string>{"backup"});
    CHECK(expected.damage.empty());
    CHECK(restore_and_start(backup) == expected);
    CHECK(without_log(backup.names()).empty());
  }
}

TEST_CASE("a backup has no room that was reserved, and no byte less than was used", "[store][backup]") {
  Directory directory(1 << 20);
  // A body that ends in zeros, of more than is read at once.
  const std::string zeros(100'000, '\0');
  StateWrites writes;
  writes.put_large(StateTable::Retained, StateKey().add(uint64_t{1}).add(uint64_t{1}).bytes(), as_bytes(zeros));
  LogRecord record;
  record.number = 1;
  record.state = writes.bytes();
  REQUIRE(directory.directory->append({&record, 1}) == Status::Ok);
  const Found expected = start_again(directory);
  SimulatedDisk backup(2);
  back_up(directory, backup);
  const size_t size = backup.bytes("log-0000000000000001").size();
  CHECK(directory.disk.bytes("log-0000000000000001").size() == 1 << 20);
  CHECK(size > zeros.size());
  CHECK(size < zeros.size() + 1000);
  CHECK(restore_and_start(backup) == expected);
}

TEST_CASE("a backup holds while the log goes on and gives back its files", "[store][backup]") {
  Directory directory;
  directory.fill(50);
  Source source(directory.store);
  // Between the first look at the log and the second all files of the first go, twice; then some more come.
  source.before = [&](int count) {
    if (count > 2) return;
    directory.fill(100);
    directory.follow(directory.number);
    directory.fill(50);
  };
  Found expected;
  source.after = [&](int count) {
    if (count != 3) return;
    expected = start_again(directory);
  };
  SimulatedDisk backup(2);
  std::string problem;
  REQUIRE(back_up(directory, source, backup, problem) == Status::Ok);
  CHECK(source.count == 4);  // two in vain, one, and one for namespaces
  const Found found = restore_and_start(backup);
  CHECK(found.damage.empty());
  CHECK(found == expected);
}

TEST_CASE("files of the log that go while a backup is made are in it", "[store][backup]") {
  Directory directory;
  directory.fill(100);
  const Found expected = start_again(directory);
  Source source(directory.store);
  source.after = [&](int count) {
    if (count == 1) directory.follow(directory.number + 1);  // all but the last file go
  };
  SimulatedDisk backup(2);
  std::string problem;
  REQUIRE(back_up(directory, source, backup, problem) == Status::Ok);
  CHECK(directory.disk.file_count() == 1);
  CHECK(backup.file_count() > 5);
  CHECK(restore_and_start(backup) == expected);
}

TEST_CASE("files of the log that go while a backup opens them leave no gap in it", "[store][backup]") {
  Directory directory;
  directory.fill(100);
  // A directory where something is done once, before one of its files is opened.
  struct Watched final : Disk {
    Status open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept override {
      if (name == at) std::exchange(meanwhile, [] {})();
      return disk->open(name, make, file);
    }
    Status remove(const std::string& name) noexcept override { return disk->remove(name); }
    Status rename(const std::string& from, const std::string& to) noexcept override { return disk->rename(from, to); }
    Status rename_unread(const std::string& from, const std::string& to) noexcept override {
      return disk->rename_unread(from, to);
    }
    Status list(std::vector<std::string>& names) noexcept override { return disk->list(names); }
    Status sync() noexcept override { return disk->sync(); }
    SimulatedDisk* disk = nullptr;
    std::string at;
    std::function<void()> meanwhile;
  } watched;
  watched.disk = &directory.disk;
  watched.at = FileLog::segment_name(4);
  watched.meanwhile = [&] { directory.follow(directory.number + 1); };  // all but the last go, of which three are open
  REQUIRE(FileLog::segments_among(directory.disk.names()).size() > 6);
  Source source(directory.store);
  SimulatedDisk backup(2);
  std::string problem;
  REQUIRE(make_backup(watched, source, backup, {99, 1'700'000'000'000, nullptr}, problem) == Status::Ok);
  CHECK(FileLog::segments_among(backup.names()) == FileLog::segments_among(directory.disk.names()));
  const Found found = restore_and_start(backup);
  CHECK(found.damage.empty());
  CHECK(found == start_again(directory));
}

TEST_CASE("a namespace that comes while a backup is made is in it, as its messages are", "[store][backup]") {
  Directory directory;
  directory.fill(3);
  Source source(directory.store);
  source.after = [&](int count) {
    if (count != 1) return;
    REQUIRE(directory.directory->add_namespace("late") == Status::Ok);
    directory.fill(1);
  };
  SimulatedDisk backup(2);
  std::string problem;
  REQUIRE(back_up(directory, source, backup, problem) == Status::Ok);
  const Found found = restore_and_start(backup);
  CHECK(found.namespaces == std::vector<std::string>{"late"});
  CHECK(found.messages.size() == 4);
}

TEST_CASE("a store that is written over while it is read is read again", "[store][backup]") {
  Directory directory;
  directory.fill(10);
  const Found expected = start_again(directory);
  for (const int times : {1, 19, 50}) {
    Source source(directory.store);
    source.overwritten = times;
    SimulatedDisk backup(2);
    std::string problem;
    const Status status = back_up(directory, source, backup, problem);
    CHECK(status == (times < 20 ? Status::Ok : Status::Busy));
    if (status == Status::Ok) {
      CHECK(restore_and_start(backup) == expected);
    } else {
      CHECK(problem == "the store and the log are written faster than they can be read");
      CHECK(backup.file_count() == 0);
    }
  }
}

TEST_CASE("a segment that is written to while it is copied is whole up to some batch", "[store][backup]") {
  SimulatedDisk disk(1), to_disk(2);
  struct Listener final : LogReplay {
    bool on_entry(const LogEntry& entry) noexcept override {
      last = entry.number;
      return ++count;
    }
    void on_damage(std::string_view text) noexcept override { damage = text; }
    uint64_t last = 0, count = 0;
    std::string damage;
  } listener;
  Status status = Status::Ok;
  std::string problem;
  const auto log = FileLog::open(disk, {1 << 20, 0, 5}, listener, status, problem);
  REQUIRE(log);
  uint64_t number = 0;
  const auto append = [&](size_t size) {
    const std::string body(size, 'x');
    const LogEntry entry{++number, 1, as_bytes(body)};
    REQUIRE(log->append({&entry, 1}) == Status::Ok);
  };
  append(16'000);  // the first piece that is read ends behind this
  // A file that is appended to behind the first piece: two batches, the first of which is partly in that piece.
  struct Growing final : File {
    Status read(uint64_t offset, std::span<std::byte> into, size_t& got) noexcept override {
      if (offset && !grown) {
        grown = true;
        grow();
      }
      return file->read(offset, into, got);
    }
    Status write(uint64_t, Bytes) noexcept override { return Status::Permission; }
    Status reserve(uint64_t) noexcept override { return Status::Permission; }
    Status cut(uint64_t) noexcept override { return Status::Permission; }
    Status sync() noexcept override { return Status::Permission; }
    std::unique_ptr<File> file;
    std::function<void()> grow;
    bool grown = false;
  } growing;
  growing.grow = [&] {
    append(1'000);
    append(1'000);
  };
  REQUIRE(disk.open("log-0000000000000001", false, growing.file) == Status::Ok);
  {
    std::unique_ptr<File> to;
    REQUIRE(to_disk.open("log-0000000000000001", true, to) == Status::Ok);
    LogSegment::Kind kind{};
    FileLog::Copied copied;
    REQUIRE(FileLog::copy_segment(growing, 1, true, *to, kind, copied) == Status::Ok);
    CHECK(kind == LogSegment::Kind::Good);
    CHECK(copied.bytes == to_disk.bytes("log-0000000000000001").size());
  }
  REQUIRE(FileLog::replay_only(to_disk, 0, listener, problem) == Status::Ok);
  CHECK(listener.damage.empty());
  CHECK(listener.count == 3);
  CHECK(listener.last == 3);
}

TEST_CASE("a disk that fails at any call leaves no backup, and a power cut none that is not whole", "[store][backup]") {
  Directory directory;
  directory.fill(30);
  directory.follow(10);
  directory.fill(10);
  const Found expected = start_again(directory);
  int whole = 0;
  for (uint64_t call = 0;; ++call) {
    Source source(directory.store);
    SimulatedDisk backup(call);
    backup.fail(call, Status::Full, false);
    std::string problem;
    const Status status = back_up(directory, source, backup, problem);
    if (!backup.failing()) {
      REQUIRE(status == Status::Ok);
      break;
    }
    CHECK((status == Status::Full || problem == "the backup cannot be read back"));
    CHECK(!problem.empty());
    CHECK(backup.file_count() == 0);
  }
  for (uint64_t call = 0;; ++call) {
    Source source(directory.store);
    SimulatedDisk backup(call);
    backup.fail(call, Status::Io, true);
    std::string problem;
    static_cast<void>(back_up(directory, source, backup, problem));
    const bool failed = backup.failing();
    backup.heal();
    backup.cut_power();
    if (names_have(backup, "backup")) {
      ++whole;
      CHECK(restore_and_start(backup) == expected);
    }
    if (!failed) break;
  }
  CHECK(whole >= 1);
}

TEST_CASE("a source that fails at any call is told, and nothing is left", "[store][backup]") {
  Directory directory;
  directory.fill(30);
  for (uint64_t call = 0;; ++call) {
    Source source(directory.store);
    SimulatedDisk backup(1);
    directory.disk.fail(call, Status::Io, false);
    std::string problem;
    const Status status = back_up(directory, source, backup, problem);
    const bool failed = directory.disk.failing();
    directory.disk.heal();
    if (!failed) {
      REQUIRE(status == Status::Ok);
      break;
    }
    CHECK(status == Status::Io);
    CHECK(!problem.empty());
    CHECK(backup.file_count() == 0);
  }
}

TEST_CASE("a restore that ends anywhere begins anew, and ends the same", "[store][backup]") {
  Directory directory;
  directory.fill(30);
  directory.follow(10);
  for (uint64_t i = 0; i < 150; ++i) {  // more than two batches of the store
    put(directory.store, 15, as_text(StateKey().add(i).bytes()), std::string(Store::kValueSizeMax, 'v'));
  }
  const Found expected = start_again(directory);
  SimulatedDisk backup(2);
  back_up(directory, backup);
  // The disk fails for good at each of its calls, then the store at each of its batches.
  for (const int what : {0, 1, 2}) {
    for (uint64_t call = 0;; ++call) {
      SimulatedDisk disk(call);
      disk.copy(backup);
      MemoryStore store;
      FailingStore failing(store);
      if (what == 0) disk.fail(call, Status::Io, true);
      if (what > 0) failing.fail(call, what == 2);
      std::string problem;
      Lines lines;
      const Status status = restore_backup(disk, failing, &lines, problem);
      const bool failed = disk.failing() || failing.failed();
      CHECK((status == Status::Ok) == !failed);
      if (!failed && what > 0) CHECK(call == 5);  // what was there is erased, three batches, `backup` is forgotten
      CHECK(problem.empty() == !failed);
      CHECK((lines.text.find("\nrestored a backup: ") == std::string::npos) == failed);
      disk.heal();
      disk.cut_power();
      DataDirectory::Meta meta;
      const bool has_backup = names_have(disk, "backup");
      CHECK((has_backup || DataDirectory::read_meta(store, meta) == Status::Ok));
      REQUIRE(restore_backup(disk, store, nullptr, problem) == Status::Ok);
      CHECK(start(disk, store) == expected);
      if (!failed) break;
    }
  }
}

TEST_CASE("what an interrupted restore of another backup left is not in the store", "[store][backup]") {
  Directory one, other;
  one.fill(40);
  one.follow(1);
  other.fill(3);
  SimulatedDisk disk(2), other_disk(3);
  back_up(one, disk);
  back_up(other, other_disk);
  MemoryStore store;
  FailingStore failing(store);
  failing.fail(1, true);
  std::string problem;
  REQUIRE(restore_backup(disk, failing, nullptr, problem) == Status::Full);
  REQUIRE_FALSE(entries_of(store).empty());
  put(store, 5, "left", "over");
  const StoreWrite erase{StoreWrite::Kind::EraseRange, 0, {}, {}};
  store.commit({&erase, 1}, 0, [](void*, uint64_t, Status) noexcept {}, nullptr);
  REQUIRE(restore_backup(other_disk, store, nullptr, problem) == Status::Ok);
  CHECK(start(other_disk, store) == start_again(other));
}

TEST_CASE("a backup beside a store is refused, and both stay as they are", "[store][backup]") {
  Directory directory;
  directory.fill(5);
  SimulatedDisk disk(2);
  back_up(directory, disk);
  SimulatedDisk copy(3);
  copy.copy(disk);
  MemoryStore store;
  std::string problem;
  REQUIRE(restore_backup(disk, store, nullptr, problem) == Status::Ok);
  start(disk, store);
  const Entries before = entries_of(store);
  // The same backup, copied over it once more.
  for (const bool damaged : {false, true}) {
    if (damaged) copy.damage("backup", 5);
    const auto bytes = copy.bytes("backup");
    CHECK(restore_backup(copy, store, nullptr, problem) == Status::Invalid);
    CHECK(problem ==
          "there is a backup beside a store that is in use: a backup is restored into a directory of its own");
    CHECK(copy.bytes("backup") == bytes);
    CHECK(entries_of(store) == before);
  }
  put(store, 0, "format", "x");
  CHECK(restore_backup(copy, store, nullptr, problem) == Status::Invalid);
}

TEST_CASE("a backup that is not as it was made is refused, and nothing is written", "[store][backup]") {
  Directory directory;
  directory.fill(60);
  SimulatedDisk whole(2);
  back_up(directory, whole);
  const std::string first = "log-0000000000000001";
  struct Case {
    std::function<void(SimulatedDisk&)> change;
    std::string said;
    Status status = Status::Invalid;
  };
  const Case cases[] = {
      {[](SimulatedDisk& disk) { disk.bytes("backup").resize(300); }, "the backup is not whole: its end is missing"},
      {[](SimulatedDisk& disk) { disk.bytes("backup").clear(); }, "the backup is not whole: its end is missing"},
      {[](SimulatedDisk& disk) { disk.damage("backup", 100); }, "the backup is damaged at byte 64"},
      {[&](SimulatedDisk& disk) { REQUIRE(disk.remove(first) == Status::Ok); },
       first + " is missing, which belongs to the backup"},
      {[&](SimulatedDisk& disk) { disk.damage(first, 1000); }, first + " is not as it was when the backup was made"},
      {[&](SimulatedDisk& disk) { disk.bytes(first).pop_back(); },
       first + " is not as it was when the backup was made"},
      {[](SimulatedDisk& disk) {
         std::unique_ptr<File> file;
         REQUIRE(disk.open("log-00000000000000ff", true, file) == Status::Ok);
       },
       "log-00000000000000ff does not belong to the backup"},
  };
  for (const Case& one : cases) {
    SimulatedDisk disk(3);
    disk.copy(whole);
    one.change(disk);
    const auto names = disk.names();
    MemoryStore store;
    std::string problem;
    CHECK(restore_backup(disk, store, nullptr, problem) == one.status);
    CHECK(problem == one.said);
    CHECK(disk.names() == names);
    CHECK(entries_of(store).empty());
  }
  // Of a store of a newer version, and of none at all.
  for (const auto& [format, status] : {std::pair(std::string("\2\0", 2), Status::Unsupported), {"", Status::Invalid}}) {
    SimulatedDisk disk(3);
    std::unique_ptr<File> file;
    REQUIRE(disk.open("backup", true, file) == Status::Ok);
    BackupWriter writer(*file);
    REQUIRE(writer.begin({}) == Status::Ok);
    if (!format.empty()) REQUIRE(writer.add(0, as_bytes("format"), as_bytes(format)) == Status::Ok);
    REQUIRE(writer.finish({}) == Status::Ok);
    MemoryStore store;
    std::string problem;
    CHECK(restore_backup(disk, store, nullptr, problem) == status);
    CHECK(!problem.empty());
    CHECK(entries_of(store).empty());
  }
}

TEST_CASE("a log that is damaged is backed up as it is, and that is told", "[store][backup]") {
  Directory directory;
  directory.fill(60);
  directory.disk.damage("log-0000000000000002", 300);
  const Found expected = start_again(directory);
  REQUIRE_FALSE(expected.damage.empty());
  Source source(directory.store);
  SimulatedDisk backup(2);
  std::string problem;
  Lines lines;
  REQUIRE(back_up(directory, source, backup, problem, &lines) == Status::Ok);
  CHECK(lines.text == expected.damage);
  CHECK(restore_and_start(backup) == expected);
}

TEST_CASE("what nobody has kept anything in, or is no store, is not backed up", "[store][backup]") {
  Directory directory;
  directory.fill(1);
  SimulatedDisk backup(2);
  std::string problem;
  MemoryStore none;
  Source empty(none);
  CHECK(back_up(directory, empty, backup, problem) == Status::NotFound);
  CHECK(problem == "no broker has kept anything there");
  for (const auto& [key, value, status] :
       {std::tuple("boot", "x", Status::Io), {"format", "\2", Status::Io}, {"format", "xx", Status::Unsupported}}) {
    MemoryStore store;
    for (const auto& [table, of, entry] : entries_of(directory.store)) put(store, table, of, entry);
    put(store, 0, key, value);
    Source source(store);
    CHECK(back_up(directory, source, backup, problem) == status);
    CHECK(!problem.empty());
    CHECK(backup.file_count() == 0);
  }
}

TEST_CASE("a backup that was not finished is not taken for a new directory", "[store][backup]") {
  Directory directory;
  SimulatedDisk disk(2);
  back_up(directory, disk);
  REQUIRE(disk.rename("backup", "backup-unfinished") == Status::Ok);
  MemoryStore store;
  std::string problem;
  CHECK(restore_backup(disk, store, nullptr, problem) == Status::Invalid);
  CHECK(problem == "there is a backup that was not finished: it is none");
  CHECK(entries_of(store).empty());
}

TEST_CASE("a directory without a backup is left alone", "[store][backup]") {
  Directory directory;
  directory.fill(5);
  const Entries before = entries_of(directory.store);
  std::string problem;
  CHECK(restore_backup(directory.disk, directory.store, nullptr, problem) == Status::Ok);
  CHECK(entries_of(directory.store) == before);
}

}  // namespace mqttq
