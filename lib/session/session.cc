#include "session/session.h"

#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"
#include "session/shard_core.h"

namespace mqttq {

Session::~Session() {
  MQTTQ_ASSERT(!connection_ && subscriptions_.count() == 0 && !reads_ && memberships_.count() == 0 &&
               flow_count() == 0);
  shard_.note_inflight(-int64_t{inflight_count()});
  destroy(out_);
  destroy(in_);
  clear_will();
}

void Session::attach(Connection& connection, Instant now) noexcept {
  connection_ = &connection;
  cancel();
  expiry_due_ = Instant{INT64_MAX};
  forget_old_receipts(now);
}

void Session::trim() noexcept {
  if (out_ && out_->empty()) destroy(std::exchange(out_, nullptr));
  if (in_ && in_->empty()) destroy(std::exchange(in_, nullptr));
}

bool Session::detach(Instant now, bool publish_will) noexcept {
  connection_ = nullptr;
  return_to_queues(nullptr);
  drop_queue_identifiers();
  trim();
  if (!publish_will) clear_will();
  if (expiry_s_ == 0) return true;  // end_session() publishes the will
  record(now);
  if (stored_) shard_.mark_progress(*this);
  if (has_will()) {
    // The will is due when its delay has passed or the session ends, whichever is first [MQTT-3.1.3-9].
    will_->due = now + int64_t{std::min(will_->delay_s, expiry_s_)} * kSecond;
  }
  if (expiry_s_ != kSessionExpiryNever) expiry_due_ = now + int64_t{expiry_s_} * kSecond;
  memberships_.for_each([this](GroupMembership& one) { shard_.memberships().note_gone(one); });
  publish_due_will(now);
  arm_timer(now);
  return false;
}

void Session::arm_timer(Instant now) noexcept {
  const Instant due = std::min(has_will() ? will_->due : Instant{INT64_MAX}, expiry_due_);
  if (due.ns == INT64_MAX) {
    cancel();
    return;
  }
  shard_.timers().arm(*this, std::max(due, now), on_timer);
}

void Session::on_timer(Timer& timer, Instant now) noexcept {
  auto& session = static_cast<Session&>(timer);
  if (session.expiry_due_ <= now) {
    session.shard_.counters().sessions_expired.add();
    session.shard_.end_session(session, now);
    return;
  }
  session.publish_due_will(now);
  session.arm_timer(now);
}

// --- subscriptions

Subscription* Session::find_subscription(std::string_view topic_filter) noexcept {
  return subscriptions_.find(shard_.router().topic_hash(namespace_id(), topic_filter),
                             [&](const Subscription& one) { return one.filter->text() == topic_filter; });
}

Session::Subscribed Session::subscribe(std::string_view topic_filter, const Subscription& options) noexcept {
  // All above QoS 0 or none: a message that a durable one leaves to the journal must not need a live one.
  const bool durable = (this->durable() || reads_) && options.qos != Qos::AtMostOnce;
  if (Subscription* known = find_subscription(topic_filter)) {
    // Replaced in place. Once durable it stays so until its end, even at QoS 0: a message that is on its way to the
    // journal is neither lost [MQTT-3.8.4-3] nor sent live besides.
    if (durable && !known->durable) {
      if (shard_.fan_out().set_durable(*known, true) != Status::Ok) return {Status::NoMemory, true};
      if (start_reading(*known) != Status::Ok) {
        static_cast<void>(shard_.fan_out().set_durable(*known, false));
        return {Status::NoMemory, true};
      }
    }
    if (known->exclusive && !options.exclusive) shard_.router().unclaim(namespace_id(), topic_filter, publisher_id());
    known->exclusive = options.exclusive;
    known->qos = options.qos;
    known->no_local = options.no_local;
    known->retain_as_published = options.retain_as_published;
    known->identifier = options.identifier;
    record_subscription(*known);
    return {Status::Ok, true};
  }
  if (subscriptions_.count() + memberships_.count() >= shard_.limits().subscriptions_max) return {Status::Full, false};
  Subscription* added = add_subscription(topic_filter, options, durable, true);
  if (!added) return {Status::NoMemory, false};
  record_subscription(*added);
  shard_.counters().subscriptions_added.add();
  return {};
}

Subscription* Session::add_subscription(std::string_view topic_filter, const Subscription& options, bool durable,
                                        bool reading) noexcept {
  auto* added = create<Subscription>(options);
  if (!added) return nullptr;
  added->sink = this;
  added->durable = durable;
  added->serial = shard_.next_subscription_serial();
  if (shard_.fan_out().add(*added, namespace_id(), topic_filter) != Status::Ok) {
    destroy(added);
    return nullptr;
  }
  if (durable && !(reading ? start_reading(*added) == Status::Ok : make_reader(*added) != nullptr)) {
    shard_.fan_out().remove(*added);
    destroy(added);
    return nullptr;
  }
  subscriptions_.insert(*added, added->filter->hash);
  return added;
}

bool Session::unsubscribe(std::string_view topic_filter) noexcept {
  Subscription* subscription = find_subscription(topic_filter);
  if (!subscription) return false;
  end_subscription(*subscription);
  if (flow_count()) shard_.mark_pump(*this);  // what waited behind its retained messages
  return true;
}

void Session::end_subscription(Subscription& subscription) noexcept {
  subscriptions_.remove(subscription);
  if (subscription.exclusive) shard_.router().unclaim(namespace_id(), subscription.filter->text(), publisher_id());
  if (JournalReader* reader = find_reader(*subscription.filter)) end_reader(*reader);
  if (stored_) {
    const StateKey key = state_key(state_key_text()).add(subscription.filter->hash);
    shard_.state().writes().erase_below(StateTable::Subscriptions, key.bytes());
    shard_.state().writes().erase(StateTable::Positions, key.bytes());
  }
  shard_.fan_out().remove(subscription);
  destroy(&subscription);
  shard_.counters().subscriptions_removed.add();
}

void Session::unsubscribe_all(Instant now) noexcept {
  if (memberships_.count()) {
    return_to_queues(nullptr);
    give_back_shared(nullptr, now);
  }
  subscriptions_.for_each([this](Subscription& subscription) { end_subscription(subscription); });
  memberships_.for_each([this](GroupMembership& membership) { end_membership(membership); });
  end_retained_flows();
}

// --- journals

Status Session::start_reading(Subscription& subscription) noexcept {
  Journal* journal = &subscription.filter->local(shard_.index()).rare->journal;
  JournalReader* reader = make_reader(subscription);
  if (!reader) return Status::NoMemory;
  if (!journal->attach(*reader)) {
    end_reader(*reader);
    return Status::NoMemory;
  }
  journal->wait(*reader);
  if (stored_) {  // what is numbered behind this record
    const StateKey key = state_key(state_key_text()).add(subscription.filter->hash);
    shard_.state().writes().put_number(StateTable::Positions, key.bytes());
  }
  return Status::Ok;
}

// Attached to no journal yet.
JournalReader* Session::make_reader(Subscription& subscription) noexcept {
  auto* reader = create<JournalReader>();
  if (!reads_) reads_ = create<DurableReads>();
  if (!reader || !reads_ || !reads_->ready.reserve(reads_->readers.count() + 1)) {
    destroy(reader);
    drop_reads_without_readers();
    return nullptr;
  }
  reader->session = this;
  reader->filter = subscription.filter;
  reads_->readers.insert(*reader, hash_mix(reinterpret_cast<uintptr_t>(reader->filter), 0));
  return reader;
}

JournalReader* Session::find_reader(const Filter& filter) noexcept {
  if (!reads_) return nullptr;
  return reads_->readers.find(hash_mix(reinterpret_cast<uintptr_t>(&filter), 0),
                              [&](const JournalReader& reader) { return reader.filter == &filter; });
}

void Session::drop_reads_without_readers() noexcept {
  if (reads_ && reads_->readers.count() == 0) destroy(std::exchange(reads_, nullptr));
}

void Session::end_reader(JournalReader& reader) noexcept {
  reads_->readers.remove(reader);
  reads_->ready.remove(reader);
  if (reader.journal) reader.journal->detach(reader);
  destroy(&reader);
  drop_reads_without_readers();
}

void Session::on_journal(JournalReader& reader) noexcept {
  if (reader.ready_index == kInNoHeap) {
    reader.number = reader.journal->peek(reader)->number;
    reads_->ready.push(reader);
  }
  if (connection_) shard_.mark_pump(*this);
}

JournalReader* Session::first_ready() noexcept {
  while (reads_ && !reads_->ready.empty()) {
    JournalReader& first = reads_->ready.front();
    const JournalEntry* entry = first.journal->peek(first);
    if (!entry) {
      reads_->ready.remove(first);
      first.journal->wait(first);
    } else if (entry->number == first.number) {
      return &first;
    } else {  // it has been read, or was moved on by its limit
      first.number = entry->number;
      reads_->ready.moved(first);
    }
  }
  return nullptr;
}

uint64_t Session::behind_count() noexcept {
  uint64_t count = 0;
  if (!reads_) return 0;
  reads_->readers.for_each([&](JournalReader& reader) { count += reader.journal->behind_count(reader); });
  return count;
}

// --- messages to the client

uint16_t Session::window() const noexcept {
  return std::min(connection_->client_receive_maximum(), shard_.limits().inflight_max);
}

bool Session::has_room() const noexcept { return !connection_->outbox_full() && !connection_->closing(); }

void Session::mark_sent(InflightEntry& entry) noexcept {
  if (!std::exchange(entry.sent, true)) --out_->unsent_count;
}

// When there are many, everything waits: to compare with each would cost others more than it is worth to this client.
bool Session::behind_flow(std::string_view topic_name) noexcept {
  constexpr uint32_t kComparedMax = 16;
  if (out_->flow_count > kComparedMax) return true;
  for (RetainedFlow* flow = out_->flows.front(); flow; flow = out_->flows.next(*flow)) {
    if (topic_matches(flow->topic_filter(), topic_name)) return true;
  }
  return false;
}

void Session::deliver(const Delivery& delivery, Instant now) noexcept {
  MovingMessage& message = delivery.message;
  if (!connection_) return;  // live messages are for those who are here
  const bool overtakes = delivery.qos == Qos::AtMostOnce && out_ && out_->waiting_qos0_count > 0;
  if (overtakes || (flow_count() && behind_flow(message.view().topic_name))) {
    keep_waiting(delivery);
    return;
  }
  if (delivery.qos == Qos::AtMostOnce) {
    if (connection_->outbox_full()) {
      shard_.dropped(&Counters::dropped_outbox_full, this, message.view());
      return;
    }
    codec::PublishView fields;
    fields.retain = delivery.retain;
    fields.subscription_identifiers = delivery.identifiers;
    connection_->send_publish(message, fields, now);
    return;
  }
  if ((!out_ || (out_->waiting.empty() && out_->unsent_count == 0)) && !window_full() && !connection_->outbox_full()) {
    Identifiers identifiers;
    if (identifiers.set(delivery.identifiers)) {
      send(message, delivery.qos, delivery.retain, std::move(identifiers), now);
      return;
    }
  }
  keep_waiting(delivery);
}

// The oldest makes way when the outbox is full: what is new is worth more (the documented policy).
void Session::keep_waiting(const Delivery& delivery) noexcept {
  const MessageRef& kept = delivery.message.keep();
  WaitingMessage waiting;
  if (!kept || !waiting.identifiers.set(delivery.identifiers) || !make_outgoing()) {
    shard_.dropped(&Counters::dropped_no_memory, this, delivery.message.view());
    return;
  }
  waiting.message = kept;
  waiting.qos = delivery.qos;
  waiting.retain = delivery.retain;
  const uint32_t size = kept->content_size();
  while (!out_->waiting.empty() && (waiting_count() >= shard_.limits().outbox_messages_max ||
                                    out_->waiting_bytes + size > shard_.limits().outbox_bytes_max)) {
    if (out_->waiting.front().flow) {  // retained messages go first: what is new does not fit behind them
      shard_.dropped(&Counters::dropped_outbox_full, this, delivery.message.view());
      return;
    }
    const WaitingMessage oldest = take_waiting();
    shard_.dropped(&Counters::dropped_outbox_full, this, oldest.message->view());
  }
  if (!out_->waiting.push_back(std::move(waiting))) {
    shard_.dropped(&Counters::dropped_no_memory, this, delivery.message.view());
    return;
  }
  out_->waiting_bytes += size;
  if (delivery.qos == Qos::AtMostOnce) ++out_->waiting_qos0_count;
  // So many are remembered; what is not, or for want of memory, may come twice.
  constexpr uint32_t kRememberedMax = 64;
  if (out_->flow_count && kept->view().retain && out_->live_retained.count() < kRememberedMax) {
    static_cast<void>(out_->live_retained.push_back(kept.get()));
  }
}

// The first, which is a message.
WaitingMessage Session::take_waiting() noexcept {
  WaitingMessage taken = out_->waiting.pop_front();
  out_->waiting_bytes -= taken.message->content_size();
  if (taken.qos == Qos::AtMostOnce) --out_->waiting_qos0_count;
  for (uint32_t i = 0; i < out_->live_retained.count(); ++i) {
    if (out_->live_retained[i] != taken.message.get()) continue;
    out_->live_retained.remove_unordered(i);
    break;
  }
  return taken;
}

// Only with room in the window and the outbox.
Session::Sent Session::send(MovingMessage& message, Qos qos, bool retain, Identifiers&& identifiers, Instant now,
                            const GroupMembership* through, uint64_t number, const StreamAt* at) noexcept {
  const bool of_queue = through && through->gives_back();
  if (message.view().expired(now)) {
    shard_.dropped(&Counters::dropped_expired, this, message.view());
    return Sent::Dropped;
  }
  codec::PublishView fields;
  fields.retain = retain;
  fields.qos = qos;
  fields.subscription_identifiers = identifiers.span();
  const Bytes added = at ? shard_.stream_properties(*connection_, *at, message.view(), through) : Bytes();
  if (qos == Qos::AtMostOnce) {
    // That it was taken is durable before it goes out: it never comes twice.
    if (stored_ && number && !of_queue && !at) {
      if (through) {
        record_taken(*through, number);
      } else {
        record_progress();
      }
      connection_->gate();
    }
    return connection_->send_publish(message, fields, now, added) ? Sent::Yes : Sent::Dropped;
  }
  if (!make_outgoing()) {
    shard_.dropped(&Counters::dropped_no_memory, this, message.view());
    return Sent::Dropped;
  }
  uint16_t packet_id = 0;
  InflightEntry* entry = message.keep() ? enter_inflight(packet_id) : nullptr;
  if (!entry) {
    shard_.dropped(&Counters::dropped_no_memory, this, message.view());
    return Sent::Dropped;
  }
  entry->message = message.share();
  entry->identifiers = std::move(identifiers);
  if (through) entry->membership = GroupMemberships::handle(*through);
  entry->of_queue = of_queue;
  entry->of_stream = at != nullptr;
  if (at) {
    entry->position = at->position;
    entry->skipped = static_cast<uint32_t>(std::min<uint64_t>(at->skipped, UINT32_MAX));
  }
  entry->order = out_->next_order++;
  entry->state = qos == Qos::AtLeastOnce ? InflightEntry::State::AwaitPuback : InflightEntry::State::AwaitPubrec;
  entry->qos = qos;
  entry->retain = retain;
  entry->number = number;
  if (stored_ && !of_queue) record_sent(packet_id, *entry);
  fields.packet_id = packet_id;
  fields.subscription_identifiers = entry->identifiers.span();
  if (connection_->send_publish(message, fields, now, added) || connection_->closing()) return Sent::Yes;
  entry->membership = {};
  finish(packet_id, *entry);  // too large for this client: as if it were delivered
  return Sent::Dropped;
}

void Session::resend(Instant) noexcept {
  if (stored_) connection_->gate();  // behind what the connection before had to wait for
  if (out_) {
    out_->inflight.for_each([](uint16_t, InflightEntry& entry) { entry.sent = false; });
    out_->unsent_count = out_->inflight.count();
    out_->unsent.reset();
  }
  if (out_) ask_for_retained();  // for what a broker before this one owed
  note_group_state();            // groups may hand over what waited: it comes behind
  shard_.mark_pump(*this);
}

void Session::pump(Instant now) noexcept {
  if (nothing_to_pump()) return;
  if (!connection_ || connection_->closing()) return;
  const bool had_flows = flow_count() != 0;
  if (!out_ || (pump_unsent(now) && pump_waiting(now))) pump_journals(now);
  if (record_at_once_) {  // in the record that the identifiers are in: what was read is not read again
    record_at_once_ = false;
    record_progress();
  }
  if (had_flows && out_->empty()) trim();  // most clients subscribe once, and are quiet then
  if (some_group_found_full_ && may_take_shared(Qos::AtLeastOnce, true)) tell_groups_of_room();
}

// Each of these is false when there is no more room.

// In the order of the first sending, and within the window of the connection there is now [MQTT-3.3.4-9].
bool Session::pump_unsent(Instant now) noexcept {
  if (out_->unsent_count != 0 && !fetch_inflight()) return false;
  if (out_->unsent_count != 0 && out_->unsent.empty() && !line_up_unsent(now)) return false;
  for (; !out_->unsent.empty(); out_->unsent.pop_front()) {
    const uint16_t packet_id = out_->unsent.front();
    InflightEntry* entry = out_->inflight.find(packet_id);
    if (!entry || entry->sent) continue;  // the client has answered it all the same
    if (window_full() || !has_room()) return false;
    send_again(packet_id, *entry, now);
  }
  out_->unsent.reset();
  return true;
}

// Once for each connection: they are sorted, and what has no room is put into `unsent`. A PUBREL waits for no window
// [MQTT-3.3.4-10]. False without memory: the connection is then closed.
bool Session::line_up_unsent(Instant now) noexcept {
  Array<uint16_t> identifiers;
  bool complete = collect_inflight(identifiers, [](const InflightEntry& entry) { return !entry.sent; });
  for (const uint16_t packet_id : identifiers) {
    if (!complete) break;
    InflightEntry& entry = *out_->inflight.find(packet_id);
    if (entry.state == InflightEntry::State::AwaitPubcomp) {
      mark_sent(entry);
      connection_->send_ack(codec::PacketType::Pubrel, packet_id, ReasonCode::Success);
    } else if (out_->unsent.empty() && !window_full() && has_room()) {
      send_again(packet_id, entry, now);
    } else {
      complete = out_->unsent.push_back(uint16_t{packet_id});
    }
  }
  if (!complete) connection_->close(ReasonCode::ServerBusy, now);
  return complete;
}

void Session::send_again(uint16_t packet_id, InflightEntry& entry, Instant now) noexcept {
  mark_sent(entry);
  MovingMessage message(entry.message);
  codec::PublishView fields;
  fields.dup = true;  // [MQTT-3.3.1-1]
  fields.retain = entry.retain;
  fields.qos = entry.qos;
  fields.packet_id = packet_id;
  fields.subscription_identifiers = entry.identifiers.span();
  Bytes added;
  if (entry.of_stream) {
    const StreamAt at{entry.position, entry.number, entry.message->logged_us(), entry.skipped};
    added = shard_.stream_properties(*connection_, at, message.view(), shard_.memberships().find(entry.membership));
  }
  if (connection_->send_publish(message, fields, now, added) || connection_->closing()) return;
  if (entry.qos == Qos::ExactlyOnce) connection_->send_ack(codec::PacketType::Pubrel, packet_id, ReasonCode::Success);
  give_up(packet_id, entry);
}

template <class Wanted>
bool Session::collect_inflight(Array<uint16_t>& out, Wanted&& wanted) noexcept {
  bool complete = true;
  if (!out_) return true;
  out_->inflight.for_each([&](uint16_t packet_id, InflightEntry& entry) {
    if (wanted(static_cast<const InflightEntry&>(entry))) complete = complete && out.push_back(packet_id);
  });
  std::sort(out.begin(), out.end(), [this](uint16_t a, uint16_t b) {
    return static_cast<int32_t>(out_->inflight.find(a)->order - out_->inflight.find(b)->order) < 0;
  });
  return complete;
}

bool Session::pump_waiting(Instant now) noexcept {
  while (!out_->waiting.empty()) {
    if (RetainedFlow* flow = out_->waiting.front().flow) {
      if (!pump_flow(*flow, now)) return false;
      out_->waiting.pop_front();
      continue;
    }
    if (out_->waiting.front().qos != Qos::AtMostOnce && window_full()) return false;
    if (!has_room()) return false;
    WaitingMessage waiting = take_waiting();
    MovingMessage message(waiting.message);
    send(message, waiting.qos, waiting.retain, std::move(waiting.identifiers), now);
  }
  return true;
}

// Reads all journals merged by number, so that what several filters match is sent once, in order.
bool Session::pump_journals(Instant now) noexcept {
  Array<uint32_t> identifiers;
  while (JournalReader* first = first_ready()) {
    if (window_full() || !has_room()) return false;
    MessageRef kept;
    const Content found = content(*first, kept);
    if (found == Content::Asked) return false;
    if (kept && stored_ && shard_.state().failing() && kept->qos() == Qos::ExactlyOnce) {
      shard_.mark_progress(*this);  // it is pumped again then
      return false;
    }
    const uint64_t number = first->number;
    for (; first && first->number == number; first = first_ready()) first->journal->advance(*first);
    if (stored_) shard_.mark_progress(*this);
    if (found == Content::Lost) {
      shard_.count_lost();
      continue;
    }
    MovingMessage message(std::move(kept));
    const MessageView& view = message.view();
    // All subscriptions that match count, the live ones too: they left this message to the journal.
    Qos granted = Qos::AtMostOnce;
    bool retain_as_published = false;
    bool owed = false;  // by a durable subscription? Otherwise it went out live, if at all.
    identifiers.clear();
    const auto consider = [&](Subscription& subscription) {
      if (subscription.no_local && view.publisher == publisher_id()) return;
      owed |= subscription.durable;
      granted = std::max(granted, subscription.qos);
      retain_as_published |= subscription.retain_as_published;
      if (subscription.identifier) static_cast<void>(identifiers.push_back(subscription.identifier));
    };
    const RouteRef* route = nullptr;
    if (subscriptions_.count() > 8 &&
        shard_.routes().find(namespace_id(), view.topic_name, UINT32_MAX, route) == RouteCache::Outcome::Found) {
      for (Filter* filter : (*route)->subscribed()) {
        if (Subscription* one = find_subscription(filter->text())) consider(*one);
      }
    } else {
      subscriptions_.for_each([&](Subscription& one) {
        if (topic_matches(one.filter->text(), view.topic_name)) consider(one);
      });
    }
    if (!owed) continue;
    Identifiers kept_identifiers;
    if (!kept_identifiers.set(identifiers.span())) identifiers.clear();
    send(message, std::min(view.qos, granted), view.retain && retain_as_published, std::move(kept_identifiers), now, {},
         number);
  }
  return true;
}

// --- acknowledgements of the client

// It may not have been sent on this connection yet: then it was on the one before.
void Session::finish(uint16_t packet_id, InflightEntry& entry, uint64_t marks) noexcept {
  mark_sent(entry);
  if (entry.membership.generation) {
    marks |= entry.kept ? GroupNumbers::kRecorded : 0;
    shard_.memberships().note_done(entry.membership, entry.number, marks);
  }
  if (entry.kept && stored_) {
    shard_.state().writes().erase_below(StateTable::Inflight, state_key(state_key_text()).add(packet_id).bytes());
  }
  leave_inflight(packet_id);
}

// It cannot be sent again. The client may have it: at QoS 2 its identifier is free once that has been released, be it
// unknown there.
void Session::give_up(uint16_t packet_id, InflightEntry& entry) noexcept {
  if (entry.qos != Qos::ExactlyOnce) return finish(packet_id, entry);
  entry.state = InflightEntry::State::AwaitPubcomp;
  entry.message = {};
  if (stored_) record_inflight(packet_id, entry);
}

InflightEntry* Session::enter_inflight(uint16_t& packet_id) noexcept {
  do {
    if (++last_packet_id_ == 0) last_packet_id_ = 1;
  } while (out_->inflight.find(last_packet_id_));
  packet_id = last_packet_id_;
  InflightEntry* added = out_->inflight.insert(packet_id);
  if (added) shard_.note_inflight(1);
  return added;
}

void Session::leave_inflight(uint16_t packet_id) noexcept {
  if (out_->inflight.remove(packet_id)) shard_.note_inflight(-1);
}

bool Session::on_puback(uint16_t packet_id, bool rejected, Instant now) noexcept {
  InflightEntry* entry = find_inflight(packet_id);
  if (!entry || entry->state != InflightEntry::State::AwaitPuback) return false;
  finish(packet_id, *entry, rejected && entry->of_queue ? GroupNumbers::kRejected : 0);
  pump(now);
  return true;
}

Session::Pubrec Session::on_pubrec(uint16_t packet_id, bool failed, Instant now) noexcept {
  InflightEntry* entry = find_inflight(packet_id);
  if (!entry || entry->state == InflightEntry::State::AwaitPuback) return Pubrec::NotFound;
  mark_sent(*entry);
  if (failed) {  // the exchange is over, and its place in the window free (MQTT5 4.9)
    finish(packet_id, *entry);
    pump(now);
    return Pubrec::Ended;
  }
  entry->state = InflightEntry::State::AwaitPubcomp;
  entry->message = {};  // [MQTT-4.3.3-4] it is not sent again
  if (stored_) {
    record_inflight(packet_id, *entry);
    connection_->gate();
  }
  return Pubrec::Release;
}

bool Session::on_pubcomp(uint16_t packet_id, Instant now) noexcept {
  InflightEntry* entry = find_inflight(packet_id);
  if (!entry || entry->state != InflightEntry::State::AwaitPubcomp) return false;
  finish(packet_id, *entry);
  pump(now);
  return true;
}

// --- shared groups

GroupMembership* Session::find_membership(std::string_view shared_filter) noexcept {
  return memberships_.find(membership_hash(shared_filter),
                           [&](const GroupMembership& one) { return one.text() == shared_filter; });
}

uint64_t Session::membership_hash(std::string_view shared_filter) const noexcept {
  return hash_text(shared_filter, shard_.router().seed());
}

GroupMembership* Session::join_group(std::string_view text, const Subscription& options, bool declare,
                                     const StreamTerms& terms) noexcept {
  GroupMembership* joined = shard_.memberships().join(*this, text, options, declare, terms);
  if (joined) memberships_.insert(*joined, membership_hash(text));
  return joined;
}

void Session::set_membership(GroupMembership& membership, const Subscription& options) noexcept {
  membership.set_options(options);
  membership.accepted = true;
  shard_.memberships().note_state(membership);  // of its QoS
  record_membership(membership);
  if (membership.has_place()) record_progress();  // in front of the place that was recorded
}

// What was sent through it is finished by the session all the same [MQTT-3.10.4-3]; of a queue it is another's too.
bool Session::leave_group(std::string_view shared_filter) noexcept {
  GroupMembership* left = find_membership(shared_filter);
  if (!left) return false;
  if (left->gives_back()) return_to_queues(left);
  if (stored_) record_progress();  // it is on its own with what it has
  end_membership(*left);
  return true;
}

void Session::end_membership(GroupMembership& membership) noexcept {
  if (stored_ && membership.stored) {
    const StateKey key = membership_key(membership);
    shard_.state().writes().erase_below(StateTable::Subscriptions, key.bytes());
    shard_.state().writes().erase(StateTable::Positions, key.bytes());
  }
  memberships_.remove(membership);
  shard_.memberships().leave(membership);
}

void Session::on_group_answer() noexcept {
  if (connection_) shard_.mark_stalled(*connection_);
}

MemberState Session::group_state() const noexcept {
  const bool connected = connection_ && !connection_->closing();
  return {connected ? window() : uint16_t{0}, connected, durable()};
}

void Session::note_group_state() noexcept {
  memberships_.for_each([this](GroupMembership& one) { shard_.memberships().note_state(one); });
}

// in_order: at any QoS it comes behind what is still to be sent again.
bool Session::may_take_shared(Qos qos, bool in_order) const noexcept {
  if (connection_->outbox_full()) return false;
  if (!out_) return true;
  if (qos == Qos::AtMostOnce) {
    return out_->waiting_qos0_count == 0 && out_->flow_count == 0 && (!in_order || out_->unsent_count == 0);
  }
  return out_->waiting.empty() && out_->unsent_count == 0 && !window_full();
}

Handed Session::take_shared(GroupMembership& membership, MovingMessage& message, uint64_t number, uint64_t skipped,
                            Instant now) noexcept {
  if (!connection_ || connection_->closing()) return Handed::Away;
  if (membership.returns()) return Handed::Full;
  const MessageView& view = message.view();
  const Qos qos = membership.of_queue ? membership.qos : std::min(view.qos, membership.qos);
  // What has to be written before it goes out waits for a store that fails.
  const bool written = stored_ && number && qos != Qos::AtLeastOnce && !membership.gives_back();
  const bool unwritable = written && shard_.state().failing();
  if (unwritable) shard_.mark_progress(*this);
  if (unwritable || !may_take_shared(qos, membership.reading) || (number && !membership.make_room())) {
    membership.was_full = some_group_found_full_ = true;
    return Handed::Full;
  }
  shard_.memberships().note_served(membership);
  Identifiers identifiers;
  static_cast<void>(identifiers.set({&membership.identifier, membership.identifier ? 1u : 0u}));  // one needs no memory
  const bool retain = view.retain && membership.retain_as_published;
  const StreamAt at{number - 1, 0, message.logged_us(), skipped};
  const Sent sent =
      send(message, qos, retain, std::move(identifiers), now, &membership, number, membership.reading ? &at : nullptr);
  if (sent == Sent::Dropped && membership.of_queue) return Handed::Refused;
  if (sent == Sent::Dropped || qos == Qos::AtMostOnce) return Handed::Finished;
  if (number) membership.note_taken();
  return Handed::Open;
}

Handed Session::take_read(GroupMembership& membership, MovingMessage& message, const StreamAt& at,
                          Instant now) noexcept {
  if (!connection_ || connection_->closing()) return Handed::Away;
  const MessageView& view = message.view();
  const Qos qos = std::min(view.qos, membership.qos);
  const bool written = stored_ && qos == Qos::ExactlyOnce;  // before it goes out: it never comes twice
  const bool unwritable = written && shard_.state().failing();
  if (unwritable) shard_.mark_progress(*this);
  if (unwritable || !may_take_shared(qos, true)) {
    membership.was_full = some_group_found_full_ = true;
    return Handed::Full;
  }
  shard_.memberships().note_served(membership);
  StreamPlace& place = membership.reading->place;
  place.position = at.position + 1;
  place.number = at.number + 1;
  StreamAt told = at;
  told.skipped += std::exchange(membership.reading->untold, 0);
  Identifiers identifiers;
  static_cast<void>(identifiers.set({&membership.identifier, membership.identifier ? 1u : 0u}));  // one needs no memory
  const bool retain = view.retain && membership.retain_as_published;
  const Sent sent = send(message, qos, retain, std::move(identifiers), now, &membership, at.number, &told);
  if (sent == Sent::Dropped) membership.reading->untold = told.skipped;
  if (stored_) shard_.mark_progress(*this);
  if (written && sent_unrecorded_) {
    record_progress();  // what lies in front of the place is found by it no more
  } else if (written) {
    record_place(membership);
  }
  if (sent == Sent::Dropped || qos == Qos::AtMostOnce) return Handed::Finished;
  membership.note_taken();
  return Handed::Open;
}

void Session::take_read(GroupMembership& membership, StreamBatch& batch, Instant now) noexcept {
  StreamPlace& place = membership.reading->place;
  for (; batch.epoch == place.epoch && !batch.items.empty(); batch.items.pop_front()) {
    StreamBatch::Item& item = batch.items.front();
    MovingMessage message(std::move(item.message));
    switch (take_read(membership, message, item.at, now)) {
      case Handed::Open: break;
      case Handed::Full:
      case Handed::Away: ++place.epoch; break;  // until the stream goes on from its place
      default: shard_.memberships().note_read(membership); break;
    }
  }
}

void Session::tell_groups_of_room() noexcept {
  some_group_found_full_ = false;
  memberships_.for_each([this](GroupMembership& one) {
    if (one.was_full) shard_.memberships().note_state(one);
  });
}

void Session::recall(const GroupMembership& membership, Instant now) noexcept {
  if (!connection_) give_back_shared(&membership, now);
}

// A QoS 2 delivery that was begun is finished with this client or with nobody [MQTT-4.8.2-4] [MQTT-4.8.2-5].
void Session::give_back_shared(const GroupMembership* membership, Instant now) noexcept {
  Array<uint16_t> identifiers;
  const SlabHandle only = membership ? GroupMemberships::handle(*membership) : SlabHandle();
  static_cast<void>(collect_inflight(identifiers, [&](const InflightEntry& entry) {  // without memory: fewer
    return entry.membership.generation && !entry.of_queue && !entry.of_stream &&
           (!membership || entry.membership == only) && entry.state == InflightEntry::State::AwaitPuback;
  }));
  for (const uint16_t packet_id : identifiers) {
    InflightEntry& entry = *out_->inflight.find(packet_id);
    GroupMembership* of = shard_.memberships().find(entry.membership);
    const MessageRef message = std::move(entry.message);
    const uint64_t number = entry.number;
    mark_sent(entry);
    if (entry.kept && stored_) {
      shard_.state().writes().erase_below(StateTable::Inflight, state_key(state_key_text()).add(packet_id).bytes());
      if (of && number) shard_.state().writes().erase(StateTable::GroupTaken, taken_key(*of, number).bytes());
    }
    leave_inflight(packet_id);
    if (of) shard_.memberships().give_back(*of, message, number, true, Handed::Away, now);
  }
}

// --- queues

void Session::return_to_queues(const GroupMembership* membership) noexcept {
  if (!out_) return;
  const SlabHandle only = membership ? GroupMemberships::handle(*membership) : SlabHandle();
  out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
    if (!entry.of_queue || !entry.membership.generation || (membership && entry.membership != only)) return;
    shard_.memberships().note_done(entry.membership, entry.number, GroupNumbers::kReturned);
    entry.membership = {};
    entry.number = 0;
    entry.message = {};
  });
}

// The connection on which they were sent is gone, and no acknowledgement of it comes any more.
void Session::drop_queue_identifiers() noexcept {
  if (!out_) return;
  uint16_t some[64];
  for (uint32_t count = 1; count;) {
    count = 0;
    out_->inflight.for_each([&](uint16_t packet_id, InflightEntry& entry) {
      if (entry.of_queue && count < std::size(some)) some[count++] = packet_id;
    });
    for (uint32_t i = 0; i < count; ++i) {
      mark_sent(*out_->inflight.find(some[i]));
      leave_inflight(some[i]);
    }
  }
}

void Session::on_object_deleted(GroupMembership& membership, Instant now) noexcept {
  const bool of_stream = membership.reading != nullptr;
  return_to_queues(&membership);
  end_membership(membership);
  const Policy& policy = shard_.policy();
  if (!connection_ || !(of_stream ? policy.streams.disconnect_on_delete : policy.queues.disconnect_on_delete)) return;
  const Reason deleted(ReasonCode::AdministrativeAction, of_stream ? Detail::StreamDeleted : Detail::QueueDeleted);
  shard_.release_connection(*connection_, deleted, now);
}

}  // namespace mqttq
