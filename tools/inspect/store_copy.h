// What the store of a data directory holds, copied into memory by a process of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/backup_file.h"
#include "store/memory_store.h"

namespace mqttq::inspect {

struct StoreCopy {
  std::unique_ptr<MemoryStore> store = std::make_unique<MemoryStore>();
  bool there = false;                    // there is one, of which something could be read
  std::vector<std::string> problems;     // for people
  std::optional<BackupContents> backup;  // it is that of a backup, of which a start makes a store
};

// Reading LMDB's pages, which carry no sums, may end in a signal: it ends a child, and what came until then counts.
// Where there is no store, or one that a start has not finished making of a backup, it is the backup's.
// only_meta: of the first table alone. Throws std::bad_alloc.
StoreCopy copy_store(const std::string& directory, bool only_meta);

}  // namespace mqttq::inspect
