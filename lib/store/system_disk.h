// A directory of the system's.
#pragma once

#include "store/disk.h"

namespace mqttq {

class SystemDisk final : public Disk {
 public:
  // directory: there already. read_only: nothing can be made, removed or written; what is opened keeps what is in it,
  // or it is NotFound, as if it had been removed (rename_unread() of another disk, perhaps another process).
  explicit SystemDisk(std::string directory, bool read_only = false) noexcept
      : directory_(std::move(directory)), read_only_(read_only) {}

  Status open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept override;
  Status remove(const std::string& name) noexcept override;
  Status rename(const std::string& from, const std::string& to) noexcept override;
  Status rename_unread(const std::string& from, const std::string& to) noexcept override;
  Status list(std::vector<std::string>& names) noexcept override;
  Status sync() noexcept override;
  DiskRoom room() noexcept override;

 private:
  const std::string directory_;
  const bool read_only_;
};

}  // namespace mqttq
