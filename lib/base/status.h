// How the world failed: memory, disk, a bound, the host. What the peer did wrong is a ReasonCode instead.
#pragma once

#include <cstdint>

namespace mqttq {

enum class [[nodiscard]] Status : uint8_t {
  Ok,
  Full,          // a bound from configuration is reached; its answer on the wire is documented where the bound is
  NoMemory,      // the allocator refused
  NotFound,      // no such object
  Exists,        // there is one already
  Invalid,       // an argument out of its documented range
  AddressInUse,  // another socket listens there
  Permission,    // the system refused
  Io,            // the system failed in another way
  Shutdown,      // the broker is stopping
  Busy,          // it is being done already
  Timeout,       // nobody answered in time
  Unsupported,   // built without it
};

// The value of a call, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) noexcept : value_(static_cast<T&&>(value)) {}
  Result(Status status) noexcept : status_(status) {}
  bool ok() const noexcept { return status_ == Status::Ok; }
  Status status() const noexcept { return status_; }
  T& operator*() noexcept { return value_; }
  const T& operator*() const noexcept { return value_; }
  T* operator->() noexcept { return &value_; }

 private:
  T value_{};
  Status status_ = Status::Ok;
};

}  // namespace mqttq
