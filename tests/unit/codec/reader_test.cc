// lib/codec/reader.h and writer.h: the primitive types, read and written.
#include "codec/reader.h"

#include <catch2/catch_test_macros.hpp>

#include "unit/codec/written.h"
#include "unit/hex.h"

namespace mqttq::codec {

TEST_CASE("what is written is read back, big end first", "[codec]") {
  const auto bytes = written([](Writer& out) {
    out.u8(0x12);
    out.u16(0x3456);
    out.u32(0x789A'BCDE);
    out.prefixed("abc");
    out.raw(as_bytes("d"));
  });
  CHECK(bytes == hex("12 34 56 78 9a bc de 00 03 'abc' 'd'"));
  Reader in(bytes);
  uint8_t one = 0;
  uint16_t two = 0;
  uint32_t four = 0;
  std::string_view text;
  REQUIRE(in.u8(one));
  REQUIRE(in.u16(two));
  REQUIRE(in.u32(four));
  REQUIRE(in.text(text));
  CHECK(one == 0x12);
  CHECK(two == 0x3456);
  CHECK(four == 0x789A'BCDE);
  CHECK(text == "abc");
  CHECK(as_text(in.rest()) == "d");
  CHECK(in.left() == 1);
}

TEST_CASE("nothing is read that is not wholly there", "[codec]") {
  const auto bytes = hex("00 03 61");
  uint8_t one = 0;
  uint16_t two = 0;
  uint32_t four = 0;
  Bytes data;
  CHECK_FALSE(Reader().u8(one));
  CHECK_FALSE(Reader(Bytes(bytes).first(1)).u16(two));
  CHECK_FALSE(Reader(bytes).u32(four));
  CHECK_FALSE(Reader(bytes).binary(data));
  CHECK_FALSE(Reader(Bytes(bytes).first(1)).binary(data));
  CHECK_FALSE(Reader(bytes).bytes(4, data));
  CHECK(Reader(bytes).bytes(3, data));
}

TEST_CASE("a Variable Byte Integer takes the fewest bytes, and is read in those only", "[codec][MQTT-1.5.5-1]") {
  struct Border {
    uint32_t value;
    const char* bytes;
  };
  for (const auto& border :
       {Border{0, "00"}, Border{127, "7f"}, Border{128, "80 01"}, Border{16'383, "ff 7f"}, Border{16'384, "80 80 01"},
        Border{2'097'151, "ff ff 7f"}, Border{2'097'152, "80 80 80 01"}, Border{268'435'455, "ff ff ff 7f"}}) {
    const uint32_t value = border.value;
    CAPTURE(value);
    const auto bytes = written([&](Writer& out) { out.varint(value); });
    CHECK(bytes == hex(border.bytes));
    CHECK(varint_size(value) == bytes.size());
    Reader in(bytes);
    uint32_t read = 0;
    REQUIRE(in.varint(read));
    CHECK(read == value);
    CHECK(in.left() == 0);
    CHECK_FALSE(Reader(Bytes(bytes).first(bytes.size() - 1)).varint(read));
  }
  for (const auto* text : {"80 00", "81 00", "ff 80 00", "80 80 80 00", "80 80 80 80 01", "ff ff ff ff 7f", ""}) {
    CAPTURE(text);
    uint32_t read = 0;
    CHECK_FALSE(Reader(hex(text)).varint(read));
  }
}

TEST_CASE("text is UTF-8, binary data and judged-elsewhere text are any bytes", "[codec][MQTT-1.5.4-1]") {
  const auto bytes = hex("00 02 c3 28");
  std::string_view text;
  Bytes data;
  CHECK_FALSE(Reader(bytes).text(text));
  CHECK(Reader(bytes).unjudged_text(text));
  CHECK(Reader(bytes).binary(data));
  CHECK(data.size() == 2);
}

TEST_CASE("text may take 65 535 bytes", "[codec]") {
  const std::string longest(65'535, 'x');
  const auto bytes = written([&](Writer& out) { out.prefixed(longest); });
  CHECK(bytes.size() == 65'537);
  std::string_view text;
  REQUIRE(Reader(bytes).text(text));
  CHECK(text == longest);
}

TEST_CASE("the fixed header is believed when it says exactly what is there", "[codec]") {
  for (const size_t body_size : {0u, 1u, 127u, 128u, 129u, 16'383u, 16'384u}) {
    CAPTURE(body_size);
    auto packet = written([&](Writer& out) {
      out.u8(0x30);
      out.varint(static_cast<uint32_t>(body_size));
      for (size_t index = 0; index < body_size; index += 1) out.u8(0);
    });
    const size_t header_size = packet.size() - body_size;
    CHECK(fixed_header_size(packet, true) == header_size);
    CHECK(fixed_header_size(packet, false) == header_size);
    packet.push_back(std::byte{0});
    CHECK(fixed_header_size(packet, false) == 0);
    packet.pop_back();
    packet.pop_back();
    CHECK(fixed_header_size(packet, false) == 0);
  }
}

TEST_CASE("only some readers of a fixed header want it short", "[codec][MQTT-1.5.5-1]") {
  CHECK(fixed_header_size(hex("30 80 00"), true) == 0);
  CHECK(fixed_header_size(hex("30 80 00"), false) == 3);
  CHECK(fixed_header_size(hex("30 81 80 80 00 61"), true) == 0);
  CHECK(fixed_header_size(hex("30 81 80 80 00 61"), false) == 5);
  CHECK(fixed_header_size(hex("30 81 80 80 80 00 61"), false) == 0);
}

}  // namespace mqttq::codec
