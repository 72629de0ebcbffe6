// A store beside the broker that has it open, and after it: what tools read.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <filesystem>
#include <functional>

#include "lmdb_files.h"
#include "temporary_directory.h"

namespace mqttq {

namespace {

void put(LmdbStore& store, std::string_view key, std::string_view value) {
  const StoreWrite write{StoreWrite::Kind::Put, 3, as_bytes(key), as_bytes(value)};
  Status status = Status::Io;
  store.commit(
      {&write, 1}, 0, [](void* user, uint64_t, Status of) noexcept { *static_cast<Status*>(user) = of; }, &status);
  REQUIRE(status == Status::Ok);
}

// Every entry of a table, "key=value ".
std::string all(LmdbSnapshot& snapshot) {
  struct Visitor final : StoreVisitor {
    bool on_entry(Bytes key, Bytes value) noexcept override {
      text += std::string(as_text(key)) + "=" + std::string(as_text(value)) + " ";
      return true;
    }
    std::string text;
  } visitor;
  return snapshot.scan(3, visitor) == Status::Ok ? visitor.text : "failed";
}

// A process that runs `body` with a snapshot, and what it ends with. LMDB wants no file twice in one process.
class Reader {
 public:
  Reader(const std::string& directory, const std::function<int(LmdbSnapshot&, Reader&)>& body) {
    REQUIRE(::pipe(to_) == 0);
    REQUIRE(::pipe(from_) == 0);
    child_ = ::fork();
    REQUIRE(child_ >= 0);
    if (child_ != 0) return;
    Status status = Status::Ok;
    std::string problem;
    const auto snapshot = LmdbSnapshot::open(directory, status, problem);
    ::_exit(snapshot ? body(*snapshot, *this) : 99);
  }
  // For the child: tells that it is so far, and waits for the word to go on.
  void pause() const {
    char word = 0;
    if (::write(from_[1], &word, 1) != 1 || ::read(to_[0], &word, 1) != 1) ::_exit(98);
  }
  void wait_pause() const {
    char word = 0;
    REQUIRE(::read(from_[0], &word, 1) == 1);
  }
  void go_on() const {
    const char word = 0;
    REQUIRE(::write(to_[1], &word, 1) == 1);
  }
  int end() {
    int status = 0;
    REQUIRE(::waitpid(child_, &status, 0) == child_);
    for (const int one : {to_[0], to_[1], from_[0], from_[1]}) ::close(one);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
  }
  pid_t child() const { return child_; }

 private:
  pid_t child_ = -1;
  int to_[2] = {}, from_[2] = {};
};

// Names, sizes, times and inodes of a directory's files.
std::string look(const std::string& directory) {
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    struct stat of;
    REQUIRE(::stat(entry.path().c_str(), &of) == 0);
    text += entry.path().filename().string() + " " + std::to_string(of.st_size) + " " +
            std::to_string(of.st_mtim.tv_sec) + "." + std::to_string(of.st_mtim.tv_nsec) + "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("a snapshot stays as it was while the broker goes on", "[store]") {
  const TemporaryDirectory directory;
  const auto store = open_store({directory.path, 64 << 20});
  CHECK(owner_of(directory.path) == ::getpid());
  put(*store, "a", "1");
  Reader reader(directory.path, [](LmdbSnapshot& snapshot, Reader& self) {
    if (all(snapshot) != "a=1 ") return 1;
    self.pause();
    return all(snapshot) == "a=1 " && snapshot.whole() ? 0 : 2;
  });
  reader.wait_pause();
  for (int i = 0; i < 20; ++i) put(*store, "a", "2");
  put(*store, "b", "3");
  reader.go_on();
  CHECK(reader.end() == 0);
  CHECK(Reader(directory.path, [](LmdbSnapshot& snapshot, Reader&) {
          return all(snapshot) == "a=2 b=3 " ? 0 : 1;
        }).end() == 0);
}

TEST_CASE("a reader that is killed does not keep old pages for ever", "[store]") {
  const TemporaryDirectory directory;
  const auto store = open_store({directory.path, 64 << 20});
  put(*store, "a", "1");
  Reader reader(directory.path, [](LmdbSnapshot& snapshot, Reader& self) {
    static_cast<void>(all(snapshot));
    self.pause();
    return 0;
  });
  reader.wait_pause();
  REQUIRE(::kill(reader.child(), SIGKILL) == 0);
  reader.end();
  const std::string value(16'000, 'v');
  for (int i = 0; i < 10; ++i) put(*store, "a", value);
  const uintmax_t before = std::filesystem::file_size(directory.path + "/store.mdb");
  for (int i = 0; i < 100; ++i) put(*store, "a", value);
  CHECK(std::filesystem::file_size(directory.path + "/store.mdb") == before);
}

TEST_CASE("a store that no broker has open is read without touching a file", "[store]") {
  const TemporaryDirectory directory;
  put(*open_store({directory.path, 64 << 20}), "a", "1");
  CHECK_FALSE(owner_of(directory.path));
  const std::string before = look(directory.path);
  CHECK(Reader(directory.path, [](LmdbSnapshot& snapshot, Reader&) {
          return all(snapshot) == "a=1 " && snapshot.whole() ? 0 : 1;
        }).end() == 0);
  CHECK(look(directory.path) == before);
}

// Without the lock file a broker that starts meanwhile does not know of the reader.
TEST_CASE("a snapshot without its lock file says when it was overwritten", "[store]") {
  const TemporaryDirectory directory;
  put(*open_store({directory.path, 64 << 20}), "a", "1");
  Reader reader(directory.path, [](LmdbSnapshot& snapshot, Reader& self) {
    self.pause();
    if (!snapshot.whole()) return 1;
    self.pause();
    return snapshot.whole() ? 2 : 0;
  });
  reader.wait_pause();
  const auto store = open_store({directory.path, 64 << 20});
  reader.go_on();
  reader.wait_pause();
  for (int i = 0; i < 3; ++i) put(*store, "a", "2");
  reader.go_on();
  CHECK(reader.end() == 0);
}

TEST_CASE("where there is no store nothing is read", "[store]") {
  const TemporaryDirectory directory;
  CHECK_FALSE(owner_of(directory.path));
  CHECK_FALSE(owner_of(directory.path + "/missing"));
  Status status = Status::Ok;
  std::string problem;
  CHECK_FALSE(LmdbSnapshot::open(directory.path, status, problem));
  CHECK(status == Status::NotFound);
  CHECK(look(directory.path).empty());
}

}  // namespace mqttq
