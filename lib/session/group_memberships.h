// Memberships of shared groups (MQTT5 4.8.2), consumers of queues and readers of streams, where they live.
//
// A session's membership and its group, queue or stream may be on different shards. What the home has to know is not
// sent as it happens but noted, and told once in the turn: so it cannot be lost for want of memory, and a batch of
// acknowledgements is one mail.
#pragma once

#include "base/hash_table.h"
#include "base/owned_text.h"
#include "base/slab.h"
#include "router/message_key.h"
#include "router/shared_group.h"

namespace mqttq {

class Session;
class ShardCore;

// One session in one group, or with one queue or stream. Stands in the session's table, by its text.
struct GroupMembership : HashLink<GroupMembership> {
  explicit GroupMembership(Session& of) noexcept : session(&of) {}
  ~GroupMembership() {
    release(text_);
    destroy(reading);
  }
  GroupMembership(const GroupMembership&) = delete;
  GroupMembership& operator=(const GroupMembership&) = delete;

  enum class Phase : uint8_t { Asking, Member, Refused };

  std::string_view text() const noexcept { return {text_, text_size_}; }  // "$share/group/filter", "$queue/name", …
  bool joined() const noexcept { return phase_ == Phase::Member; }
  bool refused() const noexcept { return phase_ == Phase::Refused; }

  Session* session;  // nullptr once it has left, until the home is told
  uint32_t identifier = 0;
  Qos qos = Qos::AtMostOnce;
  bool retain_as_published = false;
  bool was_full = false;  // the home was told so, and is to hear when there is room
  bool stored = false;    // it is recorded
  // Of a queue:
  bool of_queue = false;
  bool accepted = false;  // its subscriber was told so: before that it gets nothing
  int8_t priority = 0;
  Detail refusal = Detail::None;  // why it was refused
  OwnedText topic_filter;         // the queue's or stream's
  // Of a stream.
  struct Reading {
    StreamOffset offset;    // where it began
    StreamPlace place;      // behind what it was handed
    MessageKey key;         // the stream's
    OwnedText cursor;       // through which it reads; empty: it has a place of its own
    bool shared = false;    // with others
    uint64_t recorded = 0;  // the number of the place that was recorded last
    uint64_t untold = 0;    // messages that were skipped, as what was to tell it was not sent
  };
  Reading* reading = nullptr;  // owned; null: of none
  // Neither a shared group's.
  bool of_object() const noexcept { return of_queue || reading; }
  // What it has not acknowledged is another's as soon as it is gone; else its own.
  bool gives_back() const noexcept { return of_queue || (reading && !reading->cursor.empty()); }
  bool has_place() const noexcept { return reading && reading->cursor.empty(); }

  void set_options(const Subscription& options) noexcept {
    qos = options.qos;
    identifier = options.identifier;
    retain_as_published = options.retain_as_published;
  }
  // What the home is to know: of one at QoS 0 nothing is kept.
  MemberState state() const noexcept;
  // Room to note one more message that has a number, as taken and as done. False without memory.
  [[nodiscard]] bool make_room() noexcept { return done_.reserve(done_.count() + numbered_count_ + 1); }
  // Such a message is open: note_done(), or give_back(), follows.
  void note_taken() noexcept { ++numbered_count_; }
  // Of a queue or cursor: it gave messages back, and that may not know yet. What it hands over meanwhile is behind
  // those, and is not to be taken before them.
  bool returns() const noexcept { return returning_ != Returning::No; }

 private:
  friend class GroupMemberships;
  enum class Returning : uint8_t { No, Untold, Asked };
  bool has_news() const noexcept {
    return done_count_ || !done_.empty() || state_changed_ || returning_ == Returning::Untold;
  }
  void note_returned() noexcept {
    if (gives_back() && returning_ == Returning::No) returning_ = Returning::Untold;
  }

  MemberId member_ = 0;
  uint64_t served_ = 0;          // GroupMemberships::serves_, when it was handed a message last
  Array<uint64_t> done_;         // GroupNumbers, not told yet
  uint32_t numbered_count_ = 0;  // open messages that have numbers
  uint32_t done_count_ = 0;      // not told yet
  Phase phase_ = Phase::Asking;
  Returning returning_ = Returning::No;
  bool state_changed_ = false;  // not told yet
  bool listed_ = false;         // among those that have something to tell
  uint8_t home_ = 0;
  uint16_t text_size_ = 0;
  char* text_ = nullptr;
};

// For its home: who asks for what is named by such a text. nullptr without memory.
GroupJoin* make_join(NamespaceId namespace_id, std::string_view text) noexcept;

// All memberships of one shard's sessions. Touched only there.
class GroupMemberships {
 public:
  explicit GroupMemberships(ShardCore& shard) noexcept : shard_(shard) {}
  ~GroupMemberships();

  // Asks the home of the group, queue or stream; the answer comes to Session::on_group_answer. nullptr without memory.
  // declare: a queue or stream that is not there, where the text says of which filter.
  GroupMembership* join(Session& session, std::string_view text, const Subscription& options, bool declare,
                        const StreamTerms& terms) noexcept;
  // The session lets go of it.
  void leave(GroupMembership& membership) noexcept;
  GroupMembership* find(SlabHandle membership) noexcept { return slab_.find(membership); }
  static SlabHandle handle(const GroupMembership& membership) noexcept {
    return Slab<GroupMembership>::handle(membership);
  }

  // The session's connection or window is another now, or there is room again.
  void note_state(GroupMembership& membership) noexcept;
  // The session has no connection any more: what is on its way to it is not for the next one.
  void note_gone(GroupMembership& membership) noexcept {
    membership.note_returned();
    note_state(membership);
  }
  // It is being handed a message.
  void note_served(GroupMembership& membership) noexcept { membership.served_ = ++serves_; }
  // A message that came through it is finished. It may have ended. number: 0 if it has none; marks: GroupNumbers.
  void note_done(SlabHandle membership, uint64_t number, uint64_t marks) noexcept;
  // The same of one that was never open.
  void note_finished(SlabHandle membership, uint64_t number, uint64_t marks) noexcept;
  // Of a stream on another shard: what it handed over is finished already.
  void note_read(GroupMembership& membership) noexcept;
  // A message that came through it, and is not for this member: at once. open: it was.
  void give_back(GroupMembership& membership, const MessageRef& message, uint64_t number, bool open, Handed why,
                 Instant now) noexcept;
  void on_joined(SlabHandle membership, GroupJoined joined) noexcept;
  // What its queue handed over before it knew what came back has come, and gone back too.
  void on_synced(SlabHandle membership) noexcept;

  // Tells the homes what was noted: first who found a session full and was served longest ago that there is room, since
  // who hears it first may take it all. False: memory was refused to some of it, which is told at the next call.
  bool tell(Instant now) noexcept;
  bool has_news() const noexcept { return !news_.empty() || look_for_news_; }
  uint32_t count() const noexcept { return slab_.count(); }
  // Before it runs: one that its home, shard `home`, knows by this name. nullptr without memory.
  GroupMembership* restore(Session& session, std::string_view text, uint32_t home) noexcept;
  void on_restored(GroupMembership& membership, const GroupJoined& joined) noexcept {
    on_joined(handle(membership), joined);
  }
  static MemberId member_of(const GroupMembership& membership) noexcept { return membership.member_; }

 private:
  GroupMembership* make(Session& session, std::string_view text) noexcept;
  void list(GroupMembership& membership) noexcept;
  void tell_of_room(Instant now) noexcept;
  bool tell_one(GroupMembership& membership, Instant now) noexcept;
  bool post(GroupMembership& membership, Mail::Kind kind, uint32_t token, Instant now) noexcept;
  bool post(const GroupMembership& membership, Mail&& mail, Instant now) noexcept;
  bool tell_done(GroupMembership& membership, Instant now) noexcept;
  bool tell_state(GroupMembership& membership, Instant now) noexcept;
  bool tell_returned(GroupMembership& membership, Instant now) noexcept;

  ShardCore& shard_;
  Slab<GroupMembership> slab_{UINT32_MAX};
  Array<SlabHandle> news_;
  Array<GroupMembership*> found_full_;  // of these, in a call
  uint64_t serves_ = 0;
  bool look_for_news_ = false;  // there was no memory to list some
};

}  // namespace mqttq
