// A directory of the system's.
#pragma once

#include "store/disk.h"

namespace mqttq {

class SystemDisk final : public Disk {
 public:
  // directory: there already.
  explicit SystemDisk(std::string directory) noexcept : directory_(std::move(directory)) {}

  Status open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept override;
  Status remove(const std::string& name) noexcept override;
  Status list(std::vector<std::string>& names) noexcept override;
  Status sync() noexcept override;

 private:
  const std::string directory_;
};

}  // namespace mqttq
