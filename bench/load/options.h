// The command line of bench_load.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "load/wire.h"

namespace mqttq::bench {

// 0 in a count means "what the scenario says". Every scenario reads the fields that concern it.
struct Options {
  std::string scenario;
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  pid_t pid = -1;                // the broker's process; -1 = no CPU time and no memory in the result
  std::vector<pid_t> more_pids;  // processes whose CPU time is the broker's too
  Version version = Version::V311;
  uint8_t qos = 0;
  uint32_t payload_size = 64;
  uint32_t window = 0;        // messages in flight per publisher; 0 = flat out, by bytes
  uint32_t client_count = 0;  // pairs, subscribers, connections: the scenario's n
  uint32_t filter_count = 0;
  uint32_t message_count = 0;
  uint32_t rate = 0;        // messages per second over all publishers; 0 = as fast as answers allow
  uint32_t churn_rate = 0;  // SUBSCRIBEs and as many UNSUBSCRIBEs per second on a client beside the measured ones
  bool miss = false;        // publish what no filter matches
  bool durable = false;     // subscribers have sessions that are kept: at QoS 1 and 2 the store answers before we hear
  bool queue = false;       // a message queue takes the place of a session that is kept
  bool subscribe = false;   // each connection also makes one exact subscription
  double warmup_s = 0.5;
  double measure_s = 3;
  uint64_t seed = 1;
  std::string broker = "unnamed";
  std::string build = "-";  // of the broker
  std::string store = "none";
};

// Throws UsageError naming the argument that is wrong.
Options parse_options(int argument_count, char** arguments);

// What --help prints.
std::string usage();

}  // namespace mqttq::bench
