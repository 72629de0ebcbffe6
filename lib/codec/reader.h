// Reads the primitive types of the wire (MQTT5 1.5): what all decoders of codec/ share. Internal to codec/.
#pragma once

#include <initializer_list>

#include "codec/codec.h"

namespace mqttq::codec {

// Eats a packet's body from its front. Every call says whether the bytes were there and were of that type; after a
// refusal the position means nothing. What it yields points into the packet.
class Reader {
 public:
  Reader() noexcept = default;
  explicit Reader(Bytes bytes) noexcept : at_(bytes.data()), left_(bytes.size()) {}

  size_t left() const noexcept { return left_; }  // bytes
  Bytes rest() const noexcept { return {at_, left_}; }

  [[nodiscard]] bool u8(uint8_t& out) noexcept {
    if (left_ < 1) return false;
    out = byte(0);
    skip(1);
    return true;
  }
  [[nodiscard]] bool u16(uint16_t& out) noexcept {
    if (left_ < 2) return false;
    out = static_cast<uint16_t>(byte(0) << 8 | byte(1));
    skip(2);
    return true;
  }
  [[nodiscard]] bool u32(uint32_t& out) noexcept {
    if (left_ < 4) return false;
    out = uint32_t{byte(0)} << 24 | uint32_t{byte(1)} << 16 | uint32_t{byte(2)} << 8 | byte(3);
    skip(4);
    return true;
  }
  // Variable Byte Integer (MQTT5 1.5.5): one to four bytes, and no more than the value needs [MQTT-1.5.5-1].
  [[nodiscard]] bool varint(uint32_t& out) noexcept {
    if (left_ != 0 && byte(0) < 0x80) {
      out = byte(0);
      skip(1);
      return true;
    }
    return long_varint(out);
  }
  [[nodiscard]] bool bytes(size_t size, Bytes& out) noexcept {
    if (left_ < size) return false;
    out = {at_, size};
    skip(size);
    return true;
  }
  // Two bytes of length, then the bytes.
  [[nodiscard]] bool binary(Bytes& out) noexcept {
    uint16_t size = 0;
    return u16(size) && bytes(size, out);
  }
  // A string whose characters are somebody else's to judge.
  [[nodiscard]] bool unjudged_text(std::string_view& out) noexcept {
    Bytes data;
    if (!binary(data)) return false;
    out = as_text(data);
    return true;
  }
  // A UTF-8 Encoded String [MQTT-1.5.4-1] [MQTT-1.5.4-2].
  [[nodiscard]] bool text(std::string_view& out) noexcept { return unjudged_text(out) && is_valid_utf8(out); }
  // A Property Length and as many bytes (MQTT5 2.2.2).
  [[nodiscard]] bool properties(Bytes& out) noexcept {
    uint32_t size = 0;
    return varint(size) && bytes(size, out);
  }

 private:
  uint8_t byte(size_t index) const noexcept { return std::to_integer<uint8_t>(at_[index]); }
  void skip(size_t size) noexcept {
    at_ += size;
    left_ -= size;
  }
  bool long_varint(uint32_t& out) noexcept;

  const std::byte* at_ = nullptr;
  size_t left_ = 0;
};

// Bytes of the fixed header of `packet`, 2..5. 0 if its Remaining Length is not one, or is not what follows it. Also 0
// if it is longer than need be and `shortest_only`, which is a rule of version 5 alone [MQTT-1.5.5-1].
size_t long_fixed_header_size(Bytes packet, bool shortest_only) noexcept;
inline size_t fixed_header_size(Bytes packet, bool shortest_only) noexcept {
  // Nearly always: one byte of length.
  if (packet.size() >= 2 && packet.size() < 0x82 && std::to_integer<size_t>(packet[1]) + 2 == packet.size()) return 2;
  return long_fixed_header_size(packet, shortest_only);
}

inline uint8_t first_byte(Bytes packet) noexcept { return std::to_integer<uint8_t>(packet[0]); }

constexpr uint8_t first_byte(PacketType type, uint8_t flags = 0) noexcept {
  return static_cast<uint8_t>(static_cast<unsigned>(type) << 4 | flags);
}

// PUBREL, SUBSCRIBE and UNSUBSCRIBE have the flags 0010 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1], for which 3.1
// says QoS 1, and lets them be repeated with DUP. All other packets but PUBLISH have 0000.
constexpr bool has_request_flags(uint8_t first, ProtocolVersion version) noexcept {
  return (first & 0x0F) == 0x02 || (version == ProtocolVersion::V31 && (first & 0x0F) == 0x0A);
}

// Opens a packet that begins with exactly `first`: `body` then reads what follows the fixed header.
[[nodiscard]] inline bool open_packet(Bytes packet, uint8_t first, ProtocolVersion version, Reader& body) noexcept {
  const size_t header_size = fixed_header_size(packet, version == ProtocolVersion::V5);
  if (header_size == 0 || first_byte(packet) != first) return false;
  body = Reader(packet.subspan(header_size));
  return true;
}

// Walks the properties of a packet and judges each: known, allowed in this packet, complete, of a legal value, not
// repeated where that is forbidden.
class PropertyDecoder {
 public:
  // packets: one of property_packets, the packet that holds `properties`.
  PropertyDecoder(Bytes properties, uint16_t packets) noexcept : in_(properties), packets_(packets) {}

  // False at the end and at the first fault: reason() tells them apart.
  bool next(Property& out) noexcept;
  ReasonCode reason() const noexcept { return reason_; }

 private:
  bool refuse(ReasonCode reason) noexcept {
    reason_ = reason;
    return false;
  }
  bool seen(PropertyId id) const noexcept { return seen_ >> static_cast<uint8_t>(id) & 1; }

  Reader in_;
  uint64_t seen_ = 0;  // bit n: property n has come
  const uint16_t packets_;
  ReasonCode reason_ = ReasonCode::Success;
};

// Judges packet.properties and sets what PublishView has of them. packets: kPublish, or kWill, where `will_delay_s` is
// set too and is not null.
ReasonCode decode_message_properties(PublishView& packet, uint16_t packets, uint32_t* will_delay_s) noexcept;

// A set of reason codes, for the question whether a packet may carry this one.
class ReasonCodeSet {
 public:
  constexpr ReasonCodeSet(std::initializer_list<ReasonCode> codes) noexcept {
    for (const ReasonCode code : codes) {
      const auto value = static_cast<uint8_t>(code);
      bits_[value / 64] |= uint64_t{1} << value % 64;
    }
  }
  constexpr bool has(uint8_t value) const noexcept { return bits_[value / 64] >> value % 64 & 1; }

 private:
  uint64_t bits_[4] = {};
};

}  // namespace mqttq::codec
