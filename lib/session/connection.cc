// Bytes in, bytes out, and the ends of a connection. What each packet does stands in handle_….cc.
#include "session/connection.h"

#include <algorithm>

#include "message/topic.h"
#include "session/connection_parts.h"
#include "session/publish_encoder.h"
#include "session/shard_core.h"

namespace mqttq {

namespace {
constexpr size_t kFlushEarly = 128 * 1024;    // bytes gathered at which a turn does not wait for its end
constexpr uint32_t kWorkPerTurn = 50'000;     // packets, copies sent and topic levels looked at: some 10 ms
constexpr int64_t kAnswersMax = 2 * kSecond;  // what a client that sends nothing more waits for its answers
}  // namespace

MovedConnection::~MovedConnection() {
  if (link) link->close(true);
  destroy(rare);
}

Connection::Connection(ShardCore& shard, Link& link, const ListenerInfo& listener, Instant now) noexcept
    : shard_(shard),
      link_(&link),
      packet_size_max_(listener.packet_size_max ? listener.packet_size_max : shard.limits().packet_size_max),
      connect_timeout_ms_(listener.connect_timeout_ms ? listener.connect_timeout_ms
                                                      : shard.limits().connect_timeout_ms),
      namespace_id_(listener.namespace_id),
      last_packet_(now),
      connected_at_(now + connect_timeout_ns()) {
  shard_.timers().arm(*this, connected_at_, on_timer);
}

Connection::~Connection() {
  MQTTQ_ASSERT(!session_ && !link_);
  cancel();
  shard_.outputs().give_back(output_);
  destroy(rare_);
}

Connection::Rare::~Rare() {
  destroy(authentication);
  for (const Alias& alias : aliases) release(alias.text);
  destroy(aliases_out);
  destroy(slow);
}

// --- bytes in

void Connection::on_read(Bytes bytes, Instant now) noexcept {
  if (state_ == State::Closing) return;
  shard_.counters().bytes_received.add(bytes.size());
  if (stall_ != Stall::None) {
    keep_tail(bytes, now);
    return;
  }
  if (!tail_.empty()) {
    bytes = bytes.subspan(fill_tail(bytes, now));
    if (!tail_.empty()) {
      keep_tail(bytes, now);
      return;
    }
  }
  keep_tail(bytes.subspan(process(bytes, now)), now);
}

size_t Connection::process(Bytes bytes, Instant now) noexcept {
  size_t done = 0;
  uint32_t work = 0;
  while (state_ != State::Closing && state_ != State::Moved && stall_ == Stall::None) {
    const Bytes rest = bytes.subspan(done);
    const codec::Frame frame = codec::scan_frame(rest);
    if (frame.kind == codec::Frame::Kind::Incomplete) break;
    if (frame.kind == codec::Frame::Kind::Malformed) {
      protocol_error(ReasonCode::MalformedPacket, now);
      break;
    }
    if (frame.size > packet_size_max_ ||
        (state_ == State::AwaitConnect && frame.size > shard_.limits().connect_size_max)) {
      protocol_error(ReasonCode::PacketTooLarge, now);  // [MQTT-3.2.2-15]
      break;
    }
    if (state_ == State::AwaitConnect && frame.type != codec::PacketType::Connect) {
      protocol_error(ReasonCode::ProtocolError, now);  // [MQTT-3.1.0-1]
      break;
    }
    if (state_ == State::Authenticating && !authenticated_ && frame.type != codec::PacketType::Auth &&
        frame.type != codec::PacketType::Disconnect) {
      protocol_error(ReasonCode::ProtocolError, now);  // [MQTT-3.1.2-30]
      break;
    }
    if (frame.kind == codec::Frame::Kind::Partial) break;
    if (outbox_full() && !flush(now) && outbox_full()) {
      stall(Stall::OutputFull, now);  // it does not read what it is sent: we do not read either
      break;
    }
    if (shard_.has_rates() && !take_rate_tokens(frame, now)) break;
    if (handle(frame, rest.first(frame.size), now) == Handled::Stalled) break;
    shard_.counters().packets_received.add();
    last_packet_ = now;  // [MQTT-3.1.2-22] counts packets: bytes that never become one keep nobody alive
    done += frame.size;
    work += 1 + shard_.take_work();
    if (work > kWorkPerTurn && done < bytes.size() && stall_ == Stall::None && state_ == State::Connected) {
      stall(Stall::Turn, now);
      break;
    }
  }
  return state_ == State::Closing ? bytes.size() : done;
}

size_t Connection::fill_tail(Bytes bytes, Instant now) noexcept {
  size_t taken = 0;
  if (tail_start_) {  // whole packets that were handled when a wait ended
    tail_.remove_front(tail_start_);
    tail_start_ = 0;
  }
  for (;;) {
    const codec::Frame frame = codec::scan_frame(tail_.span());
    if (frame.kind == codec::Frame::Kind::Complete || frame.kind == codec::Frame::Kind::Malformed) break;
    const size_t missing = frame.kind == codec::Frame::Kind::Partial ? frame.size - tail_.count() : 1;
    const size_t step = std::min(missing, bytes.size() - taken);
    if (step == 0) break;
    if (!grow_tail(step, frame.kind == codec::Frame::Kind::Partial ? frame.size : 0) ||
        !tail_.append(bytes.subspan(taken, step))) {
      close(ReasonCode::ServerBusy, now);
      return bytes.size();
    }
    taken += step;
  }
  process_tail(now);
  return state_ == State::Closing ? bytes.size() : taken;
}

void Connection::process_tail(Instant now) noexcept {
  const size_t done = process(tail_.span().subspan(tail_start_), now);
  tail_start_ += static_cast<uint32_t>(done);
  if (state_ != State::Moved && (state_ == State::Closing || tail_start_ == tail_.count())) {
    tail_.reset();
    tail_start_ = 0;
  }
}

void Connection::keep_tail(Bytes bytes, Instant now) noexcept {
  if (bytes.empty() || state_ == State::Closing) return;
  if (tail_start_) {
    tail_.remove_front(tail_start_);
    tail_start_ = 0;
  }
  if (!grow_tail(bytes.size(), 0) || !tail_.append(bytes)) close(ReasonCode::ServerBusy, now);
}

// Room for `more` bytes, and some for those that will follow: as much again as has come, so that a length that lies
// costs nothing. packet_size: of the packet at the front, 0 if not known; no room is made beyond it.
bool Connection::grow_tail(size_t more, size_t packet_size) noexcept {
  const size_t needed = tail_.count() + more;
  if (needed <= tail_.capacity()) return true;
  size_t wanted = std::max<size_t>(needed * 2, 64);
  if (packet_size) wanted = std::max(needed, std::min(wanted, packet_size));
  return tail_.reserve(static_cast<uint32_t>(wanted)) || tail_.reserve(static_cast<uint32_t>(needed));
}

Connection::Handled Connection::handle(const codec::Frame& frame, Bytes packet, Instant now) noexcept {
  using codec::PacketType;
  switch (frame.type) {
    case PacketType::Publish: return handle_publish(packet, now);
    case PacketType::Puback:
    case PacketType::Pubrec:
    case PacketType::Pubrel:
    case PacketType::Pubcomp: return handle_ack(packet, now);
    case PacketType::Connect: return handle_connect(packet, now);
    case PacketType::Subscribe: return handle_subscribe(packet, now);
    case PacketType::Unsubscribe: return handle_unsubscribe(packet, now);
    case PacketType::Disconnect: return handle_disconnect(packet, now);
    case PacketType::Auth: return handle_auth(packet, now);
    case PacketType::Pingreq:
      if (const ReasonCode reason = codec::check_ping(packet); reason != ReasonCode::Success) {
        protocol_error(reason, now);
        return Handled::Yes;
      }
      if (std::byte* out = output_bytes(2)) {  // PINGRESP [MQTT-3.12.4-1]
        out[0] = std::byte{0xD0};
        out[1] = std::byte{0};
      }
      return Handled::Yes;
    case PacketType::Connack:
    case PacketType::Suback:
    case PacketType::Unsuback:
    case PacketType::Pingresp: break;  // a server's packets
  }
  protocol_error(ReasonCode::ProtocolError, now);
  return Handled::Yes;
}

// --- waiting

bool Connection::holds_publish() const noexcept { return rare_ && rare_->slow && rare_->slow->held; }

Connection::Rare* Connection::rare() noexcept {
  if (!rare_) rare_ = create<Rare>();
  return rare_;
}

Connection::Slow* Connection::slow() noexcept {
  Rare* rare = this->rare();
  if (rare && !rare->slow && (rare->slow = create<Slow>())) {
    rare->slow->connection = this;
    rare->slow->rate_timer.connection = this;
  }
  return rare ? rare->slow : nullptr;
}

Connection::Handled Connection::stall(Stall why, Instant now) noexcept {
  stall_ = why;
  if (!reading_paused_) {
    reading_paused_ = true;
    link_->pause_reading(true);
  }
  if (why == Stall::MailboxFull || why == Stall::Turn) shard_.mark_stalled(*this);
  if (why == Stall::Turn) shard_.mark_try_again();
  last_packet_ = now;  // it is we who do not read: that is not held against the peer
  return Handled::Stalled;
}

bool Connection::resume(Instant now) noexcept {
  if (state_ == State::Closing || stall_ == Stall::None) return false;
  if (stall_ == Stall::OutputFull && outbox_full()) return false;
  if (holds_publish() && !hand_over_held(now)) {
    shard_.mark_stalled(*this);
    return true;
  }
  stall_ = Stall::None;
  last_packet_ = now;
  process_tail(now);
  if (stall_ == Stall::None && reading_paused_ && state_ != State::Closing && state_ != State::Moved) {
    reading_paused_ = false;
    link_->pause_reading(false);
  }
  return stall_ == Stall::MailboxFull || stall_ == Stall::Turn;
}

bool Connection::take_rate_tokens(const codec::Frame& frame, Instant now) noexcept {
  const Limits& limits = shard_.limits();
  if (state_ != State::Connected) return true;
  Slow* slow = this->slow();
  if (!slow) return true;
  // Thousandths of messages and bytes; a bucket holds one second's worth, or one packet.
  const int64_t elapsed_ms = (now - slow->tokens_at) / kMillisecond;
  if (slow->tokens_at.ns == 0) {
    slow->message_tokens = int64_t{limits.message_rate} * 1000;
    slow->byte_tokens = int64_t{limits.byte_rate} * 1000;
    slow->tokens_at = now;
  } else if (elapsed_ms > 0) {
    slow->message_tokens =
        std::min(slow->message_tokens + elapsed_ms * limits.message_rate, int64_t{limits.message_rate} * 1000);
    slow->byte_tokens = std::min(slow->byte_tokens + elapsed_ms * limits.byte_rate, int64_t{limits.byte_rate} * 1000);
    slow->tokens_at = slow->tokens_at + elapsed_ms * kMillisecond;
  }
  const bool is_message = frame.type == codec::PacketType::Publish;
  int64_t wait_ms = 0;
  if (limits.message_rate && is_message && slow->message_tokens <= 0) {
    wait_ms = -slow->message_tokens / limits.message_rate + 1;
  }
  if (limits.byte_rate && slow->byte_tokens <= 0) {
    wait_ms = std::max(wait_ms, -slow->byte_tokens / limits.byte_rate + 1);
  }
  if (wait_ms) {
    stall(Stall::Rate, now);
    shard_.timers().arm(slow->rate_timer, now + wait_ms * kMillisecond, [](Timer& timer, Instant at) noexcept {
      Connection& connection = *static_cast<Slow::RateTimer&>(timer).connection;
      if (connection.stall_ == Stall::Rate) connection.resume(at);
    });
    return false;
  }
  if (is_message) slow->message_tokens -= 1000;
  slow->byte_tokens -= int64_t{frame.size} * 1000;
  return true;
}

// --- bytes out

bool Connection::outbox_full() const noexcept { return output_ && output_->size() >= shard_.limits().outbox_bytes_max; }

std::byte* Connection::output_bytes(size_t size) noexcept {
  if (output_ && output_->size() > kFlushEarly && !link_full_) link_full_ = !write_out();
  if (!output_ && !(output_ = shard_.outputs().take())) {
    shard_.mark_closing(*this);
    state_ = State::Closing;
    return nullptr;
  }
  std::byte* out = output_->write(size);
  if (!out) {  // half a packet must never be sent: nothing more is
    state_ = State::Closing;
    shard_.mark_closing(*this);
    return nullptr;
  }
  if (!dirty) shard_.mark_dirty(*this);
  shard_.counters().packets_sent.add();
  return out;
}

void Connection::say_too_large() noexcept {
  constexpr size_t kSize = 4;
  if (version_ != ProtocolVersion::V5 || packet_size_out_ < kSize) return;
  codec::DisconnectView disconnect;
  disconnect.reason_code = ReasonCode::PacketTooLarge;
  send(disconnect, version_);
}

void Connection::send_ack(codec::PacketType type, uint16_t packet_id, Reason reason) noexcept {
  if (state_ == State::Closing) return;
  if (reason.ok() || version_ != ProtocolVersion::V5) {
    std::byte* out = output_bytes(4);
    if (!out) return;
    const uint8_t flags = type == codec::PacketType::Pubrel ? 2 : 0;
    out[0] = static_cast<std::byte>(static_cast<uint8_t>(type) << 4 | flags);
    out[1] = std::byte{2};
    out[2] = static_cast<std::byte>(packet_id >> 8);
    out[3] = static_cast<std::byte>(packet_id);
    return;
  }
  codec::AckView ack;
  ack.type = type;
  ack.packet_id = packet_id;
  ack.reason_code = reason.code;
  ack.reason_string = to_text(reason.detail);
  send_reason(ack);
}

OutgoingAliases::Choice Connection::choose_alias(std::string_view topic_name) noexcept {
  Rare* rare = this->rare();
  if (!rare) return {};
  if (!rare->aliases_out) rare->aliases_out = OutgoingAliases::make(aliases_out_max_, shard_.router().seed());
  return rare->aliases_out ? rare->aliases_out->choose(topic_name) : OutgoingAliases::Choice();
}

bool Connection::send_publish(MovingMessage& message, const codec::PublishView& fields, Instant now,
                              Bytes added) noexcept {
  if (state_ != State::Connected) return false;
  const MessageView& view = message.view();
  OutgoingAliases::Choice alias;
  if (aliases_out_max_) alias = choose_alias(view.topic_name);
  const PublishEncoder encoder(view, fields, version_, now, alias, added);
  if (packet_size_out_ && encoder.packet_size() > packet_size_out_) {  // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    if (alias.alias) rare_->aliases_out->forget(alias);
    shard_.dropped(&Counters::dropped_too_large, session_, view);
    return false;
  }
  const bool by_reference =
      view.payload.size() > (message.kept() ? PublishEncoder::kCopyMaxKept : PublishEncoder::kCopyMax);
  if (by_reference && !message.keep()) {
    if (alias.alias) rare_->aliases_out->forget(alias);
    shard_.dropped(&Counters::dropped_no_memory, session_, view);
    return false;
  }
  std::byte* out = output_bytes(by_reference ? encoder.head_size() : encoder.packet_size());
  if (!out) return false;
  std::byte* end = encoder.write_head(out);
  if (by_reference) {
    if (!output_->write_reference(message.keep()->payload(), message.share())) {
      state_ = State::Closing;
      shard_.mark_closing(*this);
      return false;
    }
  } else if (!view.payload.empty()) {
    std::memcpy(end, view.payload.data(), view.payload.size());
  }
  if (is_sys_topic(view.topic_name)) {
    shard_.counters().sys_messages_sent.add();
  } else {
    shard_.counters().messages_sent.add();
    shard_.counters().message_bytes_sent.add(view.payload.size());
  }
  if (SessionObserver* observer = shard_.message_observer()) {
    observer->on_message_event(shard_.index(), MessageEvent::Delivered, session_->client_id(), message.view());
  }
  return true;
}

void Connection::gate() noexcept {
  const StateRecorder& state = shard_.state();
  const uint32_t serial = state.serial();
  if (!state.on() || state.durable(serial)) return;
  Rare* rare = this->rare();
  if (rare && !rare->gates.empty() && rare->gates.back().serial == serial) return;
  size_t bytes = output_ ? output_->size() : 0;
  if (rare) {
    for (uint32_t i = 0; i < rare->gates.count(); ++i) bytes -= rare->gates[i].bytes;
  }
  if (!rare || !rare->gates.push_back({serial, bytes}) || !shard_.mark_gated(*this)) {  // it would go out too early
    state_ = State::Closing;
    shard_.mark_closing(*this);
    if (output_) shard_.outputs().give_back(std::exchange(output_, nullptr));
  }
}

bool Connection::open_gates() noexcept {
  if (!rare_) return false;
  Ring<Rare::Gate>& gates = rare_->gates;
  while (!gates.empty() && shard_.state().durable(gates.front().serial)) {
    const size_t bytes = gates.pop_front().bytes;
    if (!gates.empty()) gates.front().bytes += bytes;
  }
  return !gates.empty();
}

bool Connection::write_out() noexcept {
  const size_t before = output_->size();
  const bool waits = open_gates();
  const bool done = output_->flush(*link_, waits ? rare_->gates.front().bytes : SIZE_MAX);
  const size_t sent = before - output_->size();
  if (waits) rare_->gates.front().bytes -= sent;
  shard_.counters().bytes_sent.add(sent);
  return done;
}

bool Connection::flush(Instant) noexcept {
  if (!output_ || !link_) return true;
  const bool was_full = outbox_full();
  const bool done = write_out();
  link_full_ = !done;
  if (done && output_->size() == 0) {
    shard_.outputs().give_back(output_);
    output_ = nullptr;
  }
  // What waited for room in the outbox goes on now: when the link took all, it has no reason to call.
  if (was_full && !outbox_full()) {
    if (session_) shard_.mark_pump(*session_);
    if (stall_ == Stall::OutputFull) {
      shard_.mark_stalled(*this);
      shard_.mark_try_again();
    }
  }
  return done;
}

void Connection::on_writable(Instant now) noexcept {
  if (state_ == State::Closing) return;
  flush(now);
  if (session_) session_->pump(now);
  if (stall_ == Stall::OutputFull) resume(now);
}

// --- the end

void Connection::close(const CloseReason& reason, Instant) noexcept {
  if (state_ == State::Closing) return;
  if (state_ == State::Connected && version_ == ProtocolVersion::V5) {
    codec::DisconnectView disconnect;
    disconnect.reason_code = reason.code;
    disconnect.reason_string = reason.reason_string;
    disconnect.server_reference = reason.server_reference;
    send_reason(disconnect);
  }
  if (state_ == State::AwaitConnect || state_ == State::Authenticating) shard_.counters().connections_refused.add();
  close_reason_ = reason.code;
  state_ = State::Closing;
  shard_.mark_closing(*this);
}

void Connection::protocol_error(const CloseReason& reason, Instant now) noexcept {
  if (state_ == State::Closing) return;
  shard_.counters().protocol_errors.add();
  shard_.log_peer("protocol error", *this, reason, now);
  if (state_ == State::Authenticating) send_refusal(reason);
  close(reason, now);
}

// A peer that has shut its side alone still reads: it is told what became of the publishes it sent before.
void Connection::on_peer_closed(bool broken, Instant now) noexcept {
  const bool unanswered = state_ == State::Connected && session_->has_open_publishes();
  if (!broken && unanswered && !peer_finished_) {
    peer_finished_ = true;
    shard_.timers().arm(*this, now + kAnswersMax, on_timer);
    return;
  }
  peer_gone_ = true;
  if (state_ == State::Closing) return;
  if (state_ == State::AwaitConnect) shard_.counters().connections_refused.add();
  state_ = State::Closing;
  shard_.mark_closing(*this);
}

void Connection::on_all_answered() noexcept {
  if (!peer_finished_ || state_ == State::Closing) return;
  state_ = State::Closing;
  shard_.mark_closing(*this);
}

void Connection::finish(Instant now) noexcept {
  if (!peer_gone_) flush(now);
  if (Session* session = session_) {
    session_ = nullptr;
    shard_.tell_disconnected(*this, *session, close_reason_, close_reason_ == ReasonCode::Success && publish_will_,
                             now);
    if (session->detach(now, publish_will_)) shard_.end_session(*session, now);
  }
  if (holds_publish()) shard_.continue_publish(std::move(rare_->slow->held), rare_->slow->operation, now);
  shard_.counters().connections_closed.add();
  link_->close(peer_gone_);
  link_ = nullptr;
}

// --- time

void Connection::arm_keep_alive(Instant now) noexcept {
  if (keep_alive_s_ == 0) {
    cancel();
    return;
  }
  shard_.timers().arm(*this, now + int64_t{keep_alive_s_} * 1500 * kMillisecond, on_timer);  // [MQTT-3.1.2-22]
}

void Connection::on_timer(Timer& timer, Instant now) noexcept {
  auto& connection = static_cast<Connection&>(timer);
  switch (connection.state_) {
    case State::AwaitConnect:
      connection.shard_.log_peer("no CONNECT in time", connection, ReasonCode::MaximumConnectTime, now);
      connection.close(ReasonCode::MaximumConnectTime, now);
      return;
    case State::Authenticating:  // the host did not answer, or the client not the host: that is a denial
      connection.refuse(ReasonCode::NotAuthorized, now);
      return;
    case State::Moved:
    case State::Closing: return;
    case State::Connected: break;
  }
  if (connection.peer_finished_) {
    connection.on_peer_closed(true, now);
    return;
  }
  if (connection.ends_refused_) {
    connection.close(ReasonCode::QuotaExceeded, now);
    return;
  }
  connection.session_->trim();
  // The wheel is not touched for every packet: the timer looks when the last came.
  const Instant due = connection.last_packet_ + int64_t{connection.keep_alive_s_} * 1500 * kMillisecond;
  if (connection.stall_ == Stall::None && due <= now) {
    connection.shard_.counters().keep_alive_timeouts.add();
    connection.close(ReasonCode::KeepAliveTimeout, now);
  } else {
    connection.shard_.timers().arm(connection, due > now ? due : now + kSecond, on_timer);
  }
}

}  // namespace mqttq
