// What must be true of queues in every run, told by those who publish and consume.
//
// A consumer of this model is a client that subscribes to one queue, and to nothing else whose topics that queue
// matches: what comes to it on such a topic comes from there. As the other model this one is careful where a client
// cannot know: what it sent when its connection broke may or may not have been read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model.h"
#include "queue/queue_options.h"

namespace mqttq::sim {

class Client;

class QueueModel {
 public:
  explicit QueueModel(World& world) : world_(world) {}

  // Such a queue is there. declare(): and is declared at its home.
  void expect(const std::string& name, const std::string& topic_filter, const QueueOptions& options) {
    queues_[name] = {name, topic_filter, options, {}, false};
  }
  void declare(const std::string& name, const std::string& topic_filter, const QueueOptions& options);
  bool empty() const noexcept { return queues_.empty(); }
  // A message may be refused, since a queue has no room for it.
  bool may_reject(std::string_view topic_name) const;
  // The queue of which `client` consumes what comes on this topic?
  bool consumes(const Client& client, std::string_view topic_name) const;

  // --- reports of consumers
  void received(Client& client, const codec::PublishView& publish);
  // A PUBACK is sent.
  void acknowledging(Client& client, uint16_t packet_id, bool positive);
  void subscribing(Client& client, Qos qos);
  void unsubscribing(Client& client);
  void unsubscribed(Client& client);
  // Its connection is over.
  void gone(Client& client);

  void crashed();
  // Nothing can happen without the clock: what was sent has been read, and depths can be told. recorded: and the broker
  // has had the time to write down what it wrote before the last quiet moment.
  void quiet(bool recorded);
  // No queue is over its limits. At any time.
  void judge_limits();
  // The run is over and at rest, and all consumers have been there. lossy: somebody may go without.
  void judge(bool lossy);
  // Nothing is left in those that have consumers which take what there is. At rest, some time after the last rejection.
  void judge_waiting();
  // They are deleted at their homes.
  void end();
  // One is.
  void end(const std::string& name);

  // How often a depth was known exactly.
  uint64_t exact_count() const noexcept { return exact_; }
  uint64_t received_count() const noexcept { return received_; }

 private:
  // What became of one message in one queue.
  struct Fate {
    uint32_t deliveries = 0;    // that came
    Client* holder = nullptr;   // has it, on the connection that stands
    Client* settler = nullptr;  // sent its PUBACK, on the connection that stands
    bool settled = false;       // by that
    bool read = false;          // and that was read, surely
    bool recorded = false;      // and outlives the broker
    bool doubtful = false;      // it may be gone
    bool counted = true;        // no broker has died since the first delivery
  };
  struct Held {
    uint32_t message = 0;
    bool surely = false;  // nobody else has it
  };
  struct OneQueue {
    std::string name, topic_filter;
    QueueOptions options;
    std::unordered_map<uint32_t, Fate> fates;  // by message id
    bool some_at_qos0 = false;                 // what was written to a consumer is gone

    // No message is had by two.
    bool strict() const noexcept { return options.ack_timeout_ms == 0; }
    bool keeps_all() const noexcept {
      return !options.messages_max && !options.bytes_max && !options.age_max_s && !options.deliveries_max &&
             !some_at_qos0;
    }
  };
  struct Consumer {
    std::map<uint16_t, Held> held;  // by Packet Identifier
    bool leaving = false;           // has asked to unsubscribe
  };

  OneQueue& queue_of(const Client& client);
  [[noreturn]] void fail(const OneQueue& queue, const Published& message, const std::string& what) const;
  // Returns which delivery it says that it is.
  uint32_t judge_content(const OneQueue& queue, const Client& client, const Published& message,
                         const codec::PublishView& publish) const;
  bool solid(Client& client);
  void judge_depth(OneQueue& queue);

  World& world_;
  std::map<std::string, OneQueue> queues_;
  std::map<const Client*, Consumer> consumers_;
  uint64_t exact_ = 0, received_ = 0;
};

}  // namespace mqttq::sim
