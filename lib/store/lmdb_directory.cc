#include "store/lmdb_directory.h"

#include <fmt/format.h>

namespace mqttq {

std::unique_ptr<LmdbDirectory> LmdbDirectory::open(const Options& options, Status& status, std::string& problem) try {
  std::unique_ptr<LmdbDirectory> opened(new LmdbDirectory(options.path));
  LmdbStore::Options store;
  store.directory = options.path;
  store.log = options.directory.log;
  opened->store_ = LmdbStore::open(store, status, problem);
  if (!opened->store_) return nullptr;
  opened->directory_ = DataDirectory::open(&opened->disk_, *opened->store_, options.directory, status, problem);
  if (opened->directory_) return opened;
  problem = fmt::format("{}: {}", options.path, problem);
  return nullptr;
} catch (const std::bad_alloc&) {
  status = Status::NoMemory;
  problem = "out of memory";
  return nullptr;
}

}  // namespace mqttq
