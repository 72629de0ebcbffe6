// See model.h.
#include "model.h"

#include <algorithm>

#include "message/topic.h"
#include "world.h"

namespace mqttq::sim {

namespace {

bool matches(const Subscribed& subscription, const Published& message) {
  return topic_matches(subscription.topic_filter, message.topic_name);
}

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

std::string qos_text(Qos qos) { return std::to_string(static_cast<int>(qos)); }

}  // namespace

std::string to_string(const Published& message) {
  return "message " + std::to_string(message.id) + " (" + message.payload.substr(0, 8) + ") of " + message.publisher +
         " on " + message.topic_name + " at QoS " + qos_text(message.qos) + (message.retain ? ", retained" : "") +
         (message.will ? ", a will" : "") +
         (message.delay_s ? ", delayed by " + std::to_string(message.delay_s) + " s" : "") + ", sent " +
         std::to_string(message.sent_count) + " times";
}

void Model::fail(const SessionRecord& session, const Published& message, const std::string& what) const {
  std::string text = session.client_id + " (session " + std::to_string(session.number) + ") " + what + ": " +
                     to_string(message) + " first at " + std::to_string(message.first_sent) + ", acknowledged at " +
                     std::to_string(message.acknowledged) + "; subscriptions:";
  for (const Subscribed& one : session.subscriptions) {
    if (!matches(one, message)) continue;
    text += " [" + one.group + " " + one.topic_filter + " qos " + qos_text(one.qos) + " asked " +
            std::to_string(one.asked) + " granted " + std::to_string(one.granted) + " ended " +
            std::to_string(one.end_asked) + ".." + std::to_string(one.ended) + (one.sure ? "" : " unsure") + "]";
  }
  world_.fail(text);
}

// --- publishers

Published& Model::publish(Published message) {
  message.id = static_cast<uint32_t>(messages_.size() + 1);
  message.sent_at = world_.now();
  if (!message.payload.empty()) {
    const bool fresh = by_payload_.emplace(message.payload, message.id).second;
    world_.require(fresh, "the payloads of a simulation are unique");
  }
  messages_.push_back(std::move(message));
  return messages_.back();
}

void Model::sent(uint32_t id) {
  Published& one = message(id);
  one.last_sent = tick();
  if (!one.sent_count++) one.first_sent = one.last_sent;
}

void Model::acknowledged(uint32_t id, ReasonCode reason) {
  Published& one = message(id);
  if (is_error(reason)) {
    one.refused = true;
  } else {
    one.acknowledged = tick();
  }
}

const Published* Model::find(Bytes payload) const {
  const auto at = by_payload_.find(std::string(as_text(payload)));
  return at == by_payload_.end() ? nullptr : &messages_[at->second - 1];
}

// --- subscribers

SessionRecord* Model::session(const std::string& client_id) {
  const auto at = current_.find(client_id);
  return at == current_.end() ? nullptr : &sessions_[at->second];
}

SessionRecord& Model::connected(const std::string& client_id, ProtocolVersion version, bool present, bool sure,
                                uint32_t packet_size_max) {
  tick();
  SessionRecord* known = session(client_id);
  if (!known || !present) {
    current_[client_id] = sessions_.size();
    sessions_.push_back({});
    known = &sessions_.back();
    known->number = static_cast<uint32_t>(sessions_.size());
    known->client_id = client_id;
    known->version = version;
  }
  if (!sure) {
    known->doubtful = true;
    for (Subscribed& one : known->subscriptions) one.sure = false;
  }
  if (packet_size_max) known->packet_size_least = std::min(known->packet_size_least, packet_size_max);
  known->connected = true;
  ++known->connections;
  known->newest_live.clear();
  for (const AutoSubscription& one : world_.setup().policy.auto_subscriptions) subscribed_by_itself(*known, one);
  return *known;
}

// What the session has of this filter stays, and goes on as it was; what was perhaps ended is perhaps begun again.
void Model::subscribed_by_itself(SessionRecord& session, const AutoSubscription& automatic) {
  Subscribed added;
  added.topic_filter = automatic.topic_filter.sample(session.client_id);
  added.qos = automatic.options.qos;
  added.no_local = automatic.options.no_local;
  added.retain_as_published = automatic.options.retain_as_published;
  added.retain_handling = automatic.options.retain_handling;
  added.connection = session.connections;
  added.asked = added.granted = tick();
  added.sure = !may_refuse;
  for (const Subscribed& one : session.subscriptions) {
    if (one.topic_filter != added.topic_filter || !one.group.empty() || one.ended) continue;
    if (one.granted && one.sure && !one.end_asked) return;
    added.sure = false;
  }
  session.subscriptions.push_back(added);
}

void Model::disconnected(const std::string& client_id) {
  losses_.push_back(tick());
  if (SessionRecord* known = session(client_id)) known->connected = false;
}

void Model::asked(SessionRecord& session, const Subscribed& subscription) {
  const Moment now = tick();
  Subscribed added = subscription;
  added.asked = now;
  added.connection = session.connections;
  for (Subscribed& older : session.subscriptions) {
    if (older.topic_filter != added.topic_filter || older.group != added.group || older.ended) continue;
    added.existed = true;
    if (!older.end_asked) older.end_asked = now;
  }
  session.subscriptions.push_back(std::move(added));
}

void Model::answered(SessionRecord& session, uint16_t packet_id, Bytes reason_codes) {
  const Moment now = tick();
  size_t at = 0;
  for (Subscribed& one : session.subscriptions) {
    if (one.packet_id != packet_id || one.granted || one.ended || one.connection != session.connections) continue;
    world_.require(at < reason_codes.size(), "a SUBACK has fewer reason codes than were asked for");
    const auto code = static_cast<uint8_t>(reason_codes[at++]);
    one.packet_id = 0;
    if (code >= 0x80) {
      world_.require(may_lose || may_refuse, "a subscription to " + one.topic_filter + " is refused");
      one.end_asked = one.ended = now;
      continue;
    }
    world_.require(code == static_cast<uint8_t>(one.qos), "a subscription is granted another QoS than it asked for");
    one.granted = now;
    for (Subscribed& older : session.subscriptions) {
      if (&older == &one) break;
      if (older.topic_filter == one.topic_filter && older.group == one.group && !older.ended) older.ended = now;
    }
  }
  // Those whose end was asked for in an UNSUBSCRIBE of this identifier. One that is refused stays, and is doubtful.
  const bool refused = at < reason_codes.size() && static_cast<uint8_t>(reason_codes[at]) >= 0x80;
  world_.require(!refused || may_refuse, "an end of a subscription is refused");
  for (Subscribed& one : session.subscriptions) {
    if (one.packet_id == packet_id && one.end_asked && !one.ended && one.granted &&
        one.end_connection == session.connections) {
      if (!refused) one.ended = now;
      one.packet_id = 0;
    }
  }
}

void Model::ending(SessionRecord& session, const std::string& filter, uint16_t packet_id) {
  const Moment now = tick();
  const SharedFilter shared = parse_shared_filter(filter);
  for (Subscribed& one : session.subscriptions) {
    if (one.topic_filter != shared.topic_filter || one.group != shared.group || one.ended) continue;
    if (!one.end_asked) one.end_asked = now;
    if (one.granted) {
      one.packet_id = packet_id;
      one.end_connection = session.connections;
    }
  }
}

// Each sending may be taken for a new message: always at QoS 1; at QoS 2 when the first was refused, for those who take
// it live had it by then, or when the session in which it was sent may be gone.
bool Model::may_repeat(const Published& message) const {
  return message.qos == Qos::AtLeastOnce || message.repeatable || may_refuse || world_.log().may_fail() ||
         world_.queues().may_reject(message.topic_name);
}

bool Model::steady(const SessionRecord& session, const Published& message,
                   std::vector<const Subscribed*>& matching) const {
  for (const Subscribed& one : session.subscriptions) {
    if (!matches(one, message)) continue;
    if (one.ended && one.ended < message.first_sent) continue;  // long gone
    if (!one.sure || !one.granted || one.granted > message.first_sent || one.end_asked) return false;
    matching.push_back(&one);
  }
  return true;
}

void Model::received(SessionRecord& session, const codec::PublishView& publish) {
  const Moment now = tick();
  if (publish.payload.empty()) {
    const bool known = std::any_of(messages_.begin(), messages_.end(), [&](const Published& one) {
      return one.payload.empty() && one.topic_name == publish.topic_name;
    });
    world_.require(known, session.client_id + " got an empty message that nobody published");
    return;
  }
  const Published* message = find(publish.payload);
  if (!message)
    world_.fail(session.client_id + " got a message that nobody published: " + std::string(publish.topic_name));
  if (message->topic_name != publish.topic_name) fail(session, *message, "got it on another topic");
  if (message->forbidden) fail(session, *message, "got a will that was taken back");
  if (!message->first_sent && !message->will) fail(session, *message, "got it before it was sent");
  if (world_.now() - message->sent_at < int64_t{message->delay_s} * kSecond) {
    fail(session, *message, "got it before its time");
  }
  if (session.version == ProtocolVersion::V5) {
    if (forwarded_of(publish) != message->properties) fail(session, *message, "got other properties");
    if (publish.has_message_expiry != (message->expiry_s != 0) || publish.message_expiry_s > message->expiry_s) {
      fail(session, *message, "got another Message Expiry Interval");
    }
  }

  Copies& copies = session.got[message->id];
  bool as_published = false;
  for (const Subscribed& one : session.subscriptions) as_published |= one.retain_as_published && matches(one, *message);
  if (publish.retain && !message->retain) fail(session, *message, "got it with RETAIN");
  if (publish.retain && as_published) {
    ++copies.either;
  } else if (publish.retain) {
    if (!publish.dup) {
      ++copies.retained;
      judge_from_store(session, *message, publish);
    }
  } else {
    if (!copies.first_live) copies.first_live = now;
    judge_live(session, *message, publish, copies);
  }
}

void Model::judge_from_store(SessionRecord& session, const Published& message, const codec::PublishView& publish) {
  bool wanted = false;
  for (const Subscribed& one : session.subscriptions) {
    wanted |= one.group.empty() && matches(one, message) && one.retain_handling != codec::RetainHandling::DoNotSend;
  }
  if (!wanted) fail(session, message, "got it from the retained store and did not ask for that");
  if (identifiers_of(publish).size() > 1)
    fail(session, message, "got it from the retained store for two subscriptions");
  const auto live = session.newest_live.find(message.topic_name);
  if (live != session.newest_live.end() && live->second > message.id && message.sent_count <= 1) {
    const Published& newer = messages_[live->second - 1];
    if (newer.publisher == message.publisher && newer.retain && newer.sent_count <= 1 && !message.delay_s) {
      fail(session, message, "got it from the retained store after " + to_string(newer) + " had come live");
    }
  }
}

void Model::judge_live(SessionRecord& session, const Published& message, const codec::PublishView& publish,
                       Copies& copies) {
  // Is it for this session at all?
  bool entitled = false;
  std::set<std::pair<std::string, std::string>> groups;  // each of which may choose this session
  uint32_t subscription_count = 0;
  Qos most = Qos::AtMostOnce;
  for (const Subscribed& one : session.subscriptions) {
    if (!matches(one, message) || (one.ended && one.ended < message.first_sent)) continue;
    if (one.no_local && message.publisher_session == session.number) continue;
    entitled = true;
    ++subscription_count;
    if (!one.group.empty()) groups.emplace(one.group, one.topic_filter);
    most = std::max(most, one.qos);
  }
  if (!entitled) fail(session, message, "is not subscribed and got it");
  if (publish.qos > std::min(most, message.qos)) fail(session, message, "got it at QoS " + qos_text(publish.qos));

  // How often?
  const bool repeat = publish.dup && copies.live + copies.repeats > 0;
  ++(repeat ? copies.repeats : copies.live);
  if (publish.qos == Qos::AtMostOnce) ++copies.live_qos0;
  if (publish.qos == Qos::ExactlyOnce) ++copies.qos2;
  const uint32_t allowed = may_repeat(message) ? message.sent_count : 1;
  std::vector<const Subscribed*> matching;
  const bool is_steady = steady(session, message, matching);
  const bool shared = !groups.empty();
  const uint32_t most_copies = std::max(1u, allowed) * std::max<uint32_t>(1, static_cast<uint32_t>(groups.size()));
  // While subscriptions come and go, each may have its copy at QoS 0 (MQTT5 3.3.4).
  const uint32_t higher = copies.live - copies.live_qos0;
  // What came through a group at QoS 1 may come again when a member's connection is lost: see judge_groups().
  const bool bounded = !shared || copies.qos2 == higher;
  // A PUBACK that the broker has not written when it dies is forgotten.
  const bool some_at_qos1 = higher > copies.qos2;
  // And who has it live may have it before its publisher is acknowledged, who then sends it once more.
  const uint32_t sent = world_.crashes() && copies.live_qos0 ? message.sent_count : 1;
  const uint32_t most_live = std::max(most_copies * (some_at_qos1 ? 1 + world_.crashes() : 1), sent);
  if (bounded && (is_steady ? copies.live > most_live
                            : message.qos == Qos::ExactlyOnce &&
                                  (higher > most_live || copies.live > most_live * subscription_count))) {
    fail(session, message, "got " + std::to_string(copies.live) + " copies");
  }
  if (copies.qos2 > most_copies && !session.doubtful) fail(session, message, "got it again at QoS 2");

  if (shared || !is_steady) return;
  // With what?
  Qos granted = Qos::AtMostOnce;
  std::vector<uint32_t> identifiers;
  for (const Subscribed* one : matching) {
    if (one->no_local && message.publisher_session == session.number) continue;
    granted = std::max(granted, one->qos);
    if (one->identifier) identifiers.push_back(one->identifier);
  }
  if (publish.qos != std::min(granted, message.qos)) fail(session, message, "got it at QoS " + qos_text(publish.qos));
  std::sort(identifiers.begin(), identifiers.end());
  if (session.version == ProtocolVersion::V5) {
    const std::vector<uint32_t> got = identifiers_of(publish);  // without memory some are left out
    const bool right =
        may_refuse ? std::includes(identifiers.begin(), identifiers.end(), got.begin(), got.end()) : got == identifiers;
    if (!right) fail(session, message, "got other Subscription Identifiers");
  }

  // In order? First copies only (MQTT5 4.6).
  if (!message.delay_s) {
    session.newest_live[message.topic_name] = std::max(session.newest_live[message.topic_name], message.id);
  }
  if (repeat || copies.live > 1 || may_reorder || message.will) return;
  // Where what came of the first sending may have been dropped or have expired, the second is the first copy, and late.
  if (message.sent_count > 1 && (publish.qos == Qos::AtMostOnce || message.expiry_s || may_lose || may_refuse)) return;
  uint32_t& newest = session.newest[{message.publisher, message.topic_name, message.delay_s, message.qos, publish.qos}];
  if (newest > message.id) fail(session, message, "got it after " + to_string(messages_[newest - 1]));
  newest = message.id;
}

// --- the end

bool Model::excused(const SessionRecord& session, const Published& message) const {
  const size_t size = message.payload.size() + message.topic_name.size() + message.properties.size() + 64;
  if (size > session.packet_size_least) return true;
  return is_expired(message);
}

bool Model::is_expired(const Published& message) const {
  const int64_t life_s = int64_t{message.delay_s} + message.expiry_s;
  return message.expiry_s && world_.now() - message.sent_at >= life_s * kSecond;
}

// Surely, and published for good: what was delayed may still be lost to the log when its time comes.
bool Model::is_taken(const Published& message) const {
  return message.acknowledged && !(message.delay_s && (may_lose || world_.log().may_fail()));
}

bool Model::must_have(const SessionRecord& session, const Published& message) const {
  if (message.qos == Qos::AtMostOnce || message.payload.empty()) return false;
  if (message.will ? !message.owed || world_.log().may_fail() : !is_taken(message)) return false;
  for (const Subscribed& one : session.subscriptions) {
    if (!one.group.empty() || one.qos == Qos::AtMostOnce || !matches(one, message)) continue;
    if (!one.sure || !one.granted || one.granted > message.first_sent || one.end_asked) continue;
    if (one.no_local && message.publisher == session.client_id) continue;
    return !excused(session, message);
  }
  return false;
}

void Model::judge() {
  if (may_lose) return;
  for (const SessionRecord& session : sessions_) {
    if (!session.present_at_end) continue;
    for (const Published& message : messages_) {
      if (!must_have(session, message)) continue;
      const auto got = session.got.find(message.id);
      if (got == session.got.end() || got->second.live + got->second.either + got->second.repeats == 0) {
        fail(session, message, "never got it");
      }
    }
  }
  judge_groups();
}

// Every message of a group's filter goes to one member, while no member leaves and no member's session ends. What a
// member has not acknowledged at QoS 1 when its connection is lost may go to another, or to the same one anew.
void Model::judge_groups() {
  struct Group {
    std::vector<const SessionRecord*> members;
    Moment complete = 0;  // all have joined
    bool steady = true;
  };
  std::map<std::pair<std::string, std::string>, Group> groups;
  for (const SessionRecord& session : sessions_) {
    for (const Subscribed& one : session.subscriptions) {
      if (one.group.empty()) continue;
      Group& group = groups[{one.group, one.topic_filter}];
      if (group.members.empty() || group.members.back() != &session) group.members.push_back(&session);
      if (!one.sure || !one.granted || one.end_asked || !session.present_at_end || one.qos == Qos::AtMostOnce) {
        group.steady = false;
      }
      group.complete = std::max(group.complete, one.granted);
    }
  }
  for (const auto& [name, group] : groups) {
    // Through which of its groups a message came cannot be told.
    const bool exclusive = std::all_of(group.members.begin(), group.members.end(), [&](const SessionRecord* member) {
      return std::all_of(member->subscriptions.begin(), member->subscriptions.end(), [&](const Subscribed& one) {
        return one.group == name.first && one.topic_filter == name.second;
      });
    });
    if (!group.steady || !exclusive) continue;
    for (const Published& message : messages_) {
      if (!topic_matches(name.second, message.topic_name) || message.qos == Qos::AtMostOnce) continue;
      if (!is_taken(message) || message.first_sent < group.complete || message.will) continue;
      uint32_t takers = 0, copies = 0, at_qos1 = 0;
      for (const SessionRecord* member : group.members) {
        const auto got = member->got.find(message.id);
        if (got == member->got.end()) continue;
        ++takers;
        copies += got->second.live + got->second.either;
        at_qos1 += got->second.live - got->second.live_qos0 - got->second.qos2;
      }
      if (takers == 0 && !excused(*group.members.front(), message)) {
        fail(*group.members.front(), message, "and the other members of " + name.first + " never got it");
      }
      uint32_t allowed = may_repeat(message) ? message.sent_count : 1;
      if (at_qos1) {
        allowed +=
            static_cast<uint32_t>(losses_.end() - std::lower_bound(losses_.begin(), losses_.end(), message.first_sent));
      }
      if (copies > allowed) fail(*group.members.front(), message, "came more often than connections were lost");
      if (takers > allowed) fail(*group.members.front(), message, "is not the only member that got it");
    }
  }
}

// Of one topic's retained messages those that may be the last: not those behind which another was surely taken.
std::vector<const Published*> Model::retained_candidates(const std::string& topic_name) const {
  std::vector<const Published*> candidates;
  for (const Published& one : messages_) {
    if (!one.retain || one.topic_name != topic_name || (one.will ? one.forbidden : !one.sent_count)) continue;
    const bool surpassed = std::any_of(messages_.begin(), messages_.end(), [&](const Published& other) {
      return other.retain && other.topic_name == topic_name && is_taken(other) && !one.will &&
             other.publisher == one.publisher && other.first_sent > one.last_sent && other.delay_s == one.delay_s;
    });
    if (!surpassed) candidates.push_back(&one);
  }
  return candidates;
}

void Model::judge_retained(const std::vector<std::pair<std::string, std::string>>& found) {
  std::map<std::string, std::string> by_topic;
  for (const auto& [topic, payload] : found) {
    world_.require(by_topic.emplace(topic, payload).second, "two messages are retained for " + topic);
  }
  std::set<std::string> topics;
  for (const Published& one : messages_) {
    if (one.retain) topics.insert(one.topic_name);
  }
  for (const std::string& topic : topics) {
    const auto candidates = retained_candidates(topic);
    const auto at = by_topic.find(topic);
    const std::string value = at == by_topic.end() ? "" : at->second;
    bool right = false;
    for (const Published* one : candidates) {
      right |= one->payload == value || (value.empty() && (is_expired(*one) || !is_taken(*one)));
    }
    // Nothing that was taken for sure: it may never have come.
    const bool may_be_none =
        std::none_of(candidates.begin(), candidates.end(), [this](const Published* one) { return is_taken(*one); });
    right |= value.empty() && may_be_none;
    if (!right) {
      std::string text = "for " + topic + " '" + value.substr(0, 16) + "' is retained, and not one of:";
      for (const Published* one : candidates) text += " " + one->payload.substr(0, 16) + " (" + to_string(*one) + ")";
      world_.fail(text);
    }
    // Whoever subscribed to it, on the connection that still stands, has had that message, one way or another.
    if (may_lose || candidates.size() != 1 || candidates.front()->payload.empty() || value.empty()) continue;
    const Published& last = *candidates.front();
    if (last.qos == Qos::AtMostOnce || !is_taken(last)) continue;
    for (const SessionRecord& session : sessions_) {
      if (!session.present_at_end || !session.connected) continue;
      for (const Subscribed& one : session.subscriptions) {
        if (!one.group.empty() || one.qos == Qos::AtMostOnce || !matches(one, last) || !one.sure || !one.granted ||
            one.end_asked || one.no_local || one.connection != session.connections ||
            one.retain_handling != codec::RetainHandling::Send || excused(session, last)) {
          continue;
        }
        if (!session.got.contains(last.id)) fail(session, last, "never got what is retained");
      }
    }
  }
}

}  // namespace mqttq::sim
