// The file `backup` of a backup: all that a store held at one moment, and which files of the log belong to it. The same
// on every machine; docs/STORE.md has the bytes.
#pragma once

#include <string>
#include <vector>

#include "base/array.h"
#include "store/disk.h"
#include "store/store.h"

namespace mqttq {

struct BackupHead {
  uint16_t format = 1;
  uint64_t id = 0;      // another one for each backup
  int64_t made_ms = 0;  // Unix time
};

// A file of the log.
struct BackupSegment {
  uint64_t id = 0;
  uint64_t bytes = 0;
  uint32_t sum = 0;  // CRC-32C

  bool operator==(const BackupSegment&) const = default;
};

class BackupWriter {
 public:
  static constexpr uint16_t kFormat = 1;

  // file: empty, borrowed, outlives it. Errors of all calls: those of the file, NoMemory; after one it is of no use.
  explicit BackupWriter(File& file) noexcept : file_(file) {}
  Status begin(const BackupHead& head) noexcept;
  // Tables one after the other, in any order; each in the order of its keys.
  Status add(uint8_t table, Bytes key, Bytes value) noexcept;
  // All is on stable storage when it returns Ok. Nothing may be added any more.
  Status finish(std::span<const BackupSegment> segments) noexcept;
  uint64_t entry_count() const noexcept { return entries_; }

 private:
  Status put_block(uint8_t kind) noexcept;

  File& file_;
  uint64_t at_ = 0;
  uint32_t salt_ = 0;
  uint32_t blocks_ = 0;
  uint64_t entries_ = 0, bytes_ = 0;  // of keys and values
  Array<std::byte> body_, block_;
};

// Hears of one entry after the other. Bytes are borrowed until on_entry() returns.
class BackupVisitor {
 public:
  // Anything but Ok ends the reading, and is its status.
  virtual Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept = 0;

 protected:
  ~BackupVisitor() = default;
};

struct BackupContents {
  BackupHead head;
  uint64_t entries = 0;
  std::vector<BackupSegment> segments;  // by growing ids
};

// Reads the head alone. Errors: as read_backup().
Status read_backup_head(File& file, BackupHead& head, std::string& problem);

// Reads all of it. Whatever is told was written so, but only Ok says that it is all there is.
// Errors, `problem` for people: Invalid (damaged, or its end is missing), Unsupported (a newer format), those of the
// file, NoMemory, what the visitor said (without a problem). Throws std::bad_alloc.
Status read_backup(File& file, BackupVisitor& visitor, BackupContents& contents, std::string& problem);

}  // namespace mqttq
