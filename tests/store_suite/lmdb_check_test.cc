// What a store's owner leaves when it stops, and what is looked at when it did not.
#include "store/lmdb_check.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/byte_order.h"
#include "directories.h"
#include "lmdb_files.h"

namespace mqttq {

namespace {

Directories directories;

struct Lines final : LogSink {
  void write(LogLevel level, std::string_view text) noexcept override { lines.emplace_back(level, text); }
  std::vector<std::pair<LogLevel, std::string>> lines;
};

// What opening a store says: why it is refused, or what is in the log; "" of a store that was not looked at.
std::string opening(const std::string& directory, uint32_t check_ms_max = 10'000, Status expected = Status::Ok) {
  Lines log;
  Status status = Status::Io;
  std::string problem;
  const auto store = LmdbStore::open({directory, 64 << 20, check_ms_max, &log}, status, problem);
  CHECK(status == expected);
  CHECK(static_cast<bool>(store) == problem.empty());
  for (const auto& [level, text] : log.lines) problem += text;
  return problem;
}

std::string owner_file(const std::string& directory) {
  std::ifstream file(directory + "/owner");
  return {std::istreambuf_iterator<char>(file), {}};
}

// A process that has the store open, puts something into it, and ends without a word.
void kill_an_owner(const std::string& directory, int commits) {
  const pid_t child = ::fork();
  if (child == 0) {
    Status status = Status::Ok;
    std::string problem;
    const auto store = LmdbStore::open({directory, 64 << 20}, status, problem);
    if (!store) ::_exit(1);
    Filler filler(*store);
    for (int i = 0; i < commits; ++i) {
      filler.put(2, "key", std::to_string(i));
      filler.commit();
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

// Page 7 of the small store is in use, by whatever tree.
void damage(const std::string& directory) {
  Image image = read_image(directory + "/store.mdb");
  put_little<uint64_t>(image.data() + 7 * 4096, 8);
  REQUIRE_FALSE(check(image).empty());
  write_image(directory + "/store.mdb", image);
}

constexpr std::string_view kSound = "the store was not stopped cleanly: its trees are sound, ";

}  // namespace

TEST_CASE("a store that was stopped cleanly says so, until it is opened again", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  const Image image = read_image(directory + "/store.mdb");
  const auto transaction =
      std::max(get_little<uint64_t>(image.data() + 144), get_little<uint64_t>(image.data() + 4240));
  const std::string mark = clean_mark(transaction, image.size());
  const std::string owner = std::to_string(::getpid()) + "\n";
  CHECK(owner_file(directory) == owner + mark);
  {
    const auto store = open_store({directory, 64 << 20});
    CHECK(owner_file(directory) == owner);
    CHECK(owner_of(directory) == ::getpid());
  }
  CHECK(owner_file(directory) == owner + mark);
  CHECK(opening(directory).empty());
  const auto store = open_store({directory, 64 << 20});
  Filler filler(*store);
  filler.put(1, "more", "of it");
  filler.commit();
  CHECK(owner_file(directory) == owner);
}

TEST_CASE("a store is walked through unless it was stopped cleanly", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  for (const int commits : {0, 1, 2}) {
    kill_an_owner(directory, commits);
    const std::string said = opening(directory);
    INFO(said);
    CHECK(said.starts_with(kSound));
    CHECK(opening(directory).empty());
  }
  std::filesystem::remove(directory + "/owner");
  CHECK(opening(directory).starts_with(kSound));
}

TEST_CASE("a mark of another state of the store is not believed", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  const std::string before = owner_file(directory);
  for (const int commits : {1, 2}) {  // either meta page is the newest
    kill_an_owner(directory, commits);
    std::ofstream(directory + "/owner") << before;
    CHECK(opening(directory).starts_with(kSound));
  }
  const std::string whole = owner_file(directory);
  const Image image = read_image(directory + "/store.mdb");
  for (size_t size = 0; size < whole.size(); ++size) {  // its own writing was cut short
    std::ofstream(directory + "/owner") << whole.substr(0, size);
    CHECK(opening(directory).starts_with(kSound));
  }
  Image longer = image;
  longer.resize(image.size() + 4096);
  write_image(directory + "/store.mdb", longer);
  CHECK(opening(directory).starts_with(kSound));
}

TEST_CASE("a store that was copied while it was open is walked through", "[store][lmdb]") {
  const std::string directory = directories.make(), copy = directories.make();
  make_small_store(directory);
  const auto store = open_store({directory, 64 << 20});
  std::filesystem::copy(directory, copy);
  CHECK(opening(copy).starts_with(kSound));
}

TEST_CASE("a broken store is refused by name, with the way to salvage", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  kill_an_owner(directory, 1);
  damage(directory);
  for (int i = 0; i < 2; ++i) {  // and stays so
    const std::string problem = opening(directory, 10'000, Status::Invalid);
    CHECK(problem.starts_with(directory + "/store.mdb is damaged: table "));
    CHECK(problem.find(", page 7: it says of itself that it is page 8; `mqttq-inspect --salvage NEW DIR` copies") !=
          std::string::npos);
  }
}

TEST_CASE("behind a clean stop the head and the length of a store are looked at, its trees are not", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  const std::string owner = owner_file(directory);
  const Image image = read_image(directory + "/store.mdb");
  damage(directory);
  CHECK(opening(directory).empty());
  write_image(directory + "/store.mdb", Image(image.begin(), image.begin() + 10 * 4096));
  std::ofstream(directory + "/owner") << owner;
  CHECK(opening(directory, 10'000, Status::Invalid).find("is named, and there are 10") != std::string::npos);
  Image head = image;
  head[16] = {};
  write_image(directory + "/store.mdb", head);
  std::ofstream(directory + "/owner") << owner;
  CHECK(opening(directory, 10'000, Status::Invalid).find("its first page is not one") != std::string::npos);
}

TEST_CASE("a check that takes too long says how far it came", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  kill_an_owner(directory, 1);
  const std::string said = opening(directory, 0);
  INFO(said);
  CHECK(said.starts_with("the store was not stopped cleanly, and is used unchecked: in "));
  CHECK(said.find(" ms 0 of ") != std::string::npos);
  CHECK(said.ends_with(" pages were looked at"));
}

TEST_CASE("a store of another version of LMDB's format is refused by name", "[store][lmdb]") {
  const std::string directory = directories.make();
  make_small_store(directory);
  Image image = read_image(directory + "/store.mdb");
  for (const size_t page : {0, 4096}) put_little<uint32_t>(image.data() + page + 20, 2);
  write_image(directory + "/store.mdb", image);
  CHECK(opening(directory, 10'000, Status::Unsupported) ==
        "cannot open " + directory + "/store.mdb: it is of version 2 of LMDB's format; this one reads version 1");
}

// LMDB syncs the first two pages with the first commit: before that any part of them may be on the disk.
TEST_CASE("a store whose making was cut short is made again", "[store][lmdb]") {
  const std::string directory = directories.make();
  open_store({directory, 64 << 20});
  Image made = read_image(directory + "/store.mdb");
  made.resize(2 * 4096);
  for (const size_t page : {0, 4096}) {  // as it was before there was anything
    for (size_t place = 48; place < 136; ++place) made[page + place] = {};
    put_little<uint64_t>(made.data() + page + 80, UINT64_MAX);
    put_little<uint64_t>(made.data() + page + 128, UINT64_MAX);
    put_little<uint64_t>(made.data() + page + 136, 1);
    put_little<uint64_t>(made.data() + page + 144, 0);
  }
  Image without_first = made, without_second = made;
  std::fill_n(without_first.begin(), 4096, std::byte{0});
  std::fill_n(without_second.begin() + 4096, 4096, std::byte{0});
  for (const Image& image : {made, without_first, without_second, Image(made.begin(), made.begin() + 4096),
                             Image(made.begin(), made.begin() + 6000), Image(8192), Image(4096), Image(1), Image()}) {
    const std::string other = directories.make();
    std::filesystem::create_directory(other);
    write_image(other + "/store.mdb", image);
    INFO(image.size());
    const std::string said = opening(other);
    CHECK((said.empty() || said.starts_with(kSound)));
    CHECK(check(read_image(other + "/store.mdb")).empty());
  }
  // What was cut down to two pages had more.
  write_image(directory + "/store.mdb", Image(8192, std::byte{'x'}));
  CHECK(opening(directory, 10'000, Status::Invalid).find("its first page is not one") != std::string::npos);
  std::filesystem::remove_all(directory);
  make_small_store(directory);
  std::filesystem::remove(directory + "/owner");
  Image cut = read_image(directory + "/store.mdb");
  cut.resize(8192);
  write_image(directory + "/store.mdb", cut);
  CHECK(opening(directory, 10'000, Status::Invalid).find("is named, and there are 2") != std::string::npos);
}

}  // namespace mqttq
