// An mqttq-server for one question of the bench: what does it cost when the store answers a turn after it was asked?
//
//     bench_server [--later] [--shards N]
//
// Without --later the store answers at once, as the volatile one does. Listens on a free port of 127.0.0.1, takes
// everybody, and its limits are as wide as bench/brokers.py gives them to mqttq-server. Ends with SIGTERM.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "broker/broker.h"

namespace {

using namespace mqttq;

// What is appended is durable when the next batch is, or with the next turn.
class LaterLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override {
    durable_ = appended_;
    appended_ = batch.back().number;
    asked_in_turn_ = false;
    return Status::Ok;
  }
  uint64_t durable_number() noexcept override {
    if (std::exchange(asked_in_turn_, true)) durable_ = appended_;
    return durable_;
  }

 private:
  uint64_t appended_ = 0, durable_ = 0;
  bool asked_in_turn_ = false;  // since the last append
};

}  // namespace

int main(int argc, char** argv) {
  LaterLog later;
  BrokerSetup setup;
  setup.shard_count = 1;
  setup.limits.inflight_max = 65'535;
  setup.limits.outbox_messages_max = UINT32_MAX;
  setup.limits.outbox_bytes_max = 256 * 1024 * 1024;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--version") == 0) return std::puts("bench_server " BENCH_BUILD) < 0;
    if (std::strcmp(argv[i], "--later") == 0) setup.log_in_memory = &later;
    if (std::strcmp(argv[i], "--shards") == 0 && i + 1 < argc) {
      setup.shard_count = static_cast<uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
    }
  }
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigaddset(&end, SIGINT);
  pthread_sigmask(SIG_BLOCK, &end, nullptr);
  try {
    Broker broker(setup);
    broker.start();
    const Broker::Listening listening = broker.open_listener("127.0.0.1:0", {});
    if (!listening.id) throw std::runtime_error("it cannot listen");
    std::printf("mqttq-server ready tcp://%s\n", listening.address.c_str());
    std::fflush(stdout);
    int signal = 0;
    sigwait(&end, &signal);
    broker.stop();
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_server: %s\n", failure.what());
    return 1;
  }
}
