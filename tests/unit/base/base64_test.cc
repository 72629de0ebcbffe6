// Bytes as text of 64 characters.
#include "base/base64.h"

#include <catch2/catch_test_macros.hpp>

#include "base/random.h"

namespace mqttq {

TEST_CASE("base64 is as RFC 4648 has it", "[base]") {
  // RFC 4648, section 10.
  const std::pair<std::string_view, std::string_view> known[] = {{"", ""},
                                                                 {"f", "Zg=="},
                                                                 {"fo", "Zm8="},
                                                                 {"foo", "Zm9v"},
                                                                 {"foob", "Zm9vYg=="},
                                                                 {"fooba", "Zm9vYmE="},
                                                                 {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : known) {
    std::string out;
    append_base64(as_bytes(plain), out);
    CHECK(out == text);
    std::vector<std::byte> back;
    CHECK(read_base64(text, back));
    CHECK(as_text(back) == plain);
  }
}

TEST_CASE("any bytes come back from base64", "[base]") {
  Random random(3);
  for (size_t size = 0; size < 200; ++size) {
    std::vector<std::byte> bytes(size), back;
    for (std::byte& one : bytes) one = static_cast<std::byte>(random.below(256));
    std::string text;
    append_base64(bytes, text);
    REQUIRE(read_base64(text, back));
    REQUIRE(back == bytes);
  }
}

TEST_CASE("what is no base64 is refused", "[base]") {
  for (const std::string_view text :
       {"Z", "Zg", "Zg=", "====", "Z===", "Zg==Zg==", "Zh==", "Zm9=", "Zm 8", "Zm-_", "Zm9v=", "=m9v"}) {
    INFO(text);
    std::vector<std::byte> back;
    CHECK_FALSE(read_base64(text, back));
  }
}

}  // namespace mqttq
