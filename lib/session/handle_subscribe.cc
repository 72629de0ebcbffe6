// SUBSCRIBE and UNSUBSCRIBE (MQTT5 3.8, 3.10).
//
// Two passes: first everything is found out that may have to be waited for (permissions, the homes of shared groups and
// queues), then every entry takes effect, in order, so that a packet that waits is never half done.
#include <charconv>

#include "message/topic.h"
#include "queue/queue_address.h"
#include "queue/queue_message.h"
#include "session/connection_parts.h"
#include "stream/stream_address.h"
#include "stream/stream_message.h"

namespace mqttq {

namespace {

// A topic filter, taken apart: at most one of the prefixes stands before the filter proper.
struct NamedFilter {
  explicit NamedFilter(std::string_view text) noexcept
      : plain(exclusive_filter(text, exclusive)),
        shared(parse_shared_filter(plain)),
        queue(parse_queue_address(plain)),
        stream(parse_stream_address(plain)) {}
  bool exclusive = false;
  std::string_view plain;  // without "$exclusive/"
  SharedFilter shared;
  QueueAddress queue;
  StreamAddress stream;

  bool of_group() const noexcept { return shared.kind == SharedFilter::Kind::Shared; }
  bool of_queue() const noexcept { return queue.kind == QueueAddress::Kind::Queue; }
  bool of_stream() const noexcept { return stream.kind == StreamAddress::Kind::Stream; }
  // Neither it nor a shared group's gets retained messages (MQTT5 4.8.2), and it may not name its filter.
  bool of_object() const noexcept { return of_queue() || of_stream(); }
  bool of_membership() const noexcept { return of_group() || of_object(); }
  // The filter proper; of a queue or stream it may be empty.
  std::string_view inner() const noexcept {
    if (of_stream()) return stream.topic_filter;
    return queue.kind == QueueAddress::Kind::NotQueue ? shared.topic_filter : queue.topic_filter;
  }
};

bool read_priority(std::string_view text, int8_t& priority) noexcept {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), priority);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

// A queue's or stream's address without where one begins to read it: "$queue/{name}", or "$queue/{name}/{filter}"; what
// has no name is called by its filter. False without memory.
static bool object_address(std::string_view topic_filter, bool with_filter, Array<char>& out) noexcept {
  const NamedFilter named(topic_filter);
  const auto add = [&out](std::string_view text) { return out.append({text.data(), text.size()}); };
  const bool unnamed = named.of_queue() ? is_unnamed_queue(named.plain) : named.stream.name.empty();
  if (unnamed) return add(named.of_queue() ? kUnnamedQueuePrefix : kUnnamedStreamPrefix) && add(named.inner());
  const std::string_view name = named.of_queue() ? named.queue.name : named.stream.name;
  if (!add(named.of_queue() ? kQueuePrefix : kStreamPrefix) || !add(name)) return false;
  return !with_filter || named.inner().empty() || (add("/") && add(named.inner()));
}

// What a SUBSCRIBE says for all of its entries.
Connection::SubscribeTerms Connection::read_terms(const codec::SubscribeView& subscribe) noexcept {
  SubscribeTerms terms{subscribe.subscription_identifier};
  std::string_view cursor, group;
  codec::PropertyReader reader(subscribe.properties);
  for (std::string_view name, text; reader.next_user(name, text);) {
    if (name == kConsumerPriorityProperty) terms.priority_understood = read_priority(text, terms.priority);
    if (name == kStreamOffsetProperty) {
      terms.has_offset = true;
      terms.offset_understood = parse_stream_offset(text, terms.stream.offset);
    } else if (name == kStreamCursorProperty) {
      cursor = text;
    } else if (name == kStreamGroupProperty) {
      group = text;
      terms.stream.shared = true;
    }
  }
  // A group has a cursor of its name, unless the cursor is named beside it.
  const std::string_view named = cursor.data() ? cursor : group;
  if (named.data()) terms.stream.cursor = named;
  terms.cursor_understood = !named.data() || is_valid_object_name(named);
  return terms;
}

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
  const SubscribeTerms terms = read_terms(*subscribe);
  codec::SubscribeEntry entry;
  Stall wait = Stall::None;
  for (codec::SubscribeReader reader(subscribe->entries, version_); reader.next(entry);) {
    const Stall needs = prepare_subscribe(entry, terms);
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
    const Reason granted = subscribe_one(entry, terms);
    if (first_refusal == Detail::None) first_refusal = granted.detail;
    const bool v5 = version_ == ProtocolVersion::V5;
    const uint8_t value = !v5 && is_error(granted.code) ? 0x80 : static_cast<uint8_t>(granted.code);
    static_cast<void>(codes.push_back(std::byte{value}));  // [MQTT311-3.9.3-2]; there is room
  }
  codec::SubackView suback;
  suback.packet_id = subscribe->packet_id;
  suback.reason_codes = codes.span();
  suback.reason_string = to_text(first_refusal);  // there is one for all of them
  const Policy& policy = shard_.policy();
  if (session_->stored() || policy.queues.auto_create || policy.streams.auto_create) gate();  // it may have declared
  send_reason(suback);                                                                        // [MQTT-3.8.4-1]
  if (state_ != State::Closing) shard_.mark_pump(*session_);  // retained messages follow
  return Handled::Yes;
}

// From the filter that a client names to the one that it means. What comes of a rule is in the shard's buffer until the
// next call. What stands before the filter proper, `$share/<group>/` or `$exclusive/`, stays.
Reason Connection::rewrite_filter(std::string_view& topic_filter) noexcept {
  const TopicRewrites& rewrites = shard_.policy().rewrites;
  if (!rewrites.count()) return {};
  const std::string_view inner = NamedFilter(topic_filter).inner();
  if (inner.empty()) return {};
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
  const NamedFilter named(entry.topic_filter);
  if (named.exclusive && !shard_.policy().exclusive_subscriptions) {
    return {ReasonCode::TopicFilterInvalid, Detail::ExclusiveOff};
  }
  if (entry.topic_filter.size() > limits.topic_size_max) {
    return {ReasonCode::TopicFilterInvalid, Detail::TopicTooLong};
  }
  if (named.queue.kind == QueueAddress::Kind::Invalid) {
    const bool unnamed = is_unnamed_queue(entry.topic_filter);
    return {ReasonCode::TopicFilterInvalid, unnamed ? Detail::NotATopicFilter : Detail::QueueName};
  }
  switch (named.stream.kind) {
    case StreamAddress::Kind::NotStream:
    case StreamAddress::Kind::Stream: break;
    case StreamAddress::Kind::BadName: return {ReasonCode::TopicFilterInvalid, Detail::StreamName};
    case StreamAddress::Kind::BadOffset: return {ReasonCode::TopicFilterInvalid, Detail::StreamOffset};
  }
  const std::string_view inner = named.inner();
  if (named.shared.kind == SharedFilter::Kind::Invalid || (named.exclusive && named.of_membership()) ||
      (!is_valid_topic_filter(inner) && !(named.of_object() && inner.empty()))) {
    return {ReasonCode::TopicFilterInvalid, Detail::NotATopicFilter};
  }
  if (named.of_object() && !inner.empty() && !may_be_kept(inner)) {
    return {ReasonCode::TopicFilterInvalid,
            named.of_queue() ? Detail::QueueFilterOfServer : Detail::StreamFilterOfServer};
  }
  if (named.of_object() && entry.options.no_local) {
    return {ReasonCode::ImplementationSpecificError, named.of_queue() ? Detail::QueueNoLocal : Detail::StreamNoLocal};
  }
  if (parse_delayed_topic(inner).kind != DelayedTopic::Kind::NotDelayed) {
    return {ReasonCode::TopicFilterInvalid, Detail::DelayedFilter};
  }
  if (topic_level_count(inner) > limits.topic_levels_max) {
    return {ReasonCode::TopicFilterInvalid, Detail::TopicTooDeep};
  }
  if (named.of_group() && !limits.shared_subscriptions_available) {
    return ReasonCode::SharedSubscriptionsNotSupported;
  }
  if (has_wildcard(inner) && !limits.wildcard_subscriptions_available) {
    return ReasonCode::WildcardSubscriptionsNotSupported;
  }
  return {};
}

// Whether the client may have what it names, as far as that is known. Of a queue or stream on itself and on its filter:
// on the one that is named before its home is asked, else on the one that it has.
Verdict Connection::authorize_filter(std::string_view topic_filter, Qos qos) noexcept {
  const NamedFilter named(topic_filter);
  const auto may = [&](std::string_view text) {
    return authorize(Action::Subscribe, session_->client_id(), text, qos, false);
  };
  if (!named.of_object()) return may(named.inner());
  Array<char> address;
  if (!object_address(topic_filter, false, address)) return Verdict::Deny;
  const Verdict of_object = may({address.begin(), address.count()});
  if (of_object == Verdict::Deny) return of_object;
  std::string_view inner = named.inner();
  const GroupMembership* member = session_->find_membership(topic_filter);
  if (inner.empty() && member) inner = member->topic_filter.view();
  const Verdict of_filter = inner.empty() ? Verdict::Allow : may(inner);
  return of_filter == Verdict::Deny || of_object == Verdict::Allow ? of_filter : of_object;
}

Connection::Stall Connection::prepare_subscribe(codec::SubscribeEntry entry, const SubscribeTerms& terms) noexcept {
  if (!rewrite_filter(entry.topic_filter).ok() || !judge_filter(entry).ok()) return Stall::None;
  const NamedFilter named(entry.topic_filter);
  const Verdict verdict = authorize_filter(entry.topic_filter, entry.options.qos);
  bool declare = may_declare(entry.topic_filter);
  Array<char> address;
  if (declare && verdict != Verdict::Deny && object_address(entry.topic_filter, true, address)) {
    const Verdict declares = authorize(Action::DeclareQueue, session_->client_id(), {address.begin(), address.count()},
                                       entry.options.qos, false);
    if (declares == Verdict::Pending) return Stall::AccessAnswer;
    declare = declares == Verdict::Allow;
  }
  if (verdict == Verdict::Pending) return Stall::AccessAnswer;
  if (verdict == Verdict::Deny || !named.of_membership() || !understood(entry.topic_filter, terms).ok()) {
    return Stall::None;
  }
  bool seeks = false;
  end_other_reading(entry.topic_filter, terms, seeks);
  const bool known = session_->find_membership(entry.topic_filter) != nullptr;
  const GroupMembership* member = join(entry, terms, declare, seeks);
  if (member && !member->joined() && !member->refused()) return Stall::GroupAnswer;
  // Its home was here: what its answer brings is judged as if it had come from afar.
  if (known || !member || !named.inner().empty()) return Stall::None;
  const Verdict of_answer = authorize_filter(entry.topic_filter, entry.options.qos);
  return of_answer == Verdict::Pending ? Stall::AccessAnswer : Stall::None;
}

// By subscribing to it, if it is not there.
bool Connection::may_declare(std::string_view topic_filter) const noexcept {
  const NamedFilter named(topic_filter);
  const Policy& policy = shard_.policy();
  const bool may = named.of_queue() ? policy.queues.auto_create : named.of_stream() && policy.streams.auto_create;
  return may && !named.inner().empty();
}

// Success, or what is wrong with the terms for this entry.
Reason Connection::understood(std::string_view topic_filter, const SubscribeTerms& terms) noexcept {
  const NamedFilter named(topic_filter);
  if (named.of_queue() && !terms.priority_understood) {
    return {ReasonCode::ImplementationSpecificError, Detail::QueuePriority};
  }
  if (named.of_stream() && !named.stream.has_offset && !terms.offset_understood) {
    return {ReasonCode::ImplementationSpecificError, Detail::StreamOffset};
  }
  if (named.of_stream() && !terms.cursor_understood) {
    return {ReasonCode::ImplementationSpecificError, Detail::StreamCursor};
  }
  return {};
}

bool Connection::says_offset(std::string_view topic_filter, const SubscribeTerms& terms) noexcept {
  return terms.has_offset || NamedFilter(topic_filter).stream.has_offset;
}

StreamTerms Connection::stream_terms(std::string_view topic_filter, const SubscribeTerms& terms) noexcept {
  StreamTerms of_stream = terms.stream;
  const StreamAddress stream = NamedFilter(topic_filter).stream;
  if (stream.has_offset) of_stream.offset = stream.offset;
  return of_stream;
}

void Connection::end_other_reading(std::string_view topic_filter, const SubscribeTerms& terms, bool& seeks) noexcept {
  const GroupMembership* there = session_->find_membership(topic_filter);
  if (!there || !there->reading) return;
  const GroupMembership::Reading& reading = *there->reading;
  const StreamTerms wanted = stream_terms(topic_filter, terms);
  const bool same_cursor = reading.cursor.view() == wanted.cursor && reading.shared == wanted.shared;
  const bool moves = says_offset(topic_filter, terms) && reading.offset != wanted.offset;
  if (same_cursor && !moves) return;
  seeks = same_cursor;
  session_->leave_group(topic_filter);
  static_cast<void>(shard_.memberships().tell(shard_.now()));  // before it joins: one cursor has one reader
}

GroupMembership* Connection::join(const codec::SubscribeEntry& entry, const SubscribeTerms& terms, bool declare,
                                  bool seeks) noexcept {
  if (GroupMembership* member = session_->find_membership(entry.topic_filter)) return member;
  if (session_->subscription_count() + session_->membership_count() >= shard_.limits().subscriptions_max) {
    return nullptr;
  }
  StreamTerms of_stream = stream_terms(entry.topic_filter, terms);
  of_stream.seeks = seeks;
  GroupMembership* joined = session_->join_group(entry.topic_filter, options_of(entry, terms), declare, of_stream);
  if (joined) joined->priority = terms.priority;
  return joined;
}

Subscription Connection::options_of(const codec::SubscribeEntry& entry, const SubscribeTerms& terms) const noexcept {
  Subscription options;
  options.qos = std::min(entry.options.qos, static_cast<Qos>(shard_.limits().maximum_qos));
  options.no_local = entry.options.no_local;
  options.retain_as_published = entry.options.retain_as_published;
  options.identifier = terms.identifier;
  const NamedFilter named(entry.topic_filter);
  const bool given_back = named.of_queue() || (named.of_stream() && !terms.stream.cursor.empty());
  if (given_back) options.qos = std::min(options.qos, Qos::AtLeastOnce);
  return options;
}

Reason Connection::subscribe_one(codec::SubscribeEntry entry, const SubscribeTerms& terms) noexcept {
  Reason reason = rewrite_filter(entry.topic_filter);
  if (reason.ok()) reason = judge_filter(entry);
  if (!reason.ok()) return reason;
  if (authorize_filter(entry.topic_filter, entry.options.qos) != Verdict::Allow) {
    GroupMembership* asked = session_->find_membership(entry.topic_filter);
    if (asked && asked->of_object() && !asked->accepted) session_->leave_group(entry.topic_filter);
    return {ReasonCode::NotAuthorized, Detail::AccessDenied};
  }
  return enter_subscription(entry, terms);
}

Reason Connection::enter_membership(const codec::SubscribeEntry& entry, const SubscribeTerms& terms,
                                    const Reason& refusal) noexcept {
  const bool full = refusal.detail == Detail::StoreFull;  // what is there may be changed
  GroupMembership* member = session_->find_membership(entry.topic_filter);
  if (const Reason wrong = understood(entry.topic_filter, terms); !wrong.ok()) return wrong;
  if (!member) return {ReasonCode::QuotaExceeded, Detail::SubscriptionsFull};
  const bool joined = member->joined() && member->refusal == Detail::None;
  if (joined && (refusal.ok() || member->stored)) {
    if (!refusal.ok() && !full) return refusal;
    const Subscription options = options_of(entry, terms);
    member->priority = terms.priority;
    session_->set_membership(*member, options);
    return static_cast<ReasonCode>(options.qos);
  }
  const Detail why = member->refusal == Detail::None ? Detail::NoMemory : member->refusal;
  session_->leave_group(entry.topic_filter);
  if (joined) return refusal;
  const bool wrong = why == Detail::QueueUnknown || why == Detail::QueueFilter || why == Detail::StreamUnknown ||
                     why == Detail::StreamFilter || why == Detail::StreamCursorFilter;
  return {wrong ? ReasonCode::TopicFilterInvalid : ReasonCode::QuotaExceeded, why};
}

Reason Connection::enter_subscription(const codec::SubscribeEntry& entry, const SubscribeTerms& terms) noexcept {
  const NamedFilter named(entry.topic_filter);
  Subscription options = options_of(entry, terms);
  const std::string_view topic_filter = named.plain;
  options.exclusive = named.exclusive;
  const Reason refusal = session_->stored() ? shard_.state().refusal() : Reason();
  if (named.of_membership()) return enter_membership(entry, terms, refusal);
  const bool unwritable = !refusal.ok();
  const bool full = refusal.detail == Detail::StoreFull;
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
    const NamedFilter named(entry.topic_filter);
    if (reason.ok() && named.of_membership()) {
      const GroupMembership* member = session_->find_membership(entry.topic_filter);
      if (member && member->refused()) session_->leave_group(entry.topic_filter);
      if (GroupMembership* joined = join(entry, {}, may_declare(entry.topic_filter))) {
        if (!joined->stored) session_->set_membership(*joined, options_of(entry, {}));
      } else {
        reason = {ReasonCode::QuotaExceeded, Detail::SubscriptionsFull};
      }
    } else if (reason.ok() && !session_->subscribed(entry.topic_filter)) {
      reason = enter_subscription(entry, {});
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
  const NamedFilter named(topic_filter);
  if (shard_.policy().exclusive_subscriptions) topic_filter = named.plain;
  return named.of_membership() ? session_->leave_group(topic_filter) : session_->unsubscribe(topic_filter);
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
