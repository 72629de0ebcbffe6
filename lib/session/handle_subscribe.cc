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
  Detail first_refusal = Detail::None;
  for (codec::SubscribeReader reader(subscribe->entries, version_); reader.next(entry);) {
    const Reason granted = subscribe_one(entry, subscribe->subscription_identifier);
    if (first_refusal == Detail::None) first_refusal = granted.detail;
    const bool v5 = version_ == ProtocolVersion::V5;
    const uint8_t value = !v5 && is_error(granted.code) ? 0x80 : static_cast<uint8_t>(granted.code);
    static_cast<void>(codes.push_back(std::byte{value}));  // [MQTT311-3.9.3-2]; there is room
  }
  codec::SubackView suback;
  suback.packet_id = subscribe->packet_id;
  suback.reason_codes = codes.span();
  suback.reason_string = to_text(first_refusal);  // there is one for all of them
  if (session_->stored()) gate();
  send_reason(suback);                                        // [MQTT-3.8.4-1]
  if (state_ != State::Closing) shard_.mark_pump(*session_);  // retained messages follow
  return Handled::Yes;
}

// From the filter that a client names to the one that it means. What comes of a rule is in the shard's buffer until the
// next call. What stands before the filter proper, `$share/<group>/` or `$exclusive/`, stays.
Reason Connection::rewrite_filter(std::string_view& topic_filter) noexcept {
  const TopicRewrites& rewrites = shard_.policy().rewrites;
  if (!rewrites.count()) return {};
  bool exclusive;
  const std::string_view inner = parse_shared_filter(exclusive_filter(topic_filter, exclusive)).topic_filter;
  const size_t prefix_size = static_cast<size_t>(inner.data() - topic_filter.data());
  Array<char>& out = shard_.rewritten();
  out.clear();
  if (!out.append({topic_filter.data(), prefix_size})) return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  switch (rewrites.apply(TopicRewrites::kSubscribe, namespace_id_, session_->client_id(), user_name(), inner, out)) {
    case TopicRewrites::Outcome::Unchanged: return {};
    case TopicRewrites::Outcome::NoMemory: return {ReasonCode::QuotaExceeded, Detail::NoMemory};
    case TopicRewrites::Outcome::Impossible: return {ReasonCode::TopicFilterInvalid, Detail::RewriteImpossible};
    case TopicRewrites::Outcome::Rewritten: break;
  }
  topic_filter = {out.begin(), out.count()};
  return {};
}

Reason Connection::judge_filter(const codec::SubscribeEntry& entry) noexcept {
  const Limits& limits = shard_.limits();
  bool exclusive;
  const SharedFilter shared = parse_shared_filter(exclusive_filter(entry.topic_filter, exclusive));
  if (exclusive && !shard_.policy().exclusive_subscriptions) {
    return {ReasonCode::TopicFilterInvalid, Detail::ExclusiveOff};
  }
  if (entry.topic_filter.size() > limits.topic_size_max) {
    return {ReasonCode::TopicFilterInvalid, Detail::TopicTooLong};
  }
  if (shared.kind == SharedFilter::Kind::Invalid || !is_valid_topic_filter(shared.topic_filter) ||
      (exclusive && shared.kind != SharedFilter::Kind::NotShared)) {
    return {ReasonCode::TopicFilterInvalid, Detail::NotATopicFilter};
  }
  if (parse_delayed_topic(shared.topic_filter).kind != DelayedTopic::Kind::NotDelayed) {
    return {ReasonCode::TopicFilterInvalid, Detail::DelayedFilter};
  }
  if (topic_level_count(shared.topic_filter) > limits.topic_levels_max) {
    return {ReasonCode::TopicFilterInvalid, Detail::TopicTooDeep};
  }
  if (shared.kind == SharedFilter::Kind::Shared && !limits.shared_subscriptions_available) {
    return ReasonCode::SharedSubscriptionsNotSupported;
  }
  if (has_wildcard(shared.topic_filter) && !limits.wildcard_subscriptions_available) {
    return ReasonCode::WildcardSubscriptionsNotSupported;
  }
  return {};
}

Connection::Stall Connection::prepare_subscribe(codec::SubscribeEntry entry, uint32_t identifier) noexcept {
  if (!rewrite_filter(entry.topic_filter).ok() || !judge_filter(entry).ok()) return Stall::None;
  bool exclusive;
  const SharedFilter shared = parse_shared_filter(exclusive_filter(entry.topic_filter, exclusive));
  const Verdict verdict =
      authorize(Action::Subscribe, session_->client_id(), shared.topic_filter, entry.options.qos, false);
  if (verdict == Verdict::Pending) return Stall::AccessAnswer;
  if (verdict == Verdict::Deny || shared.kind != SharedFilter::Kind::Shared) return Stall::None;
  const GroupMembership* member = join(entry, identifier);
  return member && !member->joined() && !member->refused() ? Stall::GroupAnswer : Stall::None;
}

GroupMembership* Connection::join(const codec::SubscribeEntry& entry, uint32_t identifier) noexcept {
  if (GroupMembership* member = session_->find_membership(entry.topic_filter)) return member;
  if (session_->subscription_count() + session_->membership_count() >= shard_.limits().subscriptions_max) {
    return nullptr;
  }
  return session_->join_group(entry.topic_filter, options_of(entry, identifier));
}

Subscription Connection::options_of(const codec::SubscribeEntry& entry, uint32_t identifier) const noexcept {
  Subscription options;
  options.qos = std::min(entry.options.qos, static_cast<Qos>(shard_.limits().maximum_qos));
  options.no_local = entry.options.no_local;
  options.retain_as_published = entry.options.retain_as_published;
  options.identifier = identifier;
  return options;
}

Reason Connection::subscribe_one(codec::SubscribeEntry entry, uint32_t identifier) noexcept {
  Reason reason = rewrite_filter(entry.topic_filter);
  if (reason.ok()) reason = judge_filter(entry);
  if (!reason.ok()) return reason;
  bool exclusive;
  const std::string_view inner = parse_shared_filter(exclusive_filter(entry.topic_filter, exclusive)).topic_filter;
  if (authorize(Action::Subscribe, session_->client_id(), inner, entry.options.qos, false) != Verdict::Allow) {
    return {ReasonCode::NotAuthorized, Detail::AccessDenied};
  }
  return enter_subscription(entry, identifier);
}

Reason Connection::enter_subscription(const codec::SubscribeEntry& entry, uint32_t identifier) noexcept {
  Subscription options = options_of(entry, identifier);
  bool exclusive = false;
  const std::string_view topic_filter = exclusive_filter(entry.topic_filter, exclusive);
  options.exclusive = exclusive;
  const Reason refusal = session_->stored() ? shard_.state().refusal() : Reason();
  const bool unwritable = !refusal.ok();
  const bool full = refusal.detail == Detail::StoreFull;  // what is there may be changed
  // One that is shared gets no retained messages (MQTT5 4.8.2).
  if (parse_shared_filter(topic_filter).kind == SharedFilter::Kind::Shared) {
    GroupMembership* member = session_->find_membership(entry.topic_filter);
    if (member && member->joined() && !(unwritable && !member->stored)) {
      if (unwritable && !full) return refusal;
      session_->set_membership(*member, options);
      return static_cast<ReasonCode>(options.qos);
    }
    if (!member) return {ReasonCode::QuotaExceeded, Detail::SubscriptionsFull};
    const bool joined = member->joined();
    session_->leave_group(entry.topic_filter);
    return joined ? refusal : Reason(ReasonCode::QuotaExceeded, Detail::NoMemory);  // its home had none
  }
  Router& router = shard_.router();
  const PublisherId owner = session_->publisher_id();
  if (options.exclusive && router.claim(namespace_id_, topic_filter, owner) != Status::Ok) {
    return {ReasonCode::QuotaExceeded, Detail::ExclusiveTaken};
  }
  if (unwritable && !(full && session_->subscribed(topic_filter))) {
    if (options.exclusive && !session_->subscribed(topic_filter)) router.unclaim(namespace_id_, topic_filter, owner);
    return refusal;
  }
  const auto [status, existed] = session_->subscribe(topic_filter, options);
  if (status != Status::Ok) {
    if (options.exclusive && !existed) router.unclaim(namespace_id_, topic_filter, owner);
    return {ReasonCode::QuotaExceeded, status == Status::Full ? Detail::SubscriptionsFull : Detail::NoMemory};
  }
  const bool send_retained = entry.options.retain_handling == codec::RetainHandling::Send ||
                             (entry.options.retain_handling == codec::RetainHandling::SendIfNew && !existed);
  if (send_retained && session_->start_retained_flow(topic_filter, options) != Status::Ok) {
    session_->unsubscribe(topic_filter);  // a subscription without its retained messages is not what was asked
    return {ReasonCode::QuotaExceeded, Detail::NoMemory};
  }
  return static_cast<ReasonCode>(options.qos);
}

// What every client has from its CONNACK on: nobody is asked, and nobody waits. A session that has it keeps its own.
void Connection::auto_subscribe(Instant now) noexcept {
  for (const AutoSubscription& one : shard_.policy().auto_subscriptions) {
    if (one.namespace_id != namespace_id_) continue;
    Array<char>& text = shard_.rewritten();
    text.clear();
    Reason reason;
    switch (one.topic_filter.fill({session_->client_id(), user_name()}, text)) {
      case TextTemplate::Filled::Yes: break;
      case TextTemplate::Filled::Unfit: reason = ReasonCode::TopicFilterInvalid; break;
      case TextTemplate::Filled::NoMemory: reason = {ReasonCode::QuotaExceeded, Detail::NoMemory}; break;
    }
    codec::SubscribeEntry entry{{text.begin(), text.count()}, one.options};
    if (reason.ok()) reason = judge_filter(entry);
    if (reason.ok() && parse_shared_filter(entry.topic_filter).kind == SharedFilter::Kind::Shared) {
      const GroupMembership* member = session_->find_membership(entry.topic_filter);
      if (member && member->refused()) session_->leave_group(entry.topic_filter);
      if (GroupMembership* joined = join(entry, 0)) {
        if (!joined->stored) session_->record_membership(*joined);
      } else {
        reason = {ReasonCode::QuotaExceeded, Detail::SubscriptionsFull};
      }
    } else if (reason.ok() && !session_->subscribed(entry.topic_filter)) {
      reason = enter_subscription(entry, 0);
    }
    if (!is_error(reason.code)) continue;
    CloseReason logged = reason;
    logged.reason_string = {text.begin(), text.count()};  // the filter, as far as it could be filled in
    shard_.log_peer("an automatic subscription is missing", *this, logged, now);
  }
  if (!shard_.policy().auto_subscriptions.empty()) shard_.mark_pump(*session_);
}

// False if there was none.
bool Connection::end_subscription(std::string_view topic_filter) noexcept {
  bool exclusive;
  const std::string_view plain = exclusive_filter(topic_filter, exclusive);
  if (shard_.policy().exclusive_subscriptions) topic_filter = plain;
  const bool shared = parse_shared_filter(topic_filter).kind == SharedFilter::Kind::Shared;
  return shared ? session_->leave_group(topic_filter) : session_->unsubscribe(topic_filter);
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
  const bool refused = session_->stored() && shard_.state().failing();
  if (refused && version_ != ProtocolVersion::V5) {  // 3.x cannot be told
    close(Reason(ReasonCode::QuotaExceeded, Detail::StoreFailing), now);
    return Handled::Yes;
  }
  codec::UnsubscribeReader reader(unsubscribe->entries);
  for (std::string_view topic_filter; reader.next(topic_filter);) {
    const std::string_view named = topic_filter;
    static_cast<void>(rewrite_filter(topic_filter));  // what cannot be rewritten was not subscribed to
    // By its own name too: an automatic subscription has one that is not rewritten.
    const bool existed =
        !refused && (end_subscription(topic_filter) || (named != topic_filter && end_subscription(named)));
    const ReasonCode code = refused   ? ReasonCode::ImplementationSpecificError
                            : existed ? ReasonCode::Success
                                      : ReasonCode::NoSubscriptionExisted;
    if (version_ == ProtocolVersion::V5) static_cast<void>(codes.push_back(static_cast<std::byte>(code)));
  }
  codec::SubackView unsuback;
  unsuback.type = codec::PacketType::Unsuback;
  unsuback.packet_id = unsubscribe->packet_id;
  unsuback.reason_codes = codes.span();
  if (session_->stored()) gate();
  send(unsuback, version_);  // [MQTT-3.10.4-4]
  return Handled::Yes;
}

}  // namespace mqttq
