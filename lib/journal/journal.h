// The tail of a journal on one shard: the durable messages of one topic filter, in the order of their numbers, for the
// sessions of this shard that read them.
//
// A message has one number for the whole broker (DESIGN 2), given by the committer, and every journal that takes it
// knows it by that number. Entries are shared: a thousand readers hold a thousand cursors and one message.
#pragma once

#include <span>

#include "base/intrusive_list.h"
#include "message/message.h"

namespace mqttq {

class Journal;
struct JournalSegment;

// Where one reader stands in one journal. Held by the reader; attached to at most one journal at a time. While it waits
// for more it stands in the journal's list of waiting cursors.
struct Cursor : ListLink<struct SegmentTag>, ListLink<struct WaitTag> {
  Journal* journal = nullptr;
  JournalSegment* segment = nullptr;
  uint64_t index = 0;     // of the next entry to read, counted from the journal's first
  bool of_group = false;  // whose it is: a shared group's (GroupReader), else a session's (JournalReader)

  bool waiting() const noexcept { return ListLink<WaitTag>::linked(); }
  void stop_waiting() noexcept { ListLink<WaitTag>::unlink(); }
};

// One message of a journal.
struct JournalEntry {
  uint64_t number = 0;
  uint64_t bytes_before = 0;  // content bytes of all entries before this one
  MessageRef message;         // empty: it is read from where it is kept
};

inline constexpr uint32_t kJournalSegmentEntries = 32;

// What all journals of one shard hold, read entries of a segment that is not read to its end among them.
struct JournalTotals {
  uint64_t messages = 0;
  uint64_t bytes = 0;                                      // content bytes
  IntrusiveList<Journal, struct ContentTag> with_content;  // those that have messages in memory
  // Segments whose messages are kept elsewhere are packed; those that were looked at last stand here too.
  struct Unpacked {
    const JournalSegment* segment = nullptr;
    JournalEntry entries[kJournalSegmentEntries];
  } unpacked[8];
};

// Owned by one shard and touched only there.
class Journal : public ListLink<struct ContentTag> {
 public:
  // totals: borrowed, outlives every reader.
  explicit Journal(JournalTotals& totals) noexcept : totals_(totals) {}
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal();

  // `number` is greater than that of every entry before. False when the allocator refuses: nothing changed.
  // Nothing is kept while no cursor is attached.
  [[nodiscard]] bool append(uint64_t number, MessageRef message) noexcept {
    const uint32_t size = message->content_size();
    return append(number, std::move(message), size);
  }
  // message: empty when it is not in memory. size: of its content.
  [[nodiscard]] bool append(uint64_t number, MessageRef message, uint32_t size) noexcept;
  // Lets go of messages up to `number`, so many at most: they are kept elsewhere. False: there are more.
  bool evict(uint64_t number, uint32_t count_max) noexcept;
  // The numbers of those from `cursor` on whose messages are not in memory, without a gap: as many as `numbers` has
  // room for, and no more than of `bytes_max` together but for the first. Returns how many.
  uint32_t missing(const Cursor& cursor, std::span<uint64_t> numbers, uint64_t bytes_max) const noexcept;

  // Starts to read behind the last entry. False when the allocator refuses.
  [[nodiscard]] bool attach(Cursor& cursor) noexcept;
  void detach(Cursor& cursor) noexcept;
  // Where `cursor` stands, or nullptr at the end. Borrowed until some journal of the shard is called again.
  const JournalEntry* peek(const Cursor& cursor) const noexcept;
  // Over the entry that peek() gave.
  void advance(Cursor& cursor) noexcept;
  // The cursor's next append puts it into `woken`, once.
  void wait(Cursor& cursor) noexcept {
    if (!cursor.waiting()) waiting_.push_back(cursor);
  }
  IntrusiveList<Cursor, WaitTag>& waiting() noexcept { return waiting_; }

  // Entries and bytes between `cursor` and the end.
  uint64_t behind_count(const Cursor& cursor) const noexcept { return end_index_ - cursor.index; }
  uint64_t behind_bytes(const Cursor& cursor) const noexcept;
  // Moves every cursor that is further behind than either limit on to where it is not. Calls moved(Cursor&, count).
  template <class Moved>
  void enforce(uint64_t count_max, uint64_t bytes_max, Moved&& moved) noexcept {
    while (Cursor* slowest = slowest_over(count_max, bytes_max)) {
      for (Cursor* beside; slowest; slowest = beside) {  // all that stand beside it, in one go
        beside = next_in_segment(*slowest);
        uint32_t count = 0;
        for (; behind_count(*slowest) > count_max || behind_bytes(*slowest) > bytes_max; ++count) step(*slowest);
        if (count) moved(*slowest, count);
      }
      trim();
    }
  }

  // Calls visit(user, entry) for the entries from `cursor` on whose numbers are not below `from`, until it is false.
  void look(const Cursor& cursor, uint64_t from, void* user,
            bool (*visit)(void* user, const JournalEntry& entry) noexcept) const noexcept;

  // Moves `cursor` over all entries up to `number`. Returns how many there were.
  uint32_t move_over(Cursor& cursor, uint64_t number) noexcept;
  // Calls visit(user, number) for each entry up to `last` that some cursor has not read.
  void for_each_unread(uint64_t last, void* user, void (*visit)(void* user, uint64_t number) noexcept) noexcept;
  // Does some reader have more before it than either of these?
  bool over(uint64_t count_max, uint64_t bytes_max) noexcept { return slowest_over(count_max, bytes_max) != nullptr; }

  bool has_content() const noexcept { return content_ != nullptr; }
  uint32_t cursor_count() const noexcept { return cursor_count_; }
  uint64_t entry_count() const noexcept;

 private:
  Cursor* slowest_over(uint64_t count_max, uint64_t bytes_max) noexcept;
  Cursor* next_in_segment(Cursor& cursor) noexcept;
  void step(Cursor& cursor) noexcept;  // as advance(), and trims nothing
  void trim() noexcept;
  JournalSegment* make_segment() noexcept;
  static bool make_entries(JournalSegment& segment) noexcept;
  JournalTotals::Unpacked& unpacked_place(const JournalSegment& segment) const noexcept;
  void end_segment(JournalSegment& ended) noexcept;
  void pack(JournalSegment& segment, uint64_t bytes_end) noexcept;
  const JournalEntry* entries_of(const JournalSegment& segment) const noexcept;
  void leave_content(JournalSegment* to) noexcept;
  void count_out(const JournalSegment& ended) noexcept;

  JournalTotals& totals_;
  JournalSegment* first_ = nullptr;
  JournalSegment* last_ = nullptr;
  JournalSegment* content_ = nullptr;  // where content_index_ is; null: nothing is in memory
  uint64_t content_index_ = 0;         // no entry before it has its message
  uint64_t end_index_ = 0;
  uint64_t bytes_end_ = 0;
  uint32_t cursor_count_ = 0;
  uint32_t at_end_count_ = 0;  // cursors that have read everything
  IntrusiveList<Cursor, WaitTag> waiting_;

 public:
  uint32_t visited = 0;  // for who goes through the journals of all readers: the last time that he was here
};

}  // namespace mqttq
