#include "router/shared_group.h"

#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"

namespace mqttq {

SharedGroups::~SharedGroups() {
  groups_.for_each([this](Group& group) { end(group); });
}

uint64_t SharedGroups::key(NamespaceId namespace_id, std::string_view text) const noexcept {
  return hash_text(text, hash_mix(seed_, namespace_id));
}

SharedGroups::Group* SharedGroups::find(NamespaceId namespace_id, std::string_view text) noexcept {
  return groups_.find(key(namespace_id, text),
                      [&](const Group& group) { return group.namespace_id == namespace_id && group.text() == text; });
}

void SharedGroups::end(Group& group) noexcept {
  groups_.remove(group);
  fan_out_.remove(group.subscription);
  for (uint32_t i = 0; i < group.waiting.count(); ++i) courier_.count_dropped();
  destroy(&group);
}

Status SharedGroups::join(const GroupChange& change, uint32_t shard, SlabHandle session, Instant now,
                          uint32_t& token) noexcept {
  const std::string_view text = change.shared_filter();
  Group* group = find(change.namespace_id, text);
  if (!group) {
    void* block = allocate(sizeof(Group) + text.size());
    if (!block) return Status::NoMemory;
    group = new (block) Group();
    group->home = this;
    group->namespace_id = change.namespace_id;
    group->token = next_token_++;
    group->text_size = static_cast<uint16_t>(text.size());
    std::memcpy(static_cast<void*>(group + 1), text.data(), text.size());
    group->subscription.sink = group;
    group->subscription.qos = Qos::ExactlyOnce;  // each member's own counts
    group->subscription.retain_as_published = true;
    const std::string_view filter = parse_shared_filter(group->text()).topic_filter;
    if (const Status status = fan_out_.add(group->subscription, change.namespace_id, filter); status != Status::Ok) {
      destroy(group);
      return status;
    }
    groups_.insert(*group, key(change.namespace_id, text));
  }
  const Member member{session, change.identifier, static_cast<uint8_t>(shard), change.qos, change.retain_as_published,
                      true,    change.durable};
  if (Member* known = group->find(shard, session)) {
    *known = member;
  } else if (!group->members.push_back(member)) {
    if (group->members.empty()) end(*group);
    return Status::NoMemory;
  }
  token = group->token;
  group->flush(now);
  return Status::Ok;
}

void SharedGroups::leave(const GroupChange& change, uint32_t shard, SlabHandle session) noexcept {
  Group* group = find(change.namespace_id, change.shared_filter());
  Member* member = group ? group->find(shard, session) : nullptr;
  if (!member) return;
  group->members.remove_unordered(static_cast<uint32_t>(member - group->members.begin()));
  if (group->members.empty()) end(*group);
}

void SharedGroups::set_connected(const GroupChange& change, uint32_t shard, SlabHandle session, bool connected,
                                 Instant now) noexcept {
  Group* group = find(change.namespace_id, change.shared_filter());
  Member* member = group ? group->find(shard, session) : nullptr;
  if (!member) return;
  member->connected = connected;
  if (connected) group->flush(now);
}

void SharedGroups::give_back(uint32_t token, const MessageRef& message, uint32_t shard, SlabHandle session,
                             Instant now) noexcept {
  Group* group = nullptr;
  groups_.for_each([&](Group& candidate) {
    if (candidate.token == token) group = &candidate;
  });
  if (!group) {
    courier_.count_dropped();
    return;
  }
  // It is not asked again until it says that it is connected.
  if (Member* member = group->find(shard, session)) member->connected = false;
  if (!group->offer(message, message->qos(), now)) group->keep_waiting(message);
}

SharedGroups::Member* SharedGroups::Group::find(uint32_t shard, SlabHandle session) noexcept {
  for (Member& member : members) {
    if (member.shard == shard && member.session == session) return &member;
  }
  return nullptr;
}

void SharedGroups::Group::deliver(const Delivery& delivery, Instant now) noexcept {
  const MessageRef& message = delivery.message.keep();
  if (!message) {
    home->courier_.count_dropped();
    return;
  }
  // What waits goes first.
  if (!waiting.empty() && delivery.qos != Qos::AtMostOnce) {
    keep_waiting(message);
  } else if (!offer(message, delivery.qos, now)) {
    keep_waiting(message);
  }
}

bool SharedGroups::Group::offer(const MessageRef& message, Qos qos, Instant now) noexcept {
  for (uint32_t tried = 0; tried < members.count(); ++tried) {
    const Member& member = members[next++ % members.count()];
    if (!member.connected) continue;
    if (home->courier_.hand_to_member(member.shard, member.session, message, std::min(qos, member.qos),
                                      message->view().retain && member.retain_as_published, member.identifier, token,
                                      now)) {
      return true;
    }
  }
  return false;
}

void SharedGroups::Group::keep_waiting(const MessageRef& message) noexcept {
  const bool somebody_returns = std::any_of(members.begin(), members.end(),
                                            [](const Member& member) { return member.durable || member.connected; });
  if (message->qos() == Qos::AtMostOnce || !somebody_returns) {
    home->courier_.count_dropped();
    return;
  }
  if (waiting.count() >= home->waiting_max_) {
    waiting.pop_front();
    home->courier_.count_dropped();
  }
  if (!waiting.push_back(MessageRef(message))) home->courier_.count_dropped();
}

void SharedGroups::Group::flush(Instant now) noexcept {
  while (!waiting.empty() && offer(waiting.front(), waiting.front()->qos(), now)) waiting.pop_front();
}

}  // namespace mqttq
