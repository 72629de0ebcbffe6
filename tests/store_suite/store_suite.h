// What every store has to stand, whoever wrote it. A program that links suite_test.cc and Catch2 gives it the stores.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/store.h"

namespace mqttq {

struct StoreMaker {
  std::string name;
  // An empty store. bytes_max: the most it may hold, 0: much; a store without a bound ignores it, and its usage() says
  // so.
  std::function<std::unique_ptr<Store>(uint64_t bytes_max)> make;
  // The store that make() gave last, ended if it is there, and opened again; empty for one that keeps nothing.
  std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> reopen;
};

// Given by the program.
std::vector<StoreMaker> store_makers();

}  // namespace mqttq
