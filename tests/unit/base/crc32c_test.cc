// CRC-32C against values that everybody agrees on, and its two ways against each other.
#include "base/crc32c.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "base/random.h"

namespace mqttq {

TEST_CASE("CRC-32C is the one that others compute", "[base]") {
  CHECK(crc32c({}) == 0);
  CHECK(crc32c(as_bytes("123456789")) == 0xE306'9283);              // the check value of its registration
  CHECK(crc32c(as_bytes(std::string(32, '\0'))) == 0x8A91'36AA);    // RFC 3720, B.4
  CHECK(crc32c(as_bytes(std::string(32, '\xFF'))) == 0x62A8'AB43);  // RFC 3720, B.4
  CHECK(crc32c(as_bytes("6789"), crc32c(as_bytes("12345"))) == 0xE306'9283);
}

TEST_CASE("CRC-32C is the same by instruction and by table, in pieces and at any address", "[base]") {
  Random random(3);
  std::string text(300, '\0');
  for (char& one : text) one = static_cast<char>(random.below(256));
  for (int round = 0; round < 500; ++round) {
    const size_t start = random.below(300), size = random.below(300 - start + 1), cut = random.below(size + 1);
    const Bytes whole = as_bytes(text).subspan(start, size);
    const uint32_t sum = crc32c(whole);
    REQUIRE(crc32c_by_table(whole) == sum);
    REQUIRE(crc32c(whole.subspan(cut), crc32c(whole.first(cut))) == sum);
  }
}

}  // namespace mqttq
