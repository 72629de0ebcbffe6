// See meter.h.
#include "load/meter.h"

#include <poll.h>

#include <fstream>
#include <string>

#include "load/failure.h"
#include "load/loop.h"

namespace mqttq::bench {
namespace {

constexpr uint64_t kSettleMaxNs = 3'000'000'000;
constexpr int kReadingIntervalMs = 50;

Memory read_memory(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  Memory memory;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Rss:")) memory.rss = std::stoull(line.substr(4)) * 1024;
    if (line.starts_with("Pss:")) memory.pss = std::stoull(line.substr(4)) * 1024;
  }
  return memory;
}

}  // namespace

CpuClock::CpuClock(pid_t pid) : present_(pid >= 0) {
  if (present_ && clock_getcpuclockid(pid, &clock_) != 0) {
    throw UsageError("no process " + std::to_string(pid) + " to measure");
  }
}

uint64_t CpuClock::now_ns() const {
  timespec used{};
  if (!present_) return 0;
  if (clock_gettime(clock_, &used) != 0) throw Failure("the broker's process is gone");
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(used.tv_nsec);
}

Memory settled_memory(pid_t pid) {
  if (pid <= 0) return {};
  const uint64_t deadline = Loop::clock_ns() + kSettleMaxNs;
  Memory last = read_memory(pid);
  for (;;) {
    poll(nullptr, 0, kReadingIntervalMs);  // the distance between two readings of a quantity that nothing announces
    const Memory memory = read_memory(pid);
    if (memory.pss == last.pss || Loop::clock_ns() >= deadline) return memory;
    last = memory;
  }
}

}  // namespace mqttq::bench
