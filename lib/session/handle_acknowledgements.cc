// PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT5 3.4 to 3.7).
#include "session/connection_parts.h"

namespace mqttq {

Connection::Handled Connection::handle_ack(Bytes packet, Instant now) noexcept {
  using codec::PacketType;
  const auto ack = codec::decode_ack(packet, version_);
  if (!ack.ok()) {
    protocol_error(ack.reason(), now);
    return Handled::Yes;
  }
  switch (ack->type) {
    case PacketType::Puback:
      // Of nothing we sent: nothing to do.
      static_cast<void>(session_->on_puback(ack->packet_id, is_error(ack->reason_code), now));
      break;
    case PacketType::Pubrec:
      switch (session_->on_pubrec(ack->packet_id, is_error(ack->reason_code), now)) {
        case Session::Pubrec::Release: send_ack(PacketType::Pubrel, ack->packet_id, ReasonCode::Success); break;
        case Session::Pubrec::NotFound:  // a refusal is followed by no PUBREL (MQTT5 4.3.3)
          if (is_error(ack->reason_code)) break;
          send_ack(PacketType::Pubrel, ack->packet_id, ReasonCode::PacketIdentifierNotFound);
          break;
        case Session::Pubrec::Ended: break;
      }
      break;
    case PacketType::Pubrel: {
      const Receipt* receipt = session_->find_receipt(ack->packet_id);
      if (receipt && !receipt->answered) {  // before our PUBREC
        protocol_error(ReasonCode::ProtocolError, now);
        break;
      }
      const bool known = session_->remove_receipt(ack->packet_id);
      if (session_->stored()) gate();  // else a reused identifier would be taken for a repeat after a crash
      send_ack(PacketType::Pubcomp, ack->packet_id, known ? ReasonCode::Success : ReasonCode::PacketIdentifierNotFound);
      break;
    }
    default: static_cast<void>(session_->on_pubcomp(ack->packet_id, now)); break;
  }
  return Handled::Yes;
}

}  // namespace mqttq
