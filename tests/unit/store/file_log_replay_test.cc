// The log as tools read it: what a start would find, with nothing written.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <map>

#include "base/byte_order.h"
#include "base/crc32c.h"
#include "simulated_disk.h"
#include "store/file_log.h"
#include "store/system_disk.h"

namespace mqttq {

namespace {

struct Heard final : LogReplay {
  bool on_entry(const LogEntry& entry) noexcept override {
    entries.emplace_back(entry.number, entry.kind, as_text(entry.body));
    return true;
  }
  void on_damage(std::string_view text) noexcept override { damage.emplace_back(text); }
  void on_segment(const LogSegment& segment) noexcept override { segments.push_back(segment); }
  std::vector<std::tuple<uint64_t, uint8_t, std::string>> entries;
  std::vector<std::string> damage;
  std::vector<LogSegment> segments;
};

using Files = std::map<std::string, std::vector<std::byte>>;
Files files_of(SimulatedDisk& disk) {
  Files files;
  for (const std::string& name : disk.names()) files[name] = disk.bytes(name);
  return files;
}

Heard replay_only(SimulatedDisk& disk, uint64_t from = 0) {
  const Files before = files_of(disk);
  Heard heard;
  std::string problem;
  CHECK(FileLog::replay_only(disk, from, heard, problem) == Status::Ok);
  CHECK(files_of(disk) == before);
  return heard;
}

Heard open(Disk& disk, std::unique_ptr<FileLog>& log, uint64_t segment_bytes) {
  Heard heard;
  Status status = Status::Ok;
  std::string problem;
  FileLog::Options options;
  options.segment_bytes = segment_bytes;
  options.seed = 1;
  log = FileLog::open(disk, options, heard, status, problem);
  INFO(problem);
  REQUIRE(log);
  return heard;
}

void append(FileLog& log, uint64_t& number, int batch_count) {
  const std::string body(50, 'b');
  for (int i = 0; i < batch_count; ++i, number += 3) {
    const LogEntry batch[] = {
        {number, 1, as_bytes(body)}, {number + 1, 2, as_bytes("state")}, {number + 2, 2, as_bytes(body)}};
    REQUIRE(log.append(batch) == Status::Ok);
  }
}

}  // namespace

TEST_CASE("a replay alone tells what a start would, and writes nothing", "[store]") {
  Random random(5);
  SimulatedDisk disk(5);
  uint64_t number = 1;
  for (int generation = 0; generation < 3; ++generation) {
    std::unique_ptr<FileLog> log;
    open(disk, log, 2'000);
    append(*log, number, 20);
  }
  const Heard sound = replay_only(disk);
  CHECK(sound.entries.size() == number - 1);
  CHECK(sound.damage.empty());
  CHECK(sound.segments.size() == disk.file_count());
  for (const LogSegment& segment : sound.segments) {
    CHECK(segment.kind == LogSegment::Kind::Good);
    CHECK(segment.bytes >= segment.bytes_used);
    CHECK((segment.previous_last == 0) == (segment.id == 1));
    CHECK_FALSE(segment.more);
  }
  CHECK(replay_only(disk, number - 2).entries.size() == 2);

  const std::vector<std::string> names = disk.names();
  for (int round = 0; round < 300; ++round) {
    SimulatedDisk damaged(1), other(1);
    damaged.copy(disk);
    for (uint64_t i = random.below(3) + 1; i > 0; --i)
      damaged.damage(names[random.below(names.size())], random.below(2'000));
    other.copy(damaged);
    const Heard heard = replay_only(damaged);
    std::unique_ptr<FileLog> log;
    const Heard expected = open(other, log, 2'000);
    REQUIRE(heard.entries == expected.entries);
    REQUIRE(heard.damage == expected.damage);
  }
}

TEST_CASE("a torn last batch is seen in its segment", "[store]") {
  SimulatedDisk disk(1);
  uint64_t number = 1;
  {
    std::unique_ptr<FileLog> log;
    open(disk, log, 10'000);
    append(*log, number, 2);
  }
  const uint64_t used = replay_only(disk).segments.at(0).bytes_used;
  disk.damage("log-0000000000000001", used - 1);
  const Heard heard = replay_only(disk);
  CHECK(heard.entries.size() == 3);
  CHECK(heard.damage.empty());
  CHECK(heard.segments.at(0).more);
  CHECK(heard.segments.at(0).bytes_used < used);
}

TEST_CASE("what a start would remove or refuse is told and passed over by a replay alone", "[store]") {
  SimulatedDisk disk(1);
  uint64_t number = 1;
  for (int generation = 0; generation < 4; ++generation) {
    std::unique_ptr<FileLog> log;
    open(disk, log, 10'000);
    append(*log, number, 1);
  }
  disk.bytes("log-0000000000000002").assign(64, std::byte{0});
  disk.damage("log-0000000000000003", 20);
  auto& newer = disk.bytes("log-0000000000000004");
  newer[8] = std::byte{2};
  put_little(newer.data() + 60, crc32c(Bytes(newer).first(60)));
  const Heard heard = replay_only(disk);
  CHECK(heard.entries.size() == 3);
  REQUIRE(heard.segments.size() == 4);
  std::map<uint64_t, LogSegment::Kind> kinds;
  for (const LogSegment& segment : heard.segments) kinds[segment.id] = segment.kind;
  CHECK(kinds == std::map<uint64_t, LogSegment::Kind>{{1, LogSegment::Kind::Good},
                                                      {2, LogSegment::Kind::Empty},
                                                      {3, LogSegment::Kind::Damaged},
                                                      {4, LogSegment::Kind::Newer}});
  CHECK(heard.damage == std::vector<std::string>{
                            "log-0000000000000003: its header is damaged; skipped",
                            "log-0000000000000004 has format 2, written by a newer version; this one reads format 1"});

  disk.fail(2, Status::Io, false);  // reading the first file
  Heard unread;
  std::string problem;
  CHECK(FileLog::replay_only(disk, 0, unread, problem) == Status::Ok);
  CHECK(unread.damage.at(0) == "log-0000000000000001 cannot be read");
  disk.fail(1, Status::NotFound, false);  // it has been removed since they were listed
  Heard removed;
  CHECK(FileLog::replay_only(disk, 0, removed, problem) == Status::Ok);
  CHECK(removed.damage.at(0) == "log-0000000000000003: its header is damaged; skipped");
  disk.fail(0, Status::Io, false);
  CHECK(FileLog::replay_only(disk, 0, removed, problem) == Status::Io);
  CHECK(problem == "the directory of the log cannot be listed");
}

TEST_CASE("a disk that is only read refuses everything else", "[store]") {
  std::string directory = (std::filesystem::temp_directory_path() / "mqttq-log-XXXXXX").string();
  REQUIRE(::mkdtemp(directory.data()));
  SystemDisk disk(directory), reader(directory, true);
  std::unique_ptr<File> file;
  REQUIRE(disk.open("log-1", true, file) == Status::Ok);
  REQUIRE(file->write(0, as_bytes("bytes")) == Status::Ok);
  CHECK(reader.open("log-2", true, file) == Status::Permission);
  CHECK(reader.remove("log-1") == Status::Permission);
  REQUIRE(reader.open("log-1", false, file) == Status::Ok);
  CHECK(file->write(0, as_bytes("other")) == Status::Io);
  std::byte bytes[10];
  size_t got = 0;
  CHECK(file->read(0, bytes, got) == Status::Ok);
  CHECK(as_text(Bytes(bytes, got)) == "bytes");
  std::filesystem::remove_all(directory);
}

}  // namespace mqttq
