// One thread, its loop, and all they own: a ShardCore with sockets under it.
#pragma once

#include <uv.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "broker/committer.h"
#include "message/message_pool.h"
#include "session/shard_core.h"
#include "transport/tcp.h"

namespace mqttq {

class Shard;

// What a shard needs to know of its broker.
struct ShardSetup {
  const Limits* limits = nullptr;
  const Policy* policy = nullptr;
  Router* router = nullptr;
  PostOffice* office = nullptr;
  Population* population = nullptr;
  LogSink* log = nullptr;
  AccessControl* access = nullptr;
  SessionObserver* observer = nullptr;
  Committer* committer = nullptr;  // run in this shard's turn; null when it has a thread of its own
  // Wakes the parties whose bits are set.
  std::function<void(uint64_t parties)> wake;
  uint64_t seed = 0;
  StateSetup state;
  MessageFetcher* fetcher = nullptr;
  std::function<void()> wake_fetcher;
  bool host_driven = false;
};

// A listening socket of one shard.
class Acceptor {
 public:
  // websocket_path: of WebSockets; outlives every connection that comes through it. Empty: MQTT comes as it is.
  Acceptor(int descriptor, const ListenerInfo& info, std::string_view websocket_path) noexcept
      : descriptor_(descriptor), info_(info), websocket_path_(websocket_path) {}

 private:
  friend class Shard;
  int descriptor_;
  ListenerInfo info_;
  std::string_view websocket_path_;
  Shard* shard_ = nullptr;
  uv_poll_t poll_{};
  struct Retry : Timer {
    Acceptor* acceptor = nullptr;
  } retry_;  // after the process ran out of descriptors
  bool watched_ = false;
};

class Shard final : private TcpOwner, private Network {
 public:
  // Throws std::bad_alloc, std::system_error.
  Shard(const ShardSetup& setup, uint32_t index);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // --- any thread
  // Runs `task` on the shard's thread, soon. False when the shard has ended.
  bool run_soon(std::function<void(ShardCore&, Instant)> task);
  // The same, and waits until it has run; throws what it threw. Not on the shard's own thread.
  bool run_and_wait(std::function<void(ShardCore&, Instant)> task);
  void wake() noexcept;
  // True on the shard's own thread; of a shard that the host drives, during a turn.
  bool is_here() const noexcept { return runs_on_.load() == std::this_thread::get_id(); }
  const Counters& counters() noexcept { return core_.counters(); }

  // --- threads of our own
  void start_thread();
  // Connections are told and closed; then the thread ends.
  void begin_stop() noexcept;
  // The same, and waits until it has ended. May be called twice.
  void stop_thread() noexcept;

  // Sessions end without a word; what is kept of them stays. Its thread has ended, or is the caller's. May be called
  // twice.
  void end_sessions() noexcept;
  // Ends all that it has; its loop is closed. The other shards are still there. May be called twice.
  void shut() noexcept;

  // --- or the host's loop
  int descriptor() noexcept { return poller_.descriptor(); }
  int timeout_ms() noexcept;
  // One turn; never blocks.
  void turn() noexcept;
  void stop_here() noexcept;

  // --- on the shard's thread
  void add_acceptor(std::unique_ptr<Acceptor> acceptor) noexcept;
  // Closes the listening sockets with these descriptors.
  void remove_acceptor(int descriptor) noexcept;
  ShardCore& core() noexcept { return core_; }

 private:
  void run_thread() noexcept;
  void begin_turn() noexcept;
  void end_turn() noexcept;
  void run_tasks() noexcept;
  void run_loop_once(bool may_block) noexcept;
  int ms_until_idle_ends(Instant now) const noexcept;
  void end_all_links() noexcept;
  void drain() noexcept;

  void watch(Acceptor& acceptor) noexcept;
  void accept_some(Acceptor& acceptor) noexcept;
  void accept_one(Acceptor& acceptor, int descriptor, const sockaddr_storage& peer) noexcept;
  void stop_accepting(Acceptor& acceptor) noexcept;

  // TcpOwner.
  Poller& poller() noexcept override { return poller_; }
  std::span<char> address_buffer() noexcept override { return address_; }
  std::span<std::byte> read_buffer() noexcept override { return {read_buffer_.get(), kReadBuffer}; }
  void on_read(TcpLink& link, Bytes bytes) noexcept override;
  void on_writable(TcpLink& link) noexcept override;
  void on_peer_closed(TcpLink& link, bool broken) noexcept override;
  void on_linger(TcpLink& link) noexcept override;
  void on_violation(TcpLink& link, const char* what) noexcept override;
  void on_resumed(TcpLink& link) noexcept override;
  bool stopping() const noexcept override { return draining_; }
  // Network.
  void detach(Link& link, uint32_t to) noexcept override;
  bool adopt(Link& link, Connection& connection) noexcept override;

  static constexpr size_t kReadBuffer = 256 * 1024;  // bytes

  ShardSetup setup_;
  const uint32_t index_;
  Poller poller_;
  uv_loop_t loop_{};  // for what is not a connection: listening sockets, wake-ups. Its descriptor is one of poller_'s
  uv_async_t wake_{};
  bool loop_ready_ = false;  // it has something to do
  Instant idle_until_{};     // when there may be something to do without an event
  char address_[64];
  std::unique_ptr<std::byte[]> read_buffer_;
  Instant now_{};
  MessagePool messages_;  // this thread's, in a turn
  MessagePool* outer_messages_ = nullptr;
  ShardCore core_;
  bool in_turn_ = false;
  bool more_ = false;  // to do without an event
  bool loop_open_ = false;
  bool draining_ = false;
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> called_{false};  // by wake() since the last turn: mail, or room for ours
  IntrusiveList<TcpLink, TcpLinkTag> links_;
  IntrusiveList<TcpLink, TcpLinkTag> lingering_;
  IntrusiveList<TcpLink, TcpLinkTag> resumed_;  // that have an end to tell
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  Instant accept_complaint_{};

  std::mutex tasks_mutex_;
  std::vector<std::function<void(ShardCore&, Instant)>> tasks_;
  bool ended_ = false;  // no more tasks are taken
  bool stopping_ = false;
  std::thread thread_;
  std::atomic<std::thread::id> runs_on_{};
};

// The clock of the shards: monotonic.
Instant clock_now() noexcept;

}  // namespace mqttq
