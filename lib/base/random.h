// Pseudo-random numbers from a seed that is handed in, for choices that need no secrecy.
#pragma once

#include <cstdint>

namespace mqttq {

// SplitMix64 (Steele, Lea, Flood 2014): one word of state, each seed another sequence.
class Random {
 public:
  explicit Random(uint64_t seed) noexcept : state_(seed) {}
  uint64_t next() noexcept {
    uint64_t z = (state_ += 0x9E37'79B9'7F4A'7C15u);
    z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9u;
    z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EBu;
    return z ^ (z >> 31);
  }
  // 0 .. bound-1; bound at least 1. The bias of the modulus is below bound / 2^64.
  uint64_t below(uint64_t bound) noexcept { return next() % bound; }

 private:
  uint64_t state_;
};

}  // namespace mqttq
