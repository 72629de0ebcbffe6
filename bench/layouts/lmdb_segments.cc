// Segments in LMDB: tables `log` (number), `kept` (segment of survivors, position), `index` (segment, page),
// `segments` and `trims`. `log`, `kept` and `index` are only ever appended to, and deleted from by range.
#include <algorithm>
#include <cstring>
#include <optional>

#include "layouts/lmdb_env.h"
#include "layouts/lmdb_log.h"
#include "layouts/segment_store.h"

namespace mqttq::layouts {
namespace {

constexpr size_t kDropsPerSlice = 16384;

uint64_t key_of(uint32_t segment, uint32_t index) { return uint64_t{segment} << 32 | index; }

class LmdbSegments : public SegmentStore {
 public:
  explicit LmdbSegments(const LayoutOptions& options)
      : environment_(options.directory, options.write_map, 2 * LmdbLog::kTables + 8),
        log_(environment_, "log", options.tables),
        kept_(environment_, "kept", options.tables),
        index_(environment_.table("index", MDB_INTEGERKEY)),
        segments_(environment_.table("segments", MDB_INTEGERKEY)),
        trims_(environment_.table("trims", MDB_INTEGERKEY)) {}

  std::vector<SegmentInfo> list(std::vector<uint64_t>& trims) override {
    std::vector<SegmentInfo> segments;
    Transaction transaction(environment_, Transaction::Kind::Read);
    MDB_val key;
    MDB_val value;
    {
      Cursor cursor(transaction, segments_);
      while (cursor.seek(key, value, MDB_NEXT)) segments.push_back(parse(value));
    }
    Cursor cursor(transaction, trims_);
    while (cursor.seek(key, value, MDB_NEXT)) {
      std::memcpy(&trims[LmdbLog::key_of(key) * kTrimsPerBlock], value.mv_data, value.mv_size);
    }
    return segments;
  }

  [[nodiscard]] bool needs_position(bool survivors) const override { return survivors; }
  [[nodiscard]] uint32_t checksum_seed(uint32_t) const override { return 0; }

  void replay(const SegmentInfo& segment, const Replay& replay) override {
    Transaction transaction(environment_, Transaction::Kind::Read);
    Cursor cursor(transaction, log_.table(segment.id));
    const uint64_t first = log_key(segment.first, true);
    MDB_val key = value_of(first);
    MDB_val value;
    for (bool found = cursor.seek(key, value, MDB_SET_RANGE); found; found = cursor.seek(key, value, MDB_NEXT)) {
      if (segment.last != 0 && LmdbLog::key_of(key) > log_key(segment.last, false)) return;
      if (replay(view_of(value), 0) == 0) return;
    }
  }

  // A segment is listed by the first transaction that appends to it.
  void create(const SegmentInfo& segment) override { created_.push_back(segment.id); }

  void begin(const SegmentInfo& segment) override {
    transaction_.emplace(environment_, Transaction::Kind::Write);
    segment_ = segment;
    if (std::erase(created_, segment.id) != 0) put_info(segment);
    position_ = static_cast<uint32_t>(segment.records);
    cursor_.emplace(*transaction_, segment.survivors ? kept_.table(segment.id) : log_.table(segment.id));
  }

  std::byte* append(uint64_t number, bool settlements, size_t size, uint32_t& position) override {
    position = segment_.survivors ? position_++ : 0;
    const uint64_t key = segment_.survivors ? key_of(segment_.id, position) : log_key(number, settlements);
    return LmdbLog::append(*cursor_, key, size);
  }

  void put_page(uint32_t page, std::span<const std::byte> bytes) override {
    const uint64_t number = key_of(segment_.id, page);
    MDB_val key = value_of(number);
    MDB_val value = value_of(bytes.data(), bytes.size());
    // Only one segment is being sealed at a time, and it is the newest that is: except for the rare one of survivors
    // that is sealed after a log segment that is younger.
    int code = mdb_put(transaction_->get(), index_, &key, &value, MDB_APPEND);
    if (code == MDB_KEYEXIST) code = mdb_put(transaction_->get(), index_, &key, &value, 0);
    check(code, "put an index page");
  }

  void commit(bool) override {
    cursor_.reset();
    read_cursor_.reset();
    transaction_->commit();
    transaction_.reset();
  }

  void seal(const SegmentInfo& segment, std::span<const TrimBlock> trims) override {
    transaction_.emplace(environment_, Transaction::Kind::Write);
    put_info(segment);
    for (const TrimBlock& block : trims) {
      MDB_val key = value_of(block.index);
      MDB_val value = value_of(block.trims.data(), block.trims.size_bytes());
      check(mdb_put(transaction_->get(), trims_, &key, &value, 0), "put trims");
    }
    commit(true);
  }

  bool drop(const SegmentInfo& segment) override {
    Transaction transaction(environment_, Transaction::Kind::Write);
    LmdbLog& log = segment.survivors ? kept_ : log_;
    const uint64_t first = segment.survivors ? key_of(segment.id, 0) : log_key(segment.first, true);
    const uint64_t last = segment.survivors ? key_of(segment.id, UINT32_MAX) : log_key(segment.last, false);
    const bool gone = log.drop(transaction, segment.id, first, last, kDropsPerSlice);
    if (gone) {
      // By range, for a restart may find more pages than the segment's entry knows of.
      LmdbLog::erase(transaction, index_, key_of(segment.id, 0), key_of(segment.id, UINT32_MAX), SIZE_MAX);
      const uint64_t id = segment.id;
      MDB_val key = value_of(id);
      const int code = mdb_del(transaction.get(), segments_, &key, nullptr);
      if (code != MDB_NOTFOUND) check(code, "mdb_del");
    }
    transaction.commit();
    return gone;
  }

  [[nodiscard]] bool appends_after_restart() const override { return true; }

  void begin_read() override { transaction_.emplace(environment_, Transaction::Kind::Read); }
  void end_read() override {
    read_cursor_.reset();
    transaction_.reset();
  }

  std::string_view record(const SegmentInfo& segment, uint64_t number, uint32_t position) override {
    const MDB_dbi table = segment.survivors ? kept_.table(segment.id) : log_.table(segment.id);
    if (!read_cursor_ || reading_ != table) {
      read_cursor_.emplace(*transaction_, table);
      reading_ = table;
    }
    const uint64_t wanted = segment.survivors ? key_of(segment.id, position) : log_key(number, false);
    MDB_val key = value_of(wanted);
    MDB_val value;
    check(read_cursor_->seek(key, value, MDB_SET) ? 0 : MDB_NOTFOUND, "record of a segment");
    return view_of(value);
  }

  std::string_view page(const SegmentInfo& segment, uint32_t page) override {
    const uint64_t number = key_of(segment.id, page);
    MDB_val key = value_of(number);
    MDB_val value;
    check(mdb_get(transaction_->get(), index_, &key, &value), "index page");
    return view_of(value);
  }

  void hurry(bool on) override { environment_.hurry(on); }
  [[nodiscard]] bool syncs() const override { return environment_.syncs(); }
  void count(LayoutFigures& figures) const override { figures.syncs = environment_.sync_count(); }

 private:
  // The settlements of a commit stand before its messages.
  static uint64_t log_key(uint64_t number, bool settlements) { return 2 * number - (settlements ? 1 : 0); }

  void put_info(const SegmentInfo& segment) {
    std::vector<uint64_t> words{segment.id,
                                segment.survivors ? 1U : 0U,
                                segment.sealed ? 1U : 0U,
                                segment.first,
                                segment.last,
                                segment.records,
                                segment.bytes,
                                segment.pages,
                                segment.ranges.size()};
    for (const auto& [first, last] : segment.ranges) words.insert(words.end(), {first, last});
    words.insert(words.end(), segment.replaces.begin(), segment.replaces.end());
    const uint64_t id = segment.id;
    MDB_val key = value_of(id);
    MDB_val value = value_of(words.data(), 8 * words.size());
    check(mdb_put(transaction_->get(), segments_, &key, &value, 0), "put a segment");
  }

  static SegmentInfo parse(const MDB_val& value) {
    std::vector<uint64_t> words(value.mv_size / 8);
    std::memcpy(words.data(), value.mv_data, value.mv_size);
    SegmentInfo info{static_cast<uint32_t>(words[0]),
                     words[1] != 0,
                     words[2] != 0,
                     words[3],
                     words[4],
                     words[5],
                     words[6],
                     static_cast<uint32_t>(words[7]),
                     {},
                     {}};
    size_t at = 9;
    for (uint64_t i = 0; i < words[8]; ++i, at += 2) info.ranges.emplace_back(words[at], words[at + 1]);
    for (; at < words.size(); ++at) info.replaces.push_back(static_cast<uint32_t>(words[at]));
    return info;
  }

  Environment environment_;
  LmdbLog log_;
  LmdbLog kept_;
  const MDB_dbi index_;
  const MDB_dbi segments_;
  const MDB_dbi trims_;
  std::optional<Transaction> transaction_;
  std::optional<Cursor> cursor_;
  std::optional<Cursor> read_cursor_;
  std::vector<uint32_t> created_;  // and not listed yet
  SegmentInfo segment_;
  uint32_t position_ = 0;
  MDB_dbi reading_ = 0;  // read_cursor_'s
};

}  // namespace

std::unique_ptr<SegmentStore> open_lmdb_segments(const LayoutOptions& options) {
  return std::make_unique<LmdbSegments>(options);
}

}  // namespace mqttq::layouts
