#include "session/shard_core.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"
#include "session/connection_parts.h"

namespace mqttq {

namespace {
constexpr int64_t kLinesPerSecond = 10;  // of log about what peers do
}

ShardCore::ShardCore(const ShardWorld& world, uint32_t index, uint64_t seed, Instant now)
    : world_(world),
      index_(index),
      client_id_seed_(seed),
      timers_(now),
      postman_(world.office, index),
      fan_out_(world.router, index),
      routes_(world.router, 8192),
      retained_(hash_mix(world.router.seed(), 1),
                std::max(1u, world.limits.retained_messages_max / world.router.shard_count()),
                world.limits.retained_bytes_max / world.router.shard_count()),
      groups_(fan_out_, *this, world.policy.shared, {world.limits.outbox_messages_max, world.limits.outbox_bytes_max},
              world.router.seed()),
      queues_(fan_out_, *this, *this, timers_, world.router.seed()),
      streams_(fan_out_, *this, *this, timers_, world.router.seed()),
      cursors_(streams_, *this, *this, world.router.seed()),
      memberships_(*this),
      delayed_(world.limits, world.population.delayed, timers_, *this),
      state_(world.state, index),
      ages_(world.limits.outbox_age_max_s),
      connections_(world.limits.connections_max, &world.population.connections),
      sessions_(world.limits.sessions_max, &world.population.sessions),
      connect_tokens_(int64_t{world.limits.connect_rate} * 1000),
      connect_tokens_at_(now),
      log_tokens_(kLinesPerSecond),
      log_tokens_at_(now),
      sys_(*this, now) {
  world.population.figures[index] = &figures_;
  set_observer(world.observer);
  fan_out_.set_limiter(
      this, [](void* user, Journal& journal) noexcept { static_cast<ShardCore*>(user)->enforce_limits(journal); });
  const auto bound = [](uint64_t limit) { return limit ? limit : UINT64_MAX; };
  fan_out_.set_bounds(bound(world.limits.journal_messages), bound(world.limits.journal_bytes));
  progress_alarm_.shard = reopen_alarm_.shard = age_alarm_.shard = this;
  now_ = now;  // what is restored before the first turn arms timers
}

// Operators hear of it now and then, since nobody else does.
void ShardCore::count_dropped_limit(uint32_t count) noexcept {
  constexpr int64_t kToldAgain = 60 * kSecond;
  if (!count) return;
  counters_.messages_dropped.add(count);
  counters_.dropped_limit.add(count);
  if (!world_.log || (drops_told_at_.ns && now_ - drops_told_at_ < kToldAgain)) return;
  drops_told_at_ = now_;
  world_.log->write(LogLevel::Warning,
                    "messages for kept sessions or groups are dropped: they are more, or older, than "
                    "limits.outbox_messages_max, outbox_bytes_max and outbox_age_max_s let wait");
}

void ShardCore::enforce_limits(Journal& journal) noexcept {
  journal.enforce(limits().outbox_messages_max, limits().outbox_bytes_max, [&](Cursor& cursor, uint32_t count) {
    count_dropped_limit(count);
    if (cursor.of_group) return groups_.note_changed(static_cast<GroupReader&>(cursor));
    Session& session = *static_cast<JournalReader&>(cursor).session;
    if (session.stored()) mark_progress(session);
  });
}

ShardCore::~ShardCore() {
  abandon();
  world_.population.figures[index_] = nullptr;
}

void ShardCore::abandon_connections() noexcept {
  gated_.clear();
  for (auto* list : {&dirty_, &stalled_, &closing_}) list->clear();
  moving_.clear();
  for (uint32_t i = 0; i < connections_.index_end(); ++i) {
    Connection* connection = connections_.at(i);
    if (!connection) continue;
    if (Session* session = std::exchange(connection->session_, nullptr)) {
      session->release_connection();
      world_.population.client_went();
    }
    if (connection->link_) connection->link_->close(true);
    connection->link_ = nullptr;
    connections_.give_back(*connection);
  }
}

void ShardCore::abandon() noexcept {
  state_.stop();  // what is kept stays
  tell_durable_waiters(true);
  progress_alarm_.cancel();
  reopen_alarm_.cancel();
  age_alarm_.cancel();
  to_record_.clear();
  to_pump_.clear();
  inside_of_clients_ = 0;
  while (!inside_.empty()) {
    const InsidePublish lost = inside_.pop_front();
    if (lost.finished) lost.finished->fetch_sub(1, std::memory_order_relaxed);
  }
  delayed_.clear();
  for (uint32_t i = 0; i < answers_.index_end(); ++i) {
    if (OpenAnswer* open = answers_.at(i)) answers_.give_back(*open);
  }
  abandon_connections();
  for (uint32_t i = 0; i < sessions_.index_end(); ++i) {
    Session* session = sessions_.at(i);
    if (!session) continue;
    session->forget_stored();
    session->clear_will();
    session->pump_marked = session->progress_marked = false;
    end_session(*session, now_);
  }
  queues_.abandon();
  cursors_.abandon();
  streams_.abandon();
  for (uint32_t i = 0; i < letters_.index_end(); ++i) {
    Letter* letter = letters_.at(i);
    if (!letter) continue;
    if (letter->wait.done) letter->wait.done(letter->wait.user, false);
    letters_.give_back(*letter);
  }
  late_joins_.reset();
}

// --- connections

Connection* ShardCore::open(Link& link, const ListenerInfo& listener, Instant now) noexcept {
  Connection* connection = connections_.take(*this, link, listener, now);
  if (connection) counters_.connections_opened.add();
  return connection;
}

void ShardCore::mark_dirty(Connection& connection) noexcept {
  connection.dirty = true;
  if (!dirty_.push_back(&connection)) look_for_dirty_ = true;
}

void ShardCore::mark_stalled(Connection& connection) noexcept {
  if (connection.stalled) return;
  connection.stalled = stalled_.push_back(&connection);
  if (!connection.stalled) look_for_stalled_ = true;
}

void ShardCore::mark_closing(Connection& connection) noexcept {
  if (connection.to_close) return;
  connection.to_close = true;
  if (!closing_.push_back(&connection)) look_for_closing_ = true;
}

void ShardCore::mark_moving(Connection& connection, uint32_t to) noexcept {
  if (!moving_.push_back({&connection, to})) connection.close(ReasonCode::ServerBusy, {});
}

void ShardCore::mark_pump(Session& session) noexcept {
  if (session.pump_marked) return;
  session.pump_marked = to_pump_.push_back(&session);
  if (!session.pump_marked) look_for_pumps_ = true;
}

void ShardCore::release_connection(Connection& connection, const CloseReason& reason, Instant now) noexcept {
  Session* session = connection.session_;
  connection.close(reason, now);
  if (!session) return;
  connection.session_ = nullptr;
  tell_disconnected(connection, *session, reason.code, false, now);
  if (session->detach(now, connection.publish_will_)) end_session(*session, now);
}

void ShardCore::tell_connected(const Connection& connection, Instant now) noexcept {
  world_.population.client_came();
  if (SessionObserver* observer = world_.observer) {
    observer->on_session_event(index_, SessionEvent::Connected, connection.namespace_id(),
                               connection.session_->client_id(), ReasonCode::Success, connection.link_->peer_address());
  }
  sys_.on_connected(connection, now);
}

void ShardCore::tell_disconnected(const Connection& connection, const Session& session, ReasonCode reason, bool lost,
                                  Instant now) noexcept {
  world_.population.client_went();
  if (SessionObserver* observer = world_.observer) {
    observer->on_session_event(index_, SessionEvent::Disconnected, session.namespace_id(), session.client_id(), reason,
                               connection.link_->peer_address());
  }
  if (lost) {
    sys_.on_disconnected(connection, session, "connection lost", ReasonCode::UnspecifiedError, now);
  } else {
    const bool normal = reason == ReasonCode::Success;  // the specification's name of 0x00 in a DISCONNECT
    sys_.on_disconnected(connection, session, normal ? "normal disconnection" : to_text(reason), reason, now);
  }
}

void ShardCore::on_access_answer(const AccessTicket& ticket, const AccessAnswer& answer, Instant now) noexcept {
  if (Connection* connection = connections_.find(ticket.connection)) {
    connection->on_access_answer(ticket.question, answer, now);
  }
}

bool ShardCore::disconnect(NamespaceId namespace_id, std::string_view client_id, const CloseReason& reason, bool end,
                           Instant now) noexcept {
  Session* session = find_session(namespace_id, client_id);
  if (!session) return false;
  if (end) session->set_expiry_s(0);
  if (session->connection()) {
    release_connection(*session->connection(), reason, now);
  } else if (end) {
    end_session(*session, now);
  }
  return true;
}

void ShardCore::close_all(ReasonCode reason, Instant now) noexcept {
  world_.population.ending = true;
  for (uint32_t i = 0; i < connections_.index_end(); ++i) {
    if (Connection* connection = connections_.at(i)) connection->close(reason, now);
  }
}

bool ShardCore::take_connect_token(Instant now) noexcept {
  const int64_t rate = limits().connect_rate;
  if (!rate) return true;
  const int64_t elapsed_ms = (now - connect_tokens_at_) / kMillisecond;
  connect_tokens_ = std::min(connect_tokens_ + elapsed_ms * rate, rate * 1000);
  connect_tokens_at_ = connect_tokens_at_ + elapsed_ms * kMillisecond;
  if (connect_tokens_ < 1000) return false;
  connect_tokens_ -= 1000;
  return true;
}

// --- sessions

uint32_t ShardCore::home_of(NamespaceId namespace_id, std::string_view client_id) const noexcept {
  const uint64_t hash = hash_text(client_id, hash_mix(world_.router.seed(), namespace_id + 0x1'0000'0000u));
  return static_cast<uint32_t>(hash % world_.router.shard_count());
}

uint32_t ShardCore::retained_home_of(NamespaceId namespace_id, std::string_view topic_name) const noexcept {
  return static_cast<uint32_t>((world_.router.topic_hash(namespace_id, topic_name) >> 17) %
                               world_.router.shard_count());
}

// Not 0: it is the publisher too, for No Local.
uint64_t ShardCore::session_hash(NamespaceId namespace_id, std::string_view client_id) const noexcept {
  const uint64_t hash = hash_text(client_id, hash_mix(world_.router.seed(), namespace_id));
  return hash ? hash : 1;
}

Session* ShardCore::find_session(NamespaceId namespace_id, std::string_view client_id) noexcept {
  return sessions_by_id_.find(session_hash(namespace_id, client_id), [&](const Session& session) {
    return session.namespace_id() == namespace_id && session.client_id() == client_id;
  });
}

Session* ShardCore::make_session(NamespaceId namespace_id, std::string_view client_id) noexcept {
  const uint64_t hash = session_hash(namespace_id, client_id);
  Session* session = sessions_.take(*this, namespace_id);
  if (!session) return nullptr;
  if (!session->set_client_id(client_id)) {
    sessions_.give_back(*session);
    return nullptr;
  }
  sessions_by_id_.insert(*session, hash);
  counters_.sessions_opened.add();
  return session;
}

void ShardCore::end_session(Session& session, Instant now) noexcept {
  MQTTQ_ASSERT(!session.connection());
  session.cancel();
  if (session.has_will()) publish_will(session.take_will(), now);
  session.record_end();
  forget_progress(session);
  session.unsubscribe_all(now);
  if (SessionObserver* observer = world_.observer) {
    observer->on_session_event(index_, SessionEvent::SessionEnded, session.namespace_id(), session.client_id(),
                               ReasonCode::Success, {});
  }
  if (session.pump_marked) *std::find(to_pump_.begin(), to_pump_.end(), &session) = nullptr;
  sessions_by_id_.remove(session);
  sessions_.give_back(session);
  counters_.sessions_ended.add();
}

uint32_t ShardCore::assign_client_id(NamespaceId namespace_id, SlabHandle connection, std::span<char> out) noexcept {
  static constexpr char kAlphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  constexpr std::string_view kPrefix = "auto-";
  constexpr uint32_t kSize = kPrefix.size() + 20;
  MQTTQ_ASSERT(out.size() >= kSize);
  const uint64_t place = uint64_t{connection.index} << 32 | connection.generation;
  Random random(hash_mix(client_id_seed_, place));
  do {  // one in shard_count has its home here
    std::copy(kPrefix.begin(), kPrefix.end(), out.begin());
    for (uint32_t i = kPrefix.size(); i < kSize; ++i) out[i] = kAlphabet[random.below(36)];
  } while (home_of(namespace_id, {out.data(), kSize}) != index_ || find_session(namespace_id, {out.data(), kSize}));
  return kSize;
}

void ShardCore::publish_will(Will will, Instant now) noexcept {
  counters_.wills_published.add();
  if (will.expires) {
    MessageView view = will.message->view();
    view.expires_at = now + int64_t{will.expiry_s} * kSecond;
    will.message = Message::create(view);
  }
  if (!will.message || !publish_from_inside(will.message, now)) {
    count_dropped_no_memory(1);
  }
}

// Where there is no message any more that dropped() could tell of.
void ShardCore::count_dropped_no_memory(uint32_t count) noexcept {
  counters_.messages_dropped.add(count);
  counters_.dropped_no_memory.add(count);
}

void ShardCore::dropped(Counter Counters::* why, const Session* session, const MessageView& message) noexcept {
  if (is_sys_topic(message.topic_name)) {
    counters_.sys_messages_dropped.add();
  } else {
    counters_.messages_dropped.add();
    (counters_.*why).add();
  }
  if (SessionObserver* observer = message_observer()) {
    observer->on_message_event(index_, MessageEvent::Dropped, session ? session->client_id() : std::string_view(),
                               message);
  }
}

// --- publishing

bool ShardCore::publish_from_inside(const MessageRef& message, Instant now, std::atomic<uint32_t>* finished) noexcept {
  return publish_inside({message, {}, finished}, now);
}

bool ShardCore::publish_of_broker(const MessageRef& message, Instant now) noexcept {
  return publish_inside({message, {}, nullptr, true}, now);
}

Reason ShardCore::delay(MovingMessage& message, std::string_view client_id, Instant due) noexcept {
  return keep_delayed(message, client_id, due);
}

void ShardCore::delay_from_inside(const MessageRef& message, Instant due) noexcept {
  MovingMessage moving(message);
  const Reason taken = delay(moving, {}, due);
  if (taken.ok()) return;
  dropped(taken.detail == Detail::NoMemory ? &Counters::dropped_no_memory : &Counters::dropped_limit, nullptr,
          message->view());
}

// One at a time where takers have no room: what waits for them stays within the bounds of what is delayed.
bool ShardCore::publish_delayed(const MessageRef& message, Instant now) noexcept {
  if (!inside_.empty()) return false;
  if (publish_from_inside(message, now)) return true;
  try_again_ = true;
  return false;
}

void ShardCore::continue_publish(MessageRef message, const PublishOperation& operation, Instant now) noexcept {
  if (message && enter_inside({std::move(message), operation, nullptr})) return;
  PublishOperation refused = operation;
  refused.reason = {ReasonCode::QuotaExceeded, Detail::NoMemory};
  if (!operation.origin.wanted()) {
    count_dropped_no_memory(1);
  }
  if (Session* session = sessions_.find(operation.origin.session)) session->on_handed_over(refused, now);
}

bool ShardCore::enter_inside(InsidePublish&& one) noexcept {
  const bool of_client = one.message->view().publisher != 0;
  if (!inside_.push_back(std::move(one))) return false;
  inside_of_clients_ += of_client;
  return true;
}

bool ShardCore::publish_inside(InsidePublish&& one, Instant now) noexcept {
  if (!enter_inside(std::move(one))) return false;
  if (inside_.count() == 1 && !running_inside_) run_inside_publishes(now);
  return true;
}

bool ShardCore::publishes_from_inside(PublisherId publisher) noexcept {
  for (uint32_t i = 0; inside_of_clients_ && i < inside_.count(); ++i) {
    if (inside_[i].message->view().publisher == publisher) return true;
  }
  return false;
}

void ShardCore::run_inside_publishes(Instant now) noexcept {
  if (running_inside_) return;
  running_inside_ = true;
  while (!inside_.empty()) {
    InsidePublish& one = inside_.front();
    const RouteRef* route = nullptr;
    auto outcome = RouteCache::Outcome::Found;
    RouteRef walked;
    if (one.of_broker && !one.message->view().retain) {  // a topic of one client: the cache is for what comes again
      walked = world_.router.match(one.message->namespace_id(), one.message->topic_name());
      route = &walked;
      if (!walked) outcome = RouteCache::Outcome::NoMemory;
    } else {
      outcome = routes_.find(one.message->namespace_id(), one.message->topic_name(), UINT32_MAX, route);
    }
    if (outcome == RouteCache::Outcome::NoMemory) {
      try_again_ = true;
      break;
    }
    if (outcome == RouteCache::Outcome::Found) {
      MovingMessage message(one.message);
      if (!publish(message, *route, one.operation, now)) break;
    }
    const InsidePublish done = inside_.pop_front();
    inside_of_clients_ -= done.message->view().publisher != 0;
    if (done.finished) done.finished->fetch_sub(1, std::memory_order_relaxed);
    if (done.of_broker) sys_.on_handed_over(*done.message, is_error(done.operation.reason.code));
    if (done.operation.origin.of_letter()) {
      on_letter_handed_over(done.operation);
    } else if (Session* session = sessions_.find(done.operation.origin.session)) {
      session->on_handed_over(done.operation, now);
    }
  }
  if (inside_.empty()) inside_.reset();
  running_inside_ = false;
}

bool ShardCore::publish(MovingMessage& message, const RouteRef& found, PublishOperation& operation,
                        Instant now) noexcept {
  const RouteRef* route = operation.route ? &operation.route : &found;
  const MessageView& view = message.view();
  const uint64_t here = uint64_t{1} << index_;
  const auto refuse = [&] {  // for all who do not have it yet
    if (!operation.origin.wanted()) dropped(&Counters::dropped_no_memory, nullptr, view);
    operation.retain_open = operation.propose_open = false;
    operation.shards_open = 0;
    operation.reason = {ReasonCode::QuotaExceeded, Detail::NoMemory};
    return true;
  };
  if (!operation.started) {
    operation.started = true;
    operation.retain_open = view.retain;
  }
  if (operation.retain_open) {
    if (!message.keep()) return refuse();
    const uint32_t home = retained_home_of(view.namespace_id, view.topic_name);
    if (home == index_) {
      operation.reason = keep_retained(message.keep());
      if (operation.reason.ok() && !is_sys_topic(view.topic_name)) answer_when_durable(operation);
    } else {
      Mail mail;
      mail.kind = Mail::Kind::RetainSet;
      mail.message = message.share();
      mail.origin = operation.origin;
      if (!postman_.post(home, std::move(mail))) return false;
      if (operation.origin.wanted()) ++operation.takers;
      // Its receipt is not to be durable before it is: sent again, it would be taken for a repeat.
      operation.retain_waits = operation.receipt != 0;
    }
    operation.retained = true;
    operation.retain_open = false;
    if (operation.retain_waits) return false;
    // Routed after it was posted: see put_query_aside().
    const RouteRef* latest = nullptr;
    if (routes_.find(view.namespace_id, view.topic_name, UINT32_MAX, latest) != RouteCache::Outcome::Found) {
      return refuse();
    }
    route = latest;
  }
  if (operation.retain_waits) {
    Session* session = sessions_.find(operation.origin.session);
    if (session && !session->first_taker_answered(operation.origin, operation.reason)) return false;
    operation.retain_waits = false;
    if (is_error(operation.reason.code)) return true;  // and so it is nobody's
  }
  if (!operation.routed) {  // until it is proposed, to those who subscribe now: journals and sinks have one view of it
    operation.propose_open = (*route)->has_journals(view.qos);
    operation.shards_open = (*route)->shards();
  }
  if ((operation.propose_open || (operation.shards_open & ~here)) && !message.keep()) return refuse();
  // It may have waited for room until its session was gone: the next one of that name has no such receipt.
  if (operation.receipt && !sessions_.find(operation.origin.session)) operation.receipt = 0;
  const bool some_full = operation.propose_open && view.qos != Qos::AtMostOnce && (*route)->has_full_journals();
  // It is sent again as a new one, or as a repeat if this end is not heard of: then nobody may take it for known.
  if (some_full) operation.receipt = 0;
  if (operation.propose_open && (*route)->journal_shards(view.qos)) {
    // What is not durable when its receipt is would be lost: the publisher does not send it again.
    if (operation.receipt && !post_state()) return false;
    Mail mail;
    mail.kind = Mail::Kind::Propose;
    mail.number = operation.receipt;
    mail.message = message.share();
    mail.route = *route;
    mail.origin = operation.origin;
    if (!postman_.post(world_.office.committer(), std::move(mail))) return false;
    if (operation.origin.wanted()) ++operation.takers;
    ++operation.delivered;
    operation.receipt = 0;
  }
  operation.propose_open = false;
  if (some_full) {
    if (operation.reason.ok()) operation.reason = {ReasonCode::QuotaExceeded, Detail::JournalFull};
    if (!operation.origin.wanted()) dropped(&Counters::dropped_limit, nullptr, view);
  }
  operation.routed = true;
  if (operation.receipt && operation.reason.ok()) keep_receipt(operation, view.publisher);
  if (operation.shards_open & here) {
    const bool asked = operation.origin.wanted() && ((*route)->answering_shards() & here);
    uint32_t taken = 0;
    if (!deliver_here(message, **route, asked ? operation.origin : PublishOrigin(), now, taken)) {
      operation.reason = {ReasonCode::QuotaExceeded, Detail::NoMemory};
    } else if (asked) {
      ++operation.takers;
      taken = std::max(taken, 1u);
    }
    operation.delivered += taken;
    operation.shards_open &= ~here;
  }
  for (uint32_t shard = 0; operation.shards_open; ++shard) {
    const uint64_t bit = uint64_t{1} << shard;
    if (!(operation.shards_open & bit)) continue;
    Mail mail;
    mail.kind = Mail::Kind::Deliver;
    mail.message = message.share();
    mail.route = *route;
    const bool asked = operation.origin.wanted() && ((*route)->answering_shards() & bit);
    if (asked) mail.origin = operation.origin;
    if (!postman_.post(shard, std::move(mail))) {
      operation.route = *route;
      return false;
    }
    if (asked) ++operation.takers;
    ++operation.delivered;
    operation.shards_open &= ~bit;
  }
  return true;
}

// An origin that is wanted is answered once every sink here that answers has.
bool ShardCore::deliver_here(MovingMessage& message, const Route& route, const PublishOrigin& origin, Instant now,
                             uint32_t& taken) noexcept {
  SlabHandle handle;
  if (origin.wanted()) {
    OpenAnswer* open = answers_.take();
    if (!open) return false;
    open->origin = origin;
    handle = Slab<OpenAnswer>::handle(*open);
  }
  taken = fan_out_.deliver(message, route, handle, now);
  work_ += taken;
  if (const uint32_t lost = fan_out_.take_lost_count()) {
    count_dropped_no_memory(lost);
  }
  answer(handle, ReasonCode::Success, now);
  return true;
}

// To a shard that waits for an answer, and gets this one. False without memory.
bool ShardCore::send_published(const PublishOrigin& origin, Reason reason) noexcept {
  Mail mail;
  mail.kind = Mail::Kind::Published;
  mail.origin = origin;
  mail.reason = reason.code;
  mail.token = static_cast<uint8_t>(reason.detail);
  return postman_.post_surely(origin.shard, std::move(mail));
}

void ShardCore::hold_answer(SlabHandle handle) noexcept {
  if (OpenAnswer* open = answers_.find(handle)) ++open->open;
}

void ShardCore::answer(SlabHandle handle, ReasonCode reason, Instant) noexcept {
  OpenAnswer* open = answers_.find(handle);
  if (!open) return;
  if (is_error(reason) && !is_error(open->reason)) open->reason = reason;
  if (--open->open) return;
  // To ourselves too: the publish is entered among the open ones only when it has been handed to everybody.
  if (send_published(open->origin, open->reason)) {
    answers_.give_back(*open);
  } else {
    look_for_answers_ = true;
  }
}

void ShardCore::send_late_answers() noexcept {
  if (!std::exchange(look_for_answers_, false)) return;
  for (uint32_t i = 0; i < answers_.index_end(); ++i) {
    OpenAnswer* open = answers_.at(i);
    if (!open || open->open) continue;
    if (!send_published(open->origin, open->reason)) {
      look_for_answers_ = true;
      return;
    }
    answers_.give_back(*open);
  }
}

Reason ShardCore::store_retained(const MessageRef& message) noexcept {
  const Status status = retained_.set(message);
  const bool kept = status == Status::Ok;
  if (is_sys_topic(message->topic_name())) {
    if (!kept) figures_.sys_values_lost.add();
  } else {
    (kept ? counters_.retained_set : counters_.retained_refused).add();
  }
  if (kept) return {};
  return {ReasonCode::QuotaExceeded, status == Status::Full ? Detail::RetainedFull : Detail::NoMemory};
}

void ShardCore::wake_reader(Cursor& cursor) noexcept {
  if (cursor.of_group) {
    auto& of_group = static_cast<GroupReader&>(cursor);
    return of_group.group->home->on_journal(of_group);
  }
  auto& reader = static_cast<JournalReader&>(cursor);
  reader.session->on_journal(reader);
}

void ShardCore::append_here(Mail& mail, Instant now) noexcept {
  state_.note_seen(mail.number);
  ages_.note(mail.number);
  if (!age_alarm_.armed()) arm_age();
  const auto* without = static_cast<const WithoutQueues*>(mail.payload.get());
  if (!fan_out_.append(mail.number, mail.message, *mail.route,
                       without ? without->filters.span() : std::span<Filter* const>(), now, wake_reader)) {
    count_dropped_no_memory(1);
  }
}

// While journals are full they are looked at some times a second.
void ShardCore::arm_reopen() noexcept {
  constexpr int64_t kInterval = 50 * kMillisecond;
  if (reopen_alarm_.armed()) return;
  timers_.arm(reopen_alarm_, now_ + kInterval, [](Timer& timer, Instant) noexcept {
    ShardCore& shard = *static_cast<ShardAlarm&>(timer).shard;
    shard.fan_out_.reopen();
    if (shard.fan_out_.has_full()) shard.arm_reopen();
  });
}

// --- mail

bool ShardCore::read_mail(Instant now) noexcept {
  constexpr uint32_t kMailsPerTurn = 4096;  // from each party: a turn stays short
  bool more = false;
  for (uint32_t from = 0; from < world_.office.party_count(); ++from) {
    Mailbox<Mail>& box = world_.office.box(from, index_);
    uint32_t read = 0;
    while (Mail* mail = box.front()) {
      if (read++ == kMailsPerTurn || !handle_mail(*mail, now)) {
        more = true;
        break;
      }
      box.pop();
    }
    if (box.take_room_wanted()) postman_.wake(from);
  }
  return answer_retained_queries(now) || more;
}

// A message that was routed before a subscription was seen has been posted to its home before the subscriber asks for
// what is retained (publish() posts first and routes then). So a query is answered once everything has been read that
// stood in any mailbox when the query was: nobody misses a retained message because he subscribed while it came.
bool ShardCore::put_query_aside(Mail& mail) noexcept {
  const uint32_t parties = world_.office.party_count();
  WaitingQuery query;
  for (uint32_t from = 0; from < parties; ++from) {
    if (!query.pushed.push_back(world_.office.box(from, index_).pushed())) return false;
  }
  query.asked_by = mail.from;
  query.flow = mail.session;
  query.payload = std::move(mail.payload);
  if (queries_.push_back(std::move(query))) return true;
  mail.payload = std::move(query.payload);
  return false;
}

bool ShardCore::answer_retained_queries(Instant now) noexcept {
  constexpr uint64_t kVisitsPerTurn = 20'000;  // of topic levels: a millisecond or two
  retained_.take_visits();
  for (uint64_t visits = 0; !queries_.empty(); visits += retained_.take_visits()) {
    if (visits > kVisitsPerTurn) return true;
    WaitingQuery& query = queries_.front();
    for (uint32_t from = 0; from < query.pushed.count(); ++from) {
      if (world_.office.box(from, index_).popped() < query.pushed[from]) return true;
    }
    if (!answer_retained_query(query, now)) return true;
    queries_.pop_front();
  }
  return false;
}

bool ShardCore::handle_mail(Mail& mail, Instant now) noexcept {
  switch (mail.kind) {
    case Mail::Kind::Deliver: {
      MovingMessage message(mail.message);
      uint32_t taken = 0;
      return deliver_here(message, *mail.route, mail.origin, now, taken) ||
             send_published(mail.origin, {ReasonCode::QuotaExceeded, Detail::NoMemory});
    }
    case Mail::Kind::Append: append_here(mail, now); return true;
    case Mail::Kind::Recorded: on_recorded(mail); return true;
    case Mail::Kind::Evict:
      evictable_ = mail.number;
      homes_evict_ = true;
      evicting_.splice_back(fan_out_.journal_totals().with_content);
      return true;
    case Mail::Kind::FindLowest: on_find_lowest(mail); return true;
    case Mail::Kind::Alarm: sys_.on_alarm(now); return true;
    case Mail::Kind::Published:
      if (!mail.origin.wanted()) {
        counters_.messages_dropped.add();
        counters_.dropped_limit.add();
        return true;
      }
      if (mail.origin.of_letter()) {
        on_letter_answered(mail.origin.session, !is_error(mail.reason));
      } else if (Session* session = sessions_.find(mail.origin.session)) {
        session->on_published(mail.origin, {mail.reason, static_cast<Detail>(mail.token)}, now);
      }
      return true;
    case Mail::Kind::RetainSet: {
      const Reason reason = keep_retained(mail.message);  // to store it again changes nothing
      if (!mail.origin.wanted()) return true;
      if (state_.on() && reason.ok() && !state_.all_durable()) return state_.answer_when_durable(mail.origin);
      return send_published(mail.origin, reason);
    }
    case Mail::Kind::RetainQuery: return put_query_aside(mail);
    case Mail::Kind::RetainFound:
      if (RetainedFlow* flow = flows_.find(mail.session)) {
        flow->session.on_retained(*flow, static_cast<RetainedBatch&>(*mail.payload).messages);
      }
      return true;
    case Mail::Kind::MoveConnection: return accept_moved(mail, now);
    case Mail::Kind::GroupJoin: return answer_group_join(mail, now);
    case Mail::Kind::GroupLeave:
    case Mail::Kind::GroupState:
    case Mail::Kind::GroupDone:
    case Mail::Kind::GroupReturn: handle_member_mail(mail, now); return true;
    case Mail::Kind::GroupSync: {
      if (Queues::is_member(mail.number)) queues_.note_away(mail.number, now);
      if (StreamCursors::is_member(mail.number)) cursors_.note_away(mail.number);
      Mail answer;
      answer.kind = Mail::Kind::GroupSynced;
      answer.session = mail.session;
      return postman_.post_surely(mail.from, std::move(answer));
    }
    case Mail::Kind::GroupSynced: memberships_.on_synced(mail.session); return true;
    case Mail::Kind::GroupLeft:
      if (mail.token == kLeaveAsked) return put_leave_aside(mail);
      groups_.on_left(mail.number, mail.session);
      return true;
    case Mail::Kind::GroupJoined: {
      const auto* join = static_cast<const GroupJoin*>(mail.payload.get());
      GroupJoined joined{mail.number, static_cast<Detail>(mail.token), {}};
      if (join) {
        joined.topic_filter = join->topic_filter.view();
        joined.place = join->place;
        joined.key = join->key.view();
      }
      memberships_.on_joined(mail.session, joined);
      return true;
    }
    case Mail::Kind::ObjectDeleted: on_object_deleted(mail.session, now); return true;
    case Mail::Kind::StreamDeliver: {
      GroupMembership* membership = memberships_.find(mail.session);
      if (!membership || !membership->session) return true;
      membership->session->take_read(*membership, static_cast<StreamBatch&>(*mail.payload), now);
      return true;
    }
    case Mail::Kind::GroupDeliver: take_group_message(mail, now); return true;
    case Mail::Kind::GroupRecall: recall(index_, mail.session, now); return true;
    case Mail::Kind::Propose:
    case Mail::Kind::Record:
    case Mail::Kind::Lowest:
    case Mail::Kind::None: break;
  }
  MQTTQ_ASSERT(false);
  return true;
}

bool ShardCore::accept_moved(Mail& mail, Instant now) noexcept {
  auto& moved = static_cast<MovedConnection&>(*mail.payload);
  Connection* connection = connections_.take(*this, *moved.link, moved.listener, now);
  if (!connection) return true;  // the mail's end closes the link
  if (!world_.network->adopt(*moved.link, *connection)) {
    connection->link_ = nullptr;
    connections_.give_back(*connection);
    return true;
  }
  moved.link = nullptr;
  connection->take_over_moved(moved, now);
  return true;
}

void ShardCore::run_moves(Instant) noexcept {
  for (uint32_t i = 0; i < moving_.count(); ++i) {
    const auto [connection, to] = moving_[i];
    if (connection->closing()) continue;
    Link& link = *connection->link_;
    auto moved = connection->pack();
    if (!moved) {
      connection->state_ = Connection::State::Closing;
      mark_closing(*connection);
      continue;
    }
    world_.network->detach(link, to);
    Mail mail;
    mail.kind = Mail::Kind::MoveConnection;
    mail.payload.reset(moved.release());
    static_cast<void>(postman_.post_surely(to, std::move(mail)));  // without memory its end closes the link
    connections_.give_back(*connection);
    counters_.connections_moved.add();
  }
  moving_.clear();
}

// --- the turn

bool ShardCore::turn(Instant now) noexcept {
  now_ = now;
  try_again_ = false;
  bool more = read_mail(now);
  timers_.advance(now);
  groups_.run(now);
  queues_.run(now);
  postman_.flush();
  memberships_.tell(now);
  streams_.run(now);
  send_late_answers();
  run_inside_publishes(now);
  more |= delayed_.run(now);
  constexpr uint32_t kExpiredPerTurn = 2000;
  more |= retained_.expire(now, kExpiredPerTurn, [this](const MessageView& view) {
    if (state_.on() && !is_sys_topic(view.topic_name)) forget_retained(view);
  });
  run_fetched(now);
  evict();
  run_stalled(now);
  run_pumps(now);
  drop_old();
  if (fan_out_.judge_lengths()) arm_reopen();
  run_moves(now);
  flush_outputs(now);
  run_closing(now);
  // Ends publish wills, leave publishes behind and change groups: what that gathered goes out in this turn too.
  memberships_.tell(now);
  run_inside_publishes(now);
  run_pumps(now);
  run_state();
  flush_outputs(now);
  world_.router.tidy();
  more |= !queries_.empty() || !closing_.empty() || !dirty_.empty() || !to_pump_.empty();
  more |= memberships_.has_news() || streams_.has_ready() || look_for_answers_;
  show_figures();
  return more || try_again_ || look_for_closing_ || look_for_dirty_ || look_for_pumps_ || look_for_stalled_;
}

void ShardCore::show_figures() noexcept {
  const JournalTotals& journals = fan_out_.journal_totals();
  figures_.shared_subscriptions.set(memberships_.count());
  figures_.retained_messages.set(retained_.count());
  figures_.stored_messages.set(retained_.count() + journals.messages);
  figures_.stored_bytes.set(retained_.bytes() + journals.bytes);
  figures_.inflight.set(inflight_);
}

void ShardCore::run_stalled(Instant now) noexcept {
  const uint32_t count = stalled_.count();
  for (uint32_t i = 0; i < count; ++i) {
    Connection* connection = stalled_[i];
    if (!connection) continue;
    connection->stalled = false;
    connection->resume(now);  // puts itself behind the others again if it still has to wait
  }
  stalled_.remove_front(count);
  if (!std::exchange(look_for_stalled_, false)) return;
  for_each_connection([now](Connection& connection) {
    if (!connection.stalled && !connection.waits_for_access()) connection.resume(now);
  });
}

void ShardCore::run_pumps(Instant now) noexcept {
  for (uint32_t i = 0; i < to_pump_.count(); ++i) {
    Session* session = to_pump_[i];
    if (!session) continue;
    session->pump_marked = false;
    session->pump(now);
  }
  to_pump_.clear();
  if (!std::exchange(look_for_pumps_, false)) return;
  for_each_connection([now](Connection& connection) {
    if (connection.session_) connection.session_->pump(now);
  });
}

void ShardCore::flush_outputs(Instant now) noexcept {
  for (uint32_t i = 0; i < dirty_.count(); ++i) {
    Connection* connection = dirty_[i];
    if (!connection) continue;
    connection->dirty = false;
    connection->flush(now);
  }
  dirty_.clear();
  if (!std::exchange(look_for_dirty_, false)) return;
  for_each_connection([now](Connection& connection) {
    if (!connection.dirty) return;
    connection.dirty = false;
    connection.flush(now);
  });
}

void ShardCore::run_closing(Instant now) noexcept {
  if (std::exchange(look_for_closing_, false)) {
    for_each_connection([this, now](Connection& connection) {
      if (!connection.to_close || std::find(closing_.begin(), closing_.end(), &connection) != closing_.end()) return;
      end_connection(connection, now);
    });
  }
  for (uint32_t i = 0; i < closing_.count(); ++i) end_connection(*closing_[i], now);
  closing_.clear();
}

void ShardCore::end_connection(Connection& connection, Instant now) noexcept {
  connection.finish(now);
  if (connection.dirty) std::replace(dirty_.begin(), dirty_.end(), &connection, static_cast<Connection*>(nullptr));
  if (connection.gated) gated_.remove_unordered_item(&connection);
  if (connection.stalled)
    std::replace(stalled_.begin(), stalled_.end(), &connection, static_cast<Connection*>(nullptr));
  connections_.give_back(connection);
}

std::byte* ShardCore::scratch(size_t size) noexcept {
  if (!scratch_.reserve(static_cast<uint32_t>(size))) return nullptr;
  return scratch_.begin();
}

// --- words

void ShardCore::log_peer(const char* what, const Connection& connection, const CloseReason& reason,
                         Instant now) noexcept {
  if (!world_.log) return;
  const int64_t elapsed = now - log_tokens_at_;
  if (elapsed >= kSecond) {
    log_tokens_ = kLinesPerSecond;
    log_tokens_at_ = now;
  }
  if (log_tokens_ <= 0) {
    ++log_suppressed_;
    return;
  }
  --log_tokens_;
  char text[512];
  const std::string_view client_id = connection.session_ ? connection.session_->client_id() : std::string_view("-");
  const auto end = fmt::format_to_n(text, sizeof text, "{}: {} (0x{:02x}){}{} client={} address={} suppressed={}", what,
                                    to_text(reason.code), static_cast<unsigned>(reason.code),
                                    reason.reason_string.empty() ? "" : ", ", reason.reason_string.substr(0, 128),
                                    client_id.substr(0, 128), connection.link_->peer_address(), log_suppressed_);
  log_suppressed_ = 0;
  world_.log->write(LogLevel::Notice, {text, std::min(end.size, sizeof text)});
}

}  // namespace mqttq
