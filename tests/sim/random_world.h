// A random run: clients that do what clients do, and a network that does what networks do, both chosen by the seed.
#pragma once

#include "client.h"
#include "world.h"

namespace mqttq::sim {

// How much there was to judge.
struct Judged {
  uint64_t from_queues = 0;   // messages that came to consumers
  uint64_t exact_depths = 0;  // of queues that had some, compared with what they must be to a message
};

// Runs one world to its end and judges it. Throws Failure.
// refusals_in_1000: calls to the allocator that fail, until the end comes near.
Judged run_random_world(uint64_t seed, uint32_t refusals_in_1000 = 0);

}  // namespace mqttq::sim
