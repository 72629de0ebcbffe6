// lib/message/reason_code.cc: the table of section 2.4.
#include "message/reason_code.h"

#include <catch2/catch_test_macros.hpp>
#include <set>

namespace mqttq {

TEST_CASE("the reason codes are those of section 2.4", "[message]") {
  const std::set<unsigned> below = {0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19};
  for (unsigned value = 0; value < 256; value += 1) {
    CAPTURE(value);
    const bool expected = below.contains(value) || (value >= 0x80 && value <= 0xA2);
    CHECK(is_reason_code(static_cast<uint8_t>(value)) == expected);
    CHECK((to_text(static_cast<ReasonCode>(value)) != "unknown reason code") == expected);
    CHECK(is_error(static_cast<ReasonCode>(value)) == (value >= 0x80));
  }
}

TEST_CASE("no two reason codes share a text", "[message]") {
  std::set<std::string_view> texts;
  size_t count = 0;
  for (unsigned value = 0; value < 256; value += 1) {
    if (!is_reason_code(static_cast<uint8_t>(value))) continue;
    texts.insert(to_text(static_cast<ReasonCode>(value)));
    count += 1;
  }
  CHECK(texts.size() == count);
  CHECK(to_text(ReasonCode::TopicAliasInvalid) == "topic alias invalid");
}

}  // namespace mqttq
