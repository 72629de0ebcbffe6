// A stream: filling it, and reading all of it again, with one reader or some at once.
#include <algorithm>

#include "load/failure.h"
#include "load/loop.h"
#include "load/publisher.h"
#include "load/report.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kMessageCount = 1'000'000;
constexpr uint32_t kFillWindow = 1000;
constexpr double kTimeoutS = 120;

class Replay final : public Handler {
 public:
  explicit Replay(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run() {
    Client& first = loop_.open({options_.version, "bench-first", true, 0}, *this, 0);
    loop_.require([&] { return first.connected; }, kTimeoutS, "a CONNACK");
    loop_.subscribe(first, {kDeclare}, 0);  // it begins at the end, and is gone before there is a message
    loop_.disconnect(first, true);
    append();
    read();
  }

 private:
  static constexpr const char* kTopic = "bench/stream";
  static constexpr const char* kDeclare = "$stream/bench/bench/stream";
  static constexpr const char* kReplay = "$s/earliest/$stream/bench";

  void append() {
    Report report(options_, "stream-append");
    Meter meter(options_);
    Client& client = loop_.open({options_.version, "bench-pub", true, 0}, *this, 0);
    loop_.require([&] { return client.connected; }, kTimeoutS, "a CONNACK");
    Publisher publisher(loop_, client, 1, {make_publish(options_.version, kTopic, 1, false, options_.payload_size)},
                        options_.window, 0);
    publisher_ = &publisher;
    const Reading from = meter.read();
    refill();
    loop_.require([&] { return publisher.sent_count() == options_.message_count && publisher.in_flight_count() == 0; },
                  timeout_s(), "the acknowledgements of a stream's messages");
    const Reading to = meter.read();
    publisher_ = nullptr;
    report.add_throughput(options_.message_count, from, to);
    report.print();
    loop_.disconnect(client, true);
  }

  // From SUBSCRIBE to the last message of the last reader.
  void read() {
    Report report(options_, "stream-replay");
    Meter meter(options_);
    next_.assign(options_.client_count, 0);
    const auto identity = [this](uint32_t index) {
      return ConnectOptions{options_.version, "bench-reader-" + std::to_string(index), true, 0};
    };
    const std::vector<Client*> readers = loop_.open_all(options_.client_count, *this, identity);
    const Reading from = meter.read();
    for (Client* reader : readers) loop_.subscribe(*reader, {kReplay}, options_.qos);
    loop_.require([&] { return finished_ == readers.size(); }, timeout_s() * options_.client_count,
                  "all messages of a stream");
    const Reading to = meter.read();
    report.add_throughput(uint64_t{options_.message_count} * readers.size(), from, to);
    report.print();
    for (Client* reader : readers) loop_.close(*reader);
  }

  double timeout_s() const { return kTimeoutS * std::max(1.0, options_.message_count / 1e6); }

  void refill() {
    while (publisher_->sent_count() < options_.message_count && publisher_->has_room())
      publisher_->send(loop_.now_ns());
  }

  void on_acknowledged(Client&, uint16_t packet_id) override {
    publisher_->on_acknowledged(packet_id);
    refill();
  }

  void on_publish(Client& client, const Publish& publish) override {
    const Stamp stamp = read_stamp(publish.payload);
    uint32_t& next = next_[client.index];
    if (stamp.sequence != next) {
      throw Failure("message " + std::to_string(stamp.sequence) + " came where " + std::to_string(next) + " was due");
    }
    if (publish.payload.size() != options_.payload_size || publish.qos != options_.qos) {
      throw Failure("a stream's message is not one that was sent");
    }
    finished_ += ++next == options_.message_count;
  }

  const Options& options_;
  Loop loop_;
  Publisher* publisher_ = nullptr;
  std::vector<uint32_t> next_;  // by reader: the sequence of the next message
  size_t finished_ = 0;
};

}  // namespace

// qos: of the readers; what is published is QoS 1.
void run_stream(const Options& given) {
  Options options = given;
  if (options.qos == 2) throw UsageError("--qos: readers of the scenario stream have 0 or 1");
  if (options.window == 0) options.window = kFillWindow;
  if (options.message_count == 0) options.message_count = kMessageCount;
  if (options.client_count == 0) options.client_count = 1;
  Replay(options).run();
}

}  // namespace mqttq::bench
