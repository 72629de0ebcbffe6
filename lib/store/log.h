// The one sequential log in front of all journals: what must be durable is a record here first (DESIGN 2, 5).
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "base/array.h"
#include "base/ring.h"
#include "base/status.h"
#include "message/message.h"
#include "store/store_quota.h"

namespace mqttq {

// A message for journals, or changes of state, with its number. What it names is borrowed until append() returns.
struct LogRecord {
  uint64_t number = 0;                 // consecutive within a batch
  const Message* message = nullptr;    // null: changes of state
  std::span<const uint64_t> journals;  // that take the message, those of streams first
  Bytes state;                         // StateWrites::bytes()
  // In those streams. If there are any, the message has a time.
  std::span<const uint64_t> positions;
};

// How a store is: the worst of what holds.
enum class StoreAlarm : uint8_t {
  Ok,
  High,     // little room is left
  Full,     // the quota is reached
  Failing,  // the last batch could not be written
};

constexpr std::string_view to_text(StoreAlarm alarm) noexcept {
  switch (alarm) {
    case StoreAlarm::Ok: break;
    case StoreAlarm::High: return "high";
    case StoreAlarm::Full: return "full";
    case StoreAlarm::Failing: return "failing";
  }
  return "ok";
}

// Whether what must be durable is being taken. One for all of a broker that keeps something. Written by the committer.
struct StoreHealth {
  std::atomic<bool> failing{false};  // the last batch was not
  std::atomic<bool> full{false};     // what is new is refused; changes of what is there, and what ends, are taken
  std::atomic<StoreAlarm> alarm{StoreAlarm::Ok};
  std::atomic<uint64_t> bytes_used{0};
  std::atomic<uint64_t> bytes_max{0};  // 0: there is no quota
};

// What was read of one that is not in memory.
struct FetchedMessage {
  uint64_t number = 0;
  MessageRef message;
  Status status = Status::Ok;           // of MessageSource::fetch()
  uint32_t body_at = 0, body_size = 0;  // in place of the message, where bodies were asked for

  // A disk that fails may work again; one that does not for seconds has lost it. failures: reads of one reader that
  // failed, one after the other.
  bool lost(uint32_t& failures) const noexcept {
    constexpr uint32_t kFailuresMax = 100;  // twenty a second
    if (status == Status::NotFound) return true;
    if (status == Status::Ok) {
      failures = 0;
      return false;
    }
    return ++failures > kFailuresMax;
  }
};
// Of what one reader asks for at a time.
inline constexpr uint32_t kFetchMessagesMax = 64;
inline constexpr uint64_t kFetchBytesMax = 256 * 1024;  // of content, beyond the first

// Where messages are read from by their numbers.
class MessageSource {
 public:
  // Errors: NotFound (it is not there any more, or damaged), Io, Permission, NoMemory. One thread at a time, any.
  virtual Status fetch(uint64_t number, MessageRef& message) noexcept = 0;
  // Many as bytes, behind what `bodies` holds: what write_journaled() wrote. Each says where, or its error. What lies
  // between them may come along.
  virtual void fetch_bodies(Ring<FetchedMessage>& messages, Array<std::byte>& bodies) noexcept = 0;

 protected:
  ~MessageSource() = default;
};

// Used by the committer alone, in the order of the numbers.
class Log {
 public:
  Log() noexcept = default;
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  virtual ~Log() = default;

  // Takes a batch; it becomes durable as a whole, now or later. Errors: Io, Full, NoMemory; nothing of it is then kept.
  virtual Status append(std::span<const LogRecord> batch) noexcept = 0;
  // The highest number that a crash cannot take back any more. At first the last of an earlier run, or 0.
  virtual uint64_t durable_number() noexcept = 0;
  // What its records hold outlives the process. If not, they need neither journals nor state.
  virtual bool keeps() const noexcept { return false; }
  // Between two batches, when all that was durable has been answered.
  virtual void tend(Instant) noexcept {}
  // It would give back room if it knew which number is the first that some reader still needs.
  virtual bool wants_lowest() const noexcept { return false; }
  virtual void set_lowest(uint64_t) noexcept {}
  // Or which of those up to this number are still needed at all; 0: it does not want to know. waiting_bytes: what all
  // messages that wait take up, about.
  virtual uint64_t wants_needed(uint64_t /*waiting_bytes*/, Instant) noexcept { return 0; }
  // It has something to do between batches.
  virtual bool moves() const noexcept { return false; }
  // numbers: sorted, each once; none of them beyond `up_to`.
  virtual void set_needed(uint64_t /*up_to*/, std::span<const uint64_t> /*numbers*/) noexcept {}
  // What it may take, and how much of that is taken. nullptr: it does not know.
  virtual StoreQuota* quota() noexcept { return nullptr; }
  // Messages up to this number are to be in memory no longer than somebody is sending them: fetch() has them.
  virtual uint64_t evictable() const noexcept { return 0; }
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
