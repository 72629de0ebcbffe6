// A file of LMDB's, read without LMDB: its pages carry no sums, and LMDB believes what it maps. Here each is read into
// memory of our own and nothing in it is believed before it was looked at (DESIGN 5).
//
// What LMDB 0.9 writes on processors of 64 bit with the lowest byte first. docs/STORE.md says what is checked.
#pragma once

#include <array>
#include <bit>
#include <optional>
#include <string>
#include <vector>

#include "store/disk.h"
#include "store/store.h"

namespace mqttq {

// Something that is not as LMDB leaves it.
struct LmdbBreak {
  static constexpr int kFreePages = -2, kTableList = -1;  // the trees that are no tables
  int tree = kTableList;                                  // or a table's number
  uint64_t page = 0;                                      // where it was seen
  std::string what;

  std::string text() const;  // with its place
};

// What a walk meets.
class LmdbVisitor {
 public:
  // Before a page is read. False: enough.
  virtual bool on_page() noexcept { return true; }
  // Only if values were asked for. Bytes are borrowed until it returns. False: enough.
  virtual bool on_entry(uint8_t, Bytes, Bytes) noexcept { return true; }
  // True: go on, without what is broken. entries: that were skipped; 0 where it is not known how many.
  virtual bool on_break(const LmdbBreak& of, uint64_t entries) noexcept = 0;

 protected:
  ~LmdbVisitor() = default;
};

// Never reads outside of what it read into, visits no page twice, and allocates by the size of the file and of a page,
// not by what a page says: a bit for each page of the file, and a page for each level of a tree. One thread at a time.
class LmdbFile {
 public:
  static constexpr bool kReadable = sizeof(void*) == 8 && std::endian::native == std::endian::little;
  static constexpr uint32_t kPageBytesMin = 512, kPageBytesMax = 32 << 10;
  static constexpr uint64_t kPagesMax = uint64_t{1} << 33;  // 32 TiB of small pages: a GiB of bits
  using Tables = uint16_t;                                  // a bit for each
  static constexpr Tables kAll = 0xFFFF;
  static_assert(Store::kTables == 16);

  // What is said of a tree: its root, and counts that have to be so.
  struct Tree {
    uint32_t pad = 0;
    uint16_t flags = 0, depth = 0;
    uint64_t branches = 0, leaves = 0, overflows = 0, entries = 0;  // the first three: pages
    uint64_t root = 0;                                              // UINT64_MAX: it is empty
  };
  // One of the two pages at the head of the file, each of which begins a snapshot of all.
  struct Meta {
    uint64_t transaction = 0, last_page = 0;
    uint32_t page_bytes = 0;
    Tree free_pages, table_list;
  };
  struct Walk {
    const Meta* of = nullptr;  // newest(), or older()
    bool values = false;       // entries are told
    bool free_pages = true;    // that no page is both free and in use
    Tables tables = kAll;
  };
  struct Walked {
    bool whole = false;  // nobody had enough
    uint64_t pages = 0;  // that were read, or are the rest of a long value
    uint64_t breaks = 0;
    Tables missing = 0;                          // tables that the list does not have; none, if it is empty
    uint64_t entries_said[Store::kTables] = {};  // how many a table is said to have
  };

  // file: borrowed, outlives it. bytes: its size.
  LmdbFile(File& file, uint64_t bytes) noexcept : file_(file), bytes_(bytes) {}

  // The pages at its head. Errors: Io, Invalid (damaged: newest() and older() may be there all the same), Unsupported
  // (of another version of LMDB's format); `problem` says more.
  Status read_metas(std::string& problem);
  // Where LMDB would begin, and the snapshot before that. Null: there is no sound one.
  const Meta* newest() const noexcept { return order_[0]; }
  const Meta* older() const noexcept { return order_[1]; }
  // Nothing was ever committed, and LMDB did not get so far that it would open it: its maker was stopped. After
  // read_metas().
  bool unfinished() const noexcept { return unfinished_; }
  uint64_t page_count() const noexcept { return pages_; }  // of the file

  // All that the snapshot reaches. Throws std::bad_alloc.
  Walked walk(const Walk& walk, LmdbVisitor& visitor);

 private:
  class Walker;
  Status read_meta(uint64_t offset, unsigned index, std::optional<Meta>& meta, std::string& problem);
  void look_if_unfinished();
  bool is_zero_or_new(Bytes page, unsigned index) const;

  File& file_;
  const uint64_t bytes_;
  uint64_t pages_ = 0;
  std::optional<Meta> metas_[2];
  const Meta* order_[2] = {};
  bool unfinished_ = false;
};

}  // namespace mqttq
