#include "stream/stream.h"

#include <algorithm>

#include "base/assert.h"
#include "base/hash.h"
#include "message/topic.h"

namespace mqttq {

namespace {

constexpr uint32_t kSlice = 256;           // messages that one reader gets before others are looked at
constexpr uint32_t kRemoteOpenMax = 1024;  // of what needs no acknowledgement, on its way to another shard
constexpr uint32_t kPageMessagesMax = 1024;
constexpr uint32_t kIdlePagesMax = 32;
constexpr uint32_t kEntriesPassedMax = 50'000;  // of other topics, before others are looked at

}  // namespace

// --- one stream

Stream::Stream(Streams& of, NamespaceId in) noexcept : home(of), namespace_id(in), index(of.chunks_) {}

void Stream::changed() noexcept {
  if (ListLink<ChangedTag>::linked()) return;
  home.changed_.push_back(*this);
  home.members_.note_groups_changed();
}

// nullptr: it has no key, or the stream does not keep last values. memory: is cleared where it was refused.
StreamValue* Stream::value_of(const NumberedMessage& message, bool& memory) noexcept {
  const Message* read = message.message ? message.message.get() : message.read;
  TextKey text;
  if (!last_value || !read || !key.of(read->view(), home.seed_, text)) return nullptr;
  StreamValue* value = values.find(text.first, [&](const StreamValue& one) { return one.key.second == text.second; });
  if (!value && (value = home.values_.take())) {
    value->key = text;
    value->position = UINT64_MAX;
    values.insert(*value, text.first);
  }
  memory = value && replaced.make_room();
  return value;
}

bool Stream::take(const NumberedMessage& message, Instant now) noexcept {
  if (!reads) return true;
  if (message.restored) filter->gate().add(message.size);
  const uint64_t position = message.restored ? std::max(message.position, index.end()) : index.end() + missed;
  const int64_t us = std::max(message.logged_us, message.restored ? index.last_us() : last_us);
  const bool in_memory = static_cast<bool>(message.message);
  bool memory = true;
  StreamValue* value = value_of(message, memory);
  memory = memory && (!in_memory || tail.make_room());
  const uint32_t topic = memory ? topics.enter(message.topic_name) : StreamTopics::kUnknown;
  if (!memory || !index.append(position, message.number, us, message.size, topic)) {
    topics.leave(topic);
    missed += !message.restored;
    return false;
  }
  missed = 0;
  if (in_memory) {
    tail.push_back(position, message.message);
  } else {
    tail.clear();  // it begins behind what is not in memory
  }
  last_number = message.number;
  last_us = std::max(last_us, us);
  figures.entered += home.running_;
  if (value) {
    const uint64_t before = std::exchange(value->position, position);
    if (replaced.empty()) turn_first = position;
    if (before != UINT64_MAX) static_cast<void>(replaced.push_back(uint64_t{before}));  // there is room
    if (message.restored) remove_replaced();
  }
  if (!replaced.empty() || first_within() > index.first()) note_over();
  if (!Timer::armed()) arm_age(now);
  while (StreamReader* reader = live.pop_front()) home.ready_.push_back(*reader);
  return true;
}

void Stream::note_over() noexcept {
  if (!ListLink<OverTag>::linked()) home.over_.push_back(*this);
}

// Without memory some stay, until the next message comes.
void Stream::remove_replaced() noexcept {
  for (; !replaced.empty(); replaced.pop_front()) {
    const uint64_t position = replaced.front();
    if (!index.has(position)) continue;
    const StreamEntry entry = index.at(position);
    const bool was_first = position == first();
    if (!index.remove(position)) return;
    topics.leave(entry.topic);
    tail.remove(position);
    filter->gate().leave(1, entry.size);
    figures.replaced += home.running_;
    if (was_first) changed();
  }
}

// Of keys whose messages were trimmed, when they are many.
void Stream::sweep_values() noexcept {
  constexpr uint64_t kKept = 64;
  if (values.count() <= 2 * index.count() + kKept) return;
  values.for_each([this](StreamValue& value) {
    if (value.position >= index.first()) return;
    values.remove(value);
    home.values_.give_back(value);
  });
}

void Stream::trim_to(uint64_t position) noexcept {
  if (position <= index.first()) return;
  for (uint32_t i = 0; last_value && i < readers.count(); ++i) {
    const uint64_t next = std::max(readers[i]->next, index.first());
    if (next < position) readers[i]->skipped += index.count_from(next) - index.count_from(position);
  }
  const uint64_t count = index.count(), bytes = index.bytes();
  index.trim_to(position, [this](const StreamEntry& entry) { topics.leave(entry.topic); });
  tail.trim_to(position);
  filter->gate().leave(count - index.count(), bytes - index.bytes());
  figures.trimmed += count - index.count();
  sweep_values();
  changed();
}

uint64_t Stream::first_within() noexcept {
  uint64_t first = index.first();
  if (options.messages_max && index.count() > options.messages_max) first = index.find_count(options.messages_max);
  if (options.bytes_max && index.bytes() > options.bytes_max) {
    first = std::max(first, index.find_bytes(options.bytes_max));
  }
  return first;
}

void Stream::drop_old(Instant now) noexcept {
  if (!options.age_max_s || !index.count()) return;
  const int64_t oldest_us = home.courier_.unix_us(now) - int64_t{options.age_max_s} * 1'000'000;
  if (index.at(first()).us < oldest_us) trim_to(index.find_time(oldest_us));
}

// For the oldest; some together.
void Stream::arm_age(Instant now) noexcept {
  constexpr int64_t kTogether = 100 * kMillisecond;
  if (!options.age_max_s || !index.count()) return;
  const int64_t old_at_us = index.at(first()).us + int64_t{options.age_max_s} * 1'000'000;
  const int64_t left_us = std::max<int64_t>(old_at_us - home.courier_.unix_us(now), 0);
  home.timers_.arm(*this, now + left_us * kMicrosecond + kTogether, [](Timer& timer, Instant at) noexcept {
    auto& stream = static_cast<Stream&>(timer);
    stream.drop_old(at);
    stream.arm_age(at);
  });
}

// --- which there are

Streams::~Streams() { abandon(); }

void Streams::abandon() noexcept {
  streams_.for_each([](Stream& stream) {
    for (StreamReader* reader : stream.readers) {
      if (reader->here) reader->here->on_stream_deleted({});
    }
  });
  streams_.for_each([this](Stream& stream) { end(stream); });
  while (StreamPage* page = idle_.front()) end_page(*page);
  retry_.cancel();
}

uint64_t Streams::key(NamespaceId namespace_id, std::string_view name) const noexcept {
  return hash_text(name, hash_mix(seed_, namespace_id));
}

Stream* Streams::find(NamespaceId namespace_id, std::string_view name) noexcept {
  return streams_.find(key(namespace_id, name),
                       [&](const Stream& one) { return one.namespace_id == namespace_id && one.name.view() == name; });
}

// What is appended is not its own yet. nullptr without memory.
Stream* Streams::make(const StreamIdentity& identity, const StreamOptions& options) noexcept {
  Stream* made = slab_.take(*this, identity.namespace_id);
  if (!made) return nullptr;
  made->id = identity.id;
  made->last_value = identity.last_value;
  made->options = options;
  if (made->name.set(identity.name) && MessageKey::parse(identity.key, made->key) == Status::Ok) {
    made->filter =
        fan_out_.add_queue(*made, identity.namespace_id, stream_journal(identity, seed_), identity.topic_filter);
  }
  if (!made->filter) {
    slab_.give_back(*made);
    return nullptr;
  }
  made->filter->gate().set_stream();
  set_gate(*made);
  streams_.insert(*made, key(identity.namespace_id, identity.name));
  fan_out_.open_queue(*made->filter);
  return made;
}

// A message that is larger than all that it may hold is not for it; for others room is made.
void Streams::set_gate(Stream& stream) noexcept {
  const uint64_t bytes_max = stream.options.bytes_max;
  stream.filter->gate().set_limits(UINT64_MAX, bytes_max ? bytes_max : UINT64_MAX, QueueOverflow::DropOldest);
}

Status Streams::declare(const StreamIdentity& identity, const StreamOptions& options, Stream*& stream) noexcept {
  stream = find(identity.namespace_id, identity.name);
  if (stream) return Status::Exists;
  MessageKey key;
  if (const Status status = MessageKey::parse(identity.key, key); status != Status::Ok) return status;
  if (identity.last_value && identity.key.empty()) return Status::Invalid;
  stream = make(identity, options);
  if (!stream) return Status::NoMemory;
  stream->reads = true;
  courier_.record_stream(*stream);
  return Status::Ok;
}

void Streams::set_options(Stream& stream, const StreamOptions& options, Instant now) noexcept {
  stream.options = options;
  set_gate(stream);
  stream.cancel();
  stream.drop_old(now);
  stream.trim_to(stream.first_within());
  stream.arm_age(now);
  courier_.record_stream(stream);
}

uint64_t Streams::truncate(Stream& stream, uint64_t position) noexcept {
  const uint64_t before = stream.index.count();
  stream.trim_to(std::min(position, stream.index.end()));
  return before - stream.index.count();
}

void Streams::remove(Stream& stream, Instant now) noexcept {
  courier_.forget_stream(stream);
  struct Told {
    StreamTaker* here;
    uint32_t shard;
    SlabHandle membership;
  };
  Array<Told> told;  // by which nothing of the stream is reached any more
  for (const StreamReader* reader : stream.readers) {
    static_cast<void>(told.push_back({reader->here, reader->shard, reader->membership}));  // without memory: fewer
  }
  end(stream);
  for (const Told& one : told) {
    if (one.here) {
      one.here->on_stream_deleted(now);
    } else {
      members_.tell_deleted(one.shard, one.membership, now);
    }
  }
}

void Streams::end(Stream& stream) noexcept {
  streams_.remove(stream);
  stream.ListLink<ChangedTag>::unlink();
  stream.ListLink<OverTag>::unlink();
  stream.cancel();
  while (!stream.readers.empty()) end_reader(*stream.readers.back());
  for (StreamPage* page = idle_.front(); page;) {
    StreamPage* next = idle_.next(*page);
    if (page->stream == &stream) end_page(*page);
    page = next;
  }
  stream.values.for_each([&](StreamValue& value) {
    stream.values.remove(value);
    values_.give_back(value);
  });
  fan_out_.remove_queue(*stream.filter);
  slab_.give_back(stream);
}

// --- readers

bool StreamReader::takes() const noexcept {
  if (!state.connected || full) return false;
  if (state.acknowledges) return open < state.window;
  return here || open < kRemoteOpenMax;
}

StreamPlace Streams::resolve(Stream& stream, const StreamOffset& offset, Instant now) noexcept {
  stream.drop_old(now);
  StreamIndex& index = stream.index;
  StreamPlace place;
  switch (offset.kind) {
    case StreamOffset::Kind::Earliest: place.position = stream.first(); break;
    case StreamOffset::Kind::Latest: place.position = index.end(); break;
    case StreamOffset::Kind::Time:
      place.not_before_us = static_cast<int64_t>(offset.value);
      place.position = index.find_time(place.not_before_us);
      break;
    case StreamOffset::Kind::Position: place.position = offset.value; break;
  }
  const uint64_t first = index.next(std::max(place.position, index.first()));
  if (first < index.end()) {
    place.number = index.at(first).number;
  } else if (place.position <= index.end()) {
    place.number = stream.last_number + 1;
  }
  return place;
}

MemberId Streams::join(Stream& stream, uint32_t shard, SlabHandle membership, std::string_view client_id,
                       std::string_view topic_filter) noexcept {
  StreamReader* reader = stream.readers.make_room() ? readers_.take() : nullptr;
  if (!reader) return 0;
  const bool all = topic_filter.empty() || topic_filter == stream.topic_filter();
  if ((!all && !reader->topic_filter.set(topic_filter)) || !reader->client_id.set(client_id)) {
    readers_.give_back(*reader);
    return 0;
  }
  reader->stream = &stream;
  reader->membership = membership;
  reader->shard = static_cast<uint8_t>(shard);
  reader->index = stream.readers.count();
  static_cast<void>(stream.readers.push_back(reader));  // there is room
  return id_of(*reader);
}

void Streams::end_reader(StreamReader& reader) noexcept {
  Stream& stream = *reader.stream;
  reader.ListLink<StandTag>::unlink();
  release_pages(reader);
  stream.readers.back()->index = reader.index;
  stream.readers.remove_unordered(reader.index);
  readers_.give_back(reader);
}

void Streams::leave(MemberId id) noexcept {
  if (StreamReader* reader = find_reader(id)) end_reader(*reader);
}

void Streams::set_state(MemberId id, MemberState state, const StreamPlace& place) noexcept {
  StreamReader* reader = find_reader(id);
  if (!reader) return;
  reader->state = state;
  reader->full = false;
  reader->epoch = place.epoch;
  reader->open = place.open;
  reader->not_before_us = place.not_before_us;
  // Of last values it was counted when it went, and is told yet; else it is counted again from the place.
  if (!reader->stream->last_value || place.position > reader->next) reader->skipped = 0;
  StreamIndex& index = reader->stream->index;
  uint64_t position = place.position;
  if (place.number && position >= index.first()) {
    const uint64_t by_number = index.find_number(place.number);
    // Of another life of the stream, or behind messages that the log has lost at its end.
    if (position > index.end() || by_number != index.next(position)) position = by_number;
  }
  if (reader->next != position) {
    reader->next = position;
    if (reader->page && !reader->page->covers(reader->next)) release_pages(*reader);
  }
  if (!state.connected) release_pages(*reader);
  make_ready(*reader);
}

void Streams::done(MemberId id, uint32_t count) noexcept {
  StreamReader* reader = find_reader(id);
  if (!reader) return;
  reader->open -= std::min(count, reader->open);
  if (!reader->ListLink<StandTag>::linked()) make_ready(*reader);
}

void Streams::make_ready(StreamReader& reader) noexcept {
  reader.ListLink<StandTag>::unlink();
  if (reader.takes()) ready_.push_back(reader);
}

// --- handing out

void Streams::run(Instant now) noexcept {
  running_ = true;
  IntrusiveList<StreamReader, StandTag> ready;
  ready.splice_back(ready_);
  while (StreamReader* reader = ready.pop_front()) {
    if (feed(*reader, now)) ready_.push_back(*reader);
  }
  while (Stream* stream = over_.pop_front()) enforce(*stream, now);
}

// Whoever has room for a message gets it before it is gone: of what was replaced, whoever has had all before it.
void Streams::enforce(Stream& stream, Instant now) noexcept {
  if (!stream.replaced.empty()) {
    for (StreamReader* reader : stream.readers) {
      if (reader->next >= stream.turn_first) feed_up_to(*reader, stream.index.end(), now);
    }
    stream.remove_replaced();
  }
  const uint64_t first = stream.first_within();
  for (StreamReader* reader : stream.readers) feed_up_to(*reader, first, now);
  stream.trim_to(first);
}

// As far as it takes what is in memory.
void Streams::feed_up_to(StreamReader& reader, uint64_t position, Instant now) noexcept {
  uint64_t before = UINT64_MAX;
  while (reader.next < position && reader.next != before && reader.ListLink<StandTag>::linked()) {
    before = reader.next;
    reader.ListLink<StandTag>::unlink();
    if (feed(reader, now)) ready_.push_back(reader);
  }
}

// True: it is to be looked at again in the next turn.
bool Streams::feed(StreamReader& reader, Instant now) noexcept {
  Stream& stream = *reader.stream;
  StreamIndex& index = stream.index;
  stream.drop_old(now);
  uint32_t budget = kEntriesPassedMax;
  for (uint32_t count = 0; reader.takes(); ++count) {
    if (count == kSlice) return flush_batch(reader, now);
    if (reader.next < index.first()) {
      if (!stream.last_value) reader.skipped += index.first() - reader.next;  // else it was counted
      reader.next = index.first();
    }
    if (!index.gapless() && reader.next < index.end()) {
      const uint64_t next = index.next(reader.next);
      if (!stream.last_value) reader.skipped += next - reader.next;  // the log has lost them
      reader.next = next;
    }
    if (reader.next >= index.end()) {
      release_pages(reader);
      if (flush_batch(reader, now) && reader.takes()) stream.live.push_back(reader);
      return false;
    }
    if (!reader.topic_filter.empty()) {
      judge_topics(reader);
      reader.next = next_wanted(reader, reader.next, index.end(), budget);
      if (!budget) return flush_batch(reader, now);
      if (reader.next == index.end()) continue;
    }
    const Content found = find_content(reader);
    bool goes_on = false;
    switch (found) {
      case Content::InMemory: {
        MovingMessage moving(stream.tail.at(reader.next));
        const StreamEntry& entry = index.at(reader.next);
        goes_on = take_next(reader, moving, entry.number, entry.us, now);
        break;
      }
      case Content::InPage: {
        const StreamPage::Body& body = reader.page->body(reader.next);
        MessageView view;
        if (body.size && courier_.read_body(reader.page->bodies.span().subspan(body.at, body.size), view)) {
          MovingMessage moving(view, body.us);
          goes_on = take_next(reader, moving, body.number, body.us, now);
        } else {
          members_.count_lost();
          ++reader.next;
          ++reader.skipped;
          goes_on = true;
        }
        break;
      }
      case Content::Asked:  // the page comes, or it is tried again
      case Content::Later:
        if (flush_batch(reader, now) && found == Content::Later) retry_later(reader, now);
        return false;
    }
    if (!goes_on) break;
  }
  static_cast<void>(flush_batch(reader, now));
  return false;
}

// Hands it to the reader, or passes over it. False: it takes no more.
bool Streams::take_next(StreamReader& reader, MovingMessage& message, uint64_t number, int64_t us,
                        Instant now) noexcept {
  const MessageView& view = message.view();
  const bool wanted = us >= reader.not_before_us && !view.expired(now) &&
                      (reader.topic_filter.empty() || topic_matches(reader.topic_filter.view(), view.topic_name));
  if (wanted) return hand(reader, message, number, us, now);
  ++reader.next;
  return true;
}

// False: it takes no more, or there was no memory: it is at its place still.
bool Streams::hand(StreamReader& reader, MovingMessage& message, uint64_t number, int64_t us, Instant now) noexcept {
  const StreamAt at{reader.next, number, us, reader.skipped};
  if (!reader.here && reader.shard != fan_out_.shard()) {
    if (!reader.batch) reader.batch.reset(create<StreamBatch>());
    MessageRef shared = reader.batch ? message.share() : MessageRef();
    if (!shared || !reader.batch->items.push_back({std::move(shared), at})) {
      retry_later(reader, now);
      return false;
    }
    ++reader.open;
  } else {
    const Handed handed = reader.here ? reader.here->take(message, at, now)
                                      : courier_.hand_to_reader(reader.membership, message, at, now);
    if (handed == Handed::Full || handed == Handed::Away) {
      reader.full = handed == Handed::Full;
      if (handed == Handed::Away) reader.state.connected = false;
      return false;
    }
    reader.open += handed == Handed::Open;
  }
  reader.skipped = 0;
  ++reader.next;
  ++reader.delivered;
  ++reader.stream->figures.delivered;
  return true;
}

// False without memory: it is tried again, from where the batch began.
bool Streams::flush_batch(StreamReader& reader, Instant now) noexcept {
  if (!reader.batch || reader.batch->items.empty()) return true;
  reader.batch->epoch = reader.epoch;
  if (courier_.send_batch(reader.shard, reader.membership, reader.batch)) return true;
  Ring<StreamBatch::Item>& items = reader.batch->items;
  reader.next = items[0].at.position;
  reader.skipped = items[0].at.skipped;
  reader.open -= std::min(reader.open, items.count());
  reader.batch.reset();
  retry_later(reader, now);
  return false;
}

void Streams::retry_later(StreamReader& reader, Instant now) noexcept {
  constexpr int64_t kLater = 50 * kMillisecond;
  reader.ListLink<StandTag>::unlink();
  later_.push_back(reader);
  if (retry_.armed()) return;
  timers_.arm(retry_, now + kLater, [](Timer& timer, Instant) noexcept {
    Streams& home = *static_cast<Retry&>(timer).home;
    while (StreamReader* waiting = home.later_.pop_front()) home.make_ready(*waiting);
  });
}

// --- messages that are not in memory

// Where the message at its place is. Asked: it stands in the list of the page.
Streams::Content Streams::find_content(StreamReader& reader) noexcept {
  Stream& stream = *reader.stream;
  const uint64_t tail_first = stream.tail_first();
  if (reader.next >= tail_first) {
    if (reader.page) release_pages(reader);
    return Content::InMemory;
  }
  if (reader.page && !reader.page->covers(reader.next)) {
    release_page(reader.page);
    reader.page = std::exchange(reader.ahead, nullptr);
    if (reader.page && !reader.page->covers(reader.next)) release_page(reader.page);
    reader.looked_ahead = false;
  }
  if (!reader.page) {
    reader.page = page_at(reader, reader.next);
    reader.looked_ahead = false;
  }
  if (!reader.page) return Content::Later;
  if (!std::exchange(reader.looked_ahead, true) && reader.page->end < tail_first) {
    reader.ahead = page_at(reader, reader.page->end);
  }
  if (reader.page->asked) {
    reader.page->waiting.push_back(reader);
    return Content::Asked;
  }
  return Content::InPage;
}

uint64_t Streams::page_key(const Stream& stream, uint64_t position) noexcept {
  return hash_mix(reinterpret_cast<uintptr_t>(&stream), position / kPageMessagesMax);
}

// Does the reader's filter match this topic, or might it?
bool Streams::wants(StreamReader& reader, uint32_t topic) noexcept {
  if (topic == StreamTopics::kUnknown) return true;
  const StreamTopics& topics = reader.stream->topics;
  const auto judge = [&] { return topic_matches(reader.topic_filter.view(), topics.name(topic)); };
  while (reader.wanted.count() <= topic) {
    if (!reader.wanted.push_back(StreamReader::Wanted::NotJudged)) return judge();
  }
  StreamReader::Wanted& wanted = reader.wanted[topic];
  if (wanted == StreamReader::Wanted::NotJudged) {
    wanted = judge() ? StreamReader::Wanted::Yes : StreamReader::Wanted::No;
  }
  return wanted == StreamReader::Wanted::Yes;
}

// Where topics are many, whole runs of entries are not passed over: most would have some that is wanted.
void Streams::judge_topics(StreamReader& reader) noexcept {
  constexpr uint32_t kTopicsMax = 4096;
  const StreamTopics& topics = reader.stream->topics;
  if (reader.judged_changes == topics.changes()) return;
  reader.judged_changes = topics.changes();
  if (std::exchange(reader.judged_reuses, topics.reuses()) != topics.reuses()) reader.wanted.clear();
  reader.wanted_bits = StreamIndex::topic_bit(StreamTopics::kUnknown);
  if (topics.end() > kTopicsMax) reader.wanted_bits = UINT64_MAX;
  for (uint32_t topic = 0; reader.wanted_bits != UINT64_MAX && topic < topics.end(); ++topic) {
    if (topics.is_used(topic) && wants(reader, topic)) reader.wanted_bits |= StreamIndex::topic_bit(topic);
  }
}

// The first position from `from` on whose topic is wanted, or `end`. budget: entries that are looked at, at most; where
// it is used up it is not known further.
uint64_t Streams::next_wanted(StreamReader& reader, uint64_t from, uint64_t end, uint32_t& budget) noexcept {
  StreamIndex& index = reader.stream->index;
  uint64_t run_end = from;
  for (uint64_t at = index.next(from); at < end; --budget) {
    if (!budget) return at;
    if (at >= run_end && !(index.topic_bits(at, run_end) & reader.wanted_bits)) {
      at = index.next(run_end);
    } else if (wants(reader, index.at(at).topic)) {
      return at;
    } else {
      at = index.next(at + 1);
    }
  }
  return end;
}

// One more user's. nullptr without memory.
StreamPage* Streams::page_at(StreamReader& reader, uint64_t position) noexcept {
  Stream& stream = *reader.stream;
  if (reader.topic_filter.empty()) return shared_page_at(stream, position);
  entries_.clear();
  uint32_t budget = kEntriesPassedMax;
  uint64_t at = position, bytes = 0;
  const uint64_t end = stream.tail_first();
  while (entries_.count() < kPageMessagesMax && (at = next_wanted(reader, at, end, budget)) < end && budget) {
    const StreamEntry& entry = stream.index.at(at);
    bytes += entry.size;
    if (!entries_.empty() && bytes > kFetchBytesMax) break;
    if (!entries_.push_back(entry)) break;
    ++at;
  }
  if (entries_.empty()) return nullptr;  // none is wanted as far as was looked
  return make_page(stream, position, at, entries_.span(), false);
}

// One that is there, or it is asked for.
StreamPage* Streams::shared_page_at(Stream& stream, uint64_t position) noexcept {
  StreamPage* page = by_position_.find(
      page_key(stream, position), [&](const StreamPage& one) { return one.stream == &stream && one.covers(position); });
  if (page) {
    if (page->users++ == 0) {
      page->ListLink<IdleTag>::unlink();
      --idle_count_;
    }
    return page;
  }
  StreamIndex& index = stream.index;
  uint64_t bytes = 0, end = stream.tail_first(), at = index.next(position);
  if (index.gapless()) end = std::min(end, (position / kPageMessagesMax + 1) * kPageMessagesMax);
  entries_.clear();
  for (; at < end && entries_.count() < kPageMessagesMax; at = index.next(at + 1)) {
    const StreamEntry& entry = index.at(at);
    bytes += entry.size;
    if (!entries_.empty() && bytes > kFetchBytesMax) break;
    if (!entries_.push_back(entry)) break;
  }
  if (entries_.empty()) return nullptr;  // what follows is in memory
  page = make_page(stream, position, std::min(at, end), entries_.span(), true);
  if (page) by_position_.insert(*page, page_key(stream, position));
  return page;
}

// entries: those in between that it is to have.
StreamPage* Streams::make_page(Stream& stream, uint64_t first, uint64_t end, std::span<const StreamEntry> entries,
                               bool shared) noexcept {
  constexpr uint64_t kBesideContent = 160;  // in the log
  StreamPage* page = pages_.take();
  if (!page) return nullptr;
  page->stream = &stream;
  page->first = first;
  page->end = end;
  page->users = 1;
  page->shared = shared;
  const auto count = static_cast<uint32_t>(entries.size());
  const bool gapless = end - first == count;
  uint64_t numbers[kPageMessagesMax], bytes = 0;
  bool complete = page->messages.reserve(count) && (gapless || page->positions.reserve(count));
  for (uint32_t i = 0; complete && i < count; ++i) {
    numbers[i] = entries[i].number;
    bytes += entries[i].size + kBesideContent;
    static_cast<void>(page->messages.push_back({entries[i].number, entries[i].us}));  // there is room, as below
    if (!gapless) static_cast<void>(page->positions.push_back(entries[i].position));
  }
  complete = complete && courier_.fetch_for_stream(Slab<StreamPage>::handle(*page), {numbers, count}, bytes);
  if (complete) return page;
  pages_.give_back(*page);
  return nullptr;
}

// Some that nobody uses stay, for readers that come behind.
void Streams::release_page(StreamPage*& page) noexcept {
  StreamPage* released = std::exchange(page, nullptr);
  if (!released || --released->users) return;
  if (released->asked || !released->shared) return end_page(*released);
  idle_.push_back(*released);
  if (++idle_count_ > kIdlePagesMax) end_page(*idle_.front());
}

void Streams::release_pages(StreamReader& reader) noexcept {
  release_page(reader.page);
  release_page(reader.ahead);
}

void Streams::end_page(StreamPage& page) noexcept {
  if (page.ListLink<IdleTag>::linked()) {
    page.ListLink<IdleTag>::unlink();
    --idle_count_;
  }
  if (page.shared) by_position_.remove(page);
  pages_.give_back(page);
}

void Streams::on_fetched(SlabHandle of, Ring<FetchedMessage>& messages, Array<std::byte>&& bodies,
                         Instant now) noexcept {
  StreamPage* page = pages_.find(of);
  if (!page) return;
  bool complete = true;
  for (uint32_t i = 0; complete && i < messages.count(); ++i) {
    const FetchedMessage& one = messages[i];
    const bool lost = one.lost(read_failures_);
    complete = one.status == Status::Ok || lost;
    page->messages[i].at = one.body_at;
    page->messages[i].size = lost ? 0 : one.body_size;
  }
  page->bodies = std::move(bodies);
  page->asked = false;
  IntrusiveList<StreamReader, StandTag> waiting;
  waiting.splice_back(page->waiting);
  if (complete) {
    while (StreamReader* reader = waiting.pop_front()) make_ready(*reader);
    return;
  }
  // It is read again, by each of its users when they come to it.
  Stream& stream = *page->stream;
  for (StreamReader* reader : stream.readers) {
    if (reader->page == page || reader->ahead == page) release_pages(*reader);
  }
  while (StreamReader* reader = waiting.pop_front()) retry_later(*reader, now);
  if (StreamPage* left = pages_.find(of)) end_page(*left);
}

void Streams::evict(uint64_t number) noexcept {
  streams_.for_each([number](Stream& stream) {
    if (!stream.tail.empty()) stream.tail.trim_to(stream.index.find_number(number + 1));
  });
}

// --- what is needed of the log

uint64_t Streams::lowest_number() noexcept {
  uint64_t lowest = UINT64_MAX;
  streams_.for_each([&](Stream& stream) {
    if (stream.index.count()) lowest = std::min(lowest, stream.first_number());
  });
  return lowest;
}

void Streams::add_needed(NeededNumbers& needed) noexcept {
  streams_.for_each([&](Stream& stream) {
    StreamIndex& index = stream.index;
    for (uint64_t at = stream.first(); at < index.end(); at = index.next(at + 1)) {
      const uint64_t number = index.at(at).number;
      if (number > needed.up_to || !needed.complete) return;
      needed.add(number);
    }
  });
}

void Streams::add_waiting(uint64_t& messages, uint64_t& bytes) noexcept {
  streams_.for_each([&](Stream& stream) {
    messages += stream.index.count();
    bytes += stream.index.bytes();
  });
}

// --- how they come back

Stream* Streams::restore(const StreamIdentity& identity, const StreamOptions& options) noexcept {
  running_ = false;
  return make(identity, options);
}

void Streams::restore_place(Stream& stream, uint64_t position) noexcept {
  stream.index.begin_at(position);
  stream.reads = true;
}

void Streams::finish_restore(Stream& stream, Instant now) noexcept {
  stream.filter->gate().stream_end() = {stream.index.end(), stream.last_us};
  stream.arm_age(now);
}

}  // namespace mqttq
