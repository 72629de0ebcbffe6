// The middle of one shard: its connections, sessions, lists and timers, without any I/O.
//
// Bytes, mail, answers and the time come in as arguments; bytes go out through Links and mail through the Postman. So
// the same code runs on sockets and in the simulation. Everything here is touched by one thread.
#pragma once

#include "auth/access_control.h"
#include "base/link.h"
#include "base/log.h"
#include "base/random.h"
#include "journal/age_marks.h"
#include "message/detail.h"
#include "message/topic.h"
#include "queue/queue.h"
#include "router/fan_out.h"
#include "router/mail.h"
#include "router/retained_store.h"
#include "router/route_cache.h"
#include "router/shared_group.h"
#include "session/connection.h"
#include "session/counters.h"
#include "session/delayed_messages.h"
#include "session/limits.h"
#include "session/output.h"
#include "session/policy.h"
#include "session/session.h"
#include "session/session_observer.h"
#include "session/state_recorder.h"
#include "session/sys_publisher.h"
#include "stream/stream_cursor.h"

namespace mqttq {

// What the middle asks of whoever owns the links.
class Network {
 public:
  // The link leaves this shard for `to`: nothing of it is watched here from now on.
  virtual void detach(Link& link, uint32_t to) noexcept = 0;
  // A link comes from another shard, and its bytes go to `connection`. False when it cannot be watched.
  virtual bool adopt(Link& link, Connection& connection) noexcept = 0;

 protected:
  ~Network() = default;
};

// How many there are on all shards together, and what each says of itself.
struct Population {
  std::atomic<uint32_t> connections{0}, sessions{0}, queues{0}, streams{0};
  std::atomic<uint32_t> clients{0}, clients_max{0};  // connected, and the most that ever were
  DelayedTotals delayed;
  // The broker stops: nobody is there when a dead letter is answered, and what dies waits for the next start.
  std::atomic<bool> ending{false};

  void client_came() noexcept {
    const uint32_t now = clients.fetch_add(1, std::memory_order_relaxed) + 1;
    uint32_t most = clients_max.load(std::memory_order_relaxed);
    while (most < now && !clients_max.compare_exchange_weak(most, now, std::memory_order_relaxed)) {}
  }
  void client_went() noexcept { clients.fetch_sub(1, std::memory_order_relaxed); }

  // By shard, entered before they run; null where there is none.
  std::array<const ShardFigures*, Router::kShardCountMax> figures{};
};

// What all shards of a broker share. Borrowed by each; outlives them.
struct ShardWorld {
  const Limits& limits;
  const Policy& policy;
  Router& router;
  PostOffice& office;
  Population& population;
  LogSink* log = nullptr;               // may be null
  AccessControl* access = nullptr;      // null: everybody may do everything but publish to `$SYS`
  SessionObserver* observer = nullptr;  // null: nobody listens
  Network* network = nullptr;           // this shard's
  StateSetup state;                     // nothing is kept unless it says where
  MessageFetcher* fetcher = nullptr;    // of what is kept
};

// A publish on its way to its takers. What could not be handed over yet is left in it: publish() again.
struct PublishOperation {
  PublishOrigin origin;      // not wanted(): nobody waits for an answer
  uint64_t shards_open = 0;  // still to be told, once it is routed
  uint32_t delivered = 0;    // to how many; to a journal as to one
  bool started = false;
  bool routed = false;
  RouteRef route;             // while it waits, once it is routed: whoever takes it does so by this one
  bool retain_open = false;   // still to be handed to the retained store
  bool retain_waits = false;  // for the retained store's answer, before anything else
  bool propose_open = false;  // still to be handed to the committer
  uint64_t receipt = 0;       // the second half of its key, while it is to be recorded
  uint8_t takers = 0;         // that will answer later
  bool retained = false;
  Reason reason;

  // For the publisher, once it is handed over.
  Reason outcome() const noexcept {
    return reason.ok() && delivered == 0 && !retained ? Reason(ReasonCode::NoMatchingSubscribers) : reason;
  }
};

class ShardCore final : private GroupCourier,
                        private QueueCourier,
                        private StreamCourier,
                        private CursorCourier,
                        private DelayedMessages::Taker {
 public:
  // Throws std::bad_alloc. index: 0 .. shard_count-1. seed: a secret, from which assigned client ids are made.
  ShardCore(const ShardWorld& world, uint32_t index, uint64_t seed, Instant now);
  ~ShardCore();
  ShardCore(const ShardCore&) = delete;
  ShardCore& operator=(const ShardCore&) = delete;

  // --- from the transport
  // A new Network Connection. nullptr at connections_max or without memory: the caller closes the link.
  Connection* open(Link& link, const ListenerInfo& listener, Instant now) noexcept;
  void on_read(Connection& connection, Bytes bytes, Instant now) noexcept { connection.on_read(bytes, now); }
  void on_writable(Connection& connection, Instant now) noexcept { connection.on_writable(now); }
  // The peer sends nothing more or, `broken`, is gone. The link is closed by the core.
  void on_closed(Connection& connection, bool broken, Instant now) noexcept { connection.on_peer_closed(broken, now); }

  // What the peer sent is not what its transport may carry. The link is closed by the core.
  void on_violation(Connection& connection, const CloseReason& reason, Instant now) noexcept {
    connection.protocol_error(reason, now);
  }

  // --- before it runs
  void set_access(AccessControl* access) noexcept { world_.access = access; }
  void set_observer(SessionObserver* observer) noexcept {
    world_.observer = observer;
    wants_messages_ = observer && observer->wants_messages();
  }

  // --- from the host, on this shard's thread
  void on_access_answer(const AccessTicket& ticket, const AccessAnswer& answer, Instant now) noexcept;
  // Ends a client's connection, and its session when `end_session`. False if there is no such session here.
  bool disconnect(NamespaceId namespace_id, std::string_view client_id, const CloseReason& reason, bool end_session,
                  Instant now) noexcept;
  // A subscriber of the host's had no room.
  void count_host_drop() noexcept {
    counters_.messages_dropped.add();
    counters_.dropped_outbox_full.add();
  }
  // A message of the host's or the broker's own. Waits by itself where there is no room. False without memory.
  // finished: nullable; counted down when all takers have it.
  bool publish_from_inside(const MessageRef& message, Instant now, std::atomic<uint32_t>* finished = nullptr) noexcept;
  // The same to one queue alone. False without memory.
  // Who is told, once, whether the queue has it; may be nobody.
  struct LetterWait {
    void* user = nullptr;
    void (*done)(void* user, bool taken) noexcept = nullptr;
  };
  // A message that waits in the queue `from` goes to another one, and leaves it when that has it; it stays if that does
  // without it, for whatever reason. False: it does not go, and nobody is told.
  bool move_to_queue(Queue& from, uint64_t number, const MessageRef& copy, const RouteRef& to, const LetterWait& wait,
                     Instant now) noexcept;
  // Appends to this stream alone, with the time that the message has, if any, as far as that is not before the last
  // one's or in the future. False: it is not sent, and nobody is told.
  bool import_into(Stream& stream, const MessageRef& message, const LetterWait& wait, Instant now) noexcept;
  // Adds what this shard retains under a filter. False when memory is refused.
  [[nodiscard]] bool collect_retained(NamespaceId namespace_id, std::string_view topic_filter, Instant now,
                                      Ring<MessageRef>& out) noexcept {
    return retained_.collect(namespace_id, topic_filter, now, out);
  }
  // Publishes it when its time has come: it is then one from inside. client_id: who it is from; empty: the host.
  Reason delay(MovingMessage& message, std::string_view client_id, Instant due) noexcept;
  // One of the host's, which was told that there is room: counted where there is none after all.
  void delay_from_inside(const MessageRef& message, Instant due) noexcept;
  DelayedMessages& delayed() noexcept { return delayed_; }
  // A message below `$SYS`: its end comes to SysPublisher::on_handed_over(). False without memory.
  bool publish_of_broker(const MessageRef& message, Instant now) noexcept;
  // The broker stops: connections are told 0x8B and closed.
  void close_all(ReasonCode reason, Instant now) noexcept;
  // Ends what is left without a word: close_all() said it, or there was no time. First connections: what they published
  // may still be on its way to sessions.
  void abandon_connections() noexcept;
  void abandon() noexcept;
  bool has_connections() const noexcept { return connections_.count() > 0; }
  // Some messages have still to be handed to who takes them, or dead letters to be acknowledged.
  bool publishes() const noexcept { return !inside_.empty() || letters_.count() > 0; }

  // --- the turn
  // Mail, timers, what had to wait, and then everything gathered is written. Called after the events of a turn.
  // Returns true if there is more to do without an event.
  bool turn(Instant now) noexcept;
  // How long turn() is not needed without an event, at most.
  int64_t idle_ns(Instant now) noexcept { return timers_.idle_ns(now); }

  // --- for the parts of the middle
  const Limits& limits() const noexcept { return world_.limits; }
  bool has_rates() const noexcept { return (world_.limits.message_rate | world_.limits.byte_rate) != 0; }
  uint32_t index() const noexcept { return index_; }
  // Of the turn.
  Instant now() const noexcept { return now_; }
  ShardFigures& figures() noexcept { return figures_; }
  Counters& counters() noexcept { return counters_; }
  Population& population() noexcept { return world_.population; }
  void note_inflight(int64_t more) noexcept { inflight_ += static_cast<uint64_t>(more); }
  // Counts a message that a receiver does not get; `why` is one of the dropped_… counters. session: nullable.
  void dropped(Counter Counters::* why, const Session* session, const MessageView& message) noexcept;
  TimerWheel& timers() noexcept { return timers_; }
  OutputPool& outputs() noexcept { return outputs_; }
  FanOut& fan_out() noexcept { return fan_out_; }
  RouteCache& routes() noexcept { return routes_; }
  Router& router() noexcept { return world_.router; }
  Postman& postman() noexcept { return postman_; }
  AccessControl* access() noexcept { return world_.access; }
  SessionObserver* observer() noexcept { return world_.observer; }
  // The observer if it wants to hear of every message, else nullptr.
  SessionObserver* message_observer() noexcept { return wants_messages_ ? world_.observer : nullptr; }
  Network& network() noexcept { return *world_.network; }
  const Policy& policy() const noexcept { return world_.policy; }
  SharedGroups& groups() noexcept { return groups_; }
  Queues& queues() noexcept { return queues_; }
  Streams& streams() noexcept { return streams_; }
  StreamCursors& cursors() noexcept { return cursors_; }
  GroupMemberships& memberships() noexcept { return memberships_; }
  Slab<Connection>& connections() noexcept { return connections_; }
  Slab<Session>& sessions() noexcept { return sessions_; }
  // Scratch for one packet's worth of bytes, valid until the next call; nullptr when the allocator refuses.
  std::byte* scratch(size_t size) noexcept;

  // What goes with a stream's message to this client, valid until the next call. Without memory nothing does.
  // through: nullable.
  Bytes stream_properties(const Connection& connection, const StreamAt& at, const MessageView& message,
                          const GroupMembership* through) noexcept;
  // Text for one rewritten topic, valid until it is used again.
  Array<char>& rewritten() noexcept { return rewritten_; }

  uint32_t home_of(NamespaceId namespace_id, std::string_view client_id) const noexcept;
  uint32_t retained_home_of(NamespaceId namespace_id, std::string_view topic_name) const noexcept;
  // Of a shared filter, or a queue's or stream's name.
  uint32_t group_home_of(NamespaceId namespace_id, std::string_view name) const noexcept;
  // Some numbered message may be on its way here.
  bool awaits_committer() noexcept { return !world_.office.box(world_.office.committer(), index_).empty(); }
  // Of a group, queue or stream whose home is here.
  GroupJoined join_here(const GroupJoin& join, uint32_t shard, SlabHandle membership, MemberState state) noexcept;
  // A queue whose home is here; its identity gets an id. Errors: NoMemory, Full (QueuePolicy::count_max), Exists.
  Status declare_queue(QueueIdentity identity, const QueueOptions& options, std::string_view dead_letter_topic,
                       Queue*& queue) noexcept;
  // The same of a stream (StreamPolicy::count_max).
  Status declare_stream(StreamIdentity identity, const StreamOptions& options, Stream*& stream) noexcept;
  Session* find_session(NamespaceId namespace_id, std::string_view client_id) noexcept;
  // A new session without a connection; nullptr at sessions_max or without memory.
  Session* make_session(NamespaceId namespace_id, std::string_view client_id) noexcept;
  // The session's state is discarded. Not inside deliver().
  void end_session(Session& session, Instant now) noexcept;
  // A Will Message is due.
  void publish_will(Will will, Instant now) noexcept;
  // A client has been accepted; its connection has ended. lost: without a word from either side.
  void tell_connected(const Connection& connection, Instant now) noexcept;
  void tell_disconnected(const Connection& connection, const Session& session, ReasonCode reason, bool lost,
                         Instant now) noexcept;
  // Its session is another connection's now.
  void release_connection(Connection& connection, const CloseReason& reason, Instant now) noexcept;
  uint32_t next_connection_serial() noexcept { return ++connection_serial_; }
  uint32_t next_subscription_serial() noexcept { return ++subscription_serial_; }
  // An identifier of ours whose home is this shard: "auto-" and 20 letters and digits. The same for each call for one
  // connection, so that the host is asked about the one that it will have. Returns its size.
  uint32_t assign_client_id(NamespaceId namespace_id, SlabHandle connection, std::span<char> out) noexcept;
  bool take_connect_token(Instant now) noexcept;

  // Hands `message` to everybody who takes it. False if some have no room yet: call again with the same operation.
  // route: may be routes()' own; nobody who takes a message asks it for another one meanwhile.
  bool publish(MovingMessage& message, const RouteRef& route, PublishOperation& operation, Instant now) noexcept;
  // Goes on with a publish whose connection is gone. Without memory it counts as refused.
  void continue_publish(MessageRef message, const PublishOperation& operation, Instant now) noexcept;
  // A will of this client, or a publish whose connection is gone, has still to be handed over.
  bool publishes_from_inside(PublisherId publisher) noexcept;
  // A sink takes a message and answers later, exactly once: hold, then answer.
  void hold_answer(SlabHandle answer) noexcept;
  void answer(SlabHandle answer, ReasonCode reason, Instant now) noexcept;
  // Asks the homes of what is retained under the flow's filter, and sets how many are going to answer. Without memory a
  // home is not asked: it is as if it had nothing.
  void query_retained(RetainedFlow& flow) noexcept;
  Slab<RetainedFlow>& flows() noexcept { return flows_; }
  // Is it known here and now that nothing is retained under this filter? With one shard none is on its way.
  bool nothing_retained(NamespaceId namespace_id, std::string_view topic_filter) noexcept {
    return router().shard_count() == 1 && !has_wildcard(topic_filter) && !retained_.has(namespace_id, topic_filter);
  }
  // False: it cannot be handled now and stays first in its mailbox.
  bool handle_mail(Mail& mail, Instant now) noexcept;

  // The connection has output, waits for room, is to be ended: seen to at the end of the turn.
  void mark_dirty(Connection& connection) noexcept;
  void mark_stalled(Connection& connection) noexcept;
  void mark_closing(Connection& connection) noexcept;
  void mark_pump(Session& session) noexcept;
  // It goes to shard `to` at the end of the turn, with all that it has read.
  void mark_moving(Connection& connection, uint32_t to) noexcept;
  // What was done since the last call that costs more than the packet it was done for: copies sent, levels looked at.
  uint32_t take_work() noexcept { return std::exchange(work_, 0) + routes_.take_visits(); }
  void add_work(uint32_t more) noexcept { work_ += more; }
  // There is a next turn at once: for what memory was refused to, or what has had to wait and has room.
  void mark_try_again() noexcept { try_again_ = true; }

  // --- what is kept
  StateRecorder& state() noexcept { return state_; }
  // Its progress is recorded some time later.
  void mark_progress(Session& session) noexcept;
  // There was no memory for something that is to be recorded.
  void note_unrecorded() noexcept;
  // False when the allocator refuses.
  [[nodiscard]] bool mark_gated(Connection& connection) noexcept;
  // The receipt of a publish that no journal takes; it is answered when that is durable, as all recorded before.
  void keep_receipt(PublishOperation& operation, PublisherId publisher) noexcept;
  // Calls done(user, written) once all that was recorded until now is durable, or could not be written. Throws
  // std::bad_alloc.
  void await_durable(void* user, void (*done)(void* user, bool written) noexcept);
  bool has_fetcher() const noexcept { return world_.fetcher != nullptr; }
  // Asks for these, which session.on_fetched() gets. False without memory: the session is pumped again.
  bool fetch(Session& session, std::span<const uint64_t> numbers) noexcept;
  // A message that was kept is not there any more, or damaged.
  void count_lost() noexcept override {
    counters_.messages_dropped.add();
    counters_.dropped_damaged.add();
  }
  // Asked for since the last call: the worker is to be woken.
  bool take_fetches() noexcept { return std::exchange(fetches_asked_, false); }
  // All progress is recorded now. False: it could not be sent to the committer.
  bool record_all() noexcept {
    record_progress();
    return post_state();
  }

  // --- before it runs: what was kept. False without memory, or at a limit.
  bool restore_retained(const MessageView& view) noexcept;
  // Messages up to this number had come by then. False without memory.
  bool restore_time(int64_t unix_ms, uint64_t number) noexcept { return ages_.restore(unix_ms, number); }
  // After these, in their order: what came behind them counts as if it came now.
  void restore_ages(uint64_t last_number) noexcept;
  // It has no members any more.
  void forget_group(NamespaceId namespace_id, std::string_view shared_filter) noexcept override;
  // It has expired.
  void forget_retained(const MessageView& view) noexcept;
  Queue* restore_queue(const QueueIdentity& identity, const QueueOptions& options,
                       std::string_view dead_letter_topic) noexcept;
  Stream* restore_stream(const StreamIdentity& identity, const StreamOptions& options) noexcept;
  bool restore_delayed(uint64_t id, const MessageView& view, std::string_view client_id, Instant due) noexcept;
  bool restore_reader(JournalReader& reader, uint64_t position) noexcept;
  void restore_message(Filter& filter, const NumberedMessage& message) noexcept;

  // Of which a peer can cause any number: at most a few a second are let through.
  void log_peer(const char* what, const Connection& connection, const CloseReason& reason, Instant now) noexcept;

 private:
  uint64_t session_hash(NamespaceId namespace_id, std::string_view client_id) const noexcept;
  bool read_mail(Instant now) noexcept;
  bool accept_moved(Mail& mail, Instant now) noexcept;
  Reason store_retained(const MessageRef& message) noexcept;
  // taken: set to how many took it. False without memory to answer an origin that is wanted: nobody got it.
  bool deliver_here(MovingMessage& message, const Route& route, const PublishOrigin& origin, Instant now,
                    uint32_t& taken) noexcept;
  bool send_published(const PublishOrigin& origin, Reason reason) noexcept;
  void send_late_answers() noexcept;
  void append_here(Mail& mail, Instant now) noexcept;
  static void wake_reader(Cursor& cursor) noexcept;
  void count_dropped_no_memory(uint32_t count) noexcept;
  bool answer_group_join(Mail& mail, Instant now) noexcept;
  bool waits_for_committer(GroupJoin& join) noexcept;
  void leave_here(MemberId member, Instant now) noexcept;
  void handle_member_mail(Mail& mail, Instant now) noexcept;
  struct WaitingQuery;
  bool put_query_aside(Mail& mail) noexcept;
  bool answer_retained_queries(Instant now) noexcept;
  bool answer_retained_query(const WaitingQuery& waiting, Instant now) noexcept;
  Handed hand_to_member(uint32_t shard, SlabHandle membership, SlabHandle group, MovingMessage& message,
                        uint64_t number, Instant now, uint64_t skipped) noexcept override;
  void recall(uint32_t shard, SlabHandle membership, Instant now) noexcept override;
  void count_dropped(const MessageView& message) noexcept override {
    dropped(&Counters::dropped_outbox_full, nullptr, message);
  }
  bool fetch_for_group(SlabHandle group, std::span<const uint64_t> numbers) noexcept override;
  void confirm_leave(uint32_t shard, MemberId member, SlabHandle group) noexcept override;
  bool fetch_for_queue(SlabHandle queue, std::span<const uint64_t> numbers) noexcept override;
  bool publish_dead_letter(const MessageRef& message, SlabHandle queue, uint64_t number, Instant now) noexcept override;
  struct Letter;
  bool send_letter(const Letter& sent, const MessageRef& message, uint32_t serial, const RouteRef& to,
                   Instant now) noexcept;
  void on_letter_answered(SlabHandle letter, bool taken) noexcept;
  void on_letter_handed_over(const PublishOperation& operation) noexcept;
  int64_t unix_ms(Instant now) const noexcept override { return policy().unix_ms(now); }
  void record_value(const Queue& queue, const QueueValue& value) noexcept override;
  void record_queue(const Queue& queue) noexcept override;
  void forget_queue(const Queue& queue) noexcept override;
  void tell_deleted(uint32_t shard, SlabHandle membership, Instant now) noexcept override;
  void on_object_deleted(SlabHandle membership, Instant now) noexcept;
  GroupJoined join_queue(const GroupJoin& join, uint32_t shard, SlabHandle membership, MemberState state) noexcept;
  GroupJoined join_stream(const GroupJoin& join, uint32_t shard, SlabHandle membership) noexcept;
  GroupJoined join_cursor(Stream& stream, const GroupJoin& join, uint32_t shard, SlabHandle membership,
                          bool declares) noexcept;
  void handle_reader_mail(Mail& mail) noexcept;
  void handle_cursor_mail(Mail& mail) noexcept;
  void record_cursor(StreamCursor& cursor) noexcept override;
  void forget_cursor(const StreamCursor& cursor) noexcept override;
  StateKey cursor_key(const StreamCursor& cursor) const noexcept;
  Handed hand_to_reader(SlabHandle membership, MovingMessage& message, const StreamAt& at,
                        Instant now) noexcept override;
  bool send_batch(uint32_t shard, SlabHandle membership,
                  std::unique_ptr<StreamBatch, Destroy>& batch) noexcept override;
  bool fetch_for_stream(SlabHandle page, std::span<const uint64_t> numbers, uint64_t bytes) noexcept override;
  bool read_body(Bytes body, MessageView& message) noexcept override;
  int64_t unix_us(Instant now) const noexcept override { return policy().unix_us(now); }
  void record_stream(const Stream& stream) noexcept override;
  void forget_stream(const Stream& stream) noexcept override;
  void record_streams(bool all) noexcept;
  void record_place(Stream& stream) noexcept;
  void note_groups_changed() noexcept override { arm_progress(); }
  static constexpr uint32_t kLeaveAsked = 1;  // Mail::token of GroupLeft
  bool put_leave_aside(const Mail& mail) noexcept;
  // Of members that have left, to whoever waits for it and need not any more.
  void confirm_leaves() noexcept;
  void take_group_message(Mail& mail, Instant now) noexcept;
  struct InsidePublish;
  bool enter_inside(InsidePublish&& one) noexcept;
  // And at once, if nothing is in front of it.
  bool publish_inside(InsidePublish&& one, Instant now) noexcept;
  bool publish_delayed(const MessageRef& message, Instant now) noexcept override;
  void on_delayed_ended(uint64_t serial) noexcept override;
  Reason keep_delayed(MovingMessage& message, std::string_view client_id, Instant due) noexcept;
  Reason keep_retained(const MessageRef& message) noexcept;
  void answer_when_durable(PublishOperation& operation) noexcept;
  void enforce_limits(Journal& journal) noexcept;
  void arm_progress() noexcept;
  static void on_progress_alarm(Timer& timer, Instant now) noexcept;
  void arm_reopen() noexcept;
  void record_progress() noexcept;
  void record_groups(bool all) noexcept;
  void record_queues(bool all) noexcept;
  void record_place(const Queue& queue, uint64_t position) noexcept;
  bool ask_fetcher(std::unique_ptr<Fetch, Destroy> fetch, std::span<const uint64_t> numbers) noexcept;
  void forget_progress(Session& session) noexcept;
  void record_everything() noexcept;
  bool post_state() noexcept;
  void run_state() noexcept;
  void on_recorded(const Mail& mail) noexcept;
  void tell_durable_waiters(bool failed) noexcept;
  void count_dropped_limit(uint32_t count) noexcept;
  void arm_age() noexcept;
  void look_at_age() noexcept;
  void drop_old() noexcept;
  void find_lowest() noexcept;
  void on_find_lowest(Mail& mail) noexcept;
  void run_fetched(Instant now) noexcept;
  void evict() noexcept;
  void run_inside_publishes(Instant now) noexcept;
  void run_pumps(Instant now) noexcept;
  void run_stalled(Instant now) noexcept;
  void run_closing(Instant now) noexcept;
  void run_moves(Instant now) noexcept;
  void end_connection(Connection& connection, Instant now) noexcept;
  void show_figures() noexcept;
  // Calls visit(Connection&) for each, which may end the one it is given.
  template <class Visit>
  void for_each_connection(Visit&& visit) noexcept {
    for (uint32_t i = 0; i < connections_.index_end(); ++i) {
      if (Connection* connection = connections_.at(i)) visit(*connection);
    }
  }
  void flush_outputs(Instant now) noexcept;

  // A question for retained messages that waits until older mail has been read.
  struct WaitingQuery {
    std::unique_ptr<MailPayload, Destroy> payload;  // a RetainedQuery
    SlabHandle flow;
    uint32_t asked_by = 0;
    Array<uint64_t> pushed;  // by party: so many mails must have been read
  };
  struct InsidePublish {
    MessageRef message;
    PublishOperation operation;
    std::atomic<uint32_t>* finished = nullptr;
    bool of_broker = false;
  };
  // A publish that sinks of this shard answer later.
  struct OpenAnswer {
    PublishOrigin origin;
    uint32_t open = 1;  // the fan-out itself; 0: complete, and not sent for want of memory
    ReasonCode reason = ReasonCode::Success;
  };

  ShardWorld world_;
  const uint32_t index_;
  const uint64_t client_id_seed_;
  ShardFigures figures_;
  Counters& counters_ = figures_.counters;
  uint64_t inflight_ = 0;  // of all sessions here
  TimerWheel timers_;
  OutputPool outputs_;
  Postman postman_;
  FanOut fan_out_;
  RouteCache routes_;
  RetainedStore retained_;
  SharedGroups groups_;
  Queues queues_;
  Streams streams_;
  StreamCursors cursors_;
  GroupMemberships memberships_;
  DelayedMessages delayed_;
  StateRecorder state_;
  struct ShardAlarm : Timer {
    ShardCore* shard = nullptr;
  };
  ShardAlarm progress_alarm_;  // armed while sessions wait for their progress to be recorded
  ShardAlarm reopen_alarm_;    // armed while journals are full
  ShardAlarm age_alarm_;       // armed while something may get old
  Instant drops_told_at_{};
  AgeMarks ages_;
  uint32_t old_next_ = UINT32_MAX;  // the session to be rid of old messages next, by its index
  Array<Session*> to_record_;       // these
  Array<Connection*> gated_;
  struct Leave {  // of a member of a group
    MemberId member;
    SlabHandle group;
    uint32_t home;
    uint32_t serial;  // what is to be durable before
  };
  Ring<Leave> leaves_;
  // On its way to another queue; its origin names it by its place here.
  struct Letter {
    SlabHandle queue;
    uint64_t number;
    LetterWait wait;
    int32_t takers_open = 0;  // below 0 while it is handed over
    bool handed_over = false, refused = false;
  };
  Slab<Letter> letters_{UINT32_MAX};
  struct LateJoin {   // the answer to it says that there is a new queue
    uint32_t serial;  // what is to be durable before
    uint32_t to;
    Mail answer;
  };
  Ring<LateJoin> late_joins_;
  void answer_late_joins() noexcept;
  struct DurableWaiter {
    uint32_t serial;  // what is to be durable
    void* user;
    void (*done)(void* user, bool written) noexcept;
  };
  Ring<DurableWaiter> durable_waiters_;
  Array<std::byte> scratch_state_;
  uint64_t lowest_ = 0;                             // found until now
  std::unique_ptr<NeededNumbers, Destroy> needed_;  // the same
  uint32_t needed_pass_ = 0;
  uint32_t lowest_next_ = 0;
  uint64_t evictable_ = 0;                              // messages up to it
  IntrusiveList<Journal, struct ContentTag> evicting_;  // which may hold such
  bool homes_evict_ = false;                            // queues and streams may hold such too
  bool fetches_asked_ = false;
  bool lowest_wanted_ = false, progress_due_ = false, unrecorded_ = false;
  Slab<Connection> connections_;
  Slab<Session> sessions_;
  Slab<RetainedFlow> flows_{UINT32_MAX};
  Slab<OpenAnswer> answers_{UINT32_MAX};
  HashTable<Session> sessions_by_id_;
  uint32_t connection_serial_ = 0, subscription_serial_ = 0;
  struct Move {
    Connection* connection;
    uint32_t to;
  };
  Array<Connection*> dirty_, stalled_, closing_;
  Array<Move> moving_;
  Array<Session*> to_pump_;
  Ring<InsidePublish> inside_;
  uint32_t inside_of_clients_ = 0;  // of these
  Ring<WaitingQuery> queries_;
  Array<std::byte> scratch_;
  Array<char> rewritten_;
  Array<std::byte> stream_properties_;
  Array<char> stream_key_;
  int64_t connect_tokens_;  // thousandths
  Instant connect_tokens_at_{};
  int64_t log_tokens_;
  Instant log_tokens_at_{};
  uint64_t log_suppressed_ = 0;
  SysPublisher sys_;
  Instant now_{};  // of the turn
  // There was no memory for the list that should name it: the whole slab is looked through.
  bool look_for_closing_ = false, look_for_dirty_ = false, look_for_pumps_ = false, look_for_stalled_ = false;
  bool look_for_answers_ = false;  // some OpenAnswer is complete and not sent
  bool try_again_ = false;         // at the next turn, what memory was refused to
  bool running_inside_ = false;
  uint32_t work_ = 0;
  bool wants_messages_ = false;
};

template <class Visit>
void Session::for_each_open_of_group(Visit&& visit) noexcept {
  if (!out_) return;
  out_->inflight.for_each([&](uint16_t, InflightEntry& entry) {
    const GroupMembership* through = entry.number ? shard_.memberships().find(entry.membership) : nullptr;
    if (through) visit(*through, entry.number);
  });
}

}  // namespace mqttq
