#include "store/stored_message.h"

namespace mqttq {

namespace {
constexpr uint8_t kRetain = 4;         // beside the QoS
constexpr uint32_t kTimed = 1u << 31;  // beside the count of journals: time and positions follow them
}  // namespace

void write_message(FieldWriter& out, const MessageView& message, int64_t unix_offset_ms) noexcept {
  out.number(uint32_t{message.namespace_id});
  out.number(static_cast<uint8_t>(static_cast<uint8_t>(message.qos) | (message.retain ? kRetain : 0)));
  out.number(uint64_t{message.publisher});
  out.number(static_cast<uint64_t>(to_unix_ms(message.expires_at, unix_offset_ms)));
  out.sized(as_bytes(message.topic_name));
  out.sized(message.properties);
  out.sized(message.payload);
}

bool read_message(FieldReader& in, int64_t unix_offset_ms, MessageView& message) noexcept {
  message.namespace_id = in.number<uint32_t>();
  const auto flags = in.number<uint8_t>();
  message.qos = static_cast<Qos>(flags & 3);
  message.retain = flags & kRetain;
  message.publisher = in.number<uint64_t>();
  message.expires_at = from_unix_ms(static_cast<int64_t>(in.number<uint64_t>()), unix_offset_ms);
  message.topic_name = as_text(in.sized());
  message.properties = in.sized();
  message.payload = in.sized();
  return in.ok() && flags <= (kRetain | 2) && (flags & 3) != 3 && !message.topic_name.empty() &&
         message.topic_name.size() <= UINT16_MAX;
}

void write_journaled(FieldWriter& out, const LogRecord& record, int64_t unix_offset_ms) noexcept {
  const int64_t logged_us = record.message->logged_us();
  out.number(static_cast<uint32_t>(record.journals.size()) | (logged_us ? kTimed : 0));
  for (const uint64_t journal : record.journals) out.number(journal);
  if (logged_us) {
    out.number(static_cast<uint64_t>(logged_us));
    out.number(static_cast<uint32_t>(record.positions.size()));
    for (const uint64_t position : record.positions) out.number(position);
  }
  write_message(out, record.message->view(), unix_offset_ms);
}

bool read_journaled(FieldReader& in, int64_t unix_offset_ms, JournaledMessage& out) noexcept {
  const auto count = in.number<uint32_t>();
  out.journals = in.raw(size_t{count & ~kTimed} * sizeof(uint64_t));
  out.logged_us = 0;
  out.positions = {};
  if (count & kTimed) {
    out.logged_us = static_cast<int64_t>(in.number<uint64_t>());
    out.positions = in.raw(size_t{in.number<uint32_t>()} * sizeof(uint64_t));
  }
  return read_message(in, unix_offset_ms, out.message) && out.logged_us >= 0 &&
         out.positions.size() <= out.journals.size();
}

}  // namespace mqttq
