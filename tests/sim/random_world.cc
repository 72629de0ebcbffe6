// See random_world.h.
#include "random_world.h"

#include <algorithm>

#include "heap.h"

namespace mqttq::sim {

namespace {

constexpr const char* kTopics[] = {"a", "a/b", "a/b/c", "b/a", "/a", "a//b", "$x/a", "b"};
constexpr const char* kFilters[] = {"a",     "a/b",   "a/+",  "+/b",   "a/#",    "#",
                                    "+",     "$x/#",  "$x/+", "+/+",   "/+",     "b/a",
                                    "a/+/c", "+/a/#", "r/#",  "r/+/x", "$SYS/#", "$SYS/broker/clients/+/+"};
constexpr const char* kGroupFilters[] = {"$share/one/g/#", "$share/two/g/+", "$share/one/g/a"};
constexpr const char* kGroupTopics[] = {"g/a", "g/b", "g"};
// What queues take, and nobody has retained: of "k" all, of "l" as much as they have room for, and of "j" they refuse
// what they have no room for.
constexpr const char* kQueueTopics[] = {"k/a", "k/a/b", "k/b", "l/a", "l/b", "j/a"};
constexpr uint32_t kDelays_s[] = {1, 2, 5};
constexpr uint32_t kLongestDelay_s = 5;

// What a client of this world is like.
struct Role {
  Client* client;
  const char* group;  // set: a member of shared groups, mostly of this one, and of nothing else
  const char* queue;  // set: it consumes this one, and nothing else
  bool durable;       // wants its session back
  uint32_t expiry_s;
  uint16_t receive_maximum;
  uint32_t packet_size_max;
  uint16_t topic_alias_maximum;
  uint32_t retained_count = 0;
};

class Run {
 public:
  Run(uint64_t seed, uint32_t refusals_in_1000)
      : choices_(seed * 0x9E37'79B9u + 1),
        names_(seed + 1),
        refusals_in_1000_(refusals_in_1000),
        world_(seed, setup(choices_)) {
    World& world = world_;
    world.model().may_refuse = refusals_in_1000 != 0;
    world.model().may_lose = lossy_;
    world.model().may_reorder = world.setup().log_fails_in_1000 != 0;
    const uint32_t count = 2 + below(5);
    for (uint32_t i = 0; i < count; ++i) {
      static constexpr ProtocolVersion kVersions[] = {ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5,
                                                      ProtocolVersion::V5};
      Role role{};
      role.client = &world.client("c" + std::to_string(i), kVersions[below(4)]);
      role.client->may_be_refused = refusals_in_1000 != 0;
      role.client->uses_old_names = world.setup().policy.rewrites.count() && names_.below(2);
      role.group = chance(250) ? kGroupFilters[below(std::size(kGroupFilters))] : nullptr;
      if (queues_ && !role.group && names_.below(2)) consume(role);
      role.durable = chance(600);
      role.expiry_s = chance(200) ? 30 : chance(500) ? 100'000 : kSessionExpiryNever;
      role.receive_maximum = chance(500) ? static_cast<uint16_t>(1 + below(4)) : kReceiveMaximumDefault;
      role.packet_size_max = chance(150) ? 80 + below(400) : 0;
      role.topic_alias_maximum = chance(400) ? static_cast<uint16_t>(1 + below(4)) : 0;
      if (role.queue) role.packet_size_max = 0;
      roles_.push_back(role);
    }
    if (queues_) declare();
  }

  void run() {
    const uint32_t actions = chance(700) ? 40 + below(160) : 200 + below(1500);
    {
      const ShakyHeap shaky(world_.seed(), refusals_in_1000_);
      for (uint32_t done = 0; done < actions;) {
        const bool moved = chance(850) && world_.step();
        if (moved) continue;
        act(roles_[below(static_cast<uint32_t>(roles_.size()))]);
        ++done;
        if (!queues_) continue;
        world_.queues().judge_limits();
        if (names_.below(100) == 0) {
          world_.settle();
          world_.queues().quiet(false);
        }
      }
    }
    finish();
  }

  Judged judged() { return {world_.queues().received_count(), world_.queues().exact_count()}; }

 private:
  uint32_t below(uint32_t bound) noexcept { return static_cast<uint32_t>(choices_.below(bound)); }
  bool chance(uint32_t in_1000) noexcept { return below(1000) < in_1000; }

  WorldSetup setup(Random&) {
    WorldSetup setup;
    if (chance(150)) setup.log_fails_in_1000 = 50 + below(200);
    setup.slow_log = chance(700);
    setup.limits.receive_maximum = chance(300) ? static_cast<uint16_t>(1 + below(5)) : 20;
    setup.limits.receipt_timeout_s = 1'000'000;  // a forgotten receipt may double a message
    setup.limits.inflight_max = chance(300) ? static_cast<uint16_t>(1 + below(3)) : 100;
    setup.policy.shared.set_default(static_cast<SharedStrategy>(below(6)));
    setup.policy.sys_interval_s = chance(500) ? 1 + below(10) : 0;
    setup.policy.client_events = chance(500);
    if (names_.below(3) == 0) rewrite_old_names(setup.policy);
    delays_ = names_.below(2);
    queues_ = names_.below(2);
    if (names_.below(4) == 0) {
      setup.policy.auto_subscriptions.emplace_back(
          kGlobalNamespace, "b/a",
          codec::SubscriptionOptions{static_cast<Qos>(names_.below(3)), names_.below(2) != 0, names_.below(2) != 0,
                                     static_cast<codec::RetainHandling>(names_.below(2) * 2)});
    }
    lossy_ = chance(100);
    if (lossy_) {
      setup.limits.outbox_bytes_max = 200 + below(2000);
      setup.limits.outbox_messages_max = 1 + below(10);
    } else if (chance(300)) {
      setup.limits.outbox_bytes_max = 64 * 1024;
    }
    return setup;
  }

  // The queues of "k" have all of it and are judged by that; two more are small.
  void declare() {
    QueueOptions options;
    options.messages_max = options.bytes_max = options.age_max_s = 0;
    options.dispatch = static_cast<QueueDispatch>(names_.below(3));
    options.exclusive = names_.below(4) == 0;
    options.redelivery_delay_ms = static_cast<uint32_t>(names_.below(3) * 50);
    world_.queues().declare("all", "k/#", options);
    options.exclusive = false;
    options.ack_timeout_ms = 300;
    world_.queues().declare("impatient", "k/+", options);
    options.ack_timeout_ms = 0;
    options.messages_max = 1 + names_.below(5);
    options.bytes_max = names_.below(2) ? 300 : 0;
    options.overflow = names_.below(2) ? QueueOverflow::DropNewest : QueueOverflow::DropOldest;
    options.deliveries_max = static_cast<uint32_t>(names_.below(3));
    world_.queues().declare("narrow", "l/#", options);
    options.overflow = QueueOverflow::Reject;
    world_.queues().declare("strict", "j/#", options);
  }

  void consume(Role& role) {
    static constexpr const char* kQueues[][2] = {
        {"all", "k/#"}, {"all", "k/#"}, {"impatient", "k/+"}, {"narrow", "l/#"}, {"strict", "j/#"}};
    const auto& [name, topic_filter] = kQueues[names_.below(std::size(kQueues))];
    role.queue = name;
    role.client->consumes = name;
    role.client->queue_address =
        "$queue/" + std::string(name) + (names_.below(2) ? "/" + std::string(topic_filter) : "");
    role.client->rejects_in_1000 = names_.below(2) ? 150 : 0;
  }

  void act(Role& role) {
    Client& client = *role.client;
    if (chance(20)) {
      world_.advance_ms(chance(500) ? 1 + below(100) : chance(700) ? 1000 * (1 + below(5)) : 60'000);
      return;
    }
    if (client.idle()) {
      if (client.may_connect() && chance(600)) connect(role);
      return;
    }
    if (chance(15)) {
      client.break_link(true);
    } else if (!client.is_connected()) {
      return;
    } else if (chance(8)) {
      connect(role);  // a second connection, while the first still stands
    } else if (chance(15)) {
      const bool with_will = chance(300);
      client.begin_disconnect(with_will ? ReasonCode::DisconnectWithWill : ReasonCode::Success);
    } else if (chance(180)) {
      subscribe(role);
    } else if (chance(50)) {
      client.begin_unsubscribe({filter(role)});
    } else if (chance(50)) {
      client.begin_ping();
    } else if (chance(30)) {
      client.reads = !client.reads;
    } else if (chance(40)) {
      client.acknowledges = !client.acknowledges;
    } else {
      publish(role);
    }
  }

  void connect(Role& role) {
    ConnectSetup setup;
    setup.clean_start = role.durable ? chance(60) : chance(700);
    setup.session_expiry_s = role.durable && !chance(40) ? role.expiry_s : 0;
    setup.receive_maximum = chance(200) ? static_cast<uint16_t>(1 + below(10)) : role.receive_maximum;
    setup.packet_size_max = role.packet_size_max;
    setup.topic_alias_maximum = role.topic_alias_maximum;
    setup.keep_alive_s = chance(200) ? static_cast<uint16_t>(10 + below(100)) : 0;
    if (role.queue) setup.keep_alive_s = 0;
    if (chance(300)) {
      setup.will = WillSetup{"w/" + role.client->client_id(), payload(), static_cast<Qos>(below(3)), chance(200),
                             chance(300) ? below(20) : 0};
    }
    role.client->begin_connect(setup);
  }

  std::string filter(const Role& role) {
    if (role.queue) return role.client->queue_address;
    if (role.group) return chance(900) ? role.group : kGroupFilters[below(std::size(kGroupFilters))];
    return chance(100) ? "w/#" : kFilters[below(std::size(kFilters))];
  }

  void subscribe(const Role& role) {
    std::vector<Entry> entries(chance(700) ? 1 : 1 + below(3));
    std::vector<std::string> seen;
    for (Entry& entry : entries) {
      entry.topic_filter = filter(role);
      if (std::find(seen.begin(), seen.end(), entry.topic_filter) != seen.end()) {
        entries.resize(seen.size());
        break;
      }
      seen.push_back(entry.topic_filter);
      entry.qos = static_cast<Qos>(below(3));
      if (role.queue)
        entry.qos = role.client->consumes == "narrow" ? std::min(entry.qos, Qos::AtLeastOnce) : Qos::AtLeastOnce;
      if (role.group || role.queue) continue;
      entry.no_local = chance(150);
      entry.retain_as_published = chance(150);
      entry.retain_handling = static_cast<codec::RetainHandling>(chance(700) ? 0 : below(3));
    }
    const bool v5 = role.client->version() == ProtocolVersion::V5;
    role.client->begin_subscribe(entries, v5 && chance(500) ? 1 + below(100'000) : 0);
  }

  void publish(Role& role) {
    PublishSetup setup;
    setup.qos = static_cast<Qos>(below(3));
    if (setup.qos != Qos::AtMostOnce && !role.client->may_publish()) return;
    setup.payload = payload();
    setup.user_properties = chance(200);
    setup.alias = chance(300);
    if (chance(80)) setup.expiry_s = chance(500) ? 1 + below(4) : 10'000;
    if (chance(250)) {  // of its own topics, so that the last is known
      setup.topic_name = "r/" + role.client->client_id() + (chance(500) ? "/x" : "/y");
      setup.retain = chance(800);
      if (setup.retain && chance(150)) setup.payload.clear();
    } else if (chance(350)) {
      setup.topic_name = kGroupTopics[below(std::size(kGroupTopics))];
    } else {
      setup.topic_name = kTopics[below(std::size(kTopics))];
    }
    if (queues_ && names_.below(100) < 50) {
      const bool v5 = role.client->version() == ProtocolVersion::V5;  // 3.x is closed when it is refused
      setup.topic_name = kQueueTopics[names_.below(std::size(kQueueTopics) - !v5)];
      setup.retain = false;
      if (setup.payload.empty()) setup.payload = payload();
    }
    if (delays_ && names_.below(100) < 15) setup.delay_s = kDelays_s[names_.below(std::size(kDelays_s))];
    role.client->begin_publish(setup);
  }

  std::string payload() {
    const uint32_t padding = chance(700) ? below(20) : chance(700) ? below(400) : below(5000);
    return "m" + std::to_string(++payloads_) + ":" + std::string(padding, 'x');
  }

  // The network heals, the disk works, everybody comes back and takes what there is for him.
  void finish() {
    world_.log().fails_in_1000 = 0;
    for (Role& role : roles_) {
      role.client->reads = role.client->acknowledges = true;
      role.client->rejects_in_1000 = 0;
    }
    // Connections that were cut before their CONNECT was whole end with their time-out.
    world_.settle().advance_ms(world_.setup().limits.connect_timeout_ms + 1000).settle();
    for (Role& role : roles_) {
      Client& client = *role.client;
      if (client.idle()) {
        ConnectSetup setup;
        setup.clean_start = !client.durable();
        setup.session_expiry_s = role.expiry_s;
        setup.packet_size_max = role.packet_size_max;
        setup.topic_alias_maximum = role.topic_alias_maximum;
        client.begin_connect(setup);
      }
    }
    world_.settle();
    // What was delayed is due, and nobody's Keep Alive.
    for (Role& role : roles_) role.client->begin_ping();
    world_.settle().advance_s(kLongestDelay_s + 1).settle();
    for (Role& role : roles_) {
      Client& client = *role.client;
      world_.require(client.is_connected(), client.client_id() + " is not connected at the end");
      world_.require(client.open_publishes() == 0, client.client_id() + " has publishes that were never acknowledged");
      world_.require(!client.has_requests(), client.client_id() + " has requests that were never answered");
      world_.model().session(client.client_id())->present_at_end = true;
    }
    if (queues_) finish_queues();
    if (world_.count(&Counters::dropped_no_memory) || world_.count(&Counters::retained_refused)) {
      world_.require(refusals_in_1000_, "there was memory");
      world_.model().may_lose = true;
    }
    world_.model().judge();

    Client& auditor = world_.client("auditor");
    auditor.connect({}).subscribe({{"#", Qos::ExactlyOnce}, {"$x/#", Qos::ExactlyOnce}});
    world_.model().judge_retained(auditor.received_topics());
    world_.require(world_.count(&Counters::protocol_errors) == 0, "somebody is said to have broken the protocol");

    world_.queues().end();
    world_.settle();
    // All sessions end, and nothing of them is left.
    for (const auto& client : world_.clients()) {
      client->begin_disconnect();
      world_.settle();
      client->begin_connect({.clean_start = true});
      world_.settle();
      client->begin_disconnect();
    }
    world_.settle();
    world_.require_empty();
  }

  // What there is goes to those who consume, and then to those who come for what nobody does.
  void finish_queues() {
    for (int i = 0; i < 3; ++i) world_.advance_ms(400).settle();
    world_.queues().quiet(false);
    if (!refusals_in_1000_) world_.queues().judge_waiting();
    for (const char* name : {"all", "impatient", "narrow", "strict"}) {
      Client& last = world_.client("last of " + std::string(name));
      last.consumes = name;
      last.queue_address = "$queue/" + std::string(name);
      last.connect({}).subscribe(last.queue_address, Qos::AtLeastOnce);
    }
    for (Role& role : roles_) {  // an exclusive queue may be somebody else's, who does not hear that there is something
      if (role.queue) role.client->begin_subscribe({{role.client->queue_address, Qos::AtLeastOnce}});
    }
    for (int i = 0; i < 3; ++i) world_.settle().advance_ms(400);
    world_.settle();
    world_.queues().quiet(false);
    world_.queues().judge(lossy_ || world_.count(&Counters::dropped_no_memory));
  }

  Random choices_;
  Random names_;  // choices about what topics are called, apart from the others
  const uint32_t refusals_in_1000_;
  bool lossy_ = false;
  bool delays_ = false;  // some messages are delayed
  bool queues_ = false;  // there are some
  World world_;
  std::vector<Role> roles_;
  uint32_t payloads_ = 0;
};

}  // namespace

Judged run_random_world(uint64_t seed, uint32_t refusals_in_1000) {
  const int64_t blocks = heap_blocks();
  Judged judged;
  {
    Run run(seed, refusals_in_1000);
    run.run();
    judged = run.judged();
  }
  if (heap_blocks() != blocks) {
    throw Failure("MQTTQ_SIM_SEED=" + std::to_string(seed) + ": " + std::to_string(heap_blocks() - blocks) +
                  " blocks of memory are lost");
  }
  return judged;
}

}  // namespace mqttq::sim
