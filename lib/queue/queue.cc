#include "queue/queue.h"

#include <algorithm>
#include <charconv>

#include "base/assert.h"
#include "queue/queue_message.h"

namespace mqttq {

// --- where it stands

uint64_t Queue::position(uint64_t seen_number) const noexcept {
  const JournalEntry* entry = journal().peek(reader);
  return entry ? entry->number : seen_number + 1;
}

// Of the oldest that is not in `open`; UINT64_MAX: there is none.
uint64_t Queue::first_untaken() const noexcept {
  if (values && !values->waiting.empty()) return values->waiting.front()->number;
  const JournalEntry* entry = journal().peek(reader);
  return entry ? entry->number : UINT64_MAX;
}

// Of the oldest that is not settled; UINT64_MAX: there is none.
uint64_t Queue::front_number() noexcept {
  for (uint32_t i = 0; i < work->open.count(); ++i) {
    if (!work->open[i].settled) return work->open[i].number;
  }
  return first_untaken();
}

void Queue::changed() noexcept {
  if (ListLink<ChangedTag>::linked()) return;
  home.changed_.push_back(*this);
  home.member_courier_.note_groups_changed();
}

void Queue::forget_settled() noexcept {
  while (!work->open.empty() && work->open.front().settled) work->open.pop_front();
  if (work->open.count() != work->open_count) {
    for (uint32_t count = work->open.count(); count; --count) {
      QueueOpen one = work->open.pop_front();
      if (!one.settled) static_cast<void>(work->open.push_back(std::move(one)));  // there is room: one was taken out
    }
  }
  if (depth() == 0) {
    work->open.reset();
    work->arrivals.clear();
  } else {
    work->arrivals.forget_before(front_number());
  }
}

// --- what comes

bool Queue::make_ready() noexcept {
  if (work != &home.idle_) return true;
  QueueWork* made = create<QueueWork>();
  if (made) work = made;
  return made;
}

// What was on its way to one that has ended, or came before its place is restored, comes to nothing.
bool Queue::take(const NumberedMessage& message, Instant now) noexcept {
  if (!reader.journal) return true;
  if (message.restored) filter->gate().add(message.size);
  if (!make_ready() || !journal().append(message.number, message.message, message.size)) return false;
  on_appended(message.number, now);
  return true;
}

void Queue::on_appended(uint64_t number, Instant now) noexcept {
  work->figures.entered += home.running_;
  // What comes back came with those before it, if it is not known when.
  const bool marked =
      (home.running_ || work->arrivals.empty()) && work->arrivals.note(home.courier_.unix_ms(now), number);
  if (last_only()) take_values();
  if (marked) {
    changed();
    arm_age(now);
  }
  if (over_limits()) {  // whoever has room for something gets it before it is dropped
    flush(now);
    enforce_limits(number);
  }
  if (!ListLink<ReadyTag>::linked()) home.ready_.push_back(*this);
}

bool Queue::over_limits() const noexcept {
  const auto over = [](uint64_t is, uint64_t max) { return max && is > max; };
  return over(depth(), options.messages_max) || over(bytes(), options.bytes_max);
}

void Queue::enforce_limits(uint64_t newest) noexcept {
  while (over_limits()) drop_oldest(newest);
}

// Of those that nobody has, if there are such. Else a consumer loses it, who has it all the same.
void Queue::drop_oldest(uint64_t newest) noexcept {
  ++work->figures.dropped;
  for (uint32_t i = 0; work->waiting_count && i < work->open.count(); ++i) {
    if (!work->open[i].member && !work->open[i].settled && work->open[i].number != newest) return settle(work->open[i]);
  }
  if (values && !values->waiting.empty() && values->waiting.front()->number != newest) {
    return drop_value(*values->waiting.front());
  }
  const JournalEntry* entry = journal().peek(reader);
  if (entry && entry->number != newest) return drop_first();
  for (uint32_t i = 0; i < work->open.count(); ++i) {
    if (!work->open[i].settled && work->open[i].number != newest) return settle(work->open[i]);
  }
  if (QueueOpen* one = find_number(work->open, newest); one && !one->settled) return settle(*one);
  if (values && !values->waiting.empty()) return drop_value(*values->waiting.front());
  drop_first();
}

// Of the journal; returns its size.
uint32_t Queue::pass_first() noexcept {
  const uint64_t before = journal().behind_bytes(reader);
  journal().advance(reader);
  changed();
  return static_cast<uint32_t>(before - journal().behind_bytes(reader));
}

void Queue::drop_first() noexcept { filter->gate().leave(1, pass_first()); }

// Returns how many those were.
uint64_t Queue::drop_waiting_below(uint64_t number) noexcept {
  uint64_t count = 0;
  for (uint32_t i = 0; i < work->open.count() && work->open[i].number < number; ++i) {
    if (work->open[i].member || work->open[i].settled) continue;
    settle(work->open[i]);
    ++count;
  }
  if (!number) return count;
  for (; values && !values->waiting.empty() && values->waiting.front()->number < number; ++count) {
    drop_value(*values->waiting.front());
  }
  const uint64_t before = journal().behind_bytes(reader);
  const uint64_t moved = number == UINT64_MAX ? skip_journal() : journal().move_over(reader, number - 1);
  filter->gate().leave(moved, before - journal().behind_bytes(reader));
  if (moved) changed();
  return count + moved;
}

// To its end, at the cost of its segments and not of its entries. Another cursor stands there, so that nothing fails.
uint64_t Queue::skip_journal() noexcept {
  const uint64_t skipped = journal().behind_count(reader);
  Journal& of = journal();
  Cursor end;
  if (!skipped || !of.attach(end)) return of.move_over(reader, UINT64_MAX);
  of.detach(reader);
  if (of.attach(reader)) of.detach(end);
  MQTTQ_ASSERT(reader.journal);
  return skipped;
}

// What a consumer has may be older: it is looked at again when it comes back.
void Queue::drop_old(Instant now) noexcept {
  if (!options.age_max_s) return;
  const uint64_t below = work->arrivals.old_below(home.courier_.unix_ms(now), int64_t{options.age_max_s} * 1000);
  if (below) work->figures.expired += drop_waiting_below(below);
}

// Of those that nobody has; UINT64_MAX: there is none.
uint64_t Queue::first_waiting() noexcept {
  for (uint32_t i = 0; work->waiting_count && i < work->open.count(); ++i) {
    if (!work->open[i].member && !work->open[i].settled) return work->open[i].number;
  }
  return first_untaken();
}

// For the one that gets old first.
void Queue::arm_age(Instant now) noexcept {
  const uint64_t first = options.age_max_s && !work->arrivals.empty() ? first_waiting() : UINT64_MAX;
  if (first == UINT64_MAX) return;
  const int64_t left_ms = work->arrivals.at(first) + int64_t{options.age_max_s} * 1000 - home.courier_.unix_ms(now);
  arm(now + std::max<int64_t>(left_ms, 0) * kMillisecond);
}

// --- what goes

void Queue::flush(Instant now) noexcept {
  if (work->members.empty()) return;
  drop_old(now);
  if (values) ++values->pass;
  if (!flush_waiting(now)) return;
  if (last_only()) {
    take_values();
    flush_values(now);
  } else {
    flush_journal(now);
  }
}

// one: nullable, any message.
bool Queue::may_have(const QueueMember& member, const QueueOpen* one, Instant now) const noexcept {
  if (!member.takes() || (options.exclusive && &member != work->active)) return false;
  return !one || one->retry_at <= now || !one->rejected_by(Queues::id_of(member));
}

// Somebody who has room, of the highest priority; nullptr when nobody has. While messages of a key are with somebody,
// he has the others too.
QueueMember* Queue::choose(const QueueOpen* one, Instant now) noexcept {
  const uint32_t count = work->members.count();
  if (!count) return nullptr;
  if (one && one->value && one->value->inflight_count && options.dispatch == QueueDispatch::KeyOrdered) {
    QueueMember* owner = home.find_member(one->value->owner);
    return owner && may_have(*owner, one, now) ? owner : nullptr;
  }
  const bool fewest = options.dispatch == QueueDispatch::LeastInflight;
  const auto start =
      options.dispatch == QueueDispatch::Random ? static_cast<uint32_t>(home.random_.below(count)) : work->next;
  QueueMember* chosen = nullptr;
  for (uint32_t i = 0; i < count; ++i) {
    QueueMember* member = work->members[(start + i) % count];
    if (!may_have(*member, one, now)) continue;
    if (chosen && member->state.priority < chosen->state.priority) continue;
    if (chosen && member->state.priority == chosen->state.priority &&
        !(fewest && member->open_count < chosen->open_count)) {
      continue;
    }
    chosen = member;
    if (!fewest && !work->has_priorities) break;
  }
  return chosen;
}

bool Queue::offer(QueueOpen& one, Instant now) noexcept {
  MessageRef sent = one.message;
  if (one.deliveries && !(sent = with_delivery_count(*sent, one.deliveries + 1u))) {
    changed();  // it is tried again then
    return false;
  }
  MovingMessage moving(std::move(sent));
  while (QueueMember* member = choose(&one, now)) {
    const Handed handed = member->here ? member->here->take(moving, one.number, now)
                                       : home.member_courier_.hand_to_member(member->shard, member->membership, {},
                                                                             moving, one.number, now, 0);
    if (handed == Handed::Full || handed == Handed::Away) {
      note_declined(*member, handed);
      continue;
    }
    work->next = member->index + 1;
    note_handed(one, *member, now);
    if (handed == Handed::Open) return true;
    --member->open_count;
    if (handed == Handed::Refused) {
      take_back(one, QueueReturn::Rejected, now);
      return one.settled || one.member || offer(one, now);  // to another, if it did not die of it
    }
    ++work->figures.settled;
    settle(one);
    return true;
  }
  return false;
}

void Queue::note_handed(QueueOpen& one, QueueMember& member, Instant now) noexcept {
  ++work->figures.delivered;
  work->figures.redelivered += one.deliveries != 0;
  one.deliveries += one.deliveries < UINT16_MAX;
  one.last = Queues::id_of(member);
  give_to(one, one.last,
          options.ack_timeout_ms ? now + int64_t{options.ack_timeout_ms} * kMillisecond : Instant{INT64_MAX});
  arm(one.ack_due);
  if (one.value) one.value->owner = one.member;
  ++member.open_count;
  changed();
}

void Queue::note_declined(QueueMember& member, Handed why) noexcept {
  MemberState state = member.state;
  member.full = why == Handed::Full;
  if (why == Handed::Away) state.connected = false;
  set_state(member, state);
}

void Queue::give_to(QueueOpen& one, MemberId who, Instant ack_due) noexcept {
  one.member = who;
  one.ack_due = ack_due;
  --work->waiting_count;
  if (one.value) ++one.value->inflight_count;
}

void Queue::take_from(QueueOpen& one) noexcept {
  one.member = 0;
  one.ack_due = Instant{INT64_MAX};
  ++work->waiting_count;
  if (one.value) --one.value->inflight_count;
  changed();
}

// False when nobody has room, or a message has to be read first.
bool Queue::flush_waiting(Instant now) noexcept {
  for (uint32_t i = 0; work->waiting_count && i < work->open.count(); ++i) {
    if (work->open[i].member || work->open[i].settled) continue;
    if (!someone_takes()) return false;
    if (!work->open[i].message) {
      MessageRef message;
      const auto found = content(work->open[i].number, message);
      if (ReadAhead::pending(found)) return false;
      if (found == ReadAhead::Content::Lost) {
        settle(work->open[i]);
        continue;
      }
      work->open[i].message = std::move(message);
    }
    if (work->open[i].message->expired(now)) {
      ++work->figures.expired;
      settle(work->open[i]);
      continue;
    }
    find_key(work->open[i]);
    if (worn_out(work->open[i])) {
      bury(work->open[i], now);
    } else if (!hold(work->open[i]) && !offer(work->open[i], now) && work->open[i].value) {
      work->open[i].value->held_pass = values->pass;
    }  // else it may be for somebody else than who rejected it
  }
  return someone_takes();
}

void Queue::flush_journal(Instant now) noexcept {
  constexpr uint32_t kHeldMax = 1000;  // messages that wait for their keys beside the journal
  while (const JournalEntry* entry = journal().peek(reader)) {
    if (!someone_takes()) return;
    if (options.dispatch == QueueDispatch::KeyOrdered && work->waiting_count >= kHeldMax) return;
    MessageRef message = entry->message;
    const auto found = message ? ReadAhead::Content::Here : content(entry->number, message);
    if (ReadAhead::pending(found)) return;
    if (!work->open.make_room()) return changed();  // it goes on then
    if (found == ReadAhead::Content::Lost || message->expired(now)) {
      work->figures.expired += found != ReadAhead::Content::Lost;
      drop_first();
      continue;
    }
    QueueOpen& one = enter_open_from_journal();
    one.message = std::move(message);
    find_key(one);
    if (!hold(one) && offer(one, now)) continue;
    if (!one.value || options.dispatch != QueueDispatch::KeyOrdered) return;
    one.value->held_pass = values->pass;  // others may go out
  }
}

QueueOpen& Queue::enter_open_from_journal() noexcept {
  const JournalEntry* entry = journal().peek(reader);
  const uint64_t number = entry->number;
  MessageRef message = entry->message;
  return enter_open(number, std::move(message), pass_first());
}

// There is room.
QueueOpen& Queue::enter_open(uint64_t number, MessageRef&& message, uint32_t size) noexcept {
  ++work->open_count;
  ++work->waiting_count;
  work->open_bytes += size;
  return insert_number(work->open, QueueOpen{.number = number, .message = std::move(message), .size = size});
}

// What comes again comes when nobody has its key any more: behind it messages of its key wait, and so stay in order.
bool Queue::hold(QueueOpen& one) noexcept {
  if (!one.value || options.dispatch != QueueDispatch::KeyOrdered) return false;
  const bool again = one.deliveries && one.value->inflight_count;
  if (!again && one.value->held_pass != values->pass) return false;
  one.value->held_pass = values->pass;
  return true;
}

ReadAhead::Content Queue::content(uint64_t number, MessageRef& message) noexcept {
  const auto found = work->ahead.find(reader, number, message, [this](std::span<const uint64_t> numbers) {
    return home.courier_.fetch_for_queue(handle(), numbers);
  });
  if (found == ReadAhead::Content::Later) changed();
  if (found == ReadAhead::Content::Lost) home.member_courier_.count_lost();
  return found;
}

// --- what becomes of it

// It is gone; whoever calls counts why.
void Queue::settle(QueueOpen& one) noexcept {
  let_go(one);
  if (!one.member) --work->waiting_count;
  one.member = 0;
  one.settled = true;
  one.message = {};
  --work->open_count;
  work->open_bytes -= one.size;
  filter->gate().leave(1, one.size);
  changed();
}

void Queue::take_back(QueueOpen& one, QueueReturn why, Instant now) noexcept {
  const MemberId from = one.member;
  take_from(one);
  if (why == QueueReturn::NotSent) {
    --one.deliveries;
    --work->figures.delivered;
    work->figures.redelivered -= one.deliveries != 0;
  } else if (one.message && one.message->expired(now)) {
    ++work->figures.expired;
    return settle(one);
  } else {
    one.why = why;
    work->figures.rejected += why == QueueReturn::Rejected;
    work->figures.timed_out += why == QueueReturn::TimedOut;
  }
  if (why == QueueReturn::Rejected || why == QueueReturn::TimedOut) {
    const int64_t delay_ms = std::max(options.redelivery_delay_ms, 1u);  // or they would reject it for ever
    one.note_rejected(from, now + delay_ms * kMillisecond, now);
    arm(one.retry_at);
  }
  if (end_replaced(one)) return;
  if (why != QueueReturn::NotSent && worn_out(one)) bury(one, now);
}

// It is gone when its letter is there, and until then with nobody. Without memory it is tried again.
void Queue::bury(QueueOpen& one, Instant now) noexcept {
  constexpr const char* kReasons[] = {"returned", "consumer lost", "rejected", "timed out"};
  if (dead_letter_topic.empty() || dead_letter_hops(*one.message) >= kDeadLetterHopsMax) {
    ++work->figures.dead;
    return settle(one);
  }
  const MessageRef letter = dead_letter(*one.message, dead_letter_topic.view(),
                                        {name.view(), kReasons[static_cast<uint8_t>(one.why)], one.deliveries});
  const uint64_t number = one.number;
  give_to(one, kBurier, Instant{INT64_MAX});
  if (!letter || !home.courier_.publish_dead_letter(letter, handle(), number, now)) on_letter(number, false);
}

void Queue::on_letter(uint64_t number, bool published) noexcept {
  QueueOpen* one = find_number(work->open, number);
  if (!one || one->settled || (one->member != kBurier && one->member != kMover)) return;
  if (published) {
    ++(one->member == kBurier ? work->figures.dead : work->figures.settled);
    return settle(*one);
  }
  take_from(*one);  // what is dead is tried again when that is recorded
  end_replaced(*one);
}

void Queue::take_back_all(MemberId of, QueueReturn why, Instant now) noexcept {
  for (uint32_t i = 0; i < work->open.count(); ++i) {
    if (work->open[i].member == of) take_back(work->open[i], why, now);
  }
}

// --- consumers

void Queue::set_state(QueueMember& member, MemberState state) noexcept {
  member.state = state;
  work->has_priorities |= state.priority != 0;
  if (options.exclusive) choose_active();
}

// Who has an exclusive queue keeps it; else it is the first that is there, of the highest priority.
void Queue::choose_active() noexcept {
  if (work->active && work->active->state.connected) return;
  work->active = nullptr;
  for (QueueMember* member : work->members) {
    if (!member->state.connected) continue;
    if (!work->active || member->state.priority > work->active->state.priority) work->active = member;
  }
}

// --- time

void Queue::arm(Instant due) noexcept {
  if (due.ns == INT64_MAX || (Timer::armed() && next_due <= due)) return;
  next_due = due;
  home.timers_.arm(*this, due, [](Timer& timer, Instant now) noexcept { static_cast<Queue&>(timer).on_time(now); });
}

void Queue::on_time(Instant now) noexcept {
  for (uint32_t i = 0; i < work->open.count(); ++i) {
    QueueOpen& one = work->open[i];
    if (!one.settled && one.member && one.ack_due <= now) take_back(one, QueueReturn::TimedOut, now);
  }
  drop_old(now);
  flush(now);
  Instant earliest{INT64_MAX};
  for (uint32_t i = 0; i < work->open.count(); ++i) {
    const QueueOpen& one = work->open[i];
    if (one.settled) continue;
    if (one.member) {
      earliest = std::min(earliest, one.ack_due);
    } else if (one.retry_at > now) {
      earliest = std::min(earliest, one.retry_at);
    }
  }
  arm(earliest);
  arm_age(now);
}

}  // namespace mqttq
