// What the store of a data directory holds, copied into memory by a process of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/memory_store.h"

namespace mqttq::inspect {

struct StoreCopy {
  std::unique_ptr<MemoryStore> store = std::make_unique<MemoryStore>();
  bool there = false;                 // there is one, of which something could be read
  std::vector<std::string> problems;  // for people
};

// Reading LMDB's pages, which carry no sums, may end in a signal: it ends a child, and what came until then counts.
// only_meta: of the first table alone. Throws std::bad_alloc.
StoreCopy copy_store(const std::string& directory, bool only_meta);

}  // namespace mqttq::inspect
