// The file of a backup: what is written comes back, and nothing else is taken for it.
#include "store/backup_file.h"

#include <catch2/catch_test_macros.hpp>
#include <tuple>

#include "base/byte_order.h"
#include "base/crc32c.h"
#include "simulated_disk.h"

namespace mqttq {

namespace {

using Entries = std::vector<std::tuple<uint8_t, std::string, std::string>>;

struct Collector final : BackupVisitor {
  Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
    entries.emplace_back(table, as_text(key), as_text(value));
    return entries.size() == refuse_at ? Status::Full : Status::Ok;
  }
  Entries entries;
  size_t refuse_at = 0;
};

constexpr BackupHead kHead{1, 0x1234'5678'9ABC'DEF0, 1'700'000'000'123};

Status write(SimulatedDisk& disk, const Entries& entries, std::span<const BackupSegment> segments,
             const BackupHead& head = kHead) {
  std::unique_ptr<File> file;
  Status status = disk.open("backup", true, file);
  if (status != Status::Ok) return status;
  BackupWriter writer(*file);
  status = writer.begin(head);
  for (const auto& [table, key, value] : entries) {
    if (status == Status::Ok) status = writer.add(table, as_bytes(key), as_bytes(value));
  }
  return status == Status::Ok ? writer.finish(segments) : status;
}

struct Read {
  Status status = Status::Ok;
  std::string problem;
  BackupContents contents;
  Entries entries;
};
Read read(SimulatedDisk& disk, size_t refuse_at = 0) {
  Read result;
  std::unique_ptr<File> file;
  result.status = disk.open("backup", false, file);
  if (result.status != Status::Ok) return result;
  Collector collector;
  collector.refuse_at = refuse_at;
  result.status = read_backup(*file, collector, result.contents, result.problem);
  result.entries = std::move(collector.entries);
  return result;
}

std::vector<std::byte> bytes_of(const Entries& entries, std::span<const BackupSegment> segments,
                                const BackupHead& head = kHead) {
  SimulatedDisk disk(1);
  REQUIRE(write(disk, entries, segments, head) == Status::Ok);
  return disk.bytes("backup");
}
Read read(const std::vector<std::byte>& bytes) {
  SimulatedDisk disk(1);
  std::unique_ptr<File> file;
  REQUIRE(disk.open("backup", true, file) == Status::Ok);
  disk.bytes("backup") = bytes;
  return read(disk);
}

const Entries kFew = {{0, "format", "1"},
                      {0, "seed", "12345678"},
                      {7, "a", ""},
                      {7, "aa", std::string(300, 'x')},
                      {2, std::string(1, '\0'), std::string(2, '\0')}};
constexpr BackupSegment kSegments[] = {{3, 4096, 17}, {5, uint64_t{1} << 33, 0xFFFF'FFFF}};

}  // namespace

TEST_CASE("what is written to a backup comes back", "[store][backup]") {
  Random random(7);
  Entries many;
  for (uint8_t table : {0, 1, 3, 15, 9}) {
    std::string key;
    for (int i = 0; i < 60; ++i) {
      key.resize(std::min<size_t>(key.size() + random.below(3) + 1, Store::kKeySizeMax), '\x7F');
      key += static_cast<char>(i);
      key.resize(std::min(key.size(), Store::kKeySizeMax));
      if (!many.empty() && std::get<0>(many.back()) == table && std::get<1>(many.back()) >= key) continue;
      many.emplace_back(table, key, std::string(random.below(Store::kValueSizeMax + 1), static_cast<char>(i)));
    }
  }
  many.emplace_back(5, std::string(Store::kKeySizeMax, '\xFF'), std::string(Store::kValueSizeMax, '\xFF'));
  std::vector<BackupSegment> segments;
  for (uint64_t id = 1; id <= 10'000; ++id) segments.push_back({id * 2, id, static_cast<uint32_t>(id * 3)});
  const std::vector<BackupSegment> few(std::begin(kSegments), std::end(kSegments));
  for (const auto& [entries, with] : {std::pair(many, segments), {kFew, few}, {{}, {}}, {kFew, {}}, {{}, few}}) {
    SimulatedDisk disk(1);
    REQUIRE(write(disk, entries, with) == Status::Ok);
    disk.cut_power();  // it was synced; its directory is the caller's
    const Read result = read(bytes_of(entries, with));
    INFO(result.problem);
    REQUIRE(result.status == Status::Ok);
    CHECK(result.entries == entries);
    CHECK(result.contents.entries == entries.size());
    CHECK(result.contents.segments == with);
    CHECK(result.contents.head.id == kHead.id);
    CHECK(result.contents.head.made_ms == kHead.made_ms);
  }
}

TEST_CASE("a backup that is cut anywhere is refused", "[store][backup]") {
  const auto whole = bytes_of(kFew, kSegments);
  REQUIRE(read(whole).status == Status::Ok);
  for (size_t size = 0; size < whole.size(); ++size) {
    const Read result = read({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)});
    INFO(size);
    CHECK(result.status == Status::Invalid);
    CHECK(result.problem == "the backup is not whole: its end is missing");
  }
}

TEST_CASE("a backup with any byte changed is refused", "[store][backup]") {
  const auto whole = bytes_of(kFew, kSegments);
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const auto flip : {std::byte{0x01}, std::byte{0x80}}) {
      auto changed = whole;
      changed[at] ^= flip;
      const Read result = read(changed);
      INFO(at);
      CHECK(result.status == Status::Invalid);
      CHECK(!result.problem.empty());
    }
  }
}

TEST_CASE("a backup with something behind its end is refused", "[store][backup]") {
  auto bytes = bytes_of(kFew, kSegments);
  bytes.push_back(std::byte{0});
  const Read result = read(bytes);
  CHECK(result.status == Status::Invalid);
  CHECK(result.problem.find("behind its end") != std::string::npos);
}

TEST_CASE("a backup of a newer format is refused by name", "[store][backup]") {
  auto bytes = bytes_of(kFew, kSegments);
  put_little(bytes.data() + 8, uint16_t{2});
  put_little(bytes.data() + 60, crc32c({bytes.data(), 60}));
  const Read result = read(bytes);
  CHECK(result.status == Status::Unsupported);
  CHECK(result.problem == "the backup has format 2, written by a newer version; this one reads format 1");
  put_little(bytes.data() + 8, uint16_t{0});
  put_little(bytes.data() + 60, crc32c({bytes.data(), 60}));
  CHECK(read(bytes).status == Status::Invalid);
}

TEST_CASE("blocks of a backup have their place, and belong to one backup", "[store][backup]") {
  Entries entries;
  for (int i = 0; i < 12; ++i)
    entries.emplace_back(1, std::string(1, static_cast<char>('a' + i)), std::string(16'000, 'v'));
  const auto whole = bytes_of(entries, {});
  BackupHead other_head = kHead;
  ++other_head.id;
  const auto other = bytes_of(entries, {}, other_head);
  REQUIRE(other.size() == whole.size());
  // Where blocks begin: a head of 20 bytes, and a body whose size is in its first four.
  std::vector<size_t> at = {64};
  while (at.back() < whole.size()) at.push_back(at.back() + 20 + get_little<uint32_t>(whole.data() + at.back()));
  REQUIRE(at.size() >= 4);
  REQUIRE(at[1] - at[0] == at[2] - at[1]);
  const auto place = [&](size_t index) { return whole.begin() + static_cast<ptrdiff_t>(at[index]); };

  auto swapped = whole;
  std::swap_ranges(swapped.begin() + static_cast<ptrdiff_t>(at[0]), swapped.begin() + static_cast<ptrdiff_t>(at[1]),
                   swapped.begin() + static_cast<ptrdiff_t>(at[1]));
  CHECK(read(swapped).status == Status::Invalid);

  std::vector<std::byte> without(whole.begin(), place(1));
  without.insert(without.end(), place(2), whole.end());
  CHECK(read(without).status == Status::Invalid);

  std::vector<std::byte> mixed(whole.begin(), place(1));
  mixed.insert(mixed.end(), other.begin() + static_cast<ptrdiff_t>(at[1]), other.end());
  CHECK(read(mixed).status == Status::Invalid);
}

TEST_CASE("entries that no store could have written are refused", "[store][backup]") {
  for (const Entries& entries :
       {Entries{{1, "b", ""}, {1, "a", ""}}, Entries{{1, "a", ""}, {1, "a", ""}},
        Entries{{1, "a", ""}, {2, "a", ""}, {1, "b", ""}}, Entries{{16, "a", ""}}, Entries{{1, "", ""}},
        Entries{{1, std::string(501, 'x'), ""}}, Entries{{1, "a", std::string(16'385, 'x')}}}) {
    const Read result = read(bytes_of(entries, {}));
    CHECK(result.status == Status::Invalid);
    CHECK(result.problem == "the backup is damaged at byte 64");
  }
  constexpr BackupSegment kTwice[] = {{3, 1, 1}, {3, 1, 1}};
  CHECK(read(bytes_of({}, kTwice)).status == Status::Invalid);
}

TEST_CASE("what a visitor says ends the reading of a backup", "[store][backup]") {
  SimulatedDisk disk(1);
  REQUIRE(write(disk, kFew, kSegments) == Status::Ok);
  const Read result = read(disk, 2);
  CHECK(result.status == Status::Full);
  CHECK(result.problem.empty());
  CHECK(result.entries.size() == 2);
}

TEST_CASE("a file that fails at any call fails the backup", "[store][backup]") {
  for (uint64_t call = 0;; ++call) {
    SimulatedDisk disk(call + 1);
    disk.fail(call, Status::Full, false);
    const Status status = write(disk, kFew, kSegments);
    if (!disk.failing()) break;
    CHECK(status == Status::Full);
  }
  for (uint64_t call = 0;; ++call) {
    SimulatedDisk disk(call + 1);
    REQUIRE(write(disk, kFew, kSegments) == Status::Ok);
    disk.fail(call, Status::Io, false);
    const Read result = read(disk);
    if (!disk.failing()) break;
    CHECK(result.status == Status::Io);
    CHECK((call == 0 || !result.problem.empty()));
  }
}

}  // namespace mqttq
