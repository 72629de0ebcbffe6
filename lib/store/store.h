// Where a broker keeps what is to outlive it: ordered keys in a few tables, written in batches that are all or nothing
// (DESIGN 5). What the bytes mean is the business of those above.
#pragma once

#include "base/array.h"
#include "base/bytes.h"
#include "base/status.h"

namespace mqttq {

// One change of a batch. Bytes are borrowed until commit() returns.
struct StoreWrite {
  enum class Kind : uint8_t {
    Put,         // key, value: in the place of an older value
    Erase,       // key: no matter whether it is there
    EraseRange,  // from key on, up to and without `value`; an empty one is the end of the table
  };
  Kind kind = Kind::Put;
  uint8_t table = 0;
  Bytes key;
  Bytes value;
};

struct StoreUsage {
  uint64_t bytes = 0;      // that hold something
  uint64_t bytes_max = 0;  // that there may be; 0: no bound is known
};

// Hears of one entry after the other. Bytes are borrowed until on_entry() returns.
class StoreVisitor {
 public:
  // False: no more is wanted. Must not call the store.
  virtual bool on_entry(Bytes key, Bytes value) noexcept = 0;

 protected:
  ~StoreVisitor() = default;
};

// Keys of a table are ordered byte by byte, a shorter one before those that begin with it. One thread commits; any
// thread reads, several at once and beside a commit. A reader sees whole batches, each as soon as it has been told to
// be durable, or earlier.
class Store {
 public:
  static constexpr uint8_t kTables = 16;
  static constexpr size_t kKeySizeMax = 500, kValueSizeMax = 16 * 1024;  // bytes; a key has at least one
  // Told once for each commit(), in their order, from any thread, before it returns or later: Ok, when no crash can
  // take the batch back; else nothing of it is kept (Full, Io, NoMemory).
  using OnDurable = void (*)(void* user, uint64_t batch, Status status) noexcept;

  Store() noexcept = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  // Carries out `writes` in their order. batch: the caller's number for it.
  virtual void commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable,
                      void* user) noexcept = 0;
  // Replaces what `value` held. Errors: NotFound, NoMemory, Io.
  virtual Status get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept = 0;
  // Every entry from `first` on, up to and without `end`, in order. Empty: from the first, to the last. Errors: Io.
  virtual Status scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept = 0;
  virtual StoreUsage usage() noexcept = 0;
};

}  // namespace mqttq
