#include "router/shared_group.h"

#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"

namespace mqttq {

SharedGroups::~SharedGroups() {
  groups_.for_each([this](Group& group) {
    for (Member* member : group.members) members_.give_back(*member);
    end(group, false);
  });
}

GroupJoin* GroupJoin::create_for(NamespaceId namespace_id, std::string_view name,
                                 std::string_view topic_filter) noexcept {
  std::unique_ptr<GroupJoin, Destroy> made(create<GroupJoin>());
  if (!made || !made->name.set(name) || !made->topic_filter.set(topic_filter)) return nullptr;
  made->namespace_id = namespace_id;
  return made.release();
}

// --- members

MemberId SharedGroups::id_of(const Member& member) noexcept { return member_id(Slab<Member>::handle(member)); }

GroupMember* SharedGroups::find_member(MemberId id) noexcept { return members_.find(handle_of(id)); }

uint64_t SharedGroups::key(NamespaceId namespace_id, std::string_view text) const noexcept {
  return hash_text(text, hash_mix(seed_, namespace_id));
}

SharedGroup* SharedGroups::find_or_make(NamespaceId namespace_id, std::string_view text) noexcept {
  const uint64_t hash = key(namespace_id, text);
  Group* group = find(namespace_id, text);
  if (group) return group;
  group = group_slab_.take(namespace_id);
  if (!group) return nullptr;
  group->characters = static_cast<char*>(allocate(text.size()));
  if (!group->characters) {
    group_slab_.give_back(*group);
    return nullptr;
  }
  std::memcpy(group->characters, text.data(), text.size());
  group->text_size = static_cast<uint16_t>(text.size());
  group->home = this;
  const SharedFilter shared = parse_shared_filter(group->text());
  group->strategy = strategies_.of(namespace_id, shared.group);
  group->subscription.sink = group;
  group->subscription.shared = true;
  group->subscription.qos = Qos::ExactlyOnce;  // each member's own counts
  group->subscription.retain_as_published = true;
  if (fan_out_.add(group->subscription, namespace_id, shared.topic_filter) != Status::Ok) {
    group_slab_.give_back(*group);
    return nullptr;
  }
  groups_.insert(*group, hash);
  return group;
}

// forget: it has lost its last member, and nothing of it is kept.
void SharedGroups::end(Group& group, bool forget) noexcept {
  groups_.remove(group);
  group.ListLink<ChangedTag>::unlink();
  group.ListLink<ReadyTag>::unlink();
  if (Journal* journal = group.reader.journal) {
    journal->detach(group.reader);
    if (forget) courier_.forget_group(group.namespace_id(), group.text());
  }
  fan_out_.remove(group.subscription);
  while (!group.waiting.empty()) group.drop_oldest();
  group_slab_.give_back(group);
}

MemberId SharedGroups::join(const GroupJoin& join, uint32_t shard, SlabHandle membership, MemberState state) noexcept {
  Group* group = find_or_make(join.namespace_id, join.name.view());
  if (!group) return 0;
  Member* member = group->members.make_room() ? members_.take() : nullptr;
  if (!member || (state.durable && !group->make_durable())) {
    if (member) members_.give_back(*member);
    if (group->members.empty()) end(*group, true);
    return 0;
  }
  member->group = group;
  member->membership = membership;
  member->shard = static_cast<uint8_t>(shard);
  member->index = group->members.count();
  static_cast<void>(group->members.push_back(member));  // there is room
  group->set_state(*member, state);
  return id_of(*member);
}

void SharedGroups::leave(MemberId id, Instant now) noexcept {
  Member* member = find_member(id);
  if (!member) return;
  Group& group = *member->group;
  group.set_state(*member, {});
  if (group.sticky == member) group.sticky = nullptr;
  group.members.back()->index = member->index;
  group.members.remove_unordered(member->index);
  const uint32_t shard = member->shard;
  members_.give_back(*member);
  if (group.members.empty()) {
    end(group, true);
    return;
  }
  if (group.has_open_of(id)) courier_.confirm_leave(shard, id, group.handle());
  group.flush(now);
}

// What it still has it finishes by itself [MQTT-3.10.4-3], or has ended with [MQTT-4.8.2-5].
void SharedGroups::on_left(MemberId id, SlabHandle of) noexcept {
  Group* group = group_slab_.find(of);
  if (!group) return;
  for (uint32_t i = 0; i < group->open.count(); ++i) {
    if (group->open[i].member == id) group->settle_open(group->open[i], true);
  }
}

void SharedGroups::set_state(MemberId id, MemberState state, Instant now) noexcept {
  Member* member = find_member(id);
  if (!member) return;
  member->full = false;
  member->group->set_state(*member, state);
  member->group->recall_from_absent(now);
  member->group->flush(now);
}

void SharedGroups::done(MemberId id, uint32_t count, std::span<const uint64_t> numbers, Instant now) noexcept {
  Member* member = find_member(id);
  if (!member) return;
  member->open_count -= std::min(count + static_cast<uint32_t>(numbers.size()), member->open_count);
  for (const uint64_t number : numbers) {
    GroupOpen* one = member->group->find_open(number & ~GroupNumbers::kMarks);
    if (one && one->member == id) member->group->settle_open(*one, number & GroupNumbers::kRecorded);
  }
  member->group->flush(now);
}

void SharedGroups::give_back(MemberId id, SlabHandle of, const MessageRef& message, uint64_t number, Handed why,
                             Instant now) noexcept {
  Member* member = find_member(id);
  Group* group = member ? member->group : group_slab_.find(of);
  if (!group) {
    if (message) courier_.count_dropped(message->view());
    return;
  }
  if (member) {
    if ((number || message->qos() != Qos::AtMostOnce) && member->open_count) --member->open_count;
    group->set_unable(*member, why);
  }
  if (number) {
    GroupOpen* one = group->find_open(number);
    if (!one || !one->member) return;
    one->member = 0;
    one->message = message;
    ++group->returned_count;
    group->changed();
    group->flush(now);
    return;
  }
  MovingMessage moving(message);
  if (!group->offer(moving, 0, now)) group->keep_waiting(moving);
}

// --- one group

void SharedGroup::set_state(GroupMember& member, MemberState state) noexcept {
  durable_count += state.durable;
  durable_count -= member.state.durable;
  connected_count += state.connected;
  connected_count -= member.state.connected;
  member.state = state;
}

// It is not chosen again until it says that it may be.
void SharedGroup::set_unable(GroupMember& member, Handed why) noexcept {
  MemberState state = member.state;
  if (why == Handed::Full) member.full = true;
  if (why == Handed::Away) state.connected = false;
  set_state(member, state);
}

// What a member holds that is away is of use to the others now. One that stays alone finishes it when it is back.
void SharedGroup::recall_from_absent(Instant now) noexcept {
  if (connected_count == 0 || connected_count == members.count()) return;
  for (GroupMember* member : members) {
    if (!member->state.connected && member->open_count) {
      home->courier_.recall(member->shard, member->membership, now);
    }
  }
}

void SharedGroup::deliver(const Delivery& delivery, Instant now) noexcept {
  // What waits goes first.
  const bool behind = !waiting.empty() && delivery.qos != Qos::AtMostOnce;
  if (behind || !offer(delivery.message, 0, now)) keep_waiting(delivery.message);
}

GroupMember* SharedGroup::first_from(uint32_t start, bool counted) noexcept {
  for (uint32_t i = 0; i < members.count(); ++i) {
    GroupMember* member = members[(start + i) % members.count()];
    if (member->takes(counted)) return member;
  }
  return nullptr;
}

// Somebody who has room, or nobody when nobody has.
GroupMember* SharedGroup::choose(const MessageView& message, bool counted) noexcept {
  const uint32_t count = members.count();
  GroupMember* chosen = nullptr;
  switch (strategy) {
    case SharedStrategy::RoundRobin: chosen = first_from(next % count, counted); break;
    case SharedStrategy::Random: return first_from(static_cast<uint32_t>(home->random_.below(count)), counted);
    case SharedStrategy::HashClientId:
      return first_from(static_cast<uint32_t>(hash_mix(message.publisher, home->seed_) % count), counted);
    case SharedStrategy::HashTopic:
      return first_from(static_cast<uint32_t>(hash_text(message.topic_name, home->seed_) % count), counted);
    case SharedStrategy::Sticky:
      if (sticky && sticky->takes(counted)) return sticky;
      chosen = first_from(next % count, counted);
      // While the usual one is only full, somebody else stands in for it.
      if (chosen && (!sticky || !sticky->state.connected)) sticky = chosen;
      break;
    case SharedStrategy::LeastInflight:
      for (uint32_t i = 0; i < count; ++i) {
        GroupMember* member = members[(next + i) % count];
        if (!member->takes(counted) || (chosen && chosen->open_count <= member->open_count)) continue;
        chosen = member;
        if (chosen->open_count == 0) break;
      }
      break;
  }
  if (chosen) next = chosen->index + 1;
  return chosen;
}

// number: not 0, then it stands in `open`, or there is room for it.
bool SharedGroup::offer(MovingMessage& message, uint64_t number, Instant now) noexcept {
  const bool counted = message.view().qos != Qos::AtMostOnce;
  while (GroupMember* member = choose(message.view(), counted)) {
    const Handed handed =
        home->courier_.hand_to_member(member->shard, member->membership, handle(), message, number, now, 0);
    if (handed == Handed::Open) ++member->open_count;
    if (handed == Handed::Open || handed == Handed::Finished) {
      if (number) note_handed(number, handed == Handed::Open ? SharedGroups::id_of(*member) : 0);
      return true;
    }
    set_unable(*member, handed);
  }
  return false;
}

void SharedGroup::keep_waiting(MovingMessage& moving) noexcept {
  const bool somebody_comes = durable_count || connected_count;
  const MessageRef* message =
      moving.view().qos != Qos::AtMostOnce && somebody_comes && moving.keep() ? &moving.keep() : nullptr;
  const uint64_t size = message ? (*message)->content_size() : 0;
  while (message && !waiting.empty() &&
         (waiting.count() >= home->limits_.waiting_max || waiting_bytes + size > home->limits_.waiting_bytes_max)) {
    drop_oldest();
  }
  if (message && waiting.push_back(MessageRef(*message))) {
    waiting_bytes += size;
  } else {
    home->courier_.count_dropped(moving.view());
  }
}

void SharedGroup::drop_oldest() noexcept {
  const MessageRef oldest = waiting.pop_front();
  waiting_bytes -= oldest->content_size();
  home->courier_.count_dropped(oldest->view());
}

void SharedGroup::flush(Instant now) noexcept {
  if (durable_count && !make_durable()) changed();  // it is tried again then
  while (!waiting.empty()) {
    MovingMessage moving(waiting.front());
    if (!offer(moving, 0, now)) return;
    waiting_bytes -= waiting.front()->content_size();
    waiting.pop_front();
  }
  if (reader.journal && flush_returned(now)) flush_journal(now);
}

// --- a durable group

// It stays so until its end, whoever is left.
bool SharedGroup::make_durable() noexcept {
  if (reader.journal) return true;
  if (home->fan_out_.set_durable(subscription, true) != Status::Ok) return false;
  if (!start_reading()) {
    static_cast<void>(home->fan_out_.set_durable(subscription, false));
    return false;
  }
  changed();
  return true;
}

// From the end of its journal on.
bool SharedGroup::start_reading() noexcept {
  Journal& journal = home->fan_out_.journal_of(*subscription.filter);
  if (!journal.attach(reader)) return false;
  reader.of_group = true;
  reader.group = this;
  journal.wait(reader);
  return true;
}

bool SharedGroup::has_open_of(MemberId member) noexcept {
  for (uint32_t i = 0; i < open.count(); ++i) {
    if (open[i].member == member) return true;
  }
  return false;
}

// A member has it now, or, 0, has finished it at once.
void SharedGroup::note_handed(uint64_t number, MemberId member) noexcept {
  changed();
  GroupOpen* one = find_open(number);
  if (one) {
    --returned_count;
    one->message = {};
    one->member = member;
  } else {
    one = &insert_number(open, GroupOpen{number, member, {}});  // there is room
  }
  if (!member) settle_open(*one, true);
}

// recorded: its member may have written that he took it.
void SharedGroup::settle_open(GroupOpen& one, bool recorded) noexcept {
  one.member = 0;
  one.settled = true;
  one.recorded = recorded;
  changed();
}

void SharedGroup::drop_settled(uint64_t position) noexcept {
  for (uint32_t count = open.count(); count; --count) {
    GroupOpen one = open.pop_front();
    if (!one.settled || one.number >= position)
      static_cast<void>(open.push_back(std::move(one)));  // there is room: one was taken out
  }
}

void SharedGroup::changed() noexcept {
  if (ListLink<ChangedTag>::linked()) return;
  home->changed_.push_back(*this);
  home->courier_.note_groups_changed();
}

uint64_t SharedGroup::position(uint64_t seen_number) const noexcept {
  const JournalEntry* entry = reader.journal ? reader.journal->peek(reader) : nullptr;
  return entry ? entry->number : seen_number + 1;
}

// Each of these is false when nobody has room, or a message has to be read first.

bool SharedGroup::flush_returned(Instant now) noexcept {
  for (uint32_t i = 0; returned_count && i < open.count(); ++i) {
    GroupOpen& one = open[i];
    if (one.member || one.settled) continue;
    if (!first_from(0, true)) return false;
    MessageRef message = one.message;
    switch (message ? ReadAhead::Content::Here : content(one.number, message)) {
      case ReadAhead::Content::Here: break;
      case ReadAhead::Content::Asked:
      case ReadAhead::Content::Later: return false;
      case ReadAhead::Content::Lost:
        --returned_count;
        settle_open(one, true);
        continue;
    }
    MovingMessage moving(std::move(message));
    if (offer(moving, one.number, now)) continue;
    one.message = moving.keep();
    return false;
  }
  return true;
}

bool SharedGroup::flush_journal(Instant now) noexcept {
  Journal& journal = *reader.journal;
  while (const JournalEntry* entry = journal.peek(reader)) {
    const uint64_t number = entry->number;
    if (find_open(number)) {  // it was handed out before the broker began
      journal.advance(reader);
      continue;
    }
    if (!first_from(0, true)) return false;
    MessageRef message = entry->message;
    const auto found = message ? ReadAhead::Content::Here : content(number, message);
    if (ReadAhead::pending(found)) return false;
    if (found == ReadAhead::Content::Here) {
      if (!open.make_room()) {
        changed();  // it goes on then
        return false;
      }
      MovingMessage moving(std::move(message));
      if (!offer(moving, number, now)) return false;
    }
    journal.advance(reader);
    changed();
  }
  journal.wait(reader);
  return true;
}

// The message of this number, which is the next to be handed out.
ReadAhead::Content SharedGroup::content(uint64_t number, MessageRef& message) noexcept {
  const auto found = ahead.find(reader, number, message, [this](std::span<const uint64_t> numbers) {
    return home->courier_.fetch_for_group(handle(), numbers);
  });
  if (found == ReadAhead::Content::Later) changed();
  if (found == ReadAhead::Content::Lost) home->courier_.count_lost();
  return found;
}

void SharedGroups::on_journal(GroupReader& reader) noexcept {
  Group& group = *reader.group;
  if (!group.ListLink<ReadyTag>::linked()) ready_.push_back(group);
}

void SharedGroups::note_changed(GroupReader& reader) noexcept { reader.group->changed(); }

void SharedGroups::run(Instant now) noexcept {
  while (Group* group = ready_.pop_front()) group->flush(now);
}

void SharedGroups::on_fetched(SlabHandle of, Ring<FetchedMessage>& messages, Instant now) noexcept {
  Group* group = group_slab_.find(of);
  if (!group) return messages.reset();
  if (group->ahead.take(messages)) {
    group->flush(now);
  } else {
    group->changed();  // some time later again
  }
}

uint64_t SharedGroups::lowest_number(uint64_t seen_number) noexcept {
  uint64_t lowest = UINT64_MAX;
  groups_.for_each([&](Group& group) {
    if (!group.reader.journal) return;
    lowest = std::min(lowest, group.position(seen_number));
    if (!group.open.empty()) lowest = std::min(lowest, group.open.front().number);  // settled ones until it is recorded
  });
  return lowest;
}

uint32_t SharedGroups::drop_old(uint64_t number) noexcept {
  uint32_t dropped = 0;
  groups_.for_each([&](Group& group) {
    if (!group.reader.journal) return;
    uint32_t count = group.reader.journal->move_over(group.reader, number);
    for (uint32_t i = 0; i < group.open.count() && group.open[i].number <= number; ++i) {
      GroupOpen& one = group.open[i];
      if (one.member || one.settled) continue;
      one.message = {};
      --group.returned_count;
      group.settle_open(one, true);
      ++count;
    }
    if (count) group.changed();
    dropped += count;
  });
  return dropped;
}

void SharedGroups::add_needed(NeededNumbers& needed, uint32_t pass) noexcept {
  groups_.for_each([&](Group& group) {
    if (!group.reader.journal) return;
    needed.add_journal(*group.reader.journal, pass);
    for (uint32_t i = 0; i < group.open.count(); ++i) {
      if (group.open[i].number <= needed.up_to) needed.add(group.open[i].number);
    }
  });
}

// --- how it comes back

SharedGroup* SharedGroups::find(NamespaceId namespace_id, std::string_view text) noexcept {
  return groups_.find(key(namespace_id, text),
                      [&](const Group& one) { return one.namespace_id() == namespace_id && one.text() == text; });
}

void SharedGroups::restore_begin(Group& group) noexcept { group.reader.journal->detach(group.reader); }

bool SharedGroups::restore_open(Group& group, GroupOpen&& open) noexcept {
  if (!open.settled && !open.member) ++group.returned_count;
  if (Member* member = find_member(open.member)) ++member->open_count;
  return group.open.push_back(std::move(open));
}

bool SharedGroups::restore_reader(Group& group) noexcept { return group.start_reading(); }

}  // namespace mqttq
