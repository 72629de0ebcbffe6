// How much a queue holds, and what is let in.
#include "router/queue_gate.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

namespace mqttq {

TEST_CASE("a queue that refuses lets nothing in that would be over either of its bounds", "[router]") {
  QueueGate gate;
  gate.set_limits(3, 100, GENERATE(QueueOverflow::Reject, QueueOverflow::DropNewest));
  CHECK_FALSE(gate.enter(101));
  CHECK(gate.enter(60));
  CHECK_FALSE(gate.enter(41));
  CHECK(gate.enter(40));
  CHECK(gate.bytes() == 100);
  CHECK(gate.enter(0));
  CHECK_FALSE(gate.enter(0));
  CHECK(gate.messages() == 3);
  CHECK(gate.refused_count() == 3);
  gate.leave(1, 60);
  CHECK_FALSE(gate.enter(61));
  CHECK(gate.enter(60));
  gate.leave(3, 100);
  CHECK(gate.messages() == 0);
  CHECK(gate.bytes() == 0);
  CHECK(gate.refused_count() == 4);
}

TEST_CASE("a queue of which the oldest makes way lets everything in, and counts it", "[router]") {
  QueueGate gate;
  gate.set_limits(1, 10, QueueOverflow::DropOldest);
  CHECK(gate.enter(5));
  CHECK(gate.enter(10));
  CHECK(gate.messages() == 2);
  CHECK(gate.bytes() == 15);
  CHECK(gate.refused_count() == 0);
  CHECK_FALSE(gate.enter(11));  // for which all others would have to go, and itself
  CHECK(gate.refused_count() == 1);
}

TEST_CASE("what is in a queue when the broker starts is let in, and counts", "[router]") {
  QueueGate gate;
  CHECK(gate.overflow() == QueueOverflow::DropOldest);
  gate.set_limits(2, UINT64_MAX, QueueOverflow::Reject);
  for (int i = 0; i < 3; ++i) gate.add(UINT32_MAX);
  CHECK(gate.messages() == 3);
  CHECK(gate.bytes() == 3 * uint64_t{UINT32_MAX});
  CHECK_FALSE(gate.enter(1));
  gate.leave(2, 2 * uint64_t{UINT32_MAX});
  CHECK(gate.enter(UINT32_MAX));
  gate.set_limits(UINT64_MAX, UINT64_MAX, QueueOverflow::Reject);
  CHECK(gate.enter(UINT32_MAX));
}

}  // namespace mqttq
