// A client of the session fuzzer: the protocol from the other side, for all three versions, one step at a time.
//
// What arrives is decoded and judged: legal for the version, within Receive Maximum, Maximum Packet Size and Topic
// Alias Maximum, an answer to something that was asked, in order. What it means is reported to the model.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model.h"

namespace mqttq::fuzz {

inline constexpr uint16_t kNobodysId = 60'000;  // the broker counts from 1 and does not come so far

// The first bytes, for the trace.
std::string hex_of(Bytes bytes);

struct ConnectSetup {
  ProtocolVersion version = ProtocolVersion::V5;
  bool clean_start = true;
  uint32_t session_expiry_s = 0;  // version 5; in 3.x it follows from clean_start
  uint16_t receive_maximum = kReceiveMaximumDefault;
  uint32_t packet_size_max = 0;
  uint16_t alias_max = 0;
  uint16_t keep_alive_s = 0;
  bool has_will = false;
  Qos will_qos = Qos::AtMostOnce;
  bool will_retain = false;
  uint32_t will_delay_s = 0;
};

struct PublishSetup {
  std::string topic_name;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  bool empty = false;
  uint32_t padding = 0;  // bytes of payload, about
  std::optional<uint32_t> expiry_s = {};
  bool properties = false;
  bool alias = false;
  uint32_t delay_s = 0;  // by `$delayed`
};

class Client {
 public:
  // uses_old_names: it calls "old/a" what the broker is to take for "a".
  Client(Broker& broker, Model& model, std::string client_id, bool uses_old_names)
      : broker_(broker), model_(model), client_id_(std::move(client_id)), uses_old_names_(uses_old_names) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // --- what the program has it do; nothing where it cannot
  void connect(const ConnectSetup& setup, uint32_t shard);
  void subscribe(std::vector<Wanted> entries, uint32_t identifier);
  void unsubscribe(const std::vector<std::string>& texts);
  void publish(const PublishSetup& setup);
  void repeat_publish(uint32_t which);
  // Another message under the identifier of one that is open: it is never taken.
  void publish_in_use(uint32_t which, Qos qos, bool dup);
  void acknowledge(uint32_t which, bool refuse);
  void acknowledge_wrongly(uint32_t kind);
  void ping();
  void disconnect(ReasonCode reason, std::optional<uint32_t> session_expiry_s);
  void drop(bool reset);
  // Shuts its own side, and reads on.
  void shut();
  void send_malformed(uint32_t kind);
  void set_automatic(bool on);
  void split_next(uint32_t at) { half_ = at + 1; }
  void set_chunk(uint32_t size) { chunk_ = size; }
  void set_room(size_t room);
  void send_held();

  // --- between steps
  bool read();  // true if anything came
  bool half_sent() const noexcept { return half_ || !held_.empty(); }
  bool idle() const noexcept { return state_ == State::Idle; }
  bool active() const noexcept { return state_ == State::Connected && !expect_close_; }
  bool was_here() const noexcept { return was_here_; }
  bool session_kept() const noexcept { return record_ && !record_->over && record_->durable; }
  ProtocolVersion version() const noexcept { return setup_.version; }
  uint32_t session_expiry_s() const noexcept { return expiry_s_; }
  // Time has passed: a session that is kept may have ended with it.
  void on_time();
  // The broker is at rest and the log not held: all that has to be answered is.
  void judge_rest();
  // What holds while the log is held too.
  void judge_time();

 private:
  static constexpr int64_t kAnswersMax = 2 * kSecond;  // for which a peer that sends nothing more is answered

  enum class State : uint8_t { Idle, Connecting, Connected };
  struct Outgoing {
    enum class State : uint8_t { AwaitPuback, AwaitPubrec, Received, AwaitPubcomp };
    uint16_t packet_id;
    uint32_t message;
    State state;
  };
  // A PUBACK or PUBREC that is to come, of a publish ...
  struct Awaited {
    enum class Kind : uint8_t {
      Taken,
      Perhaps,  // that repeats one which may have been open: then it is not taken; in 3.x it has no answer then
      InUse,    // whose identifier is surely open: 0x91
    };
    uint16_t packet_id;
    uint32_t message;
    Kind kind = Kind::Taken;
  };
  struct Incoming {
    uint16_t packet_id;
    std::string payload;
    Qos qos;
    bool answered = false;  // PUBACK, PUBCOMP or a refusing PUBREC was sent, and is perhaps not read yet
    bool received = false;  // PUBREC was sent
    bool again = false;     // may be sent again on this connection
    bool owed = false;      // and has to be
    bool lost = false;      // perhaps, while it was away: at QoS 1 to its group, or it was too large
  };
  struct Due {
    codec::PacketType type;
    uint16_t packet_id;
  };
  struct Request {
    std::vector<Wanted> entries;               // of a SUBSCRIBE
    std::vector<std::string> texts;            // of an UNSUBSCRIBE
    std::vector<std::optional<bool>> existed;  // what is known of them
    Moment asked = 0;
  };
  struct OldLink {
    FuzzLink* link;
    ProtocolVersion version;
    std::vector<std::byte> in;
  };

  template <class... Packet>
  void send(const Packet&... packet);
  void send_bytes(Bytes bytes);
  void send_ack(codec::PacketType type, uint16_t packet_id, ReasonCode reason = ReasonCode::Success);
  void send_publish(const Outgoing& outgoing, bool dup, bool alias = false, Awaited::Kind kind = Awaited::Kind::Taken);
  void send_publish(const Message& message, uint16_t packet_id, bool dup, bool alias);
  void await_pubrec(const Outgoing& outgoing, bool again);
  void send_due(Due due, bool refuse);
  uint16_t next_packet_id() const;
  bool may_publish() const;
  // The broker has read all that was sent, and reads what is sent now before anything else happens.
  bool read_at_once() const;
  static bool awaits(const std::deque<Awaited>& queue, uint16_t packet_id);
  std::optional<bool> session_expected() const;
  std::string name_of(const std::string& topic) const;
  void lose_connection();
  void end_will(bool comes);
  Incoming* find_incoming(uint16_t packet_id);
  bool window_full() const;

  void handle(const codec::Frame& frame, Bytes packet);
  void handle_connack(Bytes packet);
  void handle_publish(Bytes packet);
  bool is_repeat(const codec::PublishView& publish);
  void handle_ack(Bytes packet);
  // True if it is an answer to a publish that was not taken.
  bool take_awaited(const codec::AckView& ack);
  void handle_suback(Bytes packet);
  void on_broker_closed();
  bool answers_fit() const;
  void judge_shut() const;
  bool none_taken(const std::deque<Awaited>& queue) const;
  void read_old_links();
  [[noreturn]] void fail(const std::string& what) const { fuzz::fail(client_id_ + " " + what); }
  void check(bool holds, const char* what) const {
    if (!holds) fail(what);
  }

  Broker& broker_;
  Model& model_;
  const std::string client_id_;
  const bool uses_old_names_;

  // The connection.
  State state_ = State::Idle;
  ConnectSetup setup_;
  FuzzLink* link_ = nullptr;
  std::vector<OldLink> old_links_;  // left for another connection, and not closed yet
  std::vector<std::byte> in_, held_;
  std::vector<std::byte> part_;  // of a packet that was sent in part
  uint32_t half_ = 0, chunk_ = 0;
  bool automatic_ = true;
  bool expect_close_ = false;
  bool shut_ = false;  // its own side: it only reads
  bool resumed_ = false;
  bool was_full_ = false;  // its link took only a part, and something of that may come late
  Instant last_sent_{};    // a whole packet
  Instant shut_at_{};
  Instant room_since_{};  // while its link was full the broker may not have read, and did not count that against it
  std::optional<ReasonCode> disconnect_reason_;
  std::optional<bool> expected_present_;
  uint32_t will_ = 0;
  uint16_t alias_max_out_ = 0;
  std::map<std::string, uint16_t> aliases_out_;
  std::map<uint16_t, std::string> aliases_in_;
  std::set<uint16_t> open_;  // QoS 1 and 2 that came on this connection and are not finished
  std::deque<Awaited> await_puback_, await_pubrec_;
  std::deque<uint16_t> await_pubcomp_, await_not_found_;
  std::deque<uint16_t> await_again_,
      perhaps_again_;  // PUBRECs for repeats, and for what is refused each time: in any order
  std::map<uint16_t, Request> subscribes_, unsubscribes_;
  uint32_t pings_ = 0;
  std::vector<Due> due_;
  size_t last_again_ = 0;  // place in incoming_ of the last that was sent again, and 1

  // The session.
  SessionRecord* record_ = nullptr;
  uint32_t expiry_s_ = 0;
  Instant lost_at_{};
  bool unsure_ = false;  // a CONNECT had no answer: what the broker has is not known
  bool was_here_ = false;
  std::deque<Outgoing> outgoing_;
  std::vector<Incoming> incoming_;  // in the order in which they came first
};

}  // namespace mqttq::fuzz
