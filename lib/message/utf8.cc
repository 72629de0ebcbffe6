// UTF-8 as MQTT wants it (MQTT5 1.5.4). ASCII goes eight bytes at a time, the rest through an automaton.
#include "message/topic.h"
#include "message/word.h"

namespace mqttq {

namespace {

// The automaton's states: what the next byte has to be.
enum State : unsigned {
  kStart,      // the first byte of a character
  kLast,       // the last continuation byte
  kLastTwo,    // the first of two
  kLastThree,  // the first of three
  kAfterE0,    // A0..BF: below would fit in two bytes
  kAfterEd,    // 80..9F: above are the surrogates U+D800 to U+DFFF [MQTT-1.5.4-1]
  kAfterF0,    // 90..BF: below would fit in three bytes
  kAfterF4,    // 80..8F: above is beyond U+10FFFF
  kRefused,
  kStateCount,
};

constexpr State next_state(State state, unsigned byte) noexcept {
  const bool continuation = byte >= 0x80 && byte <= 0xBF;
  switch (state) {
    case kStart:
      if (byte >= 0x01 && byte <= 0x7F) return kStart;  // U+0000 is refused [MQTT-1.5.4-2]
      if (byte >= 0xC2 && byte <= 0xDF) return kLast;   // C0 and C1 would write ASCII in two bytes
      if (byte == 0xE0) return kAfterE0;
      if (byte == 0xED) return kAfterEd;
      if (byte >= 0xE1 && byte <= 0xEF) return kLastTwo;
      if (byte == 0xF0) return kAfterF0;
      if (byte == 0xF4) return kAfterF4;
      if (byte >= 0xF1 && byte <= 0xF3) return kLastThree;
      return kRefused;
    case kLast: return continuation ? kStart : kRefused;
    case kLastTwo: return continuation ? kLast : kRefused;
    case kLastThree: return continuation ? kLastTwo : kRefused;
    case kAfterE0: return continuation && byte >= 0xA0 ? kLast : kRefused;
    case kAfterEd: return continuation && byte <= 0x9F ? kLast : kRefused;
    case kAfterF0: return continuation && byte >= 0x90 ? kLastTwo : kRefused;
    case kAfterF4: return continuation && byte <= 0x8F ? kLastTwo : kRefused;
    default: return kRefused;
  }
}

// One word per byte value: six bits for each state, at six times its number, hold six times the next state. So a step
// is one shift, and the loads of several steps do not wait for each other.
constexpr unsigned kStateBits = 6;
static_assert(kStateCount * kStateBits <= 64);

struct Steps {
  uint64_t of[256] = {};
};

constexpr Steps make_steps() noexcept {
  Steps steps;
  for (unsigned byte = 0; byte < 256; byte += 1) {
    for (unsigned state = 0; state < kStateCount; state += 1) {
      steps.of[byte] |= uint64_t{next_state(static_cast<State>(state), byte) * kStateBits} << state * kStateBits;
    }
  }
  return steps;
}

constexpr Steps kSteps = make_steps();

}  // namespace

bool is_valid_utf8(std::string_view text) noexcept {
  if (word::none(text, word::not_ascii)) return true;
  const char* at = text.data();
  const char* const end = at + text.size();
  uint64_t state = kStart * kStateBits;  // only its lowest six bits count
  const auto step = [&] { state = kSteps.of[static_cast<uint8_t>(*at++)] >> (state & 63); };
  const auto is = [&](State expected) { return (state & 63) == expected * kStateBits; };
  while (end - at >= 8) {
    if (is(kStart) && word::not_ascii(word::load(at)) == 0) {
      at += 8;
      continue;
    }
    for (int left = 8; left > 0; left -= 1) step();
    if (is(kRefused)) return false;
  }
  while (at != end) step();
  return is(kStart);
}

}  // namespace mqttq
