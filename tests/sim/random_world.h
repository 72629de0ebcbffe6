// A random run: clients that do what clients do, and a network that does what networks do, both chosen by the seed.
#pragma once

#include "client.h"
#include "world.h"

namespace mqttq::sim {

// Runs one world to its end and judges it. Throws Failure.
// refusals_in_1000: calls to the allocator that fail, until the end comes near.
void run_random_world(uint64_t seed, uint32_t refusals_in_1000 = 0);

}  // namespace mqttq::sim
