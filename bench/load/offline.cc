// A session without a connection: filling its queue, and emptying it when the client comes back.
#include <algorithm>

#include "load/failure.h"
#include "load/loop.h"
#include "load/publisher.h"
#include "load/report.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kMessageCount = 60'000;
constexpr uint32_t kFillWindow = 100;
constexpr uint32_t kSessionExpiryS = 3600;
constexpr double kTimeoutS = 120;

class Offline final : public Handler {
 public:
  explicit Offline(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    // A session left by an earlier run would bring its messages along.
    loop_.disconnect(connect({options_.version, kClientId, true, 0}), true);
    const uint32_t expiry_s = options_.queue ? 0 : kSessionExpiryS;
    Client& subscriber =
        connect({options_.version, kClientId, options_.queue || options_.version == Version::V5, expiry_s});
    loop_.subscribe(subscriber, {options_.queue ? kQueue : kTopic}, options_.qos);
    loop_.disconnect(subscriber, false);
    fill();
    drain();
  }

 private:
  static constexpr const char* kClientId = "bench-offline";
  static constexpr const char* kTopic = "bench/offline";
  static constexpr const char* kQueue = "$queue/bench/bench/offline";

  void fill() {
    Report report(options_, "offline-fill");
    Meter meter(options_);
    Client& client = connect({options_.version, "bench-pub", true, 0});
    Publisher publisher(loop_, client, options_.qos,
                        {make_publish(options_.version, kTopic, options_.qos, false, options_.payload_size)},
                        options_.window, 0);
    publisher_ = &publisher;
    const Memory before = settled_memory(options_.pid);
    const Reading from = meter.read();
    refill();
    loop_.require([&] { return publisher.sent_count() == options_.message_count && publisher.in_flight_count() == 0; },
                  timeout_s(), "the acknowledgements of the messages for an absent client");
    const Reading to = meter.read();
    const Memory after = settled_memory(options_.pid);
    publisher_ = nullptr;
    report.add_throughput(options_.message_count, from, to);
    if (options_.pid > 0) {
      report.add("bytes_per_queued",
                 (static_cast<double>(after.pss) - static_cast<double>(before.pss)) / options_.message_count, 1);
    }
    report.print();
  }

  // From CONNECT to the last message; its acknowledgement follows unmeasured.
  void drain() {
    Report report(options_, "offline-drain");
    Meter meter(options_);
    next_ = 0;
    const Reading from = meter.read();
    Client& subscriber =
        loop_.open({options_.version, kClientId, options_.queue, options_.queue ? 0 : kSessionExpiryS}, *this, 0);
    if (options_.queue) {
      loop_.require([&] { return subscriber.connected; }, kTimeoutS, "a CONNACK");
      loop_.subscribe(subscriber, {kQueue}, options_.qos);
    }
    loop_.require([&] { return next_ == options_.message_count; }, timeout_s(), "the messages of a resumed session");
    const Reading to = meter.read();
    if (!options_.queue && !subscriber.session_present) {
      throw Failure("the session was not there when its client came back");
    }
    report.add_throughput(options_.message_count, from, to);
    report.print();
    loop_.disconnect(subscriber, true);
  }

  double timeout_s() const { return kTimeoutS * std::max(1.0, options_.message_count / 1e6); }

  Client& connect(const ConnectOptions& options) {
    Client& client = loop_.open(options, *this, 0);
    loop_.require([&] { return client.connected; }, kTimeoutS, "a CONNACK");
    return client;
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
    if (stamp.sequence != next_) {
      throw Failure("message " + std::to_string(stamp.sequence) + " came where " + std::to_string(next_) + " was due");
    }
    if (publish.payload.size() != options_.payload_size || publish.qos != options_.qos) {
      throw Failure("a queued message is not one that was sent");
    }
    ++next_;
  }

  const Options& options_;
  Loop loop_;
  Publisher* publisher_ = nullptr;
  uint32_t next_ = 0;  // sequence of the next queued message
};

}  // namespace

void run_offline(const Options& given) {
  Options options = given;
  if (options.qos == 0) options.qos = 1;  // QoS 0 need not wait for an absent client
  if (options.window == 0) options.window = kFillWindow;
  if (options.message_count == 0) options.message_count = kMessageCount;
  options.client_count = 1;
  Offline(options).run();
}

}  // namespace mqttq::bench
