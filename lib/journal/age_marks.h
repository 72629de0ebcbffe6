// Which messages have waited for so long, by their numbers: when these came is remembered for 64 moments of the age.
//
// A mark says that at its time all messages up to a number had come. So what is called old is, and what is not may be
// older by a sixty-fourth. Times are milliseconds of Unix time, since marks outlive the broker; it is told what time it
// is.
#pragma once

#include <algorithm>

#include "base/ring.h"

namespace mqttq {

class AgeMarks {
 public:
  // 0: nothing ever gets old.
  explicit AgeMarks(uint32_t age_s) noexcept : age_ms_(int64_t{age_s} * 1000) {}

  bool on() const noexcept { return age_ms_ > 0; }
  // After which mark() and advance() are to be called again while one of them has something to do.
  int64_t interval_ms() const noexcept { return std::max<int64_t>(age_ms_ / 64, 250); }
  bool busy() const noexcept { return on() && (newest_ > marked_ || !marks_.empty()); }

  // A message came.
  void note(uint64_t number) noexcept { newest_ = std::max(newest_, number); }
  // What was noted came before now. False: nothing was, or without memory, and then it will have come later.
  bool mark(int64_t now_ms) noexcept {
    if (newest_ <= marked_ || !marks_.push_back({now_ms, newest_})) return false;
    marked_ = newest_;
    return true;
  }
  // Of an earlier broker, in the order of their times. False without memory.
  bool restore(int64_t at_ms, uint64_t number) noexcept {
    marked_ = std::max(marked_, number);
    note(number);
    return marks_.push_back({at_ms, marked_});
  }
  // Time has passed. Calls gone(at_ms) for each mark that is of no more use. True if more numbers are old now.
  template <class Gone>
  bool advance(int64_t now_ms, Gone&& gone) noexcept {
    const uint64_t before = old_;
    for (; !marks_.empty() && now_ms - marks_.front().at_ms >= age_ms_; marks_.pop_front()) {
      old_ = marks_.front().number;
      gone(marks_.front().at_ms);
    }
    return old_ != before;
  }
  // The last number that is old.
  uint64_t old() const noexcept { return old_; }

 private:
  struct Mark {
    int64_t at_ms;
    uint64_t number;
  };
  const int64_t age_ms_;
  Ring<Mark> marks_;
  uint64_t newest_ = 0, marked_ = 0, old_ = 0;
};

}  // namespace mqttq
