// Named cursors: places in a stream that are kept there, committed by acknowledgement, for one reader or for a group
// that divides the stream's messages by their keys (DESIGN 2, 7).
//
// A cursor is a reader of its stream, and hands what it is given to its members, which are sessions of any shard. What
// it has taken and nobody has acknowledged stands in `taken`; what comes back is read again, from the lowest such
// position on. While messages of a key are with a member, he has the others too, so that each key is in order. All that
// is recorded is the lowest position that is not acknowledged.
#pragma once

#include "stream/stream.h"

namespace mqttq {

struct StreamCursor;
class StreamCursors;

// A member, as the cursor knows it.
struct CursorMember {
  StreamCursor* cursor = nullptr;
  SlabHandle membership;
  uint32_t index = 0;  // in the cursor's list
  uint32_t open_count = 0;
  uint8_t shard = 0;
  bool full = false;  // said so, and has not said otherwise
  MemberState state;
  bool takes() const noexcept { return state.connected && !full && (!state.acknowledges || open_count < state.window); }
};

// Messages of one key that are with a member, or wait for him.
struct CursorKey : HashLink<CursorKey> {
  TextKey key;
  uint32_t count = 0;           // of `taken`
  uint32_t inflight_count = 0;  // of these
  MemberId owner = 0;           // who has those
  uint32_t held_pass = 0;       // the pass in which one of them could not be handed out
};

// A message that was read, and all before it are not acknowledged yet.
struct CursorTaken {
  uint64_t number = 0;  // its position
  MemberId member = 0;  // who has it; 0: nobody, or it is done
  bool done = false;
  uint32_t pass = 0;  // in which it was held back, or came back
  CursorKey* key = nullptr;
};

struct StreamCursor final : StreamTaker,
                            HashLink<StreamCursor>,
                            ListLink<struct CursorsTag>,
                            ListLink<struct ChangedCursorTag> {
  StreamCursor(StreamCursors& of, Stream& in) noexcept : home(of), stream(in) {}

  StreamCursors& home;
  Stream& stream;
  OwnedText name;
  bool shared = false;  // by a group; else one member at a time
  StreamReader* reader = nullptr;
  StreamPlace place;  // behind what was read
  Array<CursorMember*> members;
  Ring<CursorTaken> taken;     // by their positions
  uint32_t waiting_count = 0;  // of `taken`: with nobody, and not done
  HashTable<CursorKey> keys;
  uint32_t pass = 1;
  uint64_t checked = 0;      // what waits before it was seen in this pass, or cannot be read any more
  uint32_t next_member = 0;  // by turns
  bool full = false;         // it told its stream so

  // The lowest position that is not acknowledged.
  uint64_t committed() noexcept;
  Handed take(MovingMessage& message, const StreamAt& at, Instant now) noexcept override;
  void on_stream_deleted(Instant now) noexcept override;
  // It goes on where something waits, if somebody has room.
  void wake() noexcept;
  void go_on(uint64_t position) noexcept;
  CursorMember* choose(const CursorKey* key) noexcept;
  CursorKey* key_of(const MessageView& message) noexcept;
  void let_go(CursorTaken& one) noexcept;
  void finish(CursorTaken& one) noexcept;
  void take_back(CursorTaken& one) noexcept;
  void take_back_all(MemberId of) noexcept;
  void forget_done() noexcept;
  void finish_unread(uint64_t before) noexcept;
  void changed() noexcept;
};

// How cursors are recorded. Implemented by the shard.
class CursorCourier {
 public:
  virtual void record_cursor(StreamCursor& cursor) noexcept = 0;
  virtual void forget_cursor(const StreamCursor& cursor) noexcept = 0;

 protected:
  ~CursorCourier() = default;
};

// All cursors whose streams' home is one shard. Touched only there.
class StreamCursors {
 public:
  StreamCursors(Streams& streams, MemberCourier& members, CursorCourier& courier, uint64_t seed) noexcept
      : streams_(streams), member_courier_(members), courier_(courier), seed_(seed) {}
  ~StreamCursors() { abandon(); }

  static constexpr uint32_t kCountMax = 100'000;  // of a shard

  // One that is not there begins at the offset. seeks: one that is there goes there too. Errors: Full, NoMemory, Exists
  // (it has a member that is connected, and is not shared; or it is the other way round).
  Status open(Stream& stream, std::string_view name, bool shared, const StreamOffset& offset, bool seeks, Instant now,
              StreamCursor*& cursor) noexcept;
  StreamCursor* find(Stream& stream, std::string_view name) noexcept;
  void remove(StreamCursor& cursor, Instant now) noexcept;
  // All messages before it are done with.
  void commit(StreamCursor& cursor, uint64_t position) noexcept;
  // From what was kept, before it runs. False without memory.
  bool restore(Stream& stream, std::string_view name, bool shared, const StreamPlace& place) noexcept;

  // --- members: as Queues has consumers; numbers are positions and one more
  static bool is_member(MemberId id) noexcept { return id >> 62 == 3; }
  MemberId join(StreamCursor& cursor, uint32_t shard, SlabHandle membership) noexcept;
  void leave(MemberId member) noexcept;
  void set_state(MemberId member, MemberState state) noexcept;
  // It takes nothing until it says that it is there.
  void note_away(MemberId member) noexcept;
  void done(MemberId member, std::span<const uint64_t> numbers) noexcept;
  void give_back(MemberId member, uint64_t number, Handed why) noexcept;

  // Calls record(StreamCursor&) for each that is changed, or for all.
  template <class Record>
  void record_progress(bool all, Record&& record) noexcept;
  void abandon() noexcept;

 private:
  friend struct StreamCursor;
  static constexpr MemberId kOfCursor = MemberId{3} << 62;
  CursorMember* find_member(MemberId id) noexcept { return members_.find(handle_of(id & ~kOfCursor)); }
  static MemberId id_of(const CursorMember& member) noexcept {
    return member_id(Slab<CursorMember>::handle(member)) | kOfCursor;
  }
  uint64_t key(const Stream& stream, std::string_view name) const noexcept;
  StreamCursor* make(Stream& stream, std::string_view name, bool shared) noexcept;
  void end(StreamCursor& cursor) noexcept;

  Streams& streams_;
  MemberCourier& member_courier_;
  CursorCourier& courier_;
  const uint64_t seed_;
  HashTable<StreamCursor> by_name_;
  IntrusiveList<StreamCursor, CursorsTag> all_;
  IntrusiveList<StreamCursor, ChangedCursorTag> changed_;
  Slab<StreamCursor> slab_{kCountMax};
  Slab<CursorMember> members_{UINT32_MAX};
  Slab<CursorKey> keys_{UINT32_MAX};
};

template <class Record>
void StreamCursors::record_progress(bool all, Record&& record) noexcept {
  for (StreamCursor* one = all ? all_.front() : nullptr; one; one = all_.next(*one)) one->changed();
  while (StreamCursor* cursor = changed_.pop_front()) record(*cursor);
}

}  // namespace mqttq
