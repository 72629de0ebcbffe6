// Many wildcard subscriptions over a hundred clients: what a message costs that one of them matches, or none.
#include <array>
#include <random>

#include "load/failure.h"
#include "load/flow.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kSubscriberCount = 100;
constexpr uint32_t kPublisherCount = 10;
constexpr uint32_t kTopicsPerPublisher = 1000;  // 10 000 in all: more than a small cache of routes would hold
constexpr uint32_t kFiltersPerDevice = 10;
constexpr uint32_t kDevicesPerSite = 100;
constexpr uint32_t kFilterCount = 10'000;

constexpr std::array<const char*, 6> kMetrics{"temperature", "humidity", "pressure", "power", "current", "state"};
constexpr std::array<const char*, 3> kBranches{"alarm", "log", "job"};

// What a fleet's back ends subscribe to. Of the ten filters of a device six have a `+` inside, three a `#` at their end
// and one a `+` near the root; a site's thousand filters share two levels. No topic matches two of them.
struct Place {
  explicit Place(uint32_t index)
      : kind(index % kFiltersPerDevice),
        device(std::to_string(index / kFiltersPerDevice % kDevicesPerSite)),
        site(std::to_string(index / kFiltersPerDevice / kDevicesPerSite)) {}
  std::string root() const { return "fleet/s" + site + "/d" + device + "/"; }

  uint32_t kind;
  std::string device;
  std::string site;
};

std::string filter_of(uint32_t index) {
  const Place at(index);
  if (at.kind < 6) return at.root() + "+/" + kMetrics[at.kind];
  if (at.kind < 9) return at.root() + kBranches[at.kind - 6] + "/#";
  return "fleet/+/d" + at.device + "x" + at.site + "/command";
}

// A topic that only filter `index` matches; with `miss` one that leaves that filter at its last literal level.
std::string topic_of(uint32_t index, uint32_t variant, bool miss) {
  const Place at(index);
  const std::string part = std::to_string(variant);
  const std::string tail = miss ? "-set" : "";
  if (at.kind < 6) return at.root() + "m" + part + "/" + kMetrics[at.kind] + tail;
  if (at.kind < 9) return at.root() + kBranches[at.kind - 6] + tail + "/m" + part;
  return "fleet/s" + part + "/d" + at.device + "x" + at.site + "/command" + tail;
}

FlowPlan plan_wildcards(const Options& options) {
  FlowPlan plan;
  plan.name = "wildcards";
  plan.contiguous = false;
  plan.ordered = false;
  plan.filters.resize(kSubscriberCount);
  for (uint32_t i = 0; i < options.filter_count; ++i) {
    // Shifted by device, so that each client holds filters of every kind.
    plan.filters[(i + i / kFiltersPerDevice) % kSubscriberCount].push_back(filter_of(i));
  }
  std::mt19937_64 random(options.seed);
  plan.topics.resize(kPublisherCount);
  for (auto& topics : plan.topics) {
    for (uint32_t i = 0; i < kTopicsPerPublisher; ++i) {
      const auto index = static_cast<uint32_t>(random() % options.filter_count);
      topics.push_back(topic_of(index, static_cast<uint32_t>(random() % 4), options.miss));
    }
  }
  return plan;
}

// Publishers of which nothing arrives. A PINGREQ behind every batch tells how far the broker has come: it answers in
// the order in which it reads.
class Misses final : public Handler {
 public:
  explicit Misses(const Options& options) : options_(options), loop_(options.host, options.port) {}

  void run(const FlowPlan& plan) {
    Report report(options_, "wildcards-miss");
    Meter meter(options_);
    set_up(plan, report);
    const auto never = [] { return false; };
    loop_.run_until(never, Loop::clock_ns() + static_cast<uint64_t>(options_.warmup_s * 1e9));
    const Reading from = meter.read();
    const uint64_t before = processed_count_;
    loop_.run_until(never, from.wall_ns + static_cast<uint64_t>(options_.measure_s * 1e9));
    const Reading to = meter.read();
    const uint64_t processed = processed_count_ - before;
    publishing_ = false;
    loop_.require([&] { return processed_count_ == sent_count_; }, 30, "the last PINGRESP");
    report.add_throughput(processed, from, to);
    report.add("publishers", uint64_t{kPublisherCount});
    report.add("subscribers", uint64_t{kSubscriberCount});
    report.print();
  }

 private:
  static constexpr uint32_t kBatchSize = 64;   // messages per PINGREQ
  static constexpr uint32_t kBatchesMax = 16;  // unanswered, per publisher: about 120 KiB of 64-byte messages

  struct Source {
    Client* client;
    std::vector<PublishTemplate> topics;
    uint32_t topic_index = 0;
    uint32_t sequence = 0;
    uint32_t batch_count = 0;  // unanswered
  };

  void set_up(const FlowPlan& plan, Report& report) {
    const auto named = [this](const char* role) {
      return [this, role](uint32_t index) {
        return ConnectOptions{options_.version, std::string(role) + std::to_string(index), true, 0};
      };
    };
    const auto subscribers = loop_.open_all(kSubscriberCount, *this, named("bench-sub-"));
    const Memory before = settled_memory(options_.pid);
    for (uint32_t i = 0; i < kSubscriberCount; ++i) loop_.subscribe(*subscribers[i], plan.filters[i], 0);
    report.add("filters", uint64_t{options_.filter_count});
    if (options_.pid > 0 && options_.filter_count >= 1000) {
      const Memory after = settled_memory(options_.pid);
      report.add("bytes_per_subscription",
                 (static_cast<double>(after.pss) - static_cast<double>(before.pss)) / options_.filter_count, 1);
    }
    const auto clients = loop_.open_all(kPublisherCount, *this, named("bench-pub-"));
    for (uint32_t i = 0; i < kPublisherCount; ++i) {
      Source source{clients[i], {}};
      for (const std::string& topic : plan.topics[i]) {
        source.topics.push_back(make_publish(options_.version, topic, 0, false, options_.payload_size));
      }
      sources_.push_back(std::move(source));
    }
    publishing_ = true;
    for (Source& source : sources_) refill(source);
  }

  void refill(Source& source) {
    for (; source.batch_count < kBatchesMax; ++source.batch_count) {
      for (uint32_t i = 0; i < kBatchSize; ++i) {
        put_publish(source.client->out, source.topics[source.topic_index], 0,
                    {source.client->index, source.sequence++, loop_.now_ns()});
        if (++source.topic_index == source.topics.size()) source.topic_index = 0;
      }
      put_pingreq(source.client->out);
      sent_count_ += kBatchSize;
    }
    loop_.touch(*source.client);
  }

  void on_pong(Client& client) override {
    Source& source = sources_.at(client.index);
    if (source.batch_count-- == 0) throw Failure("the broker answered a PINGREQ that was not sent");
    processed_count_ += kBatchSize;
    if (publishing_ && source.batch_count <= kBatchesMax / 4 * 3) refill(source);
  }

  void on_publish(Client&, const Publish& publish) override {
    throw Failure("a message was delivered that no filter matches: " + std::string(publish.topic_name));
  }

  const Options& options_;
  Loop loop_;
  std::vector<Source> sources_;
  bool publishing_ = false;
  uint64_t sent_count_ = 0;
  uint64_t processed_count_ = 0;
};

}  // namespace

void run_wildcards(const Options& given) {
  Options options = given;
  if (options.filter_count == 0) options.filter_count = kFilterCount;
  options.client_count = kSubscriberCount;
  if (options.miss && options.qos != 0) throw UsageError("--miss measures QoS 0 only");
  const FlowPlan plan = plan_wildcards(options);
  if (options.miss) return Misses(options).run(plan);
  Flow(options, plan).run();
}

}  // namespace mqttq::bench
