// Session: what of it is kept, and how it comes back. docs/STORE.md has the bytes.
#include <algorithm>

#include "session/shard_core.h"
#include "session/stored_session.h"

namespace mqttq {

// The committer knows the first half of a publisher from its messages.
TextKey Session::state_key_text() const noexcept {
  return {publisher_id(), shard_.state().key(namespace_id(), client_id()).second};
}

void Session::record(Instant now) noexcept { record_as(connection_ ? Instant{INT64_MAX} : now); }

// disconnected_at: INT64_MAX while it is connected.
void Session::record_as(Instant disconnected_at) noexcept {
  StateRecorder& state = shard_.state();
  if (!state.on()) return;
  if (!durable()) {
    record_end();
    return;
  }
  stored_ = true;
  const int64_t disconnected_ms = to_unix_ms(disconnected_at, shard_.policy().unix_offset_ms);
  Array<std::byte> value;
  FieldWriter out(value);
  StoredSession{namespace_id(), expiry_s_, disconnected_ms, client_id()}.write(out);
  if (!out.ok()) return shard_.note_unrecorded();
  state.writes().put_large(StateTable::Sessions, state_key(state_key_text()).bytes(), value.span());
}

void Session::record_end() noexcept {
  if (!stored_) return;
  stored_ = false;
  const StateKey key = state_key(state_key_text());
  for (const StateTable table : {StateTable::Sessions, StateTable::Subscriptions, StateTable::Positions,
                                 StateTable::Inflight, StateTable::Receipts, StateTable::Wills}) {
    shard_.state().writes().erase_below(table, key.bytes());
  }
}

void Session::record_subscription(const Subscription& subscription) noexcept {
  if (!stored_) return;
  Array<std::byte> value;
  FieldWriter out(value);
  StoredSubscription::write(out, subscription, owes_retained(subscription), subscription.filter->text());
  if (!out.ok()) return shard_.note_unrecorded();
  const StateKey key = state_key(state_key_text()).add(subscription.filter->hash);
  shard_.state().writes().put_large(StateTable::Subscriptions, key.bytes(), value.span());
}

StateKey Session::membership_key(const GroupMembership& membership) const noexcept {
  return state_key(state_key_text()).add(membership.hash);
}

StateKey Session::taken_key(const GroupMembership& membership, uint64_t number) const noexcept {
  return state_key(shard_.state().key(namespace_id(), membership.text())).add(number).add(publisher_id());
}

// A group of which nothing is known yet begins behind the record of the first of its members.
void Session::record_membership(GroupMembership& membership) noexcept {
  if (!stored_) return;
  Subscription options;
  options.qos = membership.qos;
  options.identifier = membership.identifier;
  options.retain_as_published = membership.retain_as_published;
  Array<std::byte> value;
  FieldWriter out(value);
  StreamTerms terms;
  if (membership.reading) {
    terms = {membership.reading->offset, membership.reading->cursor.view(), membership.reading->shared};
  }
  StoredSubscription::write(out, options, false, membership.text(), membership.priority,
                            membership.reading ? &terms : nullptr);
  if (!out.ok()) return shard_.note_unrecorded();
  const StateKey key = membership_key(membership);
  shard_.state().writes().put_large(StateTable::Subscriptions, key.bytes(), value.span());
  const bool first = !std::exchange(membership.stored, true);
  if (membership.has_place()) {
    record_place(membership);
  } else if (first && !membership.of_object()) {
    shard_.state().writes().put_number(StateTable::Positions, key.bytes());
  }
}

void Session::record_place(GroupMembership& membership) noexcept {
  GroupMembership::Reading& reading = *membership.reading;
  if (!membership.stored || reading.place.number == reading.recorded) return;
  std::byte value[2 * sizeof(uint64_t)];
  put_little(value, reading.place.number);
  put_little(value + sizeof(uint64_t), reading.place.position);
  shard_.state().writes().put(StateTable::Positions, membership_key(membership).bytes(), value);
  reading.recorded = reading.place.number;
}

// Whoever finds that the group still has it knows that it is with this member, or finished by him.
void Session::record_taken(const GroupMembership& membership, uint64_t number) noexcept {
  shard_.state().writes().put(StateTable::GroupTaken, taken_key(membership, number).bytes(), {});
}

// The first number that a reader has not taken. One at its journal's end has taken all that this shard has heard of.
uint64_t Session::position(const JournalReader& reader) const noexcept {
  const JournalEntry* entry = reader.journal->peek(reader);
  return entry ? entry->number : shard_.state().seen_number() + 1;
}

void Session::record_inflight(uint16_t packet_id, InflightEntry& entry) noexcept {
  Array<std::byte> value;
  FieldWriter out(value);
  const GroupMembership* through = entry.number ? shard_.memberships().find(entry.membership) : nullptr;
  StoredInflight::write(out, entry, through ? through->hash : 0, shard_.policy().unix_offset_ms);
  if (through && !through->reading) record_taken(*through, entry.number);
  if (!out.ok()) return shard_.note_unrecorded();
  const StateKey key = state_key(state_key_text()).add(packet_id);
  shard_.state().writes().put_large(StateTable::Inflight, key.bytes(), value.span());
  entry.kept = true;
}

// At QoS 1 what is lost is sent again, from its journal. What is at QoS 2, or has no number by which it would be found,
// is durable before it goes out.
void Session::record_sent(uint16_t packet_id, InflightEntry& entry) noexcept {
  shard_.mark_progress(*this);
  const bool found_again = entry.number || entry.membership.generation;
  if (entry.qos == Qos::AtLeastOnce && found_again) {
    sent_unrecorded_ = true;
    return;
  }
  record_inflight(packet_id, entry);
  record_at_once_ = true;
  connection_->gate();
}

void Session::record_progress() noexcept {
  if (!stored_) return;
  sent_unrecorded_ = false;
  if (out_) {
    out_->inflight.for_each([this](uint16_t packet_id, InflightEntry& entry) {
      if (!entry.kept && !entry.of_queue) record_inflight(packet_id, entry);
    });
  }
  if (!connection_) drop_inflight_content();
  memberships_.for_each([this](GroupMembership& one) {
    if (one.has_place()) record_place(one);
  });
  if (!reads_) return;
  const StateKey key = state_key(state_key_text());
  reads_->readers.for_each([&](JournalReader& reader) {
    const uint64_t number = position(reader);
    if (number == reader.recorded) return;
    std::byte value[sizeof number];
    put_little(value, number);
    shard_.state().writes().put(StateTable::Positions, StateKey(key).add(reader.filter->hash).bytes(), value);
    reader.recorded = number;
  });
}

uint64_t Session::lowest_number() noexcept {
  uint64_t lowest = UINT64_MAX;
  if (!stored_) return lowest;
  if (out_) {
    out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
      if (entry.number && entry.state != InflightEntry::State::AwaitPubcomp) lowest = std::min(lowest, entry.number);
    });
  }
  if (!reads_) return lowest;
  reads_->readers.for_each([&](JournalReader& reader) { lowest = std::min(lowest, position(reader)); });
  return lowest;
}

uint32_t Session::drop_old(uint64_t number) noexcept {
  uint32_t count = 0;
  if (reads_)
    reads_->readers.for_each([&](JournalReader& reader) { count += reader.journal->move_over(reader, number); });
  return count;
}

void Session::add_needed(NeededNumbers& needed, uint32_t pass) noexcept {
  if (!stored_) return;
  if (out_) {
    out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
      const bool let_go = entry.state == InflightEntry::State::AwaitPubcomp;
      if (entry.number && entry.number <= needed.up_to && !let_go) needed.add(entry.number);
    });
  }
  if (reads_) reads_->readers.for_each([&](JournalReader& reader) { needed.add_journal(*reader.journal, pass); });
}

// --- what is not in memory

// The message that `reader` stands in front of.
Session::Content Session::content(JournalReader& reader, MessageRef& message) noexcept {
  message = reader.journal->peek(reader)->message;
  if (message) return Content::Here;
  Ring<FetchedMessage>& ahead = reads_->ahead;
  while (!ahead.empty() && ahead.front().number < reader.number) ahead.pop_front();  // moved on by a limit
  if (!ahead.empty() && ahead.front().number == reader.number) {
    message = ahead.pop_front().message;
    return message ? Content::Here : Content::Lost;
  }
  if (fetching_) return Content::Asked;
  uint64_t numbers[kFetchMessagesMax];
  const uint32_t count = reader.journal->missing(reader, numbers, kFetchBytesMax);
  fetching_ = shard_.fetch(*this, {numbers, count});
  return Content::Asked;
}

void Session::on_fetched(Ring<FetchedMessage>& messages, Instant now) noexcept {
  fetching_ = false;
  for (; !messages.empty(); messages.pop_front()) {
    FetchedMessage& one = messages.front();
    uint16_t lost = 0;
    bool inflight = false;
    if (out_) {
      out_->inflight.for_each([&](uint16_t packet_id, InflightEntry& entry) {
        if (entry.number != one.number || entry.message || entry.state == InflightEntry::State::AwaitPubcomp) return;
        inflight = true;
        entry.message = one.message;
        if (one.lost(out_->read_failures)) lost = packet_id;
      });
    }
    if (lost) {
      shard_.count_lost();
      give_up(lost, *find_inflight(lost));
    }
    if (inflight || !reads_) continue;
    if (!one.message && !one.lost(reads_->read_failures)) break;  // it is asked for again, and what follows it
    // By their numbers: what another reader asked for may lie between.
    if (!reads_->ahead.push_back(std::move(one))) break;  // asked for again
    for (uint32_t i = reads_->ahead.count() - 1; i && reads_->ahead[i - 1].number > reads_->ahead[i].number; --i) {
      std::swap(reads_->ahead[i - 1], reads_->ahead[i]);
    }
  }
  const bool failed = !messages.empty() || (out_ && out_->read_failures);
  messages.reset();
  if (!connection_) {
    drop_inflight_content();
  } else if (failed) {
    shard_.mark_progress(*this);  // it is pumped again some time later
  } else {
    pump(now);
  }
}

// What is to be sent again has to be in memory. False: not yet.
bool Session::fetch_inflight() noexcept {
  uint64_t numbers[kFetchMessagesMax];
  uint32_t count = 0;
  out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
    if (entry.message || !entry.number || entry.state == InflightEntry::State::AwaitPubcomp) return;
    if (count < kFetchMessagesMax) numbers[count++] = entry.number;
  });
  if (!count) return true;
  if (fetching_) return false;
  std::sort(numbers, numbers + count);
  fetching_ = shard_.fetch(*this, {numbers, count});
  return false;
}

// Of a client that is away: it is kept, and read again when it comes.
void Session::drop_inflight_content() noexcept {
  if (reads_) reads_->ahead.reset();
  if (!out_ || !shard_.has_fetcher() || !shard_.state().at_once()) return;
  out_->inflight.for_each([](uint16_t, InflightEntry& entry) {
    if (entry.number && entry.kept) entry.message = {};
  });
}

// --- the will

bool Session::set_will(Will&& will) noexcept {
  clear_will();
  will_ = create<Will>(std::move(will));
  if (!will_ || !shard_.state().on() || !durable()) return will_ != nullptr;
  Array<std::byte> value;
  FieldWriter out(value);
  StoredWill{will_->delay_s, will_->expires, will_->expiry_s}.write(out);
  write_message(out, will_->message->view(), shard_.policy().unix_offset_ms);
  if (!out.ok()) {
    clear_will();
    return false;
  }
  shard_.state().writes().put_large(StateTable::Wills, state_key(state_key_text()).bytes(), value.span());
  return true;
}

void Session::clear_will() noexcept {
  if (!will_) return;
  destroy(std::exchange(will_, nullptr));
  if (stored_) shard_.state().writes().erase_below(StateTable::Wills, state_key(state_key_text()).bytes());
}

void Session::publish_due_will(Instant now) noexcept {
  if (will_ && will_->due <= now) shard_.publish_will(take_will(), now);
}

// --- how it comes back

void Session::restore(uint32_t expiry_s, Instant disconnected_at) noexcept {
  stored_ = true;
  expiry_s_ = expiry_s;
  if (expiry_s == kSessionExpiryNever) return;
  expiry_due_ = disconnected_at + int64_t{expiry_s} * kSecond;
}

bool Session::restore_will(Will&& will, Instant disconnected_at) noexcept {
  will.due = disconnected_at + int64_t{std::min(will.delay_s, expiry_s_)} * kSecond;
  will_ = create<Will>(std::move(will));
  return will_ != nullptr;
}

bool Session::restore_subscription(std::string_view topic_filter, const Subscription& options, bool durable, bool owed,
                                   JournalReader*& reader) noexcept {
  const Subscription* added = add_subscription(topic_filter, options, durable, false);
  reader = added && durable ? find_reader(*added->filter) : nullptr;
  if (!added || !owed) return added != nullptr;
  if (add_retained_flow(topic_filter, options) != Status::Ok) return false;
  out_->flows.back()->restored = true;
  return true;
}

GroupMembership* Session::restore_membership(std::string_view text, const Subscription& options, int8_t priority,
                                             uint32_t home) noexcept {
  GroupMembership* made = shard_.memberships().restore(*this, text, home);
  if (!made) return nullptr;
  made->set_options(options);
  made->priority = priority;
  made->stored = true;
  memberships_.insert(*made, membership_hash(text));
  return made;
}

bool Session::restore_inflight(uint16_t packet_id, InflightEntry&& entry, uint64_t group) noexcept {
  if (!make_outgoing() || packet_id == 0 || out_->inflight.find(packet_id)) return false;
  GroupMembership* through = group ? memberships_.find(group, [](const GroupMembership&) { return true; }) : nullptr;
  if (through) {
    if (!through->has_place() && !through->make_room()) return false;
    through->note_taken();
    entry.membership = GroupMemberships::handle(*through);
  }
  entry.sent = false;
  entry.kept = true;
  if (!out_->inflight.insert(packet_id, std::move(entry))) return false;
  const InflightEntry& added = *out_->inflight.find(packet_id);
  // The next ones are numbered behind it.
  if (out_->inflight.count() == 1 || static_cast<int32_t>(added.order - out_->next_order) >= 0) {
    out_->next_order = added.order + 1;
    last_packet_id_ = packet_id;
  }
  ++out_->unsent_count;
  shard_.note_inflight(1);
  return true;
}

void Session::finish_restore(Instant now) noexcept { arm_timer(now); }

void Session::record_whole(Instant now) noexcept {
  record(now);
  for_each_subscription([this](Subscription& one) { record_subscription(one); });
  memberships_.for_each([this](GroupMembership& one) {
    if (one.reading) one.reading->recorded = 0;
    record_membership(one);
  });
  if (out_) out_->inflight.for_each([](uint16_t, InflightEntry& entry) { entry.kept = false; });
  if (reads_) reads_->readers.for_each([](JournalReader& reader) { reader.recorded = 0; });
  record_progress();
}

}  // namespace mqttq
