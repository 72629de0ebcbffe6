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

enum class MessageEvent : uint8_t { Delivered, Dropped };

// Called on the home shard's thread of the client, so that the events of one client are in order.
class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  // All borrowed for the call.
  virtual void on_session_event(uint32_t shard, SessionEvent event, NamespaceId namespace_id,
                                std::string_view client_id, ReasonCode reason,
                                std::string_view peer_address) noexcept = 0;
  // A message was written for this client, or dropped for it. Only if wants_messages().
  virtual void on_message_event(uint32_t shard, MessageEvent event, std::string_view client_id,
                                const MessageView& message) noexcept = 0;
  virtual bool wants_messages() const noexcept = 0;
};

}  // namespace mqttq
