// A backup of what a broker keeps, made while it runs, and the new store that is made of one (docs/STORE.md).
//
// It is the file `backup` and the files of the log. The store's entries are of one moment; the log, copied afterwards,
// has everything that a start needs beside them, up to some moment later: what the store has not followed is carried
// out then, as ever.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "store/disk.h"
#include "store/snapshot.h"

namespace mqttq {

// Where a store can be looked at.
class SnapshotSource {
 public:
  // As it is now. nullptr: `status` and `problem`, for people, say why. Throws std::bad_alloc.
  virtual std::unique_ptr<StoreSnapshot> snapshot(Status& status, std::string& problem) = 0;

 protected:
  ~SnapshotSource() = default;
};

struct BackupOptions {
  uint64_t id = 0;         // another one each time
  int64_t made_ms = 0;     // Unix time
  LogSink* log = nullptr;  // of what is damaged, and as damaged in the backup; nullable
};

inline constexpr const char* kBackupFile = "backup";

// log: of the files of the log, nothing of which is changed. to: empty. Whole, and on stable storage, when it returns
// Ok, and not before is there a `backup`; else nothing is left there, if the system lets it be removed.
// Errors, `problem` for people: NotFound (nothing was ever kept), Unsupported (a newer version wrote it), Busy (it
// changes too fast), Io (or the store is damaged), Full, Permission, NoMemory.
Status make_backup(Disk& log, SnapshotSource& store, Disk& to, const BackupOptions& options,
                   std::string& problem) noexcept;

// Makes a store of the backup in a directory, if there is one, before the directory is opened. Whatever ends it in the
// middle, it begins anew the next time; at its end `backup` is removed.
// Errors, `problem` for people: Invalid (damaged, something of it is missing, or the store has something already),
// Unsupported (a newer version wrote it), Io, Full, Permission, NoMemory; no store is there then.
// log: of what was restored; nullable.
Status restore_backup(Disk& disk, Store& store, LogSink* log, std::string& problem) noexcept;

}  // namespace mqttq
