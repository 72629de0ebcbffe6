// What a host or a configuration decides about the protocol besides its bounds. Set before shards run, and only read
// then.
#pragma once

#include "router/shared_strategy.h"

namespace mqttq {

struct Policy {
  SharedStrategies shared;
  bool exclusive_subscriptions = false;  // "$exclusive/…" is understood; else it is no valid filter
};

}  // namespace mqttq
