// What all encoders of codec/ share: the fixed header, and properties. Internal to codec/.
//
// Lengths stand before what they measure. So whatever has a length is a function of a Writer, and is called twice: once
// to count and once to write.
#pragma once

#include "codec/codec.h"

namespace mqttq::codec {

// write(Writer&) writes all that follows the fixed header.
template <class Write>
void write_packet(Writer& out, uint8_t first_byte, const Write& write) noexcept {
  Writer counter;
  write(counter);
  out.u8(first_byte);
  out.varint(static_cast<uint32_t>(counter.size()));
  write(out);
}

// write(Writer&) writes all properties of one packet.
template <class Write>
void write_properties(Writer& out, const Write& write) noexcept {
  Writer counter;
  write(counter);
  out.varint(static_cast<uint32_t>(counter.size()));
  write(out);
}

// One property. Each is absent at its default: the overload says whether there is something to write.
inline void property_u8(Writer& out, PropertyId id, uint8_t value) noexcept {
  out.u8(static_cast<uint8_t>(id));
  out.u8(value);
}
inline void property_u16(Writer& out, PropertyId id, uint16_t value) noexcept {
  out.u8(static_cast<uint8_t>(id));
  out.u16(value);
}
inline void property_u32(Writer& out, PropertyId id, uint32_t value) noexcept {
  out.u8(static_cast<uint8_t>(id));
  out.u32(value);
}
inline void property_bytes(Writer& out, PropertyId id, Bytes value) noexcept {
  out.u8(static_cast<uint8_t>(id));
  out.prefixed(value);
}
// Absent when empty, which is what an empty string of these properties means.
inline void property_text(Writer& out, PropertyId id, std::string_view value) noexcept {
  if (!value.empty()) property_bytes(out, id, as_bytes(value));
}

// The Authentication Method and its data, which cannot be without it (MQTT5 3.1.2.11.10).
inline void authentication_properties(Writer& out, const std::optional<std::string_view>& method, Bytes data) noexcept {
  if (!method) return;
  property_bytes(out, PropertyId::AuthenticationMethod, as_bytes(*method));
  if (!data.empty()) property_bytes(out, PropertyId::AuthenticationData, data);
}

// Of `properties`, which are well formed, the User Properties, in their order.
void user_properties(Writer& out, Bytes properties) noexcept;

// Of a message's or a will's properties those that go with it unchanged [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16]
// [MQTT-3.3.2-17] [MQTT-3.3.2-20], in their order: all but alias, expiry, subscription identifiers and will delay.
void forwardable_properties(Writer& out, const PublishView& message) noexcept;

}  // namespace mqttq::codec
