// One Network Connection and its protocol state: from bytes to packets, and what each packet does.
//
// It ends with the socket; the Session may not. Everything that a peer can do wrong ends in protocol_error(): the
// reason on the wire where the version has one, this one connection closed, a counter and a log line.
#pragma once

#include <memory>

#include "auth/access_control.h"
#include "base/link.h"
#include "base/owned_text.h"
#include "base/slab.h"
#include "base/timer_wheel.h"
#include "codec/codec.h"
#include "message/detail.h"
#include "router/mail.h"
#include "router/stream_place.h"
#include "session/outgoing_aliases.h"
#include "session/output.h"

namespace mqttq {

class Session;
class ShardCore;
class Connection;
struct Authentication;
struct GroupMembership;
struct MovedConnection;
struct OpenPublish;
struct PublishOperation;

// What a listener says of the connections that come through it.
struct ListenerInfo {
  NamespaceId namespace_id = kGlobalNamespace;
  uint32_t packet_size_max = 0;     // 0 = the broker's
  uint32_t connect_timeout_ms = 0;  // 0 = the broker's
};

class Connection final : private Timer {
 public:
  struct Rare;  // what only some connections need

  Connection(ShardCore& shard, Link& link, const ListenerInfo& listener, Instant now) noexcept;
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // --- from the transport
  void on_read(Bytes bytes, Instant now) noexcept;
  void on_writable(Instant now) noexcept;
  void on_peer_closed(bool broken, Instant now) noexcept;

  // --- from the session
  // Room in the outbox for a message that would have to wait in memory?
  bool outbox_full() const noexcept;
  // False: dropped because it is larger than the client takes, or without memory (the connection is then closed).
  // added: PublishEncoder.
  bool send_publish(MovingMessage& message, const codec::PublishView& fields, Instant now, Bytes added = {}) noexcept;
  void send_ack(codec::PacketType type, uint16_t packet_id, Reason reason) noexcept;

  // PUBACK or PUBREC for a publish whose takers have all answered.
  void answer_open_publish(const OpenPublish& done, Instant now) noexcept;
  // None is left that waits.
  void on_all_answered() noexcept;
  // What is written from now on goes out when all that was recorded until now is durable.
  void gate() noexcept;

  // Sends DISCONNECT where the version has it, and closes at the end of the turn.
  void close(const CloseReason& reason, Instant now) noexcept;
  // As close(), for a peer that broke the protocol: counted and logged.
  void protocol_error(const CloseReason& reason, Instant now) noexcept;

  // --- from the shard
  // Tries again what had to wait. True if it still waits.
  bool resume(Instant now) noexcept;
  bool flush(Instant now) noexcept;   // false: the link took only a part
  bool open_gates() noexcept;         // false: nothing waits for what is not durable
  void finish(Instant now) noexcept;  // the last call: session detached, link closed
  void on_access_answer(uint32_t question, const AccessAnswer& answer, Instant now) noexcept;
  void take_over_moved(MovedConnection& moved, Instant now) noexcept;
  // What goes to another shard; this place is then empty, and is given back by the caller. nullptr without memory.
  std::unique_ptr<MovedConnection, Destroy> pack() noexcept;

  ProtocolVersion version() const noexcept { return version_; }
  uint32_t serial() const noexcept { return serial_; }
  NamespaceId namespace_id() const noexcept { return namespace_id_; }
  uint16_t keep_alive_s() const noexcept { return keep_alive_s_; }
  uint16_t client_receive_maximum() const noexcept { return receive_maximum_; }
  bool connected() const noexcept { return state_ == State::Connected; }
  bool closing() const noexcept { return state_ == State::Closing; }
  Session* session() const noexcept { return session_; }
  Link& link() const noexcept { return *link_; }
  SlabHandle handle() const noexcept { return Slab<Connection>::handle(*this); }
  bool has_user_name() const noexcept { return has_user_name_; }
  std::string_view user_name() const noexcept { return user_name_.view(); }
  // What it was accepted with.
  bool clean_start() const noexcept { return clean_start_; }
  bool session_present() const noexcept { return session_present_; }
  Instant connected_at() const noexcept { return connected_at_; }

 private:
  friend class ShardCore;
  enum class State : uint8_t { AwaitConnect, Authenticating, Moved, Connected, Closing };
  // Why nothing more is handled: the packet at the front of tail_ has to wait, or a publish is still held.
  enum class Stall : uint8_t { None, MailboxFull, AccessAnswer, GroupAnswer, OutputFull, Rate, Turn };
  enum class Handled : uint8_t { Yes, Stalled };
  // It goes on when the answer comes and not before: it would ask twice.
  bool waits_for_access() const noexcept { return stall_ == Stall::AccessAnswer; }

  // What is remembered of the client's permissions, by action and topic.
  struct Permission {
    uint64_t key = 0;
    uint32_t question = 0;
    Verdict verdict = Verdict::Pending;
  };

  // Handles whole packets from the front of `bytes`; returns how many bytes that were.
  size_t process(Bytes bytes, Instant now) noexcept;
  // Completes the packet that tail_ holds a part of; returns how many of `bytes` that took.
  size_t fill_tail(Bytes bytes, Instant now) noexcept;
  void process_tail(Instant now) noexcept;
  void keep_tail(Bytes bytes, Instant now) noexcept;
  bool grow_tail(size_t more, size_t packet_size) noexcept;
  Handled handle(const codec::Frame& frame, Bytes packet, Instant now) noexcept;
  Handled handle_connect(Bytes packet, Instant now) noexcept;
  // Asks about CONNECT, or what an AUTH adds to it. `data`: the packet's Authentication Data.
  Handled authenticate(const codec::ConnectView& connect, std::string_view client_id, Bytes data, Instant now) noexcept;
  void on_connect_answer(const AccessAnswer& answer, Instant now) noexcept;
  Handled go_home(uint32_t home) noexcept;
  // Whether the will may be published, and under which topic: asked like any publish, before there is a CONNACK.
  // Stalled: the host is asked.
  Handled judge_will(const codec::ConnectView& connect, std::string_view client_id, std::string_view& topic_name,
                     Instant now) noexcept;
  void retry(Instant now) noexcept;
  void attach_session(const codec::ConnectView& connect, std::string_view client_id, std::string_view will_topic,
                      Instant now) noexcept;
  void accept(const codec::ConnectView& connect, bool session_present, Instant now) noexcept;
  bool prepare_will(const codec::ConnectView& connect, std::string_view topic_name) noexcept;
  void refuse(const CloseReason& reason, Instant now) noexcept;
  void send_refusal(const CloseReason& reason) noexcept;  // CONNACK
  // Success, or why this CONNECT is refused, from the packet and the limits alone.
  Reason judge_connect(const codec::ConnectView& connect, Instant now) noexcept;
  Handled handle_publish(Bytes packet, Instant now) noexcept;
  bool repeated(const codec::PublishView& publish) noexcept;
  OutgoingAliases::Choice choose_alias(std::string_view topic_name) noexcept;
  Reason resolve_alias(codec::PublishView& publish) noexcept;
  // delay_ns: set where there is one.
  Reason settle_topic(std::string_view& topic_name, int64_t& delay_ns, Instant now) noexcept;
  Reason rewrite_topic(std::string_view client_id, std::string_view& topic_name) noexcept;
  Reason judge_publish(const codec::PublishView& publish, Instant now) noexcept;
  // The properties to forward; false when the allocator refuses.
  bool forwardable_properties(const codec::PublishView& publish, Bytes& out) noexcept;
  void refuse_intruder(const codec::PublishView& publish, Instant now) noexcept;
  void acknowledge(Qos qos, uint16_t packet_id, Reason reason, uint8_t takers, Instant now) noexcept;
  Handled handle_ack(Bytes packet, Instant now) noexcept;
  Handled handle_subscribe(Bytes packet, Instant now) noexcept;
  Handled handle_unsubscribe(Bytes packet, Instant now) noexcept;
  Handled handle_disconnect(Bytes packet, Instant now) noexcept;
  Handled handle_auth(Bytes packet, Instant now) noexcept;
  ReasonCode judge_auth(const codec::Decoded<codec::AuthView>& auth) const noexcept;
  // Enhanced authentication by the method that CONNECT names. False without memory.
  bool begin_authentication(const codec::ConnectView& connect, std::string_view client_id) noexcept;
  void continue_connecting(const AccessAnswer& answer, Instant now) noexcept;
  void handle_kept_connect(Instant now) noexcept;
  void reauthenticate(Bytes data, Instant now) noexcept;
  void on_reauthentication_answer(const AccessAnswer& answer, Instant now) noexcept;
  void send_auth(ReasonCode reason, Bytes data) noexcept;
  // It is this user's from now on; an empty name changes nothing. False without memory.
  bool set_user_name(std::string_view user_name) noexcept { return user_name.empty() || user_name_.set(user_name); }
  // What a SUBSCRIBE says of all of its subscriptions.
  struct SubscribeTerms {
    uint32_t identifier = 0;
    int8_t priority = 0;  // of a queue's consumer
    StreamTerms stream;   // of its reader
    bool has_offset = false;
    bool priority_understood = true, offset_understood = true, cursor_understood = true;
  };
  static SubscribeTerms read_terms(const codec::SubscribeView& subscribe) noexcept;
  static Reason understood(std::string_view topic_filter, const SubscribeTerms& terms) noexcept;
  static bool says_offset(std::string_view topic_filter, const SubscribeTerms& terms) noexcept;
  static StreamTerms stream_terms(std::string_view topic_filter, const SubscribeTerms& terms) noexcept;
  // What has to be read in another way begins again. seeks: set if its cursor is to go elsewhere.
  void end_other_reading(std::string_view topic_filter, const SubscribeTerms& terms, bool& seeks) noexcept;
  bool may_declare(std::string_view topic_filter) const noexcept;
  // The QoS that is granted, or why none is.
  Reason subscribe_one(codec::SubscribeEntry entry, const SubscribeTerms& terms) noexcept;
  Reason enter_subscription(const codec::SubscribeEntry& entry, const SubscribeTerms& terms) noexcept;
  // refusal: why nothing new may be recorded, if it may not.
  Reason enter_membership(const codec::SubscribeEntry& entry, const SubscribeTerms& terms,
                          const Reason& refusal) noexcept;
  Reason rewrite_filter(std::string_view& topic_filter) noexcept;
  Reason judge_filter(const codec::SubscribeEntry& entry) noexcept;
  // Its membership, which may have to be waited for; nullptr: over the limits, or without memory.
  GroupMembership* join(const codec::SubscribeEntry& entry, const SubscribeTerms& terms, bool declare,
                        bool seeks = false) noexcept;
  void auto_subscribe(Instant now) noexcept;
  bool end_subscription(std::string_view topic_filter) noexcept;
  void hold(MovingMessage& message, const PublishOperation& operation, Instant now) noexcept;
  bool holds_publish() const noexcept;
  // Goes on with the publish that is held. False: some still have no room.
  bool hand_over_held(Instant now) noexcept;
  // What has to be known before any entry takes effect: permissions, and the answers of groups' homes.
  Stall prepare_subscribe(codec::SubscribeEntry entry, const SubscribeTerms& terms) noexcept;
  Verdict authorize_filter(std::string_view topic_filter, Qos qos) noexcept;
  Subscription options_of(const codec::SubscribeEntry& entry, const SubscribeTerms& terms) const noexcept;
  // Pending: the host was asked and the packet is to wait.
  Verdict authorize(Action action, std::string_view client_id, std::string_view topic, Qos qos, bool retain) noexcept;
  Handled stall(Stall why, Instant now) noexcept;
  // False: over the rate; the connection is then stalled until it may go on.
  bool take_rate_tokens(const codec::Frame& frame, Instant now) noexcept;

  // One packet through the codec: counted, room taken, written.
  template <class... Packet>
  void send(const Packet&... packet) noexcept;
  // For the client's Maximum Packet Size.
  template <class Packet>
  bool too_large(const Packet& packet) const noexcept;
  // One that says why in words: only to who asks for them, and only as far as they fit.
  template <class Packet>
  void send_reason(Packet packet) noexcept;
  std::byte* output_bytes(size_t size) noexcept;
  // False: the link took only a part of what may go out.
  bool write_out() noexcept;
  // DISCONNECT 0x95 if that is not too large itself.
  void say_too_large() noexcept;

  void arm_keep_alive(Instant now) noexcept;
  static void on_timer(Timer& timer, Instant now) noexcept;

  int64_t connect_timeout_ns() const noexcept { return int64_t{connect_timeout_ms_} * kMillisecond; }

  ShardCore& shard_;
  Link* link_;
  Session* session_ = nullptr;
  Output* output_ = nullptr;
  struct Alias;
  Rare* rare_ = nullptr;  // owned; made with the first of it
  OwnedText user_name_;
  Array<std::byte> tail_;  // from tail_start_ on: read, not handled: a part of a packet, or what waits behind one
  uint32_t tail_start_ = 0;
  uint32_t packet_size_max_;     // bytes that a packet of the client's may have
  uint32_t connect_timeout_ms_;  // of its listener
  NamespaceId namespace_id_;
  uint32_t packet_size_out_ = 0;  // the client's Maximum Packet Size, 0 = none
  uint32_t serial_ = 0;
  uint32_t next_question_ = 1;
  uint16_t keep_alive_s_ = 0;
  uint16_t receive_maximum_ = kReceiveMaximumDefault;  // the client's
  uint16_t aliases_out_max_ = 0;                       // 0: the client takes none, or we give none
  State state_ = State::AwaitConnect;
  Stall stall_ = Stall::None;
  ProtocolVersion version_ = ProtocolVersion::V5;
  ReasonCode close_reason_ = ReasonCode::Success;
  bool peer_finished_ : 1 = false;  // it sends nothing more, and is still to be answered
  bool reading_paused_ : 1 = false;
  bool ends_refused_ : 1 =
      false;  // of 3.x: a publish was refused, none is taken or answered any more, and it ends soon
  bool peer_gone_ : 1 = false;
  bool publish_will_ : 1 = true;  // no DISCONNECT took it back
  bool assigned_client_id_ : 1 = false;
  bool authenticated_ : 1 = false;
  bool link_full_ : 1 = false;
  bool has_user_name_ : 1 = false;
  bool clean_start_ : 1 = false;
  bool session_present_ : 1 = false;
  bool problem_information_ : 1 = true;  // the client wants to be told why, in words (MQTT5 3.1.2.11.7)

 public:
  bool dirty : 1 = false;     // stands in the shard's list of connections with output
  bool to_close : 1 = false;  // stands in the shard's list of connections to be ended
  bool stalled : 1 = false;   // stands in the shard's list of connections that wait
  bool gated : 1 = false;     // stands in the shard's list of connections whose output waits for the store

 private:
  Instant last_packet_{};
  Instant connected_at_{};  // until it is accepted: when its CONNECT is due

  Rare* rare() noexcept;                            // nullptr when the allocator refuses
  Authentication* authentication() const noexcept;  // nullptr without a method in CONNECT
  struct Slow;
  Slow* slow() noexcept;  // as rare()
};
static_assert(sizeof(Connection) <= 144);

// A connection on its way to the shard of its session: everything but the place it lived in.
struct MovedConnection final : MailPayload {
  ~MovedConnection() override;
  Link* link = nullptr;  // closed if it never arrives
  ListenerInfo listener;
  Instant connect_due{};
  Array<std::byte> bytes;  // from bytes_start on: the CONNECT packet, and what was read behind it
  uint32_t bytes_start = 0;
  OwnedText user_name;               // who it is, if the access control said so
  Connection::Rare* rare = nullptr;  // owned
};

}  // namespace mqttq
