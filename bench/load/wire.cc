// See wire.h: packets out of pre-encoded bytes, and only the checks a delivery needs on the way in.
#include "load/wire.h"

#include <cstring>

#include "load/failure.h"

namespace mqttq::bench {
namespace {

// Reads forward through one packet's body; running off its end is the broker's fault.
class BodyReader {
 public:
  explicit BodyReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }
  uint16_t two_bytes() {
    const auto bytes = take(2);
    return static_cast<uint16_t>(static_cast<unsigned>(bytes[0]) << 8 | static_cast<unsigned>(bytes[1]));
  }
  uint32_t varint() {
    uint32_t value = 0;
    for (uint32_t shift = 0; shift < 28; shift += 7) {
      const uint8_t digit = byte();
      value |= static_cast<uint32_t>(digit & 0x7f) << shift;
      if ((digit & 0x80) == 0) return value;
    }
    throw Failure("the broker sent a Variable Byte Integer of more than 4 bytes");
  }
  std::span<const std::byte> take(size_t size) {
    if (size > bytes_.size()) throw Failure("the broker sent a packet shorter than its fields");
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }
  std::span<const std::byte> rest() { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

void add_byte(std::string& out, unsigned value) { out.push_back(static_cast<char>(value)); }

void add_two_bytes(std::string& out, uint32_t value) {
  add_byte(out, value >> 8);
  add_byte(out, value & 0xff);
}

void add_four_bytes(std::string& out, uint32_t value) {
  add_two_bytes(out, value >> 16);
  add_two_bytes(out, value & 0xffff);
}

void add_varint(std::string& out, uint32_t value) {
  do {
    const uint32_t digit = value & 0x7f;
    value >>= 7;
    add_byte(out, value != 0 ? digit | 0x80 : digit);
  } while (value != 0);
}

void add_string(std::string& out, std::string_view text) {
  if (text.size() > 65535) throw UsageError("a topic or client id of more than 65535 bytes");
  add_two_bytes(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

std::string with_fixed_header(unsigned first_byte, std::string_view body) {
  std::string packet;
  packet.reserve(body.size() + 5);
  add_byte(packet, first_byte);
  add_varint(packet, static_cast<uint32_t>(body.size()));
  packet.append(body);
  return packet;
}

void put_packet(Buffer& out, unsigned first_byte, std::string_view body) {
  const std::string packet = with_fixed_header(first_byte, body);
  out.append(packet.data(), packet.size());
}

// The size of a property's value (MQTT5 2.2.2.2), given the bytes behind its identifier.
void skip_property(BodyReader& reader, uint32_t identifier) {
  switch (identifier) {
    case 0x01:
    case 0x17:
    case 0x19:
    case 0x24:
    case 0x25:
    case 0x28:
    case 0x29:
    case 0x2a: reader.take(1); return;
    case 0x13:
    case 0x21:
    case 0x22:
    case 0x23: reader.take(2); return;
    case 0x02:
    case 0x11:
    case 0x18:
    case 0x27: reader.take(4); return;
    case 0x0b: reader.varint(); return;
    case 0x03:
    case 0x08:
    case 0x09:
    case 0x12:
    case 0x15:
    case 0x16:
    case 0x1a:
    case 0x1c:
    case 0x1f: reader.take(reader.two_bytes()); return;
    case 0x26:
      reader.take(reader.two_bytes());
      reader.take(reader.two_bytes());
      return;
    default: throw Failure("the broker sent property " + std::to_string(identifier) + ", which MQTT 5 does not have");
  }
}

}  // namespace

void put_connect(Buffer& out, const ConnectOptions& options) {
  const bool keep_session = options.session_expiry_s != 0;
  const bool clean = options.version == Version::V311 ? options.clean_start && !keep_session : options.clean_start;
  std::string body;
  add_string(body, "MQTT");
  add_byte(body, static_cast<unsigned>(options.version));
  add_byte(body, clean ? 0x02 : 0x00);
  add_two_bytes(body, 0);  // Keep Alive off: no timer of ours, none of the broker's
  if (options.version == Version::V5) {
    std::string properties;
    if (keep_session) {
      add_byte(properties, 0x11);
      add_four_bytes(properties, options.session_expiry_s);
    }
    add_varint(body, static_cast<uint32_t>(properties.size()));
    body.append(properties);
  }
  add_string(body, options.client_id);
  put_packet(out, 0x10, body);
}

void put_subscribe(Buffer& out, Version version, uint16_t packet_id, std::span<const std::string> filters,
                   uint8_t qos) {
  std::string body;
  add_two_bytes(body, packet_id);
  if (version == Version::V5) add_varint(body, 0);
  for (const std::string& filter : filters) {
    add_string(body, filter);
    add_byte(body, qos);
  }
  put_packet(out, 0x82, body);
}

void put_unsubscribe(Buffer& out, Version version, uint16_t packet_id, std::string_view filter) {
  std::string body;
  add_two_bytes(body, packet_id);
  if (version == Version::V5) add_varint(body, 0);
  add_string(body, filter);
  put_packet(out, 0xa2, body);
}

void put_acknowledgement(Buffer& out, PacketType type, uint16_t packet_id) {
  const unsigned flags = type == PacketType::Pubrel ? 0x02 : 0x00;  // [MQTT-3.6.1-1]
  std::byte* to = out.extend(4);
  to[0] = static_cast<std::byte>(static_cast<unsigned>(type) << 4 | flags);
  to[1] = std::byte{2};
  to[2] = static_cast<std::byte>(packet_id >> 8);
  to[3] = static_cast<std::byte>(packet_id & 0xff);
}

void put_pingreq(Buffer& out) { out.append("\xc0\x00", 2); }

void put_disconnect(Buffer& out, Version version, bool end_session) {
  if (version == Version::V5 && end_session) {
    out.append("\xe0\x07\x00\x05\x11\x00\x00\x00\x00", 9);  // Session Expiry Interval 0
  } else {
    out.append("\xe0\x00", 2);
  }
}

PublishTemplate make_publish(Version version, std::string_view topic, uint8_t qos, bool retain, uint32_t payload_size) {
  if (payload_size < sizeof(Stamp)) throw UsageError("a payload holds at least the 16 bytes of its stamp");
  std::string body;
  add_string(body, topic);
  const size_t id_in_body = body.size();
  if (qos != 0) add_two_bytes(body, 0);
  if (version == Version::V5) add_varint(body, 0);
  const size_t payload_in_body = body.size();
  body.append(payload_size, 'x');
  PublishTemplate made;
  made.bytes = with_fixed_header(0x30u | static_cast<unsigned>(qos) << 1 | (retain ? 1u : 0u), body);
  const size_t header_size = made.bytes.size() - body.size();
  made.packet_id_offset = qos == 0 ? 0 : static_cast<uint32_t>(header_size + id_in_body);
  made.payload_offset = static_cast<uint32_t>(header_size + payload_in_body);
  return made;
}

void put_publish(Buffer& out, const PublishTemplate& publish, uint16_t packet_id, const Stamp& stamp) {
  std::byte* to = out.extend(publish.bytes.size());
  std::memcpy(to, publish.bytes.data(), publish.bytes.size());
  if (publish.packet_id_offset != 0) {
    to[publish.packet_id_offset] = static_cast<std::byte>(packet_id >> 8);
    to[publish.packet_id_offset + 1] = static_cast<std::byte>(packet_id & 0xff);
  }
  std::memcpy(to + publish.payload_offset, &stamp, sizeof stamp);
}

size_t next_frame(std::span<const std::byte> bytes, Frame& frame) {
  if (bytes.size() < 2) return 0;
  size_t at = 1;
  size_t body_size = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (shift == 28) throw Failure("the broker sent a Remaining Length of more than 4 bytes");
    if (at == bytes.size()) return 0;
    const auto digit = static_cast<uint8_t>(bytes[at++]);
    body_size |= static_cast<size_t>(digit & 0x7f) << shift;
    if ((digit & 0x80) == 0) break;
  }
  if (bytes.size() - at < body_size) return 0;
  frame.first_byte = static_cast<uint8_t>(bytes[0]);
  frame.body = bytes.subspan(at, body_size);
  return at + body_size;
}

Connack read_connack(const Frame& frame, Version version) {
  BodyReader reader(frame.body);
  Connack connack{};
  connack.session_present = (reader.byte() & 1) != 0;
  connack.reason_code = reader.byte();
  connack.receive_maximum = 65535;
  if (version != Version::V5) return connack;
  BodyReader properties(reader.take(reader.varint()));
  while (!properties.rest().empty()) {
    const uint32_t identifier = properties.varint();
    if (identifier == 0x21) {
      connack.receive_maximum = properties.two_bytes();
    } else {
      skip_property(properties, identifier);
    }
  }
  return connack;
}

Publish read_publish(const Frame& frame, Version version) {
  BodyReader reader(frame.body);
  Publish publish{};
  publish.qos = static_cast<uint8_t>(frame.first_byte >> 1 & 3);
  publish.dup = (frame.first_byte & 8) != 0;
  publish.retain = (frame.first_byte & 1) != 0;
  const auto topic = reader.take(reader.two_bytes());
  publish.topic_name = {reinterpret_cast<const char*>(topic.data()), topic.size()};
  if (publish.qos != 0) publish.packet_id = reader.two_bytes();
  if (version == Version::V5) reader.take(reader.varint());
  publish.payload = reader.rest();
  return publish;
}

uint16_t read_packet_id(const Frame& frame) { return BodyReader(frame.body).two_bytes(); }

uint8_t read_acknowledgement_code(const Frame& frame) {
  return frame.body.size() > 2 ? static_cast<uint8_t>(frame.body[2]) : 0;
}

std::span<const std::byte> read_suback_codes(const Frame& frame, Version version) {
  BodyReader reader(frame.body);
  reader.two_bytes();
  if (version == Version::V5) reader.take(reader.varint());
  return reader.rest();
}

Stamp read_stamp(std::span<const std::byte> payload) {
  Stamp stamp;
  if (payload.size() < sizeof stamp) throw Failure("the broker delivered a payload that is cut short");
  std::memcpy(&stamp, payload.data(), sizeof stamp);
  return stamp;
}

}  // namespace mqttq::bench
