// What the system's errno means for a store.
#pragma once

#include <cerrno>

#include "base/status.h"

namespace mqttq {

inline Status status_of_errno(int error) noexcept {
  switch (error) {
    case 0: return Status::Ok;
    case ENOSPC:
    case EDQUOT: return Status::Full;
    case ENOMEM: return Status::NoMemory;
    case EACCES:
    case EPERM:
    case EROFS: return Status::Permission;
    default: return Status::Io;
  }
}

}  // namespace mqttq
