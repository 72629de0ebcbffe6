// Shared subscriptions at their home (MQTT5 4.8.2): each message goes to one member of a group.
//
// A group lives on its home shard, where it is a sink like any other; its members are sessions of any shard. The home
// knows of each member whether it is connected, how wide its window is and how many messages of the group it has open,
// and never chooses one that is full while another has room. While nobody has, what is above QoS 0 waits here. A member
// may still find that it cannot take what it was handed (its window is shared with its other subscriptions), and gives
// it back.
//
// Once a member's session outlives its connection the group is durable: what is above QoS 0 comes out of its filter's
// journal, where the group has one place, and is settled by its number. The journal is where it waits, then, and who is
// handed a message that the log keeps writes that down together with the message's place in his window (GroupTaken).
#pragma once

#include "base/hash_table.h"
#include "base/random.h"
#include "base/ring.h"
#include "router/fan_out.h"
#include "router/membership.h"
#include "router/read_ahead.h"
#include "router/shared_strategy.h"

namespace mqttq {

// What a group needs besides its members. Implemented by the shard.
class GroupCourier : public MemberCourier {
 public:
  // The member is away and others are there: what it has unacknowledged at QoS 1 is to be given back.
  virtual void recall(uint32_t shard, SlabHandle membership, Instant now) noexcept = 0;
  virtual void count_dropped(const MessageView& message) noexcept = 0;
  // Asks for messages that are not in memory, which on_fetched() gets. False: ask again some time later.
  virtual bool fetch_for_group(SlabHandle group, std::span<const uint64_t> numbers) noexcept = 0;
  // A member has left that has messages: on_left() is to follow once all that its shard has sent is here, and all that
  // it has recorded until then is durable.
  virtual void confirm_leave(uint32_t shard, MemberId member, SlabHandle group) noexcept = 0;
  // A durable group ends.
  virtual void forget_group(NamespaceId namespace_id, std::string_view shared_filter) noexcept = 0;

 protected:
  ~GroupCourier() = default;
};

// A message of a durable group that is with a member, or came back.
struct GroupOpen {
  uint64_t number = 0;
  MemberId member = 0;    // who has it; 0: nobody
  MessageRef message;     // of one that came back: empty if it is to be read
  bool settled = false;   // by its member: it is out of here once that is recorded
  bool recorded = false;  // its member has written that it took it
};

// Where a durable group stands.
struct GroupProgress {
  NamespaceId namespace_id = kGlobalNamespace;
  std::string_view shared_filter;
  uint64_t position = 0;  // the first number that was not taken out of its journal
  // By their numbers; some are settled, and out of here afterwards. Of another life of the broker's there may be some
  // behind the position, until it has come that far.
  Ring<GroupOpen>& open;
};

struct SharedGroup;
// Its place in its filter's journal.
struct GroupReader : Cursor {
  SharedGroup* group = nullptr;
};

class SharedGroups;
// A member, as its group's home knows it.
struct GroupMember {
  SharedGroup* group;
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

// One group, at its home.
struct SharedGroup final : Sink, HashLink<SharedGroup>, ListLink<struct ChangedTag>, ListLink<struct ReadyTag> {
  using Sink::Sink;
  ~SharedGroup() { release(characters); }

  SharedGroups* home = nullptr;
  SharedStrategy strategy = SharedStrategy::RoundRobin;
  uint32_t next = 0;           // the member to be asked first, by turns
  uint32_t durable_count = 0;  // members that come back
  uint32_t connected_count = 0;
  GroupMember* sticky = nullptr;
  Array<GroupMember*> members;
  Ring<MessageRef> waiting;  // what came live
  uint64_t waiting_bytes = 0;
  Subscription subscription;
  // Of a durable one:
  GroupReader reader;
  Ring<GroupOpen> open;         // by their numbers
  uint32_t returned_count = 0;  // of these, with nobody
  ReadAhead ahead;

  uint16_t text_size = 0;
  char* characters = nullptr;
  std::string_view text() const noexcept { return {characters, text_size}; }
  SlabHandle handle() const noexcept { return Slab<SharedGroup>::handle(*this); }

  void deliver(const Delivery& delivery, Instant now) noexcept override;
  GroupMember* choose(const MessageView& message, bool counted) noexcept;
  GroupMember* first_from(uint32_t start, bool counted) noexcept;
  bool offer(MovingMessage& message, uint64_t number, Instant now) noexcept;
  void keep_waiting(MovingMessage& message) noexcept;
  void drop_oldest() noexcept;
  void flush(Instant now) noexcept;
  void set_state(GroupMember& member, MemberState state) noexcept;
  void set_unable(GroupMember& member, Handed why) noexcept;
  void recall_from_absent(Instant now) noexcept;
  // False without memory: it is not durable.
  bool make_durable() noexcept;
  bool start_reading() noexcept;
  GroupOpen* find_open(uint64_t number) noexcept { return find_number(open, number); }
  bool has_open_of(MemberId member) noexcept;
  void note_handed(uint64_t number, MemberId member) noexcept;
  bool flush_returned(Instant now) noexcept;
  bool flush_journal(Instant now) noexcept;
  ReadAhead::Content content(uint64_t number, MessageRef& message) noexcept;
  void settle_open(GroupOpen& one, bool recorded) noexcept;
  void drop_settled(uint64_t position) noexcept;
  void changed() noexcept;
  uint64_t position(uint64_t seen_number) const noexcept;
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
  // confirm_leave() is answered.
  void on_left(MemberId member, SlabHandle group) noexcept;
  void set_state(MemberId member, MemberState state, Instant now) noexcept;
  // So many of its open messages are finished, and those with these numbers (GroupNumbers).
  void done(MemberId member, uint32_t count, std::span<const uint64_t> numbers, Instant now) noexcept;
  // A message that was handed to the member is not for it: `why` is Full or Away. The member may have left meanwhile;
  // it is 0, then, or stale, and `group` counts. message: may be empty if there is a number, by which it is read.
  void give_back(MemberId member, SlabHandle group, const MessageRef& message, uint64_t number, Handed why,
                 Instant now) noexcept;
  uint32_t count() const noexcept { return groups_.count(); }

  // --- durable groups
  // A message came for the journal in which `reader` waited: run() hands it out.
  void on_journal(GroupReader& reader) noexcept;
  void run(Instant now) noexcept;
  // It was moved on by a limit of its journal's.
  void note_changed(GroupReader& reader) noexcept;
  // What fetch_for_group() asked for; `messages` is emptied.
  void on_fetched(SlabHandle group, Ring<FetchedMessage>& messages, Instant now) noexcept;
  // Calls record(const GroupProgress&) for each group that is changed, lets what is settled go, and goes on with what
  // could not be read or entered. seen_number: the shard has all messages up to it. all: for every durable one.
  template <class Record>
  void settle(uint64_t seen_number, bool all, Instant now, Record&& record) noexcept;
  // The first number that a group needs; UINT64_MAX: none does.
  uint64_t lowest_number(uint64_t seen_number) noexcept;
  // Messages up to this number that no member has are of no use any more. Returns how many those were.
  uint32_t drop_old(uint64_t number) noexcept;
  // All that groups need; as Session::add_needed().
  void add_needed(NeededNumbers& needed, uint32_t pass) noexcept;

  // nullptr: it has no member.
  SharedGroup* find(NamespaceId namespace_id, std::string_view shared_filter) noexcept;
  // Before it runs, of a durable one: it reads nothing until restore_reader(), and from there on what is appended.
  // False without memory.
  void restore_begin(SharedGroup& group) noexcept;
  bool restore_reader(SharedGroup& group) noexcept;
  // What was handed out before: in the order of the numbers, each once. False without memory.
  bool restore_open(SharedGroup& group, GroupOpen&& open) noexcept;

 private:
  using Group = SharedGroup;
  using Member = GroupMember;
  friend struct SharedGroup;

  Member* find_member(MemberId id) noexcept;
  Group* find_or_make(NamespaceId namespace_id, std::string_view text) noexcept;
  uint64_t key(NamespaceId namespace_id, std::string_view text) const noexcept;
  void end(Group& group, bool forget) noexcept;
  static MemberId id_of(const Member& member) noexcept;

  FanOut& fan_out_;
  GroupCourier& courier_;
  const SharedStrategies& strategies_;
  const Limits limits_;
  const uint64_t seed_;
  Random random_;
  HashTable<Group> groups_;
  IntrusiveList<Group, ChangedTag> changed_;
  IntrusiveList<Group, ReadyTag> ready_;
  Slab<Group> group_slab_{UINT32_MAX};
  Slab<Member> members_{UINT32_MAX};
};

template <class Record>
void SharedGroups::settle(uint64_t seen_number, bool all, Instant now, Record&& record) noexcept {
  if (all) {
    groups_.for_each([](Group& group) {
      if (group.reader.journal) group.changed();
    });
  }
  IntrusiveList<Group, ChangedTag> changed;
  changed.splice_back(changed_);
  while (Group* group = changed.pop_front()) {
    const uint64_t position = group->position(seen_number);
    record(GroupProgress{group->namespace_id(), group->text(), position, group->open});
    group->drop_settled(position);
    group->flush(now);
  }
}

}  // namespace mqttq
