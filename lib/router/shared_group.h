// Shared subscriptions at their home (MQTT5 4.8.2): each message goes to one member of a group.
//
// A group lives on its home shard, where it is a sink like any other; its members are sessions of any shard. The home
// knows of each member whether it is connected, how wide its window is and how many messages of the group it has open,
// and never chooses one that is full while another has room. While nobody has, what is above QoS 0 waits here. A member
// may still find that it cannot take what it was handed (its window is shared with its other subscriptions), and gives
// it back.
#pragma once

#include "base/hash_table.h"
#include "base/random.h"
#include "base/ring.h"
#include "router/fan_out.h"
#include "router/mail.h"
#include "router/shared_strategy.h"

namespace mqttq {

// Who wants to become a member of what.
struct GroupJoin final : MailPayload {
  ~GroupJoin() override { release(text); }
  NamespaceId namespace_id = kGlobalNamespace;
  char* text = nullptr;  // "$share/group/filter", owned
  uint16_t text_size = 0;
  std::string_view shared_filter() const noexcept { return {text, text_size}; }
};

// What a group's home has to know of a member. Travels as Mail::token.
struct MemberState {
  uint16_t window = 0;  // QoS 1 and 2 messages that the client takes at once
  bool connected = false;
  bool durable = false;  // the session outlives its connection
  uint32_t pack() const noexcept { return window | uint32_t{connected} << 16 | uint32_t{durable} << 17; }
  static MemberState unpack(uint32_t packed) noexcept {
    return {static_cast<uint16_t>(packed), (packed >> 16 & 1) != 0, (packed >> 17 & 1) != 0};
  }
};

// Names a member at its group's home; 0 names nobody. Goes stale when the member leaves.
using MemberId = uint64_t;

// What became of a message that was handed to a member.
enum class Handed : uint8_t {
  Open,      // above QoS 0: done() or give_back() will follow
  Finished,  // sent at QoS 0, or of no use to this member
  Full,      // no room; the member will say when it has some
  Away,      // not connected
};

// How a group reaches its members. Implemented by the shard.
class GroupCourier {
 public:
  // `membership` is the member's own name for it, on `shard`; `group` is for give_back().
  virtual Handed hand_to_member(uint32_t shard, SlabHandle membership, SlabHandle group, MovingMessage& message,
                                Instant now) noexcept = 0;
  // The member is away and others are there: what it has unacknowledged at QoS 1 is to be given back.
  virtual void recall(uint32_t shard, SlabHandle membership, Instant now) noexcept = 0;
  virtual void count_dropped(const MessageView& message) noexcept = 0;

 protected:
  ~GroupCourier() = default;
};

// All groups whose home is one shard. Touched only there.
class SharedGroups {
 public:
  struct Limits {
    uint32_t waiting_max = 10'000;                 // messages that wait for a member of one group
    uint64_t waiting_bytes_max = 4 * 1024 * 1024;  // of their topics, properties and payloads
  };
  SharedGroups(FanOut& fan_out, GroupCourier& courier, const SharedStrategies& strategies, const Limits& limits,
               uint64_t seed) noexcept
      : fan_out_(fan_out), courier_(courier), strategies_(strategies), limits_(limits), seed_(seed), random_(seed) {}
  ~SharedGroups();

  // A session becomes a member. 0 without memory. What waits is sent by the next call of set_state().
  MemberId join(const GroupJoin& join, uint32_t shard, SlabHandle membership, MemberState state) noexcept;
  void leave(MemberId member, Instant now) noexcept;
  void set_state(MemberId member, MemberState state, Instant now) noexcept;
  // So many of its open messages are finished.
  void done(MemberId member, uint32_t count, Instant now) noexcept;
  // A message that was handed to the member is not for it: `why` is Full or Away. The member may have left meanwhile;
  // it is 0, then, or stale, and `group` counts.
  void give_back(MemberId member, SlabHandle group, const MessageRef& message, Handed why, Instant now) noexcept;
  uint32_t count() const noexcept { return groups_.count(); }

 private:
  struct Group;
  struct Member {
    Group* group;
    SlabHandle membership;
    uint32_t index = 0;       // in the group's list
    uint32_t open_count = 0;  // handed over above QoS 0, and not finished
    uint8_t shard;
    bool full = false;  // said so, and has not said otherwise
    MemberState state;
    bool takes(bool counted) const noexcept {
      return state.connected && !full && (!counted || open_count < state.window);
    }
  };
  struct Group final : Sink, HashLink<Group> {
    using Sink::Sink;
    SharedGroups* home = nullptr;
    SharedStrategy strategy = SharedStrategy::RoundRobin;
    uint32_t next = 0;           // the member to be asked first, by turns
    uint32_t durable_count = 0;  // members that come back
    uint32_t connected_count = 0;
    Member* sticky = nullptr;
    Array<Member*> members;
    Ring<MessageRef> waiting;
    uint64_t waiting_bytes = 0;
    Subscription subscription;
    uint16_t text_size = 0;
    char* characters = nullptr;
    ~Group() { release(characters); }
    std::string_view text() const noexcept { return {characters, text_size}; }
    void deliver(const Delivery& delivery, Instant now) noexcept override;
    Member* choose(const MessageView& message, bool counted) noexcept;
    Member* first_from(uint32_t start, bool counted) noexcept;
    bool offer(MovingMessage& message, Instant now) noexcept;
    void keep_waiting(MovingMessage& message) noexcept;
    void drop_oldest() noexcept;
    void flush(Instant now) noexcept;
    void set_state(Member& member, MemberState state) noexcept;
    void set_unable(Member& member, Handed why) noexcept;
    void recall_from_absent(Instant now) noexcept;
  };

  Member* find_member(MemberId id) noexcept;
  Group* find_or_make(NamespaceId namespace_id, std::string_view text) noexcept;
  uint64_t key(NamespaceId namespace_id, std::string_view text) const noexcept;
  void end(Group& group) noexcept;
  static MemberId id_of(const Member& member) noexcept;

  FanOut& fan_out_;
  GroupCourier& courier_;
  const SharedStrategies& strategies_;
  const Limits limits_;
  const uint64_t seed_;
  Random random_;
  HashTable<Group> groups_;
  Slab<Group> group_slab_{UINT32_MAX};
  Slab<Member> members_{UINT32_MAX};
};

}  // namespace mqttq
