// A store as it is at one moment, while batches go on.
#pragma once

#include "store/store.h"

namespace mqttq {

// Used by one thread. While it lives the store keeps what it needs for it, which may be much: not for long.
class StoreSnapshot {
 public:
  StoreSnapshot() noexcept = default;
  StoreSnapshot(const StoreSnapshot&) = delete;
  StoreSnapshot& operator=(const StoreSnapshot&) = delete;
  virtual ~StoreSnapshot() = default;

  // Every entry of a table, in order. Errors: Io, of a damaged file too; NotFound: there is no such table.
  virtual Status scan(uint8_t table, StoreVisitor& visitor) noexcept = 0;
  // What was read until now is of that moment. False: it was written over meanwhile, and all is to be read again.
  virtual bool whole() const noexcept = 0;
};

}  // namespace mqttq
