// What is acknowledged before it is written: durability `interval` and `none`.
#include "store/held_records.h"

#include <catch2/catch_test_macros.hpp>
#include <map>

#include "simulated_disk.h"
#include "store/data_directory.h"
#include "store/memory_store.h"

namespace mqttq {

namespace {

MessageRef message(std::string_view payload) {
  MessageView view;
  view.topic_name = "t";
  view.payload = as_bytes(payload);
  view.qos = Qos::AtLeastOnce;
  return Message::create(view);
}

constexpr uint64_t kJournal[] = {7};
LogRecord record(uint64_t number, const MessageRef& of) { return {number, of.get(), kJournal, {}}; }
LogRecord record(uint64_t number, const StateWrites& writes) { return {number, nullptr, {}, writes.bytes()}; }

// The numbers of a batch, and what its changes come to: "key=value", "-key".
struct Written {
  std::vector<uint64_t> numbers;
  std::vector<std::string> changes;
  explicit Written(std::span<const LogRecord> batch) {
    for (const LogRecord& one : batch) {
      numbers.push_back(one.number);
      if (one.message) continue;
      StateReader reader(one.state);
      for (StoreWrite write; reader.next(write);) {
        const std::string key(as_text(write.key));
        const bool put = write.kind == StoreWrite::Kind::Put;
        changes.push_back(put ? key + "=" + std::string(as_text(write.value)) : "-" + key);
      }
      CHECK(reader.ok());
    }
  }
};

// A directory on a disk of its own, which comes back as often as it is wanted.
struct Directory {
  SimulatedDisk disk{1};
  MemoryStore store;
  std::unique_ptr<DataDirectory> now;
  Instant time{1};

  explicit Directory(int64_t hold_ns, bool syncs = true) { open(hold_ns, syncs); }
  void open(int64_t hold_ns, bool syncs = true) {
    now.reset();
    DataDirectory::Options options;
    options.hold_ns = hold_ns;
    options.syncs = syncs;
    options.segment_bytes = 1 << 20;
    Status status{};
    std::string problem;
    now = DataDirectory::open(&disk, store, options, status, problem);
    REQUIRE(now);
  }
  std::vector<uint64_t> loaded() {
    std::vector<uint64_t> numbers;
    for (const auto& one : now->loaded_messages()) numbers.push_back(one.number);
    return numbers;
  }
  void pass(int64_t ns) {
    now->tend(time);
    time = time + ns;
    now->tend(time);
  }
};

}  // namespace

TEST_CASE("what is held is written without what is settled, and of each key the last", "[store]") {
  HeldRecords held;
  const MessageRef first = message("1"), third = message("3");
  MessageRef second = message("2");
  StateWrites writes;
  writes.put(StateTable::Positions, as_bytes("a"), as_bytes("1"));
  writes.put(StateTable::Positions, as_bytes("b1"), as_bytes("1"));
  writes.put(StateTable::Positions, as_bytes("c"), as_bytes("1"));
  const LogRecord batch[] = {record(1, first), record(2, second), record(3, writes)};
  REQUIRE(held.take(batch) == Status::Ok);
  writes.clear();
  writes.put(StateTable::Positions, as_bytes("a"), as_bytes("2"));
  writes.erase_below(StateTable::Positions, as_bytes("b"));
  writes.put(StateTable::Positions, as_bytes("b2"), as_bytes("2"));
  writes.erase(StateTable::Positions, as_bytes("c"));
  const LogRecord more[] = {record(4, writes), record(5, third)};
  REQUIRE(held.take(more) == Status::Ok);
  second = {};
  const Written written(held.put_together());
  CHECK(written.numbers == std::vector<uint64_t>{1, 4, 5});
  CHECK(written.changes == std::vector<std::string>{"-b", "a=2", "b2=2", "-c"});
  held.clear();
  CHECK(held.empty());
  CHECK(held.put_together().empty());
}

TEST_CASE("without memory nothing of a batch is held", "[store]") {
  const MessageRef one = message("1");
  HeldRecords held;
  StateWrites writes;
  writes.put(StateTable::Positions, as_bytes("a"), as_bytes("1"));
  const LogRecord batch[] = {record(1, one), record(2, writes)};
  REQUIRE(held.take({batch, 1}) == Status::Ok);
  CHECK(held.bytes() == one->content_size());
}

TEST_CASE("what is settled before its interval ends never reaches the disk", "[store]") {
  Directory directory(kSecond);
  const uint64_t before = directory.disk.bytes_written();
  for (uint64_t number = 1; number <= 1000; ++number) {
    const MessageRef settled = message(std::string(1000, 'x'));
    const LogRecord batch = record(number, settled);
    REQUIRE(directory.now->append({&batch, 1}) == Status::Ok);
    CHECK(directory.now->durable_number() == number);
  }
  directory.pass(2 * kSecond);
  CHECK(directory.disk.bytes_written() == before);
  CHECK(!directory.now->moves());

  MessageRef waits = message(std::string(1000, 'y'));
  const LogRecord batch = record(1001, waits);
  REQUIRE(directory.now->append({&batch, 1}) == Status::Ok);
  directory.pass(kSecond / 2);
  CHECK(directory.disk.bytes_written() == before);
  directory.disk.cut_power();
  directory.open(kSecond);
  CHECK(directory.loaded().empty());  // an interval's worth may be lost

  waits = message(std::string(1000, 'z'));
  const LogRecord again = record(directory.now->durable_number() + 1, waits);
  REQUIRE(directory.now->append({&again, 1}) == Status::Ok);
  directory.pass(2 * kSecond);
  CHECK(directory.disk.bytes_written() > before + 1000);
  directory.disk.cut_power();
  directory.open(kSecond);
  CHECK(directory.loaded().size() == 1);
}

TEST_CASE("batches with numbers left out are read back whole, or as damaged", "[store]") {
  Directory directory(kSecond);
  std::vector<MessageRef> kept;
  std::vector<LogRecord> batch;
  for (uint64_t number = 1; number <= 30; ++number) {
    MessageRef one = message(std::to_string(number));
    const LogRecord entry = record(number, one);
    REQUIRE(directory.now->append({&entry, 1}) == Status::Ok);
    if (number % 3 == 0) kept.push_back(one);
  }
  directory.pass(2 * kSecond);
  MessageRef found;
  CHECK(directory.now->fetch(6, found) == Status::Ok);
  CHECK(as_text(found->payload()) == "6");
  CHECK(directory.now->fetch(7, found) == Status::NotFound);
  directory.open(0);
  CHECK(directory.loaded() == std::vector<uint64_t>{3, 6, 9, 12, 15, 18, 21, 24, 27, 30});
  CHECK(directory.now->durable_number() == 30);
}

TEST_CASE("what was read of a file does not hide what is written to it later", "[store]") {
  Directory directory(0);
  for (uint64_t number = 1; number <= 50; ++number) {
    const MessageRef kept = message(std::to_string(number));
    const LogRecord entry = record(number, kept);
    REQUIRE(directory.now->append({&entry, 1}) == Status::Ok);
    MessageRef found;
    REQUIRE(directory.now->fetch(number, found) == Status::Ok);  // the bytes around it are kept for the next
    CHECK(as_text(found->payload()) == std::to_string(number));
  }
  MessageRef found;
  CHECK(directory.now->fetch(51, found) == Status::NotFound);
}

TEST_CASE("numbers of what was settled are not used again", "[store]") {
  Directory directory(kSecond);
  for (uint64_t number = 1; number <= 10; ++number) {
    const MessageRef settled = message("x");
    const LogRecord batch = record(number, settled);
    REQUIRE(directory.now->append({&batch, 1}) == Status::Ok);
  }
  directory.now->set_lowest(11);
  directory.pass(2 * kSecond);
  directory.open(0);
  CHECK(directory.now->durable_number() == 10);
  const MessageRef next = message("next");
  const LogRecord batch = record(11, next);
  REQUIRE(directory.now->append({&batch, 1}) == Status::Ok);
  directory.open(0);
  CHECK(directory.loaded() == std::vector<uint64_t>{11});
}

TEST_CASE("a disk that fails refuses what would be held, and loses nothing that is", "[store]") {
  Directory directory(kSecond);
  const MessageRef first = message("1"), second = message("2");
  const LogRecord one = record(1, first), two = record(2, second);
  REQUIRE(directory.now->append({&one, 1}) == Status::Ok);
  directory.disk.fail(0, Status::Full, true);
  directory.pass(2 * kSecond);
  CHECK(directory.now->append({&two, 1}) == Status::Full);
  directory.disk.heal();
  CHECK(directory.now->append({&two, 1}) == Status::Ok);
  CHECK(directory.now->follow() == Status::Ok);
  directory.disk.cut_power();
  directory.open(0);
  CHECK(directory.loaded() == std::vector<uint64_t>{1, 2});
}

TEST_CASE("with durability none much of it is written, and all at the end, and nothing is synced", "[store]") {
  Directory directory(INT64_MAX, false);
  std::vector<MessageRef> kept;
  const uint64_t before = directory.disk.bytes_written();
  for (uint64_t number = 1; number <= 10; ++number) {
    kept.push_back(message(std::string(1 << 20, 'x')));
    const LogRecord batch = record(number, kept.back());
    REQUIRE(directory.now->append({&batch, 1}) == Status::Ok);
    directory.pass(100 * kSecond);
  }
  CHECK(directory.disk.bytes_written() > before + (8 << 20));
  CHECK(directory.now->follow() == Status::Ok);
  directory.open(0);
  CHECK(directory.loaded().size() == 10);
}

}  // namespace mqttq
