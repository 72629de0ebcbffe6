// bench_reference [PORT]: serves on 127.0.0.1 until SIGTERM; prints "bench_reference ready tcp://127.0.0.1:PORT".
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include <sys/resource.h>

#include "reference/broker.h"

namespace {

volatile bool stop = false;

void on_signal(int) { stop = true; }

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count == 2 && std::strcmp(arguments[1], "--build") == 0) {
    std::puts(BENCH_BUILD);
    return 0;
  }
  char* end = nullptr;
  const unsigned long port = argument_count == 2 ? std::strtoul(arguments[1], &end, 10) : 0;
  if (argument_count > 2 || (end && *end != '\0') || port > 65535) {
    std::fputs("usage: bench_reference [PORT | --build]\n", stderr);
    return 2;
  }
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  try {
    mqttq::bench::Reference broker(static_cast<uint16_t>(port));
    std::printf("bench_reference ready tcp://127.0.0.1:%u\n", static_cast<unsigned>(broker.port()));
    std::fflush(stdout);
    broker.run(stop);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_reference: %s\n", error.what());
    return 1;
  }
}
