// See flow.h.
#include "load/flow.h"

#include <algorithm>

#include "load/failure.h"

namespace mqttq::bench {
namespace {

constexpr uint64_t kStandstillNs = 2'000'000'000;  // without any progress, what is in flight counts as lost
constexpr double kDrainTimeoutS = 30;
constexpr uint32_t kOpenLoopWindow = 32768;

}  // namespace

Flow::Flow(const Options& options, const FlowPlan& plan)
    : options_(options), plan_(plan), loop_(options.host, options.port) {
  if (options.rate != 0) period_ns_ = 1e9 / options.rate;
  flat_out_ = options.window == 0 && options.rate == 0;
  const bool few_in_flight = options.rate != 0 || (options.window != 0 && options.window <= 16);
  sample_mask_ = few_in_flight ? 0 : 15;
}

void Flow::run() {
  Report report(options_, plan_.name);
  Meter meter(options_);
  set_up(report);

  publishing_ = true;
  schedule_start_ns_ = Loop::clock_ns();
  for (Publisher& publisher : publishers_) {
    if (period_ns_ == 0) refill(publisher);
  }
  drive_until(Loop::clock_ns() + static_cast<uint64_t>(options_.warmup_s * 1e9));

  const Reading from = meter.read();
  const uint64_t delivered_before = delivered_count_;
  timed_from_ns_ = from.wall_ns;
  drive_until(from.wall_ns + static_cast<uint64_t>(options_.measure_s * 1e9));
  const Reading to = meter.read();
  const uint64_t delivered = delivered_count_ - delivered_before;
  timed_until_ns_ = to.wall_ns;

  publishing_ = false;
  drain();
  if (delivered == 0) throw Failure("nothing was delivered");

  report.add_throughput(delivered, from, to);
  report.add_latency("", latency_);
  report.add_latency("ack_", acknowledged_);
  if (options_.rate != 0) report.add("rate", static_cast<uint64_t>(options_.rate));
  if (churner_) report.add("churned", churn_count_);
  report.add("publishers", plan_.topics.size());
  report.add("subscribers", plan_.filters.size());
  report.add("lost", lost_count_);
  report.print();
}

void Flow::set_up(Report& report) {
  const auto named = [this](const char* role, uint32_t session_expiry_s = 0) {
    return [this, role, session_expiry_s](uint32_t index) {
      return ConnectOptions{options_.version, std::string(role) + std::to_string(index), true, session_expiry_s};
    };
  };
  const uint32_t expiry_s = options_.durable ? 3600 : 0;
  subscribers_ = loop_.open_all(static_cast<uint32_t>(plan_.filters.size()), *this, named("bench-sub-", expiry_s));
  expected_.resize(plan_.filters.size());
  const Memory before = plan_.contiguous ? Memory{} : settled_memory(options_.pid);
  uint64_t filter_count = 0;
  for (size_t i = 0; i < subscribers_.size(); ++i) {
    loop_.subscribe(*subscribers_[i], plan_.filters[i], options_.qos);
    filter_count += plan_.filters[i].size();
  }
  if (!plan_.contiguous && options_.pid > 0 && filter_count >= 1000) {
    const Memory after = settled_memory(options_.pid);
    report.add("filters", filter_count);
    report.add("bytes_per_subscription",
               (static_cast<double>(after.pss) - static_cast<double>(before.pss)) / static_cast<double>(filter_count),
               1);
  }
  if (options_.churn_rate != 0) {
    churner_ = loop_.open_all(1, *this, named("bench-churn-")).front();
  }

  const auto clients = loop_.open_all(static_cast<uint32_t>(plan_.topics.size()), *this, named("bench-pub-"));
  publishers_.reserve(clients.size());
  for (size_t i = 0; i < clients.size(); ++i) {
    std::vector<PublishTemplate> topics;
    for (const std::string& topic : plan_.topics[i]) {
      topics.push_back(make_publish(options_.version, topic, options_.qos, false, options_.payload_size));
    }
    uint32_t window = options_.window;
    if (flat_out_) window = Publisher::flat_out_window(topics.front().bytes.size(), clients.size());
    if (window == 0) window = kOpenLoopWindow;
    publishers_.emplace_back(loop_, *clients[i], options_.qos, std::move(topics), window, plan_.delivery_count);
  }
  is_ready_.resize(publishers_.size());
  loop_.set_turn_handler(this);
  loop_.set_busy_polling(period_ns_ != 0);
}

void Flow::drive_until(uint64_t deadline_ns) {
  uint64_t progress = progress_count_;
  uint64_t progress_ns = Loop::clock_ns();
  for (uint64_t now = progress_ns; now < deadline_ns; now = Loop::clock_ns()) {
    loop_.run_until([] { return false; }, std::min(deadline_ns, now + kStandstillNs / 8));
    if (progress_count_ != progress) {
      progress = progress_count_;
      progress_ns = Loop::clock_ns();
    } else if (in_flight_count() != 0 && Loop::clock_ns() - progress_ns >= kStandstillNs) {
      give_up_on_lost();
      progress_ns = Loop::clock_ns();
    }
  }
}

void Flow::drain() {
  const auto nothing_in_flight = [this] { return in_flight_count() == 0; };
  const uint64_t deadline_ns = Loop::clock_ns() + static_cast<uint64_t>(kDrainTimeoutS * 1e9);
  while (!nothing_in_flight()) {
    const uint64_t progress = progress_count_;
    if (loop_.run_until(nothing_in_flight, Loop::clock_ns() + kStandstillNs)) return;
    if (progress_count_ == progress) give_up_on_lost();
    if (Loop::clock_ns() >= deadline_ns) throw Failure("the broker did not finish what it was sent");
  }
}

void Flow::give_up_on_lost() {
  // Only QoS 0 may lose (MQTT5 4.3.1).
  if (options_.qos != 0) {
    throw Failure(std::to_string(in_flight_count()) + " messages at QoS " + std::to_string(options_.qos) +
                  " neither arrived nor were acknowledged");
  }
  for (Publisher& publisher : publishers_) {
    lost_count_ += publisher.abandon();
    if (publishing_ && period_ns_ == 0) refill(publisher);
  }
}

void Flow::on_publish(Client& client, const Publish& publish) {
  const Stamp stamp = read_stamp(publish.payload);
  if (stamp.publisher_index >= publishers_.size() || publish.payload.size() != options_.payload_size) {
    throw Failure("a delivered payload is not one that was sent");
  }
  if (publish.qos != options_.qos) throw Failure("a message was delivered at another QoS than asked for");
  if (plan_.paired && stamp.publisher_index != client.index) {
    throw Failure("subscriber " + std::to_string(client.index) + " got a message that it did not ask for");
  }
  Publisher& publisher = publishers_[stamp.publisher_index];

  if (plan_.ordered) {
    std::vector<uint32_t>& row = expected_[client.index];
    if (row.size() <= stamp.publisher_index) row.resize(stamp.publisher_index + 1);
    uint32_t& expected = row[stamp.publisher_index];
    const uint32_t gap = stamp.sequence - expected;
    if (gap >= 1u << 31) {
      throw Failure("subscriber " + std::to_string(client.index) + " got message " + std::to_string(stamp.sequence) +
                    " of publisher " + std::to_string(stamp.publisher_index) + " after message " +
                    std::to_string(expected - 1));
    }
    if (gap != 0 && plan_.contiguous) {
      if (options_.qos != 0) throw Failure(std::to_string(gap) + " messages are missing before a later one");
      for (; expected != stamp.sequence; ++expected) publisher.settle(expected);
      lost_count_ += gap;
    }
    expected = stamp.sequence + 1;
  }
  publisher.settle(stamp.sequence);

  ++delivered_count_;
  ++progress_count_;
  if ((stamp.sequence & sample_mask_) == 0 && stamp.time_ns >= timed_from_ns_ && stamp.time_ns < timed_until_ns_) {
    latency_.record(loop_.now_ns() - stamp.time_ns);
  }
  if (!is_ready_[stamp.publisher_index]) {
    is_ready_[stamp.publisher_index] = true;
    ready_.push_back(stamp.publisher_index);
  }
}

void Flow::on_acknowledged(Client& client, uint16_t packet_id) {
  const uint64_t sent_ns = publishers_.at(client.index).on_acknowledged(packet_id);
  if (sent_ns >= timed_from_ns_ && sent_ns < timed_until_ns_) acknowledged_.record(loop_.now_ns() - sent_ns);
  ++progress_count_;
  if (!is_ready_[client.index]) {
    is_ready_[client.index] = true;
    ready_.push_back(client.index);
  }
}

void Flow::on_turn() {
  for (const uint32_t index : ready_) {
    is_ready_[index] = false;
    if (publishing_ && period_ns_ == 0) refill(publishers_[index]);
  }
  ready_.clear();
  if (publishing_ && period_ns_ != 0) send_what_is_due();
  if (publishing_ && churner_) churn_what_is_due();
}

void Flow::refill(Publisher& publisher) {
  // Flat out is a publisher that never waits for single messages: it writes again when a quarter has gone, so that
  // the size of a write does not depend on how finely the broker's answers happen to be cut.
  if (flat_out_ && publisher.in_flight_count() > publisher.window() / 4 * 3) return;
  while (publisher.has_room()) publisher.send(loop_.now_ns());
}

void Flow::send_what_is_due() {
  const uint64_t now = Loop::clock_ns();
  for (;;) {
    const uint64_t due = schedule_start_ns_ + static_cast<uint64_t>(static_cast<double>(scheduled_count_) * period_ns_);
    if (due > now) return;
    Publisher& publisher = publishers_[scheduled_count_ % publishers_.size()];
    if (!publisher.has_room()) return;  // the schedule does not move: the wait counts as latency
    publisher.send(due);
    ++scheduled_count_;
  }
}

void Flow::churn_what_is_due() {
  constexpr size_t kUnsentBytesMax = 64u << 10;
  const double elapsed_s = static_cast<double>(loop_.now_ns() - schedule_start_ns_) / 1e9;
  const auto due = static_cast<uint64_t>(elapsed_s * options_.churn_rate);
  for (; churn_count_ < due && churner_->out.size() < kUnsentBytesMax; ++churn_count_) {
    const std::string filter = "bench/churn/" + std::to_string(churn_count_ % 1000) + "/+";
    const auto packet_id = static_cast<uint16_t>(churn_count_ * 2 % 65534 + 1);
    put_subscribe(churner_->out, churner_->version, packet_id, std::span(&filter, 1), 0);
    put_unsubscribe(churner_->out, churner_->version, static_cast<uint16_t>(packet_id + 1), filter);
    loop_.touch(*churner_);
  }
}

uint64_t Flow::in_flight_count() const {
  uint64_t count = 0;
  for (const Publisher& publisher : publishers_) count += publisher.in_flight_count();
  return count;
}

}  // namespace mqttq::bench
