// A broker: shards, the committer, and what they share. The wiring, and the only code that sees everything.
#pragma once

#include <chrono>
#include <set>
#include <stdexcept>
#include <string>

#include "broker/shard.h"
#include "store/data_directory.h"

namespace mqttq {

struct BrokerSetup {
  Limits limits;
  Policy policy;
  uint32_t shard_count = 0;            // 0 = one per core, at most 63
  uint32_t mailbox_capacity = 4096;    // mails between each two shards
  bool own_threads = true;             // false: the host drives the only shard
  LogSink* log = nullptr;              // borrowed, outlives the broker
  DataDirectory* directory = nullptr;  // where everything is kept; borrowed. Null: in memory
  Log* log_in_memory = nullptr;        // in the place of one that has everything at once; borrowed
  AccessControl* access = nullptr;
  SessionObserver* observer = nullptr;
};

// What was kept cannot be opened or read back. The text is for people.
struct StartFailure : std::runtime_error {
  StartFailure(Status of, const std::string& text) : std::runtime_error(text), status(of) {}
  Status status;
};

// From the system's source. Throws std::system_error.
uint64_t random_secret();
// From the clock of the shards to Unix time, by the system's clock as it stands.
int64_t unix_offset_ms() noexcept;

// By which a thread of the broker's is called, and told to end.
class Doorbell {
 public:
  void ring() noexcept { set(called_); }
  void close() noexcept { set(closed_); }
  // Until it was rung since the last call, or for so long. False: it is closed.
  bool wait(std::chrono::milliseconds longest = std::chrono::milliseconds::max()) noexcept {
    std::unique_lock lock(mutex_);
    const auto heard = [this] { return called_ || closed_; };
    if (longest == std::chrono::milliseconds::max()) {
      changed_.wait(lock, heard);
    } else {
      changed_.wait_for(lock, longest, heard);
    }
    called_ = false;
    return !closed_;
  }

 private:
  void set(bool& what) noexcept {
    {
      const std::lock_guard lock(mutex_);
      what = true;
    }
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool called_ = false, closed_ = false;
};

class Broker {
 public:
  // Throws std::bad_alloc, std::system_error, std::invalid_argument, StartFailure.
  explicit Broker(const BrokerSetup& setup);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  void start();
  // Listeners close, clients are told 0x8B, threads end. May be called twice.
  void stop() noexcept;

  // An endpoint that accepts Network Connections. error: text for people, set on failure.
  struct Listening {
    uint32_t id = 0;      // 0 on failure
    int error = 0;        // errno
    std::string address;  // as bound: with the port that was free
  };
  // websocket_path: where MQTT comes over WebSockets; empty: as it is.
  Listening open_listener(std::string_view address, const ListenerInfo& info, std::string_view websocket_path = {});
  // wait: until no shard accepts there any more; not on a shard's own thread.
  bool close_listener(uint32_t id, bool wait = true);

  uint32_t shard_count() const noexcept { return static_cast<uint32_t>(shards_.size()); }
  Shard& shard(uint32_t index) noexcept { return *shards_[index]; }
  Shard& home(NamespaceId namespace_id, std::string_view client_id) noexcept;
  Router& router() noexcept { return router_; }
  const Limits& limits() const noexcept { return setup_.limits; }
  // To be changed before it starts only.
  Policy& policy() noexcept { return setup_.policy; }
  // No more messages can be delayed now.
  bool delayed_full() const noexcept { return population_.delayed.full(setup_.limits); }
  // Of what is not in memory; nullptr: all is.
  MessageFetcher* fetcher() noexcept { return fetcher_.get(); }
  bool own_threads() const noexcept { return setup_.own_threads; }
  const StoreHealth& store_health() const noexcept { return health_; }
  // Sums over the shards.
  uint64_t counter(Counter Counters::* which) noexcept;

 private:
  struct Listener {
    uint32_t id;
    std::vector<int> descriptors;  // by shard; -1 where it has none
    std::string socket_file;       // removed when it closes
  };

  void wake(uint64_t parties) noexcept;
  void run_committer() noexcept;
  void stop_committer() noexcept;
  void run_fetcher() noexcept;
  void restore_all();
  void on_shard(uint32_t index, std::function<void(ShardCore&, Instant)> task);

  BrokerSetup setup_;
  Router router_;
  PostOffice office_;
  Population population_;
  VolatileLog log_;
  StoreHealth health_;
  Committer committer_;
  std::unique_ptr<MessageFetcher> fetcher_;  // with a directory
  std::vector<std::unique_ptr<Shard>> shards_;
  std::mutex listeners_mutex_;
  std::vector<Listener> listeners_;
  std::set<std::string, std::less<>> websocket_paths_;  // that a listener ever had: connections may look at them
  uint32_t next_listener_ = 1;
  bool started_ = false;

  std::thread committer_thread_, fetcher_thread_;
  Doorbell committer_bell_, fetcher_bell_;
};

}  // namespace mqttq
