// When the messages of a queue came, by their numbers: for its age limit, and to tell how old the oldest is.
//
// A mark is the number of the first message since some moment. Marks are no further apart than a sixty-fourth of the
// time for which the oldest message has waited, so a message is called at most a thirty-second of that older than it
// is, and never younger. Times are milliseconds of Unix time, since marks outlive the broker.
#pragma once

#include <algorithm>

#include "base/ring.h"

namespace mqttq {

class Arrivals {
 public:
  static constexpr uint32_t kMarksMax = 160;
  struct Mark {
    int64_t at_ms = 0;
    uint64_t number = 0;
  };

  bool empty() const noexcept { return marks_.empty(); }
  uint32_t count() const noexcept { return marks_.count(); }
  const Mark& operator[](uint32_t index) noexcept { return marks_[index]; }

  // A message came; numbers and times only grow. Without memory it came when the one before it did. True: there is one
  // mark more.
  bool note(int64_t now_ms, uint64_t number) noexcept {
    now_ms = std::max(now_ms, newest_.at_ms);
    if (!marks_.empty() && number <= newest_.number) return false;
    newest_ = {now_ms, number};
    if (!marks_.empty() && now_ms - marks_.back().at_ms < spacing_ms()) return false;
    if (marks_.count() == kMarksMax) thin_out();
    return marks_.push_back({now_ms, number});
  }
  // Messages before this one are gone.
  void forget_before(uint64_t number) noexcept {
    while (marks_.count() > 1 && marks_[1].number <= number) marks_.pop_front();
  }
  void clear() noexcept {
    marks_.reset();
    newest_ = {};
  }
  // Since when the first message is there, at the latest; only if !empty().
  int64_t oldest_ms() noexcept { return at(marks_.front().number); }
  // The same of this message.
  int64_t at(uint64_t number) noexcept {
    if (number >= newest_.number) return newest_.at_ms;
    uint32_t index = marks_.count();
    while (index > 1 && marks_[index - 1].number > number) --index;
    return marks_[index - 1].at_ms;
  }
  // Messages below this number have been there for the whole of `age_ms`, or may have been; 0: none has.
  uint64_t old_below(int64_t now_ms, int64_t age_ms) noexcept {
    if (marks_.empty() || now_ms - marks_.front().at_ms < age_ms) return 0;
    if (now_ms - newest_.at_ms >= age_ms) return UINT64_MAX;
    for (uint32_t i = 1; i < marks_.count(); ++i) {
      if (now_ms - marks_[i].at_ms < age_ms) return marks_[i].number;
    }
    return newest_.number;
  }

 private:
  static constexpr int64_t kSpacingMin = 10;

  int64_t spacing_ms() noexcept { return std::max(kSpacingMin, (newest_.at_ms - marks_.front().at_ms) / 64); }
  void thin_out() noexcept {
    const int64_t spacing = spacing_ms();
    int64_t last = INT64_MIN / 2;
    for (uint32_t count = marks_.count(); count; --count) {
      const Mark mark = marks_.pop_front();
      if (mark.at_ms - last < spacing) continue;
      last = mark.at_ms;
      static_cast<void>(marks_.push_back(Mark(mark)));  // there is room: one was taken out
    }
  }

  Ring<Mark> marks_;
  Mark newest_;  // the last message
};

}  // namespace mqttq
