// A store from outside of this tree: a shared library with one function, as docs/STORE.md describes it.
#pragma once

#include <memory>
#include <string>

#include "mqttq/store.h"
#include "store/store.h"

namespace mqttq {

class StoreModule {
 public:
  // Loads it, for as long as the program runs. Throws std::runtime_error with what the loader said.
  explicit StoreModule(const std::string& path);

  // Throws std::runtime_error with what the store said.
  std::unique_ptr<Store> open(const std::string& directory, uint64_t bytes_max) const;
  // nullptr: `status` and `problem` say why.
  std::unique_ptr<Store> try_open(const std::string& directory, uint64_t bytes_max, Status& status,
                                  std::string& problem) const;

 private:
  using Function = mqttq_status (*)(const char* directory, uint64_t bytes_max, mqttq_store* store);
  Function fill_ = nullptr;
};

}  // namespace mqttq
