// A host that keeps to mqttq/store.h, and many that do not; tests/store_suite has what a store is for.
#include "store/host_store.h"

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/sized_struct.h"
#include "heap.h"

namespace mqttq {

namespace {

using Kind = StoreWrite::Kind;

mqttq_bytes bytes(std::string_view text) { return {text.data(), text.size()}; }
std::string text(mqttq_bytes bytes) { return {static_cast<const char*>(bytes.data), bytes.size}; }

// Each function does what a test says; without a word it does nothing and says MQTTQ_OK.
struct Host {
  std::function<mqttq_status(mqttq_error*)> open = [](mqttq_error*) { return MQTTQ_OK; };
  std::function<void(const mqttq_store_write*, size_t, mqttq_store_batch*)> commit;
  std::function<mqttq_status(mqttq_store_value*)> get = [](mqttq_store_value*) { return MQTTQ_OK; };
  // Told what to call with an entry.
  std::function<mqttq_status(const std::function<int(mqttq_bytes, mqttq_bytes)>&)> scan = [](auto&) {
    return MQTTQ_OK;
  };
  std::function<void(uint64_t*, uint64_t*)> usage;
  int opened = 0, closed = 0;

  mqttq_store table() {
    mqttq_store made;
    mqttq_store_init(&made, sizeof made);
    made.user = this;
    made.open = [](void* user, mqttq_error* error) {
      ++of(user).opened;
      return of(user).open(error);
    };
    made.commit = [](void* user, const mqttq_store_write* writes, size_t count, mqttq_store_batch* batch) {
      if (of(user).commit) return of(user).commit(writes, count, batch);
      mqttq_store_batch_done(batch, MQTTQ_OK);
    };
    made.get = [](void* user, uint32_t, mqttq_bytes, mqttq_store_value* value) { return of(user).get(value); };
    made.scan = [](void* user, uint32_t, mqttq_bytes, mqttq_bytes, mqttq_store_entry_fn on_entry, void* entry_user) {
      return of(user).scan([=](mqttq_bytes key, mqttq_bytes value) { return on_entry(entry_user, key, value); });
    };
    made.close = [](void* user) { ++of(user).closed; };
    return made;
  }
  static Host& of(void* user) { return *static_cast<Host*>(user); }
};

std::unique_ptr<HostStore> open(const mqttq_store& table) {
  Status status = Status::Ok;
  std::string problem;
  auto store = HostStore::open(table, status, problem);
  INFO(problem);
  REQUIRE(store);
  CHECK(status == Status::Ok);
  return store;
}

struct Refusal {
  Status status = Status::Ok;
  std::string problem;
};
Refusal refused(const mqttq_store& table) {
  Refusal refusal;
  CHECK_FALSE(HostStore::open(table, refusal.status, refusal.problem));
  return refusal;
}

// What has been told to be durable, or not.
struct Told {
  uint64_t batch;
  Status status;
  bool operator==(const Told&) const = default;
};
void tell(void* user, uint64_t batch, Status status) noexcept {
  static_cast<std::vector<Told>*>(user)->push_back({batch, status});
}

const StoreWrite kOne[] = {{Kind::Put, 0, as_bytes("a"), as_bytes("1")}};

Status get(Store& store, std::string* value = nullptr) {
  Array<std::byte> found;
  const Status status = store.get(0, as_bytes("key"), found);
  if (value) *value = as_text(found.span());
  return status;
}

struct Visitor final : StoreVisitor {
  bool on_entry(Bytes key, Bytes) noexcept override {
    keys.emplace_back(as_text(key));
    return keys.size() < count_max;
  }
  std::vector<std::string> keys;
  size_t count_max = SIZE_MAX;
};

}  // namespace

TEST_CASE("a host's store without one of its functions is refused by that function's name", "[store]") {
  Host host;
  const auto without = [&](auto member) {
    mqttq_store table = host.table();
    table.*member = nullptr;
    const Refusal refusal = refused(table);
    CHECK(refusal.status == Status::Invalid);
    return refusal.problem;
  };
  CHECK(without(&mqttq_store::open) == "the function open is missing");
  CHECK(without(&mqttq_store::commit) == "the function commit is missing");
  CHECK(without(&mqttq_store::get) == "the function get is missing");
  CHECK(without(&mqttq_store::scan) == "the function scan is missing");
  CHECK(without(&mqttq_store::close) == "the function close is missing");
  CHECK(host.opened == 0);
  const mqttq_store table = host.table();
  CHECK(open(table)->usage().bytes == 0);  // usage is not needed
  CHECK(host.opened == 1);
  CHECK(host.closed == 1);
}

TEST_CASE("a host's store of another version is read as far as both know it, or refused", "[store]") {
  Host host;
  struct {
    mqttq_store known;
    void* later;
  } longer{host.table(), nullptr};
  longer.known.size = sizeof longer;
  open(longer.known);
  longer.later = &host;
  CHECK(refused(longer.known).status == Status::Invalid);
  CHECK(refused(longer.known).problem == "asks for more than this library has");
  mqttq_store shorter = host.table();
  shorter.size = offsetof(mqttq_store, close);
  CHECK(refused(shorter).problem == "the function close is missing");
  shorter.size = 0;
  CHECK(refused(shorter).status == Status::Invalid);
  CHECK(host.opened == 1);
}

TEST_CASE("a host's store that does not open says why in its own words, and is not closed", "[store]") {
  Host host;
  host.open = [](mqttq_error* error) {
    std::strcpy(error->text, "no such drive: B");
    return MQTTQ_EACCES;
  };
  Refusal refusal = refused(host.table());
  CHECK(refusal.status == Status::Permission);
  CHECK(refusal.problem == "no such drive: B");

  host.open = [](mqttq_error* error) {
    std::memset(error->text, 'x', sizeof error->text);  // no end
    return MQTTQ_EFULL;
  };
  refusal = refused(host.table());
  CHECK(refusal.status == Status::Full);
  CHECK(refusal.problem == std::string(sizeof mqttq_error{}.text, 'x'));

  for (const mqttq_status odd : {MQTTQ_ESYSTEM, MQTTQ_EINTERNAL, 1, -1000}) {
    host.open = [=](mqttq_error*) { return odd; };
    refusal = refused(host.table());
    CHECK(refusal.status == Status::Io);
    CHECK(refusal.problem == "it does not open, and says no more than " + std::to_string(odd));
  }
  CHECK(host.opened == 6);
  CHECK(host.closed == 0);
}

TEST_CASE("a host gets a batch as it was written, and each of its answers is understood", "[store]") {
  Host host;
  std::vector<std::string> seen;
  mqttq_status answer = MQTTQ_OK;
  host.commit = [&](const mqttq_store_write* writes, size_t count, mqttq_store_batch* batch) {
    for (size_t i = 0; i < count; ++i) {
      seen.push_back(std::to_string(writes[i].kind) + "/" + std::to_string(writes[i].table) + "/" +
                     text(writes[i].key) + "/" + text(writes[i].value));
    }
    mqttq_store_batch_done(batch, answer);
  };
  const auto store = open(host.table());
  const std::string key(Store::kKeySizeMax, 'k'), value(Store::kValueSizeMax, 'v');
  const StoreWrite writes[] = {{Kind::Put, 15, as_bytes(key), as_bytes(value)},
                               {Kind::Put, 1, as_bytes("a"), {}},
                               {Kind::Erase, 2, as_bytes("b"), {}},
                               {Kind::EraseRange, 3, as_bytes("c"), as_bytes("d")},
                               {Kind::EraseRange, 4, as_bytes("e"), {}}};
  std::vector<Told> told;
  store->commit(writes, 7, tell, &told);
  CHECK(told == std::vector<Told>{{7, Status::Ok}});
  CHECK(seen == std::vector<std::string>{"0/15/" + key + "/" + value, "0/1/a/", "1/2/b/", "2/3/c/d", "2/4/e/"});
  const std::map<mqttq_status, Status> meanings = {{MQTTQ_OK, Status::Ok},
                                                   {MQTTQ_EFULL, Status::Full},
                                                   {MQTTQ_ENOMEM, Status::NoMemory},
                                                   {MQTTQ_ESYSTEM, Status::Io},
                                                   {MQTTQ_EINVAL, Status::Io},
                                                   {MQTTQ_EADDRINUSE, Status::Io},
                                                   {MQTTQ_EACCES, Status::Io},
                                                   {MQTTQ_ESHUTDOWN, Status::Io},
                                                   {MQTTQ_ENOTFOUND, Status::Io},
                                                   {MQTTQ_EEXIST, Status::Io},
                                                   {MQTTQ_ETIMEDOUT, Status::Io},
                                                   {MQTTQ_ESTATE, Status::Io},
                                                   {MQTTQ_EINTERNAL, Status::Io},
                                                   {MQTTQ_EUNSUPPORTED, Status::Io},
                                                   {1, Status::Io},
                                                   {-1000, Status::Io}};
  for (const auto& [given, meant] : meanings) {
    answer = given;
    told.clear();
    store->commit({}, 8, tell, &told);
    CHECK(told == std::vector<Told>{{8, meant}});
  }
}

TEST_CASE("a batch that a host answers twice counts as it was answered first", "[store]") {
  Host host;
  std::vector<mqttq_store_batch*> batches;
  host.commit = [&](const mqttq_store_write*, size_t, mqttq_store_batch* batch) {
    for (mqttq_store_batch* stale : batches) mqttq_store_batch_done(stale, MQTTQ_ENOMEM);
    batches.push_back(batch);
    mqttq_store_batch_done(batch, MQTTQ_EFULL);
    mqttq_store_batch_done(batch, MQTTQ_OK);
  };
  const auto store = open(host.table());
  std::vector<Told> told, expected;
  for (uint64_t number = 1; number <= 16; ++number) {
    store->commit(kOne, number, tell, &told);
    expected.push_back({number, Status::Full});
  }
  mqttq_store_batch_done(nullptr, MQTTQ_OK);
  CHECK(told == expected);
}

TEST_CASE("a batch for which memory is refused does not reach the host", "[store]") {
  Host host;
  int batches = 0;
  host.commit = [&](const mqttq_store_write*, size_t, mqttq_store_batch* batch) {
    ++batches;
    mqttq_store_batch_done(batch, MQTTQ_OK);
  };
  const int64_t before = heap_blocks();
  {
    const auto store = open(host.table());
    std::vector<Told> told;
    {
      const FailingHeap failing(0);
      store->commit(kOne, 1, tell, &told);
    }
    CHECK(batches == 0);
    store->commit(kOne, 2, tell, &told);
    {
      const FailingHeap failing(0);  // room for a batch of one is there already
      store->commit(kOne, 3, tell, &told);
    }
    CHECK(told == std::vector<Told>{{1, Status::NoMemory}, {2, Status::Ok}, {3, Status::Ok}});
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a value is what the host handed over last, or there is none", "[store]") {
  Host host;
  const auto store = open(host.table());
  std::string value;
  CHECK(get(*store) == Status::Io);  // MQTTQ_OK, and nothing handed over
  for (const auto& [given, meant] : std::map<mqttq_status, Status>{{MQTTQ_ENOTFOUND, Status::NotFound},
                                                                   {MQTTQ_ENOMEM, Status::NoMemory},
                                                                   {MQTTQ_ESYSTEM, Status::Io},
                                                                   {MQTTQ_EFULL, Status::Io},
                                                                   {5, Status::Io}}) {
    host.get = [&, answer = given](mqttq_store_value* found) {
      CHECK(mqttq_store_value_set(found, bytes("x")) == MQTTQ_OK);
      return answer;
    };
    CHECK(get(*store) == meant);
  }
  const std::string longest(MQTTQ_STORE_VALUE_MAX, 'v'), longer = longest + "v";
  host.get = [&](mqttq_store_value* found) { return mqttq_store_value_set(found, bytes(longest)); };
  CHECK(get(*store, &value) == Status::Ok);
  CHECK(value == longest);
  host.get = [&](mqttq_store_value* found) {
    CHECK(mqttq_store_value_set(found, bytes("first")) == MQTTQ_OK);
    return mqttq_store_value_set(found, {nullptr, 0});
  };
  CHECK(get(*store, &value) == Status::Ok);
  CHECK(value.empty());

  // What is refused is not handed over, whatever get() says then.
  host.get = [&](mqttq_store_value* found) {
    CHECK(mqttq_store_value_set(found, bytes(longer)) == MQTTQ_EINVAL);
    CHECK(mqttq_store_value_set(found, {longest.data(), SIZE_MAX}) == MQTTQ_EINVAL);
    CHECK(mqttq_store_value_set(found, {nullptr, 1}) == MQTTQ_EINVAL);
    CHECK(mqttq_store_value_set(nullptr, bytes("x")) == MQTTQ_EINVAL);
    return MQTTQ_OK;
  };
  CHECK(get(*store) == Status::Io);
  host.get = [&](mqttq_store_value* found) {
    const FailingHeap failing(0);
    CHECK(mqttq_store_value_set(found, bytes("x")) == MQTTQ_ENOMEM);
    return MQTTQ_OK;
  };
  CHECK(get(*store) == Status::NoMemory);
}

TEST_CASE("a scan that has enough is stopped, even if the host goes on", "[store]") {
  Host host;
  const auto store = open(host.table());
  std::vector<int> wanted;
  host.scan = [&](const auto& on_entry) {
    for (const char* key : {"a", "b", "c", "d"}) wanted.push_back(on_entry(bytes(key), {}));
    return MQTTQ_OK;
  };
  Visitor two;
  two.count_max = 2;
  CHECK(store->scan(0, {}, {}, two) == Status::Ok);
  CHECK(two.keys == std::vector<std::string>{"a", "b"});
  CHECK(wanted == std::vector<int>{1, 0, 0, 0});
}

TEST_CASE("a scan with what cannot be there ends at it, and is a failure", "[store]") {
  Host host;
  const auto store = open(host.table());
  const std::string key(MQTTQ_STORE_KEY_MAX + 1, 'b'), value(MQTTQ_STORE_VALUE_MAX + 1, 'v');
  struct Wrong {
    mqttq_bytes key, value;
  };
  const Wrong wrongs[] = {
      {bytes(key), {}},           {bytes("b"), bytes(value)}, {{}, {}},         {{nullptr, 1}, {}},
      {bytes("b"), {nullptr, 1}}, {bytes("aa"), {}},          {bytes("a"), {}},  // not behind the one before
      {bytes("d"), {}},           {bytes("\xFF"), {}},                           // not before the end
  };
  for (const Wrong& wrong : wrongs) {
    host.scan = [&](const auto& on_entry) {
      CHECK(on_entry(bytes("aa"), bytes("1")) == 1);
      CHECK(on_entry(wrong.key, wrong.value) == 0);
      CHECK(on_entry(bytes("c"), {}) == 0);
      return MQTTQ_OK;
    };
    Visitor visitor;
    CHECK(store->scan(0, as_bytes("aa"), as_bytes("d"), visitor) == Status::Io);
    CHECK(visitor.keys == std::vector<std::string>{"aa"});
  }
  host.scan = [&](const auto& on_entry) {
    CHECK(on_entry(bytes("a"), {}) == 0);  // before the first
    return MQTTQ_OK;
  };
  Visitor visitor;
  CHECK(store->scan(0, as_bytes("aa"), {}, visitor) == Status::Io);
  for (const mqttq_status status : {MQTTQ_ESYSTEM, MQTTQ_ENOTFOUND, MQTTQ_EFULL, 1}) {
    host.scan = [=](const auto&) { return status; };
    CHECK(store->scan(0, {}, {}, visitor) == Status::Io);
  }
  host.scan = [](const auto&) { return MQTTQ_ENOMEM; };
  CHECK(store->scan(0, {}, {}, visitor) == Status::NoMemory);
  CHECK(visitor.keys.empty());
}

TEST_CASE("a host says how full it is, or does not", "[store]") {
  Host host;
  mqttq_store table = host.table();
  table.usage = [](void* user, uint64_t* bytes, uint64_t* bytes_max) { Host::of(user).usage(bytes, bytes_max); };
  host.usage = [](uint64_t* bytes, uint64_t*) { *bytes = 7; };
  const auto store = open(table);
  CHECK(store->usage().bytes == 7);
  CHECK(store->usage().bytes_max == 0);
  host.usage = [](uint64_t*, uint64_t* bytes_max) { *bytes_max = 9; };
  CHECK(store->usage().bytes_max == 9);
}

// The host's thread answers; ours does not wait for it, and so meets the next commit and the end.
TEST_CASE("a host gets the next batch, and is closed, when the one before is answered", "[store][threads]") {
  Host host;
  std::atomic<mqttq_store_batch*> waiting{nullptr};
  std::atomic<bool> stop{false};
  std::atomic<int> open_batches{0}, too_many{0};
  host.commit = [&](const mqttq_store_write*, size_t, mqttq_store_batch* batch) {
    if (open_batches.fetch_add(1)) too_many.fetch_add(1);
    waiting = batch;
    waiting.notify_one();
  };
  std::thread answers([&] {
    for (;;) {
      waiting.wait(nullptr);
      if (stop) return;
      mqttq_store_batch* batch = waiting.exchange(nullptr);
      open_batches.fetch_sub(1);
      mqttq_store_batch_done(batch, MQTTQ_OK);
    }
  });
  std::vector<Told> told, expected;
  {
    const auto store = open(host.table());
    for (uint64_t number = 1; number <= 1'000; ++number) {
      store->commit(kOne, number, tell, &told);
      expected.push_back({number, Status::Ok});
    }
  }
  CHECK(told == expected);  // its end waited for the last
  CHECK(host.closed == 1);
  CHECK(too_many == 0);
  stop = true;
  mqttq_store_batch end{};
  waiting = &end;
  waiting.notify_one();
  answers.join();
}

}  // namespace mqttq
