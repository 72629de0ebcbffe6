// Message queues at their home: each message goes to one consumer, and is kept until one has settled it (DESIGN 2, 7).
//
// A queue lives on its home shard, by its name, from its declaration to its deletion, whoever consumes it. Its messages
// lie in the journal of a filter of its own, in which it has one place; what it took out of there and nobody has
// settled stands in `open`, with the consumer who has it. Consumers are sessions of any shard; the home knows how many
// messages each of them takes at once, so that none waits for one consumer while another has room.
//
// All that is recorded of a queue is how it was declared, its place, and what is open before it. So a crash may bring
// back what was settled within the last moments, and loses nothing.
#pragma once

#include <algorithm>

#include "base/hash_table.h"
#include "base/random.h"
#include "base/timer_wheel.h"
#include "queue/arrivals.h"
#include "queue/queue_options.h"
#include "router/fan_out.h"
#include "router/membership.h"
#include "router/message_key.h"
#include "router/read_ahead.h"

namespace mqttq {

struct Queue;
class Queues;

// Its place in its journal.
struct QueueReader : Cursor {
  Queue* queue = nullptr;
};

// What happened to its messages since the broker started.
struct QueueFigures {
  uint64_t entered = 0;      // and were not refused
  uint64_t delivered = 0;    // handed to a consumer, again or not
  uint64_t redelivered = 0;  // of those
  uint64_t settled = 0;
  uint64_t rejected = 0;   // by a negative acknowledgement
  uint64_t timed_out = 0;  // of an acknowledgement
  uint64_t expired = 0;    // by their own expiry, or the queue's age limit
  uint64_t dropped = 0;    // to make room for newer ones
  uint64_t replaced = 0;   // by a newer one of the same key
  uint64_t dead = 0;       // delivered as often as may be: moved to the dead letter topic, or dropped without one
  uint64_t purged = 0;
};

// A consumer that lives where the queue does.
class QueueConsumer {
 public:
  // As MemberCourier::hand_to_member(), but for Handed::Finished.
  virtual Handed take(MovingMessage& message, uint64_t number, Instant now) noexcept = 0;
  // It is none any more.
  virtual void on_queue_deleted(Instant now) noexcept = 0;

 protected:
  ~QueueConsumer() = default;
};

// A consumer, as the queue knows it.
struct QueueMember {
  Queue* queue;
  QueueConsumer* here = nullptr;  // null: a session, named by the next
  SlabHandle membership;
  uint32_t index = 0;       // in the queue's list
  uint32_t open_count = 0;  // what its client has to acknowledge, be it another's by now
  uint8_t shard;
  bool full = false;  // said so, and has not said otherwise
  MemberState state;
  bool takes() const noexcept { return state.connected && !full && (!state.acknowledges || open_count < state.window); }
};

// Why a consumer has a message no longer that he has not settled.
enum class QueueReturn : uint8_t {
  NotSent,  // he never had it
  Lost,     // he has gone
  Rejected,
  TimedOut,
};

// Messages of one key. Of a queue for last values, where at most one is in `open`: also the newest, which waits.
struct QueueValue : HashLink<QueueValue>, ListLink<struct ValueTag>, ListLink<struct StaleTag> {
  TextKey key;
  uint32_t count = 0;           // of `open`: not settled
  uint32_t inflight_count = 0;  // of these: with consumers
  MemberId owner = 0;           // who has those
  uint32_t held_pass = 0;       // the pass in which one of them could not be handed out
  // Of last values:
  uint64_t open_number = 0;  // the one in `open`, while count is 1
  uint64_t number = 0;       // the newest; 0: it was handed out
  uint64_t recorded = 0;     // the one that was
  uint32_t size = 0;
  MessageRef message;  // empty: it is to be read
};

// A message that was taken out of the journal and is not settled, or only just.
struct QueueOpen {
  // Those who rejected it of late; when there are more, it is nobody's for a while.
  static constexpr uint32_t kRejectersMax = 3;

  uint64_t number = 0;
  MemberId member = 0;         // who has it; 0: it waits
  MemberId last = 0;           // who had it last
  Instant ack_due{INT64_MAX};  // while somebody has it
  Instant retry_at{0};         // until then it is not for those who
  MemberId rejecters[kRejectersMax] = {};
  MessageRef message;           // empty: it is to be read
  QueueValue* value = nullptr;  // of its key, if the queue has keys and has found it
  uint32_t size = 0;            // of its content
  uint16_t deliveries = 0;      // until now
  uint8_t rejecter_count = 0;   // may be more than are known by name
  QueueReturn why{};            // it waits again
  bool settled = false;         // out of here once that is recorded
  bool judged = false;          // its key was looked for

  bool rejected_by(MemberId member_id) const noexcept {
    return rejecter_count > kRejectersMax ||
           std::find(rejecters, rejecters + rejecter_count, member_id) != rejecters + rejecter_count;
  }
  // until: all of them wait so long.
  void note_rejected(MemberId by, Instant until, Instant now) noexcept {
    if (retry_at <= now) rejecter_count = 0;
    if (rejecter_count < kRejectersMax) rejecters[rejecter_count] = by;
    rejecter_count += rejecter_count <= kRejectersMax;
    retry_at = until;
  }
};

// Of a queue whose messages have keys.
struct QueueValues {
  MessageKey key;
  QueueKeyless keyless = QueueKeyless::Take;
  bool last_only = false;
  HashTable<QueueValue> by_key;
  uint32_t pass = 0;
  // Of last values that wait:
  IntrusiveList<QueueValue, ValueTag> waiting;  // by their numbers
  uint32_t count = 0;
  uint64_t bytes = 0;
  IntrusiveList<QueueValue, StaleTag> stale;  // not recorded as they are
};

// What a queue needs once a message or a consumer has come. Queues to which neither has are many, and share one.
struct QueueWork {
  Array<QueueMember*> members;
  QueueMember* active = nullptr;  // of an exclusive queue: who has it
  bool has_priorities = false;    // some consumer had one
  uint32_t next = 0;              // the consumer to be asked first, by turns
  Ring<QueueOpen> open;           // by their numbers
  uint32_t waiting_count = 0;     // of `open`: those that nobody has
  uint32_t open_count = 0;        // of `open`: not settled
  uint64_t open_bytes = 0;        // of those
  ReadAhead ahead;
  Arrivals arrivals;
  QueueFigures figures;
};

struct Queue final : QueueHome, HashLink<Queue>, ListLink<struct ChangedTag>, ListLink<struct ReadyTag>, Timer {
  Queue(Queues& of, NamespaceId in) noexcept;
  ~Queue();

  Queues& home;
  const NamespaceId namespace_id;
  uint64_t id = 0;
  OwnedText name, dead_letter_topic;
  QueueOptions options;
  Filter* filter = nullptr;
  QueueReader reader;
  QueueWork* work;  // its own since make_ready(), and until then the one that all share, which stays empty
  QueueValues* values = nullptr;  // owned; null: its messages have no keys

  bool last_only() const noexcept { return values && values->last_only; }
  std::string_view topic_filter() const noexcept { return filter->text(); }
  QueueIdentity identity() const noexcept {
    QueueIdentity all;
    all.namespace_id = namespace_id;
    all.name = name.view();
    all.topic_filter = topic_filter();
    all.id = id;
    if (!values) return all;
    all.key = values->key.expression();
    all.keyless = values->keyless;
    all.last_value = values->last_only;
    return all;
  }
  SlabHandle handle() const noexcept { return Slab<Queue>::handle(*this); }
  Journal& journal() const noexcept { return *reader.journal; }
  // Waiting and in flight.
  uint64_t depth() const noexcept {
    return journal().behind_count(reader) + work->open_count + (values ? values->count : 0);
  }
  uint64_t bytes() const noexcept {
    return journal().behind_bytes(reader) + work->open_bytes + (values ? values->bytes : 0);
  }

  // Before there is a message or a consumer. False without memory.
  [[nodiscard]] bool make_ready() noexcept;
  bool take(const NumberedMessage& message, Instant now) noexcept override;
  void on_appended(uint64_t number, Instant now) noexcept;
  void flush(Instant now) noexcept;
  bool flush_waiting(Instant now) noexcept;
  void flush_journal(Instant now) noexcept;
  void flush_values(Instant now) noexcept;
  // It waits for others of its key, and those behind it do in this pass.
  bool hold(QueueOpen& one) noexcept;
  // The first of the journal. There is room.
  QueueOpen& enter_open_from_journal() noexcept;
  uint32_t pass_first() noexcept;
  QueueOpen& enter_open(uint64_t number, MessageRef&& message, uint32_t size) noexcept;
  // Of one whose message is here.
  void find_key(QueueOpen& one) noexcept;
  // Of keys. nullptr: it has none, or without memory.
  QueueValue* value_of(const Message& message) noexcept;
  QueueValue* find_or_make_value(const TextKey& key) noexcept;
  void note_value(QueueValue& value, uint64_t number, const MessageRef& message, uint32_t size) noexcept;
  bool take_value(const JournalEntry& entry) noexcept;
  void take_values() noexcept;
  void take_out_value(QueueValue& value) noexcept;
  void drop_value(QueueValue& value) noexcept;
  void let_go(QueueOpen& one) noexcept;
  void mark_stale(QueueValue& value) noexcept;
  void record_values(bool all) noexcept;
  uint64_t lowest_value() noexcept;
  ReadAhead::Content content(uint64_t number, MessageRef& message) noexcept;
  QueueMember* choose(const QueueOpen* one, Instant now) noexcept;
  bool may_have(const QueueMember& member, const QueueOpen* one, Instant now) const noexcept;
  bool someone_takes() noexcept { return choose(nullptr, {}) != nullptr; }
  // Hands it to a consumer that takes it, or to none. one: has its message.
  bool offer(QueueOpen& one, Instant now) noexcept;
  void note_handed(QueueOpen& one, QueueMember& member, Instant now) noexcept;
  // why: Full or Away.
  void note_declined(QueueMember& member, Handed why) noexcept;
  // Of one that waits; and the way back.
  void give_to(QueueOpen& one, MemberId who, Instant ack_due) noexcept;
  void take_from(QueueOpen& one) noexcept;
  // It waits again, and is another's, or the same one's after the delay.
  void take_back(QueueOpen& one, QueueReturn why, Instant now) noexcept;
  bool worn_out(const QueueOpen& one) const noexcept {
    return options.deliveries_max && one.deliveries >= options.deliveries_max;
  }
  // Of one that is, and waits.
  void bury(QueueOpen& one, Instant now) noexcept;
  // What became of its dead letter, or of its copy in another queue.
  void on_letter(uint64_t number, bool published) noexcept;
  // No consumers: who have what is on its way to be a dead letter, or to another queue.
  static constexpr MemberId kBurier = 1, kMover = 2;
  // Of one that waits, and whose key nobody has. There is room.
  QueueOpen& open_value(QueueValue& value) noexcept;
  // True: it was the last value when it was handed out, and there is a newer one. It is gone then.
  bool end_replaced(QueueOpen& one) noexcept;
  void take_back_all(MemberId of, QueueReturn why, Instant now) noexcept;
  void settle(QueueOpen& one) noexcept;
  // newest: is only dropped where there is no other.
  void drop_oldest(uint64_t newest) noexcept;
  void drop_first() noexcept;
  bool over_limits() const noexcept;
  void enforce_limits(uint64_t newest) noexcept;
  void drop_old(Instant now) noexcept;
  void arm_age(Instant now) noexcept;
  uint64_t drop_waiting_below(uint64_t number) noexcept;
  uint64_t skip_journal() noexcept;
  uint64_t front_number() noexcept;
  uint64_t first_waiting() noexcept;
  uint64_t first_untaken() const noexcept;
  void forget_settled() noexcept;
  void changed() noexcept;
  uint64_t position(uint64_t seen_number) const noexcept;
  void set_state(QueueMember& member, MemberState state) noexcept;
  void choose_active() noexcept;
  void arm(Instant due) noexcept;
  void on_time(Instant now) noexcept;
  Instant next_due{};  // of the timer
};

static_assert(sizeof(Queue) == 264);

// How queues reach what is around them, besides their consumers. Implemented by the shard.
class QueueCourier {
 public:
  virtual bool fetch_for_queue(SlabHandle queue, std::span<const uint64_t> numbers) noexcept = 0;
  // A dead letter goes out, and Queues::on_letter() says what became of it, now or later. False: it does not, without
  // memory or while the store takes none.
  virtual bool publish_dead_letter(const MessageRef& message, SlabHandle queue, uint64_t number,
                                   Instant now) noexcept = 0;
  virtual int64_t unix_ms(Instant now) const noexcept = 0;
  // To be recorded: the newest message of a key, or that there is none any more.
  virtual void record_value(const Queue& queue, const QueueValue& value) noexcept = 0;
  // To be recorded: how it was declared; that there is none any more.
  virtual void record_queue(const Queue& queue) noexcept = 0;
  virtual void forget_queue(const Queue& queue) noexcept = 0;

 protected:
  ~QueueCourier() = default;
};

// All queues whose home is one shard. Touched only there.
class Queues {
 public:
  // seed: secret, and the same in all lives of what is kept.
  Queues(FanOut& fan_out, MemberCourier& members, QueueCourier& courier, TimerWheel& timers, uint64_t seed) noexcept
      : fan_out_(fan_out), member_courier_(members), courier_(courier), timers_(timers), seed_(seed), random_(seed) {}
  ~Queues();

  // Errors: NoMemory, Exists, Invalid, Unsupported (its key). queue: set where it is there. Its place is to be recorded
  // with it.
  Status declare(const QueueIdentity& identity, const QueueOptions& options, std::string_view dead_letter_topic,
                 Queue*& queue) noexcept;
  // Each of these is recorded.
  Status set_options(Queue& queue, const QueueOptions& options, std::string_view dead_letter_topic,
                     Instant now) noexcept;
  void remove(Queue& queue, Instant now) noexcept;
  // All that waits; what is in flight stays. Returns how many those were.
  uint64_t purge(Queue& queue, Instant now) noexcept;
  Queue* find(NamespaceId namespace_id, std::string_view name) noexcept;
  // Calls visit(number, deliveries, inflight, message) for messages from the oldest on whose numbers are not below
  // `from`, until it is false. message: empty where it is not in memory.
  template <class Visit>
  void look(Queue& queue, uint64_t from, Visit&& visit) noexcept;
  // The message of this number waits, and is nobody's until on_letter(), when it is settled or waits again. False too
  // where more than 10 000 others would have to wait apart for it, and without memory.
  bool begin_move(Queue& queue, uint64_t number) noexcept;
  uint32_t count() const noexcept { return queues_.count(); }
  Slab<Queue>& slab() noexcept { return slab_; }

  // --- consumers: as SharedGroups has members
  static bool is_member(MemberId id) noexcept { return id >> 62 == 2; }
  // 0 without memory.
  MemberId join(Queue& queue, uint32_t shard, SlabHandle membership, MemberState state) noexcept;
  // consumer: borrowed until it leaves, or the queue is deleted.
  MemberId join(Queue& queue, QueueConsumer& consumer, MemberState state) noexcept {
    const MemberId joined = join(queue, 0, {}, state);
    if (joined) find_member(joined)->here = &consumer;
    return joined;
  }
  // why: of what he has and has not given back.
  void leave(MemberId member, Instant now, QueueReturn why = QueueReturn::Lost) noexcept;
  void set_state(MemberId member, MemberState state, Instant now) noexcept;
  // It takes nothing until it says that it is there.
  void note_away(MemberId member, Instant now) noexcept;
  void done(MemberId member, std::span<const uint64_t> numbers, Instant now) noexcept;
  // It was handed over and never sent.
  void give_back(MemberId member, uint64_t number, Handed why, Instant now) noexcept;

  // Hands out what has come.
  void run(Instant now) noexcept;
  void on_fetched(SlabHandle queue, Ring<FetchedMessage>& messages, Instant now) noexcept;
  void on_letter(SlabHandle queue, uint64_t number, bool published) noexcept {
    if (Queue* of = slab_.find(queue)) of->on_letter(number, published);
  }
  // Calls record(const Queue&, position) for each that is changed, or for all, and lets what is settled go. position:
  // the first number that was not taken out of its journal.
  template <class Record>
  void record_progress(uint64_t seen_number, bool all, Instant now, Record&& record) noexcept;
  // As SharedGroups.
  uint64_t lowest_number(uint64_t seen_number) noexcept;
  void add_needed(NeededNumbers& needed, uint32_t pass) noexcept;
  // Messages up to this number need not be in memory.
  void evict(uint64_t number) noexcept;
  // Nothing is recorded or handed out any more.
  void abandon() noexcept;

  // --- before it runs
  // It reads nothing until restore_reader(), and from there on what is appended. False without memory.
  Queue* restore(const QueueIdentity& identity, const QueueOptions& options,
                 std::string_view dead_letter_topic) noexcept;
  bool restore_reader(Queue& queue, Instant now) noexcept;
  // When they came, in the order of their numbers.
  bool restore_arrival(Queue& queue, int64_t at_ms, uint64_t number) noexcept;
  // In the order of their numbers.
  bool restore_open(Queue& queue, uint64_t number, uint32_t size, uint16_t deliveries, const TextKey& key) noexcept;
  // In any order, before finish_values().
  bool restore_value(Queue& queue, const TextKey& key, uint64_t number, uint32_t size) noexcept;
  bool finish_values(Queue& queue) noexcept;

 private:
  friend struct Queue;
  static constexpr MemberId kOfQueue = MemberId{1} << 63;

  Queue* make(const QueueIdentity& identity, const QueueOptions& options, std::string_view dead_letter_topic) noexcept;
  void end(Queue& queue) noexcept;
  void set_gate(Queue& queue) noexcept;
  static bool set_key(Queue& queue, const QueueIdentity& identity) noexcept;
  static bool set_judge(Queue& queue) noexcept;
  QueueMember* find_member(MemberId id) noexcept { return members_.find(handle_of(id & ~kOfQueue)); }
  static MemberId id_of(const QueueMember& member) noexcept {
    return member_id(Slab<QueueMember>::handle(member)) | kOfQueue;
  }
  uint64_t key(NamespaceId namespace_id, std::string_view name) const noexcept;
  bool start_reading(Queue& queue) noexcept;
  static QueueValue* find_value(Queue& queue, uint64_t number) noexcept;

  FanOut& fan_out_;
  MemberCourier& member_courier_;
  QueueCourier& courier_;
  TimerWheel& timers_;
  const uint64_t seed_;
  Random random_;
  bool running_ = true;  // what is appended comes, and does not come back
  HashTable<Queue> queues_;
  QueueWork idle_;
  IntrusiveList<Queue, ChangedTag> changed_;
  IntrusiveList<Queue, ReadyTag> ready_;
  Slab<Queue> slab_{UINT32_MAX};
  Slab<QueueMember> members_{UINT32_MAX};
  Slab<QueueValue> values_{UINT32_MAX};
};

inline Queue::Queue(Queues& of, NamespaceId in) noexcept : home(of), namespace_id(in), work(&of.idle_) {}
inline Queue::~Queue() {
  if (work != &home.idle_) destroy(work);
  destroy(values);
}

template <class Record>
void Queues::record_progress(uint64_t seen_number, bool all, Instant now, Record&& record) noexcept {
  if (all) queues_.for_each([](Queue& queue) { queue.changed(); });
  IntrusiveList<Queue, ChangedTag> changed;
  changed.splice_back(changed_);
  while (Queue* queue = changed.pop_front()) {
    record(*queue, queue->position(seen_number));
    queue->record_values(all);
    queue->forget_settled();
    queue->flush(now);
  }
}

template <class Visit>
void Queues::look(Queue& queue, uint64_t from, Visit&& visit) noexcept {
  QueueValue* value = queue.last_only() ? queue.values->waiting.front() : nullptr;
  const auto values_below = [&](uint64_t number) {  // false: the visitor wants no more
    for (; value && value->number < number; value = queue.values->waiting.next(*value)) {
      if (value->number >= from && !visit(value->number, 0u, false, value->message)) return false;
    }
    return true;
  };
  for (uint32_t i = 0; i < queue.work->open.count(); ++i) {
    const QueueOpen& one = queue.work->open[i];
    if (one.settled || one.number < from) continue;
    if (!values_below(one.number) || !visit(one.number, uint32_t{one.deliveries}, one.member != 0, one.message)) return;
  }
  if (!values_below(UINT64_MAX)) return;
  queue.journal().look(queue.reader, from, &visit, [](void* user, const JournalEntry& entry) noexcept {
    return (*static_cast<std::remove_reference_t<Visit>*>(user))(entry.number, 0u, false, entry.message);
  });
}

}  // namespace mqttq
