// A store in one file of a directory, by LMDB: the default of a broker that has a data directory.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/sanitizer.h"
#include "store/snapshot.h"
#include "store/store.h"

namespace mqttq {

class LmdbStore final : public Store {
 public:
  struct Options {
    std::string directory;  // made if its parent is there
    uint64_t bytes_max =
        0;  // that pages in use may have; the file may be a sixteenth and 64 MiB longer. 0: the default
    uint32_t check_ms_max = 10'000;  // of a store that was not stopped cleanly; beyond, it is used unchecked
    LogSink* log = nullptr;          // of what the check saw; nullable
  };
#ifdef MQTTQ_WITH_TSAN  // has no room for a map of a terabyte
  static constexpr uint64_t kBytesMaxDefault = uint64_t{16} << 30;
#else
  static constexpr uint64_t kBytesMaxDefault = sizeof(void*) == 8 ? uint64_t{1} << 40 : uint64_t{512} << 20;
#endif

  // nullptr, and `problem` says in words why: another process has it open, it is damaged, the system refuses.
  // status: Busy, Io, Permission, Invalid, NoMemory, Full; Unsupported: LMDB has another format. Throws std::bad_alloc.
  static std::unique_ptr<LmdbStore> open(const Options& options, Status& status, std::string& problem);
  ~LmdbStore() override;

  // Durable when it returns: LMDB syncs pages, then the one that names them. A batch without a Put is never refused for
  // want of room. After Io everything may be refused until it is opened again.
  void commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable, void* user) noexcept override;
  Status get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept override;
  Status scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept override;
  // bytes: pages in use, which is less than the file, whose free pages are used again.
  StoreUsage usage() noexcept override;
  // This one, which outlives it. nullptr: `status` and `problem`, for people, say why.
  std::unique_ptr<StoreSnapshot> snapshot(Status& status, std::string& problem);

 private:
  struct Parts;
  explicit LmdbStore(std::unique_ptr<Parts> parts) noexcept;
  Status write(std::span<const StoreWrite> writes) noexcept;

  const std::unique_ptr<Parts> parts_;
};

// The process that has the directory open, 0 of one that has not said so yet; nothing: none has.
std::optional<int64_t> owner_of(const std::string& directory);

// Such a store as it is at one moment, for tools: beside the broker that has it open, or when none has. Nothing is
// written but this reader's place in the lock file, and that only beside a broker, which then keeps the old pages.
//
// LMDB believes what it maps: in a damaged file it may run into signals, and is best used in a process of its own.
class LmdbSnapshot final : public StoreSnapshot {
 public:
  // nullptr: `status` and `problem`, for people, say why. NotFound: there is none, or it is empty.
  static std::unique_ptr<LmdbSnapshot> open(const std::string& directory, Status& status, std::string& problem);
  ~LmdbSnapshot() override;

  Status scan(uint8_t table, StoreVisitor& visitor) noexcept override;
  // False: the lock file could not be used, and a broker has written over it.
  bool whole() const noexcept override;

 private:
  friend class LmdbStore;
  struct Parts;
  explicit LmdbSnapshot(std::unique_ptr<Parts> parts) noexcept;

  const std::unique_ptr<Parts> parts_;
};

}  // namespace mqttq
