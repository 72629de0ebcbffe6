#include "session/group_memberships.h"

#include <algorithm>

#include "queue/queue_address.h"
#include "session/shard_core.h"
#include "stream/stream_address.h"

namespace mqttq {

GroupMemberships::~GroupMemberships() {
  for (uint32_t i = 0; i < slab_.index_end(); ++i) {
    if (GroupMembership* left = slab_.at(i)) slab_.give_back(*left);
  }
}

MemberState GroupMembership::state() const noexcept {
  MemberState state = session->group_state();
  state.durable = state.durable && qos != Qos::AtMostOnce && !of_object();
  if (of_object()) {
    state.connected = state.connected && accepted;
    state.acknowledges = qos != Qos::AtMostOnce;
    state.priority = priority;
  }
  return state;
}

GroupMembership* GroupMemberships::make(Session& session, std::string_view text) noexcept {
  GroupMembership* made = slab_.take(session);
  if (!made) return nullptr;
  made->text_ = static_cast<char*>(allocate(text.size()));
  if (!made->text_) {
    slab_.give_back(*made);
    return nullptr;
  }
  std::memcpy(made->text_, text.data(), text.size());
  made->text_size_ = static_cast<uint16_t>(text.size());
  made->of_queue = parse_queue_address(text).kind == QueueAddress::Kind::Queue;
  if (parse_stream_address(text).kind != StreamAddress::Kind::Stream) return made;
  made->reading = create<GroupMembership::Reading>();
  if (made->reading) return made;
  slab_.give_back(*made);
  return nullptr;
}

GroupJoin* make_join(NamespaceId namespace_id, std::string_view text) noexcept {
  const QueueAddress queue = parse_queue_address(text);
  const StreamAddress stream = parse_stream_address(text);
  GroupJoin* join = nullptr;
  if (queue.kind == QueueAddress::Kind::Queue) {
    join = GroupJoin::create_for(namespace_id, queue.name, queue.topic_filter);
    if (join) join->kind = GroupJoin::Kind::Queue;
  } else if (stream.kind == StreamAddress::Kind::Stream) {
    join = GroupJoin::create_for(namespace_id, {}, stream.topic_filter);
    if (join && !stream_name(stream, join->name)) destroy(std::exchange(join, nullptr));
    if (join) join->kind = GroupJoin::Kind::Stream;
  } else {
    join = GroupJoin::create_for(namespace_id, text);
  }
  return join;
}

GroupMembership* GroupMemberships::restore(Session& session, std::string_view text, uint32_t home) noexcept {
  GroupMembership* made = make(session, text);
  if (!made) return nullptr;
  made->home_ = static_cast<uint8_t>(home);
  made->accepted = true;
  return made;
}

GroupMembership* GroupMemberships::join(Session& session, std::string_view text, const Subscription& options,
                                        bool declare, const StreamTerms& terms) noexcept {
  GroupMembership* made = make(session, text);
  if (!made) return nullptr;
  made->set_options(options);
  std::unique_ptr<GroupJoin, Destroy> join(make_join(session.namespace_id(), text));
  if (!join) {
    slab_.give_back(*made);
    return nullptr;
  }
  join->declare = declare;
  if (made->reading) {
    join->offset = made->reading->offset = terms.offset;
    join->shared = made->reading->shared = terms.shared;
    join->seeks = terms.seeks;
    static_cast<void>(join->client_id.set(session.client_id()));  // for lists alone
    if (!join->cursor.set(terms.cursor) || !made->reading->cursor.set(terms.cursor)) {
      slab_.give_back(*made);
      return nullptr;
    }
  }
  const std::string_view name = join->name.view();
  made->home_ = static_cast<uint8_t>(shard_.group_home_of(session.namespace_id(), name));
  if (made->home_ == shard_.index() && !(made->reading && shard_.awaits_committer())) {
    on_joined(handle(*made), shard_.join_here(*join, shard_.index(), handle(*made), made->state()));
    if (made->joined()) note_state(*made);  // which brings what waits, after SUBACK
    return made;
  }
  Mail mail;
  mail.kind = Mail::Kind::GroupJoin;
  mail.session = handle(*made);
  mail.token = made->state().pack();
  mail.payload.reset(join.release());
  if (shard_.postman().post_surely(made->home_, std::move(mail))) return made;
  slab_.give_back(*made);
  return nullptr;
}

void GroupMemberships::leave(GroupMembership& membership) noexcept {
  membership.session = nullptr;
  if (membership.refused()) {
    slab_.give_back(membership);
  } else {
    list(membership);
  }
}

void GroupMemberships::list(GroupMembership& membership) noexcept {
  // What is not known to its home yet is told when that has answered.
  if (membership.listed_ || membership.phase_ == GroupMembership::Phase::Asking) return;
  membership.listed_ = news_.push_back(handle(membership));
  if (!membership.listed_) look_for_news_ = true;
}

void GroupMemberships::note_state(GroupMembership& membership) noexcept {
  membership.state_changed_ = true;
  list(membership);
}

void GroupMemberships::note_done(SlabHandle of, uint64_t number, uint64_t marks) noexcept {
  GroupMembership* membership = slab_.find(of);
  if (!membership) return;
  if (membership->has_place()) {
    --membership->numbered_count_;
    ++membership->done_count_;
  } else if (number) {
    --membership->numbered_count_;
    static_cast<void>(membership->done_.push_back(number | marks));  // there is room
  } else {
    ++membership->done_count_;
  }
  list(*membership);
}

void GroupMemberships::note_finished(SlabHandle of, uint64_t number, uint64_t marks) noexcept {
  GroupMembership* membership = slab_.find(of);
  if (!membership) return;
  if (number) membership->note_taken();
  note_done(of, number, marks);
}

void GroupMemberships::on_joined(SlabHandle of, GroupJoined joined) noexcept {
  GroupMembership* membership = slab_.find(of);
  if (!membership) return;
  membership->member_ = joined.member;
  membership->refusal = joined.why;
  membership->phase_ = joined.member ? GroupMembership::Phase::Member : GroupMembership::Phase::Refused;
  if (membership->of_object() && joined.member && !membership->topic_filter.set(joined.topic_filter)) {
    membership->refusal = Detail::NoMemory;  // it has not been judged by it
  }
  if (membership->reading) {
    joined.place.epoch = membership->reading->place.epoch;
    membership->reading->place = joined.place;
    // It was judged when the stream was declared; without memory messages come without theirs.
    static_cast<void>(MessageKey::parse(joined.key, membership->reading->key));
  }
  if (membership->session) {
    membership->session->on_group_answer();
    if (membership->has_news()) list(*membership);
  } else if (joined.member) {  // it has left before it was known
    list(*membership);
  } else {
    slab_.give_back(*membership);
  }
}

void GroupMemberships::note_read(GroupMembership& membership) noexcept {
  ++membership.done_count_;
  list(membership);
}

void GroupMemberships::give_back(GroupMembership& membership, const MessageRef& message, uint64_t number, bool open,
                                 Handed why, Instant now) noexcept {
  if (open && number) --membership.numbered_count_;
  if (membership.gives_back()) {
    membership.note_returned();
    list(membership);
  }
  Mail mail;
  mail.kind = Mail::Kind::GroupReturn;
  mail.session = handle_of(membership.member_);
  mail.number = number;
  mail.message = message;
  mail.token = static_cast<uint32_t>(why);
  if (post(membership, std::move(mail), now)) return;
  if (message) shard_.dropped(&Counters::dropped_no_memory, membership.session, message->view());
  if (!number) note_done(handle(membership), 0, 0);
}

bool GroupMemberships::post(const GroupMembership& membership, Mail&& mail, Instant now) noexcept {
  mail.from = static_cast<uint8_t>(shard_.index());
  if (membership.home_ != shard_.index()) return shard_.postman().post_surely(membership.home_, std::move(mail));
  return shard_.handle_mail(mail, now);
}

bool GroupMemberships::post(GroupMembership& membership, Mail::Kind kind, uint32_t token, Instant now) noexcept {
  Mail mail;
  mail.kind = kind;
  mail.number = membership.member_;
  mail.token = token;
  return post(membership, std::move(mail), now);
}

bool GroupMemberships::tell_done(GroupMembership& membership, Instant now) noexcept {
  if (!membership.done_count_ && membership.done_.empty()) return true;
  Mail mail;
  mail.kind = Mail::Kind::GroupDone;
  mail.number = membership.member_;
  mail.token = membership.done_count_;
  if (!membership.done_.empty()) {
    std::unique_ptr<GroupNumbers, Destroy> numbers(create<GroupNumbers>());
    if (!numbers || !numbers->numbers.append(membership.done_.span())) return false;
    mail.payload.reset(numbers.release());
  }
  if (!post(membership, std::move(mail), now)) return false;
  membership.done_count_ = 0;
  membership.done_.clear();
  return true;
}

bool GroupMemberships::tell_returned(GroupMembership& membership, Instant now) noexcept {
  if (membership.returning_ != GroupMembership::Returning::Untold) return true;
  Mail mail;
  mail.kind = Mail::Kind::GroupSync;
  mail.session = handle(membership);
  mail.number = membership.member_;
  if (!post(membership, std::move(mail), now)) return false;
  membership.returning_ = GroupMembership::Returning::Asked;
  return true;
}

void GroupMemberships::on_synced(SlabHandle of) noexcept {
  GroupMembership* membership = slab_.find(of);
  if (!membership) return;
  membership->returning_ = GroupMembership::Returning::No;
  if (!membership->was_full) membership->state_changed_ = true;  // else it is told when there is room
  list(*membership);
}

bool GroupMemberships::tell_one(GroupMembership& membership, Instant now) noexcept {
  if (!tell_done(membership, now)) return false;
  if (!membership.session) {
    if (!post(membership, Mail::Kind::GroupLeave, 0, now)) return false;
    slab_.give_back(membership);
    return true;
  }
  if (membership.returning_ == GroupMembership::Returning::Untold && membership.home_ == shard_.index()) {
    membership.returning_ = GroupMembership::Returning::No;  // it has heard of it by now
    membership.state_changed_ = true;
  }
  return tell_state(membership, now) && tell_returned(membership, now);
}

// Until the queue has answered that it knows what came back, it hears no more than that the consumer has gone.
bool GroupMemberships::tell_state(GroupMembership& membership, Instant now) noexcept {
  if (!membership.state_changed_) return true;
  const uint32_t state = membership.state().pack();
  if (membership.returns() && MemberState::unpack(state).connected) return true;
  Mail mail;
  mail.kind = Mail::Kind::GroupState;
  mail.number = membership.member_;
  mail.token = state;
  if (membership.has_place()) {  // what is on its way to it comes again
    StreamPlace& place = membership.reading->place;
    ++place.epoch;
    place.open = membership.numbered_count_;
    mail.payload.reset(create<StreamReaderState>(place));
    if (!mail.payload) return false;
  }
  membership.was_full = false;
  membership.state_changed_ = !post(membership, std::move(mail), now);
  return !membership.state_changed_;
}

// Before who has merely acknowledged something, and would take the room for the next. Without memory they are told in
// another order.
void GroupMemberships::tell_of_room(Instant now) noexcept {
  found_full_.clear();
  for (const SlabHandle one : news_) {
    GroupMembership* membership = slab_.find(one);
    const bool waits = membership && membership->session && membership->was_full && membership->state_changed_;
    if (waits && !found_full_.push_back(membership)) return;
  }
  std::sort(found_full_.begin(), found_full_.end(),
            [](const GroupMembership* one, const GroupMembership* other) { return one->served_ < other->served_; });
  for (GroupMembership* one : found_full_)
    static_cast<void>(tell_done(*one, now) && tell_state(*one, now));  // or later
}

bool GroupMemberships::tell(Instant now) noexcept {
  if (std::exchange(look_for_news_, false)) {
    for (uint32_t i = 0; i < slab_.index_end(); ++i) {
      GroupMembership* one = slab_.at(i);
      if (one && !one->listed_ && (!one->session || one->has_news())) list(*one);
    }
  }
  if (news_.count() > 1) tell_of_room(now);
  for (uint32_t i = 0; i < news_.count(); ++i) {  // which may grow meanwhile
    GroupMembership* membership = slab_.find(news_[i]);
    if (!membership) continue;
    membership->listed_ = false;
    if (tell_one(*membership, now)) continue;
    membership->listed_ = true;
    news_.remove_front(i);
    return false;
  }
  news_.clear();
  return true;
}

}  // namespace mqttq
