// What only the store by LMDB has.
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>

#include "directories.h"
#include "lmdb_files.h"

namespace mqttq {

namespace {

Directories directories;

std::string problem_of(const LmdbStore::Options& options, Status expected) {
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(LmdbStore::open(options, status, problem));
  CHECK(status == expected);
  return problem;
}

}  // namespace

TEST_CASE("a data directory that another broker has open is refused by name", "[store]") {
  const std::string directory = directories.make();
  auto store = open_store({directory, 64 << 20});
  const std::string problem = problem_of({directory, 64 << 20}, Status::Busy);
  CHECK(problem == "the data directory " + directory + " is in use by another broker (process " +
                       std::to_string(::getpid()) + ")");
  store.reset();
  open_store({directory, 64 << 20});
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
  const auto store = open_store({directory, 64 << 20});
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
