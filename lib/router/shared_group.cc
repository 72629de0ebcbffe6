#include "router/shared_group.h"

#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"

namespace mqttq {

SharedGroups::~SharedGroups() {
  groups_.for_each([this](Group& group) {
    for (Member* member : group.members) members_.give_back(*member);
    end(group);
  });
}

// --- members

MemberId SharedGroups::id_of(const Member& member) noexcept {
  const SlabHandle handle = Slab<Member>::handle(member);
  return uint64_t{handle.index} << 32 | handle.generation;
}

SharedGroups::Member* SharedGroups::find_member(MemberId id) noexcept {
  return members_.find({static_cast<uint32_t>(id >> 32), static_cast<uint32_t>(id)});
}

uint64_t SharedGroups::key(NamespaceId namespace_id, std::string_view text) const noexcept {
  return hash_text(text, hash_mix(seed_, namespace_id));
}

SharedGroups::Group* SharedGroups::find_or_make(NamespaceId namespace_id, std::string_view text) noexcept {
  const uint64_t hash = key(namespace_id, text);
  Group* group =
      groups_.find(hash, [&](const Group& one) { return one.namespace_id() == namespace_id && one.text() == text; });
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
  group->subscription.qos = Qos::ExactlyOnce;  // each member's own counts
  group->subscription.retain_as_published = true;
  if (fan_out_.add(group->subscription, namespace_id, shared.topic_filter) != Status::Ok) {
    group_slab_.give_back(*group);
    return nullptr;
  }
  groups_.insert(*group, hash);
  return group;
}

void SharedGroups::end(Group& group) noexcept {
  groups_.remove(group);
  fan_out_.remove(group.subscription);
  while (!group.waiting.empty()) group.drop_oldest();
  group_slab_.give_back(group);
}

MemberId SharedGroups::join(const GroupJoin& join, uint32_t shard, SlabHandle membership, MemberState state) noexcept {
  Group* group = find_or_make(join.namespace_id, join.shared_filter());
  if (!group) return 0;
  Member* member = group->members.make_room() ? members_.take() : nullptr;
  if (!member) {
    if (group->members.empty()) end(*group);
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
  members_.give_back(*member);
  if (group.members.empty()) {
    end(group);
  } else {
    group.flush(now);
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

void SharedGroups::done(MemberId id, uint32_t count, Instant now) noexcept {
  Member* member = find_member(id);
  if (!member) return;
  member->open_count -= std::min(count, member->open_count);
  member->group->flush(now);
}

void SharedGroups::give_back(MemberId id, SlabHandle of, const MessageRef& message, Handed why, Instant now) noexcept {
  Member* member = find_member(id);
  Group* group = member ? member->group : group_slab_.find(of);
  if (!group) {
    courier_.count_dropped(message->view());
    return;
  }
  if (member) {
    if (message->qos() != Qos::AtMostOnce && member->open_count) --member->open_count;
    group->set_unable(*member, why);
  }
  MovingMessage moving(message);
  if (!group->offer(moving, now)) group->keep_waiting(moving);
}

// --- one group

void SharedGroups::Group::set_state(Member& member, MemberState state) noexcept {
  durable_count += state.durable;
  durable_count -= member.state.durable;
  connected_count += state.connected;
  connected_count -= member.state.connected;
  member.state = state;
}

// It is not chosen again until it says that it may be.
void SharedGroups::Group::set_unable(Member& member, Handed why) noexcept {
  MemberState state = member.state;
  if (why == Handed::Full) member.full = true;
  if (why == Handed::Away) state.connected = false;
  set_state(member, state);
}

// What a member holds that is away is of use to the others now. One that stays alone finishes it when it is back.
void SharedGroups::Group::recall_from_absent(Instant now) noexcept {
  if (connected_count == 0 || connected_count == members.count()) return;
  for (Member* member : members) {
    if (!member->state.connected && member->open_count) {
      home->courier_.recall(member->shard, member->membership, now);
    }
  }
}

void SharedGroups::Group::deliver(const Delivery& delivery, Instant now) noexcept {
  // What waits goes first.
  const bool behind = !waiting.empty() && delivery.qos != Qos::AtMostOnce;
  if (behind || !offer(delivery.message, now)) keep_waiting(delivery.message);
}

SharedGroups::Member* SharedGroups::Group::first_from(uint32_t start, bool counted) noexcept {
  for (uint32_t i = 0; i < members.count(); ++i) {
    Member* member = members[(start + i) % members.count()];
    if (member->takes(counted)) return member;
  }
  return nullptr;
}

// Somebody who has room, or nobody when nobody has.
SharedGroups::Member* SharedGroups::Group::choose(const MessageView& message, bool counted) noexcept {
  const uint32_t count = members.count();
  Member* chosen = nullptr;
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
        Member* member = members[(next + i) % count];
        if (!member->takes(counted) || (chosen && chosen->open_count <= member->open_count)) continue;
        chosen = member;
        if (chosen->open_count == 0) break;
      }
      break;
  }
  if (chosen) next = chosen->index + 1;
  return chosen;
}

bool SharedGroups::Group::offer(MovingMessage& message, Instant now) noexcept {
  const bool counted = message.view().qos != Qos::AtMostOnce;
  const SlabHandle own = Slab<Group>::handle(*this);
  while (Member* member = choose(message.view(), counted)) {
    const Handed handed = home->courier_.hand_to_member(member->shard, member->membership, own, message, now);
    if (handed == Handed::Open) ++member->open_count;
    if (handed == Handed::Open || handed == Handed::Finished) return true;
    set_unable(*member, handed);
  }
  return false;
}

void SharedGroups::Group::keep_waiting(MovingMessage& moving) noexcept {
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

void SharedGroups::Group::drop_oldest() noexcept {
  const MessageRef oldest = waiting.pop_front();
  waiting_bytes -= oldest->content_size();
  home->courier_.count_dropped(oldest->view());
}

void SharedGroups::Group::flush(Instant now) noexcept {
  while (!waiting.empty()) {
    MovingMessage moving(waiting.front());
    if (!offer(moving, now)) return;
    waiting_bytes -= waiting.front()->content_size();
    waiting.pop_front();
  }
}

}  // namespace mqttq
