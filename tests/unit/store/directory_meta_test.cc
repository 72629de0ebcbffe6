// What a data directory's store says of it, as tools read it.
#include <catch2/catch_test_macros.hpp>

#include "simulated_disk.h"
#include "store/data_directory.h"
#include "store/memory_store.h"

namespace mqttq {

namespace {

void put_meta(MemoryStore& store, std::string_view key, std::string_view value) {
  const StoreWrite write{StoreWrite::Kind::Put, static_cast<uint8_t>(StateTable::Meta), as_bytes(key), as_bytes(value)};
  store.commit({&write, 1}, 0, [](void*, uint64_t, Status) noexcept {}, nullptr);
}

}  // namespace

TEST_CASE("a store says how far it has followed, without being opened as a directory", "[store]") {
  SimulatedDisk disk(1);
  MemoryStore store;
  DataDirectory::Meta meta;
  CHECK(DataDirectory::read_meta(store, meta) == Status::NotFound);
  Status status = Status::Ok;
  std::string problem;
  for (uint32_t boot = 1; boot <= 2; ++boot) {
    const auto directory = DataDirectory::open(&disk, store, {}, status, problem);
    REQUIRE(directory);
    StateWrites writes;
    writes.put(StateTable::Receipts, as_bytes("0123456789abcdef12"), {});
    LogRecord record;
    record.number = boot;
    record.state = writes.bytes();
    REQUIRE(directory->append({&record, 1}) == Status::Ok);
    REQUIRE(directory->follow() == Status::Ok);
    CHECK(DataDirectory::read_meta(store, meta) == Status::Ok);
    CHECK(meta.format == DataDirectory::kFormat);
    CHECK(meta.boot == boot);
    CHECK(meta.followed == boot);
    CHECK(meta.wanted == 1);
  }
  put_meta(store, "boot", "x");
  CHECK(DataDirectory::read_meta(store, meta) == Status::Invalid);
  CHECK(meta.followed == 2);
  put_meta(store, "format", std::string_view("\2\0", 2));
  CHECK(DataDirectory::read_meta(store, meta) == Status::Ok);
  CHECK(meta.format == 2);
}

}  // namespace mqttq
