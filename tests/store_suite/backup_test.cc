// Backups of a directory of the system's: beside a thread that writes to it, and where none can be made.
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "directories.h"
#include "store/lmdb_directory.h"

namespace mqttq {

namespace {

Directories directories;

std::unique_ptr<LmdbDirectory> open(const std::string& path) {
  LmdbDirectory::Options options;
  options.path = path;
  options.directory.segment_bytes = 8192;
  options.directory.follow_bytes = 2000;
  options.directory.seed = 5;
  Status status = Status::Ok;
  std::string problem;
  auto opened = LmdbDirectory::open(options, status, problem);
  INFO(problem);
  REQUIRE(opened);
  return opened;
}

// One message and one change of state, which names it.
Status append(DataDirectory& directory, uint64_t number) {
  MessageView view;
  view.topic_name = "a";
  view.payload = as_bytes("some payload, and some more of it");
  view.expires_at = Instant{INT64_MAX};
  const MessageRef message = Message::create(view);
  const uint64_t journal = 3;
  StateWrites writes;
  writes.put(StateTable::Receipts, StateKey().add(number).add(uint64_t{0}).add(uint16_t{1}).bytes(), {});
  LogRecord batch[2];
  batch[0].number = number;
  batch[0].message = message.get();
  batch[0].journals = {&journal, 1};
  batch[1].number = number + 1;
  batch[1].state = writes.bytes();
  return directory.append(batch);
}

// The numbers of the changes that a directory has, which begin with 1 and have no gap; 0: they do not.
uint64_t last_change(DataDirectory& directory) {
  struct Counter final : StateLoader {
    Counter() noexcept : StateLoader(18, false) {}
    bool on_state(Bytes key, Bytes) noexcept override {
      whole = whole && get_big<uint64_t>(key.data()) == next;
      next += 2;
      return true;
    }
    uint64_t next = 1;
    bool whole = true;
  } counter;
  REQUIRE(directory.load(StateTable::Receipts, counter) == Status::Ok);
  return counter.whole && counter.next > 1 ? counter.next - 2 : 0;
}

mode_t mode_of(const std::string& path) {
  struct stat of;
  REQUIRE(::stat(path.c_str(), &of) == 0);
  return of.st_mode & 0777;
}

}  // namespace

TEST_CASE("backups beside a thread that writes have all that was durable before", "[store][backup][threads]") {
  auto data = open(directories.make());
  std::atomic<uint64_t> durable{0};
  std::atomic<bool> ended{false};
  std::thread writer([&] {
    for (uint64_t number = 1; !ended; number += 2) {
      if (append(data->directory(), number) != Status::Ok) break;
      durable = number;
      if (number % 100 == 1 && number > 100) data->directory().set_lowest(number - 100);
      data->directory().tend(Instant{static_cast<int64_t>(number) * kSecond});
    }
  });
  struct Backup {
    std::string path;
    uint64_t durable;
  };
  std::vector<Backup> backups;
  std::string problem;
  while (backups.size() < 8) {
    const uint64_t before = durable;
    if (before < 200 * (backups.size() + 1)) {
      std::this_thread::yield();
      continue;
    }
    backups.push_back({directories.make(), before});
    const Status status = data->back_up(backups.back().path, {before, 1, nullptr}, problem);
    INFO(problem);
    CHECK(status == Status::Ok);
  }
  ended = true;
  writer.join();
  data.reset();  // a thread sanitizer has room for one map of LMDB's at a time
  for (const Backup& one : backups) {
    CHECK(mode_of(one.path) == 0700);
    for (const auto& entry : std::filesystem::directory_iterator(one.path)) CHECK(mode_of(entry.path()) == 0600);
    const auto restored = open(one.path);
    CHECK_FALSE(std::filesystem::exists(one.path + "/backup"));
    const uint64_t last = last_change(restored->directory());
    CHECK(last >= one.durable);
    const auto& messages = restored->directory().loaded_messages();
    REQUIRE_FALSE(messages.empty());
    for (size_t i = 0; i < messages.size(); ++i) CHECK(messages[i].number == last - 2 * (messages.size() - 1 - i));
    CHECK(messages.front().number < last - 50);  // at least what is wanted
    CHECK(restored->directory().durable_number() == last + 1);
  }
}

TEST_CASE("a backup is made in a directory of its own only", "[store][backup]") {
  const std::string path = directories.make();
  const auto data = open(path);
  REQUIRE(append(data->directory(), 1) == Status::Ok);
  const std::string parent = directories.make();
  std::filesystem::create_directory(parent);
  std::filesystem::create_directory(parent + "/full");
  std::ofstream(parent + "/full/file") << "x";
  std::filesystem::create_directory_symlink(path, parent + "/link");
  const std::string absolute = std::filesystem::canonical(path);
  struct Case {
    std::string to;
    Status status;
    std::string said;
  };
  for (const Case& one :
       {Case{parent + "/full", Status::Exists, parent + "/full is not empty"},
        {parent + "/full/file", Status::Exists, parent + "/full/file is no directory"},
        {parent + "/none/backup", Status::NotFound,
         "cannot make " + parent + "/none/backup: No such file or directory"},
        {path, Status::Invalid, path + " lies within " + path + ", of which it is to be a backup"},
        {path + "/backup//", Status::Invalid, " lies within "},
        {absolute + "/../" + absolute.substr(absolute.rfind('/') + 1) + "/backup", Status::Invalid, " lies within "},
        {parent + "/link/backup", Status::Invalid, " lies within "},
        {parent + "/link", Status::Invalid, " lies within "}}) {
    std::string problem;
    CHECK(data->back_up(one.to, {}, problem) == one.status);
    INFO(problem);
    CHECK(problem.find(one.said) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(path + "/backup"));
    CHECK(std::distance(std::filesystem::directory_iterator(parent), {}) == 2);
    CHECK(std::distance(std::filesystem::directory_iterator(parent + "/full"), {}) == 1);
  }
  std::string problem;
  CHECK(LmdbDirectory::back_up(path, parent + "/new", {}, problem) == Status::Invalid);
  CHECK(problem == "this process has " + path + " open: its broker can be told to make a backup");
  CHECK_FALSE(std::filesystem::exists(parent + "/new"));
  // One that is there and empty stays so when there is nothing to be copied.
  std::filesystem::create_directory(parent + "/empty");
  CHECK(LmdbDirectory::back_up(parent + "/full", parent + "/empty", {}, problem) == Status::NotFound);
  CHECK(std::filesystem::is_empty(parent + "/empty"));
  CHECK(data->back_up(parent + "/empty/", {}, problem) == Status::Ok);
  CHECK(std::filesystem::exists(parent + "/empty/backup"));
}

}  // namespace mqttq
