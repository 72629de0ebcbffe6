// LMDB's file, read without LMDB: what LMDB wrote is sound, and what is not is found before LMDB maps it.
#include "store/lmdb_file.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>

#include "base/byte_order.h"
#include "directories.h"
#include "lmdb_files.h"
#include "seed_count.h"

namespace mqttq {

namespace {

Directories directories;
constexpr size_t kPage = 4096;

struct SmallStore {
  SmallStore() : directory(directories.make()), entries(make_small_store(directory)) {
    image = read_image(directory + "/store.mdb");
    REQUIRE(check(image).empty());
  }
  const std::string directory;
  const Entries entries;
  Image image;
};

const SmallStore& small_store() {
  static const SmallStore made;
  return made;
}

template <class Number>
Number at(const Image& image, size_t place) {
  return get_little<Number>(image.data() + place);
}
template <class Number>
void set(Image& image, size_t place, Number number) {
  put_little(image.data() + place, number);
}

// The meta page that counts.
size_t newest_meta(const Image& image) {
  return at<uint64_t>(image, 144) > at<uint64_t>(image, kPage + 144) ? 0 : kPage;
}
// What a meta page says of free pages and of the list of tables, and in it the root.
constexpr size_t kFreeTree = 40, kTableList = 88, kLastPage = 136, kRoot = 40;

size_t page_place(const Image& image, size_t tree) { return at<uint64_t>(image, tree + kRoot) * kPage; }
size_t node_place(const Image& image, size_t page, size_t entry) {
  return page + at<uint16_t>(image, page + 16 + 2 * entry);
}
// What the list of tables says of one, which is a single leaf here.
size_t table_tree(const Image& image, uint8_t table) {
  return node_place(image, page_place(image, newest_meta(image) + kTableList), table) + 8 + 1;
}
// The first leaf of a table of two levels.
size_t leaf_place(const Image& image, uint8_t table, size_t entry = 0) {
  const size_t root = page_place(image, table_tree(image, table));
  REQUIRE(at<uint16_t>(image, root + 10) == 1);
  return at<uint32_t>(image, node_place(image, root, entry)) * kPage;
}

// A damaged copy of the small store, and what is said of it.
std::string after(const std::function<void(Image&)>& damage) {
  Image image = small_store().image;
  damage(image);
  REQUIRE(image != small_store().image);
  return check(image);
}

bool says(const std::string& text, std::string_view tree, std::string_view what) {
  INFO(text);
  CHECK(text.find(what) != std::string::npos);
  CHECK(text.starts_with(tree));
  return text.starts_with(tree) && text.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("what LMDB writes is sound after each commit", "[store][lmdb]") {
  for (uint64_t seed = 1; seed <= seed_count(6); ++seed) {
    Random random(seed);
    const std::string directory = directories.make();
    const auto store = open_store({directory, 64 << 20});
    Filler filler(*store);
    const size_t size_max = random.below(2) ? 16'384 : 300;
    for (int commit = 0; commit < 40; ++commit) {
      const uint64_t changes = random.below(5) == 0 ? random.below(1500) : random.below(40);
      for (uint64_t i = 0; i < changes; ++i) {
        const auto table = static_cast<uint8_t>(random.below(random.below(2) ? 3 : Store::kTables));
        const auto known = filler.entries.lower_bound({table, random_key(random)});
        const uint64_t what = random.below(10);
        if (what < 4 || known == filler.entries.end()) {
          filler.put(table, random_key(random), std::string(random.below(size_max + 1), 'v'));
        } else if (what < 6) {  // in its place
          const auto [of, key] = known->first;
          filler.put(of, key, std::string(random.below(size_max + 1), 'w'));
        } else if (what < 9) {
          const auto [of, key] = known->first;
          filler.erase(of, key);
        } else if (random.below(8) == 0) {
          const auto [of, key] = known->first;
          const auto first_byte = static_cast<uint8_t>(key[0]);
          filler.erase_range(of, key, std::string(1, static_cast<char>(first_byte < 240 ? first_byte + 8 : 255)) + key);
        }
      }
      filler.commit();
      INFO("seed " << seed << ", commit " << commit);
      const Image image = read_image(directory + "/store.mdb");
      LmdbFile::Walked walked;
      REQUIRE(check(image, &walked).empty());
      CHECK(walked.whole);
      if (commit % 10 != 9) continue;
      const Taker taken = salvage(image);
      CHECK(taken.breaks.empty());
      CHECK(taken.told == filler.entries.size());
      CHECK(taken.entries == filler.entries);
    }
  }
}

TEST_CASE("a tree of many levels and a long list of free pages are sound", "[store][lmdb]") {
  const std::string directory = directories.make();
  const auto store = open_store({directory, uint64_t{1} << 30});
  Filler filler(*store);
  for (int i = 0; i < 20'000; ++i) {
    filler.put(5, std::string(440, 'k') + std::to_string(100'000 + i * 7 % 20'000), "");  // nine of a page
    if (i % 5000 == 4999) filler.commit();
  }
  const Image before = read_image(directory + "/store.mdb");
  CHECK(check(before).empty());
  const size_t tree = table_tree(before, 5);
  CHECK(at<uint16_t>(before, tree + 6) >= 4);  // levels
  filler.erase_range(5, std::string(440, 'k') + "1", std::string(440, 'k') + "119");
  filler.commit();
  filler.put(5, "a", "");
  filler.commit();
  const Image image = read_image(directory + "/store.mdb");
  CHECK(check(image).empty());
  CHECK(at<uint64_t>(image, newest_meta(image) + kFreeTree + 24) > 0);  // pages of long lists
  CHECK(salvage(image).entries == filler.entries);
}

TEST_CASE("a store that is new is sound", "[store][lmdb]") {
  const std::string directory = directories.make();
  open_store({directory, 64 << 20});
  CHECK(check(read_image(directory + "/store.mdb")).empty());
}

// What the fuzz target begins with.
TEST_CASE("pages of any size are read", "[store][lmdb]") {
  const auto seed = [](const std::string& name) {
    Image image = read_image(std::string(MQTTQ_TESTS_DIR) + "/../fuzz/corpus/lmdb_file/" + name);
    image.erase(image.begin());
    return image;
  };
  const Image image = seed("two_entries");
  CHECK(check(image).empty());
  CHECK(salvage(image).entries == Entries{{{1, "aa"}, "1"}, {{1, "bb"}, "22"}});
  CHECK(check(seed("a_new_store")).empty());
  CHECK(check(seed("a_list_of_free_pages")).empty());
  CHECK(check(seed("an_unfinished_store")) == "its second page is not one that LMDB begins with");
}

TEST_CASE("damage at the head of a store is told", "[store][lmdb]") {
  const size_t newest = newest_meta(small_store().image);
  CHECK(after([](Image& image) { image[0] = std::byte{1}; }) == "its first page is not one that LMDB begins with");
  CHECK(after([](Image& image) { image[kPage + 16] = std::byte{1}; }) ==
        "its second page is not one that LMDB begins with");
  CHECK(after([](Image& image) { set<uint32_t>(image, 20, 2); }) ==
        "it is of version 2 of LMDB's format; this one reads version 1");
  CHECK(after([](Image& image) { set<uint32_t>(image, kFreeTree, 4097); }) == "its first page is damaged");
  CHECK(after([](Image& image) { set<uint32_t>(image, kFreeTree, 1u << 31); }) == "its first page is damaged");
  CHECK(after([](Image& image) { set<uint16_t>(image, kTableList + 4, 4); }) == "its first page is damaged");
  CHECK(after([](Image& image) { set<uint64_t>(image, 144, 1u << 20); }) ==
        "its first two pages do not belong together");
  CHECK(after([&](Image& image) { set<uint64_t>(image, newest + 144, 1u << 20 | newest / kPage); }) ==
        "its first two pages do not belong together");
  CHECK(after([&](Image& image) { set<uint64_t>(image, newest + kLastPage, UINT64_MAX); }).find("page is damaged") > 0);
  says(after([&](Image& image) { set<uint64_t>(image, newest + kLastPage, 4000); }), "the list of free pages",
       "pages of 4001, and of those behind it 0 are free");
  says(after([&](Image& image) { set<uint64_t>(image, newest + kTableList + kRoot, UINT64_MAX); }),
       "the list of tables", "it is said to have 1 levels, and has 0");
}

TEST_CASE("the snapshot before the last one is there when the last one is not", "[store][lmdb]") {
  Image image = small_store().image;
  const size_t newest = newest_meta(image);
  set<uint32_t>(image, newest + 16, 0);
  CHECK(check(image).find("is not one that LMDB begins with") != std::string::npos);
  const Taker taken = salvage(image);
  CHECK(taken.breaks.empty());
  Entries before = small_store().entries;
  before.erase({0, "followed"});  // which came last
  CHECK(taken.entries == before);
}

TEST_CASE("each kind of damage in a tree is told with its place", "[store][lmdb]") {
  const Image& sound = small_store().image;
  const size_t list = newest_meta(sound) + kTableList, first = leaf_place(sound, 1), second = leaf_place(sound, 1, 1);
  const size_t root = page_place(sound, table_tree(sound, 1));
  const std::string place = "table 1, page " + std::to_string(first / kPage) + ": ";
  const std::string root_place = "table 1, page " + std::to_string(root / kPage) + ": ";

  says(after([&](Image& image) { set<uint64_t>(image, list + kRoot, 1); }), "the list of tables", "page 1 is named");
  says(after([&](Image& image) { set<uint64_t>(image, table_tree(image, 1) + kRoot, 1u << 30); }),
       "table 1: ", "page 1073741824 is named, and there are ");
  says(after([&](Image& image) { set<uint32_t>(image, node_place(image, root, 1), 1u << 30); }), root_place,
       "page 1073741824 is named");
  says(after([&](Image& image) { set<uint64_t>(image, first, 77); }), place, "it says of itself that it is page 77");
  says(after([&](Image& image) { set<uint16_t>(image, first + 10, 4); }), place, "it is no page of a tree, but 0x4");
  says(after([&](Image& image) { set<uint16_t>(image, first + 10, 0x22); }), place, "it is no page of a tree");
  says(after([&](Image& image) { set<uint16_t>(image, first + 10, 1); }), place, "it is a branch at level 2 of 2");
  says(after([&](Image& image) { set<uint16_t>(image, table_tree(image, 1) + 6, 3); }), "table 1, page ",
       "it is a leaf at level 2 of 3");
  says(after([&](Image& image) { set<uint16_t>(image, table_tree(image, 1) + 6, 33); }), "table 1, page ",
       "its depth is said to be 33");
  says(after([&](Image& image) { set<uint16_t>(image, first + 12, 16); }), place, "its room is from 16 to");
  says(after([&](Image& image) { set<uint16_t>(image, first + 14, 4098); }), place, "to 4098");
  says(after([&](Image& image) { set<uint16_t>(image, first + 16, 4094); }), place, "entry 0 does not fit into it");
  says(after([&](Image& image) { set<uint16_t>(image, first + 18, at<uint16_t>(image, first + 16)); }), place,
       "entry 0 overlaps another one, or leaves room");
  says(after([&](Image& image) { set<uint16_t>(image, node_place(image, first, 0) + 6, 4000); }), place,
       "entry 0 does not fit");
  says(after([&](Image& image) { set<uint16_t>(image, node_place(image, first, 0) + 4, 4); }), place,
       "entry 0 does not fit");
  says(after([&](Image& image) {
         const auto one = at<uint16_t>(image, first + 16), other = at<uint16_t>(image, first + 18);
         set(image, first + 16, other);
         set(image, first + 18, one);
       }),
       place, "the key of entry 0 is not in order");
  says(after([&](Image& image) { set<uint8_t>(image, node_place(image, second, 0) + 8, 0); }), "table 1, page ",
       "the key of entry 0 is not in order");  // before what its parent says
  says(after([&](Image& image) {
         set<uint32_t>(image, node_place(image, root, 1), at<uint32_t>(image, node_place(image, root, 0)));
       }),
       root_place, "page " + std::to_string(first / kPage) + " is named, and belongs to another place too");
  says(after([&](Image& image) { set<uint64_t>(image, table_tree(image, 1) + 32, 5); }),
       "table 1: ", "it is said to have 5 entries, and has ");
  says(after([&](Image& image) { set<uint64_t>(image, table_tree(image, 4) + 24, 9999); }),
       "table 4: ", "9999 overflow pages");
  says(after([&](Image& image) { set<uint8_t>(image, table_tree(image, 1) - 1, 'q'); }), "the list of tables",
       "the key of entry 1 is not in order");
  says(after([&](Image& image) { set<uint16_t>(image, table_tree(image, 1) + 4, 4); }), "the list of tables",
       "table 1 is of another kind");
  says(after([&](Image& image) { set<uint8_t>(image, table_tree(image, 15) - 1, 'q'); }), "the list of tables",
       "it names what is no table");

  const size_t long_leaf = page_place(sound, table_tree(sound, 4)), node = node_place(sound, long_leaf, 0);
  const size_t number = node + 8 + at<uint16_t>(sound, node + 6), value = at<uint64_t>(sound, number) * kPage;
  says(after([&](Image& image) { set<uint64_t>(image, number, 0); }), "table 4", "page 0 is named");
  says(after([&](Image& image) { set<uint16_t>(image, value + 10, 2); }), "table 4", "it is no value of ");
  says(after([&](Image& image) { set<uint32_t>(image, value + 12, 0); }), "table 4", "it is no value of ");
  says(after([&](Image& image) { set<uint32_t>(image, value + 12, UINT32_MAX); }), "table 4", "it is no value of ");
  says(after([&](Image& image) { set<uint32_t>(image, node, UINT32_MAX); }), "table 4",
       "it is no value of 4294967295 bytes");

  const size_t free_tree = newest_meta(sound) + kFreeTree, free_leaf = page_place(sound, free_tree);
  REQUIRE(at<uint16_t>(sound, free_tree + 6) == 1);
  size_t entry = 0;  // one that has pages
  while (at<uint64_t>(sound, node_place(sound, free_leaf, entry) + 16) < 2) ++entry;
  const size_t free_node = node_place(sound, free_leaf, entry);
  says(after([&](Image& image) { set<uint64_t>(image, free_node + 24, first / kPage); }), "the list of free pages", "");
  says(after([&](Image& image) { set<uint64_t>(image, free_node + 24, 1); }), "the list of free pages",
       "page 1 is not in its order");
  says(after([&](Image& image) { set<uint64_t>(image, free_node + 16, 1u << 30); }), "the list of free pages",
       "a list is said to have 1073741824 pages");
  says(after([&](Image& image) { set<uint32_t>(image, free_node, 12); }), "the list of free pages", "");
  says(after([&](Image& image) {
         set<uint64_t>(image, node_place(image, free_leaf, at<uint16_t>(image, free_leaf + 12) / 2 - 9) + 8, 1u << 30);
       }),
       "the list of free pages", "a list is of transaction 1073741824");
}

TEST_CASE("a page that is free and in use is told", "[store][lmdb]") {
  Image image = small_store().image;
  const size_t free_leaf = page_place(image, newest_meta(image) + kFreeTree);
  // The highest page of a list becomes the highest leaf of a table that is not below the next of the list.
  for (size_t entry = 0; entry < (at<uint16_t>(image, free_leaf + 12) - 16u) / 2; ++entry) {
    const size_t node = node_place(image, free_leaf, entry);
    if (at<uint64_t>(image, node + 16) == 0) continue;
    const uint64_t next = at<uint64_t>(image, node + 16) > 1 ? at<uint64_t>(image, node + 32) : 1;
    const uint64_t last = at<uint64_t>(image, newest_meta(image) + kLastPage);
    for (uint64_t page = last; page > next; --page) {
      Image copy = image;
      set<uint64_t>(copy, node + 24, page);
      const std::string text = check(copy);
      if (page != at<uint64_t>(image, node + 24)) {
        INFO(page);
        CHECK(text.find("page " + std::to_string(page) + " is in use, or free twice") != std::string::npos);
      }
    }
  }
}

TEST_CASE("a tree that leads back to itself ends", "[store][lmdb]") {
  Image image = small_store().image;
  const size_t root = page_place(image, table_tree(image, 1));
  for (size_t entry = 0; entry < (at<uint16_t>(image, root + 12) - 16u) / 2; ++entry) {
    set<uint32_t>(image, node_place(image, root, entry), static_cast<uint32_t>(root / kPage));
  }
  CHECK(check(image).find("belongs to another place too") != std::string::npos);
  const Taker taken = salvage(image);
  CHECK(taken.entries.lower_bound({1, ""})->first.first == 2);  // of the other tables all
  CHECK(taken.entries.size() > small_store().entries.size() / 2);
}

TEST_CASE("what is still reachable of a broken tree is taken, and nothing else", "[store][lmdb]") {
  const Image& sound = small_store().image;
  const Entries& entries = small_store().entries;
  const size_t first = leaf_place(sound, 1);
  Image image = sound;
  set<uint16_t>(image, first + 10, 0);
  Taker taken = salvage(image);
  CHECK(taken.breaks.size() == 1);
  CHECK(taken.entries.size() == entries.size() - (at<uint16_t>(sound, first + 12) - 16u) / 2);
  image = sound;
  set<uint16_t>(image, node_place(image, first, 3) + 6, 4000);
  taken = salvage(image);
  CHECK(taken.breaks.size() == 1);
  CHECK(taken.skipped >= 1);
  CHECK(taken.skipped <= 3);  // it, and what lies before and behind it
  CHECK(taken.entries.size() == entries.size() - taken.skipped);

  Random random(3);
  for (uint64_t round = 0; round < seed_count(3000); ++round) {
    image = sound;
    const size_t place =
        random.below(2) ? random.below(image.size() / kPage) * kPage + random.below(64) : random.below(image.size());
    image[place] = static_cast<std::byte>(random.next());
    INFO("round " << round << ", byte " << place);
    taken = salvage(image);
    size_t others = 0;  // within one key or value, or that of the snapshot before
    for (const auto& [key, value] : taken.entries) {
      const auto at = entries.find(key);
      others += at == entries.end() || at->second != value;
    }
    CHECK(others <= 1);
    if (taken.breaks.empty() && taken.told) CHECK(taken.entries.size() + 1 >= entries.size());
  }
}

namespace {

constexpr size_t kPerWritten = 200;  // of so many changed stores one is written too, which takes longer

// A byte that is another one.
struct Change {
  size_t place;
  std::byte value;
};

struct Summer final : StoreVisitor {
  bool on_entry(Bytes key, Bytes value) noexcept override {
    for (const std::byte one : key) sum += static_cast<uint64_t>(one);
    for (const std::byte one : value) sum += static_cast<uint64_t>(one);
    return true;
  }
  uint64_t sum = 0;
};

// Reads the store in `directory` with LMDB. False: it is refused.
bool read_with_lmdb(const std::string& directory) {
  Status status = Status::Ok;
  std::string problem;
  const auto snapshot = LmdbSnapshot::open(directory, status, problem);
  if (!snapshot) return false;
  Summer summer;
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    if (snapshot->scan(table, summer) != Status::Ok) ::_exit(3);
  }
  return true;
}

// Opens it, reads it, and writes into all of its tables until pages that were free are used again.
bool write_with_lmdb(const std::string& directory) {
  Status status = Status::Ok;
  std::string problem;
  const auto store = LmdbStore::open({directory, 64 << 20}, status, problem);
  if (!store) return false;
  Summer summer;
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    if (store->scan(table, {}, {}, summer) != Status::Ok) ::_exit(3);
  }
  Filler filler(*store);
  for (int round = 0; round < 4; ++round) {
    for (uint8_t table = 0; table < Store::kTables; ++table) {
      for (int i = 0; i < 3; ++i) {
        filler.put(table, std::string(20, static_cast<char>(i * 80 + round)), std::string(1500, 'n'));
      }
      filler.erase_range(table, std::string(1, static_cast<char>(round * 60)),
                         std::string(1, static_cast<char>(round * 60 + 10)));
    }
    filler.commit();
  }
  return true;
}

// Does that with each changed store, in a process of its own, which tells how far it is in `shared`.
[[noreturn]] void use_changed(const std::string& directory, const Image& sound, const std::vector<Change>& changes,
                              std::atomic<uint64_t>* shared) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const std::string path = directory + "/store.mdb";
  write_image(path, sound);
  for (size_t i = 0; i < changes.size(); ++i) {
    shared[0] = i;
    const auto [place, value] = changes[i];
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto set_byte = [&](std::byte to) {
      file.seekp(static_cast<std::streamoff>(place)).put(static_cast<char>(to)).flush();
      if (!file) ::_exit(2);
    };
    set_byte(value);
    shared[1] += read_with_lmdb(directory);
    if (i % kPerWritten == 0) {
      shared[2] += write_with_lmdb(directory);
      write_image(path, sound);
    } else {
      set_byte(sound[place]);
    }
  }
  ::_exit(0);
}

}  // namespace

// The promise of the check: LMDB reads what passes it, and even writes it.
TEST_CASE("a store of which any byte has changed is refused, or used by LMDB without harm", "[store][lmdb]") {
  const Image& sound = small_store().image;
  Image image = sound;
  std::vector<Change> changes;
  size_t refused = 0;
  const auto change = [&](size_t place, std::byte value) {
    if (image[place] == value) return;
    image[place] = value;
    if (check(image).empty()) {
      changes.push_back({place, value});
    } else {
      ++refused;
    }
    image[place] = sound[place];
  };
  const auto change_all = [&](size_t place) {
    change(place, std::byte{0});
    change(place, std::byte{0xFF});
    change(place, sound[place] ^ std::byte{0x10});
    change(place, sound[place] ^ std::byte{0x01});
  };
  Random random(11);
  for (size_t page = 0; page < image.size(); page += kPage) {
    const bool meta = page < 2 * kPage;
    if (!meta && random.below(1000) >= seed_count(1000)) continue;
    for (size_t place = 0; place < (meta ? 160 : 40); ++place) change_all(page + place);
  }
  for (uint64_t i = 0; i < seed_count(2000); ++i) change_all(random.below(image.size()));
  CHECK(refused > seed_count(2000));
  REQUIRE(changes.size() > seed_count(2000));

  void* const mapped = ::mmap(nullptr, 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  auto* const shared = static_cast<std::atomic<uint64_t>*>(mapped);
  const std::string directory = directories.make();
  std::filesystem::create_directory(directory);
  const pid_t child = ::fork();
  if (child == 0) use_changed(directory, sound, changes, shared);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  const Change& last = changes[shared[0].load()];
  INFO("byte " << last.place << " of page " << last.place / kPage << " became " << static_cast<int>(last.value));
  CHECK((WIFSIGNALED(status) ? WTERMSIG(status) : 0) == 0);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(shared[1] > changes.size() * 9 / 10);
  CHECK(shared[2] > changes.size() / kPerWritten * 9 / 10);
  ::munmap(mapped, 64);
}

// What is behind it is not known: where a sound file ends earlier, all that is missing is free.
TEST_CASE("a store that was cut is refused, or whole without what was cut", "[store][lmdb]") {
  const Image& sound = small_store().image;
  const std::string directory = directories.make();
  std::filesystem::create_directory(directory);
  size_t refused = 0, whole = 0;
  for (size_t size = 1; size <= sound.size(); size += size % kPage == 1 ? kPage - 2 : 1) {
    INFO(size);
    const Image image(sound.begin(), sound.begin() + static_cast<ptrdiff_t>(size));
    if (!check(image).empty()) {
      ++refused;
      continue;
    }
    ++whole;
    CHECK(salvage(image).entries == small_store().entries);
    write_image(directory + "/store.mdb", image);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(read_with_lmdb(directory) && write_with_lmdb(directory) ? 0 : 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  CHECK(refused > 100);
  CHECK(whole > 0);
}

}  // namespace mqttq
