// Random worlds: the broker under whatever clients and networks do, judged by the model.
#include <catch2/catch_test_macros.hpp>

#include "random_world.h"

using namespace mqttq;

TEST_CASE("nothing is lost, doubled, misplaced or left over in random worlds", "[sim]") {
  for (const uint64_t seed : sim::seeds(1000)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    sim::run_random_world(seed);
  }
}
