#include "store/host_store.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/sized_struct.h"

namespace mqttq {

namespace {

static_assert(MQTTQ_STORE_TABLES == Store::kTables);
static_assert(MQTTQ_STORE_KEY_MAX == Store::kKeySizeMax);
static_assert(MQTTQ_STORE_VALUE_MAX == Store::kValueSizeMax);
static_assert(MQTTQ_STORE_PUT == static_cast<uint32_t>(StoreWrite::Kind::Put));
static_assert(MQTTQ_STORE_ERASE == static_cast<uint32_t>(StoreWrite::Kind::Erase));
static_assert(MQTTQ_STORE_ERASE_RANGE == static_cast<uint32_t>(StoreWrite::Kind::EraseRange));

mqttq_bytes to_host(Bytes bytes) noexcept { return {bytes.data(), bytes.size()}; }
Bytes from_host(mqttq_bytes bytes) noexcept { return {static_cast<const std::byte*>(bytes.data), bytes.size}; }

bool is_sound(mqttq_bytes bytes, size_t size_min, size_t size_max) noexcept {
  return bytes.size >= size_min && bytes.size <= size_max && (bytes.data || !bytes.size);
}

Status status_of(mqttq_status status) noexcept {
  switch (status) {
    case MQTTQ_OK: return Status::Ok;
    case MQTTQ_EINVAL: return Status::Invalid;
    case MQTTQ_ENOMEM: return Status::NoMemory;
    case MQTTQ_EADDRINUSE: return Status::AddressInUse;
    case MQTTQ_EACCES: return Status::Permission;
    case MQTTQ_ESHUTDOWN: return Status::Shutdown;
    case MQTTQ_ENOTFOUND: return Status::NotFound;
    case MQTTQ_EEXIST: return Status::Exists;
    case MQTTQ_EFULL: return Status::Full;
    case MQTTQ_ETIMEDOUT: return Status::Timeout;
    case MQTTQ_ESTATE: return Status::Busy;
    case MQTTQ_EUNSUPPORTED: return Status::Unsupported;
    default: return Status::Io;
  }
}

// For functions of which Ok, NoMemory and one more are expected: everything else is a system that failed.
Status status_of(mqttq_status status, Status expected) noexcept {
  const Status of = status_of(status);
  return of == Status::Ok || of == Status::NoMemory || of == expected ? of : Status::Io;
}

const char* missing_function(const mqttq_store& table) noexcept {
  if (!table.open) return "open";
  if (!table.commit) return "commit";
  if (!table.get) return "get";
  if (!table.scan) return "scan";
  if (!table.close) return "close";
  return nullptr;
}

// Stands between the host's scan() and our visitor, and believes neither sizes nor order.
class Entries {
 public:
  Entries(StoreVisitor& visitor, Bytes first, Bytes end) noexcept : visitor_(visitor), first_(first), end_(end) {}
  bool sound() const noexcept { return sound_; }

  static int on_entry(void* user, mqttq_bytes key, mqttq_bytes value) noexcept {
    auto& self = *static_cast<Entries*>(user);
    if (self.wants_more_) self.wants_more_ = self.take(key, value);
    return self.wants_more_;
  }

 private:
  bool take(mqttq_bytes key, mqttq_bytes value) noexcept {
    sound_ =
        is_sound(key, 1, Store::kKeySizeMax) && is_sound(value, 0, Store::kValueSizeMax) && in_order(from_host(key));
    if (!sound_) return false;
    std::memcpy(last_, key.data, key.size);
    last_size_ = key.size;
    return visitor_.on_entry(from_host(key), from_host(value));
  }
  bool in_order(Bytes key) const noexcept {
    const std::string_view text = as_text(key), last = as_text({last_, last_size_});
    return text > last && text >= as_text(first_) && (end_.empty() || text < as_text(end_));
  }

  StoreVisitor& visitor_;
  const Bytes first_, end_;
  bool wants_more_ = true, sound_ = true;
  size_t last_size_ = 0;
  std::byte last_[Store::kKeySizeMax];
};

}  // namespace

HostStore::HostStore(const mqttq_store& table) noexcept : table_(table) {
  for (mqttq_store_batch& place : places_) place.store = this;
}

std::unique_ptr<HostStore> HostStore::open(const mqttq_store& table, Status& status, std::string& problem) {
  mqttq_store known;
  status = Status::Invalid;
  if (!read_struct(&table, known)) {
    problem = "asks for more than this library has";
    return nullptr;
  }
  if (const char* name = missing_function(known)) {
    problem = fmt::format("the function {} is missing", name);
    return nullptr;
  }
  std::unique_ptr<HostStore> store(new HostStore(known));
  mqttq_error error;
  init_struct(&error, sizeof error);
  const mqttq_status opened = known.open(known.user, &error);
  status = status_of(opened);
  store->opened_ = opened == MQTTQ_OK;
  if (store->opened_) return store;
  const size_t size = ::strnlen(error.text, sizeof error.text);
  problem = size ? std::string(error.text, size) : fmt::format("it does not open, and says no more than {}", opened);
  return nullptr;
}

HostStore::~HostStore() {
  if (!opened_) return;
  {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return !busy_; });
  }
  table_.close(table_.user);
}

bool HostStore::translate(std::span<const StoreWrite> writes) noexcept {
  writes_.clear();
  if (!writes_.reserve(static_cast<uint32_t>(writes.size()))) return false;
  for (const StoreWrite& write : writes) {
    MQTTQ_ASSERT(write.table < kTables && !write.key.empty() && write.key.size() <= kKeySizeMax);
    const bool has_room =
        writes_.push_back({static_cast<uint32_t>(write.kind), write.table, to_host(write.key), to_host(write.value)});
    MQTTQ_ASSERT(has_room);
  }
  return true;
}

// Waits until the batch before is through.
mqttq_store_batch& HostStore::open_batch(uint64_t number, OnDurable on_durable, void* user) noexcept {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !busy_; });
  busy_ = true;
  mqttq_store_batch& batch = places_[count_++ % kPlaces];
  batch.number = number;
  batch.on_durable = on_durable;
  batch.user = user;
  batch.open = true;
  return batch;
}

void HostStore::commit(std::span<const StoreWrite> writes, uint64_t number, OnDurable on_durable, void* user) noexcept {
  mqttq_store_batch& batch = open_batch(number, on_durable, user);
  if (!translate(writes)) return on_answer(batch, MQTTQ_ENOMEM);
  table_.commit(table_.user, writes_.begin(), writes_.count(), &batch);
}

void HostStore::on_answer(mqttq_store_batch& batch, mqttq_status status) noexcept {
  HostStore& self = *batch.store;
  {
    const std::lock_guard lock(self.mutex_);
    if (!std::exchange(batch.open, false)) return;
  }
  batch.on_durable(batch.user, batch.number, status_of(status, Status::Full));
  const std::lock_guard lock(self.mutex_);
  self.busy_ = false;
  self.idle_.notify_all();  // with the lock held: who waits may end the store
}

Status HostStore::get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept {
  mqttq_store_value found{value, Status::Io};
  const mqttq_status status = table_.get(table_.user, table, to_host(key), &found);
  return status == MQTTQ_OK ? found.status : status_of(status, Status::NotFound);
}

Status HostStore::on_value(mqttq_store_value& value, mqttq_bytes bytes) noexcept {
  if (!is_sound(bytes, 0, kValueSizeMax)) return Status::Invalid;
  value.bytes.clear();
  value.status = value.bytes.append(from_host(bytes)) ? Status::Ok : Status::NoMemory;
  return value.status;
}

Status HostStore::scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept {
  Entries entries(visitor, first, end);
  const mqttq_status status =
      table_.scan(table_.user, table, to_host(first), to_host(end), &Entries::on_entry, &entries);
  return entries.sound() ? status_of(status, Status::Ok) : Status::Io;
}

StoreUsage HostStore::usage() noexcept {
  StoreUsage usage;
  if (table_.usage) table_.usage(table_.user, &usage.bytes, &usage.bytes_max);
  return usage;
}

}  // namespace mqttq
