// The stores for the suite: the library's own, alone and behind a host, or a host's; and what only LMDB's has.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "directories.h"
#include "hosted_store.h"
#include "store/lmdb_store.h"
#include "store/memory_store.h"
#include "store_module.h"
#include "store_suite.h"

namespace mqttq {

namespace {

Directories directories;

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

namespace {

StoreMaker memory_maker(const std::string& name, std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> wrap) {
  StoreMaker maker;
  maker.name = name;
  maker.make = [wrap](uint64_t bytes_max) { return wrap(std::make_unique<MemoryStore>(bytes_max)); };
  return maker;
}

// A store that is opened in a directory.
StoreMaker directory_maker(const std::string& name,
                           std::function<std::unique_ptr<Store>(const std::string&, uint64_t bytes_max)> open_in) {
  StoreMaker maker;
  maker.name = name;
  const auto last = std::make_shared<std::string>();
  maker.make = [=](uint64_t bytes_max) { return open_in(*last = directories.make(), bytes_max); };
  maker.reopen = [=](std::unique_ptr<Store> store) {
    store.reset();
    return open_in(*last, 0);
  };
  return maker;
}

std::unique_ptr<Store> as_it_is(std::unique_ptr<Store> store) { return store; }
std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> by_a_host(Answers answers) {
  return [answers](std::unique_ptr<Store> store) { return hosted(std::move(store), answers); };
}

}  // namespace

std::vector<StoreMaker> store_makers() {
  // A host's own, and no other.
  if (const char* path = std::getenv("MQTTQ_STORE_MODULE")) {
    return {directory_maker(path, [module = StoreModule(path)](const std::string& directory, uint64_t bytes_max) {
      std::filesystem::create_directory(directory);
      return module.open(directory, bytes_max);
    })};
  }
  const auto lmdb = [](const std::string& directory, uint64_t bytes_max) {
    return open(directory, bytes_max ? bytes_max : 64 << 20);
  };
  return {memory_maker("memory", as_it_is), directory_maker("LMDB", lmdb),
          memory_maker("memory, by a host that answers at once", by_a_host(Answers::AtOnce)),
          memory_maker("memory, by a host that answers now or later", by_a_host(Answers::Either)),
          directory_maker("LMDB, by a host that answers later", [=](const std::string& directory, uint64_t bytes_max) {
            return hosted(lmdb(directory, bytes_max), Answers::Later);
          })};
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
  const std::string problem = problem_of({garbage, 64 << 20}, Status::Invalid);
  CHECK(problem.find(garbage + "/store.mdb is damaged: its first page is not one that LMDB begins with") == 0);
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
