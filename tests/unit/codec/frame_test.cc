// lib/codec/frame.cc: where one packet ends and the next begins.
#include "codec/frame.h"

#include <catch2/catch_test_macros.hpp>

#include "message/qos.h"
#include "unit/hex.h"

namespace mqttq::codec {

namespace {

// A packet header that announces `size` bytes behind it, in as few bytes as possible; nothing behind it is there.
std::vector<std::byte> header_of(uint32_t size) {
  std::vector<std::byte> bytes{std::byte{0x30}};
  for (; size >= 0x80; size >>= 7) bytes.push_back(static_cast<std::byte>(size | 0x80));
  bytes.push_back(static_cast<std::byte>(size));
  return bytes;
}

}  // namespace

TEST_CASE("no bytes are no packet yet", "[codec]") { CHECK(scan_frame({}).kind == Frame::Kind::Incomplete); }

TEST_CASE("a length that goes on is not known yet", "[codec]") {
  for (const auto* text : {"30", "30 80", "30 ff ff", "30 80 80 80"}) {
    CAPTURE(text);
    CHECK(scan_frame(hex(text)).kind == Frame::Kind::Incomplete);
  }
}

TEST_CASE("a length of more than four bytes is malformed as soon as the fourth one goes on", "[codec]") {
  CHECK(scan_frame(hex("30 80 80 80 80")).kind == Frame::Kind::Malformed);
  CHECK(scan_frame(hex("30 ff ff ff ff 01")).kind == Frame::Kind::Malformed);
}

TEST_CASE("the packet type 0 is malformed before its length is there", "[codec]") {
  CHECK(scan_frame(hex("00")).kind == Frame::Kind::Malformed);
  CHECK(scan_frame(hex("0f 00")).kind == Frame::Kind::Malformed);
}

TEST_CASE("all that the first byte says is told, and not judged", "[codec]") {
  for (unsigned first = 0x10; first < 0x100; first += 1) {
    const std::vector<std::byte> bytes{static_cast<std::byte>(first), std::byte{0}};
    const Frame frame = scan_frame(bytes);
    CHECK(frame.kind == Frame::Kind::Complete);
    CHECK(static_cast<unsigned>(frame.type) == first >> 4);
    CHECK(frame.flags == (first & 0x0F));
    CHECK(frame.header_size == 2);
    CHECK(frame.size == 2);
  }
}

TEST_CASE("the length is read at each of its borders", "[codec]") {
  for (const uint32_t size : {0u, 1u, 127u, 128u, 16'383u, 16'384u, 2'097'151u, 2'097'152u, kRemainingLengthMax}) {
    CAPTURE(size);
    const auto header = header_of(size);
    const Frame frame = scan_frame(header);
    CHECK(frame.kind == (size == 0 ? Frame::Kind::Complete : Frame::Kind::Partial));
    CHECK(frame.header_size == header.size());
    CHECK(frame.size == header.size() + size);
    CHECK(frame.type == PacketType::Publish);
  }
}

TEST_CASE("a packet is complete when its last byte is there, whatever follows", "[codec]") {
  const auto bytes = hex("32 03 00 01 'a' c0 00");
  CHECK(scan_frame(Bytes(bytes).first(4)).kind == Frame::Kind::Partial);
  CHECK(scan_frame(Bytes(bytes).first(5)).kind == Frame::Kind::Complete);
  CHECK(scan_frame(bytes).kind == Frame::Kind::Complete);
  CHECK(scan_frame(bytes).size == 5);
  CHECK(scan_frame(bytes).flags == 0x02);
}

}  // namespace mqttq::codec
