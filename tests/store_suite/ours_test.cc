// The library's own stores for the suite, and what only the one on disk has.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "store/lmdb_store.h"
#include "store/memory_store.h"
#include "store_suite.h"

namespace mqttq {

namespace {

// A directory of its own for each store, gone when the program ends.
class Directories {
 public:
  std::string make() {
    if (base_.empty()) {
      base_ = (std::filesystem::temp_directory_path() / "mqttq-store-XXXXXX").string();
      REQUIRE(::mkdtemp(base_.data()));
    }
    return base_ + "/" + std::to_string(++count_);
  }
  ~Directories() {
    std::error_code ignored;
    if (!base_.empty()) std::filesystem::remove_all(base_, ignored);
  }

 private:
  std::string base_;
  int count_ = 0;
} directories;

std::unique_ptr<LmdbStore> open(const std::string& directory, uint64_t bytes_max = 64 << 20) {
  Status status = Status::Ok;
  std::string problem;
  auto store = LmdbStore::open({directory, bytes_max}, status, problem);
  INFO(problem);
  REQUIRE(store);
  return store;
}

std::string problem_of(const LmdbStore::Options& options, Status expected) {
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(LmdbStore::open(options, status, problem));
  CHECK(status == expected);
  return problem;
}

}  // namespace

std::vector<StoreMaker> store_makers() {
  StoreMaker memory, lmdb;
  memory.name = "memory";
  memory.make = [](uint64_t bytes_max) { return std::make_unique<MemoryStore>(bytes_max); };
  lmdb.name = "LMDB";
  const auto directory = std::make_shared<std::string>();
  lmdb.make = [directory](uint64_t bytes_max) {
    return open(*directory = directories.make(), bytes_max ? bytes_max : 64 << 20);
  };
  lmdb.reopen = [directory](std::unique_ptr<Store> store) {
    store.reset();
    return open(*directory);
  };
  return {memory, lmdb};
}

TEST_CASE("a data directory that another broker has open is refused by name", "[store]") {
  const std::string directory = directories.make();
  auto store = open(directory);
  const std::string problem = problem_of({directory, 64 << 20}, Status::Busy);
  CHECK(problem == "the data directory " + directory + " is in use by another broker (process " +
                       std::to_string(::getpid()) + ")");
  store.reset();
  open(directory);
}

TEST_CASE("a data directory that cannot be used says why", "[store]") {
  CHECK(problem_of({directories.make() + "/missing/parent", 64 << 20}, Status::Io).find("cannot make") == 0);
  const std::string file = directories.make();
  std::ofstream(file) << "a file";
  CHECK(problem_of({file, 64 << 20}, Status::Io).find("cannot write to the data directory " + file) == 0);
  const std::string garbage = directories.make();
  REQUIRE(::mkdir(garbage.c_str(), 0700) == 0);
  std::ofstream(garbage + "/store.mdb") << std::string(100'000, 'x');
  const std::string problem = problem_of({garbage, 64 << 20}, Status::Io);
  CHECK(problem.find("cannot open " + garbage + "/store.mdb: MDB_INVALID") == 0);
}

// A process commits one batch after the other and says so; it is killed at some moment, again and again.
TEST_CASE("what a killed process was told to be durable is there", "[store]") {
  const std::string directory = directories.make();
  Random random(7);
  uint64_t told = 0;
  for (int round = 0; round < 20; ++round) {
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      Status status = Status::Ok;
      std::string problem;
      const auto store = LmdbStore::open({directory, 64 << 20}, status, problem);
      if (!store) ::_exit(1);
      for (uint64_t number = told + 1;; ++number) {
        const std::string key = std::to_string(1'000'000 + number), gone = std::to_string(1'000'000 + number - 50);
        const StoreWrite writes[] = {{StoreWrite::Kind::Put, 0, as_bytes(key), as_bytes("a message")},
                                     {StoreWrite::Kind::Erase, 0, as_bytes(gone), {}},
                                     {StoreWrite::Kind::Put, 1, as_bytes("last"), as_bytes(key)}};
        store->commit(
            writes, number,
            [](void* user, uint64_t batch, Status of) noexcept {
              if (of != Status::Ok || ::write(*static_cast<int*>(user), &batch, sizeof batch) < 0) ::_exit(1);
            },
            &pipe[1]);
      }
    }
    ::close(pipe[1]);
    uint64_t wanted = told + 1 + random.below(30), number = 0;
    while (number < wanted && ::read(pipe[0], &number, sizeof number) == sizeof number) told = number;
    REQUIRE(told >= wanted);
    REQUIRE(::kill(child, SIGKILL) == 0);
    while (::read(pipe[0], &number, sizeof number) == sizeof number) told = number;
    ::close(pipe[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));

    const auto store = open(directory);
    Array<std::byte> last;
    REQUIRE(store->get(1, as_bytes("last"), last) == Status::Ok);
    const uint64_t kept = std::stoull(std::string(as_text(last.span()))) - 1'000'000;
    CHECK(kept >= told);
    CHECK(kept <= told + 1);  // the batch of which nothing had been told yet
    struct Count final : StoreVisitor {
      bool on_entry(Bytes key, Bytes) noexcept override {
        right &= as_text(key) == std::to_string(expected++);
        return true;
      }
      uint64_t expected = 0;
      bool right = true;
    } count;
    count.expected = 1'000'000 + (kept > 50 ? kept - 49 : 1);
    REQUIRE(store->scan(0, {}, {}, count) == Status::Ok);
    CHECK(count.right);
    CHECK(count.expected == 1'000'000 + kept + 1);
    told = kept;
  }
}

TEST_CASE("what a data directory holds is its owner's alone", "[store]") {
  const std::string directory = directories.make();
  const auto store = open(directory);
  struct stat of;
  REQUIRE(::stat(directory.c_str(), &of) == 0);
  CHECK((of.st_mode & 0777) == 0700);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    REQUIRE(::stat(entry.path().c_str(), &of) == 0);
    INFO(entry.path());
    CHECK((of.st_mode & 077) == 0);
  }
}

}  // namespace mqttq
