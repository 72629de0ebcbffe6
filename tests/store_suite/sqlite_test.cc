// What only examples/sqlite-store has, where it is built. The suite runs against it as against any host's.
#ifdef MQTTQ_SQLITE_STORE

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>

#include "directories.h"
#include "store_module.h"

namespace mqttq {

namespace {

Directories directories;

std::string make_directory() {
  const std::string directory = directories.make();
  std::filesystem::create_directory(directory);
  return directory;
}

std::string problem_of(const StoreModule& module, const std::string& directory, Status expected) {
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(module.try_open(directory, 0, status, problem));
  CHECK(status == expected);
  return problem;
}

// A process that opens the store, says so on a pipe, and has it until that is closed.
[[noreturn]] void hold(const StoreModule& module, const std::string& directory, int descriptor, int until) noexcept {
  const auto store = module.open(directory, 0);
  char byte = 'x';
  if (::write(descriptor, &byte, 1) != 1) ::_exit(1);
  while (::read(until, &byte, 1) > 0) continue;
  ::_exit(0);
}

}  // namespace

TEST_CASE("a SQLite file that another broker of this process has open is refused by name", "[store]") {
  const StoreModule module(MQTTQ_SQLITE_STORE);
  const std::string directory = make_directory();
  auto store = module.open(directory, 0);
  CHECK(problem_of(module, directory, Status::Busy) == directory + "/store.db is in use by another broker");
  store.reset();
  CHECK(module.open(directory, 0));
}

TEST_CASE("a SQLite file that another process has open is refused by name", "[store]") {
  const StoreModule module(MQTTQ_SQLITE_STORE);
  const std::string directory = make_directory();
  int says[2], until[2];
  REQUIRE(::pipe(says) == 0);
  REQUIRE(::pipe(until) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(until[1]);
    hold(module, directory, says[1], until[0]);
  }
  ::close(says[1]);
  ::close(until[0]);
  char byte = 0;
  REQUIRE(::read(says[0], &byte, 1) == 1);
  CHECK(problem_of(module, directory, Status::Busy) == directory + "/store.db is in use by another broker");
  ::close(until[1]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(module.open(directory, 0));
  ::close(says[0]);
}

TEST_CASE("a SQLite file that cannot be used says why", "[store]") {
  const StoreModule module(MQTTQ_SQLITE_STORE);
  const std::string missing = directories.make() + "/missing";
  CHECK(problem_of(module, missing, Status::Io).find("cannot open " + missing + "/store.db: unable to open") == 0);
  const std::string garbage = make_directory();
  std::ofstream(garbage + "/store.db") << std::string(100'000, 'x');
  CHECK(problem_of(module, garbage, Status::Io) == "cannot open " + garbage + "/store.db: file is not a database");
}

TEST_CASE("a module that is not there, or has no store, is refused by name", "[store]") {
  CHECK_THROWS(StoreModule("/nowhere/store.so"));
  CHECK_THROWS(StoreModule("libm.so.6"));
}

}  // namespace mqttq

#endif
