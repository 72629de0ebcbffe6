// What shards, and the committer, say to one another.
#pragma once

#include <memory>

#include "base/array.h"
#include "base/mailbox.h"
#include "base/ring.h"
#include "base/slab.h"
#include "journal/journal.h"
#include "router/filter.h"

namespace mqttq {

// What does not fit into a Mail's own fields; made by create<>().
struct MailPayload {
  virtual ~MailPayload() = default;
};

// Whom an answer is for: a publish of one connection of one session. It names nobody once they have ended.
struct PublishOrigin {
  SlabHandle session;
  uint32_t connection_serial = 0;
  uint16_t packet_id = 0;
  uint8_t shard = 0;
  bool wanted() const noexcept { return packet_id != 0; }
  // A message that goes from one queue to another: a dead letter, or one that is moved, which its queue has to take.
  // Serials of no connection.
  // kImported: one that a stream gets back, which keeps the time that it has.
  static constexpr uint32_t kLetter = UINT32_MAX, kMoved = UINT32_MAX - 1, kImported = UINT32_MAX - 2;
  bool of_letter() const noexcept { return connection_serial >= kImported; }
  // Its queue or stream has to take it, or it is refused.
  bool is_moved() const noexcept { return connection_serial == kMoved || is_imported(); }
  bool is_imported() const noexcept { return connection_serial == kImported; }
};

// One shard's changes of what is kept: StateWrites of a turn, or of some.
struct StateRecord final : MailPayload {
  ~StateRecord() override = default;
  Array<std::byte> writes;
};

// What one shard says of the messages that its sessions and groups need.
struct NeededNumbers final : MailPayload {
  static constexpr uint32_t kCountMax = 4'000'000;
  ~NeededNumbers() override = default;
  uint64_t up_to = 0;          // asked for: those up to this number; 0: none
  uint64_t waiting_bytes = 0;  // of all that wait, in the log, about
  bool complete = true;        // there was memory for all of them, and they were not more than kCountMax
  Array<uint64_t> numbers;     // in no order; some are there more than once

  void add(uint64_t number) noexcept {
    complete = complete && numbers.count() < kCountMax && numbers.push_back(number);
  }
  // What its readers have not read. pass: not 0, another one for each count.
  void add_journal(Journal& journal, uint32_t pass) noexcept {
    if (std::exchange(journal.visited, pass) == pass) return;
    journal.for_each_unread(
        up_to, this, [](void* user, uint64_t number) noexcept { static_cast<NeededNumbers*>(user)->add(number); });
  }
};

// Queues that do without the message that their route brings.
struct WithoutQueues final : MailPayload {
  ~WithoutQueues() override = default;
  Array<Filter*> filters;  // the route's
};

struct Mail {
  enum class Kind : uint8_t {
    None,
    Deliver,         // message, route: to the sinks of the receiving shard
    Propose,         // message, route, origin: to the committer, for the journals of the route; number: not 0, then
                     // with the receipt of TextKey{publisher of the message, number} and the origin's identifier
    Append,          // number, message, route, payload WithoutQueues or none: from the committer, in the order of the
                     // numbers
    Record,          // payload StateRecord: to the committer, changes of what is kept
    Recorded,        // number (of the record), token (its serial), reason: from there; at an error, once more later
    FindLowest,      // number (the last), payload NeededNumbers or none: from there, which number is the first that a
                     // reader still needs?
    Lowest,          // number, the payload filled in: to there
    Evict,           // number: from there, messages up to it need not be in memory
    Alarm,           // from there to the first shard: the alarm of the store is another
    Published,       // origin, reason: one taker of a publish has answered
    RetainSet,       // message, origin: keep it, or clear its topic when its payload is empty
    RetainQuery,     // session (flow), payload RetainedQuery: what is retained under a filter?
    RetainFound,     // session (flow), payload RetainedBatch: all of one shard's answer
    MoveConnection,  // payload MovedConnection: it lives on the receiving shard now
    // Of shared groups, queues and streams. To their home, where `number` is the MemberId:
    GroupJoin,    // session (membership), token (MemberState), payload GroupJoin
    GroupLeave,   // number
    GroupState,   // number, token (MemberState); payload, of a stream's reader: StreamReaderState
    GroupDone,    // number, token: so many messages are finished; payload GroupNumbers: those that have numbers
    GroupReturn,  // session (member), number (of the log), message, token (Handed), origin.session (group): it is not
                  // for this member, who may have left
    GroupSync,    // session (membership), number: to be answered behind all that was handed to it, and takes nothing
                  // until it says that it is there
    // And from there, to a membership:
    GroupJoined,    // session (membership), number: the MemberId, or 0, token (Detail): why not; payload, of a queue
                    // or stream: GroupJoin with its topic filter and what else it answers
    GroupDeliver,   // session (membership), message, number (by which its home knows it; 0: none), origin.session
                    // (group), token: StreamAt::skipped
    GroupSynced,    // session (membership)
    GroupRecall,    // session (membership): others are there
    StreamDeliver,  // session (membership), payload StreamBatch
    ObjectDeleted,  // session (membership): the queue or stream has ended
    GroupLeft,      // number (MemberId), session (group), token (1): a member has left that had messages; back from
                    // there, token 0, when all that it recorded is durable
  };
  Kind kind = Kind::None;
  ReasonCode reason = ReasonCode::Success;
  uint8_t from = 0;
  Qos qos = Qos::AtMostOnce;
  uint32_t token = 0;
  PublishOrigin origin;
  SlabHandle session;
  uint64_t number = 0;
  MessageRef message;
  RouteRef route;
  std::unique_ptr<MailPayload, Destroy> payload;
};

// The mailboxes of a broker: one from every party to every other. Parties 0 .. shard_count-1 are the shards, the last
// is the committer.
class PostOffice {
 public:
  // Throws std::bad_alloc. capacity: mails in each mailbox, at least 1.
  PostOffice(uint32_t shard_count, uint32_t capacity) : party_count_(shard_count + 1) {
    boxes_ = std::make_unique<std::unique_ptr<Mailbox<Mail>>[]>(size_t{party_count_} * party_count_);
    for (uint32_t i = 0; i < party_count_ * party_count_; ++i) boxes_[i] = std::make_unique<Mailbox<Mail>>(capacity);
  }
  uint32_t party_count() const noexcept { return party_count_; }
  uint32_t committer() const noexcept { return party_count_ - 1; }
  Mailbox<Mail>& box(uint32_t from, uint32_t to) noexcept { return *boxes_[from * party_count_ + to]; }

  // Something for `to` anywhere?
  bool has_mail(uint32_t to) const noexcept {
    for (uint32_t from = 0; from < party_count_; ++from) {
      if (!boxes_[from * party_count_ + to]->empty()) return true;
    }
    return false;
  }

 private:
  const uint32_t party_count_;
  std::unique_ptr<std::unique_ptr<Mailbox<Mail>>[]> boxes_;
};

// One party's way of sending. What may be refused is asked for with post(); what may not (answers, subscription
// changes, moves) with post_surely(), which keeps what does not fit, in order, until there is room: each such mail
// answers a request or belongs to a connection, so that their number is bounded by the bounds of those.
class Postman {
 public:
  Postman(PostOffice& office, uint32_t self)
      : office_(office), self_(self), waiting_(new Ring<Mail>[office.party_count()]) {}

  // False when full, `mail` is then untouched.
  bool post(uint32_t to, Mail&& mail) noexcept {
    mail.from = static_cast<uint8_t>(self_);
    if (!waiting_[to].empty() || !office_.box(self_, to).push(std::move(mail))) return false;
    woken_ |= uint64_t{1} << to;
    return true;
  }
  // False only when the allocator refuses, `mail` is then untouched.
  bool post_surely(uint32_t to, Mail&& mail) noexcept {
    if (post(to, std::move(mail))) return true;
    return waiting_[to].push_back(std::move(mail));
  }
  // Sends what had to wait and now fits. True if something still waits: for a party that will wake us when it has room.
  bool flush() noexcept {
    bool some_wait = false;
    for (uint32_t to = 0; to < office_.party_count(); ++to) {
      Ring<Mail>& waiting = waiting_[to];
      while (!waiting.empty() && office_.box(self_, to).push(std::move(waiting.front()))) {
        waiting.pop_front();
        woken_ |= uint64_t{1} << to;
      }
      if (waiting.empty()) continue;
      some_wait = true;
    }
    return some_wait;
  }
  // The party `from` was refused by our box, which has room again.
  void wake(uint32_t from) noexcept { woken_ |= uint64_t{1} << from; }
  // Bit n: party n was sent something since the last call, or waits for the room that there is now.
  uint64_t take_woken() noexcept {
    const uint64_t woken = woken_;
    woken_ = 0;
    return woken;
  }

 private:
  PostOffice& office_;
  const uint32_t self_;
  std::unique_ptr<Ring<Mail>[]> waiting_;
  uint64_t woken_ = 0;
};

}  // namespace mqttq
