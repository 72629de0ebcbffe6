// The cases of store_suite.h.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <csignal>
#include <map>
#include <thread>
#include <utility>

#include "base/random.h"
#include "store_suite.h"

namespace mqttq {

namespace {

using Kind = StoreWrite::Kind;

// Commits, and waits for the answer where it comes later.
class Committed {
 public:
  Status operator()(Store& store, const std::vector<StoreWrite>& writes) {
    told_ = false;
    store.commit(writes, ++batch_, &Committed::on_durable, this);
    told_.wait(false);
    CHECK(told_batch_ == batch_);
    return status_;
  }

 private:
  static void on_durable(void* user, uint64_t batch, Status status) noexcept {
    auto& self = *static_cast<Committed*>(user);
    self.told_batch_ = batch;
    self.status_ = status;
    self.told_ = true;
    self.told_.notify_one();
  }
  std::atomic<bool> told_{false};
  uint64_t batch_ = 0, told_batch_ = 0;
  Status status_ = Status::Ok;
};

StoreWrite put(std::string_view key, std::string_view value, uint8_t table = 0) {
  return {Kind::Put, table, as_bytes(key), as_bytes(value)};
}
StoreWrite erase(std::string_view key, uint8_t table = 0) { return {Kind::Erase, table, as_bytes(key), {}}; }
StoreWrite erase_range(std::string_view first, std::string_view end, uint8_t table = 0) {
  return {Kind::EraseRange, table, as_bytes(first), as_bytes(end)};
}

// "(not found)" when there is none.
std::string get(Store& store, std::string_view key, uint8_t table = 0) {
  Array<std::byte> value;
  const Status status = store.get(table, as_bytes(key), value);
  if (status == Status::NotFound) return "(not found)";
  REQUIRE(status == Status::Ok);
  return std::string(as_text(value.span()));
}

using Entries = std::vector<std::pair<std::string, std::string>>;

Entries scan(Store& store, std::string_view first = {}, std::string_view end = {}, uint8_t table = 0,
             size_t count_max = SIZE_MAX) {
  struct Collect final : StoreVisitor {
    bool on_entry(Bytes key, Bytes value) noexcept override {
      entries.emplace_back(as_text(key), as_text(value));
      return entries.size() < count_max;
    }
    Entries entries;
    size_t count_max = 0;
  } collect;
  collect.count_max = count_max;
  REQUIRE(store.scan(table, as_bytes(first), as_bytes(end), collect) == Status::Ok);
  return collect.entries;
}

StoreMaker any_maker() {
  const std::vector<StoreMaker> makers = store_makers();
  return makers[GENERATE_COPY(range(size_t{0}, makers.size()))];
}

// In a process of its own: writes the number of each batch to `descriptor` when it is told to be durable.
[[noreturn]] void commit_until_killed(const StoreMaker& maker, uint64_t first, int descriptor) noexcept {
  const auto store = maker.reopen(nullptr);
  for (uint64_t number = first;; ++number) {
    const std::string key = std::to_string(1'000'000 + number), gone = std::to_string(1'000'000 + number - 50);
    const StoreWrite writes[] = {{Kind::Put, 0, as_bytes(key), as_bytes("a message")},
                                 {Kind::Erase, 0, as_bytes(gone), {}},
                                 {Kind::Put, 1, as_bytes("last"), as_bytes(key)}};
    store->commit(
        writes, number,
        [](void* user, uint64_t batch, Status of) noexcept {
          if (of != Status::Ok || ::write(*static_cast<int*>(user), &batch, sizeof batch) < 0) ::_exit(1);
        },
        &descriptor);
  }
}

}  // namespace

TEST_CASE("a store gives back what was committed last", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  const auto store = maker.make(0);
  Committed commit;
  CHECK(get(*store, "a") == "(not found)");
  CHECK(scan(*store).empty());
  REQUIRE(commit(*store, {put("a", "1"), put("b", ""), put("a", "2", 3)}) == Status::Ok);
  CHECK(get(*store, "a") == "1");
  CHECK(get(*store, "b").empty());
  CHECK(get(*store, "a", 3) == "2");
  CHECK(get(*store, "a", 1) == "(not found)");
  REQUIRE(commit(*store, {put("a", "3"), erase("b"), erase("never there")}) == Status::Ok);
  CHECK(scan(*store) == Entries{{"a", "3"}});
  REQUIRE(commit(*store, {}) == Status::Ok);
  // In their order: what comes later counts.
  REQUIRE(commit(*store, {put("c", "1"), erase("c"), put("d", "1"), put("d", "2"), erase("a"), put("a", "4")}) ==
          Status::Ok);
  CHECK(scan(*store) == Entries{{"a", "4"}, {"d", "2"}});
}

TEST_CASE("a store orders keys byte by byte, and scans from one to another", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  const auto store = maker.make(0);
  Committed commit;
  const std::string zero("a\0", 2), high("\xFF", 1);
  REQUIRE(commit(*store, {put("b", ""), put("ab", ""), put(high, ""), put("a", ""), put("aa", ""), put(zero, ""),
                          put("\x80", "")}) == Status::Ok);
  const Entries all = {{"a", ""}, {zero, ""}, {"aa", ""}, {"ab", ""}, {"b", ""}, {"\x80", ""}, {high, ""}};
  CHECK(scan(*store) == all);
  CHECK(scan(*store, "aa", "b") == Entries{{"aa", ""}, {"ab", ""}});
  CHECK(scan(*store, "a\x01", "ac") == Entries{{"aa", ""}, {"ab", ""}});
  CHECK(scan(*store, "b") == Entries{{"b", ""}, {"\x80", ""}, {high, ""}});
  CHECK(scan(*store, "", "aa") == Entries{{"a", ""}, {zero, ""}});
  CHECK(scan(*store, "b", "b").empty());
  CHECK(scan(*store, "c", "a").empty());
  CHECK(scan(*store, "", "", 0, 2) == Entries{{"a", ""}, {zero, ""}});
  CHECK(scan(*store, "", "", 7).empty());
}

TEST_CASE("keys and values have the sizes that they may", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  auto store = maker.make(0);
  Committed commit;
  const std::string key(Store::kKeySizeMax, 'k'), other = key.substr(1);
  std::string value(Store::kValueSizeMax, '\0');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 7 % 251);
  REQUIRE(commit(*store, {put(key, value), put(other, value, 15), put("k", "short")}) == Status::Ok);
  if (maker.reopen) store = maker.reopen(std::move(store));
  CHECK(get(*store, key) == value);
  CHECK(get(*store, other, 15) == value);
  CHECK(scan(*store) == Entries{{"k", "short"}, {key, value}});
  REQUIRE(commit(*store, {put(key, "now short")}) == Status::Ok);
  CHECK(get(*store, key) == "now short");
}

// Batches of everything, against a map of each table.
TEST_CASE("a store behaves as a sorted map", "[store][suite]") {
  const StoreMaker maker = any_maker();
  const auto seed = static_cast<uint64_t>(GENERATE(range(1, 4)));
  INFO(maker.name << ", seed " << seed);
  Random random(seed);
  auto store = maker.make(0);
  Committed commit;
  constexpr uint8_t kUsed = 3;
  std::map<std::string, std::string> model[kUsed];
  const auto some_key = [&] {
    // Many share a beginning; some are long, so that pages of a tree hold few of them.
    std::string key = "key/" + std::to_string(random.below(400));
    if (random.below(4) == 0) key.append(random.below(200), 'x');
    return key;
  };
  for (int step = 0; step < 300; ++step) {
    std::vector<std::string> texts;  // what the writes borrow
    texts.reserve(200);
    std::vector<StoreWrite> writes;
    const auto text = [&](std::string of) -> std::string_view { return texts.emplace_back(std::move(of)); };
    for (uint64_t i = random.below(40); i > 0; --i) {
      const auto table = static_cast<uint8_t>(random.below(kUsed));
      const std::string_view key = text(some_key());
      switch (random.below(20)) {
        case 0: {
          const std::string_view end = random.below(10) ? text(some_key()) : std::string_view();
          writes.push_back(erase_range(key, end, table));
          auto& of = model[table];
          const auto from = of.lower_bound(std::string(key));
          const auto to = end.empty() ? of.end() : of.lower_bound(std::string(end));
          if (end.empty() || key < end) of.erase(from, to);
          break;
        }
        case 1:
        case 2:
        case 3:
          writes.push_back(erase(key, table));
          model[table].erase(std::string(key));
          break;
        default: {
          const std::string_view value = text(std::string(random.below(random.below(10) ? 100 : 5'000), 'v'));
          writes.push_back(put(key, value, table));
          model[table][std::string(key)] = value;
        }
      }
    }
    REQUIRE(commit(*store, writes) == Status::Ok);
    if (maker.reopen && random.below(50) == 0) store = maker.reopen(std::move(store));
    if (step % 10) continue;
    for (uint8_t table = 0; table < kUsed; ++table) {
      REQUIRE(scan(*store, {}, {}, table) == Entries(model[table].begin(), model[table].end()));
      const std::string first = some_key(), end = some_key();
      const auto& of = model[table];
      Entries between;
      for (auto at = of.lower_bound(first); at != of.end() && at->first < end; ++at) between.push_back(*at);
      REQUIRE(scan(*store, first, end, table) == between);
      const auto known = of.find(first);
      REQUIRE(get(*store, first, table) == (known == of.end() ? "(not found)" : known->second));
    }
  }
}

TEST_CASE("a batch that does not fit changes nothing, and room that is given back is used again", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  const auto store = maker.make(1 << 20);
  if (!store->usage().bytes_max) return;  // it knows no bound
  Committed commit;
  REQUIRE(commit(*store, {put("first", "stays")}) == Status::Ok);
  const std::string block(10'000, 'b');
  const std::string keys[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
  for (int round = 0; round < 30; ++round) {
    // Until it is full.
    uint32_t count = 0;
    Status status = Status::Ok;
    for (; status == Status::Ok && count < 1'000; ++count) {
      const std::string name = "fill/" + std::to_string(1'000 + count);
      std::vector<StoreWrite> writes = {put(name, block)};
      status = commit(*store, writes);
    }
    REQUIRE(status == Status::Full);
    REQUIRE(count > 20);
    const Entries before = scan(*store);
    CHECK(before.size() == count);  // one of them is "first"
    std::vector<StoreWrite> more;
    more.push_back(put("first", "goes"));
    for (const std::string& key : keys) more.push_back(put(key, block));
    for (const std::string& key : keys) more.push_back(put(key, block, 5));
    REQUIRE(commit(*store, more) == Status::Full);
    CHECK(scan(*store) == before);
    CHECK(scan(*store, {}, {}, 5).empty());
    CHECK(store->usage().bytes <= store->usage().bytes_max);
    // To take out is possible when nothing more can be put in.
    REQUIRE(commit(*store, {erase_range("fill/", "fill0")}) == Status::Ok);
    CHECK(scan(*store) == Entries{{"first", "stays"}});
  }
}

TEST_CASE("a store that is opened again has everything that it said was durable", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  if (!maker.reopen) return;  // it keeps nothing
  auto store = maker.make(0);
  Committed commit;
  Entries expected;
  for (int round = 0; round < 20; ++round) {
    const std::string key = "key/" + std::to_string(100 + round), value = std::to_string(round);
    REQUIRE(commit(*store, {put(key, value), put("last", value, 1)}) == Status::Ok);
    expected.emplace_back(key, value);
    store = maker.reopen(std::move(store));
    REQUIRE(scan(*store) == expected);
    REQUIRE(get(*store, "last", 1) == value);
  }
}

// A process commits one batch after the other and says so; it is killed at some moment, again and again.
TEST_CASE("what a killed process was told to be durable is there", "[store][suite]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  if (!maker.reopen) return;  // it keeps nothing
  maker.make(0).reset();
  Random random(7);
  uint64_t told = 0;
  for (int round = 0; round < 20; ++round) {
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      commit_until_killed(maker, told + 1, pipe[1]);
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

    const auto store = maker.reopen(nullptr);
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

// Every batch writes the same value under all keys: whoever reads sees one of them, and none older than what was told
// to be durable before.
TEST_CASE("readers see whole batches beside a commit", "[store][suite][threads]") {
  const StoreMaker maker = any_maker();
  INFO(maker.name);
  const auto store = maker.make(0);
  Committed commit;
  const auto write = [&](int value) {
    const std::string text = std::to_string(value);
    std::vector<std::string> keys;
    for (int i = 0; i < 20; ++i) keys.push_back("key/" + std::to_string(i));
    std::vector<StoreWrite> writes;
    for (const std::string& key : keys) writes.push_back(put(key, text));
    return commit(*store, writes);
  };
  REQUIRE(write(0) == Status::Ok);
  std::atomic<bool> stop{false};
  std::atomic<int> durable{0}, torn{0}, old{0}, scans{0};
  const auto read = [&] {
    struct Same final : StoreVisitor {
      bool on_entry(Bytes, Bytes value) noexcept override {
        const int now = std::stoi(std::string(as_text(value)));
        if (count++ && now != first) all = false;
        first = now;
        return true;
      }
      int first = 0, count = 0;
      bool all = true;
    };
    do {
      const int least = durable.load();
      Same same;
      if (store->scan(0, {}, {}, same) != Status::Ok || !same.all || same.count != 20) torn.fetch_add(1);
      if (same.first < least) old.fetch_add(1);
      scans.fetch_add(1);
    } while (!stop.load());
  };
  std::thread readers[] = {std::thread(read), std::thread(read)};
  Status status = Status::Ok;
  for (int value = 1; value <= 200 && status == Status::Ok; ++value) {
    if ((status = write(value)) == Status::Ok) durable = value;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(status == Status::Ok);
  CHECK(torn == 0);
  CHECK(old == 0);
  CHECK(scans > 0);
}

}  // namespace mqttq
