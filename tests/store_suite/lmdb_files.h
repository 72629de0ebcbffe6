// Stores for the tests of what reads LMDB's files: written by LMDB, then damaged.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/lmdb_file.h"
#include "store/lmdb_store.h"

namespace mqttq {

using Image = std::vector<std::byte>;  // all of a store's file
using Entries = std::map<std::pair<uint8_t, std::string>, std::string>;

// Of what has nothing to do with what is tested.
inline void need(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// A file in memory that is only read.
class ImageFile final : public File {
 public:
  explicit ImageFile(const Image& image) : image_(image) {}
  Status read(uint64_t offset, std::span<std::byte> into, size_t& got) noexcept override {
    got = offset < image_.size() ? std::min<size_t>(into.size(), image_.size() - offset) : 0;
    if (got) std::memcpy(into.data(), image_.data() + offset, got);
    return Status::Ok;
  }
  Status write(uint64_t, Bytes) noexcept override { return Status::Permission; }
  Status reserve(uint64_t) noexcept override { return Status::Permission; }
  Status cut(uint64_t) noexcept override { return Status::Permission; }
  Status sync() noexcept override { return Status::Permission; }

 private:
  const Image& image_;
};

// Takes all that is told, and stops at the first break unless it is told to go on.
struct Taker final : LmdbVisitor {
  explicit Taker(bool on = false) : goes_on(on) {}
  bool on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
    entries[{table, std::string(as_text(key))}] = as_text(value);
    ++told;
    return true;
  }
  bool on_break(const LmdbBreak& of, uint64_t lost) noexcept override {
    breaks.push_back(of.text());
    skipped += lost;
    return goes_on;
  }
  bool goes_on;
  Entries entries;
  uint64_t told = 0, skipped = 0;
  std::vector<std::string> breaks;
};

// What a check says of it: nothing, where it is sound.
inline std::string check(const Image& image, LmdbFile::Walked* walked = nullptr) {
  ImageFile file(image);
  LmdbFile store(file, image.size());
  std::string problem;
  if (store.read_metas(problem) != Status::Ok) return problem;
  Taker taker;
  LmdbFile::Walk walk;
  walk.of = store.newest();
  const LmdbFile::Walked result = store.walk(walk, taker);
  if (walked) *walked = result;
  return taker.breaks.empty() ? "" : taker.breaks.front();
}

// What a salvage takes of it.
inline Taker salvage(const Image& image) {
  ImageFile file(image);
  LmdbFile store(file, image.size());
  std::string problem;
  static_cast<void>(store.read_metas(problem));
  Taker taker(true);
  LmdbFile::Walk walk;
  walk.of = store.newest();
  walk.values = true;
  walk.free_pages = false;
  if (walk.of) static_cast<void>(store.walk(walk, taker));
  return taker;
}

inline Image read_image(const std::string& path) {
  Image image(std::filesystem::file_size(path));
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(image.data()), static_cast<std::streamsize>(image.size()));
  return image;
}

inline void write_image(const std::string& path, const Image& image) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  need(static_cast<bool>(file.flush()), "cannot write " + path);
}

// Commits to a store, and remembers what it holds.
class Filler {
 public:
  explicit Filler(LmdbStore& store) : store_(store) {}
  void put(uint8_t table, const std::string& key, const std::string& value) {
    change(StoreWrite::Kind::Put, table, key, value);
    entries[{table, key}] = value;
  }
  void erase(uint8_t table, const std::string& key) {
    change(StoreWrite::Kind::Erase, table, key, "");
    entries.erase({table, key});
  }
  void erase_range(uint8_t table, const std::string& first, const std::string& end) {
    change(StoreWrite::Kind::EraseRange, table, first, end);
    entries.erase(entries.lower_bound({table, first}), entries.lower_bound({table, end}));
  }
  void commit() {
    std::vector<StoreWrite> writes;
    for (const Change& one : changes_) writes.push_back({one.kind, one.table, as_bytes(one.key), as_bytes(one.value)});
    Status status = Status::Io;
    store_.commit(
        writes, 0, [](void* user, uint64_t, Status of) noexcept { *static_cast<Status*>(user) = of; }, &status);
    need(status == Status::Ok, "a commit failed");
    changes_.clear();
  }

  Entries entries;

 private:
  struct Change {
    StoreWrite::Kind kind;
    uint8_t table;
    std::string key, value;
  };
  void change(StoreWrite::Kind kind, uint8_t table, const std::string& key, const std::string& value) {
    changes_.push_back({kind, table, key, value});
  }
  LmdbStore& store_;
  std::vector<Change> changes_;
};

inline std::unique_ptr<LmdbStore> open_store(const LmdbStore::Options& options) {
  Status status = Status::Ok;
  std::string problem;
  auto store = LmdbStore::open(options, status, problem);
  need(static_cast<bool>(store), problem);
  return store;
}

// A key like those of the broker: random bytes, sometimes long.
inline std::string random_key(Random& random) {
  std::string key(random.below(20) ? 16 + random.below(9) : 1 + random.below(500), '\0');
  for (char& one : key) one = static_cast<char>(random.next());
  return key;
}

// A store of some sixty pages: trees of one and two levels, long values, lists of free pages. What it holds.
inline Entries make_small_store(const std::string& directory) {
  const auto store = open_store({directory, 64 << 20});
  Filler filler(*store);
  Random random(7);
  for (int i = 0; i < 200; ++i) {
    for (const uint8_t table : {1, 2, 3}) filler.put(table, random_key(random), std::string(random.below(200), 'v'));
    if (i % 20 == 0) filler.put(4, random_key(random), std::string(2000 + random.below(14'000), 'l'));
    if (i % 50 == 0) filler.commit();
  }
  filler.put(0, "format", "1");
  for (auto at = filler.entries.begin(); at != filler.entries.end();) {
    const auto one = at++;
    if (random.below(6) == 0) filler.erase(one->first.first, std::string(one->first.second));
  }
  filler.commit();
  filler.put(0, "followed", "12345678");
  filler.commit();
  return filler.entries;
}

}  // namespace mqttq
