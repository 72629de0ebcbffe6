// See report.h.
#include "load/report.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "load/failure.h"
#include "load/loop.h"

namespace mqttq::bench {
namespace {

std::string without_white_space(std::string_view text) {
  std::string made;
  for (const char c : text) {
    if (c != ' ' && c != '\t' && c != '\n') {
      made.push_back(c);
    } else if (!made.empty() && made.back() != '_') {
      made.push_back('_');
    }
  }
  return made.empty() ? "-" : made;
}

// Processor, number of cores and kernel, such as "2x_Some_Processor/Linux-6.1".
std::string machine() {
  std::string processor = "unknown";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      processor = line.substr(line.find(':') + 2);
      break;
    }
  }
  utsname system{};
  uname(&system);
  const std::string release = system.release;
  const size_t second_dot = release.find('.', release.find('.') + 1);
  // sysconf's count, not the affinity's: the generator is usually pinned to one of the machine's cores.
  return std::to_string(sysconf(_SC_NPROCESSORS_ONLN)) + "x_" + processor + "/" + system.sysname + "-" +
         release.substr(0, second_dot);
}

}  // namespace

Meter::Meter(const Options& options) : broker_{CpuClock(options.pid)}, load_(0) {
  for (const pid_t pid : options.more_pids) broker_.emplace_back(pid);
}

Reading Meter::read() const {
  Reading reading{Loop::clock_ns(), 0, load_.now_ns()};
  for (const CpuClock& clock : broker_) reading.broker_ns += clock.now_ns();
  return reading;
}

Report::Report(const Options& options, std::string_view scenario) : measures_broker_(options.pid > 0) {
  add("scenario", scenario);
  add("broker", options.broker);
  setting_ = " version=" + std::string(options.version == Version::V5 ? "5" : "3.1.1") +
             " qos=" + std::to_string(options.qos) + " payload_size=" + std::to_string(options.payload_size) +
             " window=" + std::to_string(options.window) + " clients=" + std::to_string(options.client_count) +
             " seed=" + std::to_string(options.seed) + " store=" + without_white_space(options.store) +
             " build=" + without_white_space(options.build) + " load_build=" + without_white_space(BENCH_BUILD) +
             " machine=" + without_white_space(machine());
}

void Report::add(std::string_view key, std::string_view value) {
  if (!line_.empty()) line_ += ' ';
  line_ += std::string(key) + "=" + without_white_space(value);
}

void Report::add(std::string_view key, double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  add(key, std::string_view(text));
}

void Report::add_throughput(uint64_t count, const Reading& from, const Reading& to) {
  const double wall_s = static_cast<double>(to.wall_ns - from.wall_ns) / 1e9;
  const double broker_s = static_cast<double>(to.broker_ns - from.broker_ns) / 1e9;
  const double load_s = static_cast<double>(to.load_ns - from.load_ns) / 1e9;
  const auto messages = static_cast<double>(count);
  add("msgs", count);
  add("seconds", wall_s, 3);
  add("msgs_per_s", messages / wall_s, 0);
  if (measures_broker_ && broker_s <= 0) throw Failure("process --pid used no CPU time: it is not the broker");
  if (measures_broker_ && count != 0) {
    add("msgs_per_cpu_s", messages / broker_s, 0);
    add("cpu_ns_per_msg", broker_s * 1e9 / messages, 1);
    add("broker_cpu_share", broker_s / wall_s, 3);
  }
  add("load_cpu_share", load_s / wall_s, 3);
}

void Report::add_latency(const std::string& prefix, const Histogram& histogram) {
  if (histogram.count() == 0) return;
  const auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000; };
  add(prefix + "p50_us", us(histogram.percentile_ns(0.5)), 1);
  add(prefix + "p99_us", us(histogram.percentile_ns(0.99)), 1);
  add(prefix + "p999_us", us(histogram.percentile_ns(0.999)), 1);
  add(prefix + "max_us", us(histogram.max_ns()), 1);
  add(prefix + "latency_count", histogram.count());
}

void Report::print() const {
  std::printf("%s%s\n", line_.c_str(), setting_.c_str());
  std::fflush(stdout);
}

}  // namespace mqttq::bench
