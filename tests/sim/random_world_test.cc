// Random worlds: the broker under whatever clients and networks do, judged by the model.
#include <catch2/catch_test_macros.hpp>

#include "random_world.h"

using namespace mqttq;

TEST_CASE("nothing is lost, doubled, misplaced or left over in random worlds", "[sim]") {
  const std::vector<uint64_t> seeds = sim::seeds(1000);
  sim::Judged all;
  for (const uint64_t seed : seeds) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    const sim::Judged judged = sim::run_random_world(seed);
    all.from_queues += judged.from_queues;
    all.exact_depths += judged.exact_depths;
  }
  if (seeds.size() == 1) return;
  CHECK(all.from_queues > 5 * seeds.size());
  CHECK(all.exact_depths > seeds.size() / 10);
}

TEST_CASE("random worlds outlive memory that is refused now and then", "[sim]") {
  for (const uint64_t seed : sim::seeds(500)) {
    const uint32_t refusals_in_1000 = seed % 3 == 0 ? 100 : seed % 3 == 1 ? 20 : 4;
    INFO("MQTTQ_SIM_SEED=" << seed);
    sim::run_random_world(seed, refusals_in_1000);
  }
}
