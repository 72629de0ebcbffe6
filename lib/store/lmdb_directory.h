// A data directory of the system's: the log in its files, LMDB as the store.
#pragma once

#include "store/backup.h"
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
  // One with a backup in it and no store yet has one afterwards. nullptr: `status` and `problem`, for people, say why;
  // see DataDirectory::open(), LmdbStore::open() and restore_backup().
  static std::unique_ptr<LmdbDirectory> open(const Options& options, Status& status, std::string& problem);

  DataDirectory& directory() noexcept { return *directory_; }

  // A backup of it in another directory, `to`, beside whatever it does. Any thread, several at once.
  // Errors, `problem` for people: Exists (`to` is not empty), Invalid (it lies within this one), NotFound (its parent
  // is not there), those of make_backup().
  Status back_up(const std::string& to, const BackupOptions& options, std::string& problem) noexcept;
  // The same of one that another process may have open. Invalid also where this one has: LMDB cannot be opened twice.
  static Status back_up(const std::string& path, const std::string& to, const BackupOptions& options,
                        std::string& problem) noexcept;

 private:
  explicit LmdbDirectory(const std::string& path) : path_(path), disk_(path) {}

  const std::string path_;
  std::unique_ptr<LmdbStore> store_;  // and with it the right to the directory: first to come, last to go
  SystemDisk disk_;
  std::unique_ptr<DataDirectory> directory_;
};

}  // namespace mqttq
