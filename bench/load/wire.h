// The little of MQTT 3.1.1 and 5 that a load generator speaks. It encodes whole packets ahead of time and reads of an
// incoming packet only what must be checked; it is no model for lib/codec, which trusts nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "load/buffer.h"

namespace mqttq::bench {

enum class Version : uint8_t { V311 = 4, V5 = 5 };  // the Protocol Level of CONNECT

enum class PacketType : uint8_t {
  Connect = 1,
  Connack,
  Publish,
  Puback,
  Pubrec,
  Pubrel,
  Pubcomp,
  Subscribe,
  Suback,
  Unsubscribe,
  Unsuback,
  Pingreq,
  Pingresp,
  Disconnect,
  Auth
};

struct ConnectOptions {
  Version version = Version::V311;
  std::string client_id;
  bool clean_start = true;
  uint32_t session_expiry_s = 0;  // 3.1.1 has only "until clean_start": any value but 0 keeps the session
};

struct Connack {
  bool session_present;
  uint8_t reason_code;
  uint16_t receive_maximum;  // what the broker takes unacknowledged; 65535 where it does not say
};

// What every payload begins with, so that each delivery can be checked and timed. Little-endian, as memory has it:
// only this program reads it.
struct Stamp {
  uint32_t publisher_index;
  uint32_t sequence;  // counts this publisher's messages from 0 and wraps
  uint64_t time_ns;   // CLOCK_MONOTONIC: when the message was due or was handed to the socket
};

// A PUBLISH as received; the views live as long as the frame's bytes.
struct Publish {
  uint8_t qos;
  bool dup;
  bool retain;
  uint16_t packet_id;  // 0 at QoS 0
  std::string_view topic_name;
  std::span<const std::byte> payload;
};

struct Frame {
  uint8_t first_byte;
  std::span<const std::byte> body;
  PacketType type() const { return static_cast<PacketType>(first_byte >> 4); }
};

void put_connect(Buffer& out, const ConnectOptions& options);
void put_subscribe(Buffer& out, Version version, uint16_t packet_id, std::span<const std::string> filters, uint8_t qos);
void put_unsubscribe(Buffer& out, Version version, uint16_t packet_id, std::string_view filter);
void put_acknowledgement(Buffer& out, PacketType type, uint16_t packet_id);  // PUBACK, PUBREC, PUBREL or PUBCOMP
void put_pingreq(Buffer& out);
void put_disconnect(Buffer& out, Version version, bool end_session);

// A PUBLISH encoded once; only its Packet Identifier and Stamp change from message to message.
struct PublishTemplate {
  std::string bytes;
  uint32_t packet_id_offset;  // 0 at QoS 0, which has none
  uint32_t payload_offset;
};
PublishTemplate make_publish(Version version, std::string_view topic, uint8_t qos, bool retain, uint32_t payload_size);

// Appends the template's packet with `packet_id` (ignored at QoS 0) and `stamp`.
void put_publish(Buffer& out, const PublishTemplate& publish, uint16_t packet_id, const Stamp& stamp);

// Finds the next whole packet in `bytes` and returns its size; 0 if more bytes are needed. Throws Failure when the
// length is no Variable Byte Integer.
size_t next_frame(std::span<const std::byte> bytes, Frame& frame);

// Each throws Failure when the packet is shorter than it must be.
Connack read_connack(const Frame& frame, Version version);
Publish read_publish(const Frame& frame, Version version);
uint16_t read_packet_id(const Frame& frame);
uint8_t read_acknowledgement_code(const Frame& frame);  // the Reason Code after a Packet Identifier; 0 where absent
std::span<const std::byte> read_suback_codes(const Frame& frame, Version version);
Stamp read_stamp(std::span<const std::byte> payload);

}  // namespace mqttq::bench
