// Where a reader of a stream begins, and where it stands.
#pragma once

#include <cstdint>
#include <string_view>

namespace mqttq {

// Where it wants to begin.
struct StreamOffset {
  enum class Kind : uint8_t {
    Earliest,  // at the oldest message that is kept
    Latest,    // behind the newest
    Time,      // at the first message that is not older than `value`, us of Unix time
    Position,  // at the message of this position, or the first behind it
  };
  Kind kind = Kind::Latest;
  uint64_t value = 0;
  bool operator==(const StreamOffset&) const = default;
};

// What is said when a stream is read. The texts are borrowed.
struct StreamTerms {
  StreamOffset offset;
  std::string_view cursor;  // its name; empty: none
  bool shared = false;      // with others
  bool seeks = false;       // a cursor that is there goes to the offset
};

// Where it stands. The reader keeps it; the stream goes on from there when it is told.
struct StreamPlace {
  uint64_t position = 0;  // of the next message
  uint64_t number = 0;    // of the log: no message with a lower one is wanted any more; 0: it is not known yet
  int64_t not_before_us = 0;
  uint32_t epoch = 0;  // what it was handed under another one is not wanted
  uint32_t open = 0;   // messages that it has, and is not done with
};

// Where a message stands, as it is handed to a reader.
struct StreamAt {
  uint64_t position = 0;
  uint64_t number = 0;   // of the log
  int64_t us = 0;        // of Unix time, when it was numbered
  uint64_t skipped = 0;  // messages in front of it that this reader has missed, as they were trimmed before it came
};

}  // namespace mqttq
