// The stores for the suite: the library's own, alone and behind a host, or a host's.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

#include "directories.h"
#include "hosted_store.h"
#include "lmdb_files.h"
#include "store/memory_store.h"
#include "store_module.h"
#include "store_suite.h"

namespace mqttq {

namespace {

Directories directories;

StoreMaker memory_maker(const std::string& name, std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> wrap) {
  StoreMaker maker;
  maker.name = name;
  maker.make = [wrap](uint64_t bytes_max) { return wrap(std::make_unique<MemoryStore>(bytes_max)); };
  return maker;
}

// A store that is opened in a directory.
StoreMaker directory_maker(const std::string& name,
                           std::function<std::unique_ptr<Store>(const std::string&, uint64_t bytes_max)> open_in) {
  StoreMaker maker;
  maker.name = name;
  const auto last = std::make_shared<std::string>();
  maker.make = [=](uint64_t bytes_max) { return open_in(*last = directories.make(), bytes_max); };
  maker.reopen = [=](std::unique_ptr<Store> store) {
    store.reset();
    return open_in(*last, 0);
  };
  return maker;
}

std::unique_ptr<Store> as_it_is(std::unique_ptr<Store> store) { return store; }
std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> by_a_host(Answers answers) {
  return [answers](std::unique_ptr<Store> store) { return hosted(std::move(store), answers); };
}

}  // namespace

std::vector<StoreMaker> store_makers() {
  // A host's own, and no other.
  if (const char* path = std::getenv("MQTTQ_STORE_MODULE")) {
    return {directory_maker(path, [module = StoreModule(path)](const std::string& directory, uint64_t bytes_max) {
      std::filesystem::create_directory(directory);
      return module.open(directory, bytes_max);
    })};
  }
  const auto lmdb = [](const std::string& directory, uint64_t bytes_max) {
    return open_store({directory, bytes_max ? bytes_max : 64 << 20});
  };
  return {memory_maker("memory", as_it_is), directory_maker("LMDB", lmdb),
          memory_maker("memory, by a host that answers at once", by_a_host(Answers::AtOnce)),
          memory_maker("memory, by a host that answers now or later", by_a_host(Answers::Either)),
          directory_maker("LMDB, by a host that answers later", [=](const std::string& directory, uint64_t bytes_max) {
            return hosted(lmdb(directory, bytes_max), Answers::Later);
          })};
}

}  // namespace mqttq
