// The one line that a measurement prints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "load/histogram.h"
#include "load/meter.h"
#include "load/options.h"

namespace mqttq::bench {

// The clocks at one end of a measured window.
struct Reading {
  uint64_t wall_ns = 0;
  uint64_t broker_ns = 0;
  uint64_t load_ns = 0;
};

// Reads wall, broker and own CPU time together.
class Meter {
 public:
  explicit Meter(const Options& options);
  Reading read() const;

 private:
  std::vector<CpuClock> broker_;
  CpuClock load_;
};

// Collects `key=value` pairs and prints them as one line: scenario first, then what was measured, then what it was
// measured with. Values hold no white space.
class Report {
 public:
  Report(const Options& options, std::string_view scenario);

  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, uint64_t value) { add(key, std::to_string(value)); }
  void add(std::string_view key, double value, int decimals);

  // `count` messages between two readings: msgs, seconds, msgs_per_s, msgs_per_cpu_s, cpu_ns_per_msg, and the share of
  // a core that the broker and this program used. Without --pid the figures that need the broker's
  // CPU time are left out.
  void add_throughput(uint64_t count, const Reading& from, const Reading& to);

  // p50_us, p99_us, p999_us, max_us and latency_count behind `prefix`; nothing when no latency was recorded.
  void add_latency(const std::string& prefix, const Histogram& histogram);

  // To standard output, flushed.
  void print() const;

 private:
  bool measures_broker_;
  std::string line_;
  std::string setting_;
};

}  // namespace mqttq::bench
