// The log in files, on a disk that tears, loses and fails.
#include "store/file_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <filesystem>
#include <map>

#include "base/crc32c.h"
#include "seed_count.h"
#include "simulated_disk.h"
#include "store/system_disk.h"

namespace mqttq {

namespace {

struct Entry {
  uint64_t number;
  uint8_t kind;
  std::string body;
  bool operator==(const Entry&) const = default;
};
using Entries = std::vector<Entry>;

struct Replayed final : LogReplay {
  bool on_entry(const LogEntry& entry) noexcept override {
    entries.push_back({entry.number, entry.kind, std::string(as_text(entry.body))});
    return true;
  }
  void on_damage(std::string_view text) noexcept override { damage.emplace_back(text); }
  Entries entries;
  std::vector<std::string> damage;
};

std::unique_ptr<FileLog> open(Disk& disk, Replayed& replayed, uint64_t segment_bytes = 64 << 10, uint64_t seed = 1,
                              uint64_t from = 0) {
  Status status = Status::Ok;
  std::string problem;
  auto log = FileLog::open(disk, {segment_bytes, from, seed}, replayed, status, problem);
  INFO(problem);
  REQUIRE(status == Status::Ok);
  return log;
}

Status append(FileLog& log, const Entries& batch) {
  std::vector<LogEntry> entries;
  for (const Entry& entry : batch) entries.push_back({entry.number, entry.kind, as_bytes(entry.body)});
  return log.append(entries);
}

Entries some_batch(Random& random, uint64_t first, uint64_t size_max = 300) {
  Entries batch;
  for (uint64_t i = random.below(random.below(4) ? 4 : 30) + 1; i > 0; --i) {
    std::string body(random.below(size_max), '\0');
    for (char& one : body) one = static_cast<char>(random.below(256));
    batch.push_back({first++, static_cast<uint8_t>(random.below(256)), body});
  }
  return batch;
}

bool is_spare(const std::string& name) { return name.starts_with("spare-"); }

}  // namespace

TEST_CASE("a log that is opened again has every batch, in order", "[store]") {
  SimulatedDisk disk(1);
  Random random(1);
  Entries all;
  for (int generation = 0; generation < 5; ++generation) {
    Replayed replayed;
    const auto log = open(disk, replayed, 4 << 10, static_cast<uint64_t>(generation));
    CHECK(replayed.entries == all);
    CHECK(replayed.damage.empty());
    CHECK(log->last_number() == (all.empty() ? 0 : all.back().number));
    for (int i = 0; i < 20; ++i) {
      const Entries batch = some_batch(random, log->last_number() + 1 + random.below(3));  // numbers may be left out
      REQUIRE(append(*log, batch) == Status::Ok);
      all.insert(all.end(), batch.begin(), batch.end());
    }
    REQUIRE(log->append({}) == Status::Ok);
  }
  CHECK(disk.file_count() > 5);
}

TEST_CASE("segments that hold nothing any more are removed, and the numbers go on", "[store]") {
  SimulatedDisk disk(1);
  uint64_t number = 0;
  {
    Replayed replayed;
    const auto log = open(disk, replayed, 4 << 10);
    for (int round = 0; round < 300; ++round) {
      REQUIRE(append(*log, {{++number, 1, std::string(500, 'x')}}) == Status::Ok);
      REQUIRE(log->drop_before(number - std::min<uint64_t>(number, 10)) == Status::Ok);
      REQUIRE(log->segment_count() <= 4);
      REQUIRE(disk.file_count() <= log->segment_count() + 1);  // and a spare
    }
    REQUIRE(log->drop_before(number + 1) == Status::Ok);
    CHECK(log->segment_count() == 1);
  }
  Replayed replayed;
  const auto log = open(disk, replayed, 4 << 10);
  CHECK(log->last_number() == number);
  REQUIRE(log->drop_before(number + 1) == Status::Ok);
  CHECK(log->segment_count() == 1);  // or nobody would know where to go on
  Replayed again;
  CHECK(open(disk, again)->last_number() == number);
}

TEST_CASE("the file of a segment that was given up becomes the next one, and nothing of before is seen in it",
          "[store]") {
  SimulatedDisk disk(1);
  Random random(2);
  Entries kept;
  uint64_t number = 0, used_again = 0;
  for (int generation = 0; generation < 20; ++generation) {
    Replayed replayed;
    const auto log = open(disk, replayed, 4 << 10, random.next(), kept.empty() ? 0 : kept.front().number);
    REQUIRE(replayed.entries == kept);
    REQUIRE(replayed.damage.empty());
    REQUIRE(std::ranges::count_if(disk.names(), is_spare) <= 1);  // of those of the generation before
    for (int round = 0; round < 60; ++round) {
      const auto spares = std::ranges::count_if(disk.names(), is_spare);
      const Entries batch = some_batch(random, number + 1);
      number = batch.back().number;
      REQUIRE(append(*log, batch) == Status::Ok);
      kept.insert(kept.end(), batch.begin(), batch.end());
      used_again += std::ranges::count_if(disk.names(), is_spare) < spares;
      if (kept.size() > 40) kept.erase(kept.begin(), kept.end() - 20);
      REQUIRE(log->drop_before(kept.front().number) == Status::Ok);
      for (const Entry& one : kept) {
        Array<std::byte> body;
        REQUIRE(log->read(one.number, body) == Status::Ok);
        REQUIRE(as_text(body.span()) == one.body);
      }
    }
  }
  CHECK(used_again > 100);
}

TEST_CASE("one spare outlives the log, unless it is of another size or may be a segment too", "[store]") {
  const auto spares = [](const SimulatedDisk& disk) { return std::ranges::count_if(disk.names(), is_spare); };
  SimulatedDisk disk(1);
  {
    Replayed replayed;
    const auto log = open(disk, replayed, 1'000);
    for (uint64_t number = 1; log->segment_count() < 5; ++number) {
      REQUIRE(append(*log, {{number, 1, std::string(700, 'x')}}) == Status::Ok);
    }
    REQUIRE(log->drop_before(log->last_number()) == Status::Ok);
    CHECK(spares(disk) == 4);
  }
  SimulatedDisk linked(1), longer(1);
  linked.copy(disk);
  longer.copy(disk);
  Replayed replayed;
  {
    const auto log = open(disk, replayed, 1'000);
    CHECK(spares(disk) == 1);
    REQUIRE(append(*log, {{9, 1, "x"}}) == Status::Ok);
    CHECK(spares(disk) == 0);
    CHECK(log->segment_count() == 2);
  }
  open(longer, replayed, 1'001);
  CHECK(spares(longer) == 0);
  for (const std::string& name : linked.names()) {
    if (is_spare(name)) linked.bytes(name) = linked.bytes("log-0000000000000005");  // as if it were the same file
  }
  open(linked, replayed, 1'000);
  CHECK(spares(linked) == 0);
}

TEST_CASE("small batches find room that was written before, and large ones write once", "[store]") {
  SimulatedDisk disk(1);
  Replayed replayed;
  const auto log = open(disk, replayed, 1 << 20);
  const auto writes = [&](uint64_t number, size_t size) {
    const uint64_t before = disk.bytes_written();
    REQUIRE(append(*log, {{number, 1, std::string(size, 'x')}}) == Status::Ok);
    return disk.bytes_written() - before - size;
  };
  CHECK(writes(1, 100) > 256 << 10);  // and all around them
  uint64_t number = 1;
  while (++number < 1'500) REQUIRE(writes(number, 100) < 100);
  CHECK(writes(number++, 200'000) < 100);
  CHECK(writes(number++, 100) > 256 << 10);
  Replayed again;
  open(disk, again, 1 << 20);
  CHECK(again.entries.size() == number - 1);
}

TEST_CASE("as many spares are kept as are asked for, and none when a call fails", "[store]") {
  SimulatedDisk disk(1);
  Replayed replayed;
  const auto log = open(disk, replayed, 1'000);
  uint64_t number = 0;
  const auto spares = [&] { return std::ranges::count_if(disk.names(), is_spare); };
  const auto grow = [&] {
    while (log->segment_count() < 10) REQUIRE(append(*log, {{++number, 1, std::string(700, 'x')}}) == Status::Ok);
  };
  grow();
  REQUIRE(log->drop_before(number, 0) == Status::Ok);
  CHECK(spares() == 0);
  grow();
  REQUIRE(log->drop_before(number, 3) == Status::Ok);
  CHECK(spares() == 3);
  REQUIRE(log->drop_before(0, 1) == Status::Ok);
  CHECK(spares() == 1);
  grow();
  REQUIRE(log->drop_before(number) == Status::Ok);
  CHECK(spares() == FileLog::kSparesMax);
  REQUIRE(append(*log, {{++number, 1, std::string(700, 'x')}}) == Status::Ok);
  REQUIRE(log->drop_before(number) == Status::Ok);
  CHECK(spares() == 1);  // one was begun meanwhile
  disk.fail(0, Status::Full, false);
  CHECK(append(*log, {{++number, 1, std::string(700, 'x')}}) == Status::Full);
  CHECK(spares() == 0);
  CHECK(append(*log, {{++number, 1, std::string(700, 'x')}}) == Status::Ok);
}

namespace {

// A broker's life on a disk: it appends, calls fail, the power goes, it is killed, it comes back.
void live(uint64_t seed, int generations) {
  Random random(seed);
  SimulatedDisk disk(random.next());
  const uint64_t segment_bytes = random.below(2) ? 2'000 : 20'000;
  Entries expected;                   // what was acknowledged, or replayed and so relied upon
  std::vector<Entries> open_batches;  // refused, or not answered, since the last that was acknowledged
  uint64_t number = 0, dropped_before = 0;
  for (int generation = 0; generation < generations; ++generation) {
    disk.heal();
    Replayed replayed;
    const auto log = open(disk, replayed, segment_bytes, random.next(), dropped_before);
    for (const std::string& text : replayed.damage) FAIL(text);
    std::erase_if(expected, [&](const Entry& entry) { return entry.number < dropped_before; });
    size_t at = 0;
    REQUIRE(replayed.entries.size() >= expected.size());
    for (const Entry& entry : expected) REQUIRE(replayed.entries[at++] == entry);
    // Behind them nothing but whole batches that nobody was told of.
    for (const Entries& batch : open_batches) {
      if (at == replayed.entries.size() || replayed.entries[at].number != batch[0].number) continue;
      for (const Entry& entry : batch) {
        REQUIRE(at < replayed.entries.size());
        REQUIRE(replayed.entries[at++] == entry);
        expected.push_back(entry);
      }
    }
    REQUIRE(at == replayed.entries.size());
    open_batches.clear();
    number = std::max(number, log->last_number());
    if (random.below(2)) {
      disk.fail(random.below(60), random.below(2) ? Status::Io : Status::Full, random.below(3) == 0);
    }
    for (uint64_t steps = random.below(30); steps > 0; --steps) {
      const Entries batch = some_batch(random, number + 1);
      number += batch.size();
      if (append(*log, batch) == Status::Ok) {
        open_batches.clear();  // what was refused before is void now
        expected.insert(expected.end(), batch.begin(), batch.end());
      } else {
        open_batches.push_back(batch);
      }
      if (random.below(8) == 0 && !expected.empty()) {
        const uint64_t before = expected[random.below(expected.size())].number;
        dropped_before = std::max(dropped_before, before);
        static_cast<void>(log->drop_before(before, static_cast<uint32_t>(random.below(4))));
      }
    }
    if (random.below(3)) disk.cut_power();
  }
}

}  // namespace

TEST_CASE("nothing acknowledged is lost, and nothing refused comes back behind it", "[store]") {
  for (uint64_t seed = 1; seed <= seed_count(300); ++seed) {
    INFO("seed " << seed);
    live(seed, 12);
  }
}

TEST_CASE("any call may fail, once or from then on", "[store]") {
  const auto status = GENERATE(Status::Io, Status::Full);
  const auto lasting = GENERATE(false, true);
  const auto cut = GENERATE(false, true);
  uint64_t calls = UINT64_MAX;
  for (uint64_t k = 0; k <= calls; ++k) {
    SimulatedDisk disk(k);
    Random random(7);
    Entries acknowledged, all;
    {
      Replayed replayed;
      const auto log = open(disk, replayed, 3'000);
      const uint64_t before = disk.calls();
      if (k < calls) disk.fail(k, status, lasting);
      for (int i = 0; i < 15; ++i) {
        const Entries batch = some_batch(random, all.size() + 1);
        all.insert(all.end(), batch.begin(), batch.end());
        const Status told = append(*log, batch);
        if (told == Status::Ok) {
          acknowledged.insert(acknowledged.end(), batch.begin(), batch.end());
        } else {
          REQUIRE(told == status);
        }
      }
      calls = std::min(calls, k == 0 ? disk.calls() - before + 20 : calls);
    }
    disk.heal();
    if (cut) disk.cut_power();
    Replayed replayed;
    open(disk, replayed, 3'000);
    CHECK(replayed.damage.empty());
    std::map<uint64_t, Entry> there;
    for (const Entry& entry : replayed.entries) there.emplace(entry.number, entry);
    for (const Entry& entry : acknowledged) {
      INFO("call " << k << ", number " << entry.number);
      REQUIRE(there.contains(entry.number));
      REQUIRE(there.at(entry.number) == entry);
    }
  }
}

TEST_CASE("any byte may be damaged: what is left is right, and what was durable is missed aloud", "[store]") {
  SimulatedDisk pattern(1);
  Random random(5);
  Entries all;
  {
    Replayed replayed;
    const auto log = open(pattern, replayed, 1'200);
    while (log->segment_count() < 3) {
      Entries batch = some_batch(random, all.size() + 1, 60);
      batch.resize(std::min<size_t>(batch.size(), 4));
      REQUIRE(append(*log, batch) == Status::Ok);
      all.insert(all.end(), batch.begin(), batch.end());
    }
  }
  const std::vector<std::string> names = pattern.names();
  REQUIRE(names.size() == 3);
  for (const std::string& name : names) {
    for (uint64_t offset = 0; offset < pattern.bytes(name).size(); ++offset) {
      SimulatedDisk disk(1);
      disk.copy(pattern);
      disk.damage(name, offset);
      Replayed replayed;
      open(disk, replayed, 1'200);
      INFO(name << ", byte " << offset);
      std::map<uint64_t, Entry> known;
      for (const Entry& entry : all) known.emplace(entry.number, entry);
      for (const Entry& entry : replayed.entries) REQUIRE(known.at(entry.number) == entry);
      const size_t missing = all.size() - replayed.entries.size();
      const bool in_header = offset < 64;
      const bool last = name == names.back();
      if (!in_header && !last) REQUIRE(missing <= 1);
      if (missing && !last) REQUIRE_FALSE(replayed.damage.empty());
      if (!missing) REQUIRE(replayed.damage.empty());
    }
  }
}

// What a peer sends is in the log as it came: it may look like records of ours.
TEST_CASE("a payload that looks like records is not taken for them", "[store]") {
  SimulatedDisk disk(1), other(2);
  {
    Replayed replayed;
    const auto log = open(other, replayed, 1'000, 1);
    REQUIRE(append(*log, {{50, 9, "forged"}, {51, 9, "forged too"}}) == Status::Ok);
  }
  const auto& forged = other.bytes("log-0000000000000001");
  const std::string looks_so(as_text({forged.data() + 64, 200}));
  {
    Replayed replayed;
    const auto log = open(disk, replayed, 4'000, 2);
    REQUIRE(append(*log, {{1, 1, "first"}}) == Status::Ok);
    REQUIRE(append(*log, {{2, 1, looks_so}}) == Status::Ok);
    REQUIRE(append(*log, {{3, 1, "third"}}) == Status::Ok);
  }
  disk.damage("log-0000000000000001", 64 + 56 + 4);  // the head of the second
  Replayed replayed;
  open(disk, replayed, 4'000, 3);
  CHECK(replayed.entries == Entries{{1, 1, "first"}, {3, 1, "third"}});
  CHECK(replayed.damage.size() == 1);
}

TEST_CASE("a run of records is what they are one by one", "[store]") {
  SimulatedDisk disk(1);
  Random random(4);
  Replayed replayed;
  const auto log = open(disk, replayed, 64 << 10);
  std::map<uint64_t, std::string> kept;
  while (kept.size() < 3'000) {
    const Entries batch = some_batch(random, log->last_number() + 1 + random.below(3), random.below(40) ? 300 : 9'000);
    REQUIRE(append(*log, batch) == Status::Ok);
    for (const Entry& entry : batch) kept[entry.number] = entry.body;
  }
  for (const uint64_t step : {1, 2, 3, 50, 400}) {  // of numbers that are asked for
    INFO(step);
    Array<std::byte> bodies;
    Array<FileLog::Found> found;
    size_t in_runs = 0;
    std::vector<uint64_t> wanted;
    for (auto at = kept.begin(); at != kept.end();) {
      wanted.push_back(at->first);
      for (uint64_t i = random.below(2 * step) + 1; i && at != kept.end(); --i) ++at;
    }
    const auto body_of = [&](uint32_t at, uint32_t size) { return as_text(bodies.span().subspan(at, size)); };
    for (size_t i = 0; i < wanted.size();) {
      const uint32_t at = bodies.count();
      REQUIRE(log->read(wanted[i], bodies) == Status::Ok);
      REQUIRE(body_of(at, bodies.count() - at) == kept[wanted[i]]);
      ++i;
      const std::span<const uint64_t> rest = std::span(wanted).subspan(i, std::min<size_t>(wanted.size() - i, 100));
      if (rest.empty()) continue;
      log->read_run(rest, 16 << 10, bodies, found);
      REQUIRE(found.count() <= rest.size());
      for (const FileLog::Found& one : found) {
        REQUIRE(body_of(one.at, one.size) == kept[wanted[i]]);
        ++i;
      }
      in_runs += found.count();
      if (random.below(3) == 0) bodies.clear();
    }
    if (step <= 3) CHECK(in_runs > wanted.size() * 3 / 4);
    if (step == 400) CHECK(in_runs == 0);
  }
  // It ends in front of what is damaged, and of what is not there.
  Array<std::byte> bodies;
  Array<FileLog::Found> found;
  const uint64_t last = kept.rbegin()->first;
  REQUIRE(log->read(last - 1, bodies) == Status::Ok);
  const uint64_t beyond[] = {last, last + 1, last + 2};
  log->read_run(beyond, 16 << 10, bodies, found);
  CHECK(found.count() == 1);
}

TEST_CASE("a segment that does not open is read when it does, and nothing of another in its place", "[store]") {
  SimulatedDisk disk(1);
  Replayed replayed;
  const auto log = open(disk, replayed, 4 << 10);
  for (uint64_t number = 1; number <= 100; ++number) {
    REQUIRE(append(*log, {{number, 1, fmt::format("{:200}", number)}}) == Status::Ok);
  }
  REQUIRE(log->segment_count() > 3);
  Array<std::byte> bodies;
  const auto reads = [&](uint64_t number) {
    bodies.clear();
    const Status status = log->read(number, bodies);
    if (status == Status::Ok) REQUIRE(as_text(bodies.span()) == fmt::format("{:200}", number));
    return status;
  };
  REQUIRE(reads(2) == Status::Ok);
  disk.fail(0, Status::Io, true);
  CHECK(reads(90) != Status::Ok);
  CHECK(reads(3) != Status::Ok);  // which lies near the last that was read, in a file that is closed
  disk.heal();
  for (const uint64_t number : {3, 4, 90, 91, 5}) CHECK(reads(number) == Status::Ok);
}

TEST_CASE("a log of a newer format is refused by name, and a damaged header is told", "[store]") {
  SimulatedDisk disk(1);
  {
    Replayed replayed;
    const auto log = open(disk, replayed, 1'000);
    REQUIRE(append(*log, {{1, 1, "first"}}) == Status::Ok);
  }
  const std::string name = "log-0000000000000001";
  SimulatedDisk damaged(1);
  damaged.copy(disk);
  damaged.damage(name, 20);
  Replayed replayed;
  const auto log = open(damaged, replayed);
  CHECK(replayed.entries.empty());
  CHECK(replayed.damage == std::vector<std::string>{name + ": its header is damaged; skipped"});
  REQUIRE(append(*log, {{2, 1, "second"}}) == Status::Ok);
  CHECK(damaged.file_count() == 2);  // what is damaged is left for whoever wants to look at it

  auto& bytes = disk.bytes(name);
  bytes[8] = std::byte{2};
  const uint32_t sum = crc32c(Bytes(bytes).first(60));
  for (size_t i = 0; i < 4; ++i) bytes[60 + i] = static_cast<std::byte>(sum >> (8 * i));
  Replayed newer;
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(FileLog::open(disk, {}, newer, status, problem));
  CHECK(status == Status::Unsupported);
  CHECK(problem == name + " has format 2, written by a newer version; this one reads format 1");
}

TEST_CASE("a log on the system's disk", "[store]") {
  std::string directory = (std::filesystem::temp_directory_path() / "mqttq-log-XXXXXX").string();
  REQUIRE(::mkdtemp(directory.data()));
  SystemDisk disk(directory);
  Random random(3);
  Entries all;
  for (int generation = 0; generation < 3; ++generation) {
    Replayed replayed;
    const auto log = open(disk, replayed, 20'000, random.next());
    CHECK(replayed.entries == all);
    CHECK(replayed.damage.empty());
    for (int i = 0; i < 20; ++i) {
      const Entries batch = some_batch(random, all.size() + 1, 3'000);
      REQUIRE(append(*log, batch) == Status::Ok);
      all.insert(all.end(), batch.begin(), batch.end());
    }
  }
  Replayed replayed;
  const auto log = open(disk, replayed, 20'000);
  const uint32_t segments = log->segment_count();
  REQUIRE(log->drop_before(all.back().number) == Status::Ok);
  CHECK(log->segment_count() < segments);
  std::filesystem::remove_all(directory);
  SystemDisk nowhere(directory + "/missing");
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(FileLog::open(nowhere, {}, replayed, status, problem));
  CHECK(status == Status::NotFound);
  CHECK(problem == "the directory of the log cannot be listed");
}

// A backup beside the broker reads files for as long as it likes.
TEST_CASE("what somebody reads is not written over", "[store]") {
  std::string directory = (std::filesystem::temp_directory_path() / "mqttq-log-XXXXXX").string();
  REQUIRE(::mkdtemp(directory.data()));
  SystemDisk disk(directory), looks_only(directory, true);
  Replayed replayed;
  const auto log = open(disk, replayed, 4'000);
  uint64_t number = 0;
  const auto next = [&] {
    const uint32_t before = log->segment_count();
    while (log->segment_count() == before) {
      REQUIRE(append(*log, {{++number, 1, fmt::format("{:900}", number)}}) == Status::Ok);
    }
    REQUIRE(log->drop_before(number) == Status::Ok);
  };
  const auto content = [](File& file) {
    std::vector<std::byte> bytes(4'000);
    size_t got = 0;
    REQUIRE(file.read(0, bytes, got) == Status::Ok);
    return bytes;
  };
  REQUIRE(append(*log, {{++number, 1, "first"}}) == Status::Ok);
  std::unique_ptr<File> read;
  REQUIRE(looks_only.open("log-0000000000000001", false, read) == Status::Ok);
  next();
  const std::vector<std::byte> before = content(*read);
  next();
  next();
  CHECK(content(*read) == before);
  // The name of a spare is gone, and who had opened the file by it just before is told so.
  REQUIRE(std::filesystem::exists(directory + "/spare-0000000000000003"));
  CHECK(looks_only.open("log-0000000000000003", false, read) == Status::NotFound);
  REQUIRE(looks_only.open("spare-0000000000000003", false, read) == Status::Ok);
  CHECK(disk.rename_unread("spare-0000000000000003", "spare") == Status::Busy);
  read.reset();
  CHECK(disk.rename_unread("spare-0000000000000003", "spare") == Status::Ok);
  CHECK(looks_only.rename_unread("spare", "another") == Status::Permission);
  std::filesystem::remove_all(directory);
}

}  // namespace mqttq
