// Replayable streams at their home: every message that matches is kept for a time, and each reader gets all of them,
// from where it likes and at its own pace (DESIGN 2, 7).
//
// A stream lives on its home shard, by its name, from its declaration to its deletion, whoever reads it. It is an index
// of what it has in the log, and the newest messages themselves; older ones are read in pages, which readers that are
// near one another share. Readers are sessions of any shard, or the host's: the home pushes to each of them from its
// place on, as far as it has room, and whoever reads says where it stands.
//
// All that is recorded of a stream is how it was declared, and the first message that it keeps: a crash may bring back
// what was trimmed within the last moments, and loses nothing. Positions stand in the log, with the messages.
//
// A stream of last values loses a message as soon as a newer one of its key has come, and whoever had room for it has
// got it.
#pragma once

#include <algorithm>
#include <memory>

#include "base/hash_table.h"
#include "base/timer_wheel.h"
#include "router/fan_out.h"
#include "router/membership.h"
#include "router/message_key.h"
#include "store/log.h"
#include "stream/stream_address.h"
#include "stream/stream_index.h"
#include "stream/stream_options.h"
#include "stream/stream_tail.h"
#include "stream/stream_topics.h"

namespace mqttq {

struct Stream;
struct StreamCursor;
class Streams;

// A reader that lives where the stream does.
class StreamTaker {
 public:
  // Open: it says done() later. Full: it says set_state() when it has room. What it cannot take at all is Finished.
  virtual Handed take(MovingMessage& message, const StreamAt& at, Instant now) noexcept = 0;
  // It is none any more.
  virtual void on_stream_deleted(Instant now) noexcept = 0;

 protected:
  ~StreamTaker() = default;
};

// Messages that are not in memory, read together.
struct StreamPage : HashLink<StreamPage>, ListLink<struct IdleTag> {
  Stream* stream = nullptr;
  uint64_t first = 0, end = 0;  // positions: it has all in between that its readers want
  uint32_t users = 0;           // readers that have it, or will
  bool asked = true;            // and not here yet
  Array<std::byte> bodies;      // the messages, as they were read
  struct Body {
    uint64_t number = 0;
    int64_t us = 0;
    uint32_t at = 0;
    uint32_t size = 0;  // 0: it is lost
  };
  Array<Body> messages;
  Array<uint64_t> positions;  // of these; empty: they are without a gap
  bool shared = true;         // else it is one reader's, of a narrower filter
  IntrusiveList<struct StreamReader, struct StandTag> waiting;
  bool covers(uint64_t position) const noexcept { return position >= first && position < end; }
  // Of one that it has.
  const Body& body(uint64_t position) const noexcept {
    if (positions.empty()) return messages[static_cast<uint32_t>(position - first)];
    return messages[static_cast<uint32_t>(std::lower_bound(positions.begin(), positions.end(), position) -
                                          positions.begin())];
  }
};

// Whoever reads, as the stream knows it. Stands in one list: of those that may get something, of those at the end, of
// a page that it waits for, or in none while it takes nothing.
struct StreamReader : ListLink<struct StandTag> {
  Stream* stream = nullptr;
  StreamTaker* here = nullptr;  // null: a session, named by the next
  SlabHandle membership;
  uint32_t index = 0;  // in the stream's list
  uint32_t open = 0;   // what it was handed and is not done with
  uint32_t epoch = 0;  // of what it is handed: what an earlier one brings is not wanted any more
  uint8_t shard = 0;
  bool full = false;  // said so, and has not said otherwise
  MemberState state;
  uint64_t next = 0;  // position; may lie beyond the end
  uint64_t skipped = 0;
  int64_t not_before_us = 0;
  StreamCursor* cursor = nullptr;  // whose it is
  OwnedText client_id;             // empty: the host's, or a cursor's
  OwnedText topic_filter;          // empty: all of it
  // Of a narrower filter: which topics it matches, by their numbers, as far as they were judged.
  enum class Wanted : uint8_t { NotJudged, Yes, No };
  Array<Wanted> wanted;
  uint64_t judged_reuses = 0, judged_changes = UINT64_MAX;  // StreamTopics: when that was
  uint64_t wanted_bits = 0;                                 // StreamIndex::topic_bit() of all that it matches
  StreamPage *page = nullptr, *ahead = nullptr;
  bool looked_ahead = false;                    // behind that page
  std::unique_ptr<StreamBatch, Destroy> batch;  // that is being filled
  uint64_t delivered = 0;

  bool takes() const noexcept;
};

struct StreamFigures {
  uint64_t entered = 0;  // since the broker started
  uint64_t trimmed = 0;
  uint64_t replaced = 0;   // by newer ones of their keys
  uint64_t delivered = 0;  // to readers
};

// Where the newest message of a key stands.
struct StreamValue : HashLink<StreamValue> {
  TextKey key;
  uint64_t position = 0;
};

struct Stream final : QueueHome, HashLink<Stream>, ListLink<struct ChangedTag>, ListLink<struct OverTag>, Timer {
  Stream(Streams& of, NamespaceId in) noexcept;

  Streams& home;
  const NamespaceId namespace_id;
  uint64_t id = 0;
  OwnedText name;
  MessageKey key;
  bool last_value = false;
  StreamOptions options;
  Filter* filter = nullptr;
  bool reads = false;  // what is appended is its own
  StreamIndex index;
  StreamTopics topics;  // of its entries
  StreamTail tail;
  HashTable<StreamValue> values;  // of a stream of last values; some may be trimmed
  Ring<uint64_t> replaced;        // positions, to be removed at the end of the turn
  uint64_t turn_first = 0;        // position of the first that came in this turn, if `replaced` has some
  uint64_t missed = 0;            // messages that there was no memory for, behind the last that came
  Array<StreamReader*> readers;
  IntrusiveList<StreamReader, StandTag> live;  // at the end, and with room
  StreamFigures figures;

  std::string_view topic_filter() const noexcept { return filter->text(); }
  StreamIdentity identity() const noexcept {
    return {namespace_id, name.view(), topic_filter(), id, key.expression(), last_value};
  }
  SlabHandle handle() const noexcept { return Slab<Stream>::handle(*this); }
  // Of the first message that it keeps; index.end(): it has none.
  uint64_t first() noexcept { return index.next(index.first()); }
  // All before it are not in memory.
  uint64_t tail_first() noexcept { return tail.empty() ? index.end() : tail.first(); }
  // What is recorded: the number of that, or behind all that it ever had.
  uint64_t first_number() noexcept { return index.count() ? index.at(first()).number : last_number + 1; }
  uint64_t last_number = 0;  // that was appended
  int64_t last_us = 0;

  bool take(const NumberedMessage& message, Instant now) noexcept override;
  StreamValue* value_of(const NumberedMessage& message, bool& memory) noexcept;
  void note_over() noexcept;
  void remove_replaced() noexcept;
  void sweep_values() noexcept;
  void trim_to(uint64_t position) noexcept;
  // The first position that its limits in messages and bytes leave.
  uint64_t first_within() noexcept;
  void drop_old(Instant now) noexcept;
  void arm_age(Instant now) noexcept;
  void changed() noexcept;
};

// How streams reach what is around them. Implemented by the shard.
class StreamCourier {
 public:
  virtual Handed hand_to_reader(SlabHandle membership, MovingMessage& message, const StreamAt& at,
                                Instant now) noexcept = 0;
  // False without memory: the batch is untouched.
  virtual bool send_batch(uint32_t shard, SlabHandle membership,
                          std::unique_ptr<StreamBatch, Destroy>& batch) noexcept = 0;
  // bytes: so many the bodies will take, about.
  virtual bool fetch_for_stream(SlabHandle page, std::span<const uint64_t> numbers, uint64_t bytes) noexcept = 0;
  // False: that is no message. Borrows `body`.
  virtual bool read_body(Bytes body, MessageView& message) noexcept = 0;
  virtual int64_t unix_us(Instant now) const noexcept = 0;
  virtual void record_stream(const Stream& stream) noexcept = 0;
  virtual void forget_stream(const Stream& stream) noexcept = 0;

 protected:
  ~StreamCourier() = default;
};

// All streams whose home is one shard. Touched only there.
class Streams {
 public:
  // seed: secret, and the same in all lives of what is kept.
  Streams(FanOut& fan_out, MemberCourier& members, StreamCourier& courier, TimerWheel& timers, uint64_t seed) noexcept
      : fan_out_(fan_out), members_(members), courier_(courier), timers_(timers), seed_(seed) {
    retry_.home = this;
  }
  ~Streams();

  // Errors: NoMemory, Exists, Invalid, Unsupported (its key). stream: set where it is there.
  Status declare(const StreamIdentity& identity, const StreamOptions& options, Stream*& stream) noexcept;
  // It is recorded.
  void set_options(Stream& stream, const StreamOptions& options, Instant now) noexcept;
  void remove(Stream& stream, Instant now) noexcept;
  // Messages before `position` are gone. Returns how many those were.
  uint64_t truncate(Stream& stream, uint64_t position) noexcept;
  Stream* find(NamespaceId namespace_id, std::string_view name) noexcept;
  uint32_t count() const noexcept { return streams_.count(); }
  Slab<Stream>& slab() noexcept { return slab_; }

  // --- readers
  static constexpr MemberId kOfStream = MemberId{1} << 62;
  static bool is_reader(MemberId id) noexcept { return id >> 62 == 1; }
  // Where a reader that wants to begin there does.
  static StreamPlace resolve(Stream& stream, const StreamOffset& offset, Instant now) noexcept;
  // 0 without memory. topic_filter: of the messages that it wants; empty: all. It gets nothing before set_state().
  MemberId join(Stream& stream, uint32_t shard, SlabHandle membership, std::string_view client_id,
                std::string_view topic_filter) noexcept;
  // taker: borrowed until it leaves, or the stream is deleted.
  MemberId join(Stream& stream, StreamTaker& taker, std::string_view topic_filter) noexcept {
    const MemberId joined = join(stream, 0, {}, {}, topic_filter);
    if (joined) find_reader(joined)->here = &taker;
    return joined;
  }
  void leave(MemberId reader) noexcept;
  // place: where it goes on, with what is open of it by now; nothing of an earlier epoch is wanted.
  // Where the place is no longer that of its number, that counts.
  void set_state(MemberId reader, MemberState state, const StreamPlace& place) noexcept;
  // So many that it was handed.
  void done(MemberId reader, uint32_t count) noexcept;
  static MemberId id_of(const StreamReader& reader) noexcept {
    return member_id(Slab<StreamReader>::handle(reader)) | kOfStream;
  }
  StreamReader* find_reader(MemberId id) noexcept { return readers_.find(handle_of(id & ~kOfStream)); }

  // Hands out what there is, to each some at a time.
  void run(Instant now) noexcept;
  // There is more to hand out.
  bool has_ready() const noexcept { return !ready_.empty(); }
  // bodies: those of the messages.
  void on_fetched(SlabHandle page, Ring<FetchedMessage>& messages, Array<std::byte>&& bodies, Instant now) noexcept;
  // Calls record(Stream&) for each that is changed, or for all.
  template <class Record>
  void record_progress(bool all, Record&& record) noexcept;
  uint64_t lowest_number() noexcept;
  void add_needed(NeededNumbers& needed) noexcept;
  // What all of them have in the log: messages, and their content bytes.
  void add_waiting(uint64_t& messages, uint64_t& bytes) noexcept;
  // Messages up to this number need not be in memory.
  void evict(uint64_t number) noexcept;
  // Nothing is recorded or handed out any more.
  void abandon() noexcept;

  // --- before it runs
  // It has nothing until restore_place().
  Stream* restore(const StreamIdentity& identity, const StreamOptions& options) noexcept;
  // What is appended from now on is its own, and lies from this position on.
  void restore_place(Stream& stream, uint64_t position) noexcept;
  // All that the log has of it was appended.
  static void finish_restore(Stream& stream, Instant now) noexcept;

 private:
  friend struct Stream;

  Stream* make(const StreamIdentity& identity, const StreamOptions& options) noexcept;
  static void set_gate(Stream& stream) noexcept;
  void end(Stream& stream) noexcept;
  void end_reader(StreamReader& reader) noexcept;
  uint64_t key(NamespaceId namespace_id, std::string_view name) const noexcept;
  void make_ready(StreamReader& reader) noexcept;
  bool feed(StreamReader& reader, Instant now) noexcept;
  void enforce(Stream& stream, Instant now) noexcept;
  void feed_up_to(StreamReader& reader, uint64_t position, Instant now) noexcept;
  bool hand(StreamReader& reader, MovingMessage& message, uint64_t number, int64_t us, Instant now) noexcept;
  bool take_next(StreamReader& reader, MovingMessage& message, uint64_t number, int64_t us, Instant now) noexcept;
  bool flush_batch(StreamReader& reader, Instant now) noexcept;
  enum class Content : uint8_t { InMemory, InPage, Asked, Later };
  Content find_content(StreamReader& reader) noexcept;
  StreamPage* page_at(StreamReader& reader, uint64_t position) noexcept;
  StreamPage* shared_page_at(Stream& stream, uint64_t position) noexcept;
  StreamPage* make_page(Stream& stream, uint64_t first, uint64_t end, std::span<const StreamEntry> entries,
                        bool shared) noexcept;
  static bool wants(StreamReader& reader, uint32_t topic) noexcept;
  static void judge_topics(StreamReader& reader) noexcept;
  static uint64_t next_wanted(StreamReader& reader, uint64_t from, uint64_t end, uint32_t& budget) noexcept;
  void release_page(StreamPage*& page) noexcept;
  void release_pages(StreamReader& reader) noexcept;
  void end_page(StreamPage& page) noexcept;
  void retry_later(StreamReader& reader, Instant now) noexcept;
  static uint64_t page_key(const Stream& stream, uint64_t position) noexcept;

  FanOut& fan_out_;
  MemberCourier& members_;
  StreamCourier& courier_;
  TimerWheel& timers_;
  const uint64_t seed_;
  bool running_ = true;
  HashTable<Stream> streams_;
  StreamChunkCache chunks_;
  IntrusiveList<Stream, ChangedTag> changed_;
  IntrusiveList<Stream, OverTag> over_;  // their limits in messages or bytes, or with replaced ones
  IntrusiveList<StreamReader, StandTag> ready_;
  IntrusiveList<StreamReader, StandTag> later_;  // what they need cannot be asked for now
  struct Retry : Timer {
    Streams* home = nullptr;
  };
  Retry retry_;
  HashTable<StreamPage> by_position_;
  IntrusiveList<StreamPage, IdleTag> idle_;  // that nobody uses; the last used come last
  uint32_t idle_count_ = 0;
  Array<StreamEntry> entries_;  // of the page that is being made
  uint32_t read_failures_ = 0;  // one after the other
  Slab<Stream> slab_{UINT32_MAX};
  Slab<StreamReader> readers_{UINT32_MAX};
  Slab<StreamPage> pages_{UINT32_MAX};
  Slab<StreamValue> values_{UINT32_MAX};
};

template <class Record>
void Streams::record_progress(bool all, Record&& record) noexcept {
  if (all) streams_.for_each([](Stream& stream) { stream.changed(); });
  while (Stream* stream = changed_.pop_front()) record(*stream);
}

}  // namespace mqttq
