// When the messages of a queue came, by their numbers: for its age limit, and to tell how old the oldest is.
//
// A mark is the number of the first message since some moment. There are at most 64 of them, spread over the time that
// the oldest message has waited: a message is called at most a thirty-second of that older than it is, and never
// younger. Times are milliseconds of Unix time, since marks outlive the broker.
#pragma once

#include <algorithm>

#include "base/ring.h"

namespace mqttq {

class Arrivals {
 public:
  static constexpr uint32_t kMarksMax = 64;
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
    if (!marks_.empty()) now_ms = std::max(now_ms, marks_.back().at_ms);
    if (!marks_.empty() && now_ms - marks_.back().at_ms < spacing_ms_) return false;
    if (marks_.count() == kMarksMax) thin_out();
    return marks_.push_back({now_ms, number});
  }
  // Messages before this one are gone.
  void forget_before(uint64_t number) noexcept {
    while (marks_.count() > 1 && marks_[1].number <= number) marks_.pop_front();
  }
  void clear() noexcept {
    marks_.reset();
    spacing_ms_ = kSpacingMin;
  }
  // Since when the first message is there, at the latest; only if !empty().
  int64_t oldest_ms() noexcept { return marks_.front().at_ms; }
  // Messages below this number have been there for the whole of `age_ms`, or may have been; 0: none has.
  uint64_t old_below(int64_t now_ms, int64_t age_ms) noexcept {
    uint64_t below = 0;
    for (uint32_t i = 0; i < marks_.count() && now_ms - marks_[i].at_ms >= age_ms; ++i) {
      below = i + 1 < marks_.count() ? marks_[i + 1].number : UINT64_MAX;
    }
    return below;
  }

 private:
  static constexpr int64_t kSpacingMin = 10;

  void thin_out() noexcept {
    const int64_t span = marks_.back().at_ms - marks_.front().at_ms;
    spacing_ms_ = std::max(kSpacingMin, span / (kMarksMax / 2));
    int64_t last = INT64_MIN / 2;
    for (uint32_t count = marks_.count(); count; --count) {
      const Mark mark = marks_.pop_front();
      if (mark.at_ms - last < spacing_ms_) continue;
      last = mark.at_ms;
      static_cast<void>(marks_.push_back(Mark(mark)));  // there is room: one was taken out
    }
  }

  Ring<Mark> marks_;
  int64_t spacing_ms_ = kSpacingMin;
};

}  // namespace mqttq
