// What outlives the Network Connection: subscriptions, messages on their way, receipts, the will (MQTT5 4.1).
#pragma once

#include "base/hash_table.h"
#include "base/index_heap.h"
#include "base/owned_text.h"
#include "base/ring.h"
#include "base/slab.h"
#include "base/status.h"
#include "base/timer_wheel.h"
#include "journal/journal.h"
#include "message/detail.h"
#include "router/mail.h"
#include "router/sink.h"
#include "session/group_memberships.h"
#include "session/inflight.h"
#include "session/message_fetcher.h"
#include "session/retained_flow.h"
#include "store/state.h"

namespace mqttq {

class Connection;
class Session;
class ShardCore;
struct PublishOperation;

// A session's place in the journal of one of its durable subscriptions. The cursor waits at the journal's end, or the
// reader stands in the session's heap of those that have something to read.
struct JournalReader : HashLink<JournalReader>, Cursor {
  uint32_t ready_index = kInNoHeap;  // in the heap of DurableReads
  Session* session = nullptr;
  Filter* filter = nullptr;  // counted by the subscription
  uint64_t number = 0;       // of the next entry, at the last look; the entry may be one behind it by now
  uint64_t recorded = 0;     // the position that was recorded last

  static bool earlier(const JournalReader& one, const JournalReader& other) noexcept {
    return one.number < other.number;
  }
};

// The message a client leaves for the case that it goes without a word (MQTT5 3.1.2.5).
struct Will {
  MessageRef message;
  Instant due{INT64_MAX};  // once its connection is gone
  uint32_t delay_s = 0;
  bool expires = false;
  uint32_t expiry_s = 0;  // Message Expiry Interval, counted from when it is published
};

// A QoS 2 publish whose PUBREL has not come (MQTT5 4.3.3, method B: the identifier is what is stored).
struct Receipt {
  Instant since{};
  uint32_t connection_serial = 0;  // the last on which it came: in its Receive Maximum it counts; 0: before this start
  bool answered = false;           // PUBREC was sent: everybody who takes the message has answered
  bool restored() const noexcept { return connection_serial == 0; }
};

// A publish of this session that waits for its takers, or for one before it: acknowledgements leave in the order in
// which the publishes came [MQTT-4.6.0-2].
struct OpenPublish {
  uint32_t connection_serial = 0;
  uint32_t answer_serial = 0;  // the connection that is to be answered: at QoS 2 the last on which it came
  uint16_t packet_id = 0;
  int16_t takers_open = 0;  // below 0 while it is handed over
  Qos qos = Qos::AtLeastOnce;
  Reason reason;
  bool handing_over : 1 = false;  // not everybody has it yet; answers may come all the same
  bool intruder : 1 = false;      // was not taken, as its identifier is another's: so is the receipt of that name
};
static_assert(sizeof(OpenPublish) == 16);

// What waits for room in the client's window: a message, or the place at which a flow of retained ones is to be sent.
struct WaitingMessage {
  MessageRef message;
  RetainedFlow* flow = nullptr;
  Identifiers identifiers;
  Qos qos = Qos::AtLeastOnce;
  bool retain = false;
};

// What is on its way to one client, and in which order. Made with the first of it.
struct Outgoing {
  PacketIdMap<InflightEntry> inflight;
  Ring<uint16_t> unsent;  // in their order; some may have been answered since
  Ring<WaitingMessage> waiting;
  uint64_t waiting_bytes = 0;
  uint32_t unsent_count = 0;        // of inflight, to be sent again on this connection
  uint32_t waiting_qos0_count = 0;  // behind a retained flow, or behind such
  uint32_t next_order = 0;
  uint32_t flow_count = 0;
  uint32_t flows_asked = 0;                    // and not answered by all shards
  uint32_t retained_count = 0;                 // messages in all flows
  uint32_t read_failures = 0;                  // of the disk, one after the other
  IntrusiveList<RetainedFlow, FlowTag> flows;  // oldest first
  RetainedFlow* next_flow = nullptr;           // the first that has not been asked for
  Array<const Message*> live_retained;         // some of waiting: what is also retained, and so comes once

  bool nothing_waits() const noexcept {
    return waiting.empty() && unsent_count == 0 && unsent.empty() && flow_count == 0;
  }
  bool empty() const noexcept { return inflight.empty() && nothing_waits(); }
};

// What came from one client at QoS 1 and 2, and is not finished. Made with the first of it.
struct Incoming {
  PacketIdMap<Receipt> receipts;
  Ring<OpenPublish> open;
  uint16_t open_lowest = UINT16_MAX, open_highest = 0;  // no identifier in `open` lies outside

  bool empty() const noexcept { return receipts.empty() && open.empty(); }
};

// The journals that a session with durable subscriptions reads.
struct DurableReads {
  Ring<FetchedMessage> ahead;  // of what is not in memory: the next to be sent, by their numbers
  uint32_t read_failures = 0;  // of the disk, one after the other

  HashTable<JournalReader> readers;                                                     // by filter
  IndexHeap<JournalReader, &JournalReader::ready_index, JournalReader::earlier> ready;  // with room for every reader
};

// Owned by its home shard's slab and touched only there. Counted in millions: what only some have stands in a block of
// its own.
class Session final : public Sink, public HashLink<Session>, public Timer {
 public:
  Session(ShardCore& shard, NamespaceId namespace_id) noexcept : Sink(namespace_id), shard_(shard) {}
  ~Session();

  // False when the allocator refuses.
  [[nodiscard]] bool set_client_id(std::string_view client_id) noexcept { return client_id_.set(client_id); }
  std::string_view client_id() const noexcept { return client_id_.view(); }
  // Its hash in the shard's table, which is never 0.
  PublisherId publisher_id() const noexcept override { return HashLink<Session>::hash; }
  Connection* connection() const noexcept { return connection_; }
  uint32_t expiry_s() const noexcept { return expiry_s_; }
  void set_expiry_s(uint32_t expiry_s) noexcept { expiry_s_ = expiry_s; }
  // Messages above QoS 0 reach it through journals, so that they are kept while it is away.
  bool durable() const noexcept { return expiry_s_ != 0; }
  // It has outlived its time, and its timer has not said so yet [MQTT-3.1.2-23].
  bool expired(Instant now) const noexcept { return !connection_ && expiry_due_ <= now; }

  // A connection takes the session up: what was not finished is sent again, in order [MQTT-4.4.0-1], [MQTT-4.4.0-2].
  void attach(Connection& connection, Instant now) noexcept;
  void resend(Instant now) noexcept;
  // The connection is ended without its session's doing.
  void release_connection() noexcept { connection_ = nullptr; }
  // Its connection is gone: the will is due (at once or later), the session expires (at once or later).
  // True if the session has ended with it; the caller ends it.
  bool detach(Instant now, bool publish_will) noexcept;
  // Gives back what it does not need while nothing is under way.
  void trim() noexcept;

  // Sink.
  void deliver(const Delivery& delivery, Instant now) noexcept override;
  // A shared group chose this member. Nothing is kept here that cannot be sent: another may have room. number: of the
  // log, 0 if it has none.
  // skipped: StreamAt.
  Handed take_shared(GroupMembership& membership, MovingMessage& message, uint64_t number, uint64_t skipped,
                     Instant now) noexcept;
  // A stream's message for this reader, which stands behind it then. Nothing is kept here that cannot be sent.
  Handed take_read(GroupMembership& membership, MovingMessage& message, const StreamAt& at, Instant now) noexcept;
  // What came together from another shard. Behind the first that does not fit nothing is taken; it comes again.
  void take_read(GroupMembership& membership, StreamBatch& batch, Instant now) noexcept;
  // Sends what waits, as far as the window and the outbox have room.
  void pump(Instant now) noexcept;
  // The journal of a reader has gone on.
  void on_journal(JournalReader& reader) noexcept;

  // --- subscriptions
  struct Subscribed {
    Status status = Status::Ok;
    bool existed = false;
  };
  Subscribed subscribe(std::string_view topic_filter, const Subscription& options) noexcept;
  bool subscribed(std::string_view topic_filter) noexcept { return find_subscription(topic_filter) != nullptr; }
  bool unsubscribe(std::string_view topic_filter) noexcept;
  void unsubscribe_all(Instant now) noexcept;
  uint32_t subscription_count() const noexcept { return subscriptions_.count(); }
  template <class Visit>
  void for_each_subscription(Visit&& visit) noexcept {
    subscriptions_.for_each(visit);
  }

  // --- messages to the client
  uint32_t inflight_count() const noexcept { return out_ ? out_->inflight.count() : 0; }
  // Messages, without the places of retained flows among them.
  uint32_t waiting_count() const noexcept { return out_ ? out_->waiting.count() - out_->flow_count : 0; }
  uint64_t behind_count() noexcept;
  uint16_t window() const noexcept;
  // False: no such identifier in that state.
  // rejected: it was a negative acknowledgement, which a queue heeds.
  bool on_puback(uint16_t packet_id, bool rejected, Instant now) noexcept;
  enum class Pubrec : uint8_t { Release, Ended, NotFound };
  Pubrec on_pubrec(uint16_t packet_id, bool failed, Instant now) noexcept;
  bool on_pubcomp(uint16_t packet_id, Instant now) noexcept;

  // --- messages from the client
  Receipt* find_receipt(uint16_t packet_id) noexcept { return in_ ? in_->receipts.find(packet_id) : nullptr; }
  // There is none of this identifier. False when the allocator refuses.
  [[nodiscard]] bool add_receipt(uint16_t packet_id, Receipt receipt) noexcept {
    return make_incoming() && in_->receipts.insert(packet_id, Receipt(receipt));
  }
  bool remove_receipt(uint16_t packet_id) noexcept;
  // Another takes its place, in the record too: that would come before one which takes it out.
  void replace_receipt(uint16_t packet_id) noexcept { in_->receipts.remove(packet_id); }
  uint32_t receipt_count() const noexcept { return in_ ? in_->receipts.count() : 0; }
  uint32_t open_publish_count() const noexcept { return in_ ? in_->open.count() : 0; }
  bool has_open_publishes() const noexcept { return open_publish_count() != 0; }
  // After true, the next enter_open_publish() does not fail.
  [[nodiscard]] bool make_room_for_open_publish() noexcept { return make_incoming() && in_->open.make_room(); }
  // Behind those that are open already. False when the allocator refuses.
  [[nodiscard]] bool enter_open_publish(OpenPublish open) noexcept;
  // A publish with this identifier has not been answered on the connection `serial`, or not been released.
  bool identifier_open(uint16_t packet_id, uint32_t serial) noexcept;
  void on_published(const PublishOrigin& origin, Reason reason, Instant now) noexcept;
  // A QoS 2 publish came again, on the connection `serial`, which gets the answer. False: no such one is open.
  bool repeat_open_publish(uint16_t packet_id, uint32_t serial) noexcept;
  // What had to wait for room has been handed to everybody; its takers answer, or have answered.
  void on_handed_over(const PublishOperation& operation, Instant now) noexcept;
  // The one taker that was asked until now has answered. reason: set to what he said. True too if nobody will be told.
  bool first_taker_answered(const PublishOrigin& origin, Reason& reason) noexcept;
  // Answers finished publishes from the front on.
  void answer_publishes(Instant now) noexcept;
  void forget_old_receipts(Instant now) noexcept;
  // QoS 1 and 2 publishes that this connection has open: what its Receive Maximum counts.
  uint32_t open_count(uint32_t connection_serial) noexcept;

  // --- will
  // False when the allocator refuses: it has none then.
  [[nodiscard]] bool set_will(Will&& will) noexcept;
  void clear_will() noexcept;
  // If its delay has passed, whoever is back by now.
  void publish_due_will(Instant now) noexcept;
  bool has_will() const noexcept { return will_ != nullptr; }
  // Only if it has one.
  Will take_will() noexcept {
    Will taken = std::move(*will_);
    clear_will();
    return taken;
  }

  // --- what is kept (StateRecorder)
  // Something of it is on the disk, or on its way there.
  bool stored() const noexcept { return stored_; }
  // As it is now: who it is, and for how long. Of one that ends with its connection nothing is kept any more.
  void record(Instant now) noexcept;
  // disconnected_at: INT64_MAX while it is connected.
  void record_as(Instant disconnected_at) noexcept;
  void record_end() noexcept;
  // Positions, and what is in flight.
  void record_progress() noexcept;
  // All of it, once more.
  void record_whole(Instant now) noexcept;
  TextKey state_key_text() const noexcept;
  // The first number that it still needs; UINT64_MAX: none.
  uint64_t lowest_number() noexcept;
  // Messages of journals up to this number are of no use to it any more. Returns how many those were.
  uint32_t drop_old(uint64_t number) noexcept;
  // All that it needs, up to needed.up_to. pass: names the count, for which each journal is looked at once.
  void add_needed(NeededNumbers& needed, uint32_t pass) noexcept;
  // From what was kept. False without memory.
  void restore(uint32_t expiry_s, Instant disconnected_at) noexcept;
  // owed: retained messages are to be sent for it. reader: set if it is to be attached to its journal, where its
  // position is.
  bool restore_subscription(std::string_view topic_filter, const Subscription& options, bool durable, bool owed,
                            JournalReader*& reader) noexcept;
  // Before messages in flight. nullptr without memory.
  GroupMembership* restore_membership(std::string_view text, const Subscription& options, int8_t priority,
                                      uint32_t home) noexcept;
  // group: the hash of the shared filter that it came through; 0: it came by itself.
  bool restore_inflight(uint16_t packet_id, InflightEntry&& entry, uint64_t group) noexcept;
  // What it asked for; `messages` is emptied.
  void on_fetched(Ring<FetchedMessage>& messages, Instant now) noexcept;
  bool restore_will(Will&& will, Instant disconnected_at) noexcept;
  // Nothing more of it is recorded: the broker ends.
  void forget_stored() noexcept { stored_ = false; }
  // Calls visit(const GroupMembership&, number) for each message in flight that came through a group.
  template <class Visit>
  void for_each_open_of_group(Visit&& visit) noexcept;
  // Timers run from now on.
  void finish_restore(Instant now) noexcept;

  // --- shared groups, queues and streams
  GroupMembership* find_membership(std::string_view shared_filter) noexcept;
  // Becomes a member, once the group's home has said so. nullptr without memory.
  // declare: see GroupMemberships::join().
  GroupMembership* join_group(std::string_view text, const Subscription& options, bool declare = false,
                              const StreamTerms& terms = {}) noexcept;
  bool leave_group(std::string_view shared_filter) noexcept;
  // A member subscribes, perhaps once more: it has these options from now on, and is recorded so.
  void set_membership(GroupMembership& membership, const Subscription& options) noexcept;
  // Has it, as it is now, recorded.
  void record_membership(GroupMembership& membership) noexcept;
  void on_group_answer() noexcept;
  // Gives back what it has unacknowledged at QoS 1 of one group, unless it is here again.
  void recall(const GroupMembership& membership, Instant now) noexcept;
  // Its queue or stream is deleted: it is no subscription any more.
  void on_object_deleted(GroupMembership& membership, Instant now) noexcept;
  MemberState group_state() const noexcept;
  uint32_t membership_count() const noexcept { return memberships_.count(); }

  // --- retained messages
  // Has them sent for a new subscription, in time. Errors: Full (as many as subscriptions are waiting for theirs),
  // NoMemory.
  Status start_retained_flow(std::string_view topic_filter, const Subscription& options) noexcept;
  // One shard's answer; `messages` is emptied.
  void on_retained(RetainedFlow& flow, Ring<MessageRef>& messages) noexcept;

  SlabHandle handle() const noexcept { return Slab<Session>::handle(*this); }

 private:
  [[nodiscard]] bool make_outgoing() noexcept { return out_ || (out_ = create<Outgoing>()); }
  [[nodiscard]] bool make_incoming() noexcept { return in_ || (in_ = create<Incoming>()); }
  uint32_t unsent_count() const noexcept { return out_ ? out_->unsent_count : 0; }
  uint32_t flow_count() const noexcept { return out_ ? out_->flow_count : 0; }
  OpenPublish* find_open_publish(const PublishOrigin& origin) noexcept;
  Subscription* find_subscription(std::string_view topic_filter) noexcept;
  void end_subscription(Subscription& subscription) noexcept;
  // nullptr without memory. reading: a durable one starts to read; else its reader stands in no journal yet.
  Subscription* add_subscription(std::string_view topic_filter, const Subscription& options, bool durable,
                                 bool reading) noexcept;
  Status start_reading(Subscription& subscription) noexcept;
  JournalReader* find_reader(const Filter& filter) noexcept;
  void end_reader(JournalReader& reader) noexcept;
  void drop_reads_without_readers() noexcept;
  // The reader with the lowest number, which is then right; nullptr when all journals are read.
  JournalReader* first_ready() noexcept;
  bool nothing_to_pump() const noexcept {
    return !reads_ && !some_group_found_full_ && (!out_ || out_->nothing_waits());
  }
  bool pump_unsent(Instant now) noexcept;
  bool line_up_unsent(Instant now) noexcept;
  void send_again(uint16_t packet_id, InflightEntry& entry, Instant now) noexcept;
  bool pump_waiting(Instant now) noexcept;
  bool pump_journals(Instant now) noexcept;
  bool pump_flow(RetainedFlow& flow, Instant now) noexcept;
  bool stands(const RetainedFlow& flow) noexcept;
  bool retained_inflight(const MessageView& message) noexcept;
  bool owes_retained(const Subscription& subscription) noexcept;
  Status add_retained_flow(std::string_view topic_filter, const Subscription& options) noexcept;
  void ask_for_retained() noexcept;
  void end_flow(RetainedFlow& flow) noexcept;
  // A live message on this topic has to wait behind retained ones.
  bool behind_flow(std::string_view topic_name) noexcept;
  // The client's, and of the packets sent on this connection.
  bool window_full() const noexcept { return inflight_count() - unsent_count() >= window(); }
  void mark_sent(InflightEntry& entry) noexcept;
  bool has_room() const noexcept;
  bool may_take_shared(Qos qos, bool in_order) const noexcept;
  void tell_groups_of_room() noexcept;
  void note_group_state() noexcept;
  // Gives back what came through `membership`, or through any when it is null.
  void give_back_shared(const GroupMembership* membership, Instant now) noexcept;
  // What it has unacknowledged of one queue, or of all when it is null, is theirs again; identifiers stay taken.
  void return_to_queues(const GroupMembership* membership) noexcept;
  void drop_queue_identifiers() noexcept;
  // marks: GroupNumbers.
  void finish(uint16_t packet_id, InflightEntry& entry, uint64_t marks = 0) noexcept;
  void give_up(uint16_t packet_id, InflightEntry& entry) noexcept;
  void record_inflight(uint16_t packet_id, InflightEntry& entry) noexcept;
  void record_sent(uint16_t packet_id, InflightEntry& entry) noexcept;
  void record_subscription(const Subscription& subscription) noexcept;
  void record_taken(const GroupMembership& membership, uint64_t number) noexcept;
  void record_place(GroupMembership& membership) noexcept;
  uint64_t membership_hash(std::string_view shared_filter) const noexcept;
  StateKey membership_key(const GroupMembership& membership) const noexcept;
  StateKey taken_key(const GroupMembership& membership, uint64_t number) const noexcept;
  void end_membership(GroupMembership& membership) noexcept;
  uint64_t position(const JournalReader& reader) const noexcept;
  enum class Content : uint8_t { Here, Asked, Lost };
  Content content(JournalReader& reader, MessageRef& message) noexcept;
  bool fetch_inflight() noexcept;
  void drop_inflight_content() noexcept;
  JournalReader* make_reader(Subscription& subscription) noexcept;
  InflightEntry* find_inflight(uint16_t packet_id) noexcept { return out_ ? out_->inflight.find(packet_id) : nullptr; }
  // A fresh entry under the next identifier, which is set; nullptr when the allocator refuses.
  InflightEntry* enter_inflight(uint16_t& packet_id) noexcept;
  void leave_inflight(uint16_t packet_id) noexcept;
  // The identifiers of those entries for which wanted(InflightEntry&) holds, oldest first. False without memory.
  template <class Wanted>
  bool collect_inflight(Array<uint16_t>& out, Wanted&& wanted) noexcept;
  void end_retained_flows() noexcept;
  enum class Sent : uint8_t { Yes, Dropped };
  Sent send(MovingMessage& message, Qos qos, bool retain, Identifiers&& identifiers, Instant now,
            const GroupMembership* through = nullptr, uint64_t number = 0, const StreamAt* at = nullptr) noexcept;
  void keep_waiting(const Delivery& delivery) noexcept;
  WaitingMessage take_waiting() noexcept;
  void arm_timer(Instant now) noexcept;
  static void on_timer(Timer& timer, Instant now) noexcept;

  ShardCore& shard_;
  Connection* connection_ = nullptr;
  OwnedText client_id_;
  // Owned; null while there is nothing to put into them.
  Outgoing* out_ = nullptr;
  Incoming* in_ = nullptr;
  DurableReads* reads_ = nullptr;
  Will* will_ = nullptr;
  HashTable<Subscription> subscriptions_;
  HashTable<GroupMembership> memberships_;
  Instant expiry_due_{INT64_MAX};
  uint32_t expiry_s_ = 0;
  uint16_t last_packet_id_ = 0;
  bool some_group_found_full_ : 1 = false;  // and is to hear when there is room
  bool stored_ : 1 = false;
  bool record_at_once_ : 1 = false;   // its progress: a QoS 2 message goes out with it
  bool sent_unrecorded_ : 1 = false;  // some message in flight was not recorded, as it would be found again
  bool fetching_ : 1 = false;         // an answer of the fetcher is to come

 public:
  bool pump_marked : 1 = false;      // stands in the shard's list of sessions to pump
  bool progress_marked : 1 = false;  // and of those whose progress is to be recorded
};
static_assert(sizeof(Session) <= 144);

}  // namespace mqttq
