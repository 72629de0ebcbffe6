// How much of what is drawn by lot a test takes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace mqttq {

// `usual`, or in proportion: MQTTQ_SIM_SEEDS=n takes n where it is 1000 otherwise; one at least.
inline uint64_t seed_count(uint64_t usual) {
  const char* text = std::getenv("MQTTQ_SIM_SEEDS");
  return text ? std::max<uint64_t>(1, usual * std::strtoull(text, nullptr, 10) / 1000) : usual;
}

}  // namespace mqttq
