// The one sequential log in front of all journals: what must be durable is a record here first (DESIGN 2, 5).
#pragma once

#include <span>

#include "base/status.h"
#include "message/message.h"

namespace mqttq {

// A message with its number. Numbers grow by one.
struct LogRecord {
  uint64_t number = 0;
  const Message* message = nullptr;  // borrowed until append() returns
};

// Written by the committer alone, in the order of the numbers.
class Log {
 public:
  virtual ~Log() = default;
  // Takes a batch; it becomes durable as a whole, now or later. Errors: Io, Full, NoMemory; nothing of it is then kept.
  virtual Status append(std::span<const LogRecord> batch) noexcept = 0;
  // The highest number that a crash cannot take back any more.
  virtual uint64_t durable_number() noexcept = 0;
};

// Keeps nothing: with a broker in memory a record lives as long as the process, which is all that was promised.
class VolatileLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override {
    if (!batch.empty()) last_ = batch.back().number;
    return Status::Ok;
  }
  uint64_t durable_number() noexcept override { return last_; }

 private:
  uint64_t last_ = 0;
};

}  // namespace mqttq
