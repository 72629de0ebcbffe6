// bench_load: loads a broker in one way, checks every message, and prints one line per measurement.
#include <cstdio>
#include <cstring>

#include "load/failure.h"
#include "load/options.h"
#include "load/scenario.h"

namespace mqttq::bench {

std::span<const Scenario> scenarios() {
  // clang-format off
  static const Scenario table[] = {
    {"pairs",     "n publishers, each with a subscriber of its own (10)",             run_pairs},
    {"fanout",    "one publisher, n subscribers (1000)",                              run_fan_out},
    {"fanin",     "n publishers, one wildcard subscriber (100)",                      run_fan_in},
    {"shared",    "n publishers, n members of one shared subscription (10)",          run_shared},
    {"queue",     "n publishers, n consumers of one message queue (10)",              run_queue},
    {"stream",    "a stream of 1 million messages, filled, and read by n at once (1)",  run_stream},
    {"wildcards", "--filters wildcard filters over 100 clients; one match, or --miss", run_wildcards},
    {"retained",  "--messages retained messages stored, then delivered (100000)",     run_retained},
    {"offline",   "--messages for an absent client, then its return (60000)",         run_offline},
    {"latency",   "n pairs (50) at a fixed --rate (20000), open loop",                run_latency},
    {"connects",  "CONNECT to DISCONNECT over and over, n at a time (32)",            run_connects},
    {"pings",     "n clients (100) with one PINGREQ on its way each",                 run_pings},
    {"idle",      "memory of n (10000) idle connections",                             run_idle},
  };
  // clang-format on
  return table;
}

}  // namespace mqttq::bench

int main(int argument_count, char** arguments) {
  using namespace mqttq::bench;
  if (argument_count == 2 && std::strcmp(arguments[1], "--help") == 0) {
    std::fputs(usage().c_str(), stdout);
    return 0;
  }
  try {
    const Options options = parse_options(argument_count, arguments);
    for (const Scenario& scenario : scenarios()) {
      if (scenario.name != options.scenario) continue;
      scenario.run(options);
      return 0;
    }
    throw UsageError("no scenario \"" + options.scenario + "\"; --help lists them");
  } catch (const UsageError& error) {
    std::fprintf(stderr, "bench_load: %s\n", error.what());
    return 2;
  } catch (const Unsupported& error) {
    std::fprintf(stderr, "bench_load: %s\n", error.what());
    return 4;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_load: %s\n", error.what());
    return 1;
  }
}
