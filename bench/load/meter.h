// What the broker and this program used: CPU time and memory.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>

namespace mqttq::bench {

// The CPU clock of one process: user and system time of all its threads, ended ones too, in nanoseconds. A thread that
// runs on another core at the moment of asking may be one scheduler tick (1 to 10 ms) behind.
class CpuClock {
 public:
  // pid: the broker's; 0 = this process; negative = none, which always reads 0.
  explicit CpuClock(pid_t pid);
  uint64_t now_ns() const;

 private:
  clockid_t clock_ = 0;
  bool present_ = false;
};

// Bytes, from /proc/<pid>/smaps_rollup.
struct Memory {
  uint64_t rss = 0;
  uint64_t pss = 0;
};

// Reads until two readings in a row agree on PSS, so that a broker still busy with what it was just sent is not
// counted half way. Gives the last reading after 3 s. All 0 when pid is not positive or may not be read.
Memory settled_memory(pid_t pid);

}  // namespace mqttq::bench
