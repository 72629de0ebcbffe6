// The messages of a run: everything about message n follows from the seed and n, so that checks need no memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "layouts/record.h"

namespace mqttq::layouts {

class Generator {
 public:
  static constexpr size_t kTopicSize = 30;
  static constexpr size_t kPayloadSize = 100;
  static constexpr size_t kFanoutMax = 16;
  using Journals = std::array<uint64_t, kFanoutMax>;

  // Memory that a message looks into.
  struct Storage {
    Journals journals;
    std::array<char, kTopicSize> topic;
    std::array<char, kPayloadSize + 4> payload;
  };

  Generator(uint64_t seed, uint64_t journals, uint64_t fanout)
      : seed_(seed), journals_(journals), fanout_(std::min(fanout, journals)) {}

  [[nodiscard]] uint64_t fanout() const { return fanout_; }

  // The distinct journals of a message, uniformly chosen.
  std::span<const uint64_t> journals(uint64_t number, Journals& out) const {
    uint64_t state = mix(seed_ ^ number * 0x9e3779b97f4a7c15);
    for (size_t i = 0; i < fanout_;) {
      state = mix(state);
      out[i] = static_cast<uint64_t>((static_cast<unsigned __int128>(state) * journals_) >> 64);
      if (std::find(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(i), out[i]) ==
          out.begin() + static_cast<std::ptrdiff_t>(i))
        ++i;
    }
    return {out.data(), fanout_};
  }

  Message message(uint64_t number, Storage& storage) const {
    Message message;
    message.number = number;
    message.time_s = static_cast<uint32_t>(1'700'000'000 + number / 1000);
    message.publisher = static_cast<uint32_t>(mix(number));
    message.journals = journals(number, storage.journals);
    uint64_t word = mix(number + seed_);
    std::memcpy(storage.topic.data(), "site/0123456789/device/0123456", kTopicSize);
    std::memcpy(storage.topic.data() + 5, &word, 8);
    for (size_t at = 0; at < storage.payload.size(); at += 8) {
      word = word * 6364136223846793005 + 1442695040888963407;
      std::memcpy(storage.payload.data() + at, &word, 8);
    }
    message.topic = {storage.topic.data(), kTopicSize};
    message.payload = {storage.payload.data(), kPayloadSize};
    return message;
  }

 private:
  static uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
  }

  uint64_t seed_;
  uint64_t journals_;
  uint64_t fanout_;
};

}  // namespace mqttq::layouts
