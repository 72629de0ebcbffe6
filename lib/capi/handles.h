// What stands behind the opaque handles of the C edge.
#pragma once

#include <memory>
#include <string>

#include "broker/broker.h"
#include "mqttq/mqttq.h"

struct mqttq_broker final : private mqttq::LogSink {
  explicit mqttq_broker(const mqttq_broker_config& config);

  std::unique_ptr<mqttq::Broker> broker;
  bool host_loop = false;
  bool started = false;
  bool stopped = false;

 private:
  void write(mqttq::LogLevel level, std::string_view text) noexcept override;

  mqttq_log_fn log_ = nullptr;
  void* log_user_ = nullptr;
};

struct mqttq_listener {
  mqttq_broker* broker = nullptr;
  uint32_t id = 0;
  std::string address;
};
