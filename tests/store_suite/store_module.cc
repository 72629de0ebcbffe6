#include "store_module.h"

#include <dlfcn.h>

#include <stdexcept>

#include "store/host_store.h"

namespace mqttq {

StoreModule::StoreModule(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library) fill_ = reinterpret_cast<Function>(::dlsym(library, "mqttq_store_module"));
  if (!fill_) throw std::runtime_error(::dlerror());
}

std::unique_ptr<Store> StoreModule::try_open(const std::string& directory, uint64_t bytes_max, Status& status,
                                             std::string& problem) const {
  mqttq_store table;
  mqttq_store_init(&table, sizeof table);
  if (const mqttq_status made = fill_(directory.c_str(), bytes_max, &table)) {
    throw std::runtime_error("mqttq_store_module() returns " + std::to_string(made));
  }
  return HostStore::open(table, status, problem);
}

std::unique_ptr<Store> StoreModule::open(const std::string& directory, uint64_t bytes_max) const {
  Status status = Status::Ok;
  std::string problem;
  auto store = try_open(directory, bytes_max, status, problem);
  if (!store) throw std::runtime_error(problem);
  return store;
}

}  // namespace mqttq
