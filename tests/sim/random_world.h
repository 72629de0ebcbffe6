// A random run: clients that do what clients do, and a network that does what networks do, both chosen by the seed.
#pragma once

#include "client.h"
#include "world.h"

namespace mqttq::sim {

// Runs one world to its end and judges it. Throws Failure.
void run_random_world(uint64_t seed);

}  // namespace mqttq::sim
