// Reads a data directory: the log first, then the store, which by then has followed to where the log was or further.
#include "inspect/directory.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "inspect/store_copy.h"
#include "inspect/text.h"
#include "queue/stored_queue.h"
#include "session/stored_session.h"
#include "store/lmdb_store.h"
#include "store/system_disk.h"
#include "stream/stored_stream.h"

namespace mqttq::inspect {

namespace {

using Kind = DataDirectory::Kind;

Outline outline_of(const MessageView& view) {
  return {view.namespace_id,      std::string(view.topic_name),  view.qos, view.retain, view.payload.size(),
          view.properties.size(), to_unix_ms(view.expires_at, 0)};
}

bool read_outline(FieldReader& in, Outline& outline) {
  MessageView view;
  if (!read_message(in, 0, view)) return false;
  outline = outline_of(view);
  return true;
}

std::string bytes_of(Bytes bytes) { return std::string(as_text(bytes)); }

// --- the log

// What of the log is needed to know the rest: changes that the store may not have, and the messages of each journal.
class LogReader final : public LogReplay {
 public:
  struct Change {
    uint64_t number;
    std::string body;
  };

  // meta: of the store, as it was before.
  LogReader(Contents& contents, const DataDirectory::Meta& meta) : contents_(contents), meta_(meta) {}

  bool on_entry(const LogEntry& entry) noexcept override try {
    contents_.last_number = std::max(contents_.last_number, entry.number);
    if (!now_.first) now_.first = entry.number;
    now_.last = entry.number;
    switch (static_cast<Kind>(entry.kind)) {
      case Kind::Message: take_message(entry); break;
      case Kind::State:
        ++now_.changes;
        if (entry.number > meta_.followed) changes.push_back({entry.number, bytes_of(entry.body)});
        break;
      default:
        ++now_.others;
        contents_.damage.push_back(fmt::format("record {} is of a kind that is not known", entry.number));
    }
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
  void on_damage(std::string_view text) noexcept override { contents_.damage.emplace_back(text); }
  void on_segment(const LogSegment& segment) noexcept override {
    if (segment.kind == LogSegment::Kind::Good) {
      now_.file = segment;
      contents_.segments.push_back(std::exchange(now_, {}));
    } else {
      contents_.segments.emplace_back().file = segment;
    }
  }

  std::vector<Change> changes;  // in the order of their numbers

 private:
  void take_message(const LogEntry& entry) {
    ++now_.messages;
    Outline message;
    Bytes journals;
    if (!read_record(entry.body, message, journals)) {
      contents_.damage.push_back(fmt::format("record {} is no message", entry.number));
      return;
    }
    if (entry.number < meta_.wanted) return;
    for (; !journals.empty(); journals = journals.subspan(sizeof(uint64_t))) {
      contents_.journals[get_little<uint64_t>(journals.data())].numbers.push_back(entry.number);
    }
  }

  Contents& contents_;
  const DataDirectory::Meta meta_;
  Segment now_;  // of which the entries come
};

// --- the tables

// Carries out in the copy what the store has not followed yet.
void apply(const std::vector<LogReader::Change>& changes, uint64_t followed, MemoryStore& store, Contents& contents) {
  for (const LogReader::Change& change : changes) {
    if (change.number <= followed) continue;
    std::byte number[sizeof(uint64_t)];
    put_little(number, change.number);
    std::vector<StoreWrite> writes;
    StateReader reader(as_bytes(change.body));
    for (StoreWrite write; reader.next(write);) {
      if (reader.wants_number()) write.value = number;
      writes.push_back(write);
    }
    if (!reader.ok()) {
      contents.damage.push_back(fmt::format("record {} is no change of state", change.number));
      continue;
    }
    Status status = Status::NoMemory;
    store.commit(
        writes, 0, [](void* user, uint64_t, Status of) noexcept { *static_cast<Status*>(user) = of; }, &status);
    if (status != Status::Ok) throw std::bad_alloc();
  }
}

// What an entry was found to be.
enum class Found : uint8_t { Whole, Damaged, Orphan };  // the last: of a session or subscription that is not there

class Tables {
 public:
  Tables(MemoryStore& store, Contents& contents) : store_(store), contents_(contents) {}

  void count();
  // What the tables mean. broker/restore.cc makes a broker of the same bytes.
  void take();

 private:
  // A table through a function from key and value to what they are.
  template <class Take>
  void load(StateTable table, size_t key_size, bool large, Take&& take);

  Found take_session(Bytes key, Bytes value);
  Found take_subscription(Bytes key, Bytes value);
  Found take_position(Bytes key, Bytes value);
  Found take_inflight(Bytes key, Bytes value);
  Found take_will(Bytes key, Bytes value);
  Found take_delayed(Bytes key, Bytes value);
  Found take_group(Bytes value);
  Found take_queue(Bytes key, Bytes value);
  Found take_place(KeptQueue& queue, Bytes value);
  Found take_stream(Bytes key, Bytes value);
  static Found take_place(KeptStream& stream, Bytes value);
  Found take_value(Bytes key, Bytes value);
  Found take_moved(Bytes key, Bytes value);
  KeptSession* session_of(Bytes key) {
    const auto at = contents_.sessions.find(bytes_of(key.first(kSessionKey)));
    return at == contents_.sessions.end() ? nullptr : &at->second;
  }

  MemoryStore& store_;
  Contents& contents_;
};

void Tables::count() {
  struct Counter final : StoreVisitor {
    explicit Counter(Table& of) : table(of) {}
    bool on_entry(Bytes key, Bytes value) noexcept override {
      ++table.entries;
      table.bytes += key.size() + value.size();
      return true;
    }
    Table& table;
  };
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    Counter counter(contents_.tables[table]);
    static_cast<void>(store_.scan(table, {}, {}, counter));  // of memory
  }
}

template <class Take>
void Tables::load(StateTable table, size_t key_size, bool large, Take&& take) {
  struct Loader final : StateLoader {
    Loader(size_t size, bool pieces, Take& to) noexcept : StateLoader(size, pieces), take(to) {}
    bool on_state(Bytes key, Bytes value) noexcept override try {
      const Found found = take(key, value);
      damaged += found == Found::Damaged;
      orphans += found == Found::Orphan;
      return true;
    } catch (const std::bad_alloc&) {
      refused = true;
      return false;
    }
    Take& take;
    uint64_t damaged = 0, orphans = 0;
    bool refused = false;
  } loader(key_size, large, take);
  static_cast<void>(store_.scan(static_cast<uint8_t>(table), {}, {}, loader));
  loader.finish();
  if (loader.refused) throw std::bad_alloc();
  Table& counted = contents_.tables[static_cast<uint8_t>(table)];
  counted.orphans = loader.orphans;
  counted.damaged = loader.damaged + loader.damaged_count();
  if (!counted.damaged) return;
  contents_.damage.push_back(
      fmt::format("{}: {} entries are damaged", table_name(static_cast<uint8_t>(table)), counted.damaged));
}

Found Tables::take_session(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredSession stored;
  if (!stored.read(in)) return Found::Damaged;
  KeptSession session;
  session.namespace_id = stored.namespace_id;
  session.expiry_s = stored.expiry_s;
  session.disconnected_ms = stored.disconnected_ms;
  session.client_id = stored.client_id;
  contents_.sessions.emplace(bytes_of(key), std::move(session));
  return Found::Whole;
}

Found Tables::take_subscription(Bytes key, Bytes value) {
  KeptSession* session = session_of(key);
  FieldReader in(value);
  KeptSubscription subscription;
  StoredSubscription stored;
  if (!stored.read(in)) return Found::Damaged;
  subscription.options = stored.options;
  subscription.owed = stored.owed;
  subscription.topic_filter = stored.topic_filter;
  subscription.shared = parse_shared_filter(stored.topic_filter).kind == SharedFilter::Kind::Shared ||
                        parse_queue_address(stored.topic_filter).kind == QueueAddress::Kind::Queue ||
                        parse_stream_address(stored.topic_filter).kind == StreamAddress::Kind::Stream;
  subscription.journal = get_big<uint64_t>(key.data() + kSessionKey);
  if (!session) return Found::Orphan;
  session->subscriptions.push_back(std::move(subscription));
  return Found::Whole;
}

Found Tables::take_position(Bytes key, Bytes value) {
  KeptSession* session = session_of(key);
  if (value.size() != sizeof(uint64_t) && value.size() != 2 * sizeof(uint64_t)) return Found::Damaged;
  if (!session) return Found::Orphan;
  const auto journal = get_big<uint64_t>(key.data() + kSessionKey);
  auto& all = session->subscriptions;  // in the order of their keys
  const auto at = std::lower_bound(all.begin(), all.end(), journal,
                                   [](const KeptSubscription& one, uint64_t wanted) { return one.journal < wanted; });
  if (at == all.end() || at->journal != journal) return Found::Orphan;
  at->position = get_little<uint64_t>(value.data());
  return Found::Whole;
}

Found Tables::take_inflight(Bytes key, Bytes value) {
  KeptSession* session = session_of(key);
  FieldReader in(value);
  InflightEntry stored;
  uint64_t group = 0;
  if (!StoredInflight::read(in, stored, group)) return Found::Damaged;
  if (!session) return Found::Orphan;
  KeptInflight entry;
  entry.packet_id = get_big<uint16_t>(key.data() + kSessionKey);
  entry.number = stored.number;
  entry.state = stored.state;
  entry.qos = stored.qos;
  entry.retain = stored.retain;
  entry.identifiers.assign(stored.identifiers.span().begin(), stored.identifiers.span().end());
  session->inflight.push_back(std::move(entry));
  return Found::Whole;
}

Found Tables::take_will(Bytes key, Bytes value) {
  KeptSession* session = session_of(key);
  FieldReader in(value);
  StoredWill stored;
  stored.read(in);
  KeptWill will;
  will.delay_s = stored.delay_s;
  if (stored.expires) will.expiry_s = stored.expiry_s;
  if (!read_outline(in, will.message)) return Found::Damaged;
  if (!session) return Found::Orphan;
  session->will = std::move(will);
  return Found::Whole;
}

Found Tables::take_delayed(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredDelayed stored;
  stored.read(in);
  KeptDelayed delayed;
  delayed.id = get_big<uint64_t>(key.data());
  delayed.due_ms = stored.due_ms;
  delayed.client_id = stored.client_id;
  if (!read_outline(in, delayed.message)) return Found::Damaged;
  contents_.delayed.push_back(std::move(delayed));
  return Found::Whole;
}

Found Tables::take_group(Bytes value) {
  FieldReader in(value);
  KeptGroup group;
  std::string_view shared_filter;
  const auto open = [&](uint64_t number) { group.open.push_back(number); };
  if (!StoredGroup::read(in, group.namespace_id, group.position, shared_filter, open)) return Found::Damaged;
  group.shared_filter = shared_filter;
  contents_.groups.emplace(std::pair(group.namespace_id, group.shared_filter), std::move(group));
  return Found::Whole;
}

Found Tables::take_stream(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredStream stored;
  if (!stored.read(in)) return Found::Damaged;
  KeptStream stream;
  stream.namespace_id = stored.identity.namespace_id;
  stream.name = stored.identity.name;
  stream.topic_filter = stored.identity.topic_filter;
  stream.id = stored.identity.id;
  contents_.streams.emplace(bytes_of(key), std::move(stream));
  return Found::Whole;
}

Found Tables::take_place(KeptStream& stream, Bytes value) {
  FieldReader in(value);
  StoredStreamPlace stored;
  if (!stored.read(in)) return Found::Damaged;
  stream.number = stored.number;
  stream.position = stored.position;
  return Found::Whole;
}

Found Tables::take_queue(Bytes key, Bytes value) {
  FieldReader in(value);
  if (is_stored_stream(in)) return take_stream(key, value);
  StoredQueue stored;
  if (!stored.read(in)) return Found::Damaged;
  KeptQueue queue;
  queue.namespace_id = stored.identity.namespace_id;
  queue.name = stored.identity.name;
  queue.topic_filter = stored.identity.topic_filter;
  queue.last_value = stored.identity.last_value;
  queue.keyed = !stored.identity.key.empty();
  queue.id = stored.identity.id;
  contents_.queues.emplace(bytes_of(key), std::move(queue));
  return Found::Whole;
}

Found Tables::take_place(KeptQueue& queue, Bytes value) {
  FieldReader in(value);
  const auto open = [&](uint64_t number, uint32_t, uint16_t, const TextKey&) { queue.open.push_back(number); };
  return StoredQueuePlace::read(in, queue.keyed, queue.position, open, [](int64_t, uint64_t) {}) ? Found::Whole
                                                                                                 : Found::Damaged;
}

Found Tables::take_value(Bytes key, Bytes value) {
  FieldReader in(value);
  if (const auto stream = contents_.streams.find(bytes_of(key.first(TextKey::kSize)));
      stream != contents_.streams.end()) {
    StoredCursor cursor;
    if (!cursor.read(in)) return Found::Damaged;
    stream->second.cursors.emplace_back(cursor.name, cursor.position);
    return Found::Whole;
  }
  if (!StoredValue().read(in)) return Found::Damaged;
  const auto at = contents_.queues.find(bytes_of(key.first(TextKey::kSize)));
  if (at == contents_.queues.end()) return Found::Orphan;
  ++at->second.values;
  return Found::Whole;
}

// A message that the log no longer has.
Found Tables::take_moved(Bytes key, Bytes value) {
  const auto number = get_big<uint64_t>(key.data());
  if (contents_.meta && number >= contents_.meta->wanted) return Found::Whole;  // it has it still
  Outline message;
  Bytes journals;
  if (!read_record(value, message, journals)) return Found::Damaged;
  for (; !journals.empty(); journals = journals.subspan(sizeof(uint64_t))) {
    auto& numbers = contents_.journals[get_little<uint64_t>(journals.data())].numbers;
    numbers.insert(std::lower_bound(numbers.begin(), numbers.end(), number), number);
  }
  return Found::Whole;
}

void Tables::take() {
  load(StateTable::Namespaces, sizeof(NamespaceId), false, [&](Bytes key, Bytes value) {
    contents_.namespaces.emplace(get_big<uint32_t>(key.data()), bytes_of(value));
    return Found::Whole;
  });
  if (!contents_.namespaces.empty() && contents_.namespaces.rbegin()->first != contents_.namespaces.size()) {
    contents_.damage.emplace_back("the store is damaged: a namespace is missing");
  }
  load(StateTable::Sessions, kSessionKey, true, [&](Bytes key, Bytes value) { return take_session(key, value); });
  load(StateTable::Subscriptions, kFilterKey, true,
       [&](Bytes key, Bytes value) { return take_subscription(key, value); });
  load(StateTable::Positions, kFilterKey, false, [&](Bytes key, Bytes value) { return take_position(key, value); });
  load(StateTable::Inflight, kPacketKey, true, [&](Bytes key, Bytes value) { return take_inflight(key, value); });
  load(StateTable::Receipts, kPacketKey, false, [&](Bytes key, Bytes) {
    KeptSession* session = session_of(key);
    if (session) session->receipts.push_back(get_big<uint16_t>(key.data() + kSessionKey));
    return session ? Found::Whole : Found::Orphan;
  });
  load(StateTable::Wills, kSessionKey, true, [&](Bytes key, Bytes value) { return take_will(key, value); });
  load(StateTable::Retained, TextKey::kSize, true, [&](Bytes, Bytes value) {
    FieldReader in(value);
    Outline message;
    if (!read_outline(in, message)) return Found::Damaged;
    contents_.retained.push_back(std::move(message));
    return Found::Whole;
  });
  load(StateTable::Delayed, kDelayedKey, true, [&](Bytes key, Bytes value) { return take_delayed(key, value); });
  load(StateTable::Log, sizeof(uint64_t), true, [&](Bytes key, Bytes value) { return take_moved(key, value); });
  load(StateTable::Queues, TextKey::kSize, true, [&](Bytes key, Bytes value) { return take_queue(key, value); });
  load(StateTable::Groups, TextKey::kSize, true, [&](Bytes key, Bytes value) {
    if (const auto stream = contents_.streams.find(bytes_of(key)); stream != contents_.streams.end()) {
      return take_place(stream->second, value);
    }
    const auto queue = contents_.queues.find(bytes_of(key));
    return queue == contents_.queues.end() ? take_group(value) : take_place(queue->second, value);
  });
  load(StateTable::QueueValues, 2 * TextKey::kSize, false,
       [&](Bytes key, Bytes value) { return take_value(key, value); });
}

// --- who waits for what

// What waits from `position` on, for one more reader of a journal.
uint64_t count_from(KeptJournal& journal, NamespaceId namespace_id, std::string_view topic_filter, uint64_t position) {
  journal.namespace_id = namespace_id;
  journal.topic_filter = topic_filter;
  ++journal.readers;
  const auto first = std::lower_bound(journal.numbers.begin(), journal.numbers.end(), position);
  const auto waiting = static_cast<uint64_t>(journal.numbers.end() - first);
  journal.waiting = std::max(journal.waiting, waiting);
  return waiting;
}

// seed: under which the names of journals are hashes.
void count_waiting(uint64_t seed, Contents& contents) {
  for (auto& [key, session] : contents.sessions) {
    for (KeptSubscription& subscription : session.subscriptions) {
      if (const QueueAddress queue = parse_queue_address(subscription.topic_filter);
          queue.kind == QueueAddress::Kind::Queue) {
        for (auto& [name, one] : contents.queues) {
          one.consumers += one.namespace_id == session.namespace_id && one.name == queue.name;
        }
        continue;
      }
      if (parse_stream_address(subscription.topic_filter).kind == StreamAddress::Kind::Stream) {
        OwnedText name;
        if (!stream_name(parse_stream_address(subscription.topic_filter), name)) throw std::bad_alloc();
        for (auto& [key_of, one] : contents.streams) {
          one.readers += one.namespace_id == session.namespace_id && one.name == name.view();
        }
        continue;
      }
      if (subscription.options.qos == Qos::AtMostOnce && !subscription.position) continue;  // it has no reader
      // Without a position it begins behind all that is known.
      const uint64_t position = subscription.position.value_or(UINT64_MAX);
      if (subscription.shared) {
        const auto [at, added] =
            contents.groups.try_emplace({session.namespace_id, subscription.topic_filter},
                                        KeptGroup{session.namespace_id, subscription.topic_filter, 0, position, {}, 0});
        ++at->second.members;
        continue;
      }
      subscription.waiting = count_from(contents.journals[subscription.journal], session.namespace_id,
                                        subscription.topic_filter, position);
    }
  }
  for (auto& [key, stream] : contents.streams) {
    const StreamIdentity identity{stream.namespace_id, stream.name, {}, stream.id, {}};
    KeptJournal& journal = contents.journals[stream_journal(identity, seed)];
    stream.messages = count_from(journal, stream.namespace_id, stream.topic_filter, stream.number);
  }
  for (auto& [key, queue] : contents.queues) {
    QueueIdentity identity;
    identity.namespace_id = queue.namespace_id;
    identity.name = queue.name;
    identity.id = queue.id;
    KeptJournal& journal = contents.journals[queue_journal(identity, seed)];
    queue.waiting = count_from(journal, queue.namespace_id, queue.topic_filter, queue.position);
  }
  for (auto& [key, group] : contents.groups) {
    const std::string_view topic_filter = parse_shared_filter(group.shared_filter).topic_filter;
    KeptJournal& journal = contents.journals[hash_text(topic_filter, hash_mix(seed, group.namespace_id))];
    group.waiting = count_from(journal, group.namespace_id, topic_filter, group.position);
  }
}

// The ends of the log against what the store says that it has followed: `before` the log was read, and afterwards.
void check_ends(const DataDirectory::Meta& before, const DataDirectory::Meta& meta, Contents& contents) {
  uint64_t last = contents.last_number;
  const Segment* first = nullptr;
  for (const Segment& segment : contents.segments) {
    if (segment.file.kind != LogSegment::Kind::Good) continue;
    if (!first) first = &segment;
    last = std::max(last, segment.file.previous_last);
  }
  if (!first && !contents.segments.empty()) return;  // that has been told
  if (last < before.followed) {
    contents.damage.push_back(fmt::format(
        "the log ends at number {}, and the store has followed it to {}: files are missing", last, before.followed));
  }
  const uint64_t needed = std::min(meta.followed + 1, meta.wanted);
  if (first && first->file.previous_last >= needed) {
    contents.damage.push_back(
        fmt::format("the log begins behind number {}, and is wanted from {} on: files are missing",
                    first->file.previous_last, needed));
  }
}

// The log's files against those that a backup names.
void check_segments(const BackupContents& backup, Contents& contents) {
  for (const BackupSegment& wanted : backup.segments) {
    const auto at = std::find_if(contents.segments.begin(), contents.segments.end(),
                                 [&](const Segment& segment) { return segment.file.id == wanted.id; });
    if (at != contents.segments.end() && at->file.bytes == wanted.bytes) continue;
    contents.damage.push_back(fmt::format("{} is {}", FileLog::segment_name(wanted.id),
                                          at == contents.segments.end() ? "missing, which belongs to the backup"
                                                                        : "not as it was when the backup was made"));
  }
}

// The log and then the store, once.
Contents read_once(const std::string& path) {
  Contents contents;
  contents.path = path;
  contents.owner = owner_of(path);
  DataDirectory::Meta before;  // what is not read of it is as of a new store
  static_cast<void>(DataDirectory::read_meta(*copy_store(path, true).store, before));
  if (before.format > DataDirectory::kFormat) before = {};
  SystemDisk disk(path, true);
  LogReader log(contents, before);
  std::string problem;
  const Status replayed = FileLog::replay_only(disk, 0, log, problem);
  if (replayed == Status::NoMemory) throw std::bad_alloc();
  if (replayed != Status::Ok) contents.damage.push_back(problem);
  std::sort(contents.segments.begin(), contents.segments.end(),
            [](const Segment& one, const Segment& other) { return one.file.id < other.file.id; });

  StoreCopy copy = copy_store(path, false);
  contents.has_store = copy.there || !copy.problems.empty();
  contents.backup = copy.backup;
  if (contents.backup) check_segments(*contents.backup, contents);
  contents.damage.insert(contents.damage.end(), copy.problems.begin(), copy.problems.end());
  Tables tables(*copy.store, contents);
  DataDirectory::Meta meta;
  const Status status = DataDirectory::read_meta(*copy.store, meta);
  if (status == Status::Ok || status == Status::Invalid) contents.meta = meta;
  if (contents.meta && meta.format > DataDirectory::kFormat) {
    contents.damage.push_back(
        fmt::format("the store has format {}, written by a newer version; this one reads format {}", meta.format,
                    DataDirectory::kFormat));
    tables.count();
    return contents;
  }
  if (status == Status::Invalid) {
    contents.damage.emplace_back("the store is damaged: what it says of itself is incomplete");
  } else if (status == Status::NotFound && copy.problems.empty() && !contents.segments.empty()) {
    contents.damage.emplace_back("there is a log, and the store that belongs to it is missing or empty");
  }
  if (status == Status::Ok) check_ends(before, meta, contents);
  apply(log.changes, meta.followed, *copy.store, contents);
  tables.count();
  tables.take();
  Array<std::byte> seed;
  static_cast<void>(copy.store->get(static_cast<uint8_t>(StateTable::Meta), as_bytes("seed"), seed));
  count_waiting(seed.count() == sizeof(uint64_t) ? get_little<uint64_t>(seed.begin()) : 0, contents);
  return contents;
}

}  // namespace

std::string table_name(uint8_t table) {
  static constexpr std::string_view kNames[] = {
      "meta",    "sessions",   "subscriptions", "positions", "inflight",    "receipts", "wills",  "retained",
      "delayed", "namespaces", "log",           "groups",    "group taken", "times",    "queues", "queue values"};
  return table < std::size(kNames) ? std::string(kNames[table]) : std::to_string(table);
}

bool read_record(Bytes body, Outline& message, Bytes& journals) {
  FieldReader in(body);
  JournaledMessage read;
  if (!read_journaled(in, 0, read)) return false;
  journals = read.journals;
  message = outline_of(read.message);
  return true;
}

// What is written while it is read may look damaged; what is damaged is so again.
std::optional<Contents> read_directory(const std::string& path, std::string& problem) {
  std::vector<std::string> names;
  struct stat of;
  const int error = ::stat(path.c_str(), &of) != 0 ? errno : S_ISDIR(of.st_mode) ? 0 : ENOTDIR;
  if (error || SystemDisk(path, true).list(names) != Status::Ok) {
    problem = fmt::format("cannot read {}: {}", quoted(path), std::strerror(error ? error : EACCES));
    return {};
  }
  constexpr int kTries = 5;
  for (int tries = 1;; ++tries) {
    Contents contents = read_once(path);
    if (contents.damage.empty() || !contents.owner || tries == kTries) return contents;
  }
}

}  // namespace mqttq::inspect
