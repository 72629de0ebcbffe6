// Messages of one reader of a journal that are not in memory, read before they are needed.
#pragma once

#include <algorithm>

#include "base/ring.h"
#include "journal/journal.h"
#include "store/log.h"

namespace mqttq {

class ReadAhead {
 public:
  enum class Content : uint8_t {
    Here,   // `message` is set
    Asked,  // it comes to take()
    Later,  // it could not be asked for: try again some time later
    Lost,
  };
  static bool pending(Content found) noexcept { return found == Content::Asked || found == Content::Later; }

  // The message of `number`, which is the next that is needed: where `cursor` stands, or in front of it.
  // ask(numbers) -> bool asks for these, in their order.
  template <class Ask>
  Content find(const Cursor& cursor, uint64_t number, MessageRef& message, Ask&& ask) noexcept {
    while (!messages_.empty() && messages_.front().number < number) messages_.pop_front();
    if (!messages_.empty() && messages_.front().number == number) {
      message = messages_.pop_front().message;
      return message ? Content::Here : Content::Lost;
    }
    if (asked_) return Content::Asked;
    messages_.reset();
    uint64_t numbers[kFetchMessagesMax] = {number};
    uint32_t count = 1;
    const JournalEntry* entry = cursor.journal->peek(cursor);
    if (entry && entry->number == number) {
      if ((message = entry->message)) return Content::Here;
      count = cursor.journal->missing(cursor, numbers, kFetchBytesMax);
    }
    asked_ = ask(std::span<const uint64_t>(numbers, count));
    return asked_ ? Content::Asked : Content::Later;
  }
  // What was asked for; `messages` is emptied. False: not all of it could be read, and the rest is to be asked for
  // again some time later.
  bool take(Ring<FetchedMessage>& messages) noexcept {
    asked_ = false;
    for (; !messages.empty(); messages.pop_front()) {
      FetchedMessage& one = messages.front();
      const bool lost = one.lost(failures_);
      if ((!one.message && !lost) || !messages_.push_back(std::move(one))) break;
    }
    const bool complete = messages.empty();
    messages.reset();
    return complete;
  }

 private:
  Ring<FetchedMessage> messages_;  // by their numbers
  uint32_t failures_ = 0;          // one after the other
  bool asked_ = false;
};

// The index of the first item in a ring that is in the order of its items' numbers whose number is not less.
template <class T>
uint32_t lower_bound_number(Ring<T>& ring, uint64_t number) noexcept {
  uint32_t first = 0;
  for (uint32_t count = ring.count(); count;) {
    const uint32_t half = count / 2;
    if (ring[first + half].number < number) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

// The item of this number; nullptr: there is none.
template <class T>
T* find_number(Ring<T>& ring, uint64_t number) noexcept {
  if (ring.empty() || ring.back().number < number) return nullptr;
  T& found = ring[lower_bound_number(ring, number)];
  return found.number == number ? &found : nullptr;
}

// Puts it where its number belongs; there is room.
template <class T>
T& insert_number(Ring<T>& ring, T item) noexcept {
  static_cast<void>(ring.push_back(std::move(item)));
  uint32_t at = ring.count() - 1;
  for (; at && ring[at - 1].number > ring[at].number; --at) std::swap(ring[at - 1], ring[at]);
  return ring[at];
}

}  // namespace mqttq
