// The list of things that can be measured.
#pragma once

#include <span>
#include <string_view>

#include "load/options.h"

namespace mqttq::bench {

struct Scenario {
  std::string_view name;
  std::string_view help;
  // Runs once and prints one line for each thing it measured. Throws Failure, Unsupported or UsageError.
  void (*run)(const Options& options);
};

std::span<const Scenario> scenarios();

void run_pairs(const Options& options);
void run_fan_out(const Options& options);
void run_fan_in(const Options& options);
void run_shared(const Options& options);
void run_queue(const Options& options);
void run_stream(const Options& options);
void run_latency(const Options& options);
void run_wildcards(const Options& options);
void run_retained(const Options& options);
void run_offline(const Options& options);
void run_connects(const Options& options);
void run_pings(const Options& options);
void run_idle(const Options& options);

}  // namespace mqttq::bench
