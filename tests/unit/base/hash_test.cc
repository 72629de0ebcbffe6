// The hash: the same for the same, spread for what differs little, and another with another seed.
#include "base/hash.h"

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>

namespace mqttq {

TEST_CASE("equal bytes hash alike wherever they lie", "[base]") {
  const std::string text = "sensors/kitchen/temperature/1";
  for (size_t size = 0; size <= text.size(); ++size) {
    for (size_t shift = 0; shift < 8; ++shift) {
      const std::string moved = std::string(shift, 'x') + text;
      CHECK(hash_text(std::string_view(moved).substr(shift, size), 7) ==
            hash_text(std::string_view(text).substr(0, size), 7));
    }
  }
}

TEST_CASE("each bit of the bytes, their length and the seed count", "[base]") {
  for (const size_t size : {1u, 3u, 4u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 32u, 33u, 64u}) {
    const std::string text(size, 'a');
    const uint64_t hash = hash_text(text, 1);
    CHECK(hash != hash_text(text, 2));
    CHECK(hash != hash_text(text + std::string(1, '\0'), 1));
    int changed = 0, flips = 0;
    for (size_t at = 0; at < size; ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string other = text;
        other[at] = static_cast<char>(other[at] ^ (1 << bit));
        const uint64_t other_hash = hash_text(other, 1);
        CHECK(other_hash != hash);
        changed += std::popcount(hash ^ other_hash);
        ++flips;
      }
    }
    CHECK(changed > flips * 24);  // of 64 bits about half
    CHECK(changed < flips * 40);
  }
}

TEST_CASE("numbered topics fall into different buckets", "[base]") {
  std::set<uint64_t> whole;
  std::set<uint64_t> buckets;
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t hash = hash_text("devices/" + std::to_string(i) + "/state", 99);
    whole.insert(hash);
    buckets.insert(hash % 16'384);
  }
  CHECK(whole.size() == 10'000);
  CHECK(buckets.size() > 7'000);  // chance would fill 7 484
}

}  // namespace mqttq
