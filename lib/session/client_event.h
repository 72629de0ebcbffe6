// What the broker says when a client comes or goes, as a message: its topic and its JSON.
#pragma once

#include <optional>

#include "base/array.h"
#include "message/message.h"
#include "message/reason_code.h"
#include "message/word.h"

namespace mqttq {

// Borrowed texts, all of them UTF-8.
struct ClientEvent {
  std::string_view client_id;
  std::optional<std::string_view> user_name;
  std::string_view address;
  ProtocolVersion version = ProtocolVersion::V5;
  uint16_t keep_alive_s = 0;  // the one that holds
  bool clean_start = false;
  uint32_t session_expiry_s = 0;
  bool session_present = false;
  int64_t connected_at_ms = 0;  // Unix time

  // How the connection ended. Empty: it has begun.
  struct End {
    std::string_view reason;
    uint8_t reason_code = 0;
    int64_t duration_ms = 0;
  };
  std::optional<End> end;
};

// Appends a client id as one level of a topic: '%', '/', '+', '#' and control characters (U+0001 to U+001F, U+007F to
// U+009F) become '%' and two upper-case hexadecimal digits for each of their bytes, as in a URL, so that two ids never
// become one level. False when the allocator refuses.
[[nodiscard]] bool append_as_level(std::string_view client_id, Array<char>& out) noexcept;

// "$SYS/broker/clients/<client id>/connected" or ".../disconnected", and one JSON object. QoS 0, not retained.
// topic_fits: set to false when the topic is longer than a topic may be; there is no message then. An empty reference
// otherwise means that the allocator refused.
MessageRef make_client_event(const ClientEvent& event, bool& topic_fits) noexcept;

}  // namespace mqttq
