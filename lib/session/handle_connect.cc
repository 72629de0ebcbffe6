// CONNECT (MQTT5 3.1): judged, authenticated, brought to the shard of its session, and answered.
//
// The packet stays at the front of tail_ while it waits or moves, and is decoded again where it arrives: one text of
// the rules, wherever they run.
#include <algorithm>

#include "message/topic.h"
#include "session/connection_parts.h"

namespace mqttq {

Connection::Handled Connection::handle_connect(Bytes packet, Instant now) noexcept {
  if (state_ == State::Connected) {  // a second one [MQTT-3.1.0-2]
    protocol_error(ReasonCode::ProtocolError, now);
    return Handled::Yes;
  }
  if (!authenticated_) shard_.counters().connects_received.add();  // not when it has waited, or moved
  const auto connect = codec::decode_connect(packet);
  if (!connect.ok()) {
    shard_.counters().protocol_errors.add();
    shard_.log_peer("bad CONNECT", *this, connect.reason(), now);
    // What cannot be told apart from another protocol is not answered; an unknown version is [MQTT-3.1.2-2].
    if (connect.reason() == ReasonCode::UnsupportedProtocolVersion) {
      version_ = codec::refusal_version(packet);
      refuse(ReasonCode::UnsupportedProtocolVersion, now);
    } else {
      close(connect.reason(), now);
    }
    return Handled::Yes;
  }
  version_ = connect->version;
  packet_size_out_ = connect->maximum_packet_size;
  problem_information_ = connect->request_problem_information;
  if (!authenticated_) {
    if (const Reason reason = judge_connect(*connect, now); !reason.ok()) {
      refuse(reason, now);
      return Handled::Yes;
    }
  }
  char assigned[32];
  std::string_view client_id = connect->client_id;
  if (client_id.empty() && authentication()) {  // the host was asked about that one
    client_id = {authentication()->client_id.begin(), authentication()->client_id.count()};
  } else if (client_id.empty()) {
    const uint32_t size = shard_.assign_client_id(namespace_id_, handle(), assigned);
    client_id = {assigned, size};
    assigned_client_id_ = true;
  }
  if (!authenticated_ && shard_.access()) {
    if (connect->authentication_method && !begin_authentication(*connect, client_id)) {
      refuse(ReasonCode::ServerBusy, now);
      return Handled::Yes;
    }
    const Handled handled = authenticate(*connect, client_id, connect->authentication_data, now);
    if (!authenticated_) return handled;
  }
  authenticated_ = true;
  if (const uint32_t home = shard_.home_of(namespace_id_, client_id); home != shard_.index()) return go_home(home);
  if (user_name_.empty() && connect->user_name && !set_user_name(*connect->user_name)) {
    refuse(ReasonCode::ServerBusy, now);
    return Handled::Yes;
  }
  std::string_view will_topic = connect->will.topic_name;
  if (connect->has_will) {
    if (judge_will(*connect, client_id, will_topic, now) == Handled::Stalled) return Handled::Stalled;
    if (state_ == State::Closing) return Handled::Yes;
  }
  attach_session(*connect, client_id, will_topic, now);
  return Handled::Yes;
}

Connection::Handled Connection::judge_will(const codec::ConnectView& connect, std::string_view client_id,
                                           std::string_view& topic_name, Instant now) noexcept {
  Reason reason = rewrite_topic(client_id, topic_name);
  if (reason.ok() && topic_name.size() > shard_.limits().topic_size_max) {
    reason = {ReasonCode::TopicNameInvalid, Detail::TopicTooLong};
  }
  if (reason.ok() && topic_level_count(topic_name) > shard_.limits().topic_levels_max) {
    reason = {ReasonCode::TopicNameInvalid, Detail::TopicTooDeep};
  }
  if (!reason.ok()) {
    refuse(reason, now);
    return Handled::Yes;
  }
  switch (authorize(Action::Publish, client_id, topic_name, connect.will.qos, connect.will.retain)) {
    case Verdict::Allow: return Handled::Yes;
    case Verdict::Pending:
      state_ = State::Authenticating;  // no answer in time is a denial here too
      return stall(Stall::AccessAnswer, now);
    case Verdict::Busy: refuse(ReasonCode::ServerBusy, now); return Handled::Yes;
    case Verdict::Continue:
    case Verdict::Deny: break;
  }
  refuse(Reason(ReasonCode::NotAuthorized, Detail::WillDenied), now);
  return Handled::Yes;
}

Reason Connection::judge_connect(const codec::ConnectView& connect, Instant now) noexcept {
  if (!shard_.take_connect_token(now)) return {ReasonCode::ConnectionRateExceeded, Detail::ConnectRate};
  if (connect.client_id.empty()) {
    // Only a session that ends with its connection may go without a name in 3.x [MQTT311-3.1.3-8].
    if (connect.version == ProtocolVersion::V31) return ReasonCode::ClientIdentifierNotValid;
    if (connect.version == ProtocolVersion::V311 && !connect.clean_start) return ReasonCode::ClientIdentifierNotValid;
  }
  if (const auto method = connect.authentication_method;
      method && !(shard_.access() && shard_.access()->offers(namespace_id_, *method))) {
    return {ReasonCode::BadAuthenticationMethod, Detail::MethodUnknown};  // [MQTT-4.12.0-1]
  }
  const Limits& limits = shard_.limits();
  if (connect.has_will) {
    const std::string_view topic = connect.will.topic_name;
    if (topic.front() == '$') return {ReasonCode::TopicNameInvalid, Detail::WillTopicOfServer};
    if (static_cast<uint8_t>(connect.will.qos) > limits.maximum_qos) return ReasonCode::QosNotSupported;
    if (connect.will.retain && !limits.retain_available) return ReasonCode::RetainNotSupported;
  }
  return ReasonCode::Success;
}

Connection::Handled Connection::authenticate(const codec::ConnectView& connect, std::string_view client_id, Bytes data,
                                             Instant now) noexcept {
  const ConnectQuestion question{{shard_.index(), handle(), next_question_++},
                                 namespace_id_,
                                 connect.version,
                                 client_id,
                                 connect.user_name,
                                 connect.password,
                                 link_->peer_address(),
                                 connect.authentication_method,
                                 data,
                                 false,
                                 authentication() ? authentication()->round : uint8_t{0}};
  state_ = State::Authenticating;
  switch (shard_.access()->connect(question)) {
    case Verdict::Allow: authenticated_ = true; return Handled::Yes;
    case Verdict::Continue:
    case Verdict::Deny: refuse(ReasonCode::NotAuthorized, now); return Handled::Yes;
    case Verdict::Busy: refuse(ReasonCode::ServerBusy, now); return Handled::Yes;
    case Verdict::Pending: break;
  }
  return stall(Stall::AccessAnswer, now);
}

void Connection::on_access_answer(uint32_t question, const AccessAnswer& answer, Instant now) noexcept {
  if (state_ == State::Authenticating && !authenticated_) {
    if (question + 1 != next_question_ || stall_ != Stall::AccessAnswer) return;  // stale
    on_connect_answer(answer, now);
    return;
  }
  const Authentication* open = authentication();
  if (open && open->turn == Authentication::Turn::Host && open->question == question) {
    on_reauthentication_answer(answer, now);
    return;
  }
  if (!rare_) return;
  for (Permission& permission : rare_->permissions) {
    if (permission.question != question || permission.verdict != Verdict::Pending) continue;
    permission.verdict = answer.verdict == Verdict::Allow ? Verdict::Allow : Verdict::Deny;
    if (stall_ == Stall::AccessAnswer) retry(now);
    return;
  }
}

void Connection::on_connect_answer(const AccessAnswer& answer, Instant now) noexcept {
  if (answer.verdict == Verdict::Continue && authentication()) {
    continue_connecting(answer, now);
    return;
  }
  if (answer.verdict != Verdict::Allow) {
    CloseReason reason = is_error(answer.reason) ? answer.reason : ReasonCode::NotAuthorized;
    reason.reason_string = answer.reason_string;
    reason.server_reference = answer.server_reference;
    refuse(reason, now);
    return;
  }
  if (!set_user_name(answer.user_name) ||
      (authentication() && !authentication()->data.append(answer.authentication_data))) {
    refuse(ReasonCode::ServerBusy, now);
    return;
  }
  authenticated_ = true;
  retry(now);
}

// What waited for the host's answer: CONNECT, where it is kept, or the packet that is first in tail_.
void Connection::retry(Instant now) noexcept {
  if (authentication() && !authentication()->connect.empty()) {
    handle_kept_connect(now);
    if (!authentication() || state_ == State::Moved || state_ == State::Closing) return;
    if (!authentication()->connect.empty()) return;  // the host is asked one thing more
  }
  resume(now);
}

void Connection::refuse(const CloseReason& reason, Instant now) noexcept {
  if (state_ == State::Closing) return;
  send_refusal(reason);
  shard_.log_peer("connection refused", *this, reason, now);
  close(reason, now);
}

void Connection::send_refusal(const CloseReason& reason) noexcept {
  codec::ConnackView connack;
  connack.reason_code = reason.code;
  connack.reason_string = reason.reason_string;
  connack.server_reference = reason.server_reference;
  send_reason(connack);
}

// At the end of the turn, when all that was read behind the packet is in tail_ too.
Connection::Handled Connection::go_home(uint32_t home) noexcept {
  if (!reading_paused_) {
    reading_paused_ = true;
    link_->pause_reading(true);
  }
  state_ = State::Moved;
  shard_.mark_moving(*this, home);
  return Handled::Stalled;
}

std::unique_ptr<MovedConnection, Destroy> Connection::pack() noexcept {
  std::unique_ptr<MovedConnection, Destroy> moved(create<MovedConnection>());
  if (!moved) return moved;
  if (authentication() && !authentication()->connect.empty()) {  // it goes first again
    if (!authentication()->connect.append(tail_.span().subspan(tail_start_))) return nullptr;
    tail_ = std::move(authentication()->connect);
    tail_start_ = 0;
  }
  moved->link = std::exchange(link_, nullptr);
  moved->listener = {namespace_id_, packet_size_max_, connect_timeout_ms_};
  moved->connect_due = connected_at_;
  moved->bytes = std::move(tail_);
  moved->bytes_start = tail_start_;
  moved->user_name = std::move(user_name_);
  if (rare_) rare_->permissions.reset();  // asked for from here
  moved->rare = std::exchange(rare_, nullptr);
  return moved;
}

void Connection::take_over_moved(MovedConnection& moved, Instant now) noexcept {
  connected_at_ = moved.connect_due;
  shard_.timers().arm(*this, connected_at_, on_timer);
  authenticated_ = true;
  reading_paused_ = true;
  stall_ = Stall::MailboxFull;
  tail_ = std::move(moved.bytes);
  tail_start_ = moved.bytes_start;
  user_name_ = std::move(moved.user_name);
  rare_ = std::exchange(moved.rare, nullptr);
  resume(now);
}

void Connection::attach_session(const codec::ConnectView& connect, std::string_view client_id,
                                std::string_view will_topic, Instant now) noexcept {
  Session* session = shard_.find_session(namespace_id_, client_id);
  if (session && session->expired(now)) {
    shard_.counters().sessions_expired.add();
    shard_.end_session(*session, now);
    session = nullptr;
  }
  const uint32_t expiry_s = std::min(connect.session_expiry_s, shard_.limits().session_expiry_max_s);
  if (shard_.state().failing() && (expiry_s || (session && session->stored()))) {
    refuse(Reason(ReasonCode::QuotaExceeded, Detail::StoreFailing), now);
    return;
  }
  if (shard_.state().full() && expiry_s && !(session && session->stored())) {
    refuse(Reason(ReasonCode::QuotaExceeded, Detail::StoreFull), now);
    return;
  }
  if (session && session->connection()) {
    Connection& older = *session->connection();
    shard_.counters().sessions_taken_over.add();
    shard_.release_connection(older, ReasonCode::SessionTakenOver, now);  // [MQTT-3.1.4-3]
    session = shard_.find_session(namespace_id_, client_id);              // it may have ended with its connection
  }
  const bool was_stored = session && session->stored();
  if (session && connect.clean_start) {  // [MQTT-3.1.2-4]
    shard_.end_session(*session, now);
    session = nullptr;
  }
  const bool present = session != nullptr;
  if (!session && !(session = shard_.make_session(namespace_id_, client_id))) {
    refuse(Reason(ReasonCode::QuotaExceeded, Detail::SessionsFull), now);
    return;
  }
  session_ = session;
  session->set_expiry_s(expiry_s);
  session->publish_due_will(now);  // its timer may be a little late
  session->clear_will();
  if (!prepare_will(connect, will_topic)) {
    session_ = nullptr;
    if (!present) shard_.end_session(*session, now);
    refuse(ReasonCode::ServerBusy, now);
    return;
  }
  session->record_as(Instant{INT64_MAX});
  if (was_stored || session->stored()) gate();  // CONNACK: what ended, and what is new
  has_user_name_ = connect.user_name.has_value();
  clean_start_ = connect.clean_start;
  session_present_ = present;
  connected_at_ = now;
  receive_maximum_ = connect.receive_maximum;
  aliases_out_max_ = std::min(connect.topic_alias_maximum, shard_.limits().topic_alias_out_maximum);  // [MQTT-3.1.2-26]
  keep_alive_s_ = connect.keep_alive_s;
  const uint16_t keep_alive_max_s = shard_.limits().keep_alive_max_s;
  // Only version 5 can be told (MQTT5 3.2.2.3.14); others keep their own.
  if (keep_alive_max_s && version_ == ProtocolVersion::V5 && (keep_alive_s_ == 0 || keep_alive_s_ > keep_alive_max_s))
    keep_alive_s_ = keep_alive_max_s;
  accept(connect, present, now);
}

bool Connection::prepare_will(const codec::ConnectView& connect, std::string_view topic_name) noexcept {
  if (!connect.has_will) return true;
  MessageView view;
  view.namespace_id = namespace_id_;
  view.qos = connect.will.qos;
  view.retain = connect.will.retain;
  view.publisher = session_->publisher_id();
  view.topic_name = topic_name;
  view.payload = connect.will.payload;
  if (!forwardable_properties(connect.will, view.properties)) return false;
  // Its expiry counts from the moment it is published (MQTT5 3.1.3.2.4): kept as a length until then.
  Will will;
  will.delay_s = connect.will_delay_s;
  will.expiry_s = connect.will.has_message_expiry ? connect.will.message_expiry_s : 0;
  will.expires = connect.will.has_message_expiry;
  will.message = Message::create(view);
  if (!will.message) return false;
  return session_->set_will(std::move(will));
}

void Connection::accept(const codec::ConnectView& connect, bool session_present, Instant now) noexcept {
  const Limits& limits = shard_.limits();
  serial_ = shard_.next_connection_serial();
  codec::ConnackView connack;
  connack.session_present = session_present;  // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
  if (session_->expiry_s() != connect.session_expiry_s) connack.session_expiry_s = session_->expiry_s();
  connack.receive_maximum = limits.receive_maximum;
  connack.maximum_qos = static_cast<Qos>(limits.maximum_qos);
  connack.retain_available = limits.retain_available;
  connack.maximum_packet_size = packet_size_max_;
  if (assigned_client_id_) connack.assigned_client_id = session_->client_id();  // [MQTT-3.1.3-7]
  connack.topic_alias_maximum = limits.topic_alias_maximum;
  connack.wildcard_subscription_available = limits.wildcard_subscriptions_available;
  connack.shared_subscription_available = limits.shared_subscriptions_available;
  connack.subscription_identifiers_available = limits.subscription_identifiers_available;
  if (keep_alive_s_ != connect.keep_alive_s) connack.server_keep_alive_s = keep_alive_s_;
  if (authentication()) {  // [MQTT-4.12.0-5]
    connack.authentication_method = authentication()->method_text();
    connack.authentication_data = authentication()->data.span();
  }
  Array<char>& information = shard_.rewritten();
  information.clear();
  if (connect.request_response_information &&  // [MQTT-3.1.2-28]
      shard_.policy().response_information.fill({session_->client_id(), user_name()}, information) ==
          TextTemplate::Filled::Yes) {
    connack.response_information = {information.begin(), information.count()};
    if (too_large(connack)) connack.response_information = {};  // it may go without
  }
  send(connack, version_);
  if (authentication()) authentication()->data.reset();
  if (state_ == State::Closing) {
    // It was never accepted: the session is as before, or is not.
    Session* session = std::exchange(session_, nullptr);
    session->clear_will();
    if (!session_present) shard_.end_session(*session, now);
    return;
  }
  state_ = State::Connected;
  arm_keep_alive(now);
  session_->attach(*this, now);
  shard_.tell_connected(*this, now);
  if (session_present) session_->resend(now);
  auto_subscribe(now);
}

Connection::Handled Connection::handle_disconnect(Bytes packet, Instant now) noexcept {
  const auto disconnect = codec::decode_disconnect(packet, version_);
  if (!disconnect.ok()) {
    protocol_error(disconnect.reason(), now);
    return Handled::Yes;
  }
  // A reason of the server's [MQTT-3.14.2-1], or a Server Reference, which is the server's to give (MQTT5 3.14.2.2.5).
  if (!codec::is_client_disconnect_reason(disconnect->reason_code) || disconnect->server_reference.data()) {
    protocol_error(ReasonCode::ProtocolError, now);
    return Handled::Yes;
  }
  if (disconnect->session_expiry_s && session_) {                           // there is none while it authenticates
    if (session_->expiry_s() == 0 && *disconnect->session_expiry_s != 0) {  // (MQTT5 3.14.2.2.2)
      protocol_error(ReasonCode::ProtocolError, now);
      return Handled::Yes;
    }
    session_->set_expiry_s(std::min(*disconnect->session_expiry_s, shard_.limits().session_expiry_max_s));
    session_->record(now);
  }
  publish_will_ = disconnect->reason_code != ReasonCode::Success;  // [MQTT-3.14.4-3]
  close_reason_ = disconnect->reason_code;
  state_ = State::Closing;  // nothing behind it is looked at
  shard_.mark_closing(*this);
  return Handled::Yes;
}

}  // namespace mqttq
