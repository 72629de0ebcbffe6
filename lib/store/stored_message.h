// A message as bytes: in the log, and where state holds one.
#pragma once

#include <algorithm>

#include "message/message.h"
#include "store/fields.h"

namespace mqttq {

// unix_offset_ms: from our clock to Unix time; what expires does so by the calendar.
void write_message(FieldWriter& out, const MessageView& message, int64_t unix_offset_ms) noexcept;

// False: that is no message. Texts and bytes are borrowed from what `in` reads.
bool read_message(FieldReader& in, int64_t unix_offset_ms, MessageView& message) noexcept;

// One with the journals that take it, and the time if one is a stream's: the body of its record in the log.
void write_journaled(FieldWriter& out, std::span<const uint64_t> journals, const MessageView& message,
                     int64_t unix_offset_ms) noexcept;
// journals: eight bytes each, for get_little(). The rest as read_message().
bool read_journaled(FieldReader& in, int64_t unix_offset_ms, Bytes& journals, MessageView& message) noexcept;

inline int64_t to_unix_ms(Instant at, int64_t unix_offset_ms) noexcept {
  return at.ns == INT64_MAX ? INT64_MAX : at.ns / kMillisecond + unix_offset_ms;
}
inline Instant from_unix_ms(int64_t ms, int64_t unix_offset_ms) noexcept {
  constexpr int64_t kFarthest = INT64_MAX / kMillisecond / 2;
  const int64_t here = ms - unix_offset_ms;
  return ms == INT64_MAX || here > kFarthest ? Instant{INT64_MAX} : Instant{std::max(here, int64_t{0}) * kMillisecond};
}

}  // namespace mqttq
