#include "store/data_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <mutex>

#include "store/stored_message.h"
#include "store/system_status.h"

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
    writes_[count_++] = {
        StoreWrite::Kind::Put, static_cast<uint8_t>(StateTable::Meta), as_bytes(key), {bytes_ + size_, sizeof number}};
    size_ += sizeof number;
  }
  std::span<const StoreWrite> writes() const noexcept { return {writes_, count_}; }

 private:
  std::byte bytes_[64];
  size_t size_ = 0;
  StoreWrite writes_[8];
  size_t count_ = 0;
};

}  // namespace

std::unique_ptr<DataDirectory> DataDirectory::open(Disk* disk, Store& store, const Options& options, Status& status,
                                                   std::string& problem) try {
  std::unique_ptr<DataDirectory> directory(new DataDirectory(disk, store, options));
  status = directory->open_store(problem);
  if (status != Status::Ok) return nullptr;
  directory->last_number_ = directory->followed_;
  status = directory->load_messages(problem);
  if (status == Status::Ok && disk) status = directory->open_log(problem);
  if (status != Status::Ok) return nullptr;
  directory->store_bytes_ = store.usage().bytes;
  directory->note_room();
  return directory;
} catch (const std::bad_alloc&) {
  status = Status::NoMemory;
  problem = "out of memory";
  return nullptr;
}

Status DataDirectory::open_log(std::string& problem) {
  FileLog::Options options;
  options.segment_bytes = quota_.segment_bytes(options_.segment_bytes);
  options.seed = options_.seed;
  options.syncs = options_.syncs;
  options.from = std::min(followed_ + 1, wanted_);
  Status status{};
  log_ = FileLog::open(*disk_, options, *this, status, problem);
  if (!log_) return status;
  // What was settled before it was to be written may have been the last of all: its numbers are not used again.
  last_number_ = std::max({log_->last_number(), followed_, wanted_ - 1});
  if (log_->last_number() < followed_ && wanted_ <= followed_) {
    on_damage(fmt::format("the log ends at {}, and the store has followed it to {}: its end is missing",
                          log_->last_number(), followed_));
  }
  status = follow();
  if (status != Status::Ok) problem = fmt::format("the store cannot be written: {}", words(status));
  return status;
}

// Messages that the store has: all of them, or, beside a log in files, those that are older than it.
Status DataDirectory::load_messages(std::string& problem) {
  struct Loader final : StateLoader {
    explicit Loader(DataDirectory& of) noexcept : StateLoader(sizeof(uint64_t), true), directory(of) {}
    bool on_state(Bytes key, Bytes value) noexcept override {
      const auto number = get_big<uint64_t>(key.data());
      const bool older = directory.disk_ != nullptr;
      memory = directory.take_message(number, value, older);
      try {
        if (older && number >= directory.wanted_) {  // it was being moved, and the log has it
          directory.unneeded_.push_back(number);
        } else if (older) {
          directory.moved_.push_back(number);
          directory.moved_bytes_ += value.size();
        }
      } catch (const std::bad_alloc&) {
        memory = false;
      }
      return memory;
    }
    DataDirectory& directory;
    bool memory = true;
  } loader(*this);
  const Status status = load(StateTable::Log, loader);
  if (status != Status::Ok) problem = fmt::format("the store cannot be read: {}", words(status));
  if (!loader.memory) problem = "out of memory";
  return loader.memory ? status : Status::NoMemory;
}

Status DataDirectory::open_store(std::string& problem) {
  Meta known;
  Status status = read_meta(store_, known);
  if (status == Status::NotFound) {
    std::vector<std::string> names;
    if (disk_ && (status = disk_->list(names)) != Status::Ok) {
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
    if (status == Status::Ok && known.format > kFormat) {
      problem = fmt::format("the store has format {}, written by a newer version; this one reads format {}",
                            known.format, kFormat);
      return Status::Unsupported;
    }
    if (status == Status::Ok) status = get_meta(store_, kSeedKey, seed_);
    if (status != Status::Ok) {
      problem = status == Status::NotFound || status == Status::Invalid
                    ? "the store is damaged: what it says of itself is incomplete"
                    : fmt::format("the store cannot be read: {}", words(status));
      return status == Status::NotFound ? Status::Invalid : status;
    }
  }
  boot_ = known.boot;
  followed_ = known.followed;
  wanted_ = wanted_durable_ = known.wanted;
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

uint32_t DataDirectory::topic_number(std::string_view name) {
  const auto [at, added] = topic_numbers_.try_emplace(std::string(name), static_cast<uint32_t>(loaded_topics_.size()));
  if (added) loaded_topics_.push_back(&at->first);
  return at->second;
}

// False without memory.
bool DataDirectory::take_message(uint64_t number, Bytes body, bool older) noexcept try {
  if ((number < wanted_) != older) return true;
  FieldReader in(body);
  JournaledMessage read;
  if (!read_journaled(in, options_.unix_offset_ms, read)) {
    on_damage(fmt::format("record {} is no message; skipped", number));
    return true;
  }
  LoadedMessage loaded{number,
                       Message::create(read.message),
                       read.logged_us,
                       0,
                       read.logged_us ? topic_number(read.message.topic_name) : 0,
                       static_cast<uint32_t>(loaded_journals_.size()),
                       static_cast<uint32_t>(read.journals.size() / sizeof(uint64_t)),
                       static_cast<uint32_t>(read.positions.size() / sizeof(uint64_t))};
  if (!loaded.message) return false;
  loaded.message->set_logged(read.logged_us);
  loaded.size = loaded.message->content_size();
  for (Bytes numbers : {read.journals, read.positions}) {
    for (; !numbers.empty(); numbers = numbers.subspan(sizeof(uint64_t))) {
      loaded_journals_.push_back(get_little<uint64_t>(numbers.data()));
    }
  }
  loaded_bytes_ += loaded.size;
  note_appended(number, loaded.size);
  loaded_.push_back(std::move(loaded));
  for (; loaded_bytes_ > options_.memory_bytes && loaded_first_ < loaded_.size(); ++loaded_first_) {
    loaded_[loaded_first_].message = {};
    loaded_bytes_ -= loaded_[loaded_first_].size;
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

bool DataDirectory::on_entry(const LogEntry& entry) noexcept try {
  switch (static_cast<Kind>(entry.kind)) {
    case Kind::Message: return take_message(entry.number, entry.body, false);
    case Kind::State:
      if (entry.number <= followed_) return true;
      if (!make_room(entry.body.size())) return false;
      if (!gathered_.append(entry.body, entry.number)) {
        on_damage(fmt::format("record {} is no change of state; skipped", entry.number));
      }
      last_number_ = entry.number;
      return gathered_.bytes().size() < options_.follow_bytes || follow() == Status::Ok;
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

void DataDirectory::say_failing(std::string_view what, Status status, std::string_view so) noexcept {
  char text[160];
  const auto end = fmt::format_to_n(text, sizeof text, "{} cannot be written: {}; {}", what, words(status), so);
  say(LogLevel::Error, {text, std::min(end.size, sizeof text)});
}

void DataDirectory::forget_loaded() noexcept {
  loaded_ = {};
  loaded_journals_ = {};
  topic_numbers_ = {};
  loaded_topics_ = {};
}

Status DataDirectory::load(StateTable table, StateLoader& loader) noexcept {
  const Status status = store_.scan(static_cast<uint8_t>(table), {}, {}, loader);
  loader.finish();
  return status;
}

// --- the store follows

bool DataDirectory::make_room(size_t bytes) noexcept {
  return gathered_.bytes().size() + bytes <= kGatheredMax && gathered_.reserve(bytes);
}

Status DataDirectory::follow() noexcept try {
  if (!held_.empty()) {
    if (const Status status = write_held(); status != Status::Ok) return status;
  }
  if (!disk_ && wanted_ == wanted_durable_) return Status::Ok;
  const uint64_t last = log_ ? std::max(log_->last_number(), followed_) : last_number_;
  if (gathered_.empty() && wanted_ == wanted_durable_ && followed_ == last && !(freeing_ && told_ != StoreAlarm::Ok)) {
    return Status::Ok;
  }
  // A store may count pages that a batch has let go as taken, until two more have come.
  const uint32_t freeing = gathered_.empty() ? freeing_ - std::min(freeing_, 1u) : 2;
  set_writes(gathered_);
  MetaWrites meta;
  meta.add(kFollowedKey, last);
  meta.add(kWantedKey, wanted_);
  for (const StoreWrite& write : meta.writes()) writes_.push_back(write);
  const StateKey first = StateKey().add(uint64_t{0}), end = StateKey().add(wanted_);
  if (!disk_) {
    writes_.push_back(
        {StoreWrite::Kind::EraseRange, static_cast<uint8_t>(StateTable::Log), first.bytes(), end.bytes()});
  }
  const Status status = commit(writes_);
  if (status != Status::Ok) return status;
  freeing_ = freeing;
  followed_ = last;
  wanted_durable_ = wanted_;
  store_bytes_ = store_.usage().bytes;
  static_cast<void>(gathered_.take());  // the block too: one of a full size is rare
  return log_ ? log_->drop_before(std::min(wanted_durable_, followed_ + 1), spares()) : Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

void DataDirectory::set_writes(const StateWrites& changes) {
  writes_.clear();
  StateReader reader(changes.bytes());
  for (StoreWrite write; reader.next(write);) writes_.push_back(write);
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
  tend_held(now);
  move_some(now);
  const bool looked = look_at_room(now);
  if (!looked) tell_quota();  // who was refused may have filled it
  const bool due =
      gathered_.bytes().size() >= options_.follow_bytes || wanted_ != wanted_durable_ ||
      (looked && told_ != StoreAlarm::Ok && (!gathered_.empty() || freeing_));  // what ends gives room back only then
  if (!due || now < try_again_at_) return;
  const Status status = follow();
  note_room();
  if (status == Status::Ok) {
    if (std::exchange(complained_, false)) say(LogLevel::Notice, "the store can be written again");
    return;
  }
  try_again_at_ = now + kTryAgain;
  if (std::exchange(complained_, true)) return;
  say_failing("the store", status, "the log goes on");
}

void DataDirectory::tend_held(Instant now) noexcept {
  if (held_.empty() || options_.hold_ns == INT64_MAX) return;
  if (held_until_.ns == 0) held_until_ = now + options_.hold_ns;
  if (now < held_until_) return;
  Status status = Status::NoMemory;
  try {
    status = write_held();
  } catch (const std::bad_alloc&) {}
  tell_appending(status);
}

// --- room of the log

// When more than half of the log is not needed, which its oldest files hold up, what is needed of these moves to the
// store. What moved before is looked through from time to time, and soon where there is little room.
uint64_t DataDirectory::wants_needed(uint64_t waiting_bytes, Instant now) noexcept {
  const int64_t between_sweeps = (told_ == StoreAlarm::Ok ? 10 : 1) * kSecond;
  constexpr uint64_t kAtOnce = uint64_t{64} << 20;
  if (!log_ || moving_up_to_ || !unneeded_.empty()) return 0;
  const uint64_t waiting = waiting_bytes - std::min(waiting_bytes, moved_bytes_);
  const uint64_t enough = 2 * waiting + 4 * quota_.segment_bytes(options_.segment_bytes);
  if (log_->segment_count() > 4 && log_->record_bytes() > enough) return log_->last_of_oldest(kAtOnce);
  if (moved_.empty() || now - swept_at_ < between_sweeps) return 0;
  swept_at_ = now;
  return wanted_ - 1;
}

// numbers: sorted.
void DataDirectory::set_needed(uint64_t up_to, std::span<const uint64_t> numbers) noexcept try {
  if (moving_up_to_ || !unneeded_.empty()) return;
  std::set_difference(moved_.begin(), moved_.end(), numbers.begin(), numbers.end(), std::back_inserter(unneeded_));
  if (up_to < wanted_) return;
  const auto first = std::lower_bound(numbers.begin(), numbers.end(), wanted_);
  moving_.assign(first, numbers.end());
  moving_at_ = 0;
  moving_up_to_ = up_to;
} catch (const std::bad_alloc&) {  // another time
  unneeded_.clear();
}

void DataDirectory::move_some(Instant now) noexcept {
  if ((!moving_up_to_ && unneeded_.empty()) || now < try_again_at_) return;
  Status status = Status::NoMemory;
  try {
    status = move_step();
  } catch (const std::bad_alloc&) {}
  if (status != Status::Ok) try_again_at_ = now + kTryAgain;
}

// About a megabyte. The log drops its files when all of it is there.
Status DataDirectory::move_step() {
  constexpr size_t kBytes = size_t{1} << 20, kErasures = 10'000;
  keys_.clear();
  const size_t erased = std::min(unneeded_.size(), kErasures);
  for (size_t i = unneeded_.size() - erased; i < unneeded_.size(); ++i) {
    keys_.erase_below(StateTable::Log, StateKey().add(unneeded_[i]).bytes());
  }
  const size_t size_before = keys_.bytes().size();
  size_t at = moving_at_;
  for (; at < moving_.size() && keys_.bytes().size() < kBytes; ++at) {
    moved_body_.clear();
    const Status status = read_log(moving_[at], moved_body_);
    if (status == Status::NotFound) continue;  // damaged: who needs it will find that out
    if (status != Status::Ok) return status;
    keys_.put_large(StateTable::Log, StateKey().add(moving_[at]).bytes(), moved_body_.span());
  }
  if (keys_.take_failure()) return Status::NoMemory;
  const size_t size = keys_.bytes().size() - size_before;
  set_writes(keys_);
  moved_.reserve(moved_.size() + (at - moving_at_));
  if (!writes_.empty()) {
    const Status status = commit(writes_);
    if (status != Status::Ok) return status;
  }
  moved_.insert(moved_.end(), moving_.begin() + static_cast<ptrdiff_t>(moving_at_),
                moving_.begin() + static_cast<ptrdiff_t>(at));
  moving_at_ = at;
  moved_bytes_ += size;
  if (erased) {
    moved_bytes_ -= moved_bytes_ / std::max(moved_.size(), erased) * erased;
    std::vector<uint64_t> left;
    const auto first = unneeded_.end() - static_cast<ptrdiff_t>(erased);
    std::set_difference(moved_.begin(), moved_.end(), first, unneeded_.end(), std::back_inserter(left));
    moved_.swap(left);
    unneeded_.erase(first, unneeded_.end());
  }
  if (moving_up_to_ && moving_at_ == moving_.size()) {
    wanted_ = std::max(wanted_, moving_up_to_ + 1);  // tend() goes on from there
    moving_ = {};
    moving_up_to_ = 0;
  }
  return Status::Ok;
}

// --- how much room there is

bool DataDirectory::look_at_room(Instant now) noexcept {
  constexpr int64_t kInterval = 1 * kSecond;
  if (room_looked_at_.ns && now - room_looked_at_ < kInterval) return false;
  room_looked_at_ = now;
  store_bytes_ = store_.usage().bytes;
  if (disk_) quota_.set_disk(disk_->room());
  note_room();
  if (log_ && !spares()) static_cast<void>(log_->drop_before(0, 0));
  return true;
}

void DataDirectory::note_room() noexcept {
  quota_.set_used(store_bytes_ + (log_ ? log_->bytes_used() : 0));
  tell_quota();
}

// A quota is not to be passed by much, and nothing be kept where little is left.
uint32_t DataDirectory::spares() const noexcept {
  return quota_.high() ? 0 : quota_.bytes_max() ? 1 : FileLog::kSparesMax;
}

void DataDirectory::tell_quota() noexcept {
  const StoreAlarm alarm = quota_.full() ? StoreAlarm::Full : quota_.high() ? StoreAlarm::High : StoreAlarm::Ok;
  const StoreAlarm before = std::exchange(told_, alarm);
  if (alarm == before) return;
  const std::string_view what = alarm == StoreAlarm::Full    ? "the store is full, and what is new is refused"
                                : before == StoreAlarm::Full ? "the store takes what is new again"
                                : alarm == StoreAlarm::High  ? "the store has little room left"
                                                             : "the store has enough room again";
  char text[240];
  char* const limit = text + sizeof text;
  char* end = fmt::format_to_n(text, sizeof text, "{}: {} bytes are used", what, quota_.bytes_used()).out;
  const auto add = [&](fmt::format_string<uint64_t> form, uint64_t figure) {
    end = fmt::format_to_n(end, static_cast<size_t>(limit - end), form, uint64_t{figure}).out;
  };
  if (quota_.bytes_max()) add(", {} may be", quota_.bytes_max());
  if (quota_.bytes_free() != UINT64_MAX) add(", {} are free on its disk", quota_.bytes_free());
  say(alarm > before ? LogLevel::Warning : LogLevel::Notice, {text, static_cast<size_t>(end - text)});
}

// --- what is in memory

void DataDirectory::note_appended(uint64_t number, uint64_t bytes) noexcept {
  const uint64_t distance = std::min(uint64_t{1} << 20, options_.memory_bytes / 8 + 1);
  appended_bytes_ += bytes;
  const uint64_t last = marks_.empty() ? evictable_bytes_ : marks_.back().bytes;
  if (appended_bytes_ - last >= distance) static_cast<void>(marks_.push_back({number, appended_bytes_}));  // else later
  // In steps: each costs the shards a walk through what they have.
  if (appended_bytes_ - evictable_bytes_ <= options_.memory_bytes) return;
  while (!marks_.empty() && appended_bytes_ - marks_.front().bytes >= options_.memory_bytes / 2) {
    evictable_ = marks_.front().number;
    evictable_bytes_ = marks_.front().bytes;
    marks_.pop_front();
  }
}

void DataDirectory::note_messages(std::span<const LogRecord> batch) noexcept {
  uint64_t bytes = 0;
  for (const LogRecord& record : batch) bytes += record.message ? record.message->content_size() : 0;
  note_appended(batch.back().number, bytes);
}

void DataDirectory::fetch_bodies(Ring<FetchedMessage>& messages, Array<std::byte>& bodies) noexcept {
  constexpr uint32_t kAtOnce = 256;  // others want to read too
  constexpr uint32_t kRunMin = 8, kSizeMin = 4096, kSizeMax = 128 * 1024, kBeside = 64;
  bool runs = log_ != nullptr;
  for (uint32_t i = 0; i < messages.count();) {
    const std::lock_guard one(read_mutex_);
    const uint32_t end = std::min(i + kAtOnce, messages.count());
    while (i < end) {
      FetchedMessage& message = messages[i++];
      message.body_at = bodies.count();
      message.status = log_ ? log_->read(message.number, bodies) : Status::NotFound;
      if (message.status == Status::NotFound) message.status = fetch_from_store(message.number, bodies);
      message.body_size = bodies.count() - message.body_at;
      if (!runs || message.status != Status::Ok || end - i < kRunMin) continue;
      // Most are as large as the one before, and lie behind it.
      uint64_t numbers[kAtOnce];
      for (uint32_t next = i; next < end; ++next) numbers[next - i] = messages[next].number;
      const uint64_t size = uint64_t{message.body_size + kBeside} * (end - i);
      const auto at_once = static_cast<uint32_t>(std::clamp<uint64_t>(size, kSizeMin, kSizeMax));
      log_->read_run({numbers, end - i}, at_once, bodies, found_);
      for (const FileLog::Found& found : found_) {
        FetchedMessage& read = messages[i++];
        read.status = Status::Ok;
        read.body_at = found.at;
        read.body_size = found.size;
      }
      runs = found_.count() >= kRunMin / 2;  // else they lie far apart
    }
  }
}

Status DataDirectory::fetch(uint64_t number, MessageRef& message) noexcept {
  fetched_.clear();
  Status status = log_ ? read_log(number, fetched_) : Status::NotFound;
  if (status == Status::NotFound) status = fetch_from_store(number, fetched_);
  if (status != Status::Ok) return status;
  FieldReader in(fetched_.span());
  JournaledMessage read;
  const bool whole = read_journaled(in, options_.unix_offset_ms, read);
  if (whole && (message = Message::create(read.message))) message->set_logged(read.logged_us);
  constexpr uint32_t kKept = 1u << 20;
  if (fetched_.capacity() > kKept) fetched_.reset();
  return !whole ? Status::NotFound : message ? Status::Ok : Status::NoMemory;
}

// By the worker that fetches, and by the committer that moves.
Status DataDirectory::read_log(uint64_t number, Array<std::byte>& bodies) noexcept {
  const std::lock_guard one(read_mutex_);
  return log_->read(number, bodies);
}

Status DataDirectory::fetch_from_store(uint64_t number, Array<std::byte>& bodies) noexcept {
  struct Loader final : StateLoader {
    explicit Loader(Array<std::byte>& to) noexcept : StateLoader(sizeof(uint64_t), true), bodies(to) {}
    bool on_state(Bytes, Bytes value) noexcept override {
      found = bodies.append(value);
      return false;
    }
    Array<std::byte>& bodies;
    bool found = false;
  } loader(bodies);
  const StateKey first = StateKey().add(number), end = StateKey().add(number + 1);
  const Status status = store_.scan(static_cast<uint8_t>(StateTable::Log), first.bytes(), end.bytes(), loader);
  return status == Status::Ok && !loader.found ? Status::NotFound : status;
}

// --- the log

// One batch of the store: messages as entries of a table, changes of state at once.
Status DataDirectory::append_to_store(std::span<const LogRecord> batch) {
  keys_.clear();
  for (const LogRecord& record : batch) {
    if (!record.message) {
      static_cast<void>(keys_.append(record.state, record.number));  // it is whole
      continue;
    }
    bodies_.clear();
    FieldWriter out(bodies_);
    write_journaled(out, record, options_.unix_offset_ms);
    if (!out.ok()) return Status::NoMemory;
    keys_.put_large(StateTable::Log, StateKey().add(record.number).bytes(), bodies_.span());
  }
  if (keys_.take_failure()) return Status::NoMemory;
  MetaWrites meta;
  meta.add(kFollowedKey, batch.back().number);
  set_writes(keys_);
  for (const StoreWrite& write : meta.writes()) writes_.push_back(write);
  const Status status = commit(writes_);
  if (status != Status::Ok) return status;
  followed_ = last_number_ = batch.back().number;
  store_bytes_ += keys_.bytes().size();  // about, until it is looked at
  note_messages(batch);
  return status;
}

Status DataDirectory::append(std::span<const LogRecord> batch) noexcept try {
  if (batch.empty()) return Status::Ok;
  Status status = Status::Ok;
  if (!options_.hold_ns) {
    status = write(batch);
  } else {
    constexpr size_t kHeldMax = size_t{8} << 20;
    // What is to be refused is refused before it is acknowledged, while what was cannot be written.
    if (append_failing_ || held_.bytes() > kHeldMax) status = write_held();
    if (status == Status::Ok) status = held_.take(batch);
    if (status == Status::Ok) last_number_ = batch.back().number;
  }
  note_room();
  tell_appending(status);
  return status;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status DataDirectory::write(std::span<const LogRecord> batch) {
  return disk_ ? append_batch(batch) : append_to_store(batch);
}

Status DataDirectory::write_held() {
  const std::span<const LogRecord> batch = held_.put_together();
  const uint64_t last_number = last_number_;
  const Status status = batch.empty() ? Status::Ok : write(batch);
  last_number_ = last_number;
  held_until_ = {};
  if (status == Status::Ok) held_.clear();
  return status;
}

void DataDirectory::tell_appending(Status status) noexcept {
  const bool failing = status != Status::Ok;
  if (failing == append_failing_) return;
  append_failing_ = failing;
  if (failing) {
    say_failing("what must be durable", status, "it is refused");
  } else {
    say(LogLevel::Notice, "what must be durable can be written again");
  }
}

Status DataDirectory::append_batch(std::span<const LogRecord> batch) {
  bodies_.clear();
  entries_.clear();
  size_t state_bytes = 0;
  FieldWriter out(bodies_);
  for (const LogRecord& record : batch) {
    LogEntry entry;
    entry.number = record.number;
    if (record.message) {
      const uint32_t start = bodies_.count();
      const size_t size = bodies_.count() + journaled_size(record);
      if (size > bodies_.capacity() &&
          !bodies_.reserve(static_cast<uint32_t>(std::max(size, size_t{bodies_.capacity()} * 2)))) {
        return Status::NoMemory;
      }
      write_journaled(out, record, options_.unix_offset_ms);
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
  note_messages(batch);
  for (const LogRecord& record : batch) {
    if (!record.message) static_cast<void>(gathered_.append(record.state, record.number));  // whole, and there is room
  }
  constexpr uint32_t kKept = 16u << 20;
  if (bodies_.capacity() > kKept) bodies_.reset();
  return Status::Ok;
}

}  // namespace mqttq
