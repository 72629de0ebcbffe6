// What connections cost by themselves: making them, keeping them alive, and holding them idle.
#include <sys/resource.h>

#include "load/failure.h"
#include "load/histogram.h"
#include "load/loop.h"
#include "load/report.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kConnectingCount = 32;
constexpr uint32_t kPingingCount = 100;
constexpr uint32_t kIdleCount = 10'000;
constexpr double kTimeoutS = 30;

uint64_t after(double seconds) { return Loop::clock_ns() + static_cast<uint64_t>(seconds * 1e9); }

// Clients that come, subscribe if asked to, and go with DISCONNECT, a fixed number of them at a time.
class Connects final : public Handler {
 public:
  explicit Connects(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    Report report(options_, options_.subscribe ? "connects-sub" : "connects");
    Meter meter(options_);
    loop_.set_turn_handler(this);
    for (uint32_t i = 0; i < options_.client_count; ++i) open(i);
    const auto never = [] { return false; };
    loop_.run_until(never, after(options_.warmup_s));
    const Reading from = meter.read();
    const uint64_t before = finished_count_;
    loop_.run_until(never, from.wall_ns + static_cast<uint64_t>(options_.measure_s * 1e9));
    const Reading to = meter.read();
    const uint64_t finished = finished_count_ - before;
    opening_ = false;
    loop_.require([this] { return open_count_ == 0; }, kTimeoutS, "the end of the last connections");
    report.add_throughput(finished, from, to);
    report.print();
  }

 private:
  void open(uint32_t index) {
    ++open_count_;
    loop_.open({options_.version, "bench-connect-" + std::to_string(index), true, 0}, *this, index);
  }

  void on_connected(Client& client) override {
    if (!options_.subscribe) return leave(client);
    const std::string filter = "bench/connect/" + std::to_string(client.index);
    put_subscribe(client.out, client.version, 1, std::span(&filter, 1), options_.qos);
    loop_.touch(client);
  }

  void on_subscribed(Client& client) override { leave(client); }

  void leave(Client& client) {
    put_disconnect(client.out, client.version, false);
    loop_.touch(client);
    client.handler = this;
    leaving_.resize(std::max<size_t>(leaving_.size(), client.index + 1));
    leaving_[client.index] = true;
  }

  // The broker closes after DISCONNECT [MQTT-3.14.4-2]; we then reset, so that no port stays in TIME_WAIT.
  void on_closed(Client& client) override {
    if (client.index >= leaving_.size() || !leaving_[client.index]) return Handler::on_closed(client);
    leaving_[client.index] = false;
    loop_.close(client);
    --open_count_;
    ++finished_count_;
    vacant_.push_back(client.index);
  }

  void on_turn() override {
    std::vector<uint32_t> vacant;
    vacant.swap(vacant_);
    for (const uint32_t index : vacant) {
      if (opening_) open(index);
    }
  }

  void on_publish(Client&, const Publish&) override { throw Failure("a message came that nobody sent"); }

  const Options& options_;
  Loop loop_;
  std::vector<bool> leaving_;  // by index: DISCONNECT was sent
  std::vector<uint32_t> vacant_;
  bool opening_ = true;
  uint32_t open_count_ = 0;
  uint64_t finished_count_ = 0;
};

// Every client has one PINGREQ on its way, so every packet is a wake-up of its own.
class Pings final : public Handler {
 public:
  explicit Pings(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    Report report(options_, "pings");
    Meter meter(options_);
    const auto clients = loop_.open_all(options_.client_count, *this, [this](uint32_t index) {
      return ConnectOptions{options_.version, "bench-ping-" + std::to_string(index), true, 0};
    });
    sent_ns_.resize(clients.size());
    for (Client* client : clients) ping(*client);
    const auto never = [] { return false; };
    loop_.run_until(never, after(options_.warmup_s));
    latency_.clear();
    const Reading from = meter.read();
    const uint64_t before = pong_count_;
    loop_.run_until(never, from.wall_ns + static_cast<uint64_t>(options_.measure_s * 1e9));
    const Reading to = meter.read();
    report.add_throughput(pong_count_ - before, from, to);
    report.add_latency("", latency_);
    report.print();
  }

 private:
  void ping(Client& client) {
    if (sent_ns_[client.index] != 0) throw Failure("the broker answered a PINGREQ that was not sent");
    sent_ns_[client.index] = loop_.now_ns();
    put_pingreq(client.out);
    loop_.touch(client);
  }

  void on_pong(Client& client) override {
    ++pong_count_;
    latency_.record(loop_.now_ns() - sent_ns_[client.index]);
    sent_ns_[client.index] = 0;
    ping(client);
  }

  void on_publish(Client&, const Publish&) override { throw Failure("a message came that nobody sent"); }

  const Options& options_;
  Loop loop_;
  std::vector<uint64_t> sent_ns_;  // by client; 0 = none on its way
  uint64_t pong_count_ = 0;
  Histogram latency_;
};

// Connections that do nothing, and the broker's memory with and without them.
class Idle final : public Handler {
 public:
  explicit Idle(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    if (options_.pid <= 0) throw UsageError("idle measures memory: --pid is needed");
    Report report(options_, options_.subscribe ? "idle-sub" : "idle");
    // What the first connection of all sets up once is not the price of a connection.
    Client& first = loop_.open(named("bench-first"), *this, UINT32_MAX);
    loop_.require([&] { return first.connected; }, kTimeoutS, "a CONNACK");
    if (options_.subscribe) loop_.subscribe(first, {"bench/idle/first"}, options_.qos);

    const Memory before = settled_memory(options_.pid);
    const auto clients = loop_.open_all(
        options_.client_count, *this, [this](uint32_t index) { return named("bench-idle-" + std::to_string(index)); });
    if (options_.subscribe) {
      for (Client* client : clients) {
        const std::string filter = "bench/idle/" + std::to_string(client->index);
        put_subscribe(client->out, client->version, 1, std::span(&filter, 1), options_.qos);
        loop_.touch(*client);
      }
      loop_.require([this] { return subscribed_count_ >= options_.client_count; }, kTimeoutS, "the SUBACKs");
    }
    const Memory with = settled_memory(options_.pid);
    report.add("connections", uint64_t{options_.client_count});
    report.add("idle_bytes", per_connection(with.pss, before.pss), 1);
    report.add("idle_rss_bytes", per_connection(with.rss, before.rss), 1);
    report.add("base_rss_kib", before.rss / 1024);
    report.add("base_pss_kib", before.pss / 1024);
    report.print();
  }

 private:
  double per_connection(uint64_t with, uint64_t without) const {
    return (static_cast<double>(with) - static_cast<double>(without)) / options_.client_count;
  }

  ConnectOptions named(std::string client_id) const { return {options_.version, std::move(client_id), true, 0}; }

  void on_subscribed(Client& client) override {
    if (client.index != UINT32_MAX) ++subscribed_count_;
  }
  void on_publish(Client&, const Publish&) override { throw Failure("a message came that nobody sent"); }

  const Options& options_;
  Loop loop_;
  uint32_t subscribed_count_ = 0;
};

// Raises our limit of open files as far as it may go; names what is missing.
void allow_connections(uint32_t count) {
  constexpr uint32_t kOtherFiles = 16;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < count + kOtherFiles) {
    throw UsageError("--clients " + std::to_string(count) + " is more than this process may open (" +
                     std::to_string(limit.rlim_cur) + " files)");
  }
}

Options with_clients(Options options, uint32_t client_count) {
  if (options.client_count == 0) options.client_count = client_count;
  allow_connections(options.client_count);
  return options;
}

}  // namespace

void run_connects(const Options& given) {
  const Options options = with_clients(given, kConnectingCount);
  Connects(options).run();
}

void run_pings(const Options& given) {
  const Options options = with_clients(given, kPingingCount);
  Pings(options).run();
}

void run_idle(const Options& given) {
  const Options options = with_clients(given, kIdleCount);
  Idle(options).run();
}

}  // namespace mqttq::bench
