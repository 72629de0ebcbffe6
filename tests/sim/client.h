// A client of the simulated world: the protocol from the other side, for all three versions.
//
// What a test calls on it either only sends (begin_…), so that it runs into whatever else is on its way, or sends and
// lets the world come to rest. Everything that arrives is decoded and judged against the protocol: legal for the
// version, acknowledged in order, within this client's Receive Maximum and Maximum Packet Size.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model.h"
#include "old_names.h"

namespace mqttq::sim {

class SimLink;

struct WillSetup {
  std::string topic_name;
  std::string payload;
  Qos qos = Qos::AtLeastOnce;
  bool retain = false;
  uint32_t delay_s = 0;
};

// In 3.x a session without clean_start never expires, and one with it ends with its connection.
struct ConnectSetup {
  bool clean_start = true;
  uint32_t session_expiry_s = 0;
  uint16_t receive_maximum = kReceiveMaximumDefault;
  uint32_t packet_size_max = 0;
  uint16_t keep_alive_s = 0;
  uint16_t topic_alias_maximum = 0;
  std::optional<WillSetup> will = {};
  bool authenticates = false;  // by SimAccess' method; in 3.x never
};

struct Entry {
  std::string topic_filter;
  Qos qos = Qos::AtMostOnce;
  bool no_local = false;
  bool retain_as_published = false;
  codec::RetainHandling retain_handling = codec::RetainHandling::Send;
};

struct PublishSetup {
  std::string topic_name;
  std::string payload;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  uint32_t expiry_s = 0;
  bool user_properties = false;
  bool alias = false;
  uint32_t delay_s = 0;  // by `$delayed`
};

class Client {
 public:
  Client(World& world, std::string client_id, ProtocolVersion version)
      : world_(world), client_id_(std::move(client_id)), version_(version) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // --- one thing, and then the world comes to rest
  Client& connect(const ConnectSetup& setup);  // fails the world unless it is accepted
  Client& subscribe(const std::string& topic_filter, Qos qos, uint32_t identifier = 0);
  Client& subscribe(const std::vector<Entry>& entries, uint32_t identifier = 0);
  Client& unsubscribe(const std::string& topic_filter);
  Client& publish(const std::string& topic_name, const std::string& payload, Qos qos, bool retain = false);
  Client& publish(const PublishSetup& setup);
  Client& until_acknowledged();  // fails the world if something is not
  Client& disconnect(ReasonCode reason = ReasonCode::Success, std::optional<uint32_t> session_expiry_s = {});
  Client& drop();  // the network fails

  // --- only sent, and nothing runs
  void begin_connect(const ConnectSetup& setup);
  void begin_subscribe(const std::vector<Entry>& entries, uint32_t identifier = 0);
  void begin_unsubscribe(const std::vector<std::string>& topic_filters);
  void begin_publish(const PublishSetup& setup);
  void begin_disconnect(ReasonCode reason = ReasonCode::Success, std::optional<uint32_t> session_expiry_s = {});
  void begin_ping();
  void begin_reauthentication();
  // The link breaks: what is in flight to the broker is lost from a random byte on, or arrives whole.
  void break_link(bool lose_some);
  // The link is left as it is, and nobody listens there any more.
  void leave_link();
  // Bytes that are not a packet of ours.
  void send_raw(Bytes bytes);

  // --- in steps of the world
  bool can_act() const noexcept;
  size_t available() const noexcept;  // bytes to read
  // Reads `size` bytes, or sends an acknowledgement that is due.
  void act(size_t size);
  // Nothing is read: the link fills up.
  bool reads = true;
  // Nothing is acknowledged.
  bool acknowledges = true;
  // Refusals are what the test is about.
  bool may_be_refused = false;
  // The queue that it consumes, and how it names it; empty: none. See QueueModel.
  std::string consumes, queue_address;
  uint32_t rejects_in_1000 = 0;  // messages of it, in version 5
  // The stream that it reads, and how it names it; empty: none. See StreamModel.
  std::string stream, stream_address;
  std::string stream_group;  // through which it reads, with others; in version 5
  // Names topics by what they were called once, where the broker rewrites those names: see rewrite_old_names().
  bool uses_old_names = false;

  // --- what came of it
  const std::string& client_id() const noexcept { return client_id_; }
  ProtocolVersion version() const noexcept { return version_; }
  bool idle() const noexcept { return state_ == State::Idle; }
  // False while a CONNECT that had no answer may still be on its way: it could come after the next one, and end that.
  bool may_connect() const noexcept;
  bool is_connected() const noexcept { return state_ == State::Connected; }
  bool session_present() const noexcept { return session_present_; }
  // Payloads of application messages, in order, without repeats at QoS 2; emptied by take_received().
  const std::vector<std::string>& received() const noexcept { return received_; }
  std::vector<std::string> take_received() { return std::exchange(received_, {}); }
  // The same with their topics.
  const std::vector<std::pair<std::string, std::string>>& received_topics() const noexcept { return received_topics_; }
  // Topics and payloads of what came below `$SYS`, which is not among the above.
  const std::vector<std::pair<std::string, std::string>>& said_by_broker() const noexcept { return said_by_broker_; }
  size_t open_publishes() const noexcept { return outgoing_.size(); }
  bool has_requests() const noexcept { return !requests_.empty(); }
  // Another publish above QoS 0 is within the broker's Receive Maximum.
  bool may_publish() const noexcept { return outgoing_.size() < send_quota_; }
  std::optional<ReasonCode> connack_reason() const noexcept { return connack_reason_; }
  std::optional<ReasonCode> disconnect_reason() const noexcept { return disconnect_reason_; }
  // Of PUBACKs and PUBRECs on this connection.
  const std::vector<ReasonCode>& acknowledgements() const noexcept { return acknowledgements_; }
  const ConnectSetup& setup() const noexcept { return setup_; }
  // Does its last session outlive a connection, as far as it knows?
  bool durable() const noexcept { return durable_; }
  SimLink* link() noexcept { return link_; }
  // Neither end has ended its connection.
  bool is_heard() const noexcept;

 private:
  std::string name_of(const std::string& topic) const;
  std::string name_of(const Published& message) const;
  bool is_queue(const std::string& topic_filter) const;
  bool is_stream(const std::string& topic_filter) const;
  bool may_be_rejected(uint16_t packet_id) const;
  enum class State : uint8_t { Idle, Connecting, Connected };
  struct Outgoing {
    enum class State : uint8_t { AwaitPuback, AwaitPubrec, AwaitPubcomp };
    uint16_t packet_id;
    uint32_t message;
    Qos qos;
    State state;
  };
  struct Due {
    codec::PacketType type;
    uint16_t packet_id;
    ReasonCode reason = ReasonCode::Success;
  };

  template <class... Packet>
  void send(const Packet&... packet);
  void send_publish(const Outgoing& outgoing, bool dup, bool alias = false);
  void send_due(std::deque<Due>& queue);
  uint16_t next_packet_id();
  void lose_connection();
  void forget_session();
  void register_will(const ConnectSetup& setup);
  enum class WillFate : uint8_t { Owed, TakenBack, Unknown };
  void settle_will(WillFate fate);

  std::string describe(Bytes packet) const;
  void handle(const codec::Frame& frame, Bytes packet);
  void handle_connack(Bytes packet);
  void handle_publish(Bytes packet);
  void handle_ack(Bytes packet);
  void handle_suback(Bytes packet);
  void handle_disconnect(Bytes packet);
  void handle_auth(Bytes packet);
  void send_auth(ReasonCode reason);
  [[noreturn]] void fail(const std::string& what) const;
  void require(bool condition, const char* what) const {
    if (!condition) fail(what);
  }

  World& world_;
  const std::string client_id_;
  const ProtocolVersion version_;

  // The connection.
  SimLink* link_ = nullptr;
  State state_ = State::Idle;
  ConnectSetup setup_;
  std::vector<std::byte> in_;  // a part of a packet
  bool session_present_ = false;
  bool leaving_ = false;                                   // DISCONNECT was sent
  uint16_t receive_maximum_out_ = kReceiveMaximumDefault;  // the broker's
  size_t send_quota_ = kReceiveMaximumDefault;
  uint16_t alias_max_ = 0;
  std::map<std::string, uint16_t> aliases_;
  std::map<uint16_t, std::string> aliases_in_;  // the broker's
  std::set<uint16_t> open_;  // QoS 1 and 2 messages that came on this connection and are not finished
  std::deque<Due> due_[3];   // PUBACKs; PUBRECs and PUBCOMPs; PUBRELs: each in order, the queues in any
  std::deque<uint16_t> await_puback_, await_pubrec_;  // sent on this connection, in order
  std::optional<ReasonCode> connack_reason_, disconnect_reason_;
  bool authenticating_ = false;  // a conversation is open
  std::vector<ReasonCode> acknowledgements_;
  uint32_t will_ = 0;         // message id
  uint32_t will_before_ = 0;  // of the connection before, taken back with it
  const SimLink* link_before_ = nullptr;
  const SimLink* unanswered_ = nullptr;  // the last whose CONNECT had no answer

  // The session.
  SessionRecord* session_ = nullptr;
  std::deque<Outgoing> outgoing_;
  std::map<uint16_t, std::string> incoming_;  // QoS 2 messages before their PUBREL: identifier and payload
  std::map<uint16_t, codec::PacketType> requests_;
  uint16_t leaves_queue_ = 0;   // the last UNSUBSCRIBE that names its queue
  uint16_t begins_stream_ = 0;  // the last SUBSCRIBE that names its stream
  uint16_t last_packet_id_ = 0;
  bool unsure_ = false;                   // a CONNECT had no answer: whether the broker's session is ours is not known
  bool perhaps_another_session_ = false;  // what was not known when the connection was accepted
  bool forgotten_ = false;                // a clean start was asked for and not answered
  bool durable_ = false;

  std::vector<std::string> received_;
  std::vector<std::pair<std::string, std::string>> received_topics_, said_by_broker_;
};

}  // namespace mqttq::sim
