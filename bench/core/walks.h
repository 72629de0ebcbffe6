// Fixed inputs through the walk of a PUBLISH, the same instructions each time: what a profiler counts is comparable.
#pragma once

#include <cstdint>

namespace mqttq::bench {

// Runs `count` messages of a case. Throws std::runtime_error if there is no such case, or messages are missing.
void walk(const char* name, uint32_t count);
// "decode, qos0, …".
const char* walk_names() noexcept;

}  // namespace mqttq::bench
