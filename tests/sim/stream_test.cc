// Streams in many worlds: readers that come and go, and a broker that dies.
#include <catch2/catch_test_macros.hpp>

#include "client.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::sim;

namespace {

constexpr const char* kTopics[] = {"a", "a/b", "a/c"};

struct Kind {
  bool dies = false;     // the broker, now and then
  bool bounded = false;  // the stream
  bool grouped = false;  // all readers but the first
  bool disk_fails = false;
};

// Publishers, and readers whose sessions outlive their connections.
class Run {
 public:
  Run(uint64_t seed, const WorldSetup& setup, const Kind& kind)
      : choices_(seed * 37 + 11),
        kind_(kind),
        kept_(seed, seed % 4 != 0),
        world_(seed, setup, kind.dies ? &kept_ : nullptr) {
    StreamOptions options;
    if (kind.bounded) options.messages_max = 2 + seed % 7;
    options.age_max_s = 0;
    world_.streams().declare("s", "a/#", options);
    world_.settle();
    for (const int i : {0, 1}) writers_.push_back(&world_.client("w" + std::to_string(i)));
    // The first is told all there is, and reads all that was acknowledged.
    add_reader("r0", ProtocolVersion::V5, static_cast<Qos>(1 + below(2)));
    for (const char* name : {"r1", "r2", "r3"}) {
      if (kind.grouped) {
        add_reader(name, ProtocolVersion::V5, Qos::AtLeastOnce).stream_group = "g";
      } else {
        const bool old = !kind.bounded && chance(300);
        add_reader(name, old ? ProtocolVersion::V311 : ProtocolVersion::V5, static_cast<Qos>(below(3)));
      }
    }
  }

  void run(uint32_t actions) {
    world_.model().may_refuse = world_.model().may_reorder = kind_.disk_fails;
    for (const auto& client : world_.clients()) client->may_be_refused = kind_.disk_fails;
    for (uint32_t done = 0; done < actions;) {
      if (chance(850) && world_.step()) continue;
      ++done;
      if (kind_.dies && chance(25)) {
        world_.crash(kept_.files && chance(700));
      } else if (kind_.disk_fails && chance(40)) {
        kept_.disk.fail(below(20), chance(500) ? Status::Io : Status::Full, chance(300));
      } else if (chance(20)) {
        if (chance(600)) kept_.disk.heal();
        world_.advance_ms(chance(500) ? 200 : 2000);
      } else if (chance(600)) {
        write(*writers_[below(2)]);
      } else {
        read(readers_[below(static_cast<uint32_t>(readers_.size()))]);
      }
    }
    finish();
  }

  World& world() noexcept { return world_; }

 private:
  struct Reader {
    Client* client;
    Qos qos;
  };
  Client& add_reader(const char* name, ProtocolVersion version, Qos qos) {
    Client& client = world_.client(name, version);
    client.stream = "s";
    client.stream_address = "$s/earliest/$stream/s";
    readers_.push_back({&client, qos});
    return client;
  }
  uint32_t below(uint32_t bound) noexcept { return static_cast<uint32_t>(choices_.below(bound)); }
  bool chance(uint32_t in_1000) noexcept { return below(1000) < in_1000; }

  void connect(Client& client) {
    if (!client.may_connect()) return;
    ConnectSetup setup;
    setup.clean_start = false;
    setup.session_expiry_s = 100'000;
    if (chance(300)) setup.receive_maximum = static_cast<uint16_t>(1 + below(4));
    client.begin_connect(setup);
  }

  void write(Client& client) {
    if (client.idle()) return connect(client);
    if (!client.is_connected()) return;
    const Qos qos = static_cast<Qos>(below(3));
    if (chance(20)) {
      client.break_link(true);
    } else if (qos == Qos::AtMostOnce || client.may_publish()) {
      const uint32_t padding = chance(700) ? below(20) : below(900);
      client.begin_publish({kTopics[below(std::size(kTopics))],
                            "m" + std::to_string(++payloads_) + ":" + std::string(padding, 'x'), qos});
    }
  }

  void begin(const Reader& reader) {
    if (!reader.client->has_requests()) reader.client->begin_subscribe({{reader.client->stream_address, reader.qos}});
  }

  void read(const Reader& reader) {
    Client& client = *reader.client;
    if (client.idle()) return connect(client);
    if (chance(60)) {
      client.break_link(true);
    } else if (!client.is_connected()) {
      return;
    } else if (chance(40)) {
      client.begin_disconnect();
    } else if (!world_.streams().is_subscribed(client) || chance(20)) {
      begin(reader);
    } else if (chance(100)) {
      client.acknowledges = !client.acknowledges;
    } else if (chance(100)) {
      client.reads = !client.reads;
    }
  }

  // Everybody comes back and reads to the end.
  void finish() {
    kept_.disk.heal();
    if (kind_.dies && chance(300)) world_.crash(kept_.files);
    for (const Reader& reader : readers_) reader.client->reads = reader.client->acknowledges = true;
    world_.advance_ms(200).settle().advance_ms(world_.setup().limits.connect_timeout_ms + 1000).settle();
    for (int round = 0; round < 4; ++round) {
      for (Client* client : writers_) {
        if (client->idle()) connect(*client);
      }
      for (const Reader& reader : readers_) {
        if (reader.client->idle()) connect(*reader.client);
      }
      world_.settle();
      for (const Reader& reader : readers_) {
        if (reader.client->is_connected() && !world_.streams().is_subscribed(*reader.client)) begin(reader);
      }
      world_.settle().advance_ms(200).settle();
    }
    for (Client* client : writers_) {
      world_.require(client->is_connected() && client->open_publishes() == 0, client->client_id() + " is not done");
    }
    for (const Reader& reader : readers_) {
      world_.require(reader.client->is_connected() && world_.streams().is_subscribed(*reader.client),
                     reader.client->client_id() + " does not read at the end");
    }
    world_.streams().judge();
  }

  Random choices_;
  const Kind kind_;
  Kept kept_;
  World world_;
  std::vector<Client*> writers_;
  std::vector<Reader> readers_;
  uint32_t payloads_ = 0;
};

void in_runs(uint32_t count, const Kind& kind) {
  uint64_t received = 0, skipped = 0;
  const std::vector<uint64_t> chosen = seeds(count);
  for (const uint64_t seed : chosen) {
    INFO("MQTTQ_SIM_SEED=" << seed);
    WorldSetup setup;
    setup.limits.receipt_timeout_s = 1'000'000;
    setup.limits.receive_maximum = 20;
    setup.policy.sys_interval_s = 0;
    Run run(seed, setup, kind);
    run.run(60 + static_cast<uint32_t>(seed % 400));
    received += run.world().streams().received_count();
    skipped += run.world().streams().skipped_count();
  }
  CHECK(received > chosen.size());
  if (!kind.bounded) CHECK(skipped == 0);
  if (kind.bounded && chosen.size() > 10) CHECK(skipped > 0);
}

}  // namespace

TEST_CASE("readers that come and go get each message of a stream in order", "[sim]") { in_runs(300, {}); }

TEST_CASE("readers that are slower than a stream forgets are told what they skipped", "[sim]") {
  in_runs(300, {.bounded = true});
}

TEST_CASE("a broker that dies at any moment has its readers go on where they stopped", "[sim]") {
  in_runs(300, {.dies = true});
}

TEST_CASE("a broker that dies while a stream forgets tells its readers what they skipped", "[sim]") {
  in_runs(300, {.dies = true, .bounded = true});
}

TEST_CASE("a group that comes and goes has each message, and each key in order", "[sim]") {
  in_runs(300, {.grouped = true});
}

TEST_CASE("a broker that dies at any moment keeps a group's place, and each key in order", "[sim]") {
  in_runs(300, {.dies = true, .grouped = true});
}

TEST_CASE("a disk that fails now and then costs no reader an acknowledged message", "[sim]") {
  in_runs(300, {.dies = true, .disk_fails = true});
}

TEST_CASE("a disk that fails now and then costs no group an acknowledged message", "[sim]") {
  in_runs(300, {.dies = true, .grouped = true, .disk_fails = true});
}
