// What must be true of every run, told independently of how the broker does it.
//
// Clients report what they sent and what they got; the model knows who must have got what, who must not, in which order
// and how often, and fails the world at the first breach. It is careful where a client cannot know: a packet that was
// on its way when a connection broke may or may not have been taken, and then either outcome is right.
//
// Time is the number of reports so far: two things in the order of their reports happened in that order for the client.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "codec/codec.h"
#include "session/auto_subscription.h"

namespace mqttq::sim {

class World;

// A point between reports; 0 is never.
using Moment = uint64_t;

// One Application Message, from its publisher's view. Payloads are unique, so that it is known again.
struct Published {
  uint32_t id = 0;        // counts up, so that of two messages of one publisher the later has the greater
  std::string publisher;  // client id
  uint32_t publisher_session = 0;
  std::string topic_name;
  std::string payload;  // empty: clears what is retained
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  bool will = false;
  uint32_t expiry_s = 0;              // 0 = none
  uint32_t delay_s = 0;               // published to $delayed; 0 = not
  std::vector<std::byte> properties;  // to be forwarded, as on the wire
  Moment first_sent = 0, last_sent = 0, acknowledged = 0;
  uint32_t sent_count = 0;
  Instant sent_at{};        // first
  bool refused = false;     // by a reason code
  bool owed = false;        // of a will: must come
  bool forbidden = false;   // of a will: must not come
  bool repeatable = false;  // sent again where the broker may not know it any more: even QoS 2 may come twice
};

// One subscription as the client asked for it. Asking again for the same filter ends this one and begins another.
struct Subscribed {
  std::string topic_filter;  // without "$share/group/"
  std::string group;         // empty: not shared
  Qos qos = Qos::AtMostOnce;
  bool no_local = false;
  bool retain_as_published = false;
  codec::RetainHandling retain_handling = codec::RetainHandling::Send;
  bool existed = false;  // there was one of this filter when it was asked for
  uint32_t identifier = 0;
  uint16_t packet_id = 0;
  uint32_t connection = 0;      // of the session, at which it was asked for
  uint32_t end_connection = 0;  // at which it was last asked to end
  Moment asked = 0, granted = 0, end_asked = 0, ended = 0;
  bool sure = true;  // false: perhaps it is not there
};

// What one session got of one message.
struct Copies {
  uint32_t live = 0;       // not counting repeats with DUP
  uint32_t live_qos0 = 0;  // of these
  uint32_t qos2 = 0;       // at QoS 2, each exchange once
  uint32_t repeats = 0;
  uint32_t retained = 0;  // from the retained store
  uint32_t either = 0;    // RETAIN set where a subscription asks to have it as published
  Moment first_live = 0;
};

// A session as its client sees it: from a CONNACK without Session Present to the next.
struct SessionRecord {
  uint32_t number = 0;
  std::string client_id;
  ProtocolVersion version = ProtocolVersion::V5;
  std::vector<Subscribed> subscriptions;
  std::unordered_map<uint32_t, Copies> got;  // by message id
  // By publisher, topic, delay, QoS sent and granted.
  std::map<std::tuple<std::string, std::string, uint32_t, Qos, Qos>, uint32_t> newest;
  std::map<std::string, uint32_t> newest_live;  // by topic: message id
  uint32_t packet_size_least = UINT32_MAX;      // Maximum Packet Size, the least so far
  uint32_t connections = 0;
  bool doubtful = false;  // its client once forgot it, and then the broker had it still
  bool connected = false;
  bool present_at_end = false;
};

class Model {
 public:
  explicit Model(World& world) : world_(world) {}

  // --- reports of publishers
  Published& publish(Published message);
  Published& message(uint32_t id) { return messages_.at(id - 1); }
  const std::deque<Published>& messages() const noexcept { return messages_; }
  // By its payload; nullptr: nobody published it.
  const Published* find(Bytes payload) const;
  void sent(uint32_t id);
  void acknowledged(uint32_t id, ReasonCode reason);

  // --- reports of subscribers
  // The client's session from here on. sure: the client knows that `present` speaks of the session it knows.
  SessionRecord& connected(const std::string& client_id, ProtocolVersion version, bool present, bool sure,
                           uint32_t packet_size_max);
  SessionRecord* session(const std::string& client_id);
  void disconnected(const std::string& client_id);
  void asked(SessionRecord& session, const Subscribed& subscription);
  void answered(SessionRecord& session, uint16_t packet_id, Bytes reason_codes);
  void ending(SessionRecord& session, const std::string& shared_or_plain_filter, uint16_t packet_id);
  void received(SessionRecord& session, const codec::PublishView& publish);

  // The run is over and at rest: everybody who could come back did, and took all there was.
  void judge();
  // What `publish` of a fresh subscriber to everything was told is retained.
  void judge_retained(const std::vector<std::pair<std::string, std::string>>& found);

  // The log failed, or a bound was small: then somebody may go without, and order is not kept across a failure.
  bool may_lose = false;
  // Subscriptions and publishes may be answered with an error: memory is refused, or a bound is small.
  bool may_refuse = false;
  bool may_reorder = false;

 private:
  Moment tick() noexcept { return ++moment_; }
  [[noreturn]] void fail(const SessionRecord& session, const Published& message, const std::string& what) const;
  void subscribed_by_itself(SessionRecord& session, const AutoSubscription& automatic);
  void judge_live(SessionRecord& session, const Published& message, const codec::PublishView& publish, Copies& copies);
  void judge_from_store(SessionRecord& session, const Published& message, const codec::PublishView& publish);
  // Subscriptions that stood untouched since before `message` was sent; false if there were others that may count.
  bool steady(const SessionRecord& session, const Published& message, std::vector<const Subscribed*>& matching) const;
  bool may_repeat(const Published& message) const;
  bool is_taken(const Published& message) const;
  bool is_expired(const Published& message) const;
  bool must_have(const SessionRecord& session, const Published& message) const;
  bool excused(const SessionRecord& session, const Published& message) const;
  void judge_groups();
  std::vector<const Published*> retained_candidates(const std::string& topic_name) const;

  World& world_;
  Moment moment_ = 0;
  std::deque<Published> messages_;
  std::unordered_map<std::string, uint32_t> by_payload_;
  std::deque<SessionRecord> sessions_;     // clients keep references
  std::map<std::string, size_t> current_;  // by client id: index of the session
  std::vector<Moment> losses_;             // of connections, of any client, in order
};

std::string to_string(const Published& message);

}  // namespace mqttq::sim
