// See model.h.
#include "model.h"

#include <algorithm>
#include <charconv>

#include "message/topic.h"

namespace mqttq::fuzz {

namespace {

bool matches(const Wanted& wanted, const Message& message) {
  return topic_matches(wanted.topic_filter, message.topic_name);
}

bool is_valid(const Wanted& wanted) {
  return parse_shared_filter(wanted.text).kind != SharedFilter::Kind::Invalid &&
         is_valid_topic_filter(wanted.topic_filter);
}

// By the client, whatever session it had [MQTT-3.8.3-3].
bool is_local(const Wanted& wanted, const SessionRecord& session, const Message& message) {
  return wanted.options.no_local && message.publisher == session.client_id;
}

// A message of the retained store may come for it.
bool wants_retained(const Wanted& wanted, const SessionRecord& session, const Message& message) {
  return wanted.group.empty() && wanted.options.retain_handling != codec::RetainHandling::DoNotSend &&
         !is_local(wanted, session, message) && matches(wanted, message);
}

// Now, and not only again: after SUBACK, unless that was lost, and before UNSUBACK [MQTT-3.10.4-2].
bool gets_retained(const Wanted& wanted) { return (wanted.granted || wanted.end_asked) && !wanted.unsubscribed; }

bool stands(const Wanted& wanted) { return wanted.granted && !wanted.end_asked; }

std::vector<uint32_t> identifiers_of(const codec::PublishView& publish) {
  std::vector<uint32_t> found;
  codec::PropertyReader reader(publish.properties);
  for (codec::Property property; reader.next(property);) {
    if (property.id == PropertyId::SubscriptionIdentifier) found.push_back(property.number);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::byte> forwarded_of(const codec::PublishView& publish) {
  std::vector<std::byte> found;
  codec::PropertyReader reader(publish.properties);
  for (codec::Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::SubscriptionIdentifier:
      case PropertyId::MessageExpiryInterval:
      case PropertyId::TopicAlias: continue;
      default: found.insert(found.end(), reader.raw().begin(), reader.raw().end());
    }
  }
  return found;
}

std::string text_of(Qos qos) { return std::to_string(static_cast<int>(qos)); }

}  // namespace

void Model::fail(const SessionRecord& session, const Message& message, const std::string& what) const {
  fuzz::fail(session.client_id + " (session " + std::to_string(session.number) + ") " + what + ": message " +
             std::to_string(message.id) + " of " + message.publisher + " on " + message.topic_name + " at QoS " +
             text_of(message.qos) + (message.retain ? ", retained" : "") + (message.will ? ", a will" : "") +
             (message.delay_s ? ", delayed" : "") + ", sent " + std::to_string(message.sent_count) + " times");
}

// A documented bound struck: then somebody may go without.
bool Model::lossy() noexcept {
  if (broker_.limits().outbox_messages_max > 100) return false;  // others are not reached
  return broker_.count(&Counters::dropped_outbox_full) || broker_.count(&Counters::dropped_limit);
}

// --- publishers

Message& Model::add(Message message) {
  message.id = static_cast<uint32_t>(messages_.size() + 1);
  messages_.push_back(std::move(message));
  return messages_.back();
}

// Payloads are unique: "m17:" and then dots.
const Message* Model::find(Bytes payload) const {
  const std::string_view text = as_text(payload);
  uint32_t id = 0;
  if (!text.starts_with('m')) return nullptr;
  std::from_chars(text.data() + 1, text.data() + text.size(), id);
  if (id == 0 || id > messages_.size() || messages_[id - 1].payload != text) return nullptr;
  return &messages_[id - 1];
}

void Model::sent(uint32_t id) {
  Message& one = message(id);
  one.last_sent_at = broker_.now();
  one.prompt = calm && !one.waits;
  one.done = 0;
  ++moment_;
  if (one.delay_s) return delay(one);
  open_.insert(id);
  if (!one.refused) keep(one, calm && !one.waits && one.sent_count == 0);
  if (one.sent_count++) return;
  one.first_sent_at = broker_.now();
  one.first_sent = moment_;
  if (!one.refused) owe(one);
}

void Model::keep(const Message& message, bool sure) {
  if (!message.retain) return;
  retained_[message.topic_name] = {message.payload.empty() ? 0 : message.id,
                                   sure && !unclear_topics_.contains(message.topic_name)};
}

// When it comes is known if it is read at once, and never sent again.
void Model::delay(Message& one) {
  if (one.sent_count++ == 0) {
    one.first_sent = moment_;
    one.first_sent_at = broker_.now();
    one.due = broker_.now() + int64_t{one.delay_s} * kSecond;
    if (one.prompt) {
      delayed_.push_back(one.id);
      return;
    }
  } else {
    std::erase(delayed_, one.id);
    one.owed.clear();
    one.groups.clear();
  }
  if (!one.retain) return;
  unclear_topics_.insert(one.topic_name);
  keep(one, false);
}

bool Model::has_delayed() const {
  return std::ranges::any_of(messages_, [](const Message& one) { return one.delay_s && one.sent_count; });
}

void Model::on_time() {
  constexpr int64_t kLate = kSecond;  // more than what a timer may take
  std::ranges::stable_sort(delayed_, {}, [this](uint32_t id) { return message(id).due; });
  std::erase_if(delayed_, [this](uint32_t id) {
    Message& one = message(id);
    if (broker_.now() < one.due) return false;
    one.first_sent = ++moment_;
    if (broker_.now() < one.due + kLate) {  // it comes now, or a little later
      if (one.retain) unclear_topics_.insert(one.topic_name);
      keep(one, false);
      return true;
    }
    one.first_sent_at = one.last_sent_at = one.due;
    one.acknowledged = true;
    open_.insert(id);
    keep(one, calm);
    owe(one);
    return true;
  });
}

void Model::owe(Message& one) {
  one.owed.clear();
  for (const auto& session : sessions_) {
    if (session->over || session->changing) continue;
    Owed owed;
    owed.session = session->number;
    owed.touched = session->touched;
    if (one.qos != Qos::AtMostOnce && !one.payload.empty() && (session->connected || session->durable)) {
      for (const Wanted& wanted : session->subscriptions) {
        if (wanted.group.empty() || !stands(wanted) || !matches(wanted, one)) continue;
        one.groups.push_back({wanted.text, session->number, session->touched});
        unresolved_groups_.insert(one.id);
      }
    }
    bool direct = false, shared = false;
    Qos granted = Qos::AtMostOnce;
    for (const Wanted& wanted : session->subscriptions) {
      if (wanted.ended || !matches(wanted, one)) continue;
      if (!wanted.group.empty() || !stands(wanted)) {
        shared = true;
        continue;
      }
      if (is_local(wanted, *session, one)) continue;
      direct = true;
      granted = std::max(granted, wanted.options.qos);
      owed.retain |= wanted.options.retain_as_published && one.retain;
      if (wanted.identifier) owed.identifiers.push_back(wanted.identifier);
    }
    if (!direct || shared) continue;
    std::sort(owed.identifiers.begin(), owed.identifiers.end());
    owed.qos = std::min(granted, one.qos);
    owed.must = !one.payload.empty() && (owed.qos == Qos::AtMostOnce ? session->connected && calm && !one.waits
                                                                     : session->connected || session->durable);
    if (owed.must) unresolved_.insert(one.id);
    one.owed.push_back(std::move(owed));
  }
}

bool Model::is_owed(const Message& message) const {
  return std::any_of(message.owed.begin(), message.owed.end(), [this](const Owed& owed) {
    const SessionRecord& session = *sessions_[owed.session - 1];
    return owed.must && !session.over && session.touched == owed.touched;
  });
}

void Model::acknowledged(uint32_t id) {
  if (message(id).delay_s) return;  // it is still to come
  message(id).done = ++moment_;
  message(id).acknowledged = true;
  open_.erase(id);
}

void Model::not_taken(uint32_t id) {
  Message& one = message(id);
  ++one.not_taken_count;
  for (const auto& session : sessions_) {
    const auto got = session->got.find(id);
    if (got == session->got.end() || !is_exact(*session, one)) continue;
    if (got->second.live > one.sent_count - one.not_taken_count) fail(*session, one, "got what was not taken");
  }
}

void Model::will_possible(uint32_t id) {
  Message& will = message(id);
  will.first_sent = ++moment_;
  will.first_sent_at = will.last_sent_at = broker_.now();
  will.sent_count = 1;
  if (will.retain) retained_[will.topic_name] = {id, false};
}

void Model::will_due(uint32_t id) {
  Message& will = message(id);
  will.first_sent = ++moment_;
  will.first_sent_at = will.last_sent_at = broker_.now();
  will.acknowledged = true;
  owe(will);
}

// --- subscribers

SessionRecord& Model::begin_session(const std::string& client_id, ProtocolVersion version) {
  sessions_.push_back(std::make_unique<SessionRecord>());
  SessionRecord& session = *sessions_.back();
  session.number = static_cast<uint32_t>(sessions_.size());
  session.client_id = client_id;
  session.version = version;
  return session;
}

void Model::connected(SessionRecord& session, uint32_t packet_size_max) {
  ++moment_;
  session.connected = true;
  session.changing = 0;
  if (packet_size_max) session.packet_size_least = std::min(session.packet_size_least, packet_size_max);
  for (const AutoSubscription& one : policy_.auto_subscriptions) subscribe_by_itself(session, one);
}

// What it has of this filter stays as it is.
void Model::subscribe_by_itself(SessionRecord& session, const AutoSubscription& automatic) {
  Wanted added;
  added.text = added.topic_filter = automatic.topic_filter.sample(session.client_id);
  added.options = automatic.options;
  for (const Wanted& wanted : session.subscriptions) {
    if (wanted.text == added.text && stands(wanted)) return;
  }
  ++session.touched;
  added.asked = added.granted = ++moment_;
  session.subscriptions.push_back(added);
}

void Model::disconnected(SessionRecord& session) {
  ++moment_;
  session.connected = false;
  session.was_blocked |= session.blocked;
  session.blocked = false;
  // Requests without an answer: what came of them is not known.
  for (Wanted& wanted : session.subscriptions) {
    if (!wanted.granted && !wanted.ended && !wanted.end_asked) wanted.end_asked = moment_;
  }
  session.changing = 0;
  session.owed_retained.clear();
  for (const uint32_t id : unresolved_) {
    for (Owed& owed : message(id).owed) {
      if (owed.session == session.number && owed.qos == Qos::AtMostOnce) owed.must = false;
    }
  }
  if (!session.durable) session.over = true;
}

void Model::asked(SessionRecord& session, std::vector<Wanted>& entries) {
  const bool at_rest = calm && session.changing == 0;
  ++session.changing;
  ++session.touched;
  ++moment_;
  session.owed_retained.clear();
  std::set<std::string> once;
  for (Wanted& wanted : entries) {
    wanted.asked = ++moment_;
    if (!is_valid(wanted)) continue;
    bool existed = false, sure = at_rest && once.insert(wanted.text).second;
    for (Wanted& older : session.subscriptions) {
      if (older.text != wanted.text || older.ended) continue;
      existed |= stands(older);
      sure &= stands(older) || older.ended;
      if (!older.end_asked) older.end_asked = moment_;
    }
    session.subscriptions.push_back(wanted);
    const auto handling = wanted.options.retain_handling;
    if (!wanted.group.empty() || !sure) continue;
    if (handling == codec::RetainHandling::DoNotSend || (handling == codec::RetainHandling::SendIfNew && existed)) {
      continue;
    }
    for (const auto& [topic, kept] : retained_) {
      if (!kept.message || !kept.sure || open_.contains(kept.message)) continue;
      if (is_local(wanted, session, message(kept.message))) continue;
      if (topic_matches(wanted.topic_filter, topic)) ++session.owed_retained[kept.message];
    }
  }
}

void Model::granted(SessionRecord& session, const std::vector<Wanted>& entries, Bytes reason_codes) {
  ++moment_;
  --session.changing;
  require(reason_codes.size() == entries.size(), "a SUBACK has one reason code for each filter");
  for (size_t i = 0; i < entries.size(); ++i) {
    const Wanted& entry = entries[i];
    const auto code = std::to_integer<uint8_t>(reason_codes[i]);
    const bool valid = is_valid(entry);
    const bool v5 = session.version == ProtocolVersion::V5;
    if (!valid) require(code == (v5 ? 0x8F : 0x80), "a filter that is not valid is refused");
    if (valid) require(code == static_cast<uint8_t>(entry.options.qos), "a filter is granted the QoS asked for");
    Wanted* own = nullptr;
    for (Wanted& wanted : session.subscriptions) {
      if (wanted.text != entry.text || wanted.ended || wanted.asked > entry.asked) continue;
      if (own) own->ended = moment_;
      own = &wanted;
    }
    if (own) own->granted = moment_;
  }
}

std::optional<bool> Model::ending(SessionRecord& session, const std::string& text) {
  bool sure = calm && session.changing == 0, existed = false;
  ++session.changing;
  ++session.touched;
  ++moment_;
  session.owed_retained.clear();
  for (Wanted& wanted : session.subscriptions) {
    if (wanted.text != text || wanted.ended) continue;
    existed |= stands(wanted);
    sure &= stands(wanted);
    if (!wanted.end_asked) wanted.end_asked = moment_;
  }
  return sure ? std::optional(existed) : std::nullopt;
}

void Model::ended(SessionRecord& session, const std::string& text, Moment asked) {
  ++moment_;
  --session.changing;
  for (Wanted& wanted : session.subscriptions) {
    if (wanted.text != text || wanted.asked > asked || !wanted.end_asked || wanted.ended) continue;
    wanted.ended = moment_;
    wanted.unsubscribed = true;
  }
}

void Model::received(SessionRecord& session, const codec::PublishView& publish, bool repeat, bool exact_time) {
  ++moment_;
  if (publish.payload.empty()) {
    const bool known = std::any_of(messages_.begin(), messages_.end(), [&](const Message& one) {
      return one.payload.empty() && one.topic_name == publish.topic_name && one.sent_count;
    });
    require(known, "an empty message that comes was published");
    return;
  }
  const Message* found = find(publish.payload);
  if (!found) fuzz::fail(session.client_id + " got a message that nobody published");
  const Message& message = *found;
  if (message.topic_name != publish.topic_name) fail(session, message, "got it on another topic");
  if (message.forbidden) fail(session, message, "got a will that was taken back");
  if (message.refused) fail(session, message, "got what was refused");
  if (!message.sent_count) fail(session, message, "got it before it was sent");
  if (message.delay_s && broker_.now() < message.due) fail(session, message, "got it before its time");
  if (publish.qos > message.qos) fail(session, message, "got it at QoS " + text_of(publish.qos));
  if (publish.retain && !message.retain) fail(session, message, "got it with RETAIN");
  if (session.version == ProtocolVersion::V5 && !message.sent_bare) {
    if (forwarded_of(publish) != message.properties) fail(session, message, "got other properties");
    const int64_t waited_s = (broker_.now() - message.last_sent_at) / kSecond;
    const int64_t left_s = int64_t{message.expiry_s} - (exact_time && message.prompt ? waited_s : 0);
    const bool right = publish.has_message_expiry == message.has_expiry &&
                       (!message.has_expiry || publish.message_expiry_s <= std::max<int64_t>(left_s, 1));
    if (!right) fail(session, message, "got another expiry interval");
  }
  if (repeat) return;
  bool as_published = false, retained_wanted = false, may_be_live = false;
  for (const Wanted& wanted : session.subscriptions) {
    if (!matches(wanted, message)) continue;
    as_published |= wanted.options.retain_as_published;
    retained_wanted |= wants_retained(wanted, session, message) && (publish.dup || gets_retained(wanted));
    may_be_live |= !message.done || message.done > wanted.asked;
  }
  // With Retain As Published the flag does not tell where it comes from.
  const auto owed = session.owed_retained.find(message.id);
  const bool is_owed = owed != session.owed_retained.end() && owed->second;
  Copies& copies = session.got[message.id];
  const bool open = !is_owed || copies.live + copies.either == 0;
  if (publish.retain && as_published && retained_wanted && open && may_be_live && !is_exact(session, message)) {
    ++copies.either;
    session.owed_retained.erase(message.id);  // it need not come twice
  } else if (publish.retain && retained_wanted && (!as_published || is_owed || !may_be_live)) {
    ++copies.retained;
    if (is_owed) --owed->second;
    judge_retained(session, message, publish);
  } else {
    if (publish.retain && !as_published) fail(session, message, "got it with RETAIN and did not ask for that");
    judge_live(session, message, publish);
  }
}

bool Model::may_be_of_group(const SessionRecord& session, const codec::PublishView& publish) const {
  return std::any_of(session.subscriptions.begin(), session.subscriptions.end(), [&](const Wanted& wanted) {
    return !wanted.group.empty() && topic_matches(wanted.topic_filter, publish.topic_name);
  });
}

void Model::answered(SessionRecord& session, Bytes payload) {
  if (const Message* message = find(payload)) session.got[message->id].answered = true;
}

// What it is owed, if nothing has changed that since.
const Owed* Model::is_exact(const SessionRecord& session, const Message& message) const {
  for (const Owed& owed : message.owed) {
    if (owed.session == session.number && owed.touched == session.touched) return &owed;
  }
  return nullptr;
}

void Model::judge_retained(SessionRecord& session, const Message& message, const codec::PublishView& publish) {
  uint32_t asked = 0;
  bool right = false;
  const auto identifiers = identifiers_of(publish);
  for (const Wanted& wanted : session.subscriptions) {
    if (!wants_retained(wanted, session, message)) continue;
    ++asked;
    if (!publish.dup && !gets_retained(wanted)) continue;
    const bool same = wanted.identifier ? identifiers == std::vector{wanted.identifier} : identifiers.empty();
    right |=
        (same || session.version != ProtocolVersion::V5) && publish.qos == std::min(wanted.options.qos, message.qos);
  }
  if (!right) fail(session, message, "got it from the retained store as no subscription asks");
  if (session.got[message.id].retained > asked) fail(session, message, "got it too often from the retained store");
}

// What its group has waits for whoever becomes a member; and what was on its way to a subscription comes by the options
// that have replaced its own meanwhile.
Moment Model::first_asked(const SessionRecord& own, const Wanted& wanted) const {
  Moment first = wanted.asked;
  if (wanted.group.empty()) {
    for (const Wanted& older : own.subscriptions) {
      if (older.text == wanted.text) first = older.unsubscribed ? wanted.asked : std::min(first, older.asked);
    }
    return first;
  }
  for (const auto& session : sessions_) {
    for (const Wanted& other : session->subscriptions) {
      if (other.text == wanted.text) first = std::min(first, other.asked);
    }
  }
  return first;
}

void Model::judge_live(SessionRecord& session, const Message& message, const codec::PublishView& publish) {
  bool direct = false;
  bool anew = false;  // a group gives it to somebody again, who may be the same
  std::set<std::string> groups;
  uint32_t count = 0;
  for (const Wanted& wanted : session.subscriptions) {
    if (!matches(wanted, message)) continue;
    if (wanted.ended && wanted.ended < message.first_sent) continue;
    if (message.done && message.done < first_asked(session, wanted)) continue;
    if (is_local(wanted, session, message)) continue;
    ++count;
    if (wanted.group.empty()) direct = true;
    if (wanted.group.empty()) continue;
    groups.insert(wanted.text);
    anew |= wanted.options.qos == Qos::AtLeastOnce;
  }
  if (count == 0) fail(session, message, "is not subscribed and got it");
  Copies& copies = session.got[message.id];
  ++copies.live;
  // What waits for its turn when a subscription asks for it need not come from the retained store besides.
  session.owed_retained.erase(message.id);
  if (publish.qos == Qos::AtMostOnce) ++copies.live_qos0;
  if (publish.qos == Qos::ExactlyOnce) ++copies.live_qos2;

  const Owed* owed = is_exact(session, message);
  const bool exact = owed != nullptr;
  const uint32_t sendings = message.qos == Qos::AtLeastOnce ? message.sent_count - message.not_taken_count : 1;
  const uint32_t most = sendings * static_cast<uint32_t>(groups.size() + (direct || groups.empty()));
  // While subscriptions come and go, each may have its copy at QoS 0 (MQTT5 3.3.4).
  const bool too_often = exact ? copies.live > most
                               : message.qos == Qos::ExactlyOnce && !anew &&
                                     (copies.live - copies.live_qos0 > most || copies.live > most * count);
  if (too_often) fail(session, message, "got " + std::to_string(copies.live) + " copies");
  if (copies.live_qos2) judge_groups(session, message);
  if (!exact) return;
  if (publish.qos != owed->qos) fail(session, message, "got it at QoS " + text_of(publish.qos));
  if (publish.retain != owed->retain) fail(session, message, "got it with another RETAIN");
  if (session.version == ProtocolVersion::V5 && identifiers_of(publish) != owed->identifiers) {
    fail(session, message, "got other Subscription Identifiers");
  }
  // In order (MQTT5 4.6): first copies of what was sent once.
  if (copies.live > 1 || message.sent_count > 1 || message.will) return;
  uint32_t& newest =
      session.newest[message.publisher + " " + std::to_string(message.publisher_session) + " " + message.topic_name +
                     " " + std::to_string(message.delay_s) + " " + text_of(message.qos) + text_of(publish.qos)];
  if (newest > message.id) fail(session, message, "got it after message " + std::to_string(newest));
  newest = message.id;
}

// What was begun at QoS 2 stays with its member [MQTT-4.8.2-4] [MQTT-4.8.2-5]: each group gives it to one.
void Model::judge_groups(const SessionRecord& last, const Message& message) const {
  std::set<std::string> groups;
  uint32_t of_groups = 0;
  for (const auto& session : sessions_) {
    bool direct = false;
    for (const Wanted& wanted : session->subscriptions) {
      if (!matches(wanted, message)) continue;
      direct |= wanted.group.empty();
      if (!wanted.group.empty()) groups.insert(wanted.text);
    }
    const auto got = session->got.find(message.id);
    if (got != session->got.end())
      of_groups += got->second.live_qos2 - std::min<uint32_t>(got->second.live_qos2, direct);
  }
  if (!groups.empty() && of_groups > groups.size()) {
    fail(last, message, "is one of " + std::to_string(of_groups) + " members that got it at QoS 2");
  }
}

// --- at rest

bool Model::excused(const SessionRecord& session, const Message& message) const {
  const size_t size = message.payload.size() + message.topic_name.size() + message.properties.size() + 32;
  if (size > session.packet_size_least) return true;
  return message.has_expiry && broker_.now() - message.first_sent_at >= int64_t{message.expiry_s} * kSecond;
}

// Somebody of the group has it, or may still get it: false. Else nothing more is to be looked at.
bool Model::judge_group(const Message& message, const GroupOwed& owed) const {
  const SessionRecord& member = *sessions_[owed.session - 1];
  if (member.over || member.touched != owed.touched) return true;
  bool waits = false;
  for (const auto& session : sessions_) {
    for (const Wanted& wanted : session->subscriptions) {
      if (wanted.text != owed.text) continue;
      // QoS 0 is lost with a link, and what is begun at QoS 2 with its session.
      if (wanted.options.qos == Qos::AtMostOnce || excused(*session, message)) return true;
      if (session->over && std::min(wanted.options.qos, message.qos) == Qos::ExactlyOnce) return true;
      // What a session ended without having acknowledged it is for the others.
      const auto got = session->got.find(message.id);
      const bool came = got != session->got.end() && got->second.live + got->second.either;
      if (came && got->second.answered) return true;
      waits |= came && !session->over;
      waits |= session->connected && session->blocked;
      waits |= session->was_blocked && std::min(wanted.options.qos, message.qos) == Qos::ExactlyOnce;
    }
  }
  if (waits || !member.connected) return false;
  fail(member, message, "and its group " + owed.text + " never got it");
}

void Model::rest() {
  ++moment_;
  std::erase_if(open_, [this](uint32_t id) {
    Message& one = message(id);
    if ((one.qos != Qos::AtMostOnce && !one.delay_s) || one.waits) return false;
    one.done = moment_;
    return true;
  });
  for (const auto& session : sessions_) session->was_blocked &= !session->connected || session->blocked;
  const bool may_lose = lossy();
  for (auto at = unresolved_.begin(); at != unresolved_.end();) {
    Message& one = message(*at);
    bool waits = false;
    for (Owed& owed : one.owed) {
      if (!owed.must) continue;
      if (!one.acknowledged && one.qos != Qos::AtMostOnce) {
        waits = true;
        continue;
      }
      const SessionRecord& session = *sessions_[owed.session - 1];
      const auto got = session.got.find(one.id);
      const bool came = got != session.got.end() && got->second.live + got->second.either;
      if (came || session.over || session.touched != owed.touched || may_lose || excused(session, one)) {
        owed.must = false;
      } else if (!session.connected || session.blocked) {
        waits = true;
      } else {
        fail(session, one, "never got it");
      }
    }
    at = waits ? std::next(at) : unresolved_.erase(at);
  }
  std::erase_if(unresolved_groups_, [&](uint32_t id) {
    Message& one = message(id);
    if (!one.acknowledged) return false;
    std::erase_if(one.groups, [&](const GroupOwed& owed) { return may_lose || judge_group(one, owed); });
    return one.groups.empty();
  });
  for (const auto& session : sessions_) {
    if (!session->connected || session->blocked || may_lose) continue;
    for (const auto& [id, left] : session->owed_retained) {
      if (left && !excused(*session, message(id))) fail(*session, message(id), "was not sent what is retained");
    }
    session->owed_retained.clear();
  }
}

}  // namespace mqttq::fuzz
