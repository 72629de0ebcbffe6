// A data directory of the system's: the log in its files, LMDB as the store.
#pragma once

#include "store/data_directory.h"
#include "store/lmdb_store.h"
#include "store/system_disk.h"

namespace mqttq {

class LmdbDirectory {
 public:
  struct Options {
    std::string path;  // made if its parent is there
    DataDirectory::Options directory;
  };
  // nullptr: `status` and `problem`, for people, say why; see DataDirectory::open() and LmdbStore::open().
  static std::unique_ptr<LmdbDirectory> open(const Options& options, Status& status, std::string& problem);

  DataDirectory& directory() noexcept { return *directory_; }

 private:
  explicit LmdbDirectory(const std::string& path) : disk_(path) {}

  std::unique_ptr<LmdbStore> store_;  // and with it the right to the directory: first to come, last to go
  SystemDisk disk_;
  std::unique_ptr<DataDirectory> directory_;
};

}  // namespace mqttq
