#include "broker/restore.h"

#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "broker/shard.h"
#include "queue/stored_queue.h"
#include "session/stored_session.h"
#include "stream/stored_stream.h"

namespace mqttq {

namespace {

// Tables of sessions lie in the order of their keys, as the list of sessions does: each is gone through once.
template <class Entry>
class InOrder {
 public:
  explicit InOrder(std::vector<Entry>& entries) noexcept : entries_(entries) {}
  void restart() noexcept { at_ = 0; }
  // The entry of this key, which is not before the last one asked for; nullptr: there is none.
  Entry* find(Bytes key) noexcept {
    const auto before = [&](const Entry& entry) {
      return std::lexicographical_compare(entry.key, entry.key + sizeof entry.key, key.begin(), key.end());
    };
    while (at_ < entries_.size() && before(entries_[at_])) ++at_;
    if (at_ == entries_.size() || !std::equal(key.begin(), key.end(), entries_[at_].key)) return nullptr;
    return &entries_[at_];
  }

 private:
  std::vector<Entry>& entries_;
  size_t at_ = 0;
};

struct SessionEntry {
  std::byte key[kSessionKey];
  Session* session;
  Instant disconnected_at;
};
struct PositionEntry {
  std::byte key[kFilterKey];
  uint64_t number;
  uint64_t stream_position;  // of a stream's reader
};
struct ReaderEntry {
  uint64_t position;
  JournalReader* reader;  // null: the group's
  SharedGroup* group;     // null: the queue's
  ShardCore* shard;
  Queue* queue = nullptr;  // null: the stream's
  Stream* stream = nullptr;
  uint64_t stream_position = 0;

  Filter* filter() const noexcept {
    return reader ? reader->filter : group ? group->subscription.filter : queue ? queue->filter : stream->filter;
  }
  bool attach(Instant now) const noexcept {
    if (reader) return shard->restore_reader(*reader, position);
    if (stream) {
      shard->streams().restore_place(*stream, stream_position);
      return true;
    }
    return group ? shard->groups().restore_reader(*group) : shard->queues().restore_reader(*queue, now);
  }
};
// A shared group with members, which stands nowhere yet.
struct GroupEntry {
  SharedGroup* group;
  ShardCore* shard;
  uint64_t position;              // where the first of its members came, unless it says so itself
  std::vector<uint64_t> open;     // messages before it
  std::vector<GroupOpen> handed;  // to its members, by their numbers; settled: they have finished them
};

// The names of groups, as in the keys of their tables.
using GroupKey = std::pair<uint64_t, uint64_t>;
GroupKey group_key(Bytes key) noexcept {
  return {get_big<uint64_t>(key.data()), get_big<uint64_t>(key.data() + sizeof(uint64_t))};
}
GroupKey group_key(const TextKey& key) noexcept { return {key.first, key.second}; }

// Where the message of this number stands, or is to stand.
std::vector<GroupOpen>::iterator place_of(uint64_t number, std::vector<GroupOpen>& handed) noexcept {
  return std::lower_bound(handed.begin(), handed.end(), number,
                          [](const GroupOpen& one, uint64_t wanted) { return one.number < wanted; });
}

class Restore {
 public:
  Restore(DataDirectory& directory, Router& router, const std::function<ShardCore&(uint32_t)>& shard, Instant now,
          LogSink* log, Restored& restored)
      : directory_(directory), router_(router), shard_(shard), now_(now), log_(log), restored_(restored) {}

  Status run(std::string& problem);

 private:
  // A table through a function, which is false without memory or at a limit.
  template <class Take>
  Status load(StateTable table, size_t key_size, bool large, Take&& take);

  bool take_session(Bytes key, Bytes value);
  bool take_position(Bytes key, Bytes value);
  bool take_subscription(Bytes key, Bytes value);
  bool take_membership(Session& session, const StoredSubscription& stored, const PositionEntry* position,
                       uint64_t number);
  bool take_group(Bytes key, Bytes value);
  bool take_queue(Bytes key, Bytes value);
  bool take_stream(Bytes key, Bytes value);
  bool take_stream_place(Bytes key, Bytes value);
  bool take_cursor(const ReaderEntry& of, Bytes value);
  bool take_queue_place(Bytes key, Bytes value);
  bool take_queue_value(Bytes key, Bytes value);
  bool take_taken(Bytes key);
  bool settle_groups();
  bool take_inflight(Bytes key, Bytes value);
  bool take_receipt(Bytes key);
  bool take_will(Bytes key, Bytes value);
  bool take_retained(Bytes value);
  bool take_delayed(Bytes key, Bytes value);
  bool take_time(Bytes key, Bytes value);
  bool take_messages();
  bool has_message(uint64_t number) const;
  void tell_progress();
  ShardCore& home(NamespaceId namespace_id, std::string_view client_id) {
    return shard_(shard_(0).home_of(namespace_id, client_id));
  }

  DataDirectory& directory_;
  Router& router_;
  const std::function<ShardCore&(uint32_t)>& shard_;
  const Instant now_;
  LogSink* const log_;
  Instant told_at_ = clock_now();
  uint64_t entries_ = 0;
  const char* step_ = "";  // that is taken
  Restored& restored_;
  std::vector<SessionEntry> sessions_;
  std::vector<PositionEntry> positions_;
  std::vector<ReaderEntry> readers_;
  std::map<GroupKey, GroupEntry> groups_;             // by their keys
  std::map<GroupKey, ReaderEntry> queues_, streams_;  // the same
  std::set<uint64_t> last_values_;                    // journals of queues that have to see what is appended to them
  InOrder<SessionEntry> session_ = InOrder<SessionEntry>(sessions_);
  InOrder<PositionEntry> position_ = InOrder<PositionEntry>(positions_);
};

template <class Take>
Status Restore::load(StateTable table, size_t key_size, bool large, Take&& take) {
  struct Loader final : StateLoader {
    Loader(Restore& of, size_t size, bool pieces, Take& to) noexcept
        : StateLoader(size, pieces), restore(of), take(to) {}
    bool on_state(Bytes key, Bytes value) noexcept override {
      try {
        refused = !take(key, value);
        restore.tell_progress();
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      return !refused;
    }
    Restore& restore;
    Take& take;
    bool refused = false;
  } loader(*this, key_size, large, take);
  session_.restart();
  const Status status = directory_.load(table, loader);
  restored_.lost += loader.damaged_count();
  return loader.refused ? Status::NoMemory : status;
}

// Every second, of a start that takes long.
void Restore::tell_progress() {
  constexpr uint64_t kEntriesBetween = 10'000;
  if (!log_ || ++entries_ % kEntriesBetween || clock_now() - told_at_ < kSecond) return;
  told_at_ = clock_now();
  log_->write(LogLevel::Notice, fmt::format("restoring {}: {} sessions, {} subscriptions, {} retained until now", step_,
                                            restored_.sessions, restored_.subscriptions, restored_.retained));
}

bool Restore::take_session(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredSession stored;
  if (!stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  ShardCore& shard = home(stored.namespace_id, stored.client_id);
  Session* session = shard.make_session(stored.namespace_id, stored.client_id);
  if (!session) return false;
  // One that was connected when the broker ended has lost its connection now, and the next start is to know.
  Instant disconnected_at = from_unix_ms(stored.disconnected_ms, directory_.unix_offset_ms());
  const bool was_connected = disconnected_at.ns == INT64_MAX;
  if (was_connected) disconnected_at = now_;
  session->restore(stored.expiry_s, disconnected_at);
  if (was_connected) session->record(now_);
  sessions_.emplace_back();
  sessions_.back().disconnected_at = disconnected_at;
  std::copy(key.begin(), key.end(), sessions_.back().key);
  sessions_.back().session = session;
  ++restored_.sessions;
  return true;
}

bool Restore::take_position(Bytes key, Bytes value) {
  if (value.size() != sizeof(uint64_t) && value.size() != 2 * sizeof(uint64_t)) {
    ++restored_.lost;
    return true;
  }
  positions_.emplace_back();
  std::copy(key.begin(), key.end(), positions_.back().key);
  positions_.back().number = get_little<uint64_t>(value.data());
  const bool of_stream = value.size() != sizeof(uint64_t);
  positions_.back().stream_position = of_stream ? get_little<uint64_t>(value.data() + sizeof(uint64_t)) : 0;
  return true;
}

bool Restore::take_subscription(Bytes key, Bytes value) {
  SessionEntry* of = session_.find(key.first(kSessionKey));
  FieldReader in(value);
  StoredSubscription stored;
  if (!of || !stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  Session& session = *of->session;
  const PositionEntry* position = position_.find(key);
  // Without a position it begins behind all that is known.
  const uint64_t number = position ? position->number : directory_.durable_number() + 1;
  if (parse_queue_address(stored.topic_filter).kind == QueueAddress::Kind::Queue ||
      parse_stream_address(stored.topic_filter).kind == StreamAddress::Kind::Stream ||
      parse_shared_filter(stored.topic_filter).kind == SharedFilter::Kind::Shared) {
    return take_membership(session, stored, position, number);
  }
  const bool durable = position || stored.options.qos != Qos::AtMostOnce;
  JournalReader* reader = nullptr;
  if (!session.restore_subscription(stored.topic_filter, stored.options, durable, stored.owed, reader)) return false;
  if (stored.options.exclusive) {
    static_cast<void>(router_.claim(session.namespace_id(), stored.topic_filter, session.publisher_id()));
  }
  if (reader) readers_.push_back({number, reader, nullptr, &home(session.namespace_id(), session.client_id())});
  ++restored_.subscriptions;
  return true;
}

bool Restore::take_membership(Session& session, const StoredSubscription& stored, const PositionEntry* position,
                              uint64_t number) {
  const NamespaceId namespace_id = session.namespace_id();
  const std::string_view text = stored.topic_filter;
  const std::unique_ptr<GroupJoin, Destroy> join(make_join(namespace_id, text));
  if (!join) return false;
  const uint32_t home_index = shard_(0).group_home_of(namespace_id, join->name.view());
  ShardCore &group_home = shard_(home_index), &of = home(namespace_id, session.client_id());
  GroupMembership* membership = session.restore_membership(text, stored.options, stored.priority, home_index);
  if (!membership) return false;
  if (membership->reading) {
    membership->reading->offset = join->offset = stored.terms.offset;
    membership->reading->shared = join->shared = stored.terms.shared;
    if (!membership->reading->cursor.set(stored.terms.cursor) || !join->cursor.set(stored.terms.cursor)) return false;
    static_cast<void>(join->client_id.set(session.client_id()));  // for lists alone
    join->resumes = position != nullptr;
    join->place.number = number;
    if (position) join->place.position = position->stream_position;
    if (stored.terms.offset.kind == StreamOffset::Kind::Time) {
      join->place.not_before_us = static_cast<int64_t>(stored.terms.offset.value);
    }
  }
  const GroupJoined joined =
      group_home.join_here(*join, of.index(), GroupMemberships::handle(*membership), membership->state());
  if (!joined.member && membership->of_object() && joined.why != Detail::NoMemory) {  // deleted, and he was not told
    of.memberships().on_restored(*membership, joined);
    session.leave_group(text);
    return true;
  }
  if (!joined.member) return false;
  of.memberships().on_restored(*membership, joined);
  ++restored_.subscriptions;
  if (membership->of_object()) return true;
  SharedGroup* group = group_home.groups().find(namespace_id, text);
  if (!group->reader.journal) return true;  // live messages are all that it gets
  const GroupKey key = group_key(text_key(namespace_id, text, directory_.seed()));
  const auto [at, added] = groups_.try_emplace(key, GroupEntry{group, &group_home, number, {}, {}});
  at->second.position = std::min(at->second.position, number);
  return true;
}

// One without members has ended.
bool Restore::take_group(Bytes key, Bytes value) {
  const auto at = groups_.find(group_key(key));
  NamespaceId namespace_id;
  uint64_t position;
  std::string_view shared_filter;
  std::vector<uint64_t> open;
  FieldReader in(value);
  if (!StoredGroup::read(in, namespace_id, position, shared_filter, [&](uint64_t number) { open.push_back(number); })) {
    ++restored_.lost;
  } else if (at != groups_.end()) {
    at->second.position = position;
    at->second.open = std::move(open);
  } else {
    shard_(0).forget_group(namespace_id, shared_filter);
  }
  return true;
}

bool Restore::take_taken(Bytes key) {
  const auto at = groups_.find(group_key(key));
  if (at == groups_.end()) return true;
  const auto number = get_big<uint64_t>(key.data() + TextKey::kSize);
  std::vector<GroupOpen>& handed = at->second.handed;
  if (!handed.empty() && handed.back().number == number) return true;
  handed.push_back({number, 0, {}, true, true});
  return true;
}

bool Restore::take_stream(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredStream stored;
  if (!stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  ShardCore& shard = home(stored.identity.namespace_id, stored.identity.name);
  Stream* stream = shard.restore_stream(stored.identity, stored.options);
  if (!stream) return false;
  ++restored_.streams;
  ReaderEntry entry{0, nullptr, nullptr, &shard};  // without a place it has all that the log has of it
  entry.stream = stream;
  streams_.emplace(group_key(key), entry);
  return true;
}

bool Restore::take_stream_place(Bytes key, Bytes value) {
  ReaderEntry& entry = streams_.at(group_key(key));
  FieldReader in(value);
  StoredStreamPlace stored;
  if (!stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  entry.position = stored.number;
  entry.stream_position = stored.position;
  entry.stream->last_us = stored.newest_us;
  entry.stream->last_number = stored.number ? stored.number - 1 : 0;
  restored_.newest_us = std::max(restored_.newest_us, stored.newest_us);
  return true;
}

bool Restore::take_cursor(const ReaderEntry& of, Bytes value) {
  FieldReader in(value);
  StoredCursor stored;
  if (!stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  return of.shard->cursors().restore(*of.stream, stored.name, stored.shared, {stored.position, stored.number});
}

bool Restore::take_queue(Bytes key, Bytes value) {
  FieldReader in(value);
  if (is_stored_stream(in)) return take_stream(key, value);
  StoredQueue stored;
  if (!stored.read(in)) {
    ++restored_.lost;
    return true;
  }
  ShardCore& shard = home(stored.identity.namespace_id, stored.identity.name);
  Queue* queue = shard.restore_queue(stored.identity, stored.options, stored.dead_letter_topic);
  if (!queue) return false;
  ++restored_.queues;
  queues_.emplace(group_key(key), ReaderEntry{directory_.durable_number() + 1, nullptr, nullptr, &shard, queue});
  return true;
}

bool Restore::take_queue_place(Bytes key, Bytes value) {
  ReaderEntry& entry = queues_.at(group_key(key));
  Queues& queues = entry.shard->queues();
  FieldReader in(value);
  bool memory = true;
  const bool read = StoredQueuePlace::read(
      in, entry.queue->values != nullptr, entry.position,
      [&](uint64_t number, uint32_t size, uint16_t deliveries, const TextKey& text) {
        if (!has_message(number)) {
          ++restored_.lost;
        } else {
          memory = memory && queues.restore_open(*entry.queue, number, size, deliveries, text);
        }
      },
      [&](int64_t at_ms, uint64_t number) { memory = memory && queues.restore_arrival(*entry.queue, at_ms, number); });
  if (!read) ++restored_.lost;
  return memory;
}

bool Restore::take_queue_value(Bytes key, Bytes value) {
  if (const auto stream = streams_.find(group_key(key)); stream != streams_.end()) {
    return take_cursor(stream->second, value);
  }
  const auto at = queues_.find(group_key(key));
  if (at == queues_.end()) return true;
  FieldReader in(value);
  StoredValue stored;
  if (!stored.read(in) || !has_message(stored.number)) {
    ++restored_.lost;
    return true;
  }
  const TextKey text{get_big<uint64_t>(key.data() + TextKey::kSize),
                     get_big<uint64_t>(key.data() + TextKey::kSize + 8)};
  const ReaderEntry& entry = at->second;
  return entry.shard->queues().restore_value(*entry.queue, text, stored.number, stored.size);
}

// What is with a member stays there; what nobody has is handed out again.
bool Restore::settle_groups() {
  for (const SessionEntry& of : sessions_) {
    of.session->for_each_open_of_group([&](const GroupMembership& membership, uint64_t number) {
      const auto at =
          groups_.find(group_key(text_key(of.session->namespace_id(), membership.text(), directory_.seed())));
      if (at == groups_.end()) return;
      std::vector<GroupOpen>& handed = at->second.handed;
      const auto found = place_of(number, handed);
      if (found == handed.end() || found->number != number) return;
      found->settled = false;
      found->member = GroupMemberships::member_of(membership);
    });
  }
  for (auto& [key, entry] : groups_) {
    for (const uint64_t number : entry.open) {
      const auto found = place_of(number, entry.handed);
      if (found != entry.handed.end() && found->number == number) continue;
      if (has_message(number)) {
        entry.handed.insert(found, {number, 0, {}, false, false});
      } else {
        ++restored_.lost;
      }
    }
    SharedGroups& groups = entry.shard->groups();
    for (GroupOpen& one : entry.handed) {
      if (!groups.restore_open(*entry.group, std::move(one))) return false;
    }
    groups.restore_begin(*entry.group);
    readers_.push_back({entry.position, nullptr, entry.group, entry.shard});
  }
  return true;
}

bool Restore::has_message(uint64_t number) const {
  const auto& loaded = directory_.loaded_messages();
  const auto at = std::lower_bound(loaded.begin(), loaded.end(), number,
                                   [](const auto& one, uint64_t wanted) { return one.number < wanted; });
  return at != loaded.end() && at->number == number;
}

bool Restore::take_inflight(Bytes key, Bytes value) {
  SessionEntry* of = session_.find(key.first(kSessionKey));
  FieldReader in(value);
  InflightEntry entry;
  uint64_t group = 0;
  const bool read = StoredInflight::read(in, entry, group);
  bool whole = read;
  // What has a number is fetched when the client comes.
  if (whole && entry.number == 0 && entry.state != InflightEntry::State::AwaitPubcomp) {
    MessageView view;
    whole = read_message(in, directory_.unix_offset_ms(), view);
    if (whole && !(entry.message = Message::create(view))) return false;
  } else if (whole) {
    whole = entry.state == InflightEntry::State::AwaitPubcomp || has_message(entry.number);
  }
  if (!of || !whole) ++restored_.lost;
  const bool released = !whole && read && entry.qos == Qos::ExactlyOnce;  // the client may have the identifier
  if (!of || (!whole && !released)) return true;
  if (released) entry.state = InflightEntry::State::AwaitPubcomp;
  if (!of->session->restore_inflight(get_big<uint16_t>(key.data() + kSessionKey), std::move(entry), group)) {
    return false;
  }
  ++restored_.inflight;
  return true;
}

bool Restore::take_receipt(Bytes key) {
  SessionEntry* of = session_.find(key.first(kSessionKey));
  const auto packet_id = get_big<uint16_t>(key.data() + kSessionKey);
  if (!of || packet_id == 0) {
    ++restored_.lost;
    return true;
  }
  return of->session->add_receipt(packet_id, Receipt{now_, 0, true});
}

bool Restore::take_time(Bytes key, Bytes value) {
  if (value.size() != sizeof(uint64_t)) {
    ++restored_.lost;
    return true;
  }
  const auto at_ms = static_cast<int64_t>(get_big<uint64_t>(key.data()));
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    if (!shard_(i).restore_time(at_ms, get_little<uint64_t>(value.data()))) return false;
  }
  return true;
}

bool Restore::take_will(Bytes key, Bytes value) {
  SessionEntry* of = session_.find(key.first(kSessionKey));
  FieldReader in(value);
  StoredWill stored;
  stored.read(in);
  MessageView view;
  if (!of || !read_message(in, directory_.unix_offset_ms(), view)) {
    ++restored_.lost;
    return true;
  }
  Will will{.message = Message::create(view),
            .delay_s = stored.delay_s,
            .expires = stored.expires,
            .expiry_s = stored.expiry_s};
  if (!will.message) return false;
  return of->session->restore_will(std::move(will), of->disconnected_at);
}

bool Restore::take_retained(Bytes value) {
  FieldReader in(value);
  MessageView view;
  if (!read_message(in, directory_.unix_offset_ms(), view)) {
    ++restored_.lost;
    return true;
  }
  ShardCore& shard = shard_(shard_(0).retained_home_of(view.namespace_id, view.topic_name));
  if (view.expired(now_)) {
    shard.forget_retained(view);
    return true;
  }
  if (!shard.restore_retained(view)) return false;
  ++restored_.retained;
  return true;
}

bool Restore::take_delayed(Bytes key, Bytes value) {
  FieldReader in(value);
  StoredDelayed stored;
  stored.read(in);
  MessageView view;
  if (!read_message(in, directory_.unix_offset_ms(), view)) {
    ++restored_.lost;
    return true;
  }
  ShardCore& shard = stored.client_id.empty() ? shard_(0) : home(view.namespace_id, stored.client_id);
  const Instant due = from_unix_ms(stored.due_ms, directory_.unix_offset_ms());
  if (!shard.restore_delayed(get_big<uint64_t>(key.data()), view, stored.client_id, due)) return false;
  ++restored_.delayed;
  return true;
}

// Every reader is attached in front of the first message that it has not taken.
bool Restore::take_messages() {
  for (const auto& [key, queue] : queues_) {
    if (!queue.shard->queues().finish_values(*queue.queue)) return false;
    readers_.push_back(queue);
  }
  for (const auto& [key, stream] : streams_) readers_.push_back(stream);
  std::sort(readers_.begin(), readers_.end(),
            [](const ReaderEntry& one, const ReaderEntry& other) { return one.position < other.position; });
  std::unordered_map<uint64_t, Filter*> filters;
  for (const ReaderEntry& entry : readers_) {
    Filter* filter = entry.filter();
    filters.emplace(filter->hash, filter);
  }
  for (const auto& [key, queue] : queues_) {
    if (queue.queue->last_only()) last_values_.insert(queue.queue->filter->hash);
  }
  for (const auto& [key, stream] : streams_) {
    if (stream.stream->last_value) last_values_.insert(stream.stream->filter->hash);
  }
  size_t next = 0;
  const auto attach = [&](uint64_t number) {
    for (; next < readers_.size() && readers_[next].position <= number; ++next) {
      if (!readers_[next].attach(now_)) return false;
    }
    return true;
  };
  for (const DataDirectory::LoadedMessage& loaded : directory_.loaded_messages()) {
    if (!attach(loaded.number)) return false;
    restored_.newest_us = std::max(restored_.newest_us, loaded.logged_us);
    const std::span<const uint64_t> journals = directory_.journals_of(loaded);
    const std::span<const uint64_t> positions = directory_.positions_of(loaded);
    for (size_t i = 0; i < journals.size(); ++i) {
      const auto at = filters.find(journals[i]);
      if (at == filters.end()) continue;
      MessageRef message = loaded.message, read;
      if (!message && at->second->of_queue() && last_values_.contains(journals[i])) {
        // Without it the message is of no key.
        const bool of_stream = at->second->gate().of_stream();
        static_cast<void>(directory_.fetch(loaded.number, of_stream ? read : message));
      }
      const NumberedMessage numbered{loaded.number,
                                     message,
                                     loaded.size,
                                     loaded.logged_us,
                                     directory_.topic_of(loaded),
                                     true,
                                     i < positions.size() ? positions[i] : 0,
                                     read.get()};
      for (uint32_t shard = 0; shard < router_.shard_count(); ++shard)
        shard_(shard).restore_message(*at->second, numbered);
    }
    ++restored_.messages;
  }
  if (!attach(UINT64_MAX)) return false;
  for (const auto& [key, stream] : streams_) Streams::finish_restore(*stream.stream, now_);
  return true;
}

Status Restore::run(std::string& problem) {
  // Numbers below the next one have all come, so far as a reader can tell.
  for (uint32_t i = 0; i < router_.shard_count(); ++i) shard_(i).state().note_seen(directory_.durable_number());
  struct Step {
    const char* what;
    std::function<Status()> run;
  };
  const Step steps[] = {
      {"queues and streams",
       [&] {
         return load(StateTable::Queues, TextKey::kSize, true, [&](Bytes k, Bytes v) { return take_queue(k, v); });
       }},
      {"sessions",
       [&] {
         return load(StateTable::Sessions, kSessionKey, true, [&](Bytes k, Bytes v) { return take_session(k, v); });
       }},
      {"positions",
       [&] {
         return load(StateTable::Positions, kFilterKey, false, [&](Bytes k, Bytes v) { return take_position(k, v); });
       }},
      {"subscriptions",
       [&] {
         return load(StateTable::Subscriptions, kFilterKey, true,
                     [&](Bytes k, Bytes v) { return take_subscription(k, v); });
       }},
      {"messages in flight",
       [&] {
         return load(StateTable::Inflight, kPacketKey, true, [&](Bytes k, Bytes v) { return take_inflight(k, v); });
       }},
      {"shared groups, queues and streams",
       [&] {
         return load(StateTable::Groups, TextKey::kSize, true, [&](Bytes k, Bytes v) {
           if (streams_.contains(group_key(k))) return take_stream_place(k, v);
           return queues_.contains(group_key(k)) ? take_queue_place(k, v) : take_group(k, v);
         });
       }},
      {"shared groups",
       [&] { return load(StateTable::GroupTaken, kTakenKey, false, [&](Bytes k, Bytes) { return take_taken(k); }); }},
      {"shared groups", [&] { return settle_groups() ? Status::Ok : Status::NoMemory; }},
      {"last values and cursors",
       [&] {
         return load(StateTable::QueueValues, 2 * TextKey::kSize, false,
                     [&](Bytes k, Bytes v) { return take_queue_value(k, v); });
       }},
      {"receipts",
       [&] { return load(StateTable::Receipts, kPacketKey, false, [&](Bytes k, Bytes) { return take_receipt(k); }); }},
      {"wills",
       [&] { return load(StateTable::Wills, kSessionKey, true, [&](Bytes k, Bytes v) { return take_will(k, v); }); }},
      {"retained messages",
       [&] {
         return load(StateTable::Retained, TextKey::kSize, true, [&](Bytes, Bytes v) { return take_retained(v); });
       }},
      {"delayed messages",
       [&] {
         return load(StateTable::Delayed, kDelayedKey, true, [&](Bytes k, Bytes v) { return take_delayed(k, v); });
       }},
      {"times",
       [&] { return load(StateTable::Times, kTimeKey, false, [&](Bytes k, Bytes v) { return take_time(k, v); }); }},
      {"messages", [&] { return take_messages() ? Status::Ok : Status::NoMemory; }},
  };
  for (const Step& step : steps) {
    step_ = step.what;
    const Status status = step.run();
    if (status == Status::Ok) continue;
    problem = fmt::format(
        "{} cannot be restored: {}", step.what,
        status == Status::NoMemory ? "out of memory, or a limit is below what was kept" : "the store cannot be read");
    return status;
  }
  for (const SessionEntry& entry : sessions_) entry.session->finish_restore(now_);
  for (uint32_t i = 0; i < router_.shard_count(); ++i) shard_(i).restore_ages(directory_.durable_number());
  directory_.forget_loaded();
#ifdef __GLIBC__
  ::malloc_trim(0);  // what was only read on the way lies between what stays, and would be the process's for good
#endif
  return Status::Ok;
}

}  // namespace

Status restore(DataDirectory& directory, Router& router, const std::function<ShardCore&(uint32_t)>& shard, Instant now,
               LogSink* log, Restored& restored, std::string& problem) try {
  return Restore(directory, router, shard, now, log, restored).run(problem);
} catch (const std::bad_alloc&) {
  problem = "out of memory";
  return Status::NoMemory;
}

}  // namespace mqttq
