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

// CONNACK, or an answer that it waits for and that grows with what it asked, is within its Maximum Packet Size.
bool Client::answers_fit() const {
  constexpr uint32_t kConnackMax = 24, kAround = 5;
  if (state_ == State::Connecting) return setup_.packet_size_max >= kConnackMax;
  const auto fits = [this](const auto& waiting) {
    const Request& request = waiting.second;
    return std::max(request.entries.size(), request.texts.size()) + kAround <= setup_.packet_size_max;
  };
  return std::all_of(subscribes_.begin(), subscribes_.end(), fits) &&
         std::all_of(unsubscribes_.begin(), unsubscribes_.end(), fits);
}

// It shut its side and read on: what it had sent before was answered, if that did not take too long.
void Client::judge_shut() const {
  check(!disconnect_reason_, "is told a reason, and has ended the connection itself");
  if (was_full_ || broker_.now() - shut_at_ >= kAnswersMax) return;
  const bool all = none_taken(await_puback_) && none_taken(await_pubrec_) && await_again_.empty() &&
                   await_pubcomp_.empty() && await_not_found_.empty() && subscribes_.empty() && unsubscribes_.empty() &&
                   pings_ == 0;
  check(all, "has shut its side, and has not all answers to what it sent before");
}

// But for those that perhaps get no answer.
bool Client::none_taken(const std::deque<Awaited>& queue) const {
  return std::all_of(queue.begin(), queue.end(), [this](const Awaited& one) {
    return setup_.version != ProtocolVersion::V5 && one.kind == Awaited::Kind::Perhaps;
  });
}

void Client::on_broker_closed() {
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const bool late =
      setup_.keep_alive_s && broker_.now() - last_sent_ >= int64_t{setup_.keep_alive_s} * 1500 * kMillisecond;
  const bool too_small = setup_.packet_size_max && !answers_fit();
  // In 3.x a refusal that was due to version 5 may end the connection [MQTT311-3.3.5-2].
  const bool refused = !v5 && std::any_of(outgoing_.begin(), outgoing_.end(), [this](const Outgoing& one) {
    return model_.message(one.message).refused && model_.message(one.message).sent_count > 1;
  });
  check(expect_close_ || late || too_small || refused, "is disconnected and did nothing wrong");
  if (shut_) {
    judge_shut();
  } else if (v5 && state_ == State::Connected && link_->room == SIZE_MAX) {
    check(disconnect_reason_.has_value(), "is not told why the connection ends");
    check(is_error(*disconnect_reason_), "is told that the connection ends for no reason");
    if (!expect_close_) {
      check((late && *disconnect_reason_ == ReasonCode::KeepAliveTimeout) ||
                (too_small && *disconnect_reason_ == ReasonCode::PacketTooLarge),
            "is told another reason than its keep alive, or its Maximum Packet Size");
    }
  }
  if (state_ == State::Connecting) {
    check(too_small || (late && was_full_), "is not accepted");
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
    one.lost |= !one.received && setup_.packet_size_max && one.payload.size() + 100 >= setup_.packet_size_max;
    one.owed = !one.lost;
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
  const bool of_group = publish.qos == Qos::AtLeastOnce && model_.may_be_of_group(*record_, publish);
  const auto begin = [&] {
    incoming_.push_back({publish.packet_id, std::string(as_text(publish.payload)), publish.qos});
    incoming_.back().lost = of_group;
  };
  if (publish.dup) check(resumed_, "got DUP on a message that it had not been sent");  // [MQTT-3.3.1-1]
  if (!known) {
    begin();
    return false;
  }
  const bool same = known->payload == as_text(publish.payload) && known->qos == publish.qos;
  if (known->again && publish.dup && same) {
    known->again = false;
    known->answered = known->received = false;
    const auto place = static_cast<size_t>(known - incoming_.data()) + 1;
    check(place > last_again_, "got messages again in another order");  // [MQTT-4.6.0-1]
    last_again_ = place;
    return true;
  }
  check(known->answered || (known->again && known->lost),
        "got an identifier that is in use, or a message again without DUP");  // [MQTT-2.2.1-4]
  check(!publish.dup || !same, "got a message again that it had acknowledged");
  incoming_.erase(incoming_.begin() + (known - incoming_.data()));
  last_again_ = 0;
  begin();
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
  if (take_awaited(*ack)) return;
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
  if (message.refused && v5 && !(message.sent_bare && ack->reason_code == ReasonCode::Success)) {  // as 3.x was told
    check(ack->reason_code == ReasonCode::NotAuthorized, "is allowed to publish to $SYS");
    outgoing_.erase(at);
    return;
  }
  check(!is_error(ack->reason_code), "is refused a publish");
  if (ack->reason_code == ReasonCode::NoMatchingSubscribers) {
    check(message.sent_count > 1 || !model_.is_owed(message), "is told that nobody subscribes, and somebody does");
    check(!message.delay_s, "is told that nobody subscribes to what is still to come");
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

// Once, and in order [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4].
bool Client::take_awaited(const codec::AckView& ack) {
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const uint16_t id = ack.packet_id;
  const auto take = [id](std::deque<uint16_t>& queue, bool anywhere) {
    const auto place = std::find(queue.begin(), queue.end(), id);
    if (place == queue.end() || (!anywhere && place != queue.begin())) return false;
    queue.erase(place);
    return true;
  };
  if (ack.type == PacketType::Pubcomp) {
    check(take(await_pubcomp_, false), "got a PUBCOMP of nothing, or out of order");
    return false;
  }
  std::deque<Awaited>& queue = ack.type == PacketType::Puback ? await_puback_ : await_pubrec_;
  while (!v5 && !queue.empty() && queue.front().kind == Awaited::Kind::Perhaps && queue.front().packet_id != id) {
    queue.pop_front();
  }
  if (queue.empty() || queue.front().packet_id != id) {
    check(ack.type == PacketType::Pubrec && (take(await_again_, true) || take(perhaps_again_, true)),
          "got an acknowledgement of nothing, or out of order");
    return false;
  }
  const Awaited awaited = queue.front();
  queue.pop_front();
  const bool in_use = v5 && ack.reason_code == ReasonCode::PacketIdentifierInUse;
  if (awaited.kind == Awaited::Kind::InUse) {
    check(in_use, "is not told that the identifier is in use");
    return true;
  }
  if (awaited.kind != Awaited::Kind::Perhaps || !in_use) return false;
  model_.not_taken(awaited.message);
  return true;
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
    model_.ended(*record_, request.texts[i], request.asked);
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

void Client::judge_time() {
  if (!link_ || link_->room != SIZE_MAX || state_ != State::Connected) return;
  const auto since = [this](Instant at) { return broker_.now() - std::max(at, room_since_); };
  if (shut_) check(since(shut_at_) < kAnswersMax + kSecond, "has shut its side, and is waited for");
  if (!shut_ && setup_.keep_alive_s) {
    check(since(last_sent_) < int64_t{setup_.keep_alive_s} * 1500 * kMillisecond + kSecond,
          "is silent and still connected");
  }
}

void Client::judge_rest() {
  for (const OldLink& old : old_links_) check(old.link->closed, "has its old connection still");  // [MQTT-3.1.4-3]
  judge_time();
  if (!link_ || half_sent() || link_->room != SIZE_MAX) {
    if (record_ && link_) record_->blocked = true;
    return;
  }
  was_full_ = false;
  check(!expect_close_, "is still connected after it broke the protocol");
  check(state_ == State::Connected, "has no answer to its CONNECT");
  check(none_taken(await_puback_), "has no PUBACK for a publish");
  check(none_taken(await_pubrec_) && await_again_.empty(), "has no PUBREC for a publish");
  check(await_pubcomp_.empty(), "has no PUBCOMP for a PUBREL");
  check(await_not_found_.empty(), "has no PUBREL for a PUBREC of nothing");
  check(subscribes_.empty(), "has no SUBACK");
  check(unsubscribes_.empty(), "has no UNSUBACK");
  check(pings_ == 0, "has no PINGRESP");
  perhaps_again_.clear();
  await_puback_.clear();
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
