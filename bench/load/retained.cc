// Retained messages: storing many, each under its own topic, and delivering them all to one wildcard subscriber.
#include <vector>

#include "load/failure.h"
#include "load/loop.h"
#include "load/publisher.h"
#include "load/report.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kMessageCount = 100'000;
constexpr uint32_t kStoreWindow = 100;
constexpr uint32_t kDeliveryRounds = 3;
constexpr double kTimeoutS = 120;
constexpr uint64_t kStandstillNs = 2'000'000'000;

class Retained final : public Handler {
 public:
  explicit Retained(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    store();
    deliver();
  }

 private:
  // At QoS 1, so that the last PUBACK says when all are stored.
  void store() {
    Options stored = options_;
    stored.qos = 1;
    if (stored.window == 0) stored.window = kStoreWindow;
    Report report(stored, "retained-store");
    Meter meter(options_);

    Client& client = *loop_.open_all(1, *this, [this](uint32_t) { return named("bench-pub"); }).front();
    std::vector<PublishTemplate> topics;
    topics.reserve(options_.message_count);
    for (uint32_t i = 0; i < options_.message_count; ++i) {
      const std::string topic = "bench/retained/s" + std::to_string(i / 1000) + "/d" + std::to_string(i % 1000);
      topics.push_back(make_publish(options_.version, topic, 1, true, options_.payload_size));
    }
    Publisher publisher(loop_, client, 1, std::move(topics), stored.window, 0);
    publisher_ = &publisher;

    const Memory before = settled_memory(options_.pid);
    const Reading from = meter.read();
    refill();
    loop_.require([&] { return publisher.sent_count() == options_.message_count && publisher.in_flight_count() == 0; },
                  kTimeoutS, "the PUBACKs of the retained messages");
    const Reading to = meter.read();
    const Memory after = settled_memory(options_.pid);
    publisher_ = nullptr;

    report.add_throughput(options_.message_count, from, to);
    if (options_.pid > 0) {
      report.add("bytes_per_retained",
                 (static_cast<double>(after.pss) - static_cast<double>(before.pss)) / options_.message_count, 1);
    }
    report.print();
  }

  // At the run's QoS, to a new subscriber each round; from SUBSCRIBE to the last message.
  void deliver() {
    Report report(options_, "retained-deliver");
    Meter meter(options_);
    Reading from{};
    Reading to{};
    uint64_t lost_count = 0;
    for (uint32_t round = 0; round < kDeliveryRounds; ++round) {
      Client& client = loop_.open(named("bench-sub-" + std::to_string(round)), *this, 0);
      loop_.require([&] { return client.connected; }, kTimeoutS, "a CONNACK");
      seen_.assign(options_.message_count, false);
      seen_count_ = 0;
      const Reading start = meter.read();
      const std::string filter = "bench/retained/#";
      put_subscribe(client.out, client.version, 1, std::span(&filter, 1), options_.qos);
      loop_.touch(client);
      lost_count += wait_for_all();
      const Reading end = meter.read();
      to.wall_ns += end.wall_ns - start.wall_ns;
      to.broker_ns += end.broker_ns - start.broker_ns;
      to.load_ns += end.load_ns - start.load_ns;
      loop_.disconnect(client, true);
    }
    report.add_throughput(uint64_t{options_.message_count} * kDeliveryRounds - lost_count, from, to);
    report.add("lost", lost_count);
    report.print();
  }

  // Returns how many did not come, which only QoS 0 excuses.
  uint64_t wait_for_all() {
    const auto all_seen = [this] { return seen_count_ == options_.message_count; };
    for (;;) {
      const uint64_t before = seen_count_;
      if (loop_.run_until(all_seen, Loop::clock_ns() + kStandstillNs)) return 0;
      if (seen_count_ != before) continue;
      if (options_.qos != 0 || seen_count_ == 0) throw Failure("retained messages did not arrive");
      return options_.message_count - seen_count_;
    }
  }

  void refill() {
    while (publisher_->sent_count() < options_.message_count && publisher_->has_room())
      publisher_->send(loop_.now_ns());
  }

  void on_acknowledged(Client&, uint16_t packet_id) override {
    publisher_->on_acknowledged(packet_id);
    refill();
  }

  void on_publish(Client&, const Publish& publish) override {
    const Stamp stamp = read_stamp(publish.payload);
    if (stamp.sequence >= seen_.size() || publish.payload.size() != options_.payload_size) {
      throw Failure("a retained message is not one that was stored");
    }
    if (!publish.retain) throw Failure("a retained message came without its flag [MQTT-3.3.1-8]");
    if (seen_[stamp.sequence]) throw Failure("a retained message came twice");
    seen_[stamp.sequence] = true;
    ++seen_count_;
  }

  ConnectOptions named(std::string client_id) const { return {options_.version, std::move(client_id), true, 0}; }

  const Options& options_;
  Loop loop_;
  Publisher* publisher_ = nullptr;
  std::vector<bool> seen_;
  uint64_t seen_count_ = 0;
};

}  // namespace

void run_retained(const Options& given) {
  Options options = given;
  if (options.message_count == 0) options.message_count = kMessageCount;
  options.client_count = 1;
  Retained(options).run();
}

}  // namespace mqttq::bench
