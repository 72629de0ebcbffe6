#include "broker/shard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "transport/websocket.h"

namespace mqttq {

namespace {
constexpr int64_t kLingerMax = 2 * kSecond;  // for a peer to read what it was sent last
constexpr int64_t kDrainMax = 3 * kSecond;   // for all peers, when the broker stops
constexpr int64_t kAcceptRetry = 100 * kMillisecond;
constexpr uint32_t kAcceptsPerEvent = 64;
}  // namespace

Instant clock_now() noexcept {
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
              .count()};
}

Shard::Shard(const ShardSetup& setup, uint32_t index)
    : setup_(setup),
      index_(index),
      poller_(this,
              [](void* user, void* item, uint8_t events) noexcept {
                if (item) {
                  static_cast<TcpLink*>(item)->on_ready(events);
                } else {
                  static_cast<Shard*>(user)->loop_ready_ = true;
                }
              }),
      read_buffer_(new std::byte[kReadBuffer]),
      now_(clock_now()),
      core_(ShardWorld{*setup.limits, *setup.policy, *setup.router, *setup.office, *setup.population, setup.log,
                       setup.access, setup.observer, this, setup.state, setup.fetcher},
            index, setup.seed, now_) {
  if (const int error = uv_loop_init(&loop_)) throw std::system_error(-error, std::generic_category(), "event loop");
  loop_open_ = true;
  uv_async_init(&loop_, &wake_, [](uv_async_t*) {});
  poller_.change(uv_backend_fd(&loop_), nullptr, 0, Poller::kReadable);
}

Shard::~Shard() { shut(); }

// --- from other threads

bool Shard::run_soon(std::function<void(ShardCore&, Instant)> task) {
  {
    const std::lock_guard lock(tasks_mutex_);
    if (ended_) return false;
    tasks_.push_back(std::move(task));
  }
  uv_async_send(&wake_);
  return true;
}

bool Shard::run_and_wait(std::function<void(ShardCore&, Instant)> task) {
  std::mutex mutex;
  std::condition_variable done;
  bool ran = false;
  std::exception_ptr failure;
  const bool taken = run_soon([&](ShardCore& core, Instant now) {
    try {
      task(core, now);
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    ran = true;
    done.notify_one();
  });
  if (!taken) return false;
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return ran; });
  if (failure) std::rethrow_exception(failure);
  return true;
}

void Shard::wake() noexcept {
  called_.store(true, std::memory_order_seq_cst);
  // The host waits for the descriptor where we cannot see it.
  if (sleeping_.exchange(false, std::memory_order_seq_cst) || setup_.host_driven) uv_async_send(&wake_);
}

void Shard::run_tasks() noexcept {
  std::vector<std::function<void(ShardCore&, Instant)>> tasks;
  {
    const std::lock_guard lock(tasks_mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task(core_, now_);
}

// --- the loop

void Shard::start_thread() {
  thread_ = std::thread([this] { run_thread(); });
}

void Shard::begin_stop() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(tasks_mutex_);
    stopping_ = true;
  }
  uv_async_send(&wake_);
}

void Shard::stop_thread() noexcept {
  begin_stop();
  if (thread_.joinable()) thread_.join();
}

void Shard::run_thread() noexcept {
  runs_on_.store(std::this_thread::get_id());
  for (;;) {
    run_loop_once(true);
    const std::lock_guard lock(tasks_mutex_);
    if (stopping_) break;
  }
  drain();
}

void Shard::stop_here() noexcept {
  runs_on_.store(std::this_thread::get_id());
  drain();
  runs_on_.store({});
}

// Everybody is told, and given a bounded time to read it.
void Shard::drain() noexcept {
  if (ended_) return;
  begin_turn();
  draining_ = true;
  while (!acceptors_.empty()) remove_acceptor(acceptors_.back()->descriptor_);
  core_.close_all(ReasonCode::ServerShuttingDown, now_);
  end_turn();
  const Instant until = clock_now() + kDrainMax;
  const auto busy = [this] { return core_.has_connections() || core_.publishes() || !lingering_.empty(); };
  while (busy() && clock_now() < until) run_loop_once(true);
  while (!core_.record_all() && clock_now() < until) run_loop_once(true);
  if (setup_.wake) setup_.wake(core_.postman().take_woken());
  run_tasks();
  {
    const std::lock_guard lock(tasks_mutex_);
    ended_ = true;
  }
  run_tasks();  // those that came in between
  end_all_links();
  setup_.router->epoch().offline(index_);
}

void Shard::end_all_links() noexcept {
  core_.abandon_connections();
  while (TcpLink* link = lingering_.front()) link->end();
}

void Shard::end_sessions() noexcept {
  begin_turn();
  core_.abandon();
  in_turn_ = false;
  setup_.router->epoch().offline(index_);
  MessagePool::set_current(outer_messages_);
}

void Shard::shut() noexcept {
  stop_thread();
  if (!loop_open_) return;
  loop_open_ = false;
  drain();
  end_sessions();
  uv_close(reinterpret_cast<uv_handle_t*>(&wake_), nullptr);
  uv_run(&loop_, UV_RUN_DEFAULT);
  uv_loop_close(&loop_);
}

void Shard::run_loop_once(bool may_block) noexcept {
  bool block = may_block && !more_;
  if (block) {
    sleeping_.store(true, std::memory_order_seq_cst);
    // What came before the others could see that we sleep.
    if (called_.load(std::memory_order_seq_cst) || setup_.office->has_mail(index_)) block = false;
  }
  poller_.wait(block ? ms_until_idle_ends(now_) : 0);
  if (std::exchange(loop_ready_, false) || uv_backend_timeout(&loop_) == 0) uv_run(&loop_, UV_RUN_NOWAIT);
  sleeping_.store(false, std::memory_order_relaxed);
  called_.store(false, std::memory_order_seq_cst);  // whatever it was for is seen to in this turn
  begin_turn();
  end_turn();
}

int Shard::ms_until_idle_ends(Instant now) const noexcept {
  const int64_t left = idle_until_ - now;
  return left <= 0 ? 0 : static_cast<int>((left + kMillisecond - 1) / kMillisecond);
}

int Shard::timeout_ms() noexcept {
  if (more_ || setup_.office->has_mail(index_) || uv_backend_timeout(&loop_) == 0) return 0;
  return ms_until_idle_ends(clock_now());
}

void Shard::turn() noexcept {
  runs_on_.store(std::this_thread::get_id());
  run_loop_once(false);
  runs_on_.store({});
}

void Shard::begin_turn() noexcept {
  if (in_turn_) return;
  in_turn_ = true;
  now_ = clock_now();
  outer_messages_ = MessagePool::set_current(&messages_);
  setup_.router->epoch().online(index_);
}

void Shard::end_turn() noexcept {
  run_tasks();
  while (TcpLink* link = resumed_.front()) {
    link->unlink();
    links_.push_back(*link);
    link->tell_end();
  }
  more_ = false;
  if (setup_.committer) more_ |= setup_.committer->turn(now_);
  more_ |= core_.turn(now_);
  more_ |= !resumed_.empty();
  // What the turn itself proposed and what was answered to it need no event.
  if (setup_.committer) {
    static_cast<void>(setup_.committer->take_woken());
    more_ |= setup_.office->has_mail(setup_.office->committer()) || setup_.office->has_mail(index_);
  }
  const uint64_t woken = core_.postman().take_woken() & ~(uint64_t{1} << index_);
  if (woken && setup_.wake) setup_.wake(woken);
  if (core_.take_fetches()) setup_.wake_fetcher();
  for (TcpLink* link = lingering_.front(); link && link->linger_until() <= now_; link = lingering_.front()) link->end();
  idle_until_ = now_ + core_.idle_ns(now_);
  more_ |= loop_ready_;
  in_turn_ = false;
  setup_.router->epoch().offline(index_);
  MessagePool::set_current(outer_messages_);
}

// --- sockets

void Shard::on_read(TcpLink& link, Bytes bytes) noexcept {
  begin_turn();
  if (link.user()) core_.on_read(*static_cast<Connection*>(link.user()), bytes, now_);
}

void Shard::on_writable(TcpLink& link) noexcept {
  begin_turn();
  if (link.user()) core_.on_writable(*static_cast<Connection*>(link.user()), now_);
}

void Shard::on_peer_closed(TcpLink& link, bool broken) noexcept {
  begin_turn();
  if (!link.user()) return;
  auto& connection = *static_cast<Connection*>(link.user());
  core_.on_closed(connection, broken, now_);
  if (connection.closing()) link.set_user(nullptr);
  link.pause_reading(true);  // it is closed at the end of a turn: of this one, or when all is answered
}

void Shard::on_linger(TcpLink& link) noexcept {
  link.unlink();
  link.set_linger_until(now_ + kLingerMax);
  lingering_.push_back(link);
}

void Shard::on_violation(TcpLink& link, const char* what) noexcept {
  begin_turn();
  if (!link.user()) return;
  CloseReason reason = ReasonCode::ProtocolError;
  reason.reason_string = what;
  core_.on_violation(*static_cast<Connection*>(link.user()), reason, now_);
  link.pause_reading(true);
}

void Shard::on_resumed(TcpLink& link) noexcept {
  link.unlink();
  resumed_.push_back(link);
}

void Shard::detach(Link& link, uint32_t) noexcept {
  auto& tcp = static_cast<TcpLink&>(link);
  tcp.set_user(nullptr);
  tcp.unlink();
  tcp.stop();
}

bool Shard::adopt(Link& link, Connection& connection) noexcept {
  auto& tcp = static_cast<TcpLink&>(link);
  tcp.set_user(&connection);
  if (!tcp.start(*this)) return false;
  links_.push_back(tcp);
  return true;
}

// --- listening

void Shard::add_acceptor(std::unique_ptr<Acceptor> acceptor) noexcept {
  acceptor->shard_ = this;
  acceptor->retry_.acceptor = acceptor.get();
  uv_poll_init(&loop_, &acceptor->poll_, acceptor->descriptor_);
  acceptor->poll_.data = acceptor.get();
  watch(*acceptor);
  acceptors_.push_back(std::move(acceptor));
}

void Shard::watch(Acceptor& acceptor) noexcept {
  acceptor.watched_ = true;
  loop_ready_ = true;  // it registers the socket when it runs
  uv_poll_start(&acceptor.poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
    auto& ready = *static_cast<Acceptor*>(poll->data);
    ready.shard_->accept_some(ready);
  });
}

void Shard::remove_acceptor(int descriptor) noexcept {
  const auto at = std::find_if(acceptors_.begin(), acceptors_.end(),
                               [&](const auto& acceptor) { return acceptor->descriptor_ == descriptor; });
  if (at == acceptors_.end()) return;
  Acceptor* acceptor = at->release();
  acceptors_.erase(at);
  acceptor->retry_.cancel();
  uv_poll_stop(&acceptor->poll_);
  ::close(acceptor->descriptor_);
  uv_close(reinterpret_cast<uv_handle_t*>(&acceptor->poll_),
           [](uv_handle_t* handle) { delete static_cast<Acceptor*>(handle->data); });
}

void Shard::accept_some(Acceptor& acceptor) noexcept {
  begin_turn();
  for (uint32_t i = 0; i < kAcceptsPerEvent; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int descriptor =
        ::accept4(acceptor.descriptor_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
      accept_one(acceptor, descriptor, peer);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) stop_accepting(acceptor);
    if (errno == EINTR || errno == ECONNABORTED) continue;
    return;
  }
}

void Shard::accept_one(Acceptor& acceptor, int descriptor, const sockaddr_storage& peer) noexcept {
  auto* link = create<TcpLink>(descriptor, peer);
  if (!link) {
    ::close(descriptor);
    return;
  }
  if (!acceptor.websocket_path_.empty()) {
    auto* websocket = create<WebSocket>(acceptor.websocket_path_);
    if (!websocket) {
      link->close(true);
      return;
    }
    link->set_websocket(websocket);
  }
  Connection* connection = link->start(*this) ? core_.open(*link, acceptor.info_, now_) : nullptr;
  if (!connection) {
    link->close(true);
    return;
  }
  link->set_user(connection);
  links_.push_back(*link);
}

// Those who are connected go on; those who knock wait in the system's queue until there are descriptors again.
void Shard::stop_accepting(Acceptor& acceptor) noexcept {
  const int error = errno;
  if (acceptor.watched_) uv_poll_stop(&acceptor.poll_);
  acceptor.watched_ = false;
  core_.timers().arm(acceptor.retry_, now_ + kAcceptRetry, [](Timer& timer, Instant) noexcept {
    Acceptor& paused = *static_cast<Acceptor::Retry&>(timer).acceptor;
    paused.shard_->watch(paused);
  });
  if (setup_.log && now_ - accept_complaint_ > 10 * kSecond) {
    accept_complaint_ = now_;
    char text[160];
    const auto end = fmt::format_to_n(text, sizeof text, "cannot accept connections: {}; accepting pauses",
                                      std::generic_category().message(error));
    setup_.log->write(LogLevel::Error, {text, std::min(end.size, sizeof text)});
  }
}

}  // namespace mqttq
