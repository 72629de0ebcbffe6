// What must come back, told from the specification alone: who is owed which message, how often, at which QoS, with what
// flags and properties, and in which order.
//
// Clients report what they send and get. A message is judged strictly for a session whose subscriptions were known and
// at rest while it was on its way; where they were not, only what holds in every case is judged.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker.h"
#include "codec/codec.h"

namespace mqttq::fuzz {

using Moment = uint64_t;  // counts reports; 0 is never

// A subscription as its client asked for it; asking again for the same filter begins another.
struct Wanted {
  std::string text;  // as asked, "$share/group/" included
  std::string topic_filter;
  std::string group;  // empty: not shared
  codec::SubscriptionOptions options;
  uint32_t identifier = 0;
  Moment asked = 0, granted = 0, end_asked = 0, ended = 0;
  bool unsubscribed = false;  // and not replaced
};

// What a session is owed of one message, as of the moment it was sent.
struct Owed {
  uint32_t session = 0;
  uint32_t touched = 0;  // the session's, at that moment
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  std::vector<uint32_t> identifiers;  // sorted
  bool must = false;                  // come at least once
};

// What a group is owed of one message, as long as one member of it stays.
struct GroupOwed {
  std::string text;
  uint32_t session = 0;  // the member's
  uint32_t touched = 0;  // as above
};

struct Message {
  uint32_t id = 0;
  std::string publisher;
  uint32_t publisher_session = 0;
  std::string topic_name, payload;
  Qos qos = Qos::AtMostOnce;
  bool retain = false, will = false;
  bool has_expiry = false;
  uint32_t expiry_s = 0;
  std::vector<std::byte> properties;  // to be forwarded
  uint32_t sent_count = 0;
  uint32_t not_taken_count = 0;  // of these, for their identifier was open
  bool sent_bare = false;        // by 3.x, without expiry and properties
  Instant first_sent_at{}, last_sent_at{};
  Moment first_sent = 0;
  Moment done = 0;            // acknowledged, or at QoS 0 all was at rest after it was sent
  bool acknowledged = false;  // what is owed above QoS 0 is owed from then on
  bool prompt = false;        // it was read when it was last sent
  bool waits = false;         // its publisher's connection may be held up: when it is read is not known
  bool refused = false;       // goes to nobody
  bool forbidden = false;     // a will that was taken back
  uint32_t delay_s = 0;       // published to $delayed; 0 = not
  Instant due{};              // at the earliest
  std::vector<Owed> owed;
  std::vector<GroupOwed> groups;
};

struct Copies {
  uint32_t live = 0, live_qos0 = 0, live_qos2 = 0, retained = 0, either = 0;
  bool answered = false;  // PUBACK or PUBREC was sent
};

// A session as its client sees it.
struct SessionRecord {
  uint32_t number = 0;
  std::string client_id;
  ProtocolVersion version = ProtocolVersion::V5;
  bool durable = false;
  bool connected = false;
  bool over = false;         // nothing more is owed to it
  bool blocked = false;      // its window, its link or its acknowledgements hold something back
  bool was_blocked = false;  // when its connection was lost: what was begun at QoS 2 may not have come [MQTT-4.8.2-4]
  uint32_t changing = 0;     // requests that change subscriptions and have no answer
  uint32_t touched = 0;      // counts such requests
  std::vector<Wanted> subscriptions;
  std::map<uint32_t, Copies> got;
  std::map<uint32_t, uint32_t> owed_retained;  // message id: copies from the retained store
  std::map<std::string, uint32_t> newest;      // first copies: publisher, topic, both QoS; message id
  uint32_t packet_size_least = UINT32_MAX;
};

class Model {
 public:
  Model(Broker& broker, const Policy& policy) : broker_(broker), policy_(policy) {}

  // --- publishers
  Message& add(Message message);
  Message& message(uint32_t id) { return messages_[id - 1]; }
  const Message* find(Bytes payload) const;
  // Somebody who is here, or comes back, is still owed it.
  bool is_owed(const Message& message) const;
  void sent(uint32_t id);  // each time, before the broker can know of it
  void acknowledged(uint32_t id);
  void not_taken(uint32_t id);      // of the times it was sent, one
  void will_possible(uint32_t id);  // from here on it may come
  void will_due(uint32_t id);       // it comes now
  void on_time();                   // time has passed, and nothing has happened since
  bool has_delayed() const;         // somebody ever sent such

  // --- subscribers
  SessionRecord& begin_session(const std::string& client_id, ProtocolVersion version);
  void connected(SessionRecord& session, uint32_t packet_size_max);
  void disconnected(SessionRecord& session);
  void asked(SessionRecord& session, std::vector<Wanted>& entries);  // fills in the moment
  void granted(SessionRecord& session, const std::vector<Wanted>& entries, Bytes reason_codes);
  // Whether there is such a subscription, if that is known.
  std::optional<bool> ending(SessionRecord& session, const std::string& text);
  // asked: when that was.
  void ended(SessionRecord& session, const std::string& text, Moment asked);
  Moment moment() const noexcept { return moment_; }
  // repeat: it is known to have come before, in the same exchange.
  void received(SessionRecord& session, const codec::PublishView& publish, bool repeat, bool exact_time);

  // It was sent to one member of a group, perhaps.
  bool may_be_of_group(const SessionRecord& session, const codec::PublishView& publish) const;

  void answered(SessionRecord& session, Bytes payload);

  // All is at rest: nothing is on its way but what links and windows hold back.
  void rest();
  bool still = false;  // all that could happen has: what is sent now is read before anything else, unless it is held up
  bool calm = false;   // the broker was at rest and runs at once: one thing happens after the other
  std::vector<std::unique_ptr<SessionRecord>>& sessions() { return sessions_; }

 private:
  struct Kept {
    uint32_t message = 0;  // 0: nothing
    bool sure = true;
  };
  [[noreturn]] void fail(const SessionRecord& session, const Message& message, const std::string& what) const;
  void delay(Message& message);
  void keep(const Message& message, bool sure);
  void owe(Message& message);
  void subscribe_by_itself(SessionRecord& session, const AutoSubscription& automatic);
  const Owed* is_exact(const SessionRecord& session, const Message& message) const;
  bool lossy() noexcept;
  bool excused(const SessionRecord& session, const Message& message) const;
  void judge_retained(SessionRecord& session, const Message& message, const codec::PublishView& publish);
  void judge_live(SessionRecord& session, const Message& message, const codec::PublishView& publish);
  Moment first_asked(const SessionRecord& own, const Wanted& wanted) const;
  void judge_groups(const SessionRecord& session, const Message& message) const;
  bool judge_group(const Message& message, const GroupOwed& owed) const;

  Broker& broker_;
  const Policy& policy_;
  Moment moment_ = 0;
  std::deque<Message> messages_;
  std::set<uint32_t> open_;        // sent and not done
  std::set<uint32_t> unresolved_;  // that somebody must still get
  std::set<uint32_t> unresolved_groups_;
  std::vector<std::unique_ptr<SessionRecord>> sessions_;
  std::map<std::string, Kept> retained_;  // by topic
  std::vector<uint32_t> delayed_;         // surely taken, once, and not due yet
  std::set<std::string> unclear_topics_;  // where something is retained at a time that is not known
};

}  // namespace mqttq::fuzz
