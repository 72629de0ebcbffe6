// A directory of its own for each store, gone when the program ends.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace mqttq {

class Directories {
 public:
  // Of a directory that is not there yet.
  std::string make() {
    if (base_.empty()) {
      base_ = (std::filesystem::temp_directory_path() / "mqttq-store-XXXXXX").string();
      REQUIRE(::mkdtemp(base_.data()));
    }
    return base_ + "/" + std::to_string(++count_);
  }
  ~Directories() {
    std::error_code ignored;
    if (!base_.empty()) std::filesystem::remove_all(base_, ignored);
  }

 private:
  std::string base_;
  int count_ = 0;
};

}  // namespace mqttq
