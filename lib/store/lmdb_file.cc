#include "store/lmdb_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/byte_order.h"

namespace mqttq {

namespace {

constexpr uint32_t kMagic = 0xBEEFC0DE, kVersion = 1;
constexpr uint64_t kNoPage = UINT64_MAX, kFirstPage = 2;  // behind the two at the head
constexpr size_t kPageHeader = 16, kNodeHeader = 8, kTreeBytes = 48, kMetaBytes = 136;
constexpr size_t kTableKeyMax = 511, kFreeKey = 8, kNumber = 8;
constexpr uint16_t kDepthMax = 32;  // of LMDB's cursors

// Kinds of pages: exactly one of them is set on the disk.
constexpr uint16_t kBranch = 1, kLeaf = 2, kOverflow = 4, kMeta = 8;
// What an entry of a leaf is.
constexpr uint16_t kLongValue = 1, kSubtree = 2;
// Of a meta page: numbers as keys of the free pages; that the file was named without a directory, or not.
constexpr uint16_t kFreeFlags = 0x0008, kNoDirectory = 0x4000;

template <class Number>
Number number_at(Bytes bytes, size_t at) noexcept {
  return get_little<Number>(bytes.data() + at);
}

LmdbFile::Tree tree_at(Bytes bytes) noexcept {
  return {number_at<uint32_t>(bytes, 0),  number_at<uint16_t>(bytes, 4),  number_at<uint16_t>(bytes, 6),
          number_at<uint64_t>(bytes, 8),  number_at<uint64_t>(bytes, 16), number_at<uint64_t>(bytes, 24),
          number_at<uint64_t>(bytes, 32), number_at<uint64_t>(bytes, 40)};
}

bool is_zero(Bytes bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte one) { return one == std::byte{0}; });
}

std::string_view meta_name(unsigned index) noexcept { return index ? "second" : "first"; }

// An entry of a page, within its bounds.
struct Node {
  uint32_t offset = 0, end = 0;  // both even
  Bytes key;
  Bytes value;         // of a leaf: what is in the page
  uint64_t child = 0;  // of a branch
  uint32_t size = 0;   // of the value, wherever it is
  uint16_t flags = 0;
  bool good = false;
};

}  // namespace

std::string LmdbBreak::text() const {
  const std::string where = tree == kFreePages   ? "the list of free pages"
                            : tree == kTableList ? "the list of tables"
                                                 : fmt::format("table {}", tree);
  return page == kNoPage ? fmt::format("{}: {}", where, what) : fmt::format("{}, page {}: {}", where, page, what);
}

// --- the head

Status LmdbFile::read_meta(uint64_t offset, unsigned index, std::optional<Meta>& meta, std::string& problem) {
  std::array<std::byte, kPageHeader + kMetaBytes> bytes;
  size_t got = 0;
  meta.reset();
  const Status status = file_.read(offset, bytes, got);
  if (status != Status::Ok) {
    problem = fmt::format("its {} page cannot be read", meta_name(index));
    return status;
  }
  problem = fmt::format("its {} page is not one that LMDB begins with", meta_name(index));
  if (got < bytes.size() || number_at<uint64_t>(bytes, 0) != index || number_at<uint16_t>(bytes, 10) != kMeta) {
    return Status::Invalid;
  }
  const Bytes content = Bytes(bytes).subspan(kPageHeader);
  if (number_at<uint32_t>(content, 0) != kMagic) return Status::Invalid;
  if (const auto version = number_at<uint32_t>(content, 4); version != kVersion) {
    problem = fmt::format("it is of version {} of LMDB's format; this one reads version {}", version, kVersion);
    return Status::Unsupported;
  }
  Meta read;
  read.free_pages = tree_at(content.subspan(24));
  read.table_list = tree_at(content.subspan(24 + kTreeBytes));
  read.page_bytes = read.free_pages.pad;
  read.last_page = number_at<uint64_t>(content, 24 + 2 * kTreeBytes);
  read.transaction = number_at<uint64_t>(content, 32 + 2 * kTreeBytes);
  problem = fmt::format("its {} page is damaged", meta_name(index));
  if (!std::has_single_bit(read.page_bytes) || read.page_bytes < kPageBytesMin || read.page_bytes > kPageBytesMax) {
    return Status::Invalid;
  }
  if ((read.free_pages.flags & ~kNoDirectory) != kFreeFlags || read.table_list.flags != 0) return Status::Invalid;
  if (read.last_page == 0 || read.last_page > UINT64_MAX / kPageBytesMax) return Status::Invalid;
  // Transaction n writes page n % 2; the first two pages are made with 0 in both.
  if (read.transaction % 2 != index && read.transaction != 0) return Status::Invalid;
  meta = read;
  return Status::Ok;
}

// LMDB takes the one with the higher transaction, and has no other sign that the writing of one was cut short: it fits
// into a sector, which is there or not. It wants both to be meta pages, and so do we.
Status LmdbFile::read_metas(std::string& problem) {
  std::string second_problem;
  Status status = read_meta(0, 0, metas_[0], problem);
  if (status != Status::Ok && status != Status::Invalid && status != Status::Unsupported) return status;
  Status second = Status::Invalid;
  if (metas_[0]) {
    second = read_meta(metas_[0]->page_bytes, 1, metas_[1], second_problem);
  } else {
    for (uint32_t bytes = kPageBytesMin; bytes <= kPageBytesMax && !metas_[1]; bytes *= 2) {
      second = read_meta(bytes, 1, metas_[1], second_problem);
      if (metas_[1] && metas_[1]->page_bytes != bytes) metas_[1].reset();
    }
  }
  if (status == Status::Ok && second != Status::Ok) {
    status = second;
    problem = second_problem;
  }
  // One alone that names another version is damaged; the other one has ours.
  if (status == Status::Unsupported && (metas_[0] || metas_[1])) status = Status::Invalid;
  if (status == Status::Ok) {
    const uint64_t first = metas_[0]->transaction, last = metas_[1]->transaction;
    const bool follows = first == last + 1 || last == first + 1 || (first == 0 && last == 0);
    if (metas_[0]->page_bytes != metas_[1]->page_bytes || !follows) {
      status = Status::Invalid;
      problem = "its first two pages do not belong together";
    }
  }
  const bool swapped = !metas_[0] || (metas_[1] && metas_[1]->transaction > metas_[0]->transaction);
  for (const unsigned place : {0u, 1u}) {
    const auto& meta = metas_[place ^ static_cast<unsigned>(swapped)];
    order_[place] = meta ? &*meta : nullptr;
  }
  if (order_[0]) {
    pages_ = bytes_ / order_[0]->page_bytes;
    if (pages_ > kPagesMax) {
      problem = "it is too large to be looked at";
      return Status::Invalid;
    }
  }
  if (status != Status::Ok) look_if_unfinished();
  return status;
}

bool LmdbFile::is_zero_or_new(Bytes page, unsigned index) const {
  return is_zero(page) || (metas_[index] && metas_[index]->transaction == 0);
}

// LMDB writes both pages at once, and syncs them with the first commit.
void LmdbFile::look_if_unfinished() {
  const uint64_t page = metas_[0] ? metas_[0]->page_bytes : std::max<uint64_t>(bytes_ / 2, kPageBytesMin);
  if (bytes_ > 2 * page || bytes_ > 2 * kPageBytesMax) return;
  std::vector<std::byte> content(bytes_);
  size_t got = 0;
  if (file_.read(0, content, got) != Status::Ok || got < content.size()) return;
  const size_t first = std::min<size_t>(content.size(), page);
  unfinished_ = is_zero_or_new(Bytes(content).first(first), 0) && is_zero_or_new(Bytes(content).subspan(first), 1);
}

// --- the trees

class LmdbFile::Walker {
 public:
  Walker(LmdbFile& file, const Walk& walk, LmdbVisitor& visitor)
      : file_(file), walk_(walk), visitor_(visitor), page_bytes_(walk.of->page_bytes) {
    pages_ = std::min(file.bytes_ / page_bytes_, walk.of->last_page + 1);
    taken_.resize((pages_ + 63) / 64);
    seats_.resize(page_bytes_ / 2 + 1);
    header_.resize(kPageHeader);
    value_.resize(std::max<size_t>(Store::kValueSizeMax, page_bytes_));
  }
  Walked run();

 private:
  // Keys of a subtree are from `low` on and below `high`; an empty one is no bound.
  struct Bounds {
    Bytes low, high;
  };
  struct Level {
    std::vector<std::byte> page;
    std::vector<Node> nodes;
  };

  // All of these are false when the visitor has enough.
  bool tree(int name, const Tree& of);
  bool page(uint64_t number, uint16_t depth, const Bounds& bounds);
  bool branch(uint64_t number, uint16_t depth, const Bounds& bounds);
  bool leaf(uint64_t number, Level& level, const Bounds& bounds);
  bool entry(uint64_t number, const Node& node);
  bool table_record(uint64_t number, const Node& node);
  bool free_pages(uint64_t number, const Node& node, uint64_t at);
  bool check_counts(const Tree& of);
  bool check_tail();
  bool broken(uint64_t number, std::string what, uint64_t entries = 0);

  // ok: false, and it was told, where it is no such page.
  bool read(uint64_t number, std::vector<std::byte>& into, bool& ok);
  bool take(uint64_t from, uint64_t number, bool& ok);
  // Where a long value begins, in bytes of the file.
  bool long_value(uint64_t number, const Node& node, uint64_t& at, bool& ok);
  // The entries of a page: those that are whole, stand in order and beside each other are good. what: of those
  // that are not.
  uint64_t read_nodes(Level& level, bool is_branch, const Bounds& bounds, std::string& what);
  bool read_node(Bytes page, uint32_t offset, bool is_branch, Node& node) const;
  bool below(Bytes one, Bytes other) const noexcept;
  bool key_fits(Bytes key) const noexcept {
    return tree_ == LmdbBreak::kFreePages ? key.size() == kFreeKey : !key.empty() && key.size() <= kTableKeyMax;
  }

  LmdbFile& file_;
  const Walk walk_;
  LmdbVisitor& visitor_;
  const uint32_t page_bytes_;
  uint64_t pages_ = 0;  // that may be named
  std::vector<uint64_t> taken_;
  std::vector<uint8_t> seats_;  // for each two bytes of a page: what begins and ends there
  std::vector<std::byte> value_, header_;
  Level levels_[kDepthMax];
  std::optional<Tree> tables_[Store::kTables];
  Walked walked_;
  uint64_t free_behind_ = 0;  // free pages behind the file's end

  int tree_ = LmdbBreak::kTableList;  // that is walked now
  Tree counted_;
  uint64_t tree_breaks_ = 0;
  bool depth_told_ = false;
};

LmdbFile::Walked LmdbFile::walk(const Walk& walk, LmdbVisitor& visitor) { return Walker(*this, walk, visitor).run(); }

LmdbFile::Walked LmdbFile::Walker::run() {
  bool on = tree(LmdbBreak::kTableList, walk_.of->table_list);
  const bool none = walk_.of->table_list.root == kNoPage;
  for (uint8_t table = 0; table < Store::kTables && on && !none; ++table) {
    if (!(walk_.tables >> table & 1)) continue;
    if (tables_[table]) {
      walked_.entries_said[table] = tables_[table]->entries;
      on = tree(table, *tables_[table]);
      continue;
    }
    walked_.missing = static_cast<Tables>(walked_.missing | 1u << table);
    tree_ = table;
    on = broken(kNoPage, "it is not there");
  }
  if (on && walk_.free_pages) on = tree(LmdbBreak::kFreePages, walk_.of->free_pages) && check_tail();
  walked_.whole = on;
  return walked_;
}

bool LmdbFile::Walker::broken(uint64_t number, std::string what, uint64_t entries) {
  ++walked_.breaks;
  ++tree_breaks_;
  return visitor_.on_break({tree_, number, std::move(what)}, entries);
}

bool LmdbFile::Walker::tree(int name, const Tree& of) {
  tree_ = name;
  counted_ = {};
  tree_breaks_ = 0;
  depth_told_ = false;
  if (of.root != kNoPage) {
    if (of.depth == 0 || of.depth > kDepthMax) {
      if (!broken(of.root, fmt::format("its depth is said to be {}", of.depth))) return false;
    }
    bool ok = false;
    if (!take(kNoPage, of.root, ok)) return false;
    counted_.depth = of.depth;
    if (ok && !page(of.root, 1, {})) return false;
  }
  return tree_breaks_ > 0 || check_counts(of);
}

bool LmdbFile::Walker::check_counts(const Tree& of) {
  struct Count {
    std::string_view what;
    uint64_t said, seen;
  };
  for (const Count& count :
       {Count{"levels", of.depth, counted_.depth}, Count{"entries", of.entries, counted_.entries},
        Count{"branch pages", of.branches, counted_.branches}, Count{"leaf pages", of.leaves, counted_.leaves},
        Count{"overflow pages", of.overflows, counted_.overflows}}) {
    if (count.said == count.seen) continue;
    if (!broken(kNoPage, fmt::format("it is said to have {} {}, and has {}", count.said, count.what, count.seen))) {
      return false;
    }
  }
  return true;
}

// The file may end before the last page if all behind it are free.
bool LmdbFile::Walker::check_tail() {
  const uint64_t in_file = std::max(file_.bytes_ / page_bytes_, kFirstPage), all = walk_.of->last_page + 1;
  if (all <= in_file || all - in_file == free_behind_) return true;
  return broken(kNoPage, fmt::format("the file has {} pages of {}, and of those behind it {} are free", in_file, all,
                                     free_behind_));
}

bool LmdbFile::Walker::take(uint64_t from, uint64_t number, bool& ok) {
  ok = false;
  if (number < kFirstPage || number >= pages_) {
    return broken(from, fmt::format("page {} is named, and there are {}", number, pages_));
  }
  uint64_t& word = taken_[number / 64];
  const uint64_t bit = uint64_t{1} << number % 64;
  if (word & bit) {
    return broken(from, tree_ == LmdbBreak::kFreePages
                            ? fmt::format("page {} is in use, or free twice", number)
                            : fmt::format("page {} is named, and belongs to another place too", number));
  }
  word |= bit;
  ok = true;
  return true;
}

bool LmdbFile::Walker::read(uint64_t number, std::vector<std::byte>& into, bool& ok) {
  ok = false;
  if (!visitor_.on_page()) return false;
  ++walked_.pages;
  size_t got = 0;
  if (file_.file_.read(number * page_bytes_, into, got) != Status::Ok || got < into.size()) {
    return broken(number, "it cannot be read");
  }
  if (const auto said = number_at<uint64_t>(into, 0); said != number) {
    return broken(number, fmt::format("it says of itself that it is page {}", said));
  }
  ok = true;
  return true;
}

bool LmdbFile::Walker::page(uint64_t number, uint16_t depth, const Bounds& bounds) {
  Level& level = levels_[depth - 1];
  level.page.resize(page_bytes_);
  bool ok = false;
  if (!read(number, level.page, ok)) return false;
  if (!ok) return true;
  const auto kind = number_at<uint16_t>(level.page, 10);
  if (kind != kBranch && kind != kLeaf) return broken(number, fmt::format("it is no page of a tree, but {:#x}", kind));
  if ((kind == kLeaf) != (depth == counted_.depth) && !std::exchange(depth_told_, true)) {
    const std::string_view name = kind == kLeaf ? "leaf" : "branch";
    if (!broken(number, fmt::format("it is a {} at level {} of {}", name, depth, counted_.depth))) return false;
  }
  const auto lower = number_at<uint16_t>(level.page, 12), upper = number_at<uint16_t>(level.page, 14);
  const size_t least = kind == kBranch && tree_ != LmdbBreak::kFreePages ? 2 : 1;  // LMDB ends the process otherwise
  if (lower % 2 != 0 || lower < kPageHeader + 2 * least || upper < lower || upper > page_bytes_ || upper % 2 != 0) {
    return broken(number, fmt::format("it says that its room is from {} to {}", lower, upper));
  }
  if (kind == kLeaf) {
    ++counted_.leaves;
    return leaf(number, level, bounds);
  }
  ++counted_.branches;
  if (depth == kDepthMax) return broken(number, "there is no end to its levels");
  return branch(number, depth, bounds);
}

bool LmdbFile::Walker::branch(uint64_t number, uint16_t depth, const Bounds& bounds) {
  Level& level = levels_[depth - 1];
  std::string what;
  if (const uint64_t bad = read_nodes(level, true, bounds, what); bad && !broken(number, what)) return false;
  Bytes low = bounds.low;
  for (size_t i = 0; i < level.nodes.size(); ++i) {
    const Node& node = level.nodes[i];
    if (i && node.good) low = node.key;
    if (node.end == 0) continue;  // it is not known where it leads
    Bytes high = bounds.high;
    for (size_t next = i + 1; next < level.nodes.size(); ++next) {
      if (!level.nodes[next].good) continue;
      high = level.nodes[next].key;
      break;
    }
    bool ok = false;
    if (!take(number, node.child, ok)) return false;
    if (ok && !page(node.child, static_cast<uint16_t>(depth + 1), {low, high})) return false;
  }
  return true;
}

bool LmdbFile::Walker::leaf(uint64_t number, Level& level, const Bounds& bounds) {
  std::string what;
  if (const uint64_t bad = read_nodes(level, false, bounds, what); bad && !broken(number, what, bad)) return false;
  for (const Node& node : level.nodes) {
    if (node.good && !entry(number, node)) return false;
  }
  return true;
}

bool LmdbFile::Walker::below(Bytes one, Bytes other) const noexcept {
  if (tree_ != LmdbBreak::kFreePages) return as_text(one) < as_text(other);
  return one.size() == kFreeKey && other.size() == kFreeKey &&
         number_at<uint64_t>(one, 0) < number_at<uint64_t>(other, 0);
}

bool LmdbFile::Walker::read_node(Bytes page, uint32_t offset, bool is_branch, Node& node) const {
  const auto upper = number_at<uint16_t>(page, 14);
  if (offset % 2 != 0 || offset < upper || offset + kNodeHeader > page.size()) return false;
  const Bytes header = page.subspan(offset, kNodeHeader);
  const auto low = number_at<uint32_t>(header, 0);
  node.flags = number_at<uint16_t>(header, 4);
  const auto key_bytes = number_at<uint16_t>(header, 6);
  uint64_t value_bytes = 0;
  if (is_branch) {
    node.child = low | uint64_t{node.flags} << 32;
  } else {
    const uint16_t expected = tree_ == LmdbBreak::kTableList ? kSubtree : node.flags & kLongValue;
    if (node.flags != expected) return false;
    node.size = low;
    value_bytes = node.flags & kLongValue ? kNumber : low;
  }
  const uint64_t bytes = kNodeHeader + key_bytes + value_bytes;
  if (bytes > page.size() - offset) return false;
  node.key = page.subspan(offset + kNodeHeader, key_bytes);
  node.value = page.subspan(offset + kNodeHeader + key_bytes, value_bytes);
  node.offset = offset;
  node.end = offset + static_cast<uint32_t>((bytes + 1) & ~uint64_t{1});
  return node.end <= page.size();
}

// LMDB leaves no room between the entries of a page, nor behind them: each begins where another one ends, or where all
// begin, and ends where another one begins, or with the page. When all do, and no two begin at one place, none overlap.
uint64_t LmdbFile::Walker::read_nodes(Level& level, bool is_branch, const Bounds& bounds, std::string& what) {
  constexpr uint8_t kBegins = 1, kEnds = 2, kBeginsTwice = 4;
  const Bytes page = level.page;
  const size_t count = (number_at<uint16_t>(page, 12) - kPageHeader) / 2;
  std::vector<Node>& nodes = level.nodes;
  nodes.clear();
  std::fill(seats_.begin(), seats_.end(), uint8_t{0});
  seats_[number_at<uint16_t>(page, 14) / 2] = kEnds;
  seats_[page_bytes_ / 2] |= kBegins;
  for (size_t i = 0; i < count; ++i) {
    Node& node = nodes.emplace_back();
    if (!read_node(page, number_at<uint16_t>(page, kPageHeader + 2 * i), is_branch, node)) {
      node = {};
      if (what.empty()) what = fmt::format("entry {} does not fit into it", i);
      continue;
    }
    uint8_t& seat = seats_[node.offset / 2];
    seat |= seat & kBegins ? kBeginsTwice : kBegins;
    seats_[node.end / 2] |= kEnds;
  }
  for (size_t i = 0; i < count; ++i) {
    Node& node = nodes[i];
    if (node.end == 0) continue;
    const uint8_t seat = seats_[node.offset / 2];
    if ((seat & kEnds) && !(seat & kBeginsTwice) && (seats_[node.end / 2] & kBegins)) continue;
    node = {};
    if (what.empty()) what = fmt::format("entry {} overlaps another one, or leaves room", i);
  }
  uint64_t bad = 0;
  // The first key of a branch means nothing.
  const size_t first = is_branch ? 1 : 0;
  for (size_t i = 0; i < count; ++i) {
    Node& node = nodes[i];
    node.good = node.end != 0;
    if (node.good && i >= first) {
      const bool after = i == first || nodes[i - 1].end == 0 || below(nodes[i - 1].key, node.key);
      const bool before = i + 1 == count || nodes[i + 1].end == 0 || below(node.key, nodes[i + 1].key);
      const bool from = bounds.low.empty() || !below(node.key, bounds.low);
      const bool to = bounds.high.empty() || below(node.key, bounds.high);
      node.good = key_fits(node.key) && after && before && from && to;
      if (!node.good && what.empty()) what = fmt::format("the key of entry {} is not in order", i);
    }
    bad += !node.good;
  }
  return bad;
}

bool LmdbFile::Walker::long_value(uint64_t number, const Node& node, uint64_t& at, bool& ok) {
  const auto first = number_at<uint64_t>(node.value, 0);
  if (!take(number, first, ok)) return false;
  if (!ok) return true;
  if (!read(first, header_, ok)) return false;
  if (!ok) return true;
  ok = false;
  const auto kind = number_at<uint16_t>(header_, 10);
  const uint64_t pages = number_at<uint32_t>(header_, 12), needed = (kPageHeader - 1 + node.size) / page_bytes_ + 1;
  if (kind != kOverflow || pages < needed || pages > pages_ - first) {
    return broken(first, fmt::format("it is no value of {} bytes", node.size));
  }
  for (uint64_t next = first + 1; next < first + pages; ++next) {
    if (!take(first, next, ok)) return false;
    if (!ok) return true;
  }
  walked_.pages += pages - 1;
  counted_.overflows += pages;
  at = first * page_bytes_ + kPageHeader;
  ok = true;
  return true;
}

bool LmdbFile::Walker::entry(uint64_t number, const Node& node) {
  ++counted_.entries;
  if (tree_ == LmdbBreak::kTableList) return table_record(number, node);
  uint64_t at = 0;
  bool ok = true;
  if ((node.flags & kLongValue) && !long_value(number, node, at, ok)) return false;
  if (!ok) return true;
  if (tree_ == LmdbBreak::kFreePages) return free_pages(number, node, at);
  if (!walk_.values) return true;
  Bytes value = node.value;
  if (node.flags & kLongValue) {
    if (node.size > Store::kValueSizeMax) {
      return broken(number, fmt::format("a value is said to have {} bytes", node.size), 1);
    }
    const std::span<std::byte> into = std::span(value_).first(node.size);
    size_t got = 0;
    if (file_.file_.read(at, into, got) != Status::Ok || got < into.size()) {
      return broken(number, "a value cannot be read", 1);
    }
    value = into;
  }
  return visitor_.on_entry(static_cast<uint8_t>(tree_), node.key, value);
}

bool LmdbFile::Walker::table_record(uint64_t number, const Node& node) {
  const auto table = static_cast<uint8_t>(static_cast<uint8_t>(node.key[0]) - 'a');
  if (node.key.size() != 1 || table >= Store::kTables) return broken(number, "it names what is no table", 1);
  if (node.value.size() != kTreeBytes) return broken(number, fmt::format("what it says of table {} is cut", table), 1);
  const Tree of = tree_at(node.value);
  if (of.pad != 0 || of.flags != 0) return broken(number, fmt::format("table {} is of another kind", table), 1);
  tables_[table] = of;
  return true;
}

// How many, and these, from the highest on.
bool LmdbFile::Walker::free_pages(uint64_t number, const Node& node, uint64_t at) {
  if (node.size < kNumber || node.size % kNumber != 0) return broken(number, "a list is cut", 1);
  const auto transaction = number_at<uint64_t>(node.key, 0);
  if (transaction == 0 || transaction > walk_.of->transaction) {
    return broken(number, fmt::format("a list is of transaction {}", transaction), 1);
  }
  uint64_t left = 0, last = walk_.of->last_page + 1;
  for (uint64_t done = 0; done < node.size;) {
    Bytes part = node.value;
    if (node.flags & kLongValue) {
      const std::span<std::byte> into = std::span(value_).first(std::min<uint64_t>(value_.size(), node.size - done));
      size_t got = 0;
      if (file_.file_.read(at + done, into, got) != Status::Ok || got < into.size()) {
        return broken(number, "a list cannot be read", 1);
      }
      part = into;
    }
    for (size_t place = 0; place < part.size(); place += kNumber) {
      const auto one = number_at<uint64_t>(part, place);
      if (done + place == 0) {
        left = one;
        if (left > node.size / kNumber - 1) return broken(number, fmt::format("a list is said to have {} pages", left));
        continue;
      }
      if (left == 0) return true;  // what is behind it is room
      --left;
      if (one < kFirstPage || one >= last) return broken(number, fmt::format("page {} is not in its order", one), 1);
      last = one;
      bool ok = true;
      if (one >= file_.bytes_ / page_bytes_) {
        ++free_behind_;
      } else if (!take(number, one, ok)) {
        return false;
      }
    }
    done += part.size();
  }
  return true;
}

}  // namespace mqttq
