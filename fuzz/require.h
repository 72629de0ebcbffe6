// How a fuzz target says that something is not as it has to be.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace mqttq::fuzz {

// Ends the run: `what` is not as it has to be.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "not so: %s\n", what.c_str());
  std::abort();
}

// `what` has to hold for every input.
inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

}  // namespace mqttq::fuzz
