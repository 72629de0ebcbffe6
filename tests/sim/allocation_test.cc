// Memory is refused: every single call to the allocator in the life of a session fails once, for every k.
//
// What may come of it is an answer that says so, a connection that ends, a message that is counted as dropped. What may
// not: a crash, a leak, an acknowledgement of what is lost without a word, a broker that serves nobody any more.
#include <catch2/catch_test_macros.hpp>

#include "client.h"
#include "heap.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::sim;

namespace {

struct Circumstances {
  uint32_t shard_count;
  ProtocolVersion version;
  int64_t refusals;            // in a row
  bool broker_speaks = false;  // of what it does and who comes and goes
  bool authenticates = false;
  bool renames = false;  // topics are rewritten, delayed, and subscribed to by themselves
};

// Two clients who do everything once, and who come back when their connection is ended.
class Life {
 public:
  Life(World& world, ProtocolVersion version)
      : world_(world),
        // On different shards, if there are several, and not on the one where connections come in.
        reader_(world.client(world.client_id_at("reader", 0), version)),
        writer_(world.client(world.client_id_at("writer", world.shard_count() - 1), version)) {
    reader_.may_be_refused = writer_.may_be_refused = true;
    reader_.uses_old_names = writer_.uses_old_names = world.setup().policy.rewrites.count() != 0;
    world.model().may_refuse = true;
  }

  void live() {
    const std::string group = "$share/g/s/#";
    with(reader_,
         [&](Client& one) { one.begin_subscribe({{"a/#", Qos::ExactlyOnce}, {group, Qos::AtLeastOnce}}, id(7)); });
    with(reader_, [&](Client& one) { one.begin_subscribe({{"+/b", Qos::AtLeastOnce}}, id(9)); });
    with(writer_, [&](Client& one) { one.begin_subscribe({{"$SYS/#", Qos::AtMostOnce}}); });
    world_.advance_ms(50).settle();
    with(writer_, [&](Client& one) { one.begin_subscribe({{"w/#", Qos::AtLeastOnce}, {group, Qos::ExactlyOnce}}); });
    for (const Qos qos : {Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce}) {
      publish(writer_, {"a/b", payload(5), qos, false, 0, true, true});
      publish(writer_, {"a/b", payload(600), qos, false, 100, false, true});
      publish(writer_, {"a/x", payload(5000), qos});
      publish(writer_, {"s/1", payload(10), qos});
      publish(reader_, {"w/0", payload(10), qos});
      publish(writer_, {"r/" + std::to_string(static_cast<int>(qos)), payload(10), qos, true});
    }
    if (writer_.uses_old_names) {
      for (const Qos qos : {Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce}) {
        publish(writer_, {"a/d", payload(5), qos, true, 0, false, false, 1});
      }
      world_.advance_ms(2000).settle();
    }
    with(reader_, [&](Client& one) { one.begin_subscribe({{"r/#", Qos::AtLeastOnce}, {"r/0", Qos::AtMostOnce}}); });
    publish(writer_, {"r/1", "", Qos::AtLeastOnce, true});
    reader_.break_link(false);
    world_.settle();
    for (const Qos qos : {Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce}) {
      publish(writer_, {"a/b", payload(5), qos});
      publish(writer_, {"s/2", payload(5), qos});
    }
    with(reader_, [&](Client& one) { one.begin_unsubscribe({"+/b", group}); });
    with(reader_, [](Client& one) { one.begin_ping(); });
    with(writer_, [](Client& one) { one.begin_reauthentication(); });
    connect(reader_);  // takes over from itself
  }

  // With memory again: both come back, and what was acknowledged is there.
  void come_back() {
    for (Client* client : {&reader_, &writer_}) {
      connect(*client);
      world_.require(client->is_connected(), client->client_id() + " cannot come back");
      world_.require(client->open_publishes() == 0, client->client_id() + " has an unacknowledged publish");
    }
    world_.advance_ms(2000).settle();  // what was delayed by a client that came back
    for (Client* client : {&reader_, &writer_}) {
      world_.model().session(client->client_id())->present_at_end = true;
    }
    world_.model().may_lose = world_.count(&Counters::dropped_no_memory) > 0;
    world_.model().judge();
  }

  void end() {
    for (Client* client : {&reader_, &writer_}) {
      client->begin_disconnect(ReasonCode::Success);
      world_.settle();
      client->begin_connect({.clean_start = true});
      world_.settle();
      client->begin_disconnect();
      world_.settle();
    }
  }

 private:
  uint32_t id(uint32_t identifier) const { return reader_.version() == ProtocolVersion::V5 ? identifier : 0; }
  std::string payload(size_t padding) { return "m" + std::to_string(++payloads_) + std::string(padding, '.'); }

  void connect(Client& client) {
    client.begin_connect({.clean_start = false,
                          .session_expiry_s = 1000,
                          .will = WillSetup{"w/" + client.client_id(), payload(3), Qos::AtLeastOnce, true},
                          .authenticates = world_.setup().authenticates});
    world_.settle();
  }

  // Each step is tried until it was made on a connection: memory is refused a few times only.
  template <class Step>
  void with(Client& client, Step&& step) {
    for (int tries = 0; client.idle() && tries < 5; ++tries) connect(client);
    world_.require(client.is_connected(), client.client_id() + " is never accepted");
    step(client);
    world_.settle();
  }
  void publish(Client& client, const PublishSetup& setup) {
    with(client, [&](Client& one) { one.begin_publish(setup); });
  }

  World& world_;
  Client& reader_;
  Client& writer_;
  uint32_t payloads_ = 0;
};

// One life, in which the allocator refuses its k-th call. False when there are not so many.
bool live_with_failure(const Circumstances& how, int64_t k) {
  const int64_t blocks = heap_blocks();
  bool struck = false;
  {
    WorldSetup setup{.shard_count = how.shard_count, .mailbox_capacity = 2, .window = 4096, .chunk = 4096};
    setup.slow_log = false;
    setup.policy.sys_interval_s = how.broker_speaks;
    setup.policy.client_events = how.broker_speaks;
    setup.authenticates = how.authenticates;
    if (how.renames) {
      rewrite_old_names(setup.policy);
      setup.policy.auto_subscriptions.emplace_back(kGlobalNamespace, "auto/${client_id}",
                                                   codec::SubscriptionOptions{Qos::AtLeastOnce});
      setup.policy.auto_subscriptions.emplace_back(kGlobalNamespace, "$share/auto/all",
                                                   codec::SubscriptionOptions{Qos::AtLeastOnce});
    }
    World world(1, setup);
    Life life(world, how.version);
    {
      FailingHeap failing(k, how.refusals);
      life.live();
      struck = failing.struck();
    }
    life.come_back();
    Client& other = world.client("other");
    other.connect({}).subscribe("o/#", Qos::ExactlyOnce).publish("o/1", "hello", Qos::ExactlyOnce).until_acknowledged();
    world.require(other.received() == std::vector<std::string>{"hello"}, "another client is not served");
    other.disconnect();
    life.end();
    world.require_empty();
  }
  if (heap_blocks() != blocks) throw Failure(std::to_string(heap_blocks() - blocks) + " blocks of memory are lost");
  return struck;
}

// A queue that is declared, consumed, changed, purged and deleted, and one for its dead letters. Where a step is
// refused it is tried again: memory is refused a few times only.
class QueueLife {
 public:
  explicit QueueLife(World& world)
      : world_(world),
        consumer_(world.client(world.client_id_at("consumer", 0))),
        writer_(world.client(world.client_id_at("writer", world.shard_count() - 1))) {
    world.model().may_refuse = true;
    consumer_.may_be_refused = writer_.may_be_refused = true;
    consumer_.consumes = "q";
    consumer_.queue_address = "$queue/q/q/+";
    options_.deliveries_max = 2;
    options_.redelivery_delay_ms = 0;
    options_.messages_max = 10;
    options_.overflow = QueueOverflow::Reject;
    world.queues().expect("q", "q/+", options_);
  }

  void live() {
    declare("q", "q/+", options_, "dead/q");
    declare("letters", "dead/#", {}, {});
    for (const Qos qos : {Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce}) publish(qos);
    subscribe();
    consumer_.rejects_in_1000 = 1000;
    publish(Qos::AtLeastOnce);
    pass();
    consumer_.rejects_in_1000 = 0;
    consumer_.acknowledges = false;
    for (int i = 0; i < 4; ++i) publish(Qos::AtLeastOnce);
    consumer_.break_link(false);
    world_.settle();
    consumer_.acknowledges = true;
    publish(Qos::AtLeastOnce);
    subscribe();
    pass();
    options_.messages_max = 9;
    change(options_);
    world_.purge_queue("letters");
    for (int i = 0; i < 3; ++i) publish(Qos::ExactlyOnce);
    pass();
  }

  // With memory again: a consumer that is still there has what there is without another word.
  void judge() {
    pass();
    publish(Qos::AtLeastOnce);
    pass();
    const Queue& queue = world_.queue("q");
    const bool consumed = queue.work->members.count() && queue.work->members[0]->state.connected;
    world_.require(!consumed || queue.depth() == 0, "a queue with a consumer hands nothing out any more");
  }

  // The same, but its consumer comes again.
  void come_back() {
    if (!consumer_.idle()) consumer_.break_link(false);
    world_.settle();
    subscribe();
    publish(Qos::AtLeastOnce);
    pass();
    world_.require(world_.queue("q").depth() == 0, "a queue hands nothing out any more");
    world_.require(!consumer_.received().empty(), "its consumer got nothing");
  }

  void end() {
    world_.delete_queue("q");
    world_.delete_queue("letters");
    world_.settle();
    for (Client* client : {&consumer_, &writer_}) {
      client->begin_disconnect();
      world_.settle();
    }
  }

 private:
  void declare(const char* name, const char* topic_filter, const QueueOptions& options, const char* dead_letter_topic) {
    for (int tries = 0; tries < 9; ++tries) {
      const std::string_view topic = dead_letter_topic ? dead_letter_topic : std::string_view();
      if (world_.try_to_declare_queue(name, topic_filter, options, topic) == Status::Ok) break;
    }
    world_.settle();
    world_.require(world_.has_queue(name), "a queue cannot be declared");
  }
  void change(const QueueOptions& options) {
    for (int tries = 0; tries < 9 && !world_.try_to_change_queue("q", options, "dead/q"); ++tries) {}
    world_.settle();
  }
  void connect(Client& client) {
    for (int tries = 0; client.idle() && tries < 9; ++tries) {
      client.begin_connect({.clean_start = false, .session_expiry_s = 1000, .receive_maximum = 3});
      world_.settle();
    }
    world_.require(client.is_connected(), client.client_id() + " is never accepted");
  }
  void subscribe() {
    connect(consumer_);
    consumer_.begin_subscribe({{consumer_.queue_address, Qos::AtLeastOnce}});
    world_.settle();
  }
  void publish(Qos qos) {
    connect(writer_);
    writer_.begin_publish({"q/a", "m" + std::to_string(++payloads_), qos});
    world_.settle();
  }
  void pass() {
    for (int i = 0; i < 3; ++i) world_.advance_ms(100).settle();
  }

  World& world_;
  Client& consumer_;
  Client& writer_;
  QueueOptions options_;
  uint32_t payloads_ = 0;
};

// As live_with_failure().
bool queue_lives_with_failure(uint32_t shard_count, int64_t refusals, int64_t k) {
  const int64_t blocks = heap_blocks();
  bool struck = false;
  {
    WorldSetup setup{.shard_count = shard_count, .mailbox_capacity = 2, .window = 4096, .chunk = 4096};
    setup.slow_log = false;
    World world(1, setup);
    QueueLife life(world);
    {
      FailingHeap failing(k, refusals);
      life.live();
      struck = failing.struck();
    }
    life.judge();
    life.come_back();
    {
      FailingHeap failing(k % 30, refusals);
      life.end();
    }
    world.settle();
    for (const auto& client : world.clients()) {
      client->begin_connect({.clean_start = true});
      world.settle();
      client->begin_disconnect();
      world.settle();
    }
    world.require_empty();
  }
  if (heap_blocks() != blocks) throw Failure(std::to_string(heap_blocks() - blocks) + " blocks of memory are lost");
  return struck;
}

}  // namespace

TEST_CASE("any allocation may fail in the life of a queue", "[sim]") {
  for (const uint32_t shard_count : {1u, 2u}) {
    for (const int64_t refusals : {1, 4}) {
      int64_t k = 0;
      for (bool struck = true; struck; ++k) {
        INFO(shard_count << " shards, the call " << k << " to the allocator fails, and " << refusals << " in a row");
        struck = queue_lives_with_failure(shard_count, refusals, k);
        REQUIRE(k < 20'000);
      }
      CHECK(k > 100);
    }
  }
}

TEST_CASE("any allocation may fail in the life of a session", "[sim]") {
  for (const Circumstances& how :
       {Circumstances{1, ProtocolVersion::V5, 1}, Circumstances{2, ProtocolVersion::V5, 1},
        Circumstances{1, ProtocolVersion::V311, 1}, Circumstances{2, ProtocolVersion::V311, 1},
        Circumstances{2, ProtocolVersion::V5, 4}, Circumstances{2, ProtocolVersion::V5, 1, true},
        Circumstances{2, ProtocolVersion::V5, 1, false, false, true}}) {
    int64_t k = 0;
    INFO((how.broker_speaks ? "with $SYS, " : "")
         << how.shard_count << " shards, version " << static_cast<int>(how.version) << ", " << how.refusals
         << " in a row" << (how.authenticates ? ", with a method" : "") << (how.renames ? ", with old names" : ""));
    for (bool struck = true; struck; ++k) {
      INFO("the call " << k << " to the allocator fails");
      struck = live_with_failure(how, k);
      REQUIRE(k < 20'000);
    }
    CHECK(k > 100);  // there was something to refuse
  }
}
