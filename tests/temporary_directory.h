// A directory of a test's own, gone with all that is in it when the test ends.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace mqttq {

struct TemporaryDirectory {
  TemporaryDirectory() {
    if (!::mkdtemp(path.data())) throw std::runtime_error("no temporary directory");
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(std::string_view name) const { return path + "/" + std::string(name); }

  std::string path = (std::filesystem::temp_directory_path() / "mqttq-test-XXXXXX").string();
};

}  // namespace mqttq
