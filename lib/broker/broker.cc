#include "broker/broker.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>

#include "broker/restore.h"

namespace mqttq {

uint64_t random_secret() {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) {
    throw std::system_error(errno, std::generic_category(), "random numbers");
  }
  return value;
}

int64_t unix_offset_ms() noexcept {
  const auto unix_time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(unix_time).count() - clock_now().ns / kMillisecond;
}

namespace {

// That this thread may run on: a process that is held to one core of many has no use for more threads.
uint32_t core_count() noexcept {
  cpu_set_t cores;
  if (::sched_getaffinity(0, sizeof cores, &cores) == 0) return static_cast<uint32_t>(CPU_COUNT(&cores));
  return std::thread::hardware_concurrency();  // more cores than the set has room for
}

uint32_t shards_wanted(const BrokerSetup& setup) {
  if (!setup.own_threads && setup.shard_count > 1) {
    throw std::invalid_argument("shards: a broker that the host drives (host_loop) has one");
  }
  if (setup.shard_count > Router::kShardCountMax) throw std::invalid_argument("shards: more than 63");
  if (!setup.own_threads) return 1;
  if (setup.shard_count) return setup.shard_count;
  return std::clamp(core_count(), 1u, Router::kShardCountMax);
}

}  // namespace

Broker::Broker(const BrokerSetup& setup)
    : setup_(setup),
      router_(shards_wanted(setup), setup.directory ? setup.directory->seed() : random_secret()),
      office_(router_.shard_count(), setup.mailbox_capacity),
      committer_(office_,
                 setup.directory       ? *setup.directory
                 : setup.log_in_memory ? *setup.log_in_memory
                                       : static_cast<Log&>(log_),
                 &health_) {
  setup_.policy.unix_offset_ms = setup.directory ? setup.directory->unix_offset_ms() : unix_offset_ms();
  committer_.set_clock(setup_.policy.unix_offset_ms, 0);
  ShardSetup shard;
  shard.limits = &setup_.limits;
  shard.policy = &setup_.policy;
  shard.router = &router_;
  shard.office = &office_;
  shard.population = &population_;
  shard.log = setup.log;
  shard.access = setup.access;
  shard.observer = setup.observer;
  if (setup.directory) {
    shard.state = {&health_, setup.directory->seed(), setup.directory->boot(), setup.directory->writes_at_once()};
  }
  if (setup.directory) {
    fetcher_ = std::make_unique<MessageFetcher>(*setup.directory, router_.shard_count());
    shard.fetcher = fetcher_.get();
    shard.wake_fetcher = [this] { fetcher_bell_.ring(); };
  }
  shard.host_driven = !setup.own_threads;
  // The only shard commits in its own turn: a publish is numbered and answered without leaving the thread. But for what
  // is kept, it would wait for the disk.
  const bool in_turn = router_.shard_count() == 1 && !setup.directory;
  shard.committer = in_turn ? &committer_ : nullptr;
  if (!in_turn) shard.wake = [this](uint64_t parties) { wake(parties); };
  for (uint32_t i = 0; i < router_.shard_count(); ++i) {
    shard.seed = random_secret();
    shards_.push_back(std::make_unique<Shard>(shard, i));
  }
  if (setup.directory) restore_all();
}

void Broker::restore_all() {
  Restored restored;
  std::string problem;
  const Instant begin = clock_now();
  const auto shard = [this](uint32_t index) -> ShardCore& { return shards_[index]->core(); };
  const Status status = restore(*setup_.directory, router_, shard, begin, setup_.log, restored, problem);
  if (status != Status::Ok) throw StartFailure(status, problem);
  committer_.set_clock(setup_.policy.unix_offset_ms, restored.newest_us);
  // What the start itself has changed is durable before anybody is let in.
  for (const auto& one : shards_) static_cast<void>(one->core().record_all());
  committer_.turn(begin);
  if (!setup_.log) return;
  const std::string text = fmt::format(
      "restored in {} ms: {} sessions, {} subscriptions, {} queues, {} streams, {} messages, {} in flight, {} "
      "retained, "
      "{} delayed",
      (clock_now() - begin) / kMillisecond, restored.sessions, restored.subscriptions, restored.queues,
      restored.streams, restored.messages, restored.inflight, restored.retained, restored.delayed);
  setup_.log->write(LogLevel::Notice, text);
  if (!restored.lost) return;
  setup_.log->write(LogLevel::Error,
                    fmt::format("{} entries of the store are damaged, or belong to nothing: left out", restored.lost));
}

// The loops end while all shards are still there: a last turn may wake another one.
Broker::~Broker() {
  stop();
  for (const auto& shard : shards_) shard->shut();
}

void Broker::start() {
  started_ = true;
  if (fetcher_) fetcher_thread_ = std::thread([this] { run_fetcher(); });
  if (shards_.size() > 1 || setup_.directory) committer_thread_ = std::thread([this] { run_committer(); });
  if (!setup_.own_threads) return;
  for (const auto& shard : shards_) shard->start_thread();
}

void Broker::stop() noexcept {
  if (!started_) return;
  started_ = false;
  std::vector<uint32_t> open;
  {
    const std::lock_guard lock(listeners_mutex_);
    for (const Listener& listener : listeners_) open.push_back(listener.id);
  }
  for (const uint32_t id : open) close_listener(id);
  population_.ending = true;  // before any shard says so to its connections
  if (setup_.own_threads) {   // all at once: each gives its clients time to read
    for (const auto& shard : shards_) shard->begin_stop();
  }
  for (const auto& shard : shards_) {
    if (setup_.own_threads) {
      shard->stop_thread();
    } else {
      shard->stop_here();
    }
  }
  stop_committer();  // which still asks who takes a message
  for (const auto& shard : shards_) shard->end_sessions();
}

// One answer after the other, so that none waits behind a long list of another's.
void Broker::run_fetcher() noexcept {
  do {
    for (uint32_t shard = 0; fetcher_->run_one(shard);) shards_[shard]->wake();
  } while (fetcher_bell_.wait());
}

// The shards have ended: what they said last is written, if the disk takes it.
void Broker::stop_committer() noexcept {
  if (fetcher_thread_.joinable()) {
    fetcher_bell_.close();
    fetcher_thread_.join();
  }
  if (!committer_thread_.joinable()) return;
  committer_bell_.close();
  committer_thread_.join();
  if (!setup_.directory) return;
  constexpr int64_t kPatience = 5 * kSecond;
  const Instant until = clock_now() + kPatience;
  do {
    committer_.turn(clock_now());
  } while ((office_.has_mail(office_.committer()) || (!committer_.idle() && health_.failing)) && clock_now() < until);
  if (setup_.directory->follow() != Status::Ok && setup_.log) {
    setup_.log->write(LogLevel::Error, "the store could not be written at the end: it will be brought up from the log");
  }
}

void Broker::wake(uint64_t parties) noexcept {
  for (uint32_t i = 0; i < shards_.size(); ++i) {
    if (parties >> i & 1) shards_[i]->wake();
  }
  if (parties >> office_.committer() & 1) committer_bell_.ring();
}

void Broker::run_committer() noexcept {
  for (bool open = true; open;) {
    const bool more = committer_.turn(clock_now());
    wake(committer_.take_woken());
    // The log says when it is durable only when it is asked; an alarm ends, or begins with what others do to the disk.
    constexpr std::chrono::milliseconds kSoon{1}, kTidying{50}, kAlarmed{250}, kIdle{10'000};
    const bool alarmed = health_.alarm.load(std::memory_order_relaxed) != StoreAlarm::Ok;
    open = more                             ? committer_bell_.wait(kSoon)
           : committer_.tidies(clock_now()) ? committer_bell_.wait(kTidying)
           : setup_.directory               ? committer_bell_.wait(alarmed ? kAlarmed : kIdle)
                                            : committer_bell_.wait();
  }
}

Shard& Broker::home(NamespaceId namespace_id, std::string_view client_id) noexcept {
  return *shards_[shards_[0]->core().home_of(namespace_id, client_id)];
}

uint64_t Broker::counter(Counter Counters::* which) noexcept {
  uint64_t sum = 0;
  for (const auto& shard : shards_) sum += (shard->counters().*which).value();
  return sum;
}

// With the host's loop there is no other thread: it is done here and now.
void Broker::on_shard(uint32_t index, std::function<void(ShardCore&, Instant)> task) {
  if (setup_.own_threads) {
    shards_[index]->run_and_wait(std::move(task));
  } else {
    task(shards_[index]->core(), clock_now());
  }
}

Broker::Listening Broker::open_listener(std::string_view text, const ListenerInfo& info,
                                        std::string_view websocket_path) {
  Listening result;
  sockaddr_storage address{};
  socklen_t size = parse_address(text, address);
  if (!size) {
    result.error = EINVAL;
    return result;
  }
  std::string_view path;
  if (!websocket_path.empty()) {
    const std::lock_guard lock(listeners_mutex_);
    path = *websocket_paths_.emplace(websocket_path).first;
  }
  Listener listener{0, {}, {}};
  const bool local = address.ss_family == AF_UNIX;
  for (uint32_t i = 0; i < shards_.size(); ++i) {
    if (local && i > 0) {
      listener.descriptors.push_back(-1);
      continue;
    }
    const ListenSocket socket = listen_on(address, size, i > 0);
    if (socket.descriptor < 0) {
      for (const int descriptor : listener.descriptors) ::close(descriptor);
      result.error = socket.error;
      return result;
    }
    listener.descriptors.push_back(socket.descriptor);
    if (i == 0 && !local) {  // the others join at the port that was free
      size = sizeof address;
      ::getsockname(socket.descriptor, reinterpret_cast<sockaddr*>(&address), &size);
    }
  }
  if (local) listener.socket_file = reinterpret_cast<const sockaddr_un&>(address).sun_path;
  char name[sizeof(sockaddr_un)];
  result.address.assign(name, format_address(address, name));
  for (uint32_t i = 0; i < shards_.size(); ++i) {
    if (listener.descriptors[i] < 0) continue;
    auto acceptor = std::make_unique<Acceptor>(listener.descriptors[i], info, path);
    Shard& shard = *shards_[i];
    on_shard(i, [&](ShardCore&, Instant) { shard.add_acceptor(std::move(acceptor)); });
  }
  const std::lock_guard lock(listeners_mutex_);
  result.id = listener.id = next_listener_++;
  listeners_.push_back(std::move(listener));
  return result;
}

bool Broker::close_listener(uint32_t id, bool wait) {
  Listener closed;
  {
    const std::lock_guard lock(listeners_mutex_);
    const auto at =
        std::find_if(listeners_.begin(), listeners_.end(), [&](const Listener& one) { return one.id == id; });
    if (at == listeners_.end()) return false;
    closed = std::move(*at);
    listeners_.erase(at);
  }
  for (uint32_t i = 0; i < shards_.size(); ++i) {
    if (closed.descriptors[i] < 0) continue;
    Shard& shard = *shards_[i];
    const auto remove = [&shard, descriptor = closed.descriptors[i]](ShardCore&, Instant) {
      shard.remove_acceptor(descriptor);
    };
    if (wait) {
      on_shard(i, remove);
    } else {
      shard.run_soon(remove);
    }
  }
  if (!closed.socket_file.empty()) ::unlink(closed.socket_file.c_str());
  return true;
}

}  // namespace mqttq
