// The layouts `indexed` and `files`: the log is segments; a full one is sealed with one sorted index and records stay
// where they are, except that those of a segment with few live ones are copied together by collection.
//
// In memory: per journal the position it is settled to and the heads of two tails (the open segment's, and that of the
// one being sealed); per segment a bit per journal that has entries in it and the first journal of every index page;
// per message of the backlog a byte that counts the journals still to settle it.
#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "layouts/index_page.h"
#include "layouts/layout.h"
#include "layouts/segment_store.h"
#include "layouts/tail.h"

namespace mqttq::layouts {
namespace {

constexpr size_t kSliceEntries = 16384;  // listed by one slice of sealing
constexpr size_t kSliceRecords = 4096;   // copied by one slice of collection

struct Segment {
  enum class State { Open, Sealing, Sealed, Making, Collected, Dropping };  // Making: survivors; Collected: from
  SegmentInfo info;
  State state = State::Open;
  uint64_t live = 0;  // messages that some journal has not settled
  std::vector<uint64_t> bits;
  std::vector<uint64_t> page_first;

  [[nodiscard]] bool listed() const { return state == State::Sealed || state == State::Collected; }
};

// The numbers of a log segment, which may have become survivors since.
struct Range {
  uint64_t last = 0;
  uint32_t segment = 0;
  std::vector<uint8_t> remaining;  // per number, journals that have not settled it
};

class Segmented : public Layout {
 public:
  Segmented(const LayoutOptions& options, std::unique_ptr<SegmentStore> store)
      : options_(options),
        store_(std::move(store)),
        trims_(options.journals, 0),
        trims_changed_((options.journals + kTrimsPerBlock - 1) / kTrimsPerBlock, 0),
        open_tail_(options.journals),
        sealing_tail_(options.journals) {
    restart();
  }

  void append(std::span<const Message> messages, std::span<const Entry> settled) override {
    if (open_ == nullptr) open_segment(messages.front().number);
    SegmentInfo& info = open_->info;
    const uint32_t seed = store_->checksum_seed(info.id);
    store_->begin(info);
    uint64_t bytes = 0;
    uint32_t position = 0;
    if (!settled.empty()) {
      const size_t size = settlements_size(settled);
      encode_settlements(messages.front().number, settled, seed,
                         store_->append(messages.front().number, true, size, position));
      bytes += size;
    }
    for (const Message& message : messages) {
      const size_t size = record_size(message);
      encode(message, seed, store_->append(message.number, false, size, position));
      bytes += size;
      note(message.number, message.journals, position);
    }
    store_->commit(true);
    info.bytes += bytes;
    for (const Entry& entry : settled) settle(entry);
    since_seal_ += messages.size();
    since_collection_ += messages.size();
    since_drop_ += messages.size();
    if (info.bytes >= options_.bound_bytes) rotate();
  }

  void work() override {
    if (sealing_ != nullptr) {
      const double share = 1.1 * static_cast<double>(since_seal_) / static_cast<double>(sealing_->info.records);
      const auto due = static_cast<uint64_t>(share * static_cast<double>(sealing_tail_.size()));
      while (sealing_ != nullptr && (share >= 1 || sealed_entries_ + kSliceEntries <= due)) seal_slice();
    }
    if (since_drop_ >= std::min<uint64_t>(kSliceRecords, messages_per_segment_ / 8)) {
      since_drop_ = 0;
      drop_slice();
    }
    if (target_ == nullptr && since_collection_ >= kSliceRecords) {
      since_collection_ = 0;
      begin_collection();
    }
    if (target_ != nullptr) {
      const double share = static_cast<double>(since_collection_) / static_cast<double>(messages_per_segment_);
      const auto due = static_cast<uint64_t>(share * static_cast<double>(to_collect_));
      while (target_ != nullptr && (share >= 1 || target_->info.records + kSliceRecords <= due)) collect_slice();
    }
  }

  void read(uint64_t journal, uint64_t from, const Reader& reader) override {
    const uint64_t above = std::max(trims_[journal], from == 0 ? 0 : from - 1);
    // Log segments follow each other; survivors may lie between and across them, and are merged with what they overlap.
    std::vector<Segment*> holders;
    for (auto& [id, segment] : segments_) {
      const bool has = segment.listed() && segment.info.last > above && !segment.bits.empty() &&
                       (segment.bits[journal / 64] >> (journal % 64) & 1) != 0;
      if (has) holders.push_back(&segment);
    }
    std::ranges::sort(holders, {}, [](const Segment* segment) { return segment->info.first; });
    store_->begin_read();
    bool more = true;
    for (size_t i = 0; more && i < holders.size();) {
      size_t end = i + 1;
      uint64_t last = holders[i]->info.last;
      for (; end < holders.size() && holders[end]->info.first <= last; ++end) {
        last = std::max(last, holders[end]->info.last);
      }
      more = read_listed(std::span(holders).subspan(i, end - i), journal, above, reader);
      i = end;
    }
    if (more && sealing_ != nullptr) more = read_tail(sealing_tail_, *sealing_, journal, above, reader);
    if (more && open_ != nullptr) read_tail(open_tail_, *open_, journal, above, reader);
    store_->end_read();
  }

  [[nodiscard]] uint64_t last_number() const override { return last_; }
  void hurry(bool on) override { store_->hurry(on); }
  [[nodiscard]] bool syncs() const override { return store_->syncs(); }
  [[nodiscard]] LayoutFigures figures() const override {
    LayoutFigures figures{
        .memory_fixed = trims_.capacity() * 8 + open_tail_.memory_fixed() + sealing_tail_.memory_fixed(),
        .memory_varying = open_tail_.memory_varying() + sealing_tail_.memory_varying(),
        .segments = segments_.size(),
        .moved_entries = indexed_,
        .collected = collected_};
    for (const auto& [id, segment] : segments_) {
      figures.memory_varying += 8 * (segment.bits.capacity() + segment.page_first.capacity());
    }
    for (const auto& [first, range] : ranges_) figures.memory_varying += range.remaining.capacity();
    store_->count(figures);
    return figures;
  }

 private:
  using Item = IndexPageReader::Item;

  // Reads the index of one segment page by page.
  struct Source {
    Segment* segment;
    uint32_t page = 0;  // the next one
    std::string bytes;
    IndexPageReader reader;
    Item item{};
  };

  void open_segment(uint64_t first) {
    Segment& segment = segments_[next_id_];
    segment.info = {.id = next_id_++, .first = first, .last = 0};
    store_->create(segment.info);
    open_tail_.clear(first);
    open_ = &segment;
    ranges_[first] = {.last = UINT64_MAX, .segment = segment.info.id, .remaining = {}};
    open_range_ = &ranges_[first];
  }

  template <typename Journals>
  void note(uint64_t number, const Journals& journals, uint32_t position) {
    for (const uint64_t journal : journals) open_tail_.add(journal, number, position);
    open_range_->remaining.push_back(static_cast<uint8_t>(std::min<size_t>(journals.size(), 255)));
    ++open_->info.records;
    ++open_->live;
    last_ = number;
  }

  void settle(const Entry& entry) {
    trims_[entry.journal] = std::max(trims_[entry.journal], entry.number);
    trims_changed_[entry.journal / kTrimsPerBlock] = 1;
    auto at = ranges_.upper_bound(entry.number);
    if (at == ranges_.begin()) return;
    --at;
    Range& range = at->second;
    if (entry.number > range.last || entry.number - at->first >= range.remaining.size()) return;
    uint8_t& remaining = range.remaining[entry.number - at->first];
    if (remaining == 0 || --remaining != 0) return;
    Segment& segment = segments_.at(range.segment);
    if (--segment.live == 0 && segment.state == Segment::State::Sealed) segment.state = Segment::State::Dropping;
  }

  // --- Sealing --------------------------------------------------------------------------------------------------

  void rotate() {
    while (sealing_ != nullptr) seal_slice();  // pacing has done it before; else the tails would be three
    open_range_->remaining.shrink_to_fit();
    messages_per_segment_ = open_->info.records;
    begin_sealing();
    since_seal_ = 0;
    open_segment(last_ + 1);
  }

  // The open segment is the one that is sealed from now on, slice by slice.
  void begin_sealing() {
    sealing_ = open_;
    sealing_->state = Segment::State::Sealing;
    sealing_->info.last = last_;
    open_range_->last = last_;
    std::swap(open_tail_, sealing_tail_);
    open_ = nullptr;
    begin_index(*sealing_);
    seal_journal_ = 0;
    seal_items_.clear();
    next_item_ = 0;
    sealed_entries_ = 0;
  }

  void begin_index(Segment& segment) {
    segment.bits.assign((options_.journals + 63) / 64, 0);
    writers_[segment.info.survivors ? 1 : 0].begin(segment.info.first, store_->needs_position(segment.info.survivors));
  }

  // Lists an entry in the segment's index, in a transaction of the store's.
  void list(Segment& segment, uint64_t journal, uint64_t number, uint32_t position) {
    IndexPageWriter& writer = writers_[segment.info.survivors ? 1 : 0];
    if (!writer.add(journal, number, position)) {
      end_page(segment);
      (void)writer.add(journal, number, position);
    }
    if (segment.page_first.size() == segment.info.pages) segment.page_first.push_back(journal);
    segment.bits[journal / 64] |= uint64_t{1} << (journal % 64);
    ++indexed_;
  }

  void end_page(Segment& segment) {
    IndexPageWriter& writer = writers_[segment.info.survivors ? 1 : 0];
    if (writer.empty()) return;
    store_->put_page(segment.info.pages++, writer.finish());
    writer.begin(segment.info.first, store_->needs_position(segment.info.survivors));
  }

  void seal_slice() {
    Segment& segment = *sealing_;
    // Nothing of it is wanted any more: there is nothing to list.
    if (segment.live == 0) seal_journal_ = options_.journals;
    if (seal_journal_ < options_.journals) {
      store_->begin(segment.info);
      const uint64_t end = sealed_entries_ + kSliceEntries;
      while (seal_journal_ < options_.journals && sealed_entries_ < end) {
        if (next_item_ < seal_items_.size()) {
          const Tail::Item& item = seal_items_[next_item_++];
          list(segment, seal_journal_, item.number, item.position);
          ++sealed_entries_;
          continue;
        }
        if (next_item_ != 0) {
          seal_items_.clear();
          next_item_ = 0;
          if (++seal_journal_ == options_.journals) break;
        }
        sealing_tail_.collect(seal_journal_, trims_[seal_journal_], seal_items_);
        if (seal_items_.empty()) ++seal_journal_;
      }
      if (seal_journal_ == options_.journals) end_page(segment);
      store_->commit(false);
      if (seal_journal_ < options_.journals) return;
    }
    seal(segment);
    if (segment.live == 0) segment.state = Segment::State::Dropping;
    sealing_ = nullptr;
  }

  void seal(Segment& segment) {
    segment.info.sealed = true;
    segment.state = Segment::State::Sealed;
    std::vector<TrimBlock> blocks;
    for (uint64_t index = 0; index < trims_changed_.size(); ++index) {
      if (trims_changed_[index] == 0) continue;
      trims_changed_[index] = 0;
      const uint64_t from = index * kTrimsPerBlock;
      const uint64_t count = std::min<uint64_t>(kTrimsPerBlock, trims_.size() - from);
      blocks.push_back({index, std::span(trims_).subspan(from, count)});
    }
    store_->seal(segment.info, blocks);
  }

  // --- Collection -----------------------------------------------------------------------------------------------

  void drop_slice() {
    for (auto at = segments_.begin(); at != segments_.end(); ++at) {
      if (at->second.state != Segment::State::Dropping) continue;
      if (!store_->drop(at->second.info)) return;
      std::erase_if(ranges_, [&](const auto& range) { return range.second.segment == at->first; });
      segments_.erase(at);
      return;
    }
  }

  // Worth it when a whole segment is gained.
  void begin_collection() {
    std::vector<Segment*> sparse;
    for (auto& [id, segment] : segments_) {
      const auto few = static_cast<uint64_t>(options_.collect_share * static_cast<double>(segment.info.records));
      if (segment.state == Segment::State::Sealed && segment.live < few) sparse.push_back(&segment);
    }
    std::ranges::sort(sparse, {}, [](const Segment* segment) { return segment->live; });
    uint64_t live = 0;
    uint64_t dead = 0;
    size_t taken = 0;
    while (taken < sparse.size() && live < messages_per_segment_) {
      live += sparse[taken]->live;
      dead += sparse[taken]->info.records - sparse[taken]->live;
      ++taken;
    }
    if (dead < messages_per_segment_) return;
    sparse.resize(taken);

    Segment& target = segments_[next_id_];
    target.info = {.id = next_id_++, .survivors = true, .first = UINT64_MAX, .last = 0};
    target.state = Segment::State::Making;
    for (Segment* segment : sparse) {
      segment->state = Segment::State::Collected;
      sources_.push_back({.segment = segment, .bytes = {}, .reader = {}});
      target.info.replaces.push_back(segment->info.id);
      target.info.first = std::min(target.info.first, segment->info.first);
      target.info.last = std::max(target.info.last, segment->info.last);
    }
    for (const auto& [first, range] : ranges_) {
      const auto& replaced = target.info.replaces;
      if (std::ranges::find(replaced, range.segment) != replaced.end()) {
        target.info.ranges.emplace_back(first, range.last);
      }
    }
    store_->create(target.info);
    begin_index(target);
    to_collect_ = live;
    target_ = &target;
    started_ = false;
  }

  // The source's next entry that is live; false at its end.
  bool advance(Source& source) {
    const SegmentInfo& info = source.segment->info;
    while (true) {
      while (source.page != 0 && source.reader.next(source.item)) {
        if (source.item.number > trims_[source.item.journal]) return true;
      }
      if (source.page == info.pages) return false;
      source.bytes = store_->page(info, source.page++);
      source.reader.begin(source.bytes, info.first, store_->needs_position(info.survivors));
    }
  }

  // Copies records in the order (journal, number); one that several journals take is copied with the first of them.
  void collect_slice() {
    Segment& target = *target_;
    store_->begin(target.info);
    if (!started_) std::erase_if(sources_, [&](Source& source) { return !advance(source); });
    started_ = true;
    const uint64_t end = indexed_ + kSliceRecords;
    uint64_t bytes = 0;
    while (!sources_.empty() && indexed_ < end) {
      Source& source = *std::ranges::min_element(
          sources_, {}, [](const Source& one) { return std::pair(one.item.journal, one.item.number); });
      const Item item = source.item;
      uint32_t position = 0;
      const auto copied = positions_.find(item.number);
      if (copied != positions_.end()) {
        position = copied->second;
      } else {
        bytes += copy(source, item, position);
        ++target.info.records;
        ++collected_;
      }
      list(target, item.journal, item.number, position);
      if (!advance(source)) sources_.erase(sources_.begin() + (&source - sources_.data()));
    }
    if (sources_.empty()) end_page(target);
    store_->commit(false);
    target.info.bytes += bytes;
    if (!sources_.empty()) return;
    seal(target);
    for (const uint32_t id : target.info.replaces) {
      target.live += segments_.at(id).live;
      segments_.at(id).state = Segment::State::Dropping;
    }
    for (const auto& [first, last] : target.info.ranges) ranges_.at(first).segment = target.info.id;
    if (target.live == 0) target.state = Segment::State::Dropping;
    positions_.clear();
    target_ = nullptr;
    since_collection_ = 0;
  }

  size_t copy(const Source& source, const Item& item, uint32_t& position) {
    const SegmentInfo& info = source.segment->info;
    const std::string bytes(record_at(info, item.number, item.position));
    Record record;
    check_record(decode(bytes, store_->checksum_seed(info.id), record));
    std::vector<uint64_t> journals(record.journal_count());
    for (size_t i = 0; i < journals.size(); ++i) journals[i] = record.journal(i);
    const Message message{record.number, record.time_s, record.publisher, record.topic, record.payload, journals};
    encode(message, store_->checksum_seed(target_->info.id),
           store_->append(item.number, false, record_size(message), position));
    if (journals.size() > 1) positions_[item.number] = position;
    return record.size;
  }

  // --- Reading --------------------------------------------------------------------------------------------------

  static void check_record(bool good) {
    if (!good) throw std::runtime_error("a record is damaged");
  }

  // The bytes that begin with the record: LMDB gives exactly it, a file perhaps more.
  std::string_view record_at(const SegmentInfo& info, uint64_t number, uint32_t position) {
    const std::string_view bytes = store_->record(info, number, position);
    return bytes.substr(0, size_of_record(bytes));
  }

  bool deliver(const SegmentInfo& info, uint64_t number, uint32_t position, const Reader& reader) {
    Record record;
    check_record(decode(store_->record(info, number, position), store_->checksum_seed(info.id), record));
    return reader(record);
  }

  bool read_listed(std::span<Segment* const> holders, uint64_t journal, uint64_t above, const Reader& reader) {
    struct Found {
      uint64_t number;
      uint32_t position;
      const SegmentInfo* info;
    };
    std::vector<Found> found;
    for (const Segment* segment : holders) {
      const auto& first = segment->page_first;
      auto page = static_cast<uint32_t>(std::ranges::lower_bound(first, journal) - first.begin());
      if (page > 0) --page;
      for (; page < first.size() && first[page] <= journal; ++page) {
        page_bytes_ = store_->page(segment->info, page);
        IndexPageReader index;
        index.begin(page_bytes_, segment->info.first, store_->needs_position(segment->info.survivors));
        for (Item item{}; index.next(item) && item.journal <= journal;) {
          if (item.journal != journal || item.number <= above) continue;
          found.push_back({item.number, item.position, &segment->info});
        }
        if (holders.size() > 1) continue;
        // One segment: its pages are in order already.
        for (const Found& entry : found) {
          if (!deliver(*entry.info, entry.number, entry.position, reader)) return false;
        }
        found.clear();
      }
    }
    std::ranges::sort(found, {}, &Found::number);
    return std::ranges::all_of(
        found, [&](const Found& entry) { return deliver(*entry.info, entry.number, entry.position, reader); });
  }

  bool read_tail(const Tail& tail, const Segment& segment, uint64_t journal, uint64_t above, const Reader& reader) {
    std::vector<Tail::Item> items;
    tail.collect(journal, above, items);
    return std::ranges::all_of(
        items, [&](const Tail::Item& item) { return deliver(segment.info, item.number, item.position, reader); });
  }

  // --- Restart --------------------------------------------------------------------------------------------------

  void restart() {
    std::vector<SegmentInfo> infos = store_->list(trims_);
    std::vector<uint32_t> replaced;
    for (const SegmentInfo& info : infos) {
      if (info.sealed) replaced.insert(replaced.end(), info.replaces.begin(), info.replaces.end());
    }
    for (SegmentInfo& info : infos) {
      next_id_ = info.id + 1;
      // What was collected into another is gone, and what was being made never was.
      const bool gone = std::ranges::find(replaced, info.id) != replaced.end() || (info.survivors && !info.sealed);
      if (gone) {
        while (!store_->drop(info)) {}
        continue;
      }
      Segment& segment = segments_[info.id];
      segment.info = std::move(info);
      if (segment.info.sealed) last_ = std::max(last_, segment.info.last);
    }
    // Settlements in the open segments come first: an index is judged by all of them.
    std::vector<Segment*> unsealed;
    for (auto& [id, segment] : segments_) {
      if (segment.info.sealed) continue;
      unsealed.push_back(&segment);
      store_->replay(segment.info, [&](std::string_view bytes, uint32_t) -> size_t {
        Record record;
        if (!decode(bytes, store_->checksum_seed(id), record)) return 0;
        if (!record.settlements) return record.size;
        for (size_t i = 0; i < record.settled_count(); ++i) {
          const Entry entry = record.settled(i);
          trims_[entry.journal] = std::max(trims_[entry.journal], entry.number);
          trims_changed_[entry.journal / kTrimsPerBlock] = 1;
        }
        return record.size;
      });
    }
    for (auto& [id, segment] : segments_) {
      if (segment.info.sealed) scan(segment);
    }
    for (size_t i = 0; i < unsealed.size(); ++i) {
      const uint64_t end = i + 1 < unsealed.size() ? unsealed[i + 1]->info.first : 0;
      replay(*unsealed[i], end);
      if (i + 1 < unsealed.size() || !store_->appends_after_restart()) seal_replayed();
    }
  }

  // Rebuilds what is known of a sealed segment from its index.
  void scan(Segment& segment) {
    SegmentInfo& info = segment.info;
    segment.state = Segment::State::Sealed;
    if (!info.survivors) info.ranges = {{info.first, info.last}};
    for (const auto& [first, last] : info.ranges) {
      ranges_[first] = {last, info.id, std::vector<uint8_t>(last - first + 1, 0)};
    }
    if (!info.survivors) info.ranges.clear();
    segment.bits.assign((options_.journals + 63) / 64, 0);
    store_->begin_read();
    for (uint32_t page = 0; page < info.pages; ++page) {
      page_bytes_ = store_->page(info, page);
      IndexPageReader index;
      index.begin(page_bytes_, info.first, store_->needs_position(info.survivors));
      Item item{};
      for (bool begun = false; index.next(item); begun = true) {
        if (!begun) segment.page_first.push_back(item.journal);
        if (item.number <= trims_[item.journal]) continue;
        segment.bits[item.journal / 64] |= uint64_t{1} << (item.journal % 64);
        auto range = std::prev(ranges_.upper_bound(item.number));
        if (range->second.remaining[item.number - range->first]++ == 0) ++segment.live;
      }
    }
    store_->end_read();
    if (segment.live == 0) segment.state = Segment::State::Dropping;
    messages_per_segment_ = std::max(messages_per_segment_, info.records);
  }

  // Rebuilds the tail of a segment that was open. end: the first number of the next one, or 0.
  void replay(Segment& segment, uint64_t end) {
    SegmentInfo& info = segment.info;
    info.bytes = 0;
    info.records = 0;
    info.last = end == 0 ? 0 : end - 1;
    info.pages = 0;
    open_tail_.clear(info.first);
    open_ = &segment;
    ranges_[info.first] = {.last = UINT64_MAX, .segment = info.id, .remaining = {}};
    open_range_ = &ranges_[info.first];
    store_->replay(info, [&](std::string_view bytes, uint32_t position) -> size_t {
      Record record;
      if (!decode(bytes, store_->checksum_seed(info.id), record)) return 0;
      info.bytes += record.size;
      if (record.settlements) return record.size;
      std::vector<uint64_t>& journals = journals_;
      journals.clear();
      for (size_t i = 0; i < record.journal_count(); ++i) journals.push_back(record.journal(i));
      note(record.number, journals, position);
      uint8_t& remaining = open_range_->remaining.back();
      for (const uint64_t journal : journals) {
        if (record.number <= trims_[journal] && --remaining == 0) --segment.live;
      }
      return record.size;
    });
    info.last = 0;
  }

  void seal_replayed() {
    if (open_->info.records == 0) {
      // Made, and never written to.
      SegmentInfo info = open_->info;
      ranges_.erase(info.first);
      segments_.erase(info.id);
      open_ = nullptr;
      while (!store_->drop(info)) {}
      return;
    }
    messages_per_segment_ = std::max(messages_per_segment_, open_->info.records);
    begin_sealing();
    while (sealing_ != nullptr) seal_slice();
  }

  const LayoutOptions options_;
  const std::unique_ptr<SegmentStore> store_;
  std::vector<uint64_t> trims_;         // per journal, the last settled number
  std::vector<uint8_t> trims_changed_;  // per block of them, since it was written
  std::map<uint32_t, Segment> segments_;
  std::map<uint64_t, Range> ranges_;  // by first number
  uint32_t next_id_ = 1;
  uint64_t last_ = 0;
  uint64_t messages_per_segment_ = 1;
  uint64_t indexed_ = 0;
  uint64_t collected_ = 0;

  Segment* open_ = nullptr;
  Range* open_range_ = nullptr;
  Tail open_tail_;

  Segment* sealing_ = nullptr;
  Tail sealing_tail_;
  uint64_t seal_journal_ = 0;  // the walk's place
  std::vector<Tail::Item> seal_items_;
  size_t next_item_ = 0;
  uint64_t sealed_entries_ = 0;
  uint64_t since_seal_ = 0;     // messages
  IndexPageWriter writers_[2];  // of the log segment being sealed, of the survivors being made

  Segment* target_ = nullptr;  // survivors being made
  std::vector<Source> sources_;
  bool started_ = false;
  uint64_t to_collect_ = 0;
  std::unordered_map<uint64_t, uint32_t> positions_;  // of copied records that several journals take
  uint64_t since_collection_ = 0;
  uint64_t since_drop_ = 0;

  std::string page_bytes_;
  std::vector<uint64_t> journals_;
};

}  // namespace

std::unique_ptr<Layout> open_indexed(const LayoutOptions& options) {
  return std::make_unique<Segmented>(options, open_lmdb_segments(options));
}

std::unique_ptr<Layout> open_files(const LayoutOptions& options) {
  return std::make_unique<Segmented>(options, open_file_segments(options));
}

}  // namespace mqttq::layouts
