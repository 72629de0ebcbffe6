// ShardCore: what it keeps, and how it comes back.
#include <algorithm>

#include "message/topic.h"
#include "queue/stored_queue.h"
#include "session/connection_parts.h"
#include "session/shard_core.h"
#include "session/stored_session.h"
#include "stream/stored_stream.h"

namespace mqttq {

void ShardCore::note_unrecorded() noexcept {
  if (!std::exchange(unrecorded_, true) && world_.log) {
    world_.log->write(LogLevel::Error,
                      "out of memory for what is to be stored: it is written again when there is some");
  }
}

// --- progress: what is written in its own time

void ShardCore::mark_progress(Session& session) noexcept {
  if (session.progress_marked) return;
  session.progress_marked = to_record_.push_back(&session);
  if (!session.progress_marked) return note_unrecorded();
  arm_progress();
}

void ShardCore::arm_progress() noexcept {
  constexpr int64_t kInterval = 50 * kMillisecond;
  if (progress_alarm_.armed()) return;
  timers_.arm(progress_alarm_, now_ + kInterval, on_progress_alarm);
}

void ShardCore::on_progress_alarm(Timer& timer, Instant) noexcept {
  static_cast<ShardAlarm&>(timer).shard->progress_due_ = true;
}

void ShardCore::record_progress() noexcept {
  progress_due_ = false;
  for (uint32_t i = 0; i < to_record_.count(); ++i) {
    Session* session = to_record_[i];
    if (!session) continue;
    session->progress_marked = false;
    session->record_progress();
    if (session->connection()) mark_pump(*session);  // it may have waited for a store that failed
  }
  to_record_.clear();
  record_groups(false);
  record_queues(false);
  record_streams(false);
}

void ShardCore::record_streams(bool all) noexcept {
  streams_.record_progress(all, [this, all](Stream& stream) {
    record_place(stream);
    if (all) record_stream(stream);
  });
  cursors_.record_progress(all, [this](StreamCursor& cursor) { record_cursor(cursor); });
}

StateKey ShardCore::cursor_key(const StreamCursor& cursor) const noexcept {
  const Stream& stream = cursor.stream;
  const TextKey of_name = state_.key(stream.namespace_id, cursor.name.view());
  return state_key(stream_key(state_.key(stream.namespace_id, stream.name.view())))
      .add(of_name.first)
      .add(of_name.second);
}

void ShardCore::record_cursor(StreamCursor& cursor) noexcept {
  if (!state_.on()) return;
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StreamIndex& index = cursor.stream.index;
  const uint64_t position = cursor.committed();
  const uint64_t next = position >= index.first() ? index.next(position) : index.end();
  StoredCursor{next < index.end() ? index.at(next).number : 0, position, cursor.shared, cursor.name.view()}.write(out);
  if (!out.ok()) return note_unrecorded();
  state_.writes().put(StateTable::QueueValues, cursor_key(cursor).bytes(), scratch_state_.span());
}

void ShardCore::forget_cursor(const StreamCursor& cursor) noexcept {
  if (state_.on()) state_.writes().erase(StateTable::QueueValues, cursor_key(cursor).bytes());
}

void ShardCore::record_place(Stream& stream) noexcept {
  if (!state_.on()) return;
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StoredStreamPlace{stream.first_number(), stream.first(), stream.last_us}.write(out);
  if (!out.ok()) return note_unrecorded();
  const StateKey key = state_key(stream_key(state_.key(stream.namespace_id, stream.name.view())));
  state_.writes().put_large(StateTable::Groups, key.bytes(), scratch_state_.span());
}

void ShardCore::record_stream(const Stream& stream) noexcept {
  if (!state_.on()) return;
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StoredStream{stream.identity(), stream.options}.write(out);
  if (!out.ok()) return note_unrecorded();
  const StateKey key = state_key(stream_key(state_.key(stream.namespace_id, stream.name.view())));
  state_.writes().put_large(StateTable::Queues, key.bytes(), scratch_state_.span());
}

void ShardCore::forget_stream(const Stream& stream) noexcept {
  world_.population.streams.fetch_sub(1, std::memory_order_relaxed);
  if (!state_.on()) return;
  const StateKey key = state_key(stream_key(state_.key(stream.namespace_id, stream.name.view())));
  for (const StateTable table : {StateTable::Queues, StateTable::Groups, StateTable::QueueValues}) {
    state_.writes().erase_below(table, key.bytes());
  }
}

void ShardCore::record_queues(bool all) noexcept {
  queues_.record_progress(state_.seen_number(), all, now_, [this, all](const Queue& queue, uint64_t position) {
    record_place(queue, position);
    if (all) record_queue(queue);
  });
}

void ShardCore::record_place(const Queue& queue, uint64_t position) noexcept {
  if (!state_.on()) return;
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StoredQueuePlace::write(out, queue, position);
  if (!out.ok()) return note_unrecorded();
  const StateKey key = state_key(state_.key(queue.namespace_id, queue.name.view()));
  state_.writes().put_large(StateTable::Groups, key.bytes(), scratch_state_.span());
}

void ShardCore::record_value(const Queue& queue, const QueueValue& value) noexcept {
  if (!state_.on()) return;
  StateKey key = state_key(state_.key(queue.namespace_id, queue.name.view()));
  key.add(value.key.first).add(value.key.second);
  if (!value.number) return state_.writes().erase(StateTable::QueueValues, key.bytes());
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StoredValue{value.number, value.size}.write(out);
  if (!out.ok()) return note_unrecorded();
  state_.writes().put(StateTable::QueueValues, key.bytes(), scratch_state_.span());
}

void ShardCore::record_queue(const Queue& queue) noexcept {
  if (!state_.on()) return;
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  StoredQueue{queue.identity(), queue.options, queue.dead_letter_topic.view()}.write(out);
  if (!out.ok()) return note_unrecorded();
  const StateKey key = state_key(state_.key(queue.namespace_id, queue.name.view()));
  state_.writes().put_large(StateTable::Queues, key.bytes(), scratch_state_.span());
}

void ShardCore::forget_queue(const Queue& queue) noexcept {
  world_.population.queues.fetch_sub(1, std::memory_order_relaxed);
  if (!state_.on()) return;
  const StateKey key = state_key(state_.key(queue.namespace_id, queue.name.view()));
  for (const StateTable table : {StateTable::Queues, StateTable::Groups, StateTable::QueueValues}) {
    state_.writes().erase_below(table, key.bytes());
  }
}

// What their members have recorded themselves is kept with the members. all: those too that did not change.
void ShardCore::record_groups(bool all) noexcept {
  groups_.settle(state_.seen_number(), all, now_, [this](const GroupProgress& progress) {
    if (!state_.on()) return;
    const StateKey key = state_key(state_.key(progress.namespace_id, progress.shared_filter));
    scratch_state_.clear();
    FieldWriter out(scratch_state_);
    StoredGroup::write(out, progress);
    if (!out.ok()) return note_unrecorded();
    state_.writes().put_large(StateTable::Groups, key.bytes(), scratch_state_.span());
    for (uint32_t i = 0; i < progress.open.count(); ++i) {
      const GroupOpen& one = progress.open[i];
      if (!one.settled || !one.recorded || one.number >= progress.position) continue;
      state_.writes().erase_below(StateTable::GroupTaken, StateKey(key).add(one.number).bytes());
    }
  });
}

void ShardCore::forget_group(NamespaceId namespace_id, std::string_view shared_filter) noexcept {
  if (!state_.on()) return;
  const StateKey key = state_key(state_.key(namespace_id, shared_filter));
  for (const StateTable table : {StateTable::Groups, StateTable::GroupTaken}) {
    state_.writes().erase_below(table, key.bytes());
  }
}

void ShardCore::forget_progress(Session& session) noexcept {
  if (!session.progress_marked) return;
  session.progress_marked = false;
  *std::find(to_record_.begin(), to_record_.end(), &session) = nullptr;
}

// What memory was refused to is not known one by one: all that is kept is written once more.
void ShardCore::record_everything() noexcept {
  unrecorded_ = false;
  if (!state_.on()) return;
  for (uint32_t i = 0; i < sessions_.index_end(); ++i) {
    if (Session* session = sessions_.at(i); session && session->durable()) session->record_whole(now_);
  }
  record_groups(true);
  record_queues(true);
  record_streams(true);
  if (state_.writes().take_failure()) unrecorded_ = true;
}

// What memory was refused to comes first: nobody is to hear that it is durable before it is written.
bool ShardCore::post_state() noexcept {
  if (state_.writes().take_failure()) note_unrecorded();
  if (unrecorded_) record_everything();
  if (!unrecorded_ && state_.post(postman_, world_.office.committer())) return true;
  try_again_ = true;
  return false;
}

void ShardCore::run_state() noexcept {
  if (!state_.on()) {
    if (progress_due_) record_progress();  // groups settle all the same
    return;
  }
  if (progress_due_ && !state_.failing()) record_progress();
  if (progress_due_ && !progress_alarm_.armed()) {  // it fails: some time later
    timers_.arm(progress_alarm_, now_ + 100 * kMillisecond, on_progress_alarm);
  }
  if (post_state()) find_lowest();  // what is not needed any more is recorded so before it is said
}

void ShardCore::on_recorded(const Mail& mail) noexcept {
  state_.note_seen(mail.number);
  const bool failed = is_error(mail.reason);
  state_.on_recorded(mail.token, mail.reason, [this](const PublishOrigin& origin, ReasonCode reason) {
    const Reason why = is_error(reason) ? Reason(reason, Detail::StoreFailing) : Reason();
    if (!send_published(origin, why)) count_dropped_no_memory(1);
  });
  confirm_leaves();
  answer_late_joins();
  tell_durable_waiters(failed);
  for (uint32_t i = 0; i < gated_.count();) {
    Connection& connection = *gated_[i];
    if (failed) connection.close(Reason(ReasonCode::QuotaExceeded, Detail::StoreFailing), now_);
    if (connection.open_gates()) {
      ++i;
    } else {
      connection.gated = false;
      gated_.remove_unordered(i);
    }
    if (!connection.dirty) mark_dirty(connection);
  }
}

void ShardCore::await_durable(void* user, void (*done)(void* user, bool written) noexcept) {
  if (state_.on() && !state_.failing()) {  // what is settled, purged, moved or truncated by now
    record_queues(false);
    record_streams(false);
  }
  if (!state_.on() || state_.all_durable()) return done(user, true);
  if (!durable_waiters_.push_back({state_.serial(), user, done})) throw std::bad_alloc();
}

void ShardCore::tell_durable_waiters(bool failed) noexcept {
  while (!durable_waiters_.empty()) {
    const DurableWaiter first = durable_waiters_.front();
    const bool durable = state_.durable(first.serial);
    if (!durable && !failed) return;
    durable_waiters_.pop_front();
    first.done(first.user, durable);
  }
}

bool ShardCore::mark_gated(Connection& connection) noexcept {
  if (connection.gated) return true;
  return connection.gated = gated_.push_back(&connection);
}

// --- what has waited for too long

void ShardCore::arm_age() noexcept {
  if (!ages_.busy()) return;
  timers_.arm(age_alarm_, now_ + ages_.interval_ms() * kMillisecond,
              [](Timer& timer, Instant) noexcept { static_cast<ShardAlarm&>(timer).shard->look_at_age(); });
}

// One shard writes down for all of them when numbers came.
void ShardCore::look_at_age() noexcept {
  const int64_t now_ms = to_unix_ms(now_, policy().unix_offset_ms);
  const bool records = index_ == 0 && state_.on();
  const auto key = [](int64_t at_ms) { return StateKey().add(static_cast<uint64_t>(at_ms)); };
  if (ages_.mark(now_ms) && records) state_.writes().put_number(StateTable::Times, key(now_ms).bytes());
  const bool more = ages_.advance(now_ms, [&](int64_t at_ms) {
    if (records) state_.writes().erase(StateTable::Times, key(at_ms).bytes());
  });
  if (more) {
    old_next_ = 0;
    count_dropped_limit(groups_.drop_old(ages_.old()));
  }
  arm_age();
}

// Of some sessions in a turn.
void ShardCore::drop_old() noexcept {
  constexpr uint32_t kSessionsPerTurn = 5000;
  for (uint32_t count = 0; old_next_ < sessions_.index_end(); ++old_next_) {
    if (count++ == kSessionsPerTurn) {
      try_again_ = true;
      return;
    }
    Session* session = sessions_.at(old_next_);
    const uint32_t dropped = session ? session->drop_old(ages_.old()) : 0;
    if (!dropped) continue;
    count_dropped_limit(dropped);
    if (session->stored()) mark_progress(*session);
  }
  old_next_ = UINT32_MAX;
}

// --- which messages are still needed

void ShardCore::find_lowest() noexcept {
  constexpr uint32_t kSessionsPerTurn = 5000, kNumbersPerTurn = 50'000;
  if (!lowest_wanted_) return;
  const uint32_t found = needed_ ? needed_->numbers.count() : 0;
  for (uint32_t count = 0; lowest_next_ < sessions_.index_end(); ++lowest_next_) {
    if (count++ == kSessionsPerTurn || (needed_ && needed_->numbers.count() - found > kNumbersPerTurn)) {
      try_again_ = true;
      return;
    }
    Session* session = sessions_.at(lowest_next_);
    if (!session) continue;
    lowest_ = std::min(lowest_, session->lowest_number());
    if (needed_ && needed_->up_to) session->add_needed(*needed_, needed_pass_);
  }
  Mail mail;
  mail.kind = Mail::Kind::Lowest;
  mail.number = lowest_;
  mail.payload.reset(needed_.release());
  if (postman_.post(world_.office.committer(), std::move(mail))) {
    lowest_wanted_ = false;
  } else {
    needed_.reset(static_cast<NeededNumbers*>(mail.payload.release()));
    try_again_ = true;
  }
}

// Positions grow, and who comes while it is looked for begins behind `last_number`.
void ShardCore::on_find_lowest(Mail& mail) noexcept {
  state_.note_seen(mail.number);
  lowest_wanted_ = true;
  lowest_next_ = 0;
  if (state_.on() && !state_.failing()) record_streams(false);  // positions are counted from what is recorded
  lowest_ = std::min({mail.number + 1, groups_.lowest_number(mail.number), queues_.lowest_number(mail.number),
                      streams_.lowest_number()});
  needed_.reset(static_cast<NeededNumbers*>(mail.payload.release()));
  if (!needed_) return;
  constexpr uint64_t kBesideContent = 120;  // bytes of a message in the log
  const JournalTotals& journals = fan_out_.journal_totals();
  uint64_t messages = journals.messages, bytes = journals.bytes;
  streams_.add_waiting(messages, bytes);
  needed_->waiting_bytes = bytes + messages * kBesideContent;
  if (++needed_pass_ == 0) ++needed_pass_;
  if (!needed_->up_to) return;
  groups_.add_needed(*needed_, needed_pass_);
  queues_.add_needed(*needed_, needed_pass_);
  streams_.add_needed(*needed_);
}

// --- messages that are not in memory

bool ShardCore::fetch(Session& session, std::span<const uint64_t> numbers) noexcept {
  std::unique_ptr<Fetch, Destroy> fetch(create<Fetch>());
  if (fetch) fetch->session = session.handle();
  if (ask_fetcher(std::move(fetch), numbers)) return true;
  mark_pump(session);
  try_again_ = true;
  return false;
}

// fetch: null without memory.
bool ShardCore::ask_fetcher(std::unique_ptr<Fetch, Destroy> fetch, std::span<const uint64_t> numbers) noexcept {
  bool complete = fetch != nullptr && has_fetcher();
  for (const uint64_t number : numbers) complete = complete && fetch->messages.push_back({number, {}});
  if (!complete) return false;
  fetch->shard = index_;
  world_.fetcher->ask(*fetch.release());
  fetches_asked_ = true;
  return true;
}

void ShardCore::run_fetched(Instant now) noexcept {
  if (!has_fetcher()) return;
  while (Fetch* taken = world_.fetcher->take_answer(index_)) {
    const std::unique_ptr<Fetch, Destroy> fetch(taken);
    if (Session* session = sessions_.find(fetch->session)) session->on_fetched(fetch->messages, now);
    if (fetch->group.generation) groups_.on_fetched(fetch->group, fetch->messages, now);
    if (fetch->queue.generation) queues_.on_fetched(fetch->queue, fetch->messages, now);
    if (fetch->stream_page.generation) {
      streams_.on_fetched(fetch->stream_page, fetch->messages, std::move(fetch->bodies), now);
    }
  }
}

// Journals that hold newer messages too go back to those with content.
void ShardCore::evict() noexcept {
  if (std::exchange(homes_evict_, false)) {
    queues_.evict(evictable_);
    streams_.evict(evictable_);
  }
  constexpr uint32_t kEntriesPerStep = 1000, kJournalsPerTurn = 1000;
  for (uint32_t count = 0; Journal* journal = evicting_.front(); ++count) {
    if (count == kJournalsPerTurn) {
      try_again_ = true;
      return;
    }
    if (!journal->evict(evictable_, kEntriesPerStep)) continue;
    if (!journal->has_content()) continue;
    journal->ListLink<ContentTag>::unlink();
    fan_out_.journal_totals().with_content.push_back(*journal);
  }
}

// --- what is retained and delayed

void ShardCore::forget_retained(const MessageView& view) noexcept {
  const StateKey key = state_key(state_.key(view.namespace_id, view.topic_name));
  state_.writes().erase_below(StateTable::Retained, key.bytes());
}

Reason ShardCore::keep_retained(const MessageRef& message) noexcept {
  const MessageView view = message->view();
  const bool recorded = state_.on() && !is_sys_topic(view.topic_name);
  if (recorded && state_.failing()) return {ReasonCode::QuotaExceeded, Detail::StoreFailing};
  if (recorded && state_.full()) {  // what takes less than before is let in
    const uint32_t before = retained_.size_of(view.namespace_id, view.topic_name);
    if (view.payload.empty() ? before == 0 : message->content_size() >= before) {
      return view.payload.empty() ? Reason() : state_.refusal();
    }
  }
  const Reason reason = store_retained(message);
  if (!recorded || !reason.ok()) return reason;
  if (view.payload.empty()) {
    forget_retained(view);
    return reason;
  }
  const StateKey key = state_key(state_.key(view.namespace_id, view.topic_name));
  scratch_state_.clear();
  FieldWriter out(scratch_state_);
  write_message(out, view, policy().unix_offset_ms);
  if (!out.ok()) return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  state_.writes().put_large(StateTable::Retained, key.bytes(), scratch_state_.span());
  if (state_.writes().take_failure()) return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  return reason;
}

Reason ShardCore::keep_delayed(MovingMessage& message, std::string_view client_id, Instant due) noexcept {
  if (const Reason refusal = state_.refusal(); !refusal.ok()) return refusal;
  const uint64_t id = state_.next_id();
  if (state_.on()) {
    scratch_state_.clear();
    FieldWriter out(scratch_state_);
    StoredDelayed{to_unix_ms(due, policy().unix_offset_ms), client_id}.write(out);
    write_message(out, message.view(), policy().unix_offset_ms);
    if (!out.ok()) return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  }
  switch (delayed_.add(message, client_id, due, id)) {
    case Status::Ok: break;
    case Status::Full: return {ReasonCode::QuotaExceeded, Detail::DelayedFull};
    default: return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  }
  if (state_.on()) state_.writes().put_large(StateTable::Delayed, StateKey().add(id).bytes(), scratch_state_.span());
  return {};
}

void ShardCore::on_delayed_ended(uint64_t serial) noexcept {
  if (state_.on()) state_.writes().erase_below(StateTable::Delayed, StateKey().add(serial).bytes());
}

void ShardCore::keep_receipt(PublishOperation& operation, PublisherId publisher) noexcept {
  if (!state_.on() || !operation.origin.wanted()) return;
  if (const uint64_t second = std::exchange(operation.receipt, 0)) {
    const StateKey key = state_key({publisher, second}).add(operation.origin.packet_id);
    state_.writes().put(StateTable::Receipts, key.bytes(), {});
  }
  answer_when_durable(operation);
}

void ShardCore::answer_when_durable(PublishOperation& operation) noexcept {
  if (!state_.on() || !operation.origin.wanted() || state_.all_durable()) return;
  if (state_.answer_when_durable(operation.origin)) {
    ++operation.takers;
  } else {
    operation.reason = {ReasonCode::QuotaExceeded, Detail::NoMemory};
  }
}

// --- how it comes back

void ShardCore::restore_ages(uint64_t last_number) noexcept {
  ages_.note(last_number);
  arm_age();
}

bool ShardCore::restore_retained(const MessageView& view) noexcept {
  const MessageRef message = Message::create(view);
  return message && retained_.set(message) == Status::Ok;
}

Queue* ShardCore::restore_queue(const QueueIdentity& identity, const QueueOptions& options,
                                std::string_view dead_letter_topic) noexcept {
  world_.population.queues.fetch_add(1, std::memory_order_relaxed);
  return queues_.restore(identity, options, dead_letter_topic);
}

Stream* ShardCore::restore_stream(const StreamIdentity& identity, const StreamOptions& options) noexcept {
  world_.population.streams.fetch_add(1, std::memory_order_relaxed);
  return streams_.restore(identity, options);
}

bool ShardCore::restore_delayed(uint64_t id, const MessageView& view, std::string_view client_id,
                                Instant due) noexcept {
  MovingMessage message(view);
  return delayed_.add(message, client_id, due, id) == Status::Ok;
}

void ShardCore::restore_message(Filter& filter, const NumberedMessage& message) noexcept {
  if (!filter.local(index_).rare) return;
  if (!fan_out_.append(filter, message, now_, wake_reader)) count_dropped_no_memory(1);
  if (!filter.of_queue()) fan_out_.note_length(filter);
}

bool ShardCore::restore_reader(JournalReader& reader, uint64_t position) noexcept {
  Journal& journal = reader.filter->local(index_).rare->journal;
  if (!journal.attach(reader)) return false;
  reader.recorded = position;
  journal.wait(reader);
  return true;
}

}  // namespace mqttq
