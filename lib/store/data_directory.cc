#include "store/data_directory.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "store/stored_message.h"

namespace mqttq {

namespace {

constexpr std::string_view kFormatKey = "format", kSeedKey = "seed", kBootKey = "boot", kFollowedKey = "followed",
                           kWantedKey = "wanted";
constexpr size_t kGatheredMax = size_t{256} << 20;  // beyond, changes of state are refused: the store follows no more
constexpr int64_t kTryAgain = 1 * kSecond;

// One number of the table Meta. NotFound: it has none.
template <class Number>
Status get_meta(Store& store, std::string_view key, Number& number) noexcept {
  Array<std::byte> value;
  const Status status = store.get(static_cast<uint8_t>(StateTable::Meta), as_bytes(key), value);
  if (status != Status::Ok) return status;
  if (value.count() != sizeof number) return Status::Invalid;
  number = get_little<Number>(value.begin());
  return Status::Ok;
}

// Numbers for Meta, and the bytes that they are made of.
class MetaWrites {
 public:
  template <class Number>
  void add(std::string_view key, Number number) noexcept {
    put_little(bytes_ + size_, number);
    writes_[count_++] = {StoreWrite::Kind::Put, static_cast<uint8_t>(StateTable::Meta), as_bytes(key),
                         {bytes_ + size_, sizeof number}};
    size_ += sizeof number;
  }
  std::span<const StoreWrite> writes() const noexcept { return {writes_, count_}; }

 private:
  std::byte bytes_[64];
  size_t size_ = 0;
  StoreWrite writes_[8];
  size_t count_ = 0;
};

std::string_view words(Status status) noexcept {
  switch (status) {
    case Status::Full: return "no space is left";
    case Status::NoMemory: return "out of memory";
    case Status::Permission: return "permission denied";
    default: return "the system failed";
  }
}

}  // namespace

std::unique_ptr<DataDirectory> DataDirectory::open(Disk& disk, Store& store, const Options& options, Status& status,
                                                   std::string& problem) try {
  std::unique_ptr<DataDirectory> directory(new DataDirectory(disk, store, options));
  status = directory->open_store(problem);
  if (status != Status::Ok) return nullptr;
  FileLog::Options log;
  log.segment_bytes = options.segment_bytes;
  log.seed = options.seed;
  log.from = std::min(directory->followed_ + 1, directory->wanted_);
  directory->log_ = FileLog::open(disk, log, *directory, status, problem);
  if (!directory->log_) return nullptr;
  directory->last_number_ = std::max(directory->log_->last_number(), directory->followed_);
  status = directory->follow();
  if (status != Status::Ok) {
    problem = fmt::format("the store cannot be written: {}", words(status));
    return nullptr;
  }
  directory->loading_ = false;
  return directory;
} catch (const std::bad_alloc&) {
  status = Status::NoMemory;
  problem = "out of memory";
  return nullptr;
}

Status DataDirectory::open_store(std::string& problem) {
  uint16_t format = 0;
  Status status = get_meta(store_, kFormatKey, format);
  if (status == Status::NotFound) {
    std::vector<std::string> names;
    if ((status = disk_.list(names)) != Status::Ok) {
      problem = fmt::format("the directory cannot be listed: {}", words(status));
      return status;
    }
    for (const std::string& name : names) {
      if (!name.starts_with("log-")) continue;
      problem = fmt::format("there is a log ({}), and the store that belongs to it is missing or empty", name);
      return Status::Invalid;
    }
    seed_ = options_.seed;
  } else {
    if (status == Status::Ok && format > kFormat) {
      problem = fmt::format("the store has format {}, written by a newer version; this one reads format {}", format,
                            kFormat);
      return Status::Unsupported;
    }
    if (status == Status::Ok) status = get_meta(store_, kSeedKey, seed_);
    if (status == Status::Ok) status = get_meta(store_, kBootKey, boot_);
    if (status == Status::Ok) status = get_meta(store_, kFollowedKey, followed_);
    if (status == Status::Ok) status = get_meta(store_, kWantedKey, wanted_);
    if (status != Status::Ok) {
      problem = status == Status::NotFound || status == Status::Invalid
                    ? "the store is damaged: what it says of itself is incomplete"
                    : fmt::format("the store cannot be read: {}", words(status));
      return status == Status::NotFound ? Status::Invalid : status;
    }
  }
  wanted_durable_ = wanted_;
  status = load_namespaces(problem);
  if (status != Status::Ok) return status;
  ++boot_;
  MetaWrites meta;
  meta.add(kFormatKey, kFormat);
  meta.add(kSeedKey, seed_);
  meta.add(kBootKey, boot_);
  meta.add(kFollowedKey, followed_);
  meta.add(kWantedKey, wanted_);
  status = commit(meta.writes());
  if (status != Status::Ok) problem = fmt::format("the store cannot be written: {}", words(status));
  return status;
}

Status DataDirectory::read_meta(Store& store, Meta& meta) noexcept {
  Status status = get_meta(store, kFormatKey, meta.format);
  if (status != Status::Ok || meta.format > kFormat) return status;
  for (const Status one : {get_meta(store, kBootKey, meta.boot), get_meta(store, kFollowedKey, meta.followed),
                           get_meta(store, kWantedKey, meta.wanted)}) {
    if (one != Status::Ok) status = one == Status::NotFound ? Status::Invalid : one;
  }
  return status;
}

// Ids were given one after the other: one that is missing would give its messages to another.
Status DataDirectory::load_namespaces(std::string& problem) {
  struct Loader final : StateLoader {
    explicit Loader(std::vector<std::string>& to) noexcept : StateLoader(sizeof(NamespaceId), false), names(to) {}
    bool on_state(Bytes key, Bytes value) noexcept override try {
      whole = whole && get_big<uint32_t>(key.data()) == names.size() + 1;
      names.emplace_back(as_text(value));
      return whole;
    } catch (const std::bad_alloc&) {
      return whole = false;
    }
    std::vector<std::string>& names;
    bool whole = true;
  } loader(namespaces_);
  const Status status = load(StateTable::Namespaces, loader);
  if (status == Status::Ok && loader.whole && loader.damaged_count() == 0) return status;
  problem = "the store is damaged: a namespace is missing";
  return status == Status::Ok ? Status::Invalid : status;
}

Status DataDirectory::add_namespace(std::string_view name) noexcept try {
  namespaces_.reserve(namespaces_.size() + 1);
  std::string kept(name);
  const StateKey key = StateKey().add(static_cast<uint32_t>(namespaces_.size() + 1));
  const StoreWrite write{StoreWrite::Kind::Put, static_cast<uint8_t>(StateTable::Namespaces), key.bytes(),
                         as_bytes(name)};
  const Status status = commit({&write, 1});
  if (status == Status::Ok) namespaces_.push_back(std::move(kept));
  return status;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

// --- what the log tells at the start

bool DataDirectory::on_entry(const LogEntry& entry) noexcept try {
  switch (static_cast<Kind>(entry.kind)) {
    case Kind::Message: {
      if (entry.number < wanted_) return true;
      FieldReader in(entry.body);
      const auto count = in.number<uint32_t>();
      const Bytes journals = in.raw(size_t{count} * sizeof(uint64_t));
      MessageView view;
      if (!read_message(in, options_.unix_offset_ms, view)) {
        on_damage(fmt::format("record {} is no message; skipped", entry.number));
        return true;
      }
      LoadedMessage loaded{entry.number, Message::create(view), static_cast<uint32_t>(loaded_journals_.size()), count};
      if (!loaded.message) return false;
      for (uint32_t i = 0; i < count; ++i) {
        loaded_journals_.push_back(get_little<uint64_t>(journals.data() + i * sizeof(uint64_t)));
      }
      loaded_.push_back(std::move(loaded));
      return true;
    }
    case Kind::State:
      if (entry.number <= followed_) return true;
      if (!make_room(entry.body.size())) return false;
      if (!gather(entry.body, entry.number)) {
        on_damage(fmt::format("record {} is no change of state; skipped", entry.number));
      }
      last_number_ = entry.number;
      return gathered_.count() < options_.follow_bytes || follow() == Status::Ok;
  }
  on_damage(fmt::format("record {} is of a kind that is not known; skipped", entry.number));
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void DataDirectory::on_damage(std::string_view text) noexcept { say(LogLevel::Error, text); }

void DataDirectory::say(LogLevel level, std::string_view text) noexcept {
  if (options_.log) options_.log->write(level, text);
}

void DataDirectory::forget_loaded() noexcept {
  loaded_ = {};
  loaded_journals_ = {};
}

Status DataDirectory::load(StateTable table, StateLoader& loader) noexcept {
  const Status status = store_.scan(static_cast<uint8_t>(table), {}, {}, loader);
  loader.finish();
  return status;
}

// --- the store follows

bool DataDirectory::make_room(size_t bytes) noexcept {
  const size_t size = gathered_.count() + bytes;
  if (size <= gathered_.capacity()) return true;
  if (size > kGatheredMax) return false;
  return gathered_.reserve(static_cast<uint32_t>(std::max(size, size_t{gathered_.capacity()} * 2)));
}

bool DataDirectory::gather(Bytes state, uint64_t number) noexcept {
  const uint32_t start = gathered_.count();
  static_cast<void>(gathered_.append(state));  // there is room
  StateReader reader(gathered_.span().subspan(start));
  for (StoreWrite write; reader.next(write);) {
    if (reader.wants_number()) put_little(gathered_.begin() + (write.value.data() - gathered_.begin()), number);
  }
  if (!reader.ok()) gathered_.truncate(start);
  return reader.ok();
}

Status DataDirectory::follow() noexcept try {
  if (gathered_.empty() && wanted_ == wanted_durable_ && followed_ == last_number_) return Status::Ok;
  writes_.clear();
  StateReader reader(gathered_.span());
  for (StoreWrite write; reader.next(write);) writes_.push_back(write);
  MetaWrites meta;
  meta.add(kFollowedKey, last_number_);
  meta.add(kWantedKey, wanted_);
  for (const StoreWrite& write : meta.writes()) writes_.push_back(write);
  const Status status = commit(writes_);
  if (status != Status::Ok) return status;
  followed_ = last_number_;
  wanted_durable_ = wanted_;
  gathered_.clear();
  constexpr uint32_t kKept = 16u << 20;
  if (gathered_.capacity() > kKept) gathered_.reset();
  return log_ ? log_->drop_before(std::min(wanted_durable_, followed_ + 1)) : Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

// A host's store may answer from another thread, later.
Status DataDirectory::commit(std::span<const StoreWrite> writes) noexcept {
  struct Answer {
    std::mutex mutex;
    std::condition_variable came;
    bool here = false;
    Status status = Status::Io;
  } answer;
  const std::lock_guard one(store_mutex_);
  store_.commit(
      writes, 0,
      [](void* user, uint64_t, Status status) noexcept {
        auto& waiting = *static_cast<Answer*>(user);
        const std::lock_guard lock(waiting.mutex);
        waiting.status = status;
        waiting.here = true;
        waiting.came.notify_one();
      },
      &answer);
  std::unique_lock lock(answer.mutex);
  answer.came.wait(lock, [&] { return answer.here; });
  return answer.status;
}

void DataDirectory::tend(Instant now) noexcept {
  const bool due = gathered_.count() >= options_.follow_bytes || wanted_ != wanted_durable_;
  if (!due || now < try_again_at_) return;
  const Status status = follow();
  if (status == Status::Ok) {
    if (std::exchange(complained_, false)) say(LogLevel::Notice, "the store can be written again");
    return;
  }
  try_again_at_ = now + kTryAgain;
  if (std::exchange(complained_, true)) return;
  char text[160];
  const auto end = fmt::format_to_n(text, sizeof text, "the store cannot be written: {}; the log goes on",
                                    words(status));
  say(LogLevel::Error, {text, std::min(end.size, sizeof text)});
}

// --- the log

Status DataDirectory::append(std::span<const LogRecord> batch) noexcept try {
  if (batch.empty()) return Status::Ok;
  bodies_.clear();
  entries_.clear();
  size_t state_bytes = 0;
  FieldWriter out(bodies_);
  for (const LogRecord& record : batch) {
    LogEntry entry;
    entry.number = record.number;
    if (record.message) {
      const uint32_t start = bodies_.count();
      const size_t size = bodies_.count() + record.message->content_size() + record.journals.size() * 8 + 64;
      if (size > bodies_.capacity() &&
          !bodies_.reserve(static_cast<uint32_t>(std::max(size, size_t{bodies_.capacity()} * 2)))) {
        return Status::NoMemory;
      }
      out.number(static_cast<uint32_t>(record.journals.size()));
      for (const uint64_t journal : record.journals) out.number(journal);
      write_message(out, record.message->view(), options_.unix_offset_ms);
      entry.kind = static_cast<uint8_t>(Kind::Message);
      entry.body = bodies_.span().subspan(start);  // its size counts: bodies_ may move yet
    } else {
      entry.kind = static_cast<uint8_t>(Kind::State);
      entry.body = record.state;
      state_bytes += record.state.size();
    }
    entries_.push_back(entry);
  }
  if (!out.ok() || !make_room(state_bytes)) return Status::NoMemory;
  for (size_t i = 0, start = 0; i < entries_.size(); ++i) {
    if (!batch[i].message) continue;
    entries_[i].body = bodies_.span().subspan(start, entries_[i].body.size());
    start += entries_[i].body.size();
  }
  const Status status = log_->append(entries_);
  if (status != Status::Ok) return status;
  last_number_ = batch.back().number;
  for (const LogRecord& record : batch) {
    if (!record.message) static_cast<void>(gather(record.state, record.number));  // it is ours, and whole
  }
  constexpr uint32_t kKept = 16u << 20;
  if (bodies_.capacity() > kKept) bodies_.reset();
  return Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

}  // namespace mqttq
