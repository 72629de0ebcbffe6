// A steady stream of messages from publishers to subscribers, checked and timed: what most scenarios are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "load/histogram.h"
#include "load/loop.h"
#include "load/options.h"
#include "load/publisher.h"
#include "load/report.h"

namespace mqttq::bench {

// Who publishes and who listens. Every message must reach exactly delivery_count subscribers.
struct FlowPlan {
  std::string name;                               // of the scenario, as printed
  std::vector<std::vector<std::string>> topics;   // by publisher
  std::vector<std::vector<std::string>> filters;  // by subscriber
  uint32_t delivery_count = 1;
  // A subscriber that sees one message of a publisher sees all of them, so that a gap is a loss, found at once.
  bool contiguous = true;
  // Subscriber i asked for what publisher i sends and for nothing else.
  bool paired = false;
  // Each publisher uses one topic, so that each subscriber must see its messages in order (MQTT5 4.6).
  bool ordered = true;
};

class Flow final : public Handler {
 public:
  Flow(const Options& options, const FlowPlan& plan);

  // Connects, subscribes, warms up, measures, stops, waits for all that was sent, and prints the line.
  void run();

 private:
  void on_publish(Client& client, const Publish& publish) override;
  void on_acknowledged(Client& client, uint16_t packet_id) override;
  void on_turn() override;

  void set_up(Report& report);
  void drive_until(uint64_t deadline_ns);
  void drain();
  void give_up_on_lost();
  void refill(Publisher& publisher);
  void send_what_is_due();
  void churn_what_is_due();
  uint64_t in_flight_count() const;

  const Options& options_;
  const FlowPlan& plan_;
  Loop loop_;
  std::vector<Client*> subscribers_;
  std::vector<Publisher> publishers_;
  std::vector<std::vector<uint32_t>> expected_;  // by subscriber, then publisher: the next sequence; grown on demand
  std::vector<uint32_t> ready_;                  // publishers whose window has moved this turn
  std::vector<bool> is_ready_;

  bool publishing_ = false;
  bool flat_out_ = false;
  uint32_t sample_mask_ = 0;  // latency of messages whose sequence has none of these bits
  uint64_t delivered_count_ = 0;
  uint64_t lost_count_ = 0;
  uint64_t progress_count_ = 0;  // delivered_count_ and acknowledgements, to notice a standstill
  uint64_t timed_from_ns_ = UINT64_MAX;
  uint64_t timed_until_ns_ = UINT64_MAX;
  Histogram latency_;       // from publishing to delivery
  Histogram acknowledged_;  // from publishing to PUBACK or PUBCOMP, of every message

  // Open loop: message k is due at schedule_start_ns_ + k * period, whatever the broker does.
  double period_ns_ = 0;
  uint64_t schedule_start_ns_ = 0;
  uint64_t scheduled_count_ = 0;

  // Subscriptions that come and go beside the measured messages.
  Client* churner_ = nullptr;
  uint64_t churn_count_ = 0;
};

}  // namespace mqttq::bench
