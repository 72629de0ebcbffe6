// The layout `moved`: a log holds each record once; what is still unsettled when the log is longer than its bound
// moves to a table keyed (journal, number), in batches sorted by that key. DESIGN section 2 at the time of the bench.
//
// The log is cut in stretches of half the bound. A stretch is moved by walking its tail index journal by journal, a
// slice per transaction, then dropped. Until it is dropped a restart moves it again: puts are idempotent.
#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>

#include "layouts/layout.h"
#include "layouts/lmdb_env.h"
#include "layouts/lmdb_log.h"
#include "layouts/pair_key.h"
#include "layouts/tail.h"

namespace mqttq::layouts {
namespace {

constexpr size_t kSliceEntries = 4096;
constexpr size_t kDropsPerEntry = 4;  // records dropped from the log in the place of one entry moved

// Settlements of a commit stand before its messages.
uint64_t key_of_message(uint64_t number) { return 2 * number; }
uint64_t key_of_settlements(uint64_t number) { return 2 * number - 1; }

class Moved : public Layout {
 public:
  explicit Moved(const LayoutOptions& options)
      : options_(options),
        environment_(options.directory, options.write_map, LmdbLog::kTables + 4),
        log_(environment_, "log", options.tables),
        entries_(environment_.table("entries", 0)),
        stretches_table_(environment_.table("stretches", MDB_INTEGERKEY)),
        trims_(options.journals, 0) {
    replay();
  }

  void append(std::span<const Message> messages, std::span<const Entry> settled) override {
    if (stretches_.empty() || stretches_.back().bytes >= options_.bound_bytes / 2)
      open_stretch(messages.front().number);
    Stretch& stretch = stretches_.back();
    Transaction transaction(environment_, Transaction::Kind::Write);
    if (!stretch.listed) {
      MDB_val key = value_of(stretch.id);
      MDB_val value = value_of(stretch.first);
      check(mdb_put(transaction.get(), stretches_table_, &key, &value, 0), "mdb_put");
      stretch.listed = true;
    }
    {
      Cursor cursor(transaction, log_.table(static_cast<uint32_t>(stretch.id)));
      if (!settled.empty()) {
        const uint64_t number = messages.front().number;
        const size_t size = settlements_size(settled);
        encode_settlements(number, settled, 0, LmdbLog::append(cursor, key_of_settlements(number), size));
        stretch.bytes += size;
      }
      for (const Message& message : messages) {
        const size_t size = record_size(message);
        encode(message, 0, LmdbLog::append(cursor, key_of_message(message.number), size));
        stretch.bytes += size;
      }
    }
    transaction.commit();
    for (const Message& message : messages) note(stretch, message.number, message.journals);
    for (const Entry& entry : settled) settle(entry);
    since_cycle_ += messages.size();
  }

  void work() override {
    if (!moving_) {
      uint64_t bytes = 0;
      for (const Stretch& stretch : stretches_) bytes += stretch.bytes;
      if (stretches_.size() < 2 || bytes <= options_.bound_bytes) return;
      begin_cycle();
    }
    // As fast as messages come: this stretch is gone a little before the next one is full.
    const Stretch& stretch = stretches_.front();
    const uint64_t expected = std::max<uint64_t>(1, stretch.last - stretch.first + 1);
    const double share = 1.1 * static_cast<double>(since_cycle_) / static_cast<double>(expected);
    const auto due = static_cast<uint64_t>(share * static_cast<double>(work_total_));
    if (share < 1 && due < work_done_ + kSliceEntries) return;
    while (moving_ && (share >= 1 || work_done_ + kSliceEntries <= due)) slice();
  }

  void read(uint64_t journal, uint64_t from, const Reader& reader) override {
    const uint64_t above = std::max(trims_[journal], from == 0 ? 0 : from - 1);
    const uint64_t tail = stretches_.empty() ? UINT64_MAX : stretches_.front().first;
    Transaction transaction(environment_, Transaction::Kind::Read);
    Record record;
    MDB_val value;
    {
      Cursor cursor(transaction, entries_);
      const PairKey first(journal, above + 1);
      MDB_val key = first.value();
      for (bool found = cursor.seek(key, value, MDB_SET_RANGE); found; found = cursor.seek(key, value, MDB_NEXT)) {
        const PairKey pair(key);
        if (pair.journal() != journal || pair.number() >= tail) break;
        check(decode(view_of(value), 0, record) ? 0 : MDB_CORRUPTED, "record");
        if (!reader(record)) return;
      }
    }
    for (const Stretch& stretch : stretches_) {
      std::vector<Tail::Item> items;
      stretch.tail->collect(journal, above, items);
      if (items.empty()) continue;
      Cursor cursor(transaction, log_.table(static_cast<uint32_t>(stretch.id)));
      for (const Tail::Item& item : items) {
        const uint64_t number = key_of_message(item.number);
        MDB_val key = value_of(number);
        check(cursor.seek(key, value, MDB_SET) ? 0 : MDB_NOTFOUND, "record in the log");
        check(decode(view_of(value), 0, record) ? 0 : MDB_CORRUPTED, "record");
        if (!reader(record)) return;
      }
    }
  }

  [[nodiscard]] uint64_t last_number() const override { return last_; }
  void hurry(bool on) override { environment_.hurry(on); }
  [[nodiscard]] bool syncs() const override { return environment_.syncs(); }
  [[nodiscard]] LayoutFigures figures() const override {
    LayoutFigures figures{.syncs = environment_.sync_count(),
                          .memory_fixed = trims_.capacity() * sizeof trims_[0],
                          .memory_varying = (pending_.capacity() + deletes_.capacity()) * sizeof(Entry),
                          .segments = stretches_.size(),
                          .moved_entries = moved_};
    for (const Stretch& stretch : stretches_) {
      figures.memory_fixed += stretch.tail->memory_fixed();
      figures.memory_varying += stretch.tail->memory_varying();
    }
    for (const auto& tail : spare_) figures.memory_fixed += tail->memory_fixed();
    return figures;
  }

 private:
  struct Stretch {
    uint64_t id;
    uint64_t first;  // number
    uint64_t last;
    uint64_t bytes;
    bool listed;  // in stretches_table_
    std::unique_ptr<Tail> tail;
  };

  void open_stretch(uint64_t first) {
    const uint64_t id = stretches_.empty() ? next_id_ : stretches_.back().id + 1;
    next_id_ = id + 1;
    std::unique_ptr<Tail> tail;
    if (spare_.empty()) {
      tail = std::make_unique<Tail>(options_.journals);
    } else {
      tail = std::move(spare_.back());
      spare_.pop_back();
    }
    tail->clear(first);
    stretches_.push_back({id, first, first - 1, 0, false, std::move(tail)});
  }

  template <typename Journals>
  void note(Stretch& stretch, uint64_t number, const Journals& journals) {
    for (const uint64_t journal : journals) stretch.tail->add(journal, number, 0);
    stretch.last = number;
    last_ = number;
  }

  // An entry that is, or may be, in the table must be deleted there: by the next cycle, in its order.
  void settle(const Entry& entry) {
    trims_[entry.journal] = std::max(trims_[entry.journal], entry.number);
    const uint64_t tail = stretches_.empty() ? UINT64_MAX : stretches_.front().first;
    const bool may_be_moved = (moving_ || restarted_) && !stretches_.empty() &&
                              entry.number <= stretches_.front().last && (restarted_ || entry.journal <= journal_);
    if (entry.number < tail || may_be_moved) pending_.push_back(entry);
  }

  void begin_cycle() {
    moving_ = true;
    restarted_ = false;
    since_cycle_ = 0;
    journal_ = 0;
    work_done_ = 0;
    items_.clear();
    next_item_ = 0;
    deletes_.swap(pending_);
    pending_.clear();
    std::ranges::sort(deletes_, {}, [](const Entry& entry) { return std::pair(entry.journal, entry.number); });
    next_delete_ = 0;
    const Stretch& stretch = stretches_.front();
    work_total_ = stretch.tail->size() + deletes_.size();
    if (!options_.tables) work_total_ += (stretch.last - stretch.first + 1) / kDropsPerEntry;
  }

  void slice() {
    Transaction transaction(environment_, Transaction::Kind::Write);
    Stretch& stretch = stretches_.front();
    const uint64_t before = work_done_;
    if (journal_ < options_.journals) {
      Cursor entries(transaction, entries_);
      Cursor log(transaction, log_.table(static_cast<uint32_t>(stretch.id)));
      while (journal_ < options_.journals && work_done_ < before + kSliceEntries) {
        if (next_item_ < items_.size()) {
          put(entries, log, items_[next_item_++].number);
          continue;
        }
        if (next_item_ > 0) {
          items_.clear();
          next_item_ = 0;
          ++journal_;
          if (journal_ == options_.journals) break;
        }
        for (; next_delete_ < deletes_.size() && deletes_[next_delete_].journal <= journal_; ++next_delete_) {
          erase(entries, deletes_[next_delete_]);
        }
        stretch.tail->collect(journal_, trims_[journal_], items_);
        if (items_.empty()) ++journal_;
      }
      if (journal_ < options_.journals) {
        transaction.commit();
        return;
      }
    }
    // All is in the table: the stretch goes, and its settlements with it, whose deletions this cycle has made.
    const uint64_t last_key = key_of_message(stretch.last);
    if (!log_.drop(transaction, static_cast<uint32_t>(stretch.id), 0, last_key, kDropsPerEntry * kSliceEntries)) {
      work_done_ += kSliceEntries;
      transaction.commit();
      return;
    }
    MDB_val key = value_of(stretch.id);
    check(mdb_del(transaction.get(), stretches_table_, &key, nullptr), "mdb_del");
    transaction.commit();
    spare_.push_back(std::move(stretch.tail));
    stretches_.pop_front();
    moving_ = false;
  }

  void put(Cursor& entries, Cursor& log, uint64_t number) {
    const uint64_t log_number = key_of_message(number);
    MDB_val key = value_of(log_number);
    MDB_val value;
    check(log.seek(key, value, MDB_SET) ? 0 : MDB_NOTFOUND, "record in the log");
    Record record;
    check(decode(view_of(value), 0, record) ? 0 : MDB_CORRUPTED, "record");
    // The journal is the key now.
    const Message message{record.number, record.time_s, record.publisher, record.topic, record.payload, {}};
    const PairKey pair(journal_, number);
    const bool last = highest_ < pair;
    if (last) highest_ = pair;
    key = pair.value();
    bytes_.resize(record_size(message));
    encode(message, 0, bytes_.data());
    value = value_of(bytes_.data(), bytes_.size());
    check(mdb_cursor_put(entries.get(), &key, &value, last ? MDB_APPEND : 0U), "mdb_cursor_put");
    ++moved_;
    ++work_done_;
  }

  void erase(Cursor& entries, const Entry& entry) {
    const PairKey pair(entry.journal, entry.number);
    MDB_val key = pair.value();
    MDB_val value;
    if (entries.seek(key, value, MDB_SET)) check(mdb_cursor_del(entries.get(), 0), "mdb_cursor_del");
    ++work_done_;
  }

  // Reads the log from its oldest stretch on. What the oldest holds may be in the table already, all or in part.
  void replay() {
    std::map<uint64_t, uint64_t> listed;
    Transaction transaction(environment_, Transaction::Kind::Read);
    MDB_val key;
    MDB_val value;
    {
      Cursor cursor(transaction, stretches_table_);
      while (cursor.seek(key, value, MDB_NEXT)) listed.emplace(LmdbLog::key_of(key), LmdbLog::key_of(value));
      Cursor entries(transaction, entries_);
      if (entries.seek(key, value, MDB_LAST)) highest_.assign(key);
    }
    restarted_ = true;
    for (auto at = listed.begin(); at != listed.end(); ++at) {
      open_stretch(at->second);
      Stretch& stretch = stretches_.back();
      stretch.id = at->first;
      stretch.listed = true;
      const auto next = std::next(at);
      const uint64_t end = next == listed.end() ? UINT64_MAX : key_of_settlements(next->second);
      Cursor cursor(transaction, log_.table(static_cast<uint32_t>(stretch.id)));
      const uint64_t first_key = key_of_settlements(stretch.first);
      key = value_of(first_key);
      for (bool found = cursor.seek(key, value, MDB_SET_RANGE); found && LmdbLog::key_of(key) < end;
           found = cursor.seek(key, value, MDB_NEXT)) {
        Record record;
        check(decode(view_of(value), 0, record) ? 0 : MDB_CORRUPTED, "record");
        stretch.bytes += record.size;
        if (record.settlements) {
          for (size_t i = 0; i < record.settled_count(); ++i) settle(record.settled(i));
          continue;
        }
        std::vector<uint64_t> journals;
        for (size_t i = 0; i < record.journal_count(); ++i) journals.push_back(record.journal(i));
        note(stretch, record.number, journals);
      }
    }
  }

  const LayoutOptions options_;
  Environment environment_;
  LmdbLog log_;
  const MDB_dbi entries_;
  const MDB_dbi stretches_table_;  // id -> first number
  std::vector<uint64_t> trims_;    // per journal, the last settled number that this process heard of
  std::deque<Stretch> stretches_;  // oldest first; the last one is written to
  std::vector<std::unique_ptr<Tail>> spare_;
  uint64_t next_id_ = 0;
  uint64_t last_ = 0;
  PairKey highest_;             // ever put into the table
  std::vector<Entry> pending_;  // to be deleted from the table by the next cycle

  // One cycle: the oldest stretch is moved, and what was pending is deleted.
  bool moving_ = false;
  bool restarted_ = false;  // and no cycle begun since: the oldest stretch may be half moved
  uint64_t journal_ = 0;    // the walk's place
  std::vector<Tail::Item> items_;
  size_t next_item_ = 0;
  std::vector<Entry> deletes_;
  size_t next_delete_ = 0;
  uint64_t work_total_ = 0;
  uint64_t work_done_ = 0;
  uint64_t since_cycle_ = 0;  // messages
  uint64_t moved_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace

std::unique_ptr<Layout> open_moved(const LayoutOptions& options) { return std::make_unique<Moved>(options); }

}  // namespace mqttq::layouts
