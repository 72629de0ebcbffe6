// Who hears of connections and sessions: the host's events.
#pragma once

#include "base/bytes.h"
#include "message/message.h"
#include "message/reason_code.h"

namespace mqttq {

enum class SessionEvent : uint8_t {
  Connected,     // CONNACK 0x00 was sent
  Disconnected,  // the Network Connection is gone
  SessionEnded,  // the session's state is discarded
};

// Called on the home shard's thread of the client, so that the events of one client are in order.
class SessionObserver {
 public:
  // `sequence` counts up by one with each event of the shard. Borrowed for the call.
  virtual void on_session_event(SessionEvent event, NamespaceId namespace_id, std::string_view client_id,
                                ReasonCode reason, std::string_view peer_address) noexcept = 0;

 protected:
  ~SessionObserver() = default;
};

}  // namespace mqttq
