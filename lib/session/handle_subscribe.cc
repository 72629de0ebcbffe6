// SUBSCRIBE and UNSUBSCRIBE (MQTT5 3.8, 3.10).
//
// Two passes: first everything is found out that may have to be waited for (permissions, the homes of shared groups),
// then every entry takes effect, in order, so that a packet that waits is never half done.
#include "message/topic.h"
#include "session/connection_parts.h"

namespace mqttq {

Connection::Handled Connection::handle_subscribe(Bytes packet, Instant now) noexcept {
  const auto subscribe = codec::decode_subscribe(packet, version_);
  if (!subscribe.ok()) {
    protocol_error(subscribe.reason(), now);
    return Handled::Yes;
  }
  if (subscribe->subscription_identifier && !shard_.limits().subscription_identifiers_available) {
    protocol_error(ReasonCode::SubscriptionIdentifiersNotSupported, now);
    return Handled::Yes;
  }
  codec::SubscribeEntry entry;
  Stall wait = Stall::None;
  for (codec::SubscribeReader reader(subscribe->entries, version_); reader.next(entry);) {
    const Stall needs = prepare_subscribe(entry, subscribe->subscription_identifier);
    if (needs != Stall::None) wait = needs;  // go on: all questions are asked at once
  }
  if (wait != Stall::None) return stall(wait, now);

  Array<std::byte> codes;
  if (!codes.reserve(subscribe->entry_count)) {
    close(ReasonCode::ServerBusy, now);
    return Handled::Yes;
  }
  for (codec::SubscribeReader reader(subscribe->entries, version_); reader.next(entry);) {
    const ReasonCode code = subscribe_one(entry, subscribe->subscription_identifier);
    const bool v5 = version_ == ProtocolVersion::V5;
    const uint8_t value = !v5 && is_error(code) ? 0x80 : static_cast<uint8_t>(code);  // [MQTT311-3.9.3-2]
    static_cast<void>(codes.push_back(std::byte{value}));                             // there is room
  }
  codec::SubackView suback;
  suback.packet_id = subscribe->packet_id;
  suback.reason_codes = codes.span();
  send(suback, version_);                                     // [MQTT-3.8.4-1]
  if (state_ != State::Closing) shard_.mark_pump(*session_);  // retained messages follow
  return Handled::Yes;
}

ReasonCode Connection::judge_filter(const codec::SubscribeEntry& entry) noexcept {
  const Limits& limits = shard_.limits();
  bool exclusive;
  const SharedFilter shared = parse_shared_filter(exclusive_filter(entry.topic_filter, exclusive));
  if (exclusive && (!shard_.policy().exclusive_subscriptions || shared.kind != SharedFilter::Kind::NotShared)) {
    return ReasonCode::TopicFilterInvalid;
  }
  if (shared.kind == SharedFilter::Kind::Invalid || !is_valid_topic_filter(shared.topic_filter) ||
      entry.topic_filter.size() > limits.topic_size_max ||
      topic_level_count(shared.topic_filter) > limits.topic_levels_max) {
    return ReasonCode::TopicFilterInvalid;
  }
  if (shared.kind == SharedFilter::Kind::Shared && !limits.shared_subscriptions_available) {
    return ReasonCode::SharedSubscriptionsNotSupported;
  }
  if (has_wildcard(shared.topic_filter) && !limits.wildcard_subscriptions_available) {
    return ReasonCode::WildcardSubscriptionsNotSupported;
  }
  return ReasonCode::Success;
}

Connection::Stall Connection::prepare_subscribe(const codec::SubscribeEntry& entry, uint32_t identifier) noexcept {
  if (judge_filter(entry) != ReasonCode::Success) return Stall::None;
  bool exclusive;
  const SharedFilter shared = parse_shared_filter(exclusive_filter(entry.topic_filter, exclusive));
  const Verdict verdict = authorize(Action::Subscribe, shared.topic_filter, entry.options.qos, false);
  if (verdict == Verdict::Pending) return Stall::AccessAnswer;
  if (verdict == Verdict::Deny || shared.kind != SharedFilter::Kind::Shared) return Stall::None;
  const GroupMembership* member = session_->find_membership(entry.topic_filter);
  if (!member) {
    if (session_->subscription_count() + session_->membership_count() >= shard_.limits().subscriptions_max) {
      return Stall::None;
    }
    GroupMembership* made = session_->join_group(entry.topic_filter);
    if (made) set_options(*made, entry, identifier);
    member = made;
  }
  return member && !member->joined() && !member->refused() ? Stall::GroupAnswer : Stall::None;
}

void Connection::set_options(GroupMembership& member, const codec::SubscribeEntry& entry,
                             uint32_t identifier) const noexcept {
  member.qos = std::min(entry.options.qos, static_cast<Qos>(shard_.limits().maximum_qos));
  member.retain_as_published = entry.options.retain_as_published;
  member.identifier = identifier;
}

ReasonCode Connection::subscribe_one(const codec::SubscribeEntry& entry, uint32_t identifier) noexcept {
  if (const ReasonCode reason = judge_filter(entry); reason != ReasonCode::Success) return reason;
  Subscription options;
  const std::string_view topic_filter = exclusive_filter(entry.topic_filter, options.exclusive);
  const SharedFilter shared = parse_shared_filter(topic_filter);
  if (authorize(Action::Subscribe, shared.topic_filter, entry.options.qos, false) != Verdict::Allow) {
    return ReasonCode::NotAuthorized;
  }
  const Qos granted = std::min(entry.options.qos, static_cast<Qos>(shard_.limits().maximum_qos));
  if (shared.kind == SharedFilter::Kind::Shared) {  // which gets no retained messages (MQTT5 4.8.2)
    GroupMembership* member = session_->find_membership(entry.topic_filter);
    if (member && member->joined()) {
      set_options(*member, entry, identifier);
      return static_cast<ReasonCode>(granted);
    }
    if (member) session_->leave_group(entry.topic_filter);  // its home had no memory
    return ReasonCode::QuotaExceeded;
  }
  options.qos = granted;
  options.no_local = entry.options.no_local;
  options.retain_as_published = entry.options.retain_as_published;
  options.identifier = identifier;
  Router& router = shard_.router();
  const PublisherId owner = session_->publisher_id();
  if (options.exclusive && router.claim(namespace_id_, topic_filter, owner) != Status::Ok) {
    return ReasonCode::QuotaExceeded;  // another client has it
  }
  const auto [status, existed] = session_->subscribe(topic_filter, options);
  if (status != Status::Ok) {
    if (options.exclusive && !existed) router.unclaim(namespace_id_, topic_filter, owner);
    return ReasonCode::QuotaExceeded;
  }
  const bool send_retained = entry.options.retain_handling == codec::RetainHandling::Send ||
                             (entry.options.retain_handling == codec::RetainHandling::SendIfNew && !existed);
  if (send_retained && session_->start_retained_flow(topic_filter, options) != Status::Ok) {
    session_->unsubscribe(topic_filter);  // a subscription without its retained messages is not what was asked
    return ReasonCode::QuotaExceeded;
  }
  return static_cast<ReasonCode>(granted);
}

Connection::Handled Connection::handle_unsubscribe(Bytes packet, Instant now) noexcept {
  const auto unsubscribe = codec::decode_unsubscribe(packet, version_);
  if (!unsubscribe.ok()) {
    protocol_error(unsubscribe.reason(), now);
    return Handled::Yes;
  }
  Array<std::byte> codes;
  if (version_ == ProtocolVersion::V5 && !codes.reserve(unsubscribe->entry_count)) {
    close(ReasonCode::ServerBusy, now);
    return Handled::Yes;
  }
  codec::UnsubscribeReader reader(unsubscribe->entries);
  for (std::string_view topic_filter; reader.next(topic_filter);) {
    bool exclusive;
    const std::string_view plain = exclusive_filter(topic_filter, exclusive);
    if (shard_.policy().exclusive_subscriptions) topic_filter = plain;
    const bool shared = parse_shared_filter(topic_filter).kind == SharedFilter::Kind::Shared;
    const bool existed = shared ? session_->leave_group(topic_filter) : session_->unsubscribe(topic_filter);
    const ReasonCode code = existed ? ReasonCode::Success : ReasonCode::NoSubscriptionExisted;
    if (version_ == ProtocolVersion::V5) static_cast<void>(codes.push_back(static_cast<std::byte>(code)));
  }
  codec::SubackView unsuback;
  unsuback.type = codec::PacketType::Unsuback;
  unsuback.packet_id = unsubscribe->packet_id;
  unsuback.reason_codes = codes.span();
  send(unsuback, version_);  // [MQTT-3.10.4-4]
  return Handled::Yes;
}

}  // namespace mqttq
