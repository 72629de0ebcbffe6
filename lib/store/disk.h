// One directory of files, as the log uses it: the system's, or a simulated one that loses what was not synced.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "store/store_quota.h"

namespace mqttq {

// Errors of all calls: Io, Full (no space, over a quota), Permission, NoMemory. One thread at a time.
class File {
 public:
  File() noexcept = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;

  // Less than all, `got`, only at the file's end.
  virtual Status read(uint64_t offset, std::span<std::byte> into, size_t& got) noexcept = 0;
  // All of `bytes`, or an error: then any part of them.
  virtual Status write(uint64_t offset, Bytes bytes) noexcept = 0;
  // Reserves room, so that writes below `size` need no more of it. What was never written there reads as zeros.
  virtual Status reserve(uint64_t size) noexcept = 0;
  // Gives back what lies behind `size`, if anything.
  virtual Status cut(uint64_t size) noexcept = 0;
  // What was written is on stable storage when it returns Ok. After an error nobody knows what of it is, and a later
  // success says nothing about it.
  virtual Status sync() noexcept = 0;
};

class Disk {
 public:
  Disk() noexcept = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  // NotFound, unless it is to be made: then it is empty, whatever was there.
  virtual Status open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept = 0;
  virtual Status remove(const std::string& name) noexcept = 0;
  // In the place of what has that name. NotFound: there is no `from`.
  virtual Status rename(const std::string& from, const std::string& to) noexcept = 0;
  // The same of a file that will be written anew. Busy: somebody who only reads the directory has it open.
  virtual Status rename_unread(const std::string& from, const std::string& to) noexcept = 0;
  virtual Status list(std::vector<std::string>& names) noexcept = 0;
  // What was made and removed is on stable storage.
  virtual Status sync() noexcept = 0;
  // Of the file system that it is on.
  virtual DiskRoom room() noexcept { return {}; }
};

}  // namespace mqttq
