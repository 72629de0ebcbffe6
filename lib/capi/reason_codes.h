// Which reason codes a host may give for which packet: what it chooses goes on the wire.
#pragma once

#include "codec/reader.h"

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

}  // namespace mqttq::capi
