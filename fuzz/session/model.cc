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
             ", sent " + std::to_string(message.sent_count) + " times");
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
  open_.insert(id);
  if (one.retain && !one.refused) {
    Kept& kept = retained_[one.topic_name];
    kept.sure = calm && !one.waits && one.sent_count == 0;
    kept.message = one.payload.empty() ? 0 : id;
  }
  if (one.sent_count++) return;
  one.first_sent_at = broker_.now();
  one.first_sent = moment_;
  if (!one.refused) owe(one);
}

void Model::owe(Message& one) {
  one.owed.clear();
  for (const auto& session : sessions_) {
    if (session->over || session->changing) continue;
    Owed owed;
    owed.session = session->number;
    owed.touched = session->touched;
    bool direct = false, shared = false;
    Qos granted = Qos::AtMostOnce;
    for (const Wanted& wanted : session->subscriptions) {
      if (wanted.ended || !matches(wanted, one)) continue;
      if (!wanted.group.empty() || !stands(wanted)) {
        shared = true;
        continue;
      }
      if (wanted.options.no_local && one.publisher_session == session->number) continue;
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
  message(id).done = ++moment_;
  message(id).acknowledged = true;
  open_.erase(id);
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
}

void Model::disconnected(SessionRecord& session) {
  ++moment_;
  session.connected = false;
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

void Model::ended(SessionRecord& session, const std::string& text) {
  ++moment_;
  --session.changing;
  for (Wanted& wanted : session.subscriptions) {
    if (wanted.text == text && wanted.end_asked && !wanted.ended) wanted.ended = moment_;
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
    retained_wanted |= wanted.group.empty() && wanted.options.retain_handling != codec::RetainHandling::DoNotSend;
    may_be_live |= !message.done || message.done > wanted.asked;
  }
  // With Retain As Published the flag does not tell where it comes from.
  const auto owed = session.owed_retained.find(message.id);
  const bool is_owed = owed != session.owed_retained.end() && owed->second;
  if (publish.retain && as_published && retained_wanted && !is_owed && may_be_live && !is_exact(session, message)) {
    ++session.got[message.id].either;
  } else if (publish.retain && retained_wanted && (!as_published || is_owed || !may_be_live)) {
    ++session.got[message.id].retained;
    if (is_owed) --owed->second;
    judge_retained(session, message, publish);
  } else {
    if (publish.retain && !as_published) fail(session, message, "got it with RETAIN and did not ask for that");
    judge_live(session, message, publish);
  }
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
    if (!wanted.group.empty() || !matches(wanted, message)) continue;
    if (wanted.options.retain_handling == codec::RetainHandling::DoNotSend) continue;
    ++asked;
    const bool same = wanted.identifier ? identifiers == std::vector{wanted.identifier} : identifiers.empty();
    right |=
        (same || session.version != ProtocolVersion::V5) && publish.qos == std::min(wanted.options.qos, message.qos);
  }
  if (!right) fail(session, message, "got it from the retained store as no subscription asks");
  if (session.got[message.id].retained > asked) fail(session, message, "got it too often from the retained store");
}

void Model::judge_live(SessionRecord& session, const Message& message, const codec::PublishView& publish) {
  bool direct = false;
  std::set<std::string> groups;
  uint32_t count = 0;
  for (const Wanted& wanted : session.subscriptions) {
    if (!matches(wanted, message)) continue;
    if (wanted.ended && wanted.ended < message.first_sent) continue;
    if (message.done && message.done < wanted.asked) continue;
    if (wanted.options.no_local && message.publisher_session == session.number) continue;
    ++count;
    if (wanted.group.empty()) direct = true;
    if (!wanted.group.empty()) groups.insert(wanted.text);
  }
  if (count == 0) fail(session, message, "is not subscribed and got it");
  Copies& copies = session.got[message.id];
  ++copies.live;
  // What waits for its turn when a subscription asks for it need not come from the retained store besides.
  session.owed_retained.erase(message.id);
  if (publish.qos == Qos::AtMostOnce) ++copies.live_qos0;

  const Owed* owed = is_exact(session, message);
  const bool exact = owed != nullptr;
  const uint32_t sendings = message.qos == Qos::AtLeastOnce ? message.sent_count : 1;
  const uint32_t most = sendings * static_cast<uint32_t>(groups.size() + (direct || groups.empty()));
  // While subscriptions come and go, each may have its copy at QoS 0 (MQTT5 3.3.4).
  const bool too_often =
      exact ? copies.live > most
            : message.qos == Qos::ExactlyOnce && (copies.live - copies.live_qos0 > most || copies.live > most * count);
  if (too_often) fail(session, message, "got " + std::to_string(copies.live) + " copies");
  if (!exact) return;
  if (publish.qos != owed->qos) fail(session, message, "got it at QoS " + text_of(publish.qos));
  if (publish.retain != owed->retain) fail(session, message, "got it with another RETAIN");
  if (session.version == ProtocolVersion::V5 && identifiers_of(publish) != owed->identifiers) {
    fail(session, message, "got other Subscription Identifiers");
  }
  // In order (MQTT5 4.6): first copies of what was sent once.
  if (copies.live > 1 || message.sent_count > 1 || message.will) return;
  uint32_t& newest = session.newest[message.publisher + " " + std::to_string(message.publisher_session) + " " +
                                    message.topic_name + " " + text_of(message.qos) + text_of(publish.qos)];
  if (newest > message.id) fail(session, message, "got it after message " + std::to_string(newest));
  newest = message.id;
}

// --- at rest

bool Model::excused(const SessionRecord& session, const Message& message) const {
  const size_t size = message.payload.size() + message.topic_name.size() + message.properties.size() + 32;
  if (size > session.packet_size_least) return true;
  return message.has_expiry && broker_.now() - message.first_sent_at >= int64_t{message.expiry_s} * kSecond;
}

void Model::rest() {
  ++moment_;
  std::erase_if(open_, [this](uint32_t id) {
    Message& one = message(id);
    if (one.qos != Qos::AtMostOnce || one.waits) return false;
    one.done = moment_;
    return true;
  });
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
  for (const auto& session : sessions_) {
    if (!session->connected || session->blocked || may_lose) continue;
    for (const auto& [id, left] : session->owed_retained) {
      if (left && !excused(*session, message(id))) fail(*session, message(id), "was not sent what is retained");
    }
    session->owed_retained.clear();
  }
}

}  // namespace mqttq::fuzz
