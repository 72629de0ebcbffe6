// A whole broker in one thread, driven by one seed: shards, committer, log, network and clock.
//
// At each step one of those that have something to do is picked and does a part of it: a shard reads a few bytes of
// some links and takes its turn, the committer takes its own, the disk finishes a write, a client reads a little. A
// party that nobody woke is not picked, so that a forgotten wake-up shows as a world at rest, work undone.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "broker/committer.h"
#include "broker/restore.h"
#include "link.h"
#include "model.h"
#include "queue_model.h"
#include "session/shard_core.h"
#include "store/memory_store.h"
#include "stream_model.h"
#include "unit/store/simulated_disk.h"

namespace mqttq::sim {

class Client;

// A simulated run went wrong. Its text begins with the seed.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A log whose batches are durable some time after they were appended, and which fails when it is told to.
class SimLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override;
  uint64_t durable_number() noexcept override { return durable_; }
  bool may_fail() const noexcept { return fails_in_1000 || failed_count; }
  bool writing() const noexcept { return !held && durable_ < appended_; }
  // All that was appended is on the disk.
  void sync() noexcept {
    if (!held) durable_ = appended_;
  }

  bool slow = false;            // append() leaves it to sync()
  bool held = false;            // nothing becomes durable
  uint32_t fails_in_1000 = 0;   // batches, at random
  Status failure = Status::Ok;  // of all batches, until it is Ok again
  uint64_t failed_count = 0;    // batches
  Random* random = nullptr;

 private:
  uint64_t appended_ = 0;
  uint64_t durable_ = 0;
};

// A host that takes every client in after one AUTH of its own, and lets it do everything; each answer comes some steps
// after its question.
class SimAccess final : public AccessControl {
 public:
  Verdict connect(const ConnectQuestion& question) noexcept override;
  Verdict act(const ActionQuestion&) noexcept override { return Verdict::Allow; }
  bool offers(NamespaceId, std::string_view method) const noexcept override { return method == kMethod; }

  static constexpr std::string_view kMethod = "SIM";
  static constexpr std::string_view kData = "some data of the host's";
  struct Question {
    AccessTicket ticket;
    bool last = false;
  };
  std::vector<Question> open;
};

// What is 0 here is chosen by the seed.
struct WorldSetup {
  uint32_t shard_count = 0;       // 1..4
  uint32_t mailbox_capacity = 0;  // mails, 1..64, often 1
  uint32_t window = 0;            // bytes that a link holds for its client, 24..4096
  uint32_t chunk = 0;             // bytes that are read at once, at most
  bool slow_log = true;           // else a batch is durable when it is appended
  uint32_t log_fails_in_1000 = 0;
  bool authenticates = false;  // there is a host, SimAccess
  StoreQuota::Options quota;   // of what is kept
  Limits limits;
  Policy policy;
};

// What outlives a broker: files that forget what was not synced, and a store.
struct Kept {
  explicit Kept(uint64_t seed, bool in_files = true) : disk(seed), files(in_files) {}
  SimulatedDisk disk;
  MemoryStore store;
  bool files;  // the log is in files; else in the store
};

class World final {
 public:
  // kept: what outlives its broker, with crash(); null: nothing does.
  explicit World(uint64_t seed, const WorldSetup& setup = {}, Kept* kept = nullptr);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  uint64_t seed() const noexcept { return seed_; }
  Random& random() noexcept { return random_; }
  bool chance(uint32_t in_1000) noexcept { return random_.below(1000) < in_1000; }
  Instant now() const noexcept { return now_; }
  Model& model() noexcept { return model_; }
  QueueModel& queues() noexcept { return queue_model_; }
  StreamModel& streams() noexcept { return stream_model_; }
  SimLog& log() noexcept { return log_; }
  const WorldSetup& setup() const noexcept { return setup_; }
  uint32_t shard_count() const noexcept { return setup_.shard_count; }
  ShardCore& core(uint32_t shard) noexcept { return *broker_->cores[shard]; }
  // The sum over all shards.
  uint64_t count(Counter Counters::* which) noexcept;
  uint64_t session_count() noexcept;
  uint64_t connection_count() noexcept;
  // Fails unless connections, sessions, shared groups and filters are all gone.
  void require_empty();

  // The client of this name, made on the first call.
  Client& client(std::string_view client_id, ProtocolVersion version = ProtocolVersion::V5);
  std::vector<std::unique_ptr<Client>>& clients() noexcept { return clients_; }
  // A name that begins with `prefix`, for a client whose sessions live on `shard`.
  std::string client_id_at(std::string_view prefix, uint32_t shard) noexcept;

  // A connection to a shard, by default any. nullptr when the broker refuses it.
  SimLink* open_link(uint32_t shard = UINT32_MAX);

  // The broker ends without a word, and another one begins with what was kept. power_cut: the disk loses what was not
  // synced.
  void crash(bool power_cut);
  uint32_t crashes() const noexcept { return crashes_; }
  bool store_full() const noexcept { return broker_->health.full; }
  bool store_failing() const noexcept { return broker_->health.failing; }

  // As a host does it. The queue is to be there, or is not to be.
  Queue& queue(std::string_view name);
  bool has_queue(std::string_view name);
  Status try_to_declare_queue(std::string_view name, std::string_view topic_filter, const QueueOptions& options,
                              std::string_view dead_letter_topic = {});
  void declare_queue(std::string_view name, std::string_view topic_filter, const QueueOptions& options,
                     std::string_view dead_letter_topic = {});
  // False without memory.
  bool try_to_change_queue(std::string_view name, const QueueOptions& options, std::string_view dead_letter_topic = {});
  uint64_t purge_queue(std::string_view name);
  void delete_queue(std::string_view name);
  Stream& stream(std::string_view name);
  void declare_stream(std::string_view name, std::string_view topic_filter, const StreamOptions& options,
                      std::string_view key);

  // One event. False when nothing can happen without the clock or a client's own will.
  bool step();
  // Steps until nothing can happen. Fails if that never comes.
  World& settle();
  // The clock goes on; what is due happens with the next steps.
  World& advance_ms(int64_t duration_ms);
  World& advance_s(int64_t duration_s) { return advance_ms(duration_s * 1000); }
  // One turn of one shard, whether or not it has anything to do.
  void turn(uint32_t shard);
  void run_committer();
  // The host answers one of its questions.
  void run_host();
  // All connections of a shard are told that the broker stops.
  void stop(uint32_t shard);

  [[noreturn]] void fail(const std::string& what) const;
  // With MQTTQ_SIM_TRACE in the environment, what happens is told on standard error. `line` is a function that makes
  // text.
  template <class Line>
  void trace(Line&& line) const {
    if (traced_) print(line());
  }
  void require(bool condition, const std::string& what) const {
    if (!condition) fail(what);
  }

 private:
  struct Wires final : Network {
    void detach(Link& link, uint32_t to) noexcept override;
    bool adopt(Link& link, Connection& connection) noexcept override;
    uint32_t shard = 0;
  };
  struct Words final : LogSink {
    void write(LogLevel, std::string_view text) noexcept override {
      world->trace([&] { return "the broker says: " + std::string(text); });
    }
    const World* world = nullptr;
  };
  struct Party {  // a shard, or the committer
    bool awake = true;
    bool more = false;
    Instant wake_at{INT64_MAX};
  };
  enum class Actor : uint8_t { Shard, Committer, Disk, Reader, Host, Client };
  struct Choice {
    Actor actor;
    uint32_t index;
  };

  std::unique_ptr<DataDirectory> open_directory();
  void start_broker();
  void print(const std::string& line) const;
  bool has_events(uint32_t shard) const noexcept;
  // Calls do(ShardCore&) where the queue of this name is at home.
  template <class Do>
  void at_home(std::string_view name, Do&& what);
  bool runnable(uint32_t party) const noexcept;
  void wake(uint64_t parties) noexcept;
  void serve_links(uint32_t shard);
  size_t chunk_of(size_t available) noexcept;

  const uint64_t seed_;
  Random random_;
  WorldSetup setup_;
  Instant now_{1'000 * kSecond};
  uint64_t steps_ = 0;
  const bool traced_;
  Words words_;
  std::vector<std::unique_ptr<SimLink>> links_;  // before the broker, which lets go of them
  SimLog log_;
  SimAccess access_;
  Kept* const kept_;
  // All that ends with a broker.
  struct Broker {
    Broker(World& world, uint64_t seed);
    std::unique_ptr<DataDirectory> directory;
    Router router;
    PostOffice office;
    Population population;
    StoreHealth health;
    Committer committer;
    std::unique_ptr<MessageFetcher> fetcher;
    std::vector<std::unique_ptr<Wires>> wires;
    std::vector<std::unique_ptr<ShardCore>> cores;
    std::vector<Party> parties;
  };
  std::unique_ptr<Broker> broker_;
  uint32_t crashes_ = 0;
  Model model_;
  QueueModel queue_model_;
  StreamModel stream_model_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Choice> choices_;
};

// The seeds of a test that takes `usual` of them: 1 to seed_count(usual). MQTTQ_SIM_SEED=n replays one seed alone.
std::vector<uint64_t> seeds(uint32_t usual);

}  // namespace mqttq::sim
