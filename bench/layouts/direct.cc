// The layout `direct`: one table keyed (journal, number), written in the commit itself, once per journal.
#include <algorithm>
#include <cstring>
#include <vector>

#include "layouts/layout.h"
#include "layouts/lmdb_env.h"
#include "layouts/pair_key.h"

namespace mqttq::layouts {
namespace {

class Direct : public Layout {
 public:
  explicit Direct(const LayoutOptions& options)
      : environment_(options.directory, options.write_map, 4),
        entries_(environment_.table("entries", 0)),
        meta_(environment_.table("meta", MDB_INTEGERKEY)) {
    Transaction transaction(environment_, Transaction::Kind::Read);
    MDB_val value;
    MDB_val key = value_of(kLast);
    if (mdb_get(transaction.get(), meta_, &key, &value) == 0) std::memcpy(&last_, value.mv_data, sizeof last_);
    Cursor cursor(transaction, entries_);
    if (cursor.seek(key, value, MDB_LAST)) highest_.assign(key);
  }

  void append(std::span<const Message> messages, std::span<const Entry> settled) override {
    // In key order, so that neighbours share the pages they touch.
    sorted_.clear();
    for (size_t i = 0; i < messages.size(); ++i) {
      for (const uint64_t journal : messages[i].journals) sorted_.push_back({journal, i});
    }
    std::ranges::sort(sorted_, {}, [](const Entry& entry) { return std::pair(entry.journal, entry.number); });
    deleted_.assign(settled.begin(), settled.end());
    std::ranges::sort(deleted_, {}, [](const Entry& entry) { return std::pair(entry.journal, entry.number); });

    Transaction transaction(environment_, Transaction::Kind::Write);
    {
      Cursor cursor(transaction, entries_);
      for (const Entry& entry : deleted_) {
        const PairKey pair(entry.journal, entry.number);
        MDB_val key = pair.value();
        MDB_val value;
        if (cursor.seek(key, value, MDB_SET)) check(mdb_cursor_del(cursor.get(), 0), "mdb_cursor_del");
      }
      for (const Entry& entry : sorted_) {
        Message message = messages[entry.number];
        message.journals = {};
        const PairKey pair(entry.journal, message.number);
        MDB_val key = pair.value();
        MDB_val value = value_of(nullptr, record_size(message));
        const bool last = highest_ < pair;
        if (last) highest_ = pair;
        check(mdb_cursor_put(cursor.get(), &key, &value, MDB_RESERVE | (last ? MDB_APPEND : 0U)), "mdb_cursor_put");
        encode(message, 0, static_cast<std::byte*>(value.mv_data));
      }
    }
    last_ = messages.back().number;
    MDB_val key = value_of(kLast);
    MDB_val value = value_of(last_);
    check(mdb_put(transaction.get(), meta_, &key, &value, 0), "mdb_put");
    transaction.commit();
  }

  void work() override {}

  void read(uint64_t journal, uint64_t from, const Reader& reader) override {
    Transaction transaction(environment_, Transaction::Kind::Read);
    Cursor cursor(transaction, entries_);
    const PairKey first(journal, from);
    MDB_val key = first.value();
    MDB_val value;
    for (bool found = cursor.seek(key, value, MDB_SET_RANGE); found; found = cursor.seek(key, value, MDB_NEXT)) {
      if (PairKey(key).journal() != journal) return;
      Record record;
      check(decode(view_of(value), 0, record) ? 0 : MDB_CORRUPTED, "record");
      if (!reader(record)) return;
    }
  }

  [[nodiscard]] uint64_t last_number() const override { return last_; }
  void hurry(bool on) override { environment_.hurry(on); }
  [[nodiscard]] bool syncs() const override { return environment_.syncs(); }
  [[nodiscard]] LayoutFigures figures() const override { return {.syncs = environment_.sync_count()}; }

 private:
  static constexpr uint64_t kLast = 0;

  Environment environment_;
  const MDB_dbi entries_;
  const MDB_dbi meta_;
  uint64_t last_ = 0;
  PairKey highest_;            // ever written: MDB_APPEND is refused unless the key is above every other
  std::vector<Entry> sorted_;  // number: the index in the batch
  std::vector<Entry> deleted_;
};

}  // namespace

std::unique_ptr<Layout> open_direct(const LayoutOptions& options) { return std::make_unique<Direct>(options); }

}  // namespace mqttq::layouts
