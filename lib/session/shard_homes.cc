// ShardCore: what it asks of the homes of retained messages and shared groups, and does as one.
#include "message/topic.h"
#include "session/shard_core.h"
#include "store/stored_message.h"
#include "stream/stream_message.h"

namespace mqttq {

// --- retained messages

void ShardCore::query_retained(RetainedFlow& flow) noexcept {
  const NamespaceId namespace_id = flow.session.namespace_id();
  const std::string_view topic_filter = flow.topic_filter();
  const bool exact = !has_wildcard(topic_filter);
  const uint32_t first = exact ? retained_home_of(namespace_id, topic_filter) : 0;
  const uint32_t end = exact ? first + 1 : world_.router.shard_count();
  for (uint32_t shard = first; shard < end; ++shard) {
    std::unique_ptr<RetainedQuery, Destroy> query(create<RetainedQuery>());
    if (query) query->topic_filter = static_cast<char*>(allocate(topic_filter.size()));
    Mail mail;
    if (query && query->topic_filter) {
      std::memcpy(query->topic_filter, topic_filter.data(), topic_filter.size());
      query->topic_filter_size = static_cast<uint16_t>(topic_filter.size());
      query->namespace_id = namespace_id;
      mail.kind = Mail::Kind::RetainQuery;
      mail.session = Slab<RetainedFlow>::handle(flow);
      mail.payload.reset(query.release());
    }
    mail.from = static_cast<uint8_t>(index_);
    const bool asked = mail.kind != Mail::Kind::None &&
                       (shard == index_ ? put_query_aside(mail) : postman_.post_surely(shard, std::move(mail)));
    if (asked) {
      ++flow.shards_open;
    } else {
      counters_.dropped_no_memory.add();
    }
  }
}

bool ShardCore::answer_retained_query(const WaitingQuery& waiting, Instant now) noexcept {
  const auto& query = static_cast<const RetainedQuery&>(*waiting.payload);
  if (waiting.asked_by == index_ && !flows_.find(waiting.flow)) return true;  // nobody waits for it any more
  std::unique_ptr<RetainedBatch, Destroy> batch(create<RetainedBatch>());
  if (!batch || !retained_.collect(query.namespace_id, query.text(), now, batch->messages)) return false;
  if (waiting.asked_by == index_) {
    RetainedFlow& flow = *flows_.find(waiting.flow);
    flow.session.on_retained(flow, batch->messages);
    return true;
  }
  Mail answer;
  answer.kind = Mail::Kind::RetainFound;
  answer.session = waiting.flow;
  answer.payload.reset(batch.release());
  return postman_.post_surely(waiting.asked_by, std::move(answer));
}

// --- shared groups, queues and streams

uint32_t ShardCore::group_home_of(NamespaceId namespace_id, std::string_view name) const noexcept {
  return home_of(namespace_id, name);
}

GroupJoined ShardCore::join_here(const GroupJoin& join, uint32_t shard, SlabHandle membership,
                                 MemberState state) noexcept {
  switch (join.kind) {
    case GroupJoin::Kind::Queue: return join_queue(join, shard, membership, state);
    case GroupJoin::Kind::Stream: return join_stream(join, shard, membership);
    case GroupJoin::Kind::Group: break;
  }
  const MemberId member = groups_.join(join, shard, membership, state);
  return {member, member ? Detail::None : Detail::NoMemory, {}};
}

GroupJoined ShardCore::join_queue(const GroupJoin& join, uint32_t shard, SlabHandle membership,
                                  MemberState state) noexcept {
  Queue* queue = queues_.find(join.namespace_id, join.name.view());
  const bool declares = !queue;
  if (!queue) {
    if (!join.declare) return {0, Detail::QueueUnknown, {}};
    if (const Reason refusal = state_.refusal(); !refusal.ok()) return {0, refusal.detail, {}};
    const QueueIdentity identity{join.namespace_id, join.name.view(), join.topic_filter.view(), 0};
    const Status declared = declare_queue(identity, policy().queues.auto_options, {}, queue);
    if (declared != Status::Ok) return {0, declared == Status::Full ? Detail::QueuesFull : Detail::NoMemory, {}};
  }
  if (!join.topic_filter.empty() && join.topic_filter.view() != queue->topic_filter()) {
    return {0, Detail::QueueFilter, {}};
  }
  const MemberId member = queues_.join(*queue, shard, membership, state);
  return {member, member ? Detail::None : Detail::NoMemory, queue->topic_filter(), declares};
}

GroupJoined ShardCore::join_stream(const GroupJoin& join, uint32_t shard, SlabHandle membership) noexcept {
  Stream* stream = streams_.find(join.namespace_id, join.name.view());
  const bool declares = !stream;
  if (!stream) {
    if (!join.declare) return {0, Detail::StreamUnknown, {}};
    if (const Reason refusal = state_.refusal(); !refusal.ok()) return {0, refusal.detail, {}};
    const StreamIdentity identity{join.namespace_id, join.name.view(), join.topic_filter.view(), 0, {}};
    const Status declared = declare_stream(identity, policy().streams.auto_options, stream);
    if (declared != Status::Ok) return {0, declared == Status::Full ? Detail::StreamsFull : Detail::NoMemory, {}};
  }
  const std::string_view wanted = join.topic_filter.view();
  if (!wanted.empty() && !filter_covers(stream->topic_filter(), wanted)) return {0, Detail::StreamFilter, {}};
  if (!join.cursor.empty()) return join_cursor(*stream, join, shard, membership, declares);
  const MemberId member = streams_.join(*stream, shard, membership, join.client_id.view(), wanted);
  GroupJoined joined{member, member ? Detail::None : Detail::NoMemory, stream->topic_filter(), declares};
  joined.key = stream->key.expression();
  joined.place = join.resumes ? join.place : Streams::resolve(*stream, join.offset, now_);
  return joined;
}

GroupJoined ShardCore::join_cursor(Stream& stream, const GroupJoin& join, uint32_t shard, SlabHandle membership,
                                   bool declares) noexcept {
  const std::string_view wanted = join.topic_filter.view();
  if (!wanted.empty() && wanted != stream.topic_filter()) return {0, Detail::StreamCursorFilter, {}};
  StreamCursor* cursor = nullptr;
  switch (cursors_.open(stream, join.cursor.view(), join.shared, join.offset, join.seeks, now_, cursor)) {
    case Status::Ok: break;
    case Status::Exists: return {0, Detail::StreamCursorTaken, {}};
    case Status::Full: return {0, Detail::StreamCursorsFull, {}};
    default: return {0, Detail::NoMemory, {}};
  }
  const MemberId member = cursors_.join(*cursor, shard, membership);
  GroupJoined joined{member, member ? Detail::None : Detail::NoMemory, stream.topic_filter(), declares};
  joined.key = stream.key.expression();
  return joined;
}

Status ShardCore::declare_stream(StreamIdentity identity, const StreamOptions& options, Stream*& stream) noexcept {
  stream = streams_.find(identity.namespace_id, identity.name);
  if (stream) return Status::Exists;
  std::atomic<uint32_t>& count = world_.population.streams;
  if (count.fetch_add(1, std::memory_order_relaxed) >= policy().streams.count_max) {
    count.fetch_sub(1, std::memory_order_relaxed);
    return Status::Full;
  }
  identity.id = state_.next_id();
  const Status status = streams_.declare(identity, options, stream);
  if (status != Status::Ok) count.fetch_sub(1, std::memory_order_relaxed);
  return status;
}

Status ShardCore::declare_queue(QueueIdentity identity, const QueueOptions& options, std::string_view dead_letter_topic,
                                Queue*& queue) noexcept {
  queue = queues_.find(identity.namespace_id, identity.name);
  if (queue) return Status::Exists;
  std::atomic<uint32_t>& count = world_.population.queues;
  if (count.fetch_add(1, std::memory_order_relaxed) >= policy().queues.count_max) {
    count.fetch_sub(1, std::memory_order_relaxed);
    return Status::Full;
  }
  identity.id = state_.next_id();
  const Status status = queues_.declare(identity, options, dead_letter_topic, queue);
  if (status == Status::Ok) {
    record_place(*queue, queue->position(state_.seen_number()));
  } else {
    count.fetch_sub(1, std::memory_order_relaxed);
  }
  return status;
}

// Who begins at the end of a stream begins behind all that was acknowledged when he asked.
bool ShardCore::waits_for_committer(GroupJoin& join) noexcept {
  if (join.kind != GroupJoin::Kind::Stream) return false;
  const Mailbox<Mail>& box = world_.office.box(world_.office.committer(), index_);
  if (!join.behind) join.behind = box.pushed() + 1;
  return box.popped() + 1 < join.behind;
}

bool ShardCore::answer_group_join(Mail& mail, Instant now) noexcept {
  const MemberState state = MemberState::unpack(mail.token);
  auto& join = static_cast<GroupJoin&>(*mail.payload);
  if (waits_for_committer(join)) return false;
  const GroupJoined joined = join_here(join, mail.from, mail.session, state);
  Mail answer;
  answer.kind = Mail::Kind::GroupJoined;
  answer.session = mail.session;
  answer.number = joined.member;
  answer.token = static_cast<uint32_t>(joined.why);
  const bool complete = (joined.topic_filter.empty() || join.topic_filter.set(joined.topic_filter)) &&
                        (joined.key.empty() || join.key.set(joined.key));
  const bool of_group = join.kind == GroupJoin::Kind::Group;
  join.place = joined.place;
  if (complete && !of_group) answer.payload = std::move(mail.payload);
  if (complete && joined.declared && state_.on() && !state_.all_durable() && late_joins_.make_room()) {
    static_cast<void>(late_joins_.push_back({state_.serial(), mail.from, std::move(answer)}));  // there is room
    return true;
  }
  if (!complete || !postman_.post_surely(mail.from, std::move(answer))) {
    if (!mail.payload) mail.payload = std::move(answer.payload);
    leave_here(joined.member, now);  // it joins again when the mail is read again
    return false;
  }
  // What waits comes behind the answer; a queue's or stream's, when its subscriber has been told.
  if (of_group) groups_.set_state(joined.member, state, now);
  return true;
}

// Nobody is told of a queue that a crash would take away again.
void ShardCore::answer_late_joins() noexcept {
  while (!late_joins_.empty() && state_.durable(late_joins_.front().serial)) {
    LateJoin& first = late_joins_.front();
    if (!postman_.post_surely(first.to, std::move(first.answer))) return;  // at the next record
    late_joins_.pop_front();
  }
}

bool ShardCore::publish_dead_letter(const MessageRef& message, SlabHandle queue, uint64_t number,
                                    Instant now) noexcept {
  return send_letter({queue, number, {}}, message, PublishOrigin::kLetter, {}, now);
}

bool ShardCore::move_to_queue(Queue& from, uint64_t number, const MessageRef& copy, const RouteRef& to,
                              const LetterWait& wait, Instant now) noexcept {
  if (!queues_.begin_move(from, number)) return false;
  if (send_letter({from.handle(), number, wait}, copy, PublishOrigin::kMoved, to, now)) return true;
  queues_.on_letter(from.handle(), number, false);
  return false;
}

bool ShardCore::import_into(Stream& stream, const MessageRef& message, const LetterWait& wait, Instant now) noexcept {
  const RouteRef route = router().route_to_queue(*stream.filter, index_);
  return route && send_letter({{}, 0, wait}, message, PublishOrigin::kImported, route, now);
}

// to: nothing where its topic says it. False: it is not sent, and nobody is told.
bool ShardCore::send_letter(const Letter& sent, const MessageRef& message, uint32_t serial, const RouteRef& to,
                            Instant now) noexcept {
  if (world_.population.ending || !state_.refusal().ok()) return false;
  Letter* letter = letters_.take(sent);
  if (!letter) return false;
  PublishOperation operation;
  operation.origin = {Slab<Letter>::handle(*letter), serial, 1, static_cast<uint8_t>(index_)};
  operation.started = static_cast<bool>(to);  // nothing of it is retained
  operation.route = to;
  if (publish_inside({message, std::move(operation), nullptr}, now)) return true;
  letters_.give_back(*letter);
  return false;
}

void ShardCore::on_letter_handed_over(const PublishOperation& operation) noexcept {
  Letter* letter = letters_.find(operation.origin.session);
  if (!letter) return;
  letter->handed_over = true;
  letter->refused |= is_error(operation.reason.code);
  letter->takers_open += operation.takers + 1;
  on_letter_answered(operation.origin.session, true);
}

void ShardCore::on_letter_answered(SlabHandle of, bool taken) noexcept {
  Letter* letter = letters_.find(of);
  if (!letter) return;
  letter->refused |= !taken;
  --letter->takers_open;
  if (!letter->handed_over || letter->takers_open > 0) return;
  const Letter done = *letter;
  letters_.give_back(*letter);
  queues_.on_letter(done.queue, done.number, !done.refused);
  if (done.wait.done) done.wait.done(done.wait.user, !done.refused);
}

void ShardCore::leave_here(MemberId member, Instant now) noexcept {
  if (Streams::is_reader(member)) {
    streams_.leave(member);
  } else if (StreamCursors::is_member(member)) {
    cursors_.leave(member);
  } else if (Queues::is_member(member)) {
    queues_.leave(member, now, QueueReturn::NotSent);  // what was sent its session has given back
  } else {
    groups_.leave(member, now);
  }
}

void ShardCore::handle_member_mail(Mail& mail, Instant now) noexcept {
  const MemberId member = mail.kind == Mail::Kind::GroupReturn ? member_id(mail.session) : mail.number;
  const bool of_queue = Queues::is_member(member);
  if (Streams::is_reader(member) && mail.kind != Mail::Kind::GroupLeave) return handle_reader_mail(mail);
  if (StreamCursors::is_member(member) && mail.kind != Mail::Kind::GroupLeave) return handle_cursor_mail(mail);
  switch (mail.kind) {
    case Mail::Kind::GroupLeave: leave_here(member, now); break;
    case Mail::Kind::GroupState: {
      const MemberState state = MemberState::unpack(mail.token);
      if (of_queue) {
        queues_.set_state(member, state, now);
      } else {
        groups_.set_state(member, state, now);
      }
      break;
    }
    case Mail::Kind::GroupDone: {
      const auto* payload = static_cast<const GroupNumbers*>(mail.payload.get());
      const auto numbers = payload ? payload->numbers.span() : std::span<const uint64_t>();
      if (of_queue) {
        queues_.done(member, numbers, now);
      } else {
        groups_.done(member, mail.token, numbers, now);
      }
      break;
    }
    default: {
      const auto why = static_cast<Handed>(mail.token);
      if (of_queue) {
        queues_.give_back(member, mail.number, why, now);
      } else {
        groups_.give_back(member, mail.origin.session, mail.message, mail.number, why, now);
      }
      break;
    }
  }
}

void ShardCore::handle_reader_mail(Mail& mail) noexcept {
  if (mail.kind == Mail::Kind::GroupDone) return streams_.done(mail.number, mail.token);
  const auto& told = static_cast<const StreamReaderState&>(*mail.payload);
  streams_.set_state(mail.number, MemberState::unpack(mail.token), told.place);
}

void ShardCore::handle_cursor_mail(Mail& mail) noexcept {
  switch (mail.kind) {
    case Mail::Kind::GroupState: return cursors_.set_state(mail.number, MemberState::unpack(mail.token));
    case Mail::Kind::GroupDone: {
      const auto* payload = static_cast<const GroupNumbers*>(mail.payload.get());
      if (payload) cursors_.done(mail.number, payload->numbers.span());
      return;
    }
    default: return cursors_.give_back(member_id(mail.session), mail.number, static_cast<Handed>(mail.token));
  }
}

Handed ShardCore::hand_to_reader(SlabHandle to, MovingMessage& message, const StreamAt& at, Instant now) noexcept {
  GroupMembership* membership = memberships_.find(to);
  if (!membership || !membership->session) return Handed::Away;
  return membership->session->take_read(*membership, message, at, now);
}

bool ShardCore::send_batch(uint32_t shard, SlabHandle membership,
                           std::unique_ptr<StreamBatch, Destroy>& batch) noexcept {
  Mail mail;
  mail.kind = Mail::Kind::StreamDeliver;
  mail.session = membership;
  mail.payload = std::move(batch);
  if (postman_.post_surely(shard, std::move(mail))) return true;
  batch.reset(static_cast<StreamBatch*>(mail.payload.release()));
  return false;
}

Bytes ShardCore::stream_properties(const Connection& connection, const StreamAt& at, const MessageView& message,
                                   const GroupMembership* through) noexcept {
  if (connection.version() != ProtocolVersion::V5) return {};
  const MessageKey* key = through && through->reading && through->reading->key.on() ? &through->reading->key : nullptr;
  std::string_view text;
  if (key && key->text_of(message, stream_key_) && stream_key_.count() <= UINT16_MAX) {
    text = {stream_key_.begin(), stream_key_.count()};
  }
  if (!write_stream_properties(at, text, stream_properties_)) return {};
  return stream_properties_.span();
}

Handed ShardCore::hand_to_member(uint32_t shard, SlabHandle to, SlabHandle group, MovingMessage& message,
                                 uint64_t number, Instant now, uint64_t skipped) noexcept {
  if (shard == index_) {
    GroupMembership* membership = memberships_.find(to);
    if (!membership || !membership->session) return Handed::Away;
    return membership->session->take_shared(*membership, message, number, skipped, now);
  }
  Mail mail;
  mail.kind = Mail::Kind::GroupDeliver;
  mail.session = to;
  mail.number = number;
  mail.origin.session = group;
  mail.token = static_cast<uint32_t>(std::min<uint64_t>(skipped, UINT32_MAX));
  mail.message = message.share();
  if (!mail.message || !postman_.post_surely(shard, std::move(mail))) {
    if (number) return Handed::Full;  // it stays where it is
    dropped(&Counters::dropped_no_memory, nullptr, message.view());
    return Handed::Finished;
  }
  return message.view().qos == Qos::AtMostOnce && !number ? Handed::Finished : Handed::Open;
}

void ShardCore::take_group_message(Mail& mail, Instant now) noexcept {
  GroupMembership* membership = memberships_.find(mail.session);
  Handed handed = Handed::Away;
  MovingMessage message(mail.message);
  if (membership && membership->session) {
    handed = membership->session->take_shared(*membership, message, mail.number, mail.token, now);
  }
  switch (handed) {
    case Handed::Open: return;
    case Handed::Finished:
      if (mail.number || mail.message->qos() != Qos::AtMostOnce) {
        memberships_.note_finished(mail.session, mail.number, GroupNumbers::kRecorded);
      }
      return;
    case Handed::Refused: memberships_.note_finished(mail.session, mail.number, GroupNumbers::kRejected); return;
    case Handed::Full:
    case Handed::Away: break;
  }
  if (membership) {
    memberships_.give_back(*membership, mail.message, mail.number, false, handed, now);
    return;
  }
  if (!mail.origin.session.generation) return;  // its queue has it back
  Mail answer;                                  // it has left
  answer.kind = Mail::Kind::GroupReturn;
  answer.origin.session = mail.origin.session;
  answer.number = mail.number;
  answer.message = mail.message;
  answer.token = static_cast<uint32_t>(handed);
  if (!postman_.post_surely(mail.from, std::move(answer))) {
    dropped(&Counters::dropped_no_memory, nullptr, mail.message->view());
  }
}

bool ShardCore::fetch_for_group(SlabHandle group, std::span<const uint64_t> numbers) noexcept {
  std::unique_ptr<Fetch, Destroy> fetch(create<Fetch>());
  if (fetch) fetch->group = group;
  return ask_fetcher(std::move(fetch), numbers);
}

bool ShardCore::fetch_for_queue(SlabHandle queue, std::span<const uint64_t> numbers) noexcept {
  std::unique_ptr<Fetch, Destroy> fetch(create<Fetch>());
  if (fetch) fetch->queue = queue;
  return ask_fetcher(std::move(fetch), numbers);
}

bool ShardCore::fetch_for_stream(SlabHandle page, std::span<const uint64_t> numbers, uint64_t bytes) noexcept {
  std::unique_ptr<Fetch, Destroy> fetch(create<Fetch>());
  if (fetch) {
    fetch->stream_page = page;
    fetch->as_bodies = true;
    if (bytes > UINT32_MAX || !fetch->bodies.reserve(static_cast<uint32_t>(bytes))) return false;
  }
  return ask_fetcher(std::move(fetch), numbers);
}

bool ShardCore::read_body(Bytes body, MessageView& message) noexcept {
  FieldReader in(body);
  JournaledMessage journaled;
  if (!read_journaled(in, policy().unix_offset_ms, journaled)) return false;
  message = journaled.message;
  return true;
}

void ShardCore::tell_deleted(uint32_t shard, SlabHandle membership, Instant now) noexcept {
  if (shard == index_) return on_object_deleted(membership, now);
  Mail mail;
  mail.kind = Mail::Kind::ObjectDeleted;
  mail.session = membership;
  static_cast<void>(postman_.post_surely(shard, std::move(mail)));  // without memory it has a subscription to nothing
}

void ShardCore::on_object_deleted(SlabHandle of, Instant now) noexcept {
  GroupMembership* membership = memberships_.find(of);
  if (membership && membership->session) membership->session->on_object_deleted(*membership, now);
}

void ShardCore::confirm_leave(uint32_t shard, MemberId member, SlabHandle group) noexcept {
  Mail mail;
  mail.kind = Mail::Kind::GroupLeft;
  mail.number = member;
  mail.session = group;
  mail.token = kLeaveAsked;
  mail.from = static_cast<uint8_t>(index_);
  // Without memory it has the messages until its group ends.
  static_cast<void>(shard == index_ ? put_leave_aside(mail) : postman_.post_surely(shard, std::move(mail)));
}

bool ShardCore::put_leave_aside(const Mail& mail) noexcept {
  if (!leaves_.push_back({mail.number, mail.session, mail.from, state_.serial()})) return false;
  confirm_leaves();
  return true;
}

void ShardCore::confirm_leaves() noexcept {
  while (!leaves_.empty() && (!state_.on() || state_.durable(leaves_.front().serial))) {
    const Leave& leave = leaves_.front();
    if (leave.home == index_) {
      groups_.on_left(leave.member, leave.group);
    } else {
      Mail mail;
      mail.kind = Mail::Kind::GroupLeft;
      mail.number = leave.member;
      mail.session = leave.group;
      if (!postman_.post_surely(leave.home, std::move(mail))) return;
    }
    leaves_.pop_front();
  }
}

void ShardCore::recall(uint32_t shard, SlabHandle of, Instant now) noexcept {
  if (shard == index_) {
    GroupMembership* membership = memberships_.find(of);
    if (membership && membership->session) membership->session->recall(*membership, now);
    return;
  }
  Mail mail;
  mail.kind = Mail::Kind::GroupRecall;
  mail.session = of;
  static_cast<void>(postman_.post_surely(shard, std::move(mail)));  // without memory it finishes them itself
}

}  // namespace mqttq
