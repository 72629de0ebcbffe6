#include "stream/stream_cursor.h"

#include <algorithm>

#include "base/hash.h"
#include "router/read_ahead.h"

namespace mqttq {

namespace {

constexpr uint32_t kHeldMax = 256;  // messages that wait for their keys

}  // namespace

// --- one cursor

uint64_t StreamCursor::committed() noexcept {
  for (uint32_t i = 0; i < taken.count(); ++i) {
    if (!taken[i].done) return taken[i].number;
  }
  return taken.empty() ? place.position : std::max(place.position, taken.back().number + 1);
}

void StreamCursor::changed() noexcept {
  if (ListLink<ChangedCursorTag>::linked()) return;
  home.changed_.push_back(*this);
  home.member_courier_.note_groups_changed();
}

// Who has others of the key; else who is its own by a hash, and if he has no room somebody who has. Without a key by
// turns. nullptr: nobody for this one.
CursorMember* StreamCursor::choose(const CursorKey* key) noexcept {
  const uint32_t count = members.count();
  if (!count) return nullptr;
  if (key && key->inflight_count) {
    CursorMember* owner = home.find_member(key->owner);
    return owner && owner->takes() ? owner : nullptr;
  }
  const uint32_t start = key ? static_cast<uint32_t>(key->key.first % count) : next_member;
  for (uint32_t i = 0; i < count; ++i) {
    CursorMember* member = members[(start + i) % count];
    if (member->takes()) return member;
  }
  return nullptr;
}

// nullptr: it has none that matters, or without memory.
CursorKey* StreamCursor::key_of(const MessageView& message) noexcept {
  TextKey text;
  if (!shared || !stream.key.on() || !stream.key.of(message, home.seed_, text)) return nullptr;
  CursorKey* found = keys.find(text.first, [&](const CursorKey& one) { return one.key.second == text.second; });
  if (found) return found;
  found = home.keys_.take();
  if (!found) return nullptr;
  found->key = text;
  keys.insert(*found, text.first);
  return found;
}

void StreamCursor::let_go(CursorTaken& one) noexcept {
  CursorKey* key = std::exchange(one.key, nullptr);
  if (!key || --key->count) return;
  keys.remove(*key);
  home.keys_.give_back(*key);
}

// What was read in this pass is read again in another one, and before later ones of its key.
void StreamCursor::take_back(CursorTaken& one) noexcept {
  one.member = 0;
  if (one.number < place.position) {
    one.pass = pass;
    if (one.key) one.key->held_pass = pass;
  }
  ++waiting_count;
  if (one.key) --one.key->inflight_count;
}

void StreamCursor::finish(CursorTaken& one) noexcept {
  if (one.done) return;
  if (one.member) {
    if (one.key) --one.key->inflight_count;
  } else {
    --waiting_count;
  }
  one.member = 0;
  one.done = true;
  let_go(one);
  changed();
}

// What lies behind the place is read again, and passed over by it.
void StreamCursor::forget_done() noexcept {
  while (!taken.empty() && taken.front().done && taken.front().number < place.position) taken.pop_front();
  if (taken.empty()) taken.reset();
}

// What waits before this position, and was not read in this pass, cannot be read any more.
void StreamCursor::finish_unread(uint64_t before) noexcept {
  if (waiting_count && checked < before) {
    for (uint32_t i = lower_bound_number(taken, checked); i < taken.count() && taken[i].number < before; ++i) {
      CursorTaken& one = taken[i];
      if (!one.done && !one.member && one.pass != pass) finish(one);
    }
  }
  checked = std::max(checked, before);
}

// What was seen before is read again on the way to what waits.
Handed StreamCursor::take(MovingMessage& message, const StreamAt& at, Instant now) noexcept {
  const auto pass_over = [&] {
    place.position = at.position + 1;
    place.number = at.number + 1;
    forget_done();
    return Handed::Finished;
  };
  finish_unread(at.position);
  CursorTaken* known = find_number(taken, at.position);
  if (known && (known->done || known->member)) return pass_over();
  if (!known && !taken.make_room()) {
    full = true;
    return Handed::Full;
  }
  CursorKey* key = known ? known->key : key_of(message.view());
  bool held = key && key->held_pass == pass;
  Handed handed = Handed::Full;
  CursorMember* member = nullptr;
  while (!held && (member = choose(key))) {
    handed = home.member_courier_.hand_to_member(member->shard, member->membership, {}, message, at.position + 1, now,
                                                 at.skipped);
    if (handed != Handed::Full && handed != Handed::Away) break;
    member->full = handed == Handed::Full;
    if (handed == Handed::Away) member->state.connected = false;
  }
  if (!member) {
    const bool aside = key && waiting_count < kHeldMax && choose(nullptr);
    if (key && !key->count && !aside) {
      keys.remove(*key);
      home.keys_.give_back(*key);
    }
    if (!aside) {
      full = true;
      return Handed::Full;
    }
    key->held_pass = pass;
  }
  if (!known) {
    known = &insert_number(taken, CursorTaken{.number = at.position, .key = key});
    if (key) ++key->count;
    ++waiting_count;
  }
  if (!member) {
    known->pass = pass;
    return pass_over();
  }
  next_member = member->index + 1;
  if (handed == Handed::Open) {
    known->member = StreamCursors::id_of(*member);
    --waiting_count;
    ++member->open_count;
    if (key) {
      ++key->inflight_count;
      key->owner = known->member;
    }
  } else {
    finish(*known);
  }
  return pass_over();
}

void StreamCursor::go_on(uint64_t position) noexcept {
  full = false;
  ++pass;
  checked = position;
  if (position != place.position) {
    place.position = position;
    place.number = 0;
  }
  MemberState state;
  state.connected = true;
  home.streams_.set_state(Streams::id_of(*reader), state, place);
}

void StreamCursor::wake() noexcept {
  // Those that the stream does not keep any more.
  StreamIndex& index = stream.index;
  const uint64_t kept = index.gapless() ? index.first() : index.end();
  for (uint32_t i = 0; waiting_count && i < taken.count() && taken[i].number < kept; ++i) {
    if (!taken[i].done && !taken[i].member && !index.has(taken[i].number)) finish(taken[i]);
  }
  forget_done();
  if (!reader || (!full && !waiting_count) || !choose(nullptr)) return;
  uint64_t position = place.position;
  for (uint32_t i = 0; waiting_count && i < taken.count(); ++i) {
    if (taken[i].done || taken[i].member) continue;
    position = std::min(position, taken[i].number);
    break;
  }
  go_on(position);
}

void StreamCursor::take_back_all(MemberId of) noexcept {
  for (uint32_t i = 0; i < taken.count(); ++i) {
    if (taken[i].member == of) take_back(taken[i]);
  }
}

void StreamCursor::on_stream_deleted(Instant now) noexcept {
  reader = nullptr;
  struct Told {
    uint32_t shard;
    SlabHandle membership;
  };
  Array<Told> told;
  for (const CursorMember* member : members) static_cast<void>(told.push_back({member->shard, member->membership}));
  MemberCourier& courier = home.member_courier_;
  home.end(*this);
  for (const Told& one : told) courier.tell_deleted(one.shard, one.membership, now);
}

// --- which there are

uint64_t StreamCursors::key(const Stream& stream, std::string_view name) const noexcept {
  return hash_text(name, hash_mix(seed_, stream.id));
}

StreamCursor* StreamCursors::find(Stream& stream, std::string_view name) noexcept {
  return by_name_.find(key(stream, name),
                       [&](const StreamCursor& one) { return &one.stream == &stream && one.name.view() == name; });
}

StreamCursor* StreamCursors::make(Stream& stream, std::string_view name, bool shared) noexcept {
  StreamCursor* made = slab_.take(*this, stream);
  if (!made) return nullptr;
  made->shared = shared;
  const MemberId joined = made->name.set(name) ? streams_.join(stream, *made, {}) : 0;
  if (!joined) {
    slab_.give_back(*made);
    return nullptr;
  }
  made->reader = streams_.find_reader(joined);
  made->reader->cursor = made;
  by_name_.insert(*made, key(stream, name));
  all_.push_back(*made);
  return made;
}

Status StreamCursors::open(Stream& stream, std::string_view name, bool shared, const StreamOffset& offset, bool seeks,
                           Instant now, StreamCursor*& cursor) noexcept {
  cursor = find(stream, name);
  const bool made = !cursor;
  if (!cursor) {
    if (slab_.count() == kCountMax) return Status::Full;
    cursor = make(stream, name, shared);
    if (!cursor) return Status::NoMemory;
  }
  for (const CursorMember* member : cursor->members) {
    if (member->state.connected && !(shared && cursor->shared)) return Status::Exists;
  }
  if (cursor->shared != shared) cursor->changed();
  cursor->shared = shared;
  if (made || seeks) {
    for (; !cursor->taken.empty(); cursor->taken.pop_front()) cursor->finish(cursor->taken.front());
    cursor->taken.reset();
    cursor->place = Streams::resolve(stream, offset, now);
    cursor->go_on(cursor->place.position);
    cursor->changed();
  }
  return Status::Ok;
}

bool StreamCursors::restore(Stream& stream, std::string_view name, bool shared, const StreamPlace& place) noexcept {
  StreamCursor* made = find(stream, name);  // a kept session has come before it
  if (!made && !(made = make(stream, name, shared))) return false;
  made->place = place;
  made->full = true;
  return true;
}

void StreamCursors::commit(StreamCursor& cursor, uint64_t position) noexcept {
  for (uint32_t i = 0; i < cursor.taken.count() && cursor.taken[i].number < position; ++i) {
    cursor.finish(cursor.taken[i]);
  }
  if (cursor.place.position < position) {
    cursor.place.position = position;
    cursor.place.number = 0;
    cursor.full = true;
  }
  cursor.changed();
  cursor.wake();
}

void StreamCursors::end(StreamCursor& cursor) noexcept {
  for (CursorMember* member : cursor.members) members_.give_back(*member);
  cursor.keys.for_each([&](CursorKey& key) {
    cursor.keys.remove(key);
    keys_.give_back(key);
  });
  if (cursor.reader) streams_.leave(Streams::id_of(*cursor.reader));
  by_name_.remove(cursor);
  cursor.ListLink<CursorsTag>::unlink();
  cursor.ListLink<ChangedCursorTag>::unlink();
  slab_.give_back(cursor);
}

void StreamCursors::remove(StreamCursor& cursor, Instant now) noexcept {
  courier_.forget_cursor(cursor);
  streams_.leave(Streams::id_of(*cursor.reader));
  cursor.on_stream_deleted(now);
}

void StreamCursors::abandon() noexcept {
  while (StreamCursor* cursor = all_.front()) end(*cursor);
}

// --- members

MemberId StreamCursors::join(StreamCursor& cursor, uint32_t shard, SlabHandle membership) noexcept {
  CursorMember* member = cursor.members.make_room() ? members_.take() : nullptr;
  if (!member) return 0;
  member->cursor = &cursor;
  member->membership = membership;
  member->shard = static_cast<uint8_t>(shard);
  member->index = cursor.members.count();
  static_cast<void>(cursor.members.push_back(member));  // there is room
  return id_of(*member);
}

void StreamCursors::leave(MemberId id) noexcept {
  CursorMember* member = find_member(id);
  if (!member) return;
  StreamCursor& cursor = *member->cursor;
  cursor.members.back()->index = member->index;
  cursor.members.remove_unordered(member->index);
  members_.give_back(*member);
  cursor.take_back_all(id);
  cursor.wake();
}

void StreamCursors::set_state(MemberId id, MemberState state) noexcept {
  CursorMember* member = find_member(id);
  if (!member) return;
  member->state = state;
  member->full = false;
  member->cursor->wake();
}

void StreamCursors::note_away(MemberId id) noexcept {
  if (CursorMember* member = find_member(id)) member->state.connected = false;
}

void StreamCursors::done(MemberId id, std::span<const uint64_t> numbers) noexcept {
  CursorMember* member = find_member(id);
  if (!member) return;
  StreamCursor& cursor = *member->cursor;
  member->open_count -= std::min(static_cast<uint32_t>(numbers.size()), member->open_count);
  for (const uint64_t marked : numbers) {
    const bool returned = marked & GroupNumbers::kReturned;
    if (returned) member->state.connected = false;  // until it says that it is there
    CursorTaken* one = find_number(cursor.taken, (marked & ~GroupNumbers::kMarks) - 1);
    if (!one || one->member != id) continue;
    if (returned) {
      cursor.take_back(*one);
    } else {
      cursor.finish(*one);
    }
  }
  cursor.wake();
}

void StreamCursors::give_back(MemberId id, uint64_t number, Handed why) noexcept {
  CursorMember* member = find_member(id);
  if (!member) return;
  StreamCursor& cursor = *member->cursor;
  if (member->open_count) --member->open_count;
  member->full = why == Handed::Full;
  if (why == Handed::Away) member->state.connected = false;
  CursorTaken* one = find_number(cursor.taken, number - 1);
  if (one && one->member == id) cursor.take_back(*one);
  cursor.wake();
}

}  // namespace mqttq
