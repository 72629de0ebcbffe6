// What the system's errno means for a store, and how people are told.
#pragma once

#include <cerrno>
#include <string_view>

#include "base/status.h"

namespace mqttq {

inline Status status_of_errno(int error) noexcept {
  switch (error) {
    case 0: return Status::Ok;
    case EFBIG:
    case ENOSPC:
    case EDQUOT: return Status::Full;
    case ENOMEM: return Status::NoMemory;
    case EACCES:
    case EPERM:
    case EROFS: return Status::Permission;
    default: return Status::Io;
  }
}

// Why something cannot be read or written.
inline std::string_view words(Status status) noexcept {
  switch (status) {
    case Status::Full: return "no space is left";
    case Status::NoMemory: return "out of memory";
    case Status::Permission: return "permission denied";
    default: return "the system failed";
  }
}

}  // namespace mqttq
