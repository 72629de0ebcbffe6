// Whether LMDB may map a store's file, which is asked before each time it does (DESIGN 5).
#pragma once

#include <string>

#include "base/log.h"
#include "base/status.h"

namespace mqttq {

struct LmdbCheck {
  std::string directory;
  std::string mark;          // what was left by who had it open last
  uint32_t time_ms_max = 0;  // of the walk through its trees
  LogSink* log = nullptr;    // of what was found, and what was not looked at; nullable
};

inline constexpr char kStoreFile[] = "store.mdb";

// What a clean stop leaves: `transaction` was the last, and so many bytes were in the file. It says nothing of any
// other file, nor of this one when it has changed.
std::string clean_mark(uint64_t transaction, uint64_t bytes);

// Ok: there is nothing to map, or it is as LMDB left it; behind a clean stop, or when the time is up, as far as it was
// looked at. A file whose making was cut short is emptied. Errors: Invalid (damaged), Unsupported (of another version
// of LMDB's format), Io, Permission; `problem` says more. Throws std::bad_alloc.
Status check_lmdb(const LmdbCheck& check, std::string& problem);

}  // namespace mqttq
