// The store in memory where memory is refused; tests/store_suite has the rest.
#include "store/memory_store.h"

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <string>

#include "heap.h"

namespace mqttq {

namespace {

Status commit(Store& store, std::span<const StoreWrite> writes) {
  Status told = Status::Invalid;
  store.commit(
      writes, 1, [](void* user, uint64_t, Status status) noexcept { *static_cast<Status*>(user) = status; }, &told);
  return told;
}

}  // namespace

TEST_CASE("a batch for which memory is refused changes nothing", "[store]") {
  const int64_t before = heap_blocks();
  {
    MemoryStore store;
    const StoreWrite first[] = {{StoreWrite::Kind::Put, 0, as_bytes("a"), as_bytes("1")}};
    REQUIRE(commit(store, first) == Status::Ok);
    const uint64_t bytes = store.usage().bytes;
    const StoreWrite batch[] = {{StoreWrite::Kind::Put, 0, as_bytes("a"), as_bytes("2")},
                                {StoreWrite::Kind::Erase, 0, as_bytes("a"), {}},
                                {StoreWrite::Kind::Put, 1, as_bytes("b"), as_bytes("3")},
                                {StoreWrite::Kind::Put, 1, as_bytes("c"), as_bytes("4")}};
    for (int64_t given = 0; given < 3; ++given) {
      const FailingHeap failing(given);
      REQUIRE(commit(store, batch) == Status::NoMemory);
      CHECK(store.usage().bytes == bytes);
      CHECK(heap_blocks() == before + 1);
    }
    REQUIRE(commit(store, batch) == Status::Ok);
    Array<std::byte> value;
    CHECK(store.get(0, as_bytes("a"), value) == Status::NotFound);
    REQUIRE(store.get(1, as_bytes("c"), value) == Status::Ok);
    CHECK(as_text(value.span()) == "4");
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
