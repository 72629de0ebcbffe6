// Which reason codes a host may give for which packet: what it chooses goes on the wire.
#pragma once

#include "codec/reader.h"
#include "message/detail.h"
#include "message/topic.h"

namespace mqttq::capi {

// [MQTT-3.2.2-8], without those that only our own configuration could cause.
inline constexpr codec::ReasonCodeSet kConnackErrors = {
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::ClientIdentifierNotValid,
    ReasonCode::BadUserNameOrPassword,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerUnavailable,
    ReasonCode::ServerBusy,
    ReasonCode::Banned,
    ReasonCode::QuotaExceeded,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::ConnectionRateExceeded,
};

// PUBACK and PUBREC [MQTT-3.4.2-1] [MQTT-3.5.2-1].
inline constexpr codec::ReasonCodeSet kPublishErrors = {
    ReasonCode::UnspecifiedError, ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,    ReasonCode::TopicNameInvalid,
    ReasonCode::QuotaExceeded,    ReasonCode::PayloadFormatInvalid,
};

// DISCONNECT [MQTT-3.14.2-1], without those that speak of a packet that the client sent.
inline constexpr codec::ReasonCodeSet kDisconnectErrors = {
    ReasonCode::UnspecifiedError,     ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,        ReasonCode::ServerBusy,
    ReasonCode::ServerShuttingDown,   ReasonCode::SessionTakenOver,
    ReasonCode::MessageRateTooHigh,   ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction, ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,          ReasonCode::ConnectionRateExceeded,
    ReasonCode::MaximumConnectTime,
};

// Why the texts of a denial or a disconnection are not what MQTT can carry (MQTT5 4.13), or nullptr.
inline const char* judge_reason(const CloseReason& reason) noexcept {
  constexpr size_t kTextSizeMax = 65'535;  // bytes (MQTT5 1.5.4)
  const auto is_text = [](std::string_view text) {
    return text.size() <= kTextSizeMax && (text.data() || text.empty()) && is_valid_utf8(text);
  };
  if (!is_text(reason.reason_string)) return "reason_string: not UTF-8 of at most 65 535 bytes";
  if (!is_text(reason.server_reference)) return "server_reference: not UTF-8 of at most 65 535 bytes";
  const bool elsewhere = reason.code == ReasonCode::UseAnotherServer || reason.code == ReasonCode::ServerMoved;
  if (!reason.server_reference.empty() && !elsewhere) return "server_reference: for the reason codes 0x9C and 0x9D";
  return nullptr;
}

}  // namespace mqttq::capi
