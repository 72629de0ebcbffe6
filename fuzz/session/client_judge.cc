// What a client is sent, and whether it may be. See client.h.
#include <algorithm>

#include "client.h"
#include "message/topic.h"

namespace mqttq::fuzz {

using codec::PacketType;

// --- what arrives

bool Client::read() {
  read_old_links();
  if (!link_) return false;
  bool some = !link_->written.empty();
  in_.insert(in_.end(), link_->written.begin(), link_->written.end());
  link_->written.clear();
  size_t done = 0;
  for (;;) {
    const Bytes rest = Bytes(in_).subspan(done);
    const codec::Frame frame = codec::scan_frame(rest);
    check(frame.kind != codec::Frame::Kind::Malformed, "got bytes that are no packet");
    if (frame.kind != codec::Frame::Kind::Complete) break;
    done += frame.size;
    const std::vector<std::byte> packet(rest.begin(), rest.begin() + frame.size);
    if (traced()) trace(client_id_ + " <" + hex_of(packet));
    if (setup_.packet_size_max && frame.size > setup_.packet_size_max) {
      fail("got a packet over its Maximum Packet Size:" + hex_of(packet));  // [MQTT-3.1.2-24]
    }
    check(!disconnect_reason_, "got a packet after DISCONNECT");  // [MQTT-3.14.4-1]
    handle(frame, packet);
  }
  in_.erase(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(done));
  if (link_->closed) {
    on_broker_closed();
    some = true;
  }
  return some;
}

// Only whether it is legal: what came of it the client does not look at any more.
void Client::read_old_links() {
  std::erase_if(old_links_, [this](OldLink& old) {
    old.in.insert(old.in.end(), old.link->written.begin(), old.link->written.end());
    old.link->written.clear();
    size_t done = 0;
    for (;;) {
      const Bytes rest = Bytes(old.in).subspan(done);
      const codec::Frame frame = codec::scan_frame(rest);
      check(frame.kind != codec::Frame::Kind::Malformed, "got bytes that are no packet, on its old connection");
      if (frame.kind != codec::Frame::Kind::Complete) break;
      done += frame.size;
      if (frame.type != PacketType::Disconnect) continue;
      check(old.version == ProtocolVersion::V5, "got a DISCONNECT, which 3.x does not have from a server");
      check(codec::decode_disconnect(rest.first(frame.size), old.version).ok(), "got a bad DISCONNECT");
    }
    old.in.erase(old.in.begin(), old.in.begin() + static_cast<ptrdiff_t>(done));
    return old.link->closed;
  });
}

void Client::on_broker_closed() {
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const bool late =
      setup_.keep_alive_s && broker_.now() - last_sent_ >= int64_t{setup_.keep_alive_s} * 1500 * kMillisecond;
  const bool too_small = setup_.packet_size_max && setup_.packet_size_max < 64;  // CONNACK, SUBACK may not fit
  check(expect_close_ || late || too_small, "is disconnected and did nothing wrong");
  if (v5 && state_ == State::Connected && !too_small && link_->room == SIZE_MAX) {
    check(disconnect_reason_.has_value(), "is not told why the connection ends");
    check(is_error(*disconnect_reason_), "is told that the connection ends for no reason");
    if (!expect_close_) {
      check(*disconnect_reason_ == ReasonCode::KeepAliveTimeout, "is told another reason than its keep alive");
    }
  }
  if (state_ == State::Connecting) {
    check(too_small, "is not accepted");
    unsure_ = true;
  }
  end_will(false);
  lose_connection();
}

void Client::handle(const codec::Frame& frame, Bytes packet) {
  const bool first = frame.type == PacketType::Connack;
  check(first == (state_ == State::Connecting), "got CONNACK out of place");  // [MQTT-3.2.0-1] [MQTT-3.2.0-2]
  switch (frame.type) {
    case PacketType::Connack: return handle_connack(packet);
    case PacketType::Publish: return handle_publish(packet);
    case PacketType::Puback:
    case PacketType::Pubrec:
    case PacketType::Pubrel:
    case PacketType::Pubcomp: return handle_ack(packet);
    case PacketType::Suback:
    case PacketType::Unsuback: return handle_suback(packet);
    case PacketType::Pingresp:
      check(codec::check_ping(packet) == ReasonCode::Success && pings_, "got a bad PINGRESP, or one too many");
      --pings_;
      return;
    case PacketType::Disconnect: {
      check(setup_.version == ProtocolVersion::V5, "got a DISCONNECT, which 3.x does not have from a server");
      const auto disconnect = codec::decode_disconnect(packet, setup_.version);
      check(disconnect.ok() && !disconnect->session_expiry_s, "got a bad DISCONNECT");  // [MQTT-3.14.2-2]
      disconnect_reason_ = disconnect->reason_code;
      return;
    }
    default: fail("got a packet that is a client's");
  }
}

void Client::handle_connack(Bytes packet) {
  const auto connack = codec::decode_connack(packet, setup_.version);
  check(connack.ok(), "got a CONNACK that does not decode");
  check(connack->reason_code == ReasonCode::Success, "is refused");
  check(connack->assigned_client_id.empty(), "is assigned a client id and has one");
  // In 3.1 there is no Session Present: a client goes by what it asked for.
  const bool present = setup_.version == ProtocolVersion::V31 ? *expected_present_ : connack->session_present;
  check(expected_present_ == present, "is told another Session Present");  // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
  state_ = State::Connected;
  unsure_ = false;
  resumed_ = present;
  alias_max_out_ = connack->topic_alias_maximum;
  expiry_s_ = setup_.session_expiry_s;
  if (!present) {
    outgoing_.clear();
    incoming_.clear();
    record_ = &model_.begin_session(client_id_, setup_.version);
  }
  record_->version = setup_.version;
  record_->durable = expiry_s_ != 0;
  if (will_) model_.message(will_).publisher_session = record_->number;
  model_.connected(*record_, setup_.packet_size_max);
  for (Incoming& one : incoming_) {
    one.again = true;
    // One that is too large now is not sent at all [MQTT-3.1.2-25].
    one.owed = one.received || setup_.packet_size_max == 0 || one.payload.size() + 100 < setup_.packet_size_max;
  }
  const std::deque<Outgoing> again = outgoing_;
  for (const Outgoing& one : again) {  // [MQTT-4.4.0-1]
    switch (one.state) {
      case Outgoing::State::AwaitPuback:
      case Outgoing::State::AwaitPubrec: send_publish(one, true); break;
      default: send_due({PacketType::Pubrel, one.packet_id}, false);
    }
  }
}

Client::Incoming* Client::find_incoming(uint16_t packet_id) {
  const auto at = std::find_if(incoming_.begin(), incoming_.end(),
                               [packet_id](const Incoming& one) { return one.packet_id == packet_id; });
  return at == incoming_.end() ? nullptr : &*at;
}

// Whether an exchange that the client knows goes on with this packet.
bool Client::is_repeat(const codec::PublishView& publish) {
  Incoming* known = find_incoming(publish.packet_id);
  if (publish.dup) check(resumed_, "got DUP on a message that it had not been sent");  // [MQTT-3.3.1-1]
  const std::string payload(as_text(publish.payload));
  if (!known) {
    incoming_.push_back({publish.packet_id, payload, publish.qos});
    return false;
  }
  const bool same = known->payload == payload && known->qos == publish.qos;
  if (known->again && publish.dup && same) {
    known->again = false;
    known->answered = known->received = false;
    const auto place = static_cast<size_t>(known - incoming_.data()) + 1;
    check(place > last_again_, "got messages again in another order");  // [MQTT-4.6.0-1]
    last_again_ = place;
    return true;
  }
  check(known->answered, "got an identifier that is in use, or a message again without DUP");  // [MQTT-2.2.1-4]
  check(!publish.dup || !same, "got a message again that it had acknowledged");
  incoming_.erase(incoming_.begin() + (known - incoming_.data()));
  last_again_ = 0;
  incoming_.push_back({publish.packet_id, payload, publish.qos});
  return false;
}

void Client::handle_publish(Bytes packet) {
  const auto decoded = codec::decode_publish(packet, setup_.version);
  check(decoded.ok(), "got a PUBLISH that does not decode");
  codec::PublishView publish = *decoded;
  if (publish.topic_alias) {
    check(publish.topic_alias <= setup_.alias_max, "got a topic alias over its maximum");  // [MQTT-3.1.2-26]
    if (!publish.topic_name.empty()) aliases_in_[publish.topic_alias] = publish.topic_name;
    check(aliases_in_.contains(publish.topic_alias), "got a topic alias that nobody set");
    publish.topic_name = aliases_in_[publish.topic_alias];
  }
  check(is_valid_topic_name(publish.topic_name), "got a PUBLISH without a valid topic");
  bool repeat = false;
  if (publish.qos != Qos::AtMostOnce) {
    open_.insert(publish.packet_id);
    check(open_.size() <= setup_.receive_maximum, "got more than its Receive Maximum");  // [MQTT-3.3.4-9]
    repeat = is_repeat(publish);
  }
  model_.received(*record_, publish, repeat, !resumed_ && !was_full_);
  if (publish.qos == Qos::AtMostOnce) return;
  due_.push_back({publish.qos == Qos::AtLeastOnce ? PacketType::Puback : PacketType::Pubrec, publish.packet_id});
  if (automatic_) set_automatic(true);
}

void Client::handle_ack(Bytes packet) {
  const auto ack = codec::decode_ack(packet, setup_.version);
  check(ack.ok(), "got an acknowledgement that does not decode");
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const uint16_t id = ack->packet_id;
  if (ack->type == PacketType::Pubrel) {
    if (!await_not_found_.empty() && await_not_found_.front() == id) {
      await_not_found_.pop_front();
      check(!v5 || ack->reason_code == ReasonCode::PacketIdentifierNotFound, "is told that nothing was found");
      return;
    }
    check(ack->reason_code == ReasonCode::Success, "got a PUBREL with an error");
    Incoming* known = find_incoming(id);
    check(resumed_ || (known && known->received && !known->answered), "got a PUBREL out of place");
    if (known) {
      check(known->qos == Qos::ExactlyOnce && known->received, "got a PUBREL before its PUBREC");
      known->again = false;
    }
    due_.push_back({PacketType::Pubcomp, id});
    if (automatic_) set_automatic(true);
    return;
  }
  std::deque<uint16_t>& queue = ack->type == PacketType::Puback   ? await_puback_
                                : ack->type == PacketType::Pubrec ? await_pubrec_
                                                                  : await_pubcomp_;
  // Once, and in order [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4].
  if (!queue.empty() && queue.front() == id) {
    queue.pop_front();
  } else {
    const auto take = [id](std::deque<uint16_t>& again) {
      const auto place = std::find(again.begin(), again.end(), id);
      if (place == again.end()) return false;
      again.erase(place);
      return true;
    };
    check(ack->type == PacketType::Pubrec && (take(await_again_) || take(perhaps_again_)),
          "got an acknowledgement of nothing, or out of order");
  }
  const auto at =
      std::find_if(outgoing_.begin(), outgoing_.end(), [id](const Outgoing& one) { return one.packet_id == id; });
  if (ack->type == PacketType::Pubcomp) {
    if (id == kNobodysId) {
      check(!v5 || ack->reason_code == ReasonCode::PacketIdentifierNotFound, "got a PUBCOMP of nothing");
      return;
    }
    check(ack->reason_code == ReasonCode::Success || resumed_, "got a PUBCOMP with an error");
    if (at != outgoing_.end()) outgoing_.erase(at);
    return;
  }
  if (at == outgoing_.end()) return;  // a repeat of it was answered before
  const Message& message = model_.message(at->message);
  if (message.refused && v5) {
    check(ack->reason_code == ReasonCode::NotAuthorized, "is allowed to publish to $SYS");
    outgoing_.erase(at);
    return;
  }
  check(!is_error(ack->reason_code), "is refused a publish");
  if (ack->reason_code == ReasonCode::NoMatchingSubscribers) {
    check(message.sent_count > 1 || !model_.is_owed(message), "is told that nobody subscribes, and somebody does");
  }
  model_.acknowledged(at->message);
  if (ack->type == PacketType::Puback) {
    check(at->state == Outgoing::State::AwaitPuback, "got a PUBACK for a QoS 2 publish");
    outgoing_.erase(at);
  } else if (at->state == Outgoing::State::AwaitPubrec) {
    at->state = Outgoing::State::Received;
    due_.push_back({PacketType::Pubrel, id});
    if (automatic_) set_automatic(true);
  }
}

void Client::handle_suback(Bytes packet) {
  const auto suback = codec::decode_suback(packet, setup_.version);
  check(suback.ok(), "got a SUBACK or UNSUBACK that does not decode");
  auto& requests = suback->type == PacketType::Suback ? subscribes_ : unsubscribes_;
  const auto found = requests.find(suback->packet_id);
  check(found != requests.end(), "got a SUBACK or UNSUBACK for nothing it asked");
  const Request request = std::move(found->second);
  requests.erase(found);
  if (suback->type == PacketType::Suback) {
    model_.granted(*record_, request.entries, suback->reason_codes);
    return;
  }
  const bool v5 = setup_.version == ProtocolVersion::V5;
  check(suback->reason_codes.size() == (v5 ? request.texts.size() : 0), "got an UNSUBACK of another size");
  std::set<std::string> once;
  for (size_t i = 0; i < request.texts.size(); ++i) {
    model_.ended(*record_, request.texts[i]);
    if (!v5 || !request.existed[i] || !once.insert(request.texts[i]).second) continue;
    const auto code = static_cast<ReasonCode>(suback->reason_codes[i]);
    const auto right = *request.existed[i] ? ReasonCode::Success : ReasonCode::NoSubscriptionExisted;
    check(code == right, "is told another thing of the subscription that it ends");
  }
}

// --- at rest

bool Client::window_full() const {
  const size_t window = std::min(setup_.receive_maximum, broker_.limits().inflight_max);
  const auto open = static_cast<size_t>(std::count_if(incoming_.begin(), incoming_.end(),
                                                      [](const Incoming& one) { return !one.answered && !one.again; }));
  return std::max(open, open_.size()) >= window;
}

void Client::judge_rest() {
  for (const OldLink& old : old_links_) check(old.link->closed, "has its old connection still");  // [MQTT-3.1.4-3]
  if (!link_ || half_sent() || link_->room != SIZE_MAX) {
    if (record_ && link_) record_->blocked = true;
    return;
  }
  was_full_ = false;
  check(!expect_close_, "is still connected after it broke the protocol");
  check(state_ == State::Connected, "has no answer to its CONNECT");
  check(await_puback_.empty(), "has no PUBACK for a publish");
  check(await_pubrec_.empty() && await_again_.empty(), "has no PUBREC for a publish");
  check(await_pubcomp_.empty(), "has no PUBCOMP for a PUBREL");
  check(await_not_found_.empty(), "has no PUBREL for a PUBREC of nothing");
  check(subscribes_.empty(), "has no SUBACK");
  check(unsubscribes_.empty(), "has no UNSUBACK");
  check(pings_ == 0, "has no PINGRESP");
  if (setup_.keep_alive_s) {
    const int64_t silent = broker_.now() - std::max(last_sent_, room_since_);
    check(silent < int64_t{setup_.keep_alive_s} * 1500 * kMillisecond + kSecond, "is silent and still connected");
  }
  perhaps_again_.clear();
  record_->blocked = window_full();
  const bool all_due_sent = due_.empty();
  // What was acknowledged has been read now; what was not has come again.
  std::erase_if(incoming_, [](const Incoming& one) { return one.answered; });
  if (record_->blocked) return;
  for (const Incoming& one : incoming_) {
    check(!one.again || !one.owed, "was not sent again what it had not acknowledged");  // [MQTT-4.4.0-1]
  }
  std::erase_if(incoming_, [](const Incoming& one) { return one.again; });
  if (automatic_) check(all_due_sent && incoming_.empty(), "has an exchange that does not go on");
  last_again_ = 0;
}

}  // namespace mqttq::fuzz
