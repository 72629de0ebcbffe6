// The log's files first, then the store, in whose last batch comes what makes it one: a copy that was cut short is
// refused by a broker.
#include "inspect/salvage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "inspect/directory.h"
#include "inspect/text.h"
#include "store/lmdb_check.h"
#include "store/lmdb_file.h"
#include "store/lmdb_store.h"
#include "store/system_disk.h"

namespace mqttq::inspect {

namespace {

using Tables = LmdbFile::Tables;
using Entries = std::map<std::string, std::string>;

constexpr Tables bit(StateTable table) noexcept { return static_cast<Tables>(1u << static_cast<unsigned>(table)); }
// Without them there is nothing: what the store says of itself, and whose namespaces the others are in.
constexpr Tables kEssential = bit(StateTable::Meta) | bit(StateTable::Namespaces);
constexpr std::string_view kMetaKeys[] = {"format", "seed", "boot", "followed", "wanted"};
constexpr size_t kMetaSizes[] = {2, 8, 4, 8, 8};

void tell(const std::string& text) { std::fputs(fmt::format("mqttq-inspect: {}\n", text).c_str(), stderr); }

Salvaged refuse(const std::string& text) {
  tell(text);
  return Salvaged::Nothing;
}

// Holds the directory so that no broker begins to write to it, as far as the system lets a reader.
class Hold {
 public:
  explicit Hold(const std::string& directory)
      : descriptor_(::open((directory + "/owner").c_str(), O_RDONLY | O_CLOEXEC)) {
    struct flock whole = {};
    whole.l_type = F_RDLCK;
    whole.l_whence = SEEK_SET;
    in_use_ =
        descriptor_ >= 0 && ::fcntl(descriptor_, F_OFD_SETLK, &whole) != 0 && (errno == EAGAIN || errno == EACCES);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  bool in_use() const noexcept { return in_use_; }

 private:
  const int descriptor_;
  bool in_use_ = false;
};

// --- the log

struct LogFiles final : LogReplay {
  bool on_entry(const LogEntry&) noexcept override { return true; }
  void on_damage(std::string_view text) noexcept override { damage.emplace_back(text); }
  void on_segment(const LogSegment& segment) noexcept override {
    if (segment.kind == LogSegment::Kind::Good) {
      if (good.empty()) before = segment.previous_last;
      before = std::min(before, segment.previous_last);
      good.push_back(segment);
    }
    newer |= segment.kind == LogSegment::Kind::Newer;
  }
  std::vector<LogSegment> good;
  std::vector<std::string> damage;
  uint64_t before = 0;  // the last number that was before all of them
  bool newer = false;
};

// Zeros are left out, and read as such.
Status copy_file(Disk& from, Disk& to, const std::string& name, uint64_t bytes) {
  constexpr size_t kPart = 256 << 10;
  std::unique_ptr<File> source, target;
  Status status = from.open(name, false, source);
  if (status == Status::Ok) status = to.open(name, true, target);
  if (status == Status::Ok) status = target->cut(bytes);
  std::vector<std::byte> part(kPart);
  for (uint64_t at = 0; at < bytes && status == Status::Ok;) {
    size_t got = 0;
    status = source->read(at, part, got);
    if (status != Status::Ok || got == 0) break;
    const Bytes read = Bytes(part).first(got);
    if (std::any_of(read.begin(), read.end(), [](std::byte one) { return one != std::byte{0}; })) {
      status = target->write(at, read);
    }
    at += got;
  }
  return status == Status::Ok ? target->sync() : status;
}

// --- the store

Status commit(Store& store, const StateWrites& changes) {
  std::vector<StoreWrite> writes;
  StateReader reader(changes.bytes());
  for (StoreWrite write; reader.next(write);) writes.push_back(write);
  Status status = Status::Io;
  store.commit(writes, 0, [](void* user, uint64_t, Status of) noexcept { *static_cast<Status*>(user) = of; }, &status);
  return status;
}

// Tells each broken place, and counts them by trees.
class Breaks : public LmdbVisitor {
 public:
  bool on_break(const LmdbBreak& of, uint64_t) noexcept override try {
    constexpr uint64_t kTold = 50;
    const uint64_t count = ++places[of.tree];
    if (count <= kTold) tell(of.text());
    if (count == kTold) tell("what else is broken there is only counted");
    return true;
  } catch (const std::bad_alloc&) {
    refused = true;
    return false;
  }
  std::map<int, uint64_t> places;  // that are broken, by trees
  bool refused = false;            // without memory

 protected:
  ~Breaks() = default;
};

// The essential tables, in memory.
struct Essentials final : LmdbVisitor {
  bool on_entry(uint8_t table, Bytes key, Bytes value) noexcept override try {
    (table == static_cast<uint8_t>(StateTable::Meta) ? meta : namespaces)
        .emplace(std::string(as_text(key)), std::string(as_text(value)));
    return true;
  } catch (const std::bad_alloc&) {
    refused = true;
    return false;
  }
  bool on_break(const LmdbBreak& of, uint64_t) noexcept override try {
    if (of.tree != LmdbBreak::kTableList) broken.push_back(of.text());
    return true;
  } catch (const std::bad_alloc&) {
    refused = true;
    return false;
  }
  bool complete() const {
    for (size_t i = 0; i < std::size(kMetaKeys); ++i) {
      const auto at = meta.find(std::string(kMetaKeys[i]));
      if (at == meta.end() || at->second.size() != kMetaSizes[i]) return false;
    }
    return true;
  }
  template <class Number>
  Number number(const char* key) const {
    return get_little<Number>(as_bytes(meta.at(key)).data());
  }
  void set(const char* key, uint64_t number) {
    std::byte bytes[sizeof number];
    put_little(bytes, number);
    meta[key] = std::string(as_text(bytes));
  }

  Entries meta, namespaces;
  std::vector<std::string> broken;
  bool refused = false;
};

Essentials read_essentials(LmdbFile& file, const LmdbFile::Meta* of) {
  Essentials essentials;
  if (!of) return essentials;
  LmdbFile::Walk walk;
  walk.of = of;
  walk.values = true;
  walk.free_pages = false;
  walk.tables = kEssential;
  static_cast<void>(file.walk(walk, essentials));
  if (essentials.refused) throw std::bad_alloc();
  return essentials;
}

// Puts what it meets into a store.
class Copier final : public Breaks {
 public:
  explicit Copier(Store& to) : to_(to) {}
  bool on_entry(uint8_t table, Bytes key, Bytes value) noexcept override try {
    constexpr size_t kBatch = 1 << 20;
    writes_.put(static_cast<StateTable>(table), key, value);
    ++entries[table];
    return writes_.bytes().size() < kBatch || flush();
  } catch (const std::bad_alloc&) {
    refused = true;
    return false;
  }
  // False: it cannot be written, as `status` says.
  bool flush() {
    if (writes_.take_failure()) throw std::bad_alloc();
    status = commit(to_, writes_);
    writes_.clear();
    return status == Status::Ok;
  }

  Status status = Status::Ok;
  uint64_t entries[Store::kTables] = {}, entries_said[Store::kTables] = {};

 private:
  Store& to_;
  StateWrites writes_;
};

// --- both

class Salvage {
 public:
  Salvage(const std::string& from, const std::string& to) : from_(from), to_(to), disk_(from, true), new_disk_(to) {}
  Salvaged run();

 private:
  bool open_store();
  bool read_essential();
  bool read_log();
  bool make_directory();
  bool copy_log();
  bool copy_store();
  bool fill(LmdbStore& store, Copier& copier);
  void choose_followed();
  void report(const Copier& copier);
  bool cannot_write(const std::string& what) {
    tell(fmt::format("{} cannot be written; what is in {} is not complete, and no broker opens it", what, quoted(to_)));
    return false;
  }

  const std::string from_, to_;
  SystemDisk disk_, new_disk_;
  std::unique_ptr<File> file_;
  std::optional<LmdbFile> store_;
  Essentials essentials_;
  LogFiles log_;
  bool lost_ = false;   // something of the store or the log
  bool state_ = false;  // of the store's other tables
};

bool Salvage::open_store() {
  const std::string path = from_ + "/" + kStoreFile;
  struct stat of;
  if (::stat(path.c_str(), &of) != 0 || disk_.open(kStoreFile, false, file_) != Status::Ok) {
    tell(fmt::format("cannot read {}: {}", quoted(path), std::strerror(errno)));
    return false;
  }
  if (!LmdbFile::kReadable) {
    tell("a store cannot be salvaged on this processor");
    return false;
  }
  store_.emplace(*file_, static_cast<uint64_t>(of.st_size));
  std::string problem;
  const Status status = store_->read_metas(problem);
  if (status == Status::Ok) return true;
  tell(fmt::format("{}: {}", quoted(path), problem));
  lost_ = true;
  if (status == Status::Invalid && store_->newest()) return true;
  tell("nothing can be read of the store");
  return false;
}

// What the snapshot before the last one has of them is as good: the log tells the rest again.
bool Salvage::read_essential() {
  essentials_ = read_essentials(*store_, store_->newest());
  if (!essentials_.complete() || !essentials_.broken.empty()) {
    lost_ = true;
    for (const std::string& text : essentials_.broken) tell(text);
    Essentials before = read_essentials(*store_, store_->older());
    if (before.complete() && before.broken.empty()) {
      tell("what the store says of itself is taken from the snapshot before the last one");
      essentials_ = std::move(before);
      state_ = true;
    }
  }
  if (!essentials_.complete()) {
    tell("what the store says of itself is lost, and with it the secret of all its keys: nothing can be salvaged");
    return false;
  }
  uint64_t next = 1;
  for (const auto& [key, name] : essentials_.namespaces) {
    if (key == as_text(StateKey().add(static_cast<uint32_t>(next)).bytes())) ++next;
  }
  if (!essentials_.broken.empty() || next != essentials_.namespaces.size() + 1) {
    tell("the names of namespaces are lost, and with them whose the rest is: nothing can be salvaged");
    return false;
  }
  const auto format = essentials_.number<uint16_t>("format");
  if (format <= DataDirectory::kFormat) return true;
  tell(fmt::format("the store has format {}, written by a newer version; this one reads format {}", format,
                   DataDirectory::kFormat));
  return false;
}

bool Salvage::read_log() {
  std::string problem;
  const Status status = FileLog::replay_only(disk_, 0, log_, problem);
  if (status == Status::NoMemory) throw std::bad_alloc();
  if (status != Status::Ok) log_.damage.push_back(problem);
  for (const std::string& text : log_.damage) tell(text);
  lost_ |= !log_.damage.empty();
  return !log_.newer;
}

bool Salvage::make_directory() {
  if (::mkdir(to_.c_str(), 0700) == 0) return true;
  std::vector<std::string> names;
  const int error = errno;
  if (error != EEXIST || new_disk_.list(names) != Status::Ok) {
    tell(fmt::format("cannot make {}: {}", quoted(to_), std::strerror(error)));
    return false;
  }
  if (names.size() <= 2) return true;  // the directory, and the one above
  tell(fmt::format("{} is not empty", quoted(to_)));
  return false;
}

bool Salvage::copy_log() {
  for (const LogSegment& segment : log_.good) {
    const std::string name = FileLog::segment_name(segment.id);
    if (copy_file(disk_, new_disk_, name, segment.bytes) != Status::Ok) return cannot_write(name);
    std::fputs(fmt::format("{}: copied\n", name).c_str(), stdout);
  }
  return new_disk_.sync() == Status::Ok || cannot_write("the directory");
}

// Where entries are missing the log may still tell them. Carried out again from its beginning it changes nothing else:
// changes say what is to be, so the last one of each key wins, and that is in the store already. A log that has lost
// records may tell of an end and not of the beginning that came behind it, and is left where it was.
void Salvage::choose_followed() {
  if (!state_ || log_.good.empty() || !log_.damage.empty()) return;
  const auto followed = essentials_.number<uint64_t>("followed"), wanted = essentials_.number<uint64_t>("wanted");
  essentials_.set("followed", std::min(followed, log_.before));
  essentials_.set("wanted", std::max(wanted, log_.before + 1));
}

bool Salvage::fill(LmdbStore& store, Copier& copier) {
  StateWrites writes;
  writes.put(StateTable::Meta, as_bytes(kMetaKeys[0]), {});  // incomplete, which no broker opens
  if (commit(store, writes) != Status::Ok) return false;
  LmdbFile::Walk walk;
  walk.of = store_->newest();
  walk.values = true;
  walk.free_pages = false;
  walk.tables = static_cast<Tables>(~kEssential);
  const LmdbFile::Walked walked = store_->walk(walk, copier);
  std::copy(std::begin(walked.entries_said), std::end(walked.entries_said), copier.entries_said);
  if (walked.missing && store_->older() && !copier.refused && copier.status == Status::Ok) {
    tell("tables that are not there are taken from the snapshot before the last one");
    walk.of = store_->older();
    walk.tables = walked.missing;
    const LmdbFile::Walked before = store_->walk(walk, copier);
    for (size_t i = 0; i < Store::kTables; ++i) copier.entries_said[i] += before.entries_said[i];
  }
  if (copier.refused) throw std::bad_alloc();
  if (copier.status != Status::Ok || !copier.flush()) return false;
  state_ |= !copier.places.empty();
  choose_followed();
  writes.clear();
  for (const auto& [key, value] : essentials_.namespaces) {
    writes.put(StateTable::Namespaces, as_bytes(key), as_bytes(value));
  }
  for (const auto& [key, value] : essentials_.meta) writes.put(StateTable::Meta, as_bytes(key), as_bytes(value));
  if (writes.take_failure()) throw std::bad_alloc();
  copier.entries[static_cast<size_t>(StateTable::Meta)] = essentials_.meta.size();
  copier.entries[static_cast<size_t>(StateTable::Namespaces)] = essentials_.namespaces.size();
  return commit(store, writes) == Status::Ok;
}

void Salvage::report(const Copier& copier) {
  std::string text;
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    const auto broken = copier.places.find(table);
    if (!copier.entries[table] && broken == copier.places.end()) continue;
    text += fmt::format("{}: {} entries copied", table_name(table), copier.entries[table]);
    if (broken != copier.places.end()) {
      text += fmt::format(" of {} that there are said to be; {} broken places skipped", copier.entries_said[table],
                          broken->second);
    }
    text += "\n";
  }
  if (const auto list = copier.places.find(LmdbBreak::kTableList); list != copier.places.end()) {
    text += fmt::format("the list of tables: {} broken places skipped\n", list->second);
  }
  text += fmt::format("changes that the log has behind number {} are carried out when a broker opens it\n",
                      essentials_.number<uint64_t>("followed"));
  std::fputs(text.c_str(), stdout);
}

bool Salvage::copy_store() {
  LmdbStore::Options options;
  options.directory = to_;
  Status status = Status::Ok;
  std::string problem;
  const auto store = LmdbStore::open(options, status, problem);
  if (!store) {
    tell(problem);
    return cannot_write("the store");
  }
  Copier copier(*store);
  if (!fill(*store, copier)) return cannot_write("the store");
  lost_ |= !copier.places.empty();
  report(copier);
  return true;
}

Salvaged Salvage::run() {
  struct stat of;
  const int error = ::stat(from_.c_str(), &of) != 0 ? errno : S_ISDIR(of.st_mode) ? 0 : ENOTDIR;
  if (error) return refuse(fmt::format("cannot read {}: {}", quoted(from_), std::strerror(error)));
  const Hold hold(from_);
  if (hold.in_use()) {
    return refuse(fmt::format("process {} has {} open: stop it first", owner_of(from_).value_or(0), quoted(from_)));
  }
  if (!open_store() || !read_essential() || !read_log() || !make_directory()) return Salvaged::Nothing;
  if (!copy_log() || !copy_store() || new_disk_.sync() != Status::Ok) return Salvaged::Nothing;
  static_cast<void>(SystemDisk(to_ + "/..").sync());  // else a power cut may take it as a whole
  return lost_ ? Salvaged::Partly : Salvaged::Whole;
}

}  // namespace

Salvaged salvage(const std::string& from, const std::string& to) { return Salvage(from, to).run(); }

}  // namespace mqttq::inspect
