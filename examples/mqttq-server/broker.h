// The broker that the options ask for, through the C ABI.
#pragma once

#include <memory>

#include "log.h"
#include "options.h"

namespace mqttq::server {

struct DestroyBroker {
  void operator()(mqttq_broker* broker) const noexcept { mqttq_broker_destroy(broker); }
};
using BrokerHandle = std::unique_ptr<mqttq_broker, DestroyBroker>;

// Makes one to see whether it could be, in memory. Throws OptionError if the library refuses an option,
// std::runtime_error if the system refuses what they need.
void judge_broker(Options options, Log& log);

// Makes one and starts it. log: outlives it. Throws as judge_broker() does.
BrokerHandle start_broker(const Options& options, Log& log);

}  // namespace mqttq::server
