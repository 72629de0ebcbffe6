// Records that are acknowledged and not written yet, where durability is not `always` (DESIGN 2): what is settled
// before they are written never is.
#pragma once

#include <vector>

#include "store/log.h"
#include "store/state.h"

namespace mqttq {

class HeldRecords {
 public:
  bool empty() const noexcept { return messages_.empty() && changes_.empty(); }
  // Of messages and changes, about.
  size_t bytes() const noexcept { return bytes_; }
  // A share of each message, and a copy of the rest. Errors: NoMemory, and then nothing of it is here.
  Status take(std::span<const LogRecord> batch) noexcept;
  // What is to be written of it, as one batch, in the order of the numbers: messages that somebody else still holds,
  // and of the changes of each key the last. Borrowed from here until the next call of anything. Throws std::bad_alloc.
  std::span<const LogRecord> put_together();
  void clear() noexcept;

 private:
  struct Held {
    uint64_t number = 0;
    MessageRef message;
    uint32_t first_journal = 0, journal_count = 0, position_count = 0;  // of journals_, one after the other
  };
  bool put_changes_together();

  std::vector<Held> messages_;
  std::vector<uint64_t> journals_;
  StateWrites changes_;
  uint64_t changes_number_ = 0;  // of the last record of changes
  size_t bytes_ = 0;
  StateWrites together_;  // the changes, each key once
  std::vector<LogRecord> batch_;
};

}  // namespace mqttq
