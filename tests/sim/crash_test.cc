// A broker that dies at any moment and comes back with what was kept: what it had acknowledged is there.
//
// The disk keeps of what was not synced any of its sectors, and fails when the seed says so.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>

#include "client.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::sim;

namespace {

constexpr const char* kTopics[] = {"a", "a/b", "b"};
constexpr const char* kFilters[] = {"a", "a/+", "a/#", "#", "b", "+"};
constexpr const char* kQueueTopics[] = {"k/a", "k/b", "l"};
constexpr const char* kGroup = "$share/g/#";
constexpr uint32_t kExpiry_s = 100'000;

// Clients whose sessions outlive the broker, doing what clients do.
class Run {
 public:
  Run(uint64_t seed, const WorldSetup& setup)
      : choices_(seed * 31 + 7), kept_(seed, seed % 4 != 0), world_(seed, patient(setup), &kept_) {
    const uint32_t count = 2 + below(3);
    for (uint32_t i = 0; i < count; ++i) {
      clients_.push_back(
          &world_.client("c" + std::to_string(i), chance(300) ? ProtocolVersion::V311 : ProtocolVersion::V5));
      // No groups beside queues, whose messages come back to them: see session/queue_consumers_test.cc, .
      if (!queues_ && chance(300)) {
        members_[clients_.back()] = 0;
      } else if (queues_ && chance(600)) {
        Client& consumer = *clients_.back();
        consumer.consumes = chance(700) ? "all" : "worn";
        consumer.queue_address = "$queue/" + consumer.consumes;
        consumer.rejects_in_1000 = chance(500) ? 150 : 0;
      }
    }
    if (!queues_) return;
    QueueOptions options;
    options.messages_max = options.bytes_max = options.age_max_s = 0;
    world_.queues().declare("all", "k/+", options);
    options.deliveries_max = 3;
    options.exclusive = chance(500);
    world_.queues().declare("worn", "l", options);
    world_.settle();  // they are kept
  }

  void run(uint32_t actions, bool disk_fails) {
    const bool bounded = world_.setup().quota.bytes_max || world_.setup().limits.journal_messages;
    world_.model().may_refuse = world_.model().may_reorder = disk_fails || bounded;
    for (Client* client : clients_) client->may_be_refused = disk_fails || bounded;
    for (uint32_t done = 0; done < actions;) {
      if (chance(850) && world_.step()) continue;
      ++done;
      if (chance(25)) {
        world_.crash(kept_.files && chance(700));
      } else if (disk_fails && chance(40)) {
        kept_.disk.fail(below(20), chance(500) ? Status::Io : Status::Full, chance(300));
      } else if (chance(30)) {
        if (chance(600)) kept_.disk.heal();
        const bool looked = look_at_queues(false);
        world_.advance_ms(chance(500) ? 200 : 2000);
        look_at_queues(looked);
      } else {
        was_full_ |= world_.store_full();
        act(*clients_[below(static_cast<uint32_t>(clients_.size()))]);
      }
    }
    finish();
  }

  // Its quota was reached, as far as was looked at.
  bool was_full() const noexcept { return was_full_; }

 private:
  uint32_t below(uint32_t bound) noexcept { return static_cast<uint32_t>(choices_.below(bound)); }
  bool chance(uint32_t in_1000) noexcept { return below(1000) < in_1000; }
  static WorldSetup patient(WorldSetup setup) {
    setup.limits.receipt_timeout_s = 1'000'000;
    setup.limits.receive_maximum = 20;
    setup.policy.sys_interval_s = 0;
    return setup;
  }

  // passed: the clock has gone on since it was last looked: what had been read by then is recorded, unless the disk
  // fails. True if it was looked.
  bool look_at_queues(bool passed) {
    if (!queues_ || !chance(500)) return false;
    world_.settle();
    world_.queues().quiet(passed && !world_.model().may_refuse);
    return true;
  }

  void act(Client& client) {
    if (client.idle()) {
      if (client.may_connect() && chance(700)) connect(client, chance(40));
      return;
    }
    if (chance(30)) {
      client.break_link(true);
    } else if (!client.is_connected()) {
      return;
    } else if (chance(20)) {
      client.begin_disconnect();
    } else if (chance(250)) {
      if (!client.consumes.empty()) {
        client.begin_subscribe({{client.queue_address, Qos::AtLeastOnce}});
      } else if (members_.contains(&client)) {  // most of them once: a group is judged while nobody comes or goes
        const bool first = members_[&client]++ == 0;
        if (first || chance(30)) client.begin_subscribe({{kGroup, static_cast<Qos>(1 + below(2))}});
      } else {
        client.begin_subscribe({{kFilters[below(std::size(kFilters))], static_cast<Qos>(below(3))}});
      }
    } else if (!client.consumes.empty() && chance(60)) {
      client.begin_unsubscribe({client.queue_address});
    } else if (members_.contains(&client) ? chance(10) : chance(80)) {
      client.begin_unsubscribe({members_.contains(&client) ? kGroup : kFilters[below(std::size(kFilters))]});
    } else if (chance(40)) {
      client.acknowledges = !client.acknowledges;
    } else if (chance(40)) {
      client.reads = !client.reads;
    } else {
      const Qos qos = static_cast<Qos>(below(3));
      if (qos != Qos::AtMostOnce && !client.may_publish()) return;
      const uint32_t padding = chance(700) ? below(20) : below(900);
      client.begin_publish(
          {queues_ && chance(500) ? kQueueTopics[below(std::size(kQueueTopics))] : kTopics[below(std::size(kTopics))],
           "m" + std::to_string(++payloads_) + ":" + std::string(padding, 'x'), qos});
    }
  }

  void connect(Client& client, bool clean_start) {
    ConnectSetup setup;
    setup.clean_start = clean_start;
    setup.session_expiry_s = kExpiry_s;
    if (client.version() != ProtocolVersion::V5) setup.clean_start = false;
    setup.receive_maximum = chance(300) ? static_cast<uint16_t>(1 + below(4)) : kReceiveMaximumDefault;
    client.begin_connect(setup);
  }

  // The disk works, everybody comes back and takes what there is for him.
  void finish() {
    kept_.disk.heal();
    if (chance(300)) world_.crash(kept_.files);
    for (Client* client : clients_) {
      client->reads = client->acknowledges = true;
      client->rejects_in_1000 = 0;
    }
    world_.advance_ms(200).settle().advance_ms(world_.setup().limits.connect_timeout_ms + 1000).settle();
    for (int round = 0; round < 3; ++round) {
      for (Client* client : clients_) {
        if (client->idle()) connect(*client, false);
      }
      world_.settle().advance_ms(200).settle();
    }
    if (queues_) come_for_queues();
    // Room is given back each second. Who sends in 3.x again what is refused again is closed again, and gets little of
    // what waits for him in between.
    const auto at_rest = [](const Client* client) { return client->is_connected() && client->open_publishes() == 0; };
    for (int round = 0; round < 100 && !std::all_of(clients_.begin(), clients_.end(), at_rest); ++round) {
      world_.advance_ms(1000).settle();
      for (Client* client : clients_) {
        if (client->idle()) connect(*client, false);
      }
      world_.settle();
    }
    for (Client* client : clients_) {
      world_.require(client->is_connected(), client->client_id() + " is not connected at the end");
      world_.require(client->open_publishes() == 0,
                     client->client_id() + " has publishes that were never acknowledged");
      world_.require(!client->has_requests(), client->client_id() + " has requests that were never answered");
      world_.model().session(client->client_id())->present_at_end = true;
    }
    world_.model().judge();
    if (queues_) finish_queues();
  }

  // What there is goes to those who consume, and then to those who come for what nobody does.
  void come_for_queues() {
    for (int i = 0; i < 3; ++i) world_.advance_ms(400).settle();
    if (!world_.model().may_refuse) world_.queues().judge_waiting();
    for (const char* name : {"all", "worn"}) {
      Client& last = world_.client("last of " + std::string(name));
      last.may_be_refused = world_.model().may_refuse;
      last.consumes = name;
      last.queue_address = "$queue/" + std::string(name);
      last.connect({}).subscribe(last.queue_address, Qos::AtLeastOnce);
    }
  }

  void finish_queues() {
    for (Client* client : clients_) {
      if (!client->consumes.empty()) client->begin_subscribe({{client->queue_address, Qos::AtLeastOnce}});
    }
    for (int i = 0; i < 3; ++i) world_.settle().advance_ms(400);
    world_.settle();
    world_.queues().quiet(false);
    world_.queues().judge(false);
    // And once more, to see that nothing is there that was settled. After a disk that failed something is: "what is
    // settled when the disk works again does not come back".
    if (world_.model().may_refuse) return;
    world_.advance_ms(200).settle();
    world_.crash(kept_.files);
    world_.settle();
    world_.queues().judge(false);
  }

  Random choices_;
  const bool queues_ = chance(500);
  Kept kept_;
  World world_;
  std::vector<Client*> clients_;
  std::map<Client*, int> members_;  // of one group, and subscribed to nothing else; how often they wanted to
  uint32_t payloads_ = 0;
  bool was_full_ = false;
};

}  // namespace

TEST_CASE("a broker that dies at any moment keeps what it has acknowledged", "[sim]") {
  for (const uint64_t seed : seeds(300)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    Run(seed, {}).run(60 + static_cast<uint32_t>(seed % 400), false);
  }
}

TEST_CASE("a disk that fails now and then costs no acknowledged message", "[sim]") {
  for (const uint64_t seed : seeds(1500)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    Run(seed, {}).run(60 + static_cast<uint32_t>(seed % 400), true);
  }
}

TEST_CASE("a quota that is reached costs no acknowledged message, and ends", "[sim]") {
  uint64_t full = 0;
  for (const uint64_t seed : seeds(300)) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    WorldSetup setup;
    setup.quota.bytes_max = 8000 + seed % 5 * 3000;
    if (seed % 3 == 0) setup.limits.journal_messages = static_cast<uint32_t>(2 + seed % 7);
    Run run(seed, setup);
    run.run(60 + static_cast<uint32_t>(seed % 400), seed % 2 == 0);
    full += run.was_full();
  }
  CHECK(full > 0);
}
