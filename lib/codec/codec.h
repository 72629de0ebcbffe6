// Bytes to packets and packets to bytes. Pure functions: no state, no clock, no allocation, no exception.
//
// A decoder takes one whole packet as scan_frame found it, fixed header included, and judges everything that the
// specification lets it judge from the packet alone: reserved flags, lengths, UTF-8, packet identifiers of 0, and
// properties that are unknown, repeated or in the wrong packet. Its reason is the one the specification names:
// MalformedPacket, ProtocolError, or a more exact one (UnsupportedProtocolVersion, ...).
#pragma once

#include "codec/packets.h"
#include "codec/writer.h"

namespace mqttq::codec {

// The version is in the packet. UnsupportedProtocolVersion if the name is MQTT's and the level is not 3, 4 or 5.
Decoded<ConnectView> decode_connect(Bytes packet) noexcept;
// The version whose CONNACK is understood by the Client that sent this CONNECT of a level that is not supported.
ProtocolVersion refusal_version(Bytes packet) noexcept;
Decoded<ConnackView> decode_connack(Bytes packet, ProtocolVersion version) noexcept;
Decoded<PublishView> decode_publish(Bytes packet, ProtocolVersion version) noexcept;
// PUBACK, PUBREC, PUBREL and PUBCOMP.
Decoded<AckView> decode_ack(Bytes packet, ProtocolVersion version) noexcept;
Decoded<SubscribeView> decode_subscribe(Bytes packet, ProtocolVersion version) noexcept;
// SUBACK and UNSUBACK.
Decoded<SubackView> decode_suback(Bytes packet, ProtocolVersion version) noexcept;
Decoded<UnsubscribeView> decode_unsubscribe(Bytes packet, ProtocolVersion version) noexcept;
Decoded<DisconnectView> decode_disconnect(Bytes packet, ProtocolVersion version) noexcept;
Decoded<AuthView> decode_auth(Bytes packet) noexcept;
// PINGREQ and PINGRESP: Success if it is one.
ReasonCode check_ping(Bytes packet) noexcept;

// True if a Client may give `reason` in DISCONNECT. decode_disconnect takes the reason codes of both senders, since
// it cannot know which one sent it.
bool is_client_disconnect_reason(ReasonCode reason) noexcept;
// True if a Server may give `reason` in DISCONNECT, which is always an error.
bool is_server_disconnect_reason(ReasonCode reason) noexcept;

// Each writes one whole packet. A Writer that counts makes the same calls, so that a size is never computed twice
// by different code. The caller keeps to what the wire can carry: text and binary of at most 65 535 bytes.
void encode(const ConnectView& packet, Writer& out) noexcept;
void encode(const ConnackView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const PublishView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const AckView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const SubscribeView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const SubackView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const UnsubscribeView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const DisconnectView& packet, ProtocolVersion version, Writer& out) noexcept;
void encode(const AuthView& packet, Writer& out) noexcept;
void encode_ping(PacketType type, Writer& out) noexcept;

// The Subscription Options byte, for whoever writes SubscribeView::entries: each is a prefixed topic filter and this.
uint8_t encode_options(const SubscriptionOptions& options) noexcept;

}  // namespace mqttq::codec
