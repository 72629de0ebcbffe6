// PUBLISH (MQTT5 3.3) from a client: checked, authorised, handed to everybody who takes it, answered.
#include <algorithm>

#include "base/hash.h"
#include "message/topic.h"
#include "session/connection_parts.h"

namespace mqttq {

namespace {

// Of a topic name that is none, or that has too many levels [MQTT-3.3.2-1] [MQTT-3.3.2-2].
Reason why_no_topic_name(std::string_view text) noexcept {
  if (!is_valid_utf8(text)) return {ReasonCode::MalformedPacket, Detail::NotATopicName};
  return {ReasonCode::TopicNameInvalid, is_valid_topic_name(text) ? Detail::TopicTooDeep : Detail::NotATopicName};
}

}  // namespace

Connection::Handled Connection::handle_publish(Bytes packet, Instant now) noexcept {
  auto decoded = codec::decode_publish(packet, version_);
  if (!decoded.ok()) {
    protocol_error(decoded.reason(), now);
    return Handled::Yes;
  }
  // What was left behind by an earlier connection of this client goes first [MQTT-4.6.0-5].
  if (shard_.publishes_from_inside(session_->publisher_id())) return stall(Stall::MailboxFull, now);
  codec::PublishView& publish = *decoded;
  if (ends_refused_ && publish.qos != Qos::AtMostOnce) return Handled::Yes;
  Reason reason = resolve_alias(publish);  // of a repeat too: it counts for what follows
  if (reason.ok() && repeated(publish)) return Handled::Yes;
  if (reason.ok()) reason = judge_publish(publish, now);
  int64_t delay_ns = 0;
  if (reason.ok() && (publish.topic_name.front() == '$' || shard_.policy().rewrites.count())) {
    reason = settle_topic(publish.topic_name, delay_ns, now);
  }
  if (reason.ok() && publish.topic_name.size() > shard_.limits().topic_size_max) {
    reason = {ReasonCode::TopicNameInvalid, Detail::TopicTooLong};
  }
  if (reason.code == ReasonCode::ServerBusy) {  // memory was refused: it is not the peer's doing
    close(reason, now);
    return Handled::Yes;
  }
  if (!reason.ok()) {
    protocol_error(reason, now);
    return Handled::Yes;
  }
  if (publish.qos != Qos::AtMostOnce && session_->identifier_open(publish.packet_id, serial_)) {
    // In 3.x a client may repeat what has had no answer for long: the answer to the first is the answer to this one.
    const bool repeat = publish.qos == Qos::AtLeastOnce && publish.dup && !session_->find_receipt(publish.packet_id);
    if (version_ != ProtocolVersion::V5 && repeat) return Handled::Yes;
    refuse_intruder(publish, now);
    return Handled::Yes;
  }

  const RouteRef* route = nullptr;
  switch (shard_.routes().find(namespace_id_, publish.topic_name, shard_.limits().topic_levels_max, route)) {
    case RouteCache::Outcome::Found: break;
    case RouteCache::Outcome::InvalidTopic:
      protocol_error(why_no_topic_name(publish.topic_name), now);
      return Handled::Yes;
    case RouteCache::Outcome::NoMemory:
      close(ReasonCode::ServerBusy, now);  // without an answer: the client sends it again
      return Handled::Yes;
  }

  const bool asked = shard_.access() || publish.topic_name.front() == '$';
  switch (asked ? authorize(Action::Publish, session_->client_id(), publish.topic_name, publish.qos, publish.retain)
                : Verdict::Allow) {
    case Verdict::Allow: break;
    case Verdict::Pending: return stall(Stall::AccessAnswer, now);
    case Verdict::Busy:
    case Verdict::Continue:
    case Verdict::Deny: {
      if (publish.qos == Qos::AtMostOnce || version_ != ProtocolVersion::V5) shard_.counters().publishes_refused.add();
      if (publish.qos == Qos::AtMostOnce) return Handled::Yes;  // dropped (MQTT5 3.3.5)
      // With a receipt, though its answer may be no: one that comes again before it is answered is no second publish.
      if (publish.qos == Qos::ExactlyOnce && !session_->add_receipt(publish.packet_id, Receipt{now, serial_, false})) {
        close(ReasonCode::ServerBusy, now);
        return Handled::Yes;
      }
      // 3.x has no way to refuse: it is answered and dropped [MQTT311-3.3.5-2].
      const Detail why = is_sys_topic(publish.topic_name) ? Detail::SysTopic : Detail::AccessDenied;
      acknowledge(publish.qos, publish.packet_id,
                  version_ == ProtocolVersion::V5 ? Reason(ReasonCode::NotAuthorized, why) : Reason(), 0, now);
      return Handled::Yes;
    }
  }

  Instant expires_at{INT64_MAX};
  if (publish.has_message_expiry) {  // of a delayed one from when it is published, as a will's (MQTT5 3.1.3.2.4)
    expires_at = now + delay_ns + int64_t{publish.message_expiry_s} * kSecond;
  }
  Bytes properties;
  if (!publish.properties.empty() && !forwardable_properties(publish, properties)) {
    close(ReasonCode::ServerBusy, now);
    return Handled::Yes;
  }
  MovingMessage message(MessageView{.namespace_id = namespace_id_,
                                    .qos = publish.qos,
                                    .retain = publish.retain,
                                    .publisher = session_->publisher_id(),
                                    .expires_at = expires_at,
                                    .topic_name = publish.topic_name,
                                    .properties = properties,
                                    .payload = publish.payload});

  PublishOperation operation;
  if (publish.qos != Qos::AtMostOnce) {
    operation.origin = {session_->handle(), serial_, publish.packet_id, static_cast<uint8_t>(shard_.index())};
    // With a receipt it is surely entered among the open ones: else nobody would answer, and a repeat be taken for new.
    if (publish.qos == Qos::ExactlyOnce && (!session_->make_room_for_open_publish() ||
                                            !session_->add_receipt(publish.packet_id, Receipt{now, serial_, false}))) {
      close(ReasonCode::ServerBusy, now);
      return Handled::Yes;
    }
  }
  shard_.counters().messages_received.add();
  shard_.counters().message_bytes_received.add(publish.payload.size());
  if (publish.qos == Qos::ExactlyOnce && session_->stored()) {
    if (const Reason refusal = shard_.state().refusal(); !refusal.ok()) {
      acknowledge(publish.qos, publish.packet_id, refusal, 0, now);
      return Handled::Yes;
    }
    operation.receipt = session_->state_key_text().second;
  }
  if (delay_ns) {
    const Reason taken = shard_.delay(message, session_->client_id(), now + delay_ns);
    if (publish.qos != Qos::AtMostOnce) {
      if (taken.ok()) shard_.keep_receipt(operation, session_->publisher_id());
      acknowledge(publish.qos, publish.packet_id, operation.reason.ok() ? taken : operation.reason, operation.takers,
                  now);
    } else if (!taken.ok()) {
      shard_.counters().publishes_refused.add();
    }
    return Handled::Yes;
  }
  const bool handed_over = shard_.publish(message, *route, operation, now);
  if (!handed_over) {
    hold(message, operation, now);
  } else if (publish.qos != Qos::AtMostOnce) {
    acknowledge(publish.qos, publish.packet_id, operation.outcome(), operation.takers, now);
  }
  return Handled::Yes;
}

// A repeat of a QoS 2 publish that was taken: it is answered again, and not delivered again [MQTT-4.3.3-10]. While its
// takers have not all answered, the answer to the first is the answer to this one.
bool Connection::repeated(const codec::PublishView& publish) noexcept {
  if (publish.qos != Qos::ExactlyOnce) return false;
  Receipt* receipt = session_->find_receipt(publish.packet_id);
  if (!receipt) return false;
  // What is sent for the first time is no repeat of what a broker before this one had [MQTT-3.3.1-1]: that may have
  // been refused as the disk failed, and its receipt be there all the same.
  if (receipt->restored() && !publish.dup) {
    session_->replace_receipt(publish.packet_id);
    return false;
  }
  receipt->connection_serial = serial_;
  if (receipt->answered) {
    send_ack(codec::PacketType::Pubrec, publish.packet_id, ReasonCode::Success);
    return true;
  }
  if (session_->repeat_open_publish(publish.packet_id, serial_)) return true;
  session_->remove_receipt(publish.packet_id);  // memory was refused to it: nobody would answer
  return false;
}

// Some who take it have no room yet. Answers of those who have it may come before the others do, so it is entered among
// the open publishes now; nothing more is read until it is handed over.
void Connection::hold(MovingMessage& message, const PublishOperation& operation, Instant now) noexcept {
  OpenPublish open{serial_, serial_, operation.origin.packet_id, 0, message.view().qos};
  open.handing_over = true;
  const bool entered = !operation.origin.wanted() || session_->enter_open_publish(open);
  Slow* slow = this->slow();
  if (!entered || !slow) {
    shard_.continue_publish(message.keep(), operation, now);
    close(ReasonCode::ServerBusy, now);
    return;
  }
  slow->held = message.share();  // it was kept for the mail that did not fit
  slow->operation = operation;
  stall(Stall::MailboxFull, now);
}

bool Connection::hand_over_held(Instant now) noexcept {
  Slow& slow = *rare_->slow;
  MovingMessage message(slow.held);
  const RouteRef* route = nullptr;
  const MessageView& view = message.view();
  const auto outcome = shard_.routes().find(view.namespace_id, view.topic_name, UINT32_MAX, route);
  if (outcome == RouteCache::Outcome::NoMemory) shard_.mark_try_again();
  if (outcome != RouteCache::Outcome::Found || !shard_.publish(message, *route, slow.operation, now)) return false;
  slow.held = {};
  if (slow.operation.origin.wanted()) {
    session_->on_handed_over(slow.operation, now);
  }
  return true;
}

Reason Connection::judge_publish(const codec::PublishView& publish, Instant now) noexcept {
  const Limits& limits = shard_.limits();
  if (static_cast<uint8_t>(publish.qos) > limits.maximum_qos) return ReasonCode::QosNotSupported;  // [MQTT-3.2.2-12]
  if (publish.retain && !limits.retain_available) return ReasonCode::RetainNotSupported;           // [MQTT-3.2.2-14]
  if (publish.qos != Qos::AtMostOnce) {
    const uint32_t open = session_->receipt_count() + session_->open_publish_count();
    if (open >= limits.receive_maximum) {
      session_->forget_old_receipts(now);
      if (session_->open_count(serial_) >= limits.receive_maximum) {
        return ReasonCode::ReceiveMaximumExceeded;  // [MQTT-3.3.4-9]
      }
    }
  }
  if (!publish.properties_forwardable) {
    codec::PropertyReader reader(publish.properties);
    for (codec::Property property; reader.next(property);) {
      if (property.id == PropertyId::SubscriptionIdentifier) return ReasonCode::ProtocolError;  // [MQTT-3.3.4-6]
    }
  }
  return ReasonCode::Success;
}

Reason Connection::resolve_alias(codec::PublishView& publish) noexcept {
  if (publish.topic_alias == 0) {
    return publish.topic_name.empty() ? Reason(ReasonCode::ProtocolError, Detail::TopicEmpty) : Reason();
  }
  if (publish.topic_alias > shard_.limits().topic_alias_maximum) {  // [MQTT-3.3.2-9]
    return {ReasonCode::TopicAliasInvalid, Detail::AliasAboveMaximum};
  }
  Rare* rare = this->rare();
  if (!rare) return ReasonCode::ServerBusy;
  Array<Alias>& aliases = rare->aliases;
  const uint32_t index = publish.topic_alias - 1u;
  if (publish.topic_name.empty()) {
    if (index >= aliases.count() || !aliases[index].text) return {ReasonCode::ProtocolError, Detail::AliasUnknown};
    publish.topic_name = {aliases[index].text, aliases[index].size};
    return {};
  }
  while (aliases.count() <= index) {
    if (!aliases.push_back({nullptr, 0})) return ReasonCode::ServerBusy;
  }
  auto* text = static_cast<char*>(allocate(publish.topic_name.size()));
  if (!text) return ReasonCode::ServerBusy;
  std::memcpy(text, publish.topic_name.data(), publish.topic_name.size());
  release(aliases[index].text);
  aliases[index] = {text, static_cast<uint32_t>(publish.topic_name.size())};
  return {};
}

// From the topic that a client names to the one that it means: its delay taken off, and rewritten. What comes of a
// rule is in the shard's buffer until the next call.
Reason Connection::settle_topic(std::string_view& topic_name, int64_t& delay, Instant now) noexcept {
  if (topic_name.starts_with('$')) {
    const DelayedTopic delayed = parse_delayed_topic(topic_name);
    if (delayed.kind == DelayedTopic::Kind::NotDelayed) return {};
    if (delayed.kind == DelayedTopic::Kind::Invalid) return {ReasonCode::TopicNameInvalid, Detail::DelayNotUnderstood};
    delay = delay_ns(delayed, shard_.limits().delay_max_s, now, shard_.policy().unix_offset_ms);
    if (delay < 0) return {ReasonCode::TopicNameInvalid, Detail::DelayTooLong};
    topic_name = delayed.topic_name;
  }
  return rewrite_topic(session_->client_id(), topic_name);
}

Reason Connection::rewrite_topic(std::string_view client_id, std::string_view& topic_name) noexcept {
  const TopicRewrites& rewrites = shard_.policy().rewrites;
  if (!rewrites.count()) return {};
  shard_.add_work(static_cast<uint32_t>(rewrites.count()) / TopicRewrites::kRulesPerLevel);
  Array<char>& out = shard_.rewritten();
  out.clear();
  switch (rewrites.apply(TopicRewrites::kPublish, namespace_id_, client_id, user_name(), topic_name, out)) {
    case TopicRewrites::Outcome::Unchanged: return {};
    case TopicRewrites::Outcome::NoMemory: return ReasonCode::ServerBusy;
    case TopicRewrites::Outcome::Impossible: return {ReasonCode::TopicNameInvalid, Detail::RewriteImpossible};
    case TopicRewrites::Outcome::Rewritten: break;
  }
  topic_name = {out.begin(), out.count()};
  return {};
}

bool Connection::forwardable_properties(const codec::PublishView& publish, Bytes& out) noexcept {
  out = publish.properties;
  if (publish.properties_forwardable) return true;
  std::byte* copy = shard_.scratch(publish.properties.size());
  if (!copy) return false;
  size_t size = 0;
  codec::PropertyReader reader(publish.properties);
  for (codec::Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::TopicAlias:
      case PropertyId::MessageExpiryInterval:
      case PropertyId::SubscriptionIdentifier:
      case PropertyId::WillDelayInterval: continue;
      default: break;
    }
    std::memcpy(copy + size, reader.raw().data(), reader.raw().size());
    size += reader.raw().size();
  }
  out = {copy, size};
  return true;
}

// The client broke [MQTT-2.2.1-3]. It is not taken: its acknowledgement could not be told from that of the other
// publish of this identifier. It is answered in its turn, and touches nothing of the other's.
void Connection::refuse_intruder(const codec::PublishView& publish, Instant now) noexcept {
  shard_.counters().publishes_refused.add();
  OpenPublish open{serial_, serial_, publish.packet_id, 0, publish.qos};
  open.reason = {ReasonCode::PacketIdentifierInUse, Detail::IdentifierOpen};
  open.intruder = true;
  if (!session_->has_open_publishes()) {
    answer_open_publish(open, now);
  } else if (!session_->enter_open_publish(open)) {
    close(ReasonCode::ServerBusy, now);
  }
}

// takers: how many still have to answer before this publish is.
void Connection::acknowledge(Qos qos, uint16_t packet_id, Reason reason, uint8_t takers, Instant now) noexcept {
  if (is_error(reason.code)) shard_.counters().publishes_refused.add();
  const OpenPublish open{serial_, serial_, packet_id, takers, qos, reason};
  if (takers == 0 && !session_->has_open_publishes()) {
    if (qos == Qos::ExactlyOnce) {
      if (is_error(reason.code)) {
        session_->remove_receipt(packet_id);
      } else if (Receipt* receipt = session_->find_receipt(packet_id)) {
        receipt->answered = true;
      }
    }
    answer_open_publish(open, now);
    return;
  }
  if (!session_->enter_open_publish(open)) close(ReasonCode::ServerBusy, now);
}

void Connection::answer_open_publish(const OpenPublish& done, Instant now) noexcept {
  if ((is_error(done.reason.code) || ends_refused_) && version_ != ProtocolVersion::V5) {
    // 3.x cannot be told: no acknowledgement, and the connection ends, so that the client sends it again. Where it may
    // be what this client has not acknowledged that takes the room, it gets the time to do so first: it would send its
    // own publish before that, each time that it comes back.
    constexpr int64_t kTime = 1 * kSecond;
    const bool of_room = done.reason.detail == Detail::StoreFull || done.reason.detail == Detail::JournalFull;
    if (!ends_refused_ && !of_room) return close(done.reason, now);
    if (!ends_refused_) shard_.timers().arm(*this, now + kTime, on_timer);
    ends_refused_ = true;
    return;
  }
  send_ack(done.qos == Qos::AtLeastOnce ? codec::PacketType::Puback : codec::PacketType::Pubrec, done.packet_id,
           done.reason);
}

// --- permissions

Verdict Connection::authorize(Action action, std::string_view client_id, std::string_view topic, Qos qos,
                              bool retain) noexcept {
  if (action == Action::Publish && is_sys_topic(topic)) return Verdict::Deny;
  if (!shard_.access()) return Verdict::Allow;
  const uint64_t key = hash_text(topic, hash_mix(shard_.router().seed(), static_cast<uint64_t>(action)));
  Rare* rare = this->rare();
  if (!rare) return Verdict::Deny;
  Array<Permission>& permissions = rare->permissions;
  for (Permission& known : permissions) {
    if (known.key == key) return known.verdict;
  }
  constexpr uint32_t kPermissionsMax = 256;
  // A SUBSCRIBE needs all of its answers at once: only what a publish adds makes others go.
  if (action == Action::Publish && permissions.count() >= kPermissionsMax)
    permissions.remove_front(kPermissionsMax / 2);
  if (!permissions.push_back({key, next_question_, Verdict::Pending})) return Verdict::Deny;
  const ActionQuestion question{
      {shard_.index(), handle(), next_question_++}, action, qos, retain, namespace_id_, client_id, user_name(), topic};
  const Verdict verdict = shard_.access()->act(question);
  if (verdict == Verdict::Busy) {
    permissions.pop_back();  // asked again next time
  } else {
    permissions.back().verdict = verdict;
  }
  return verdict;
}

}  // namespace mqttq
