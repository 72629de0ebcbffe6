// What stands behind the opaque handles of the C edge.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/slab.h"
#include "broker/broker.h"
#include "mqttq/mqttq.h"
#include "store/host_store.h"
#include "store/lmdb_directory.h"

// A namespace lives as long as its broker, so that a name may be borrowed.
struct mqttq_namespace {
  mqttq::NamespaceId id = mqttq::kGlobalNamespace;
  std::string name;
};

namespace mqttq::capi {

// A message that a subscriber of the host's has still to answer. Its handle is what the host holds as mqttq_reply: it
// goes stale with the first answer, so that a second one cannot speak for another subscriber of the same message.
class HostConsumer;
struct HeldAnswer {
  SlabHandle answer;            // ShardCore::answer()
  const void* owner = nullptr;  // the HostSubscriber
  // Of a consumer of a queue, in their place:
  HostConsumer* consumer = nullptr;
  uint64_t number = 0;  // of the message
};

}  // namespace mqttq::capi

struct mqttq_broker final : private mqttq::LogSink {
  explicit mqttq_broker(const mqttq_broker_config& config);
  ~mqttq_broker();

  // MQTTQ_OK if a call that needs a running broker may go on; if one that waits for a shard may: not on a shard's own
  // thread, which is where callbacks with MQTTQ_ON_SHARD run.
  mqttq_status running(mqttq_error* error) const noexcept;
  mqttq_status may_wait(mqttq_error* error) const noexcept;
  bool inside_callback() const noexcept;
  // Throws std::bad_alloc. nullptr when there are too many.
  mqttq_namespace* open_namespace(std::string_view name);
  // Static for as long as the broker lives. Any thread.
  const char* namespace_name(mqttq::NamespaceId id) noexcept;
  using Task = std::function<void(mqttq::ShardCore&, mqttq::Instant)>;
  // Runs `task` on a shard and waits; with the host's loop it is the calling thread's. False: the shard has ended.
  bool on_shard(uint32_t shard, const Task& task);
  // The same, but when the shard has ended runs `task` here, as nobody else is there any more.
  void on_shard_or_here(uint32_t shard, const Task& task);
  void stop() noexcept;
  // Of own_store.
  mqttq::Status back_up(const char* to, std::string& problem);
  const mqttq::Limits& limits() const noexcept { return broker->limits(); }

  std::unique_ptr<mqttq::AccessControl> access;      // the host's, or none
  std::vector<std::string> auth_methods;             // that the host takes
  std::unique_ptr<mqttq::SessionObserver> observer;  // the host's, or none
  std::unique_ptr<mqttq::LmdbDirectory> own_store;   // where everything is kept: this,
  std::unique_ptr<mqttq::HostStore> host_store;      // or this
  std::unique_ptr<mqttq::DataDirectory> host_directory;
  mqttq::DataDirectory* directory = nullptr;  // in one of them; null: all is in memory
  std::unique_ptr<mqttq::Broker> broker;
  std::vector<std::unique_ptr<mqttq::Slab<mqttq::capi::HeldAnswer>>> held_answers;  // by shard, each touched only there
  bool host_loop = false;
  std::atomic<bool> started{false};
  std::atomic<bool> stopped{false};
  std::atomic<uint32_t> publishes_open{0};  // of the host's, not yet with their takers

 private:
  void write(mqttq::LogLevel level, std::string_view text) noexcept override;
  void open_directory(const mqttq_broker_config& config, const mqttq::Limits& of);

  mqttq_log_fn log_ = nullptr;
  void* log_user_ = nullptr;
  std::mutex stop_mutex_;  // held while the threads end
  std::mutex namespaces_mutex_;
  std::deque<mqttq_namespace> namespaces_;  // id is the place; never moved
};

struct mqttq_listener {
  mqttq_broker* broker = nullptr;
  uint32_t id = 0;
  std::string address;
};

namespace mqttq::capi {

inline NamespaceId id_of(const mqttq_namespace* ns) noexcept { return ns ? ns->id : kGlobalNamespace; }

}  // namespace mqttq::capi
