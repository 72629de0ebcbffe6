// What the homes of shared groups, queues and streams have in common: members, which are sessions of any shard.
#pragma once

#include "base/owned_text.h"
#include "base/slab.h"
#include "message/detail.h"
#include "router/mail.h"
#include "router/stream_place.h"

namespace mqttq {

// Who wants to become a member of what.
struct GroupJoin final : MailPayload {
  ~GroupJoin() override = default;
  NamespaceId namespace_id = kGlobalNamespace;
  enum class Kind : uint8_t { Group, Queue, Stream };
  Kind kind = Kind::Group;
  bool declare = false;    // a queue or stream that is not there
  OwnedText name;          // "$share/group/filter", or a queue's or stream's name
  OwnedText topic_filter;  // that the queue is to have, or of which messages of the stream are wanted; empty: any
  // Of a stream:
  OwnedText client_id, cursor;
  StreamOffset offset;
  bool shared = false, seeks = false;  // StreamTerms
  bool resumes = false;                // from `place` on, which has a number, and a position as it was then
  StreamPlace place;                   // in an answer: where it begins
  OwnedText key;                       // in an answer: what its messages go by
  uint64_t behind = 0;  // so many of the committer's mails are to be read before, and one less; 0: not known yet
  // nullptr without memory.
  static GroupJoin* create_for(NamespaceId namespace_id, std::string_view name,
                               std::string_view topic_filter = {}) noexcept;
};

// Messages that are finished, by their numbers in the log.
struct GroupNumbers final : MailPayload {
  // Beside a number: its member has recorded it; of a queue's message: he has it no longer and did not settle it, or
  // does not want it.
  static constexpr uint64_t kRecorded = uint64_t{1} << 63, kReturned = uint64_t{1} << 62, kRejected = uint64_t{1} << 61,
                            kMarks = kRecorded | kReturned | kRejected;
  ~GroupNumbers() override = default;
  Array<uint64_t> numbers;
};

// What a group's home has to know of a member. Travels as Mail::token.
struct MemberState {
  uint16_t window = 0;  // QoS 1 and 2 messages that the client takes at once
  bool connected = false;
  bool durable = false;  // the session outlives its connection, and is to get more than QoS 0
  // Of a queue's consumer:
  bool acknowledges = false;  // it has more than QoS 0
  int8_t priority = 0;
  uint32_t pack() const noexcept {
    return window | uint32_t{connected} << 16 | uint32_t{durable} << 17 | uint32_t{acknowledges} << 18 |
           uint32_t{static_cast<uint8_t>(priority)} << 24;
  }
  static MemberState unpack(uint32_t packed) noexcept {
    return {static_cast<uint16_t>(packed), (packed >> 16 & 1) != 0, (packed >> 17 & 1) != 0, (packed >> 18 & 1) != 0,
            static_cast<int8_t>(packed >> 24)};
  }
};

// Names a member at its group's home; 0 names nobody. Goes stale when the member leaves.
using MemberId = uint64_t;
inline SlabHandle handle_of(MemberId id) noexcept {
  return {static_cast<uint32_t>(id >> 32), static_cast<uint32_t>(id)};
}
inline MemberId member_id(SlabHandle handle) noexcept { return uint64_t{handle.index} << 32 | handle.generation; }

// What comes of it.
struct GroupJoined {
  MemberId member = 0;  // 0: why not
  Detail why = Detail::None;
  std::string_view topic_filter;  // of a queue or stream; borrowed
  bool declared = false;          // it was not there before
  StreamPlace place;              // of a stream: where it begins
  std::string_view key;           // the same: what its messages go by; borrowed
};

// What became of a message that was handed to a member.
enum class Handed : uint8_t {
  Open,      // above QoS 0: done() or give_back() will follow
  Finished,  // sent at QoS 0, or of no use to this member
  Full,      // no room; the member will say when it has some
  Away,      // not connected
  Refused,   // of a queue's: it is too large for this client
};

// What a reader of a stream tells beside its state.
struct StreamReaderState final : MailPayload {
  explicit StreamReaderState(const StreamPlace& at) noexcept : place(at) {}
  ~StreamReaderState() override = default;
  StreamPlace place;
};

// Messages for a reader on another shard.
struct StreamBatch final : MailPayload {
  struct Item {
    MessageRef message;
    StreamAt at;
  };
  ~StreamBatch() override = default;
  uint32_t epoch = 0;  // StreamPlace
  Ring<Item> items;
};

// How a home reaches its members. Implemented by the shard.
class MemberCourier {
 public:
  // `membership` is the member's own name for it, on `shard`; `home` is for what comes back when it has gone, and names
  // nothing where nothing has to.
  // number: by which its home knows it, 0 if it has none. skipped: StreamAt.
  virtual Handed hand_to_member(uint32_t shard, SlabHandle membership, SlabHandle home, MovingMessage& message,
                                uint64_t number, Instant now, uint64_t skipped) noexcept = 0;
  // Of a queue, a stream or a cursor: it is gone, and the member none any more.
  virtual void tell_deleted(uint32_t shard, SlabHandle membership, Instant now) noexcept = 0;
  // A message that was kept cannot be read any more.
  virtual void count_lost() noexcept = 0;
  // What is to be recorded of some home is another.
  virtual void note_groups_changed() noexcept = 0;

 protected:
  ~MemberCourier() = default;
};

}  // namespace mqttq
