// The broker of the session fuzzer: shards, committer, log, links and clock in one thread, moved by the program alone.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "broker/committer.h"
#include "require.h"
#include "session/shard_core.h"

namespace mqttq::fuzz {

// With MQTTQ_FUZZ_TRACE in the environment, what happens is told on standard error.
bool traced() noexcept;
void trace(const std::string& line);

// Everything is durable when it is appended, or, while it is held, when it is let go.
class FuzzLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override {
    appended_ = batch.back().number;
    if (!held) durable_ = appended_;
    return Status::Ok;
  }
  uint64_t durable_number() noexcept override { return held ? durable_ : durable_ = appended_; }
  bool held = false;

 private:
  uint64_t appended_ = 0, durable_ = 0;
};

class FuzzLink final : public Link {
 public:
  size_t write(std::span<const Bytes> pieces) noexcept override;
  void pause_reading(bool on) noexcept override { paused = on; }
  void close(bool abort) noexcept override;
  std::string_view peer_address() const noexcept override { return "192.0.2.1:50000"; }
  bool has_events() const noexcept {
    return connection && ((!paused && !inbox.empty()) || (refused_some && room) || peer_lost() || peer_finished());
  }
  bool peer_lost() const noexcept { return peer_gone && (inbox.empty() || is_reset); }
  // All that the peer sent before it shut its side was read, and nobody has been told that there is no more.
  bool peer_finished() const noexcept { return is_shut && !told_shut && !paused && inbox.empty(); }

  std::deque<std::vector<std::byte>> inbox;  // sent by the client, not read yet: one read each
  std::vector<std::byte> written;            // by the broker, not read yet
  size_t room = SIZE_MAX;                    // bytes that write() still takes
  uint32_t shard = 0;
  Connection* connection = nullptr;
  bool paused = false, refused_some = false;
  bool peer_gone = false, is_reset = false;
  bool is_shut = false, told_shut = false;  // the peer's side alone: it still reads
  bool closed = false;                      // by the broker
};

class Broker {
 public:
  Broker(uint32_t shard_count, uint32_t mailbox_capacity, const Limits& limits, const Policy& policy);
  ~Broker();

  Instant now() const noexcept { return now_; }
  const Limits& limits() const noexcept { return limits_; }
  uint32_t shard_count() const noexcept { return static_cast<uint32_t>(cores_.size()); }
  FuzzLog& log() noexcept { return log_; }
  ShardCore& core(uint32_t shard) noexcept { return *cores_[shard]; }
  uint64_t count(Counter Counters::* which) noexcept;

  FuzzLink& open(uint32_t shard, NamespaceId namespace_id);
  // One turn of a shard, or of the committer.
  void turn(uint32_t party);
  void wake_all() noexcept { awake_ = UINT64_MAX; }
  // Turns until nobody has anything to do; fails if that never comes, and if somebody has mail and was not woken.
  void settle();
  void advance_ms(int64_t duration_ms) {
    now_ = now_ + duration_ms * kMillisecond;
    wake_all();
  }
  // Ends what is left of sessions in a namespace.
  void end_sessions(NamespaceId namespace_id);
  // Connections, sessions, groups and filters are gone, and what was opened was closed.
  void require_empty();

 private:
  struct Wires final : Network {
    void detach(Link& link, uint32_t to) noexcept override;
    bool adopt(Link& link, Connection& connection) noexcept override;
    uint32_t shard = 0;
  };
  bool runnable(uint32_t party) const noexcept;
  void serve_links(uint32_t shard);

  Limits limits_;
  Policy policy_;
  Population population_;
  std::vector<std::unique_ptr<FuzzLink>> links_;
  Router router_;
  PostOffice office_;
  FuzzLog log_;
  Committer committer_;
  std::vector<std::unique_ptr<Wires>> wires_;
  std::vector<std::unique_ptr<ShardCore>> cores_;
  Instant now_{1'000 * kSecond};
  uint64_t awake_ = 0;  // a bit each, as in Postman::take_woken()
};

}  // namespace mqttq::fuzz
