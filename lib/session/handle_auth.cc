// AUTH (MQTT5 3.15): enhanced authentication (MQTT5 4.12), a conversation of the client with the access control.
//
// Until CONNACK only the two of them speak, and CONNECT waits: at the front of tail_, as with any authentication, and
// from the first AUTH on in Authentication, so that what comes behind it can be read. Then it is carried out as if it
// came now. A re-authentication goes on beside everything else. What section 4.12 leaves open is decision 6.
#include "session/connection_parts.h"

namespace mqttq {

using Turn = Authentication::Turn;

bool Connection::begin_authentication(const codec::ConnectView& connect, std::string_view client_id) noexcept {
  Rare* rare = this->rare();
  if (!rare || !(rare->authentication = create<Authentication>())) return false;
  Authentication& open = *rare->authentication;
  const std::string_view method = *connect.authentication_method;
  return open.method.append({method.data(), method.size()}) &&
         (!assigned_client_id_ || open.client_id.append({client_id.data(), client_id.size()}));
}

Connection::Handled Connection::handle_auth(Bytes packet, Instant now) noexcept {
  const auto auth = codec::decode_auth(packet);
  if (const ReasonCode reason = judge_auth(auth); reason != ReasonCode::Success) {
    protocol_error(reason, now);
    return Handled::Yes;
  }
  if (state_ == State::Connected) {
    reauthenticate(auth->authentication_data, now);
    return Handled::Yes;
  }
  const auto connect = codec::decode_connect(authentication()->connect.span());  // it was good before
  const Array<char>& assigned = authentication()->client_id;
  ++authentication()->round;
  authentication()->turn = Turn::Nobody;
  authenticate(*connect, assigned.empty() ? connect->client_id : std::string_view(assigned.begin(), assigned.count()),
               auth->authentication_data, now);
  if (authenticated_) handle_kept_connect(now);
  return Handled::Yes;  // also while the host is asked: the packet is done with
}

ReasonCode Connection::judge_auth(const codec::Decoded<codec::AuthView>& auth) const noexcept {
  if (version_ != ProtocolVersion::V5) return ReasonCode::ProtocolError;
  if (!auth.ok()) return auth.reason();
  if (!authentication()) return ReasonCode::ProtocolError;  // [MQTT-4.12.0-7]
  if (auth->authentication_method != authentication()->method_text()) {
    return ReasonCode::ProtocolError;  // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
  }
  // It goes on when it is asked [MQTT-4.12.0-3], and begins again when nothing is open [MQTT-4.12.1-1].
  const bool in_place = authentication()->turn == Turn::Client ? auth->reason_code == ReasonCode::ContinueAuthentication
                        : authentication()->turn == Turn::Nobody ? auth->reason_code == ReasonCode::ReAuthenticate
                                                                 : false;
  return in_place ? ReasonCode::Success : ReasonCode::ProtocolError;
}

void Connection::send_auth(ReasonCode reason, Bytes data) noexcept {
  codec::AuthView auth;
  auth.reason_code = reason;
  auth.authentication_method = authentication()->method_text();  // [MQTT-4.12.0-5]
  auth.authentication_data = data;
  send(auth);
}

// --- before CONNACK

void Connection::continue_connecting(const AccessAnswer& answer, Instant now) noexcept {
  if (authentication()->round == kAuthenticationRoundsMax) {
    refuse(ReasonCode::NotAuthorized, now);
    return;
  }
  if (authentication()->connect.empty()) {
    const Bytes rest = tail_.span().subspan(tail_start_);
    const codec::Frame connect = codec::scan_frame(rest);
    if (!authentication()->connect.append(rest.first(connect.size))) {
      refuse(ReasonCode::ServerBusy, now);
      return;
    }
    tail_start_ += connect.size;
  }
  authentication()->turn = Turn::Client;
  send_auth(ReasonCode::ContinueAuthentication, answer.authentication_data);  // [MQTT-4.12.0-2]
  resume(now);
}

void Connection::handle_kept_connect(Instant now) noexcept {
  if (handle_connect(authentication()->connect.span(), now) == Handled::Stalled) return;  // pack() takes it along
  shard_.counters().packets_received.add();
  authentication()->connect.reset();
}

// --- of a connection in use

void Connection::reauthenticate(Bytes data, Instant now) noexcept {
  Authentication& open = *authentication();
  if (open.turn == Turn::Nobody) {
    open.round = 0;
    open.timeout.connection = this;
    shard_.timers().arm(open.timeout, now + connect_timeout_ns(), [](Timer& timer, Instant at) noexcept {
      Connection& connection = *static_cast<Authentication::Timeout&>(timer).connection;
      connection.on_reauthentication_answer({}, at);
    });
  } else {
    ++open.round;
  }
  open.turn = Turn::Host;
  open.question = next_question_++;
  ConnectQuestion question;
  question.ticket = {shard_.index(), handle(), open.question};
  question.namespace_id = namespace_id_;
  question.version = version_;
  question.client_id = session_->client_id();
  if (!user_name_.empty()) question.user_name = user_name();
  question.peer_address = link_->peer_address();
  question.authentication_method = open.method_text();
  question.authentication_data = data;
  question.reauthentication = true;
  question.round = open.round;
  const Verdict verdict = shard_.access()->connect(question);
  if (verdict != Verdict::Pending) on_reauthentication_answer({.verdict = verdict}, now);
}

void Connection::on_reauthentication_answer(const AccessAnswer& answer, Instant now) noexcept {
  if (state_ != State::Connected) return;
  Authentication& open = *authentication();
  if (answer.verdict == Verdict::Continue && open.round < kAuthenticationRoundsMax) {
    open.turn = Turn::Client;
    send_auth(ReasonCode::ContinueAuthentication, answer.authentication_data);  // [MQTT-4.12.0-2]
    return;
  }
  open.turn = Turn::Nobody;
  open.timeout.cancel();
  if (answer.verdict != Verdict::Allow) {
    CloseReason reason = answer.verdict == Verdict::Busy ? ReasonCode::ServerBusy : answer.reason;
    if (!codec::is_server_disconnect_reason(reason.code)) reason.code = ReasonCode::NotAuthorized;
    reason.reason_string = answer.reason_string;
    reason.server_reference = answer.server_reference;
    shard_.log_peer("re-authentication refused", *this, reason, now);
    close(reason, now);  // [MQTT-4.12.1-2]
    return;
  }
  if (!set_user_name(answer.user_name)) {
    close(ReasonCode::ServerBusy, now);
    return;
  }
  if (rare_) rare_->permissions.reset();  // they were another user's
  send_auth(ReasonCode::Success, answer.authentication_data);
  if (stall_ == Stall::AccessAnswer) resume(now);  // it asks again, for this user
}

}  // namespace mqttq
