// Plays the data files: every block as it says, and everything that follows from a packet being valid.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>

#include "codec/frame.h"
#include "codec_case.h"
#include "codec_describe.h"
#include "unit/hex.h"

namespace mqttq::conformance {

namespace {

using Packet = std::vector<std::byte>;

Bytes body_of(const Packet& packet) {
  const auto frame = codec::scan_frame(packet);
  return Bytes(packet).subspan(frame.header_size);
}

// A packet with this first byte and body. length_size: bytes of its Remaining Length, 0 = as few as possible.
Packet packet_of(std::byte first, Bytes body, size_t length_size = 0) {
  if (length_size == 0) length_size = codec::varint_size(static_cast<uint32_t>(body.size()));
  Packet packet{first};
  for (size_t index = 0; index < length_size; index += 1) {
    const size_t bits = body.size() >> 7 * index & 0x7F;
    packet.push_back(static_cast<std::byte>(bits | (index + 1 < length_size ? 0x80 : 0)));
  }
  packet.insert(packet.end(), body.begin(), body.end());
  return packet;
}

bool refused(const Packet& packet, ProtocolVersion version) {
  return play(packet, version).reason != ReasonCode::Success;
}

// A buffer of its own, so that a sanitizer sees a read behind the end of what is there.
Packet copy_of(Bytes bytes) { return Packet(bytes.begin(), bytes.end()); }

// The Remaining Length is believed only when exactly so much is there.
void check_lying_lengths(const CodecCase& given, ProtocolVersion version) {
  for (size_t size = 0; size < given.bytes.size(); size += 1) {
    CAPTURE(size);
    const Packet cut = copy_of(Bytes(given.bytes).first(size));
    CHECK(refused(cut, version));
    CHECK(codec::scan_frame(cut).kind != codec::Frame::Kind::Complete);
  }
  Packet more = given.bytes;
  more.push_back(std::byte{0});
  CHECK(refused(more, version));
  CHECK(codec::scan_frame(more).kind == codec::Frame::Kind::Complete);
  CHECK(codec::scan_frame(more).size == given.bytes.size());
}

// What is cut off or added with a Remaining Length that admits it is a packet only where the block says so.
void check_other_sizes(const CodecCase& given, ProtocolVersion version) {
  const Bytes body = body_of(given.bytes);
  for (size_t size = 0; size < body.size(); size += 1) {
    CAPTURE(size);
    CHECK(refused(packet_of(given.bytes[0], body.first(size)), version) != given.shorter.contains(size));
  }
  Packet longer = copy_of(body);
  longer.push_back(std::byte{0});
  CHECK(refused(packet_of(given.bytes[0], longer), version) != given.longer);
}

// All flags but those of PUBLISH are reserved. 3.1 also has a DUP flag for requests that are sent again.
void check_flags(const CodecCase& given, ProtocolVersion version) {
  const auto first = std::to_integer<unsigned>(given.bytes[0]);
  if (first >> 4 == static_cast<unsigned>(codec::PacketType::Publish)) return;
  for (unsigned flags = 0; flags < 16; flags += 1) {
    if (flags == (first & 0x0F)) continue;
    CAPTURE(flags);
    Packet packet = given.bytes;
    packet[0] = static_cast<std::byte>((first & 0xF0) | flags);
    const bool is_repeat = version == ProtocolVersion::V31 && (first & 0x07) == 0x02 && (flags & 0x07) == 0x02;
    CHECK(refused(packet, version) != is_repeat);
  }
}

// Only version 5 forbids to write a length in more bytes than it needs.
void check_long_remaining_length(const CodecCase& given, ProtocolVersion version) {
  const auto type = static_cast<codec::PacketType>(std::to_integer<unsigned>(given.bytes[0]) >> 4);
  if (type == codec::PacketType::Pingreq || type == codec::PacketType::Pingresp) return;  // always two bytes
  const Bytes body = body_of(given.bytes);
  for (size_t length_size = given.bytes.size() - body.size(); length_size <= 4; length_size += 1) {
    CAPTURE(length_size);
    const Packet packet = packet_of(given.bytes[0], body, length_size);
    CHECK(refused(packet, version) == (version == ProtocolVersion::V5));
    CHECK(codec::scan_frame(packet).size == packet.size());
  }
  CHECK(codec::scan_frame(packet_of(given.bytes[0], body, 5)).kind == codec::Frame::Kind::Malformed);
}

// Whatever single bit is turned: what still decodes encodes to the same meaning.
void check_bit_flips(const CodecCase& given, ProtocolVersion version) {
  for (size_t bit = 0; bit < given.bytes.size() * 8; bit += 1) {
    Packet packet = given.bytes;
    packet[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const Outcome once = play(packet, version);
    if (once.reason != ReasonCode::Success) continue;
    // A CONNECT is of the version it says, which a bit may have changed.
    const Outcome twice = play(once.encoded, version);
    CAPTURE(bit);
    CHECK(twice.reason == ReasonCode::Success);
    CHECK(twice.encoded == once.encoded);
  }
}

void check_case(const CodecCase& given, ProtocolVersion version) {
  INFO(given.file << ":" << given.line << ": " << given.title << " (version " << static_cast<int>(version) << ")");
  const auto frame = codec::scan_frame(given.bytes);
  const bool length_is_true = frame.kind == codec::Frame::Kind::Complete && frame.size == given.bytes.size();
  // Otherwise a slip in the file would make a packet malformed for another reason than the one it is to show.
  REQUIRE(length_is_true != given.length_lies);

  const Outcome outcome = play(given.bytes, version);
  CHECK(to_text(outcome.reason) == to_text(given.expected));
  if (given.expected != ReasonCode::Success || outcome.reason != ReasonCode::Success) return;
  for (const std::string& field : given.fields) {
    INFO("says:");
    for (const std::string& line : outcome.fields) UNSCOPED_INFO("  " << line);
    INFO("wanted: " << field);
    CHECK(std::count(outcome.fields.begin(), outcome.fields.end(), field) >= 1);
  }
  CHECK(outcome.encoded == given.encodes);
  CHECK(play(outcome.encoded, version).encoded == outcome.encoded);
  check_lying_lengths(given, version);
  check_other_sizes(given, version);
  check_flags(given, version);
  check_long_remaining_length(given, version);
  check_bit_flips(given, version);
}

// count_min: blocks that the file has to have, so that one lost by a slip is missed.
void check_file(const std::string& name, size_t count_min) {
  const auto cases = read_codec_cases(name);
  CHECK(cases.size() >= count_min);
  for (const CodecCase& given : cases) {
    for (const ProtocolVersion version : given.versions) check_case(given, version);
  }
}

}  // namespace

TEST_CASE("CONNECT packets are what their data file says", "[conformance][codec]") { check_file("connect.txt", 151); }
TEST_CASE("CONNACK packets are what their data file says", "[conformance][codec]") { check_file("connack.txt", 59); }
TEST_CASE("PUBLISH packets are what their data file says", "[conformance][codec]") { check_file("publish.txt", 94); }
TEST_CASE("PUBACK, PUBREC, PUBREL and PUBCOMP packets are what their data file says", "[conformance][codec]") {
  check_file("ack.txt", 111);
}
TEST_CASE("SUBSCRIBE packets are what their data file says", "[conformance][codec]") {
  check_file("subscribe.txt", 53);
}
TEST_CASE("SUBACK and UNSUBACK packets are what their data file says", "[conformance][codec]") {
  check_file("suback.txt", 44);
}
TEST_CASE("UNSUBSCRIBE packets are what their data file says", "[conformance][codec]") {
  check_file("unsubscribe.txt", 29);
}
TEST_CASE("PINGREQ and PINGRESP packets are what their data file says", "[conformance][codec]") {
  check_file("ping.txt", 16);
}
TEST_CASE("DISCONNECT packets are what their data file says", "[conformance][codec]") {
  check_file("disconnect.txt", 37);
}
TEST_CASE("AUTH packets are what their data file says", "[conformance][codec]") { check_file("auth.txt", 28); }
TEST_CASE("Impossible packets are what their data file says", "[conformance][codec]") { check_file("frame.txt", 5); }

}  // namespace mqttq::conformance
