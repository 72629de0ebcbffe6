#include "journal/journal.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/short_number.h"

namespace mqttq {

// A run of entries, and the cursors that stand in it: the slowest readers are those of the first segment that has any.
// Once it is full and none of its messages is in memory any more it is packed: there may be millions of such entries.
struct JournalSegment {
  static constexpr uint32_t kEntries = kJournalSegmentEntries;
  struct Entries {
    JournalEntry at[kEntries];
  };
  JournalSegment* next = nullptr;
  uint64_t first_index = 0;
  uint64_t first_number = 0, first_bytes_before = 0;  // of a packed one
  IntrusiveList<Cursor, SegmentTag> cursors;
  Entries* entries = nullptr;  // null: it is packed, or has had none
  std::byte* packed = nullptr;
  uint32_t count = 0;

  bool full() const noexcept { return count == kEntries; }
  uint64_t bytes_before() const noexcept { return entries ? entries->at[0].bytes_before : first_bytes_before; }
  uint64_t number() const noexcept { return entries ? entries->at[0].number : first_number; }
  // Everything in it was read: it begins again behind it.
  void restart(uint64_t index) noexcept {
    for (uint32_t i = 0; i < count; ++i) entries->at[i].message = {};
    first_index = index;
    count = 0;
  }
};

Journal::~Journal() {
  MQTTQ_ASSERT(cursor_count_ == 0);
  while (JournalSegment* ended = first_) {
    first_ = ended->next;
    end_segment(*ended);
  }
}

JournalSegment* Journal::make_segment() noexcept {
  auto* made = create<JournalSegment>();
  if (!made) return nullptr;
  made->first_index = end_index_;
  return made;
}

// Most journals wait for years without one.
bool Journal::make_entries(JournalSegment& segment) noexcept {
  return segment.entries || (segment.entries = create<JournalSegment::Entries>());
}

JournalTotals::Unpacked& Journal::unpacked_place(const JournalSegment& segment) const noexcept {
  return totals_.unpacked[hash_mix(0, reinterpret_cast<uintptr_t>(&segment)) % std::size(totals_.unpacked)];
}

// Another one's place may be cleared with it, and is filled again.
void Journal::end_segment(JournalSegment& ended) noexcept {
  if (ended.packed) unpacked_place(ended).segment = nullptr;
  if (ended.entries) destroy(ended.entries);
  release(ended.packed);
  destroy(&ended);
}

// bytes_end: the content bytes before what comes behind it. Without memory it stays as it is.
void Journal::pack(JournalSegment& segment, uint64_t bytes_end) noexcept {
  if (!segment.full() || !segment.entries) return;
  const JournalEntry* entries = segment.entries->at;
  std::byte packed[JournalSegment::kEntries * 20];
  std::byte* end = packed;
  for (uint32_t i = 0; i < segment.count; ++i) {
    const uint64_t behind = i + 1 < segment.count ? entries[i + 1].bytes_before : bytes_end;
    end = put_short_number(end, entries[i].number - (i ? entries[i - 1].number : entries[0].number));
    end = put_short_number(end, behind - entries[i].bytes_before);
  }
  const auto size = static_cast<size_t>(end - packed);
  segment.packed = static_cast<std::byte*>(allocate(size));
  if (!segment.packed) return;
  std::memcpy(segment.packed, packed, size);
  segment.first_number = entries[0].number;
  segment.first_bytes_before = entries[0].bytes_before;
  destroy(std::exchange(segment.entries, nullptr));
}

const JournalEntry* Journal::entries_of(const JournalSegment& segment) const noexcept {
  if (segment.entries) return segment.entries->at;
  JournalTotals::Unpacked& place = unpacked_place(segment);
  if (std::exchange(place.segment, &segment) == &segment) return place.entries;
  const std::byte* at = segment.packed;
  uint64_t number = segment.first_number, bytes = segment.first_bytes_before, step = 0;
  for (JournalEntry& entry : place.entries) {
    at = get_short_number(at, step);
    entry.number = number += step;
    entry.bytes_before = bytes;
    at = get_short_number(at, step);
    bytes += step;
  }
  return place.entries;
}

bool Journal::append(uint64_t number, MessageRef message, uint32_t size) noexcept {
  if (cursor_count_ == 0) return true;
  MQTTQ_ASSERT(last_);
  if (last_->full()) {
    auto* added = make_segment();
    if (!added) return false;
    if (!make_entries(*added)) {
      destroy(added);
      return false;
    }
    if (!content_) pack(*last_, bytes_end_);
    last_->next = added;
    last_ = added;
  } else if (!make_entries(*last_)) {
    return false;
  }
  JournalEntry& entry = last_->entries->at[last_->count++];
  entry.number = number;
  entry.bytes_before = bytes_end_;
  if (message && !content_) {
    content_ = last_;
    content_index_ = end_index_;
    totals_.with_content.push_back(*this);
  }
  entry.message = std::move(message);
  bytes_end_ += size;
  ++end_index_;
  ++totals_.messages;
  totals_.bytes += size;
  at_end_count_ = 0;
  return true;
}

bool Journal::attach(Cursor& cursor) noexcept {
  MQTTQ_ASSERT(!cursor.journal);
  if (!last_) {
    first_ = last_ = make_segment();
    if (!last_) return false;
  }
  cursor.journal = this;
  cursor.segment = last_;
  cursor.index = end_index_;
  last_->cursors.push_back(cursor);
  ++cursor_count_;
  ++at_end_count_;
  return true;
}

void Journal::detach(Cursor& cursor) noexcept {
  if (!cursor.journal) return;
  cursor.stop_waiting();
  cursor.ListLink<SegmentTag>::unlink();
  if (cursor.index == end_index_) --at_end_count_;
  cursor.journal = nullptr;
  cursor.segment = nullptr;
  --cursor_count_;
  trim();
}

const JournalEntry* Journal::peek(const Cursor& cursor) const noexcept {
  if (cursor.index == end_index_) return nullptr;
  // A cursor that stood at the end of a full segment reads on in the one behind it.
  const JournalSegment* segment = cursor.segment;
  if (cursor.index - segment->first_index == JournalSegment::kEntries) segment = segment->next;
  return entries_of(*segment) + (cursor.index - segment->first_index);
}

void Journal::advance(Cursor& cursor) noexcept {
  step(cursor);
  trim();
}

uint32_t Journal::move_over(Cursor& cursor, uint64_t number) noexcept {
  uint32_t count = 0;
  for (const JournalEntry* entry; (entry = peek(cursor)) && entry->number <= number; ++count) step(cursor);
  if (count) trim();
  return count;
}

void Journal::step(Cursor& cursor) noexcept {
  MQTTQ_ASSERT(cursor.index < end_index_);
  ++cursor.index;
  while (cursor.segment->next && cursor.index >= cursor.segment->next->first_index) {
    cursor.ListLink<SegmentTag>::unlink();
    cursor.segment = cursor.segment->next;
    cursor.segment->cursors.push_back(cursor);
  }
  if (cursor.index == end_index_) ++at_end_count_;
}

uint64_t Journal::behind_bytes(const Cursor& cursor) const noexcept {
  const JournalEntry* entry = peek(cursor);
  return entry ? bytes_end_ - entry->bytes_before : 0;
}

uint64_t Journal::entry_count() const noexcept { return first_ ? end_index_ - first_->first_index : 0; }

Cursor* Journal::slowest_over(uint64_t count_max, uint64_t bytes_max) noexcept {
  if (!first_) return nullptr;
  const bool over = end_index_ - first_->first_index > count_max ||
                    (first_->count && bytes_end_ - first_->bytes_before() > bytes_max);
  if (!over) return nullptr;
  for (JournalSegment* segment = first_; segment; segment = segment->next) {
    for (Cursor* at = segment->cursors.front(); at; at = segment->cursors.next(*at)) {
      if (behind_count(*at) > count_max || behind_bytes(*at) > bytes_max) return at;
    }
    if (!segment->cursors.empty()) return nullptr;  // the slowest are within the limits
  }
  return nullptr;
}

Cursor* Journal::next_in_segment(Cursor& cursor) noexcept { return cursor.segment->cursors.next(cursor); }

void Journal::for_each_unread(uint64_t last, void* user, void (*visit)(void* user, uint64_t number) noexcept) noexcept {
  JournalSegment* segment = first_;
  while (segment && segment->cursors.empty()) segment = segment->next;
  if (!segment) return;
  uint64_t index = end_index_;  // the slowest are those of the first segment that has any
  for (Cursor* at = segment->cursors.front(); at; at = next_in_segment(*at)) index = std::min(index, at->index);
  for (; index < end_index_; ++index) {
    while (index - segment->first_index >= segment->count) segment = segment->next;
    const uint64_t number = entries_of(*segment)[index - segment->first_index].number;
    if (number > last) return;
    visit(user, number);
  }
}

// What no cursor will read is let go: whole segments at a time, and everything when all cursors are at the end.
void Journal::trim() noexcept {
  while (first_ && first_->cursors.empty() && (first_ != last_ || cursor_count_ == 0)) {
    JournalSegment* ended = first_;
    first_ = ended->next;
    if (!first_) last_ = nullptr;
    count_out(*ended);
    if (ended == content_) leave_content(ended->next);
    end_segment(*ended);
  }
  if (!first_ || at_end_count_ != cursor_count_) return;
  count_out(*first_);
  first_->restart(end_index_);  // all stand in it
  if (content_) leave_content(nullptr);
}

// What is in memory begins in `to`, if anywhere.
void Journal::leave_content(JournalSegment* to) noexcept {
  content_ = to;
  if (to) {
    content_index_ = to->first_index;
  } else {
    ListLink<ContentTag>::unlink();
  }
}

bool Journal::evict(uint64_t number, uint32_t count_max) noexcept {
  while (content_) {
    const uint64_t at = content_index_ - content_->first_index;
    if (at == content_->count) {
      JournalSegment& left = *content_;
      leave_content(left.next);
      if (left.next) pack(left, left.next->bytes_before());
      continue;
    }
    JournalEntry& entry = content_->entries->at[at];
    if (entry.number > number) return true;
    if (count_max-- == 0) return false;
    entry.message = {};
    ++content_index_;
  }
  return true;
}

uint32_t Journal::missing(const Cursor& cursor, std::span<uint64_t> numbers, uint64_t bytes_max) const noexcept {
  uint32_t count = 0;
  const JournalSegment* segment = cursor.segment;
  uint64_t bytes_first = 0;
  for (uint64_t index = cursor.index; index < end_index_ && count < numbers.size(); ++index) {
    if (index - segment->first_index == JournalSegment::kEntries) segment = segment->next;
    const JournalEntry& entry = entries_of(*segment)[index - segment->first_index];
    if (count == 0) bytes_first = entry.bytes_before;
    if (entry.message || (count && entry.bytes_before - bytes_first > bytes_max)) break;
    numbers[count++] = entry.number;
  }
  return count;
}

void Journal::look(const Cursor& cursor, uint64_t from, void* user,
                   bool (*visit)(void* user, const JournalEntry& entry) noexcept) const noexcept {
  uint64_t index = cursor.index;
  for (const JournalSegment* segment = cursor.segment; segment; segment = segment->next) {
    const uint64_t end = segment->first_index + segment->count;
    const JournalSegment* behind = segment->next;
    if (index < end && behind && behind->count && behind->number() <= from) index = end;  // none of this one
    for (; index < end; ++index) {
      const JournalEntry& entry = entries_of(*segment)[index - segment->first_index];
      if (entry.number >= from && !visit(user, entry)) return;
    }
  }
}

// `ended` is the first segment, or was until now.
void Journal::count_out(const JournalSegment& ended) noexcept {
  if (!ended.count) return;
  const uint64_t end = ended.next ? ended.next->bytes_before() : bytes_end_;
  totals_.messages -= ended.count;
  totals_.bytes -= end - ended.bytes_before();
}

}  // namespace mqttq
