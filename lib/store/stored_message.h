// A message as bytes: in the log, and where state holds one.
#pragma once

#include <algorithm>

#include "message/message.h"
#include "store/fields.h"
#include "store/log.h"

namespace mqttq {

// unix_offset_ms: from our clock to Unix time; what expires does so by the calendar.
void write_message(FieldWriter& out, const MessageView& message, int64_t unix_offset_ms) noexcept;

// False: that is no message. Texts and bytes are borrowed from what `in` reads.
bool read_message(FieldReader& in, int64_t unix_offset_ms, MessageView& message) noexcept;

// One with the journals that take it, and its time and positions if some are streams': the body of its record in the
// log.
struct JournaledMessage {
  Bytes journals;   // eight bytes each, for get_little()
  Bytes positions;  // the same: in the first of these, which are streams'
  int64_t logged_us = 0;
  MessageView message;
};
void write_journaled(FieldWriter& out, const LogRecord& record, int64_t unix_offset_ms) noexcept;
// As read_message().
bool read_journaled(FieldReader& in, int64_t unix_offset_ms, JournaledMessage& out) noexcept;
// At most so many bytes: beside the content of a message those of its record.
inline uint64_t journaled_size(const LogRecord& record) noexcept {
  return record.message->content_size() + (record.journals.size() + record.positions.size()) * sizeof(uint64_t) + 64;
}

inline int64_t to_unix_ms(Instant at, int64_t unix_offset_ms) noexcept {
  return at.ns == INT64_MAX ? INT64_MAX : at.ns / kMillisecond + unix_offset_ms;
}
inline Instant from_unix_ms(int64_t ms, int64_t unix_offset_ms) noexcept {
  constexpr int64_t kFarthest = INT64_MAX / kMillisecond / 2;
  const int64_t here = ms - unix_offset_ms;
  return ms == INT64_MAX || here > kFarthest ? Instant{INT64_MAX} : Instant{std::max(here, int64_t{0}) * kMillisecond};
}

}  // namespace mqttq
