// See world.h.
#include "world.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "client.h"
#include "seed_count.h"

namespace mqttq::sim {

namespace {

WorldSetup complete(WorldSetup setup, Random& random) {
  static constexpr uint32_t kCapacities[] = {1, 1, 1, 2, 3, 64};
  static constexpr uint32_t kWindows[] = {24, 100, 400, 4096};
  static constexpr uint32_t kChunks[] = {1, 7, 60, 4096, 4096, 4096};
  const uint32_t shard_count = 1 + static_cast<uint32_t>(random.below(4));
  const uint32_t capacity = kCapacities[random.below(std::size(kCapacities))];
  const uint32_t window = kWindows[random.below(std::size(kWindows))];
  const uint32_t chunk = kChunks[random.below(std::size(kChunks))];
  if (!setup.shard_count) setup.shard_count = shard_count;
  if (!setup.mailbox_capacity) setup.mailbox_capacity = capacity;
  if (!setup.window) setup.window = window;
  if (!setup.chunk) setup.chunk = chunk;
  return setup;
}

}  // namespace

// --- the log

Status SimLog::append(std::span<const LogRecord> batch) noexcept {
  if (failure != Status::Ok || (fails_in_1000 && random->below(1000) < fails_in_1000)) {
    ++failed_count;
    if (failure != Status::Ok) return failure;
    return random->below(2) ? Status::Io : Status::Full;
  }
  appended_ = batch.back().number;
  if (!slow) sync();
  return Status::Ok;
}

// --- the host

Verdict SimAccess::connect(const ConnectQuestion& question) noexcept {
  if (!question.authentication_method) return Verdict::Allow;
  open.push_back({question.ticket, question.round == 1});
  return Verdict::Pending;
}

// --- the world

void World::Wires::detach(Link& link, uint32_t to) noexcept {
  auto& wire = static_cast<SimLink&>(link);
  wire.connection = nullptr;
  wire.shard = to;
}

bool World::Wires::adopt(Link& link, Connection& connection) noexcept {
  auto& wire = static_cast<SimLink&>(link);
  wire.connection = &connection;
  wire.shard = shard;
  return true;
}

World::World(uint64_t seed, const WorldSetup& setup, Kept* kept)
    : seed_(seed),
      random_(seed),
      setup_(complete(setup, random_)),
      traced_(std::getenv("MQTTQ_SIM_TRACE") != nullptr),
      kept_(kept),
      model_(*this),
      queue_model_(*this),
      stream_model_(*this) {
  words_.world = this;
  log_.random = &random_;
  log_.slow = setup_.slow_log;
  log_.fails_in_1000 = setup_.log_fails_in_1000;
  start_broker();
}

World::Broker::Broker(World& world, uint64_t seed)
    : directory(world.open_directory()),
      router(world.setup_.shard_count, directory ? directory->seed() : seed),
      office(world.setup_.shard_count, world.setup_.mailbox_capacity),
      committer(office, directory ? *directory : static_cast<Log&>(world.log_), &health),
      parties(world.setup_.shard_count + 1) {
  if (directory) fetcher = std::make_unique<MessageFetcher>(*directory, world.setup_.shard_count);
}

std::unique_ptr<DataDirectory> World::open_directory() {
  if (!kept_) return nullptr;
  DataDirectory::Options options;
  options.seed = random_.next();
  options.segment_bytes = 2000;
  options.follow_bytes = 500;
  options.memory_bytes = 400;
  options.log = &words_;
  options.quota = setup_.quota;
  Status status{};
  std::string problem;
  const auto open = [&] {
    return DataDirectory::open(kept_->files ? &kept_->disk : nullptr, kept_->store, options, status, problem);
  };
  auto directory = open();
  if (!directory && kept_->disk.failing()) {  // a start that fails loses nothing either
    trace([&] { return "no start: " + problem; });
    kept_->disk.heal();
    directory = open();
  }
  require(directory != nullptr, "the directory cannot be opened: " + problem);
  return directory;
}

void World::start_broker() {
  broker_ = std::make_unique<Broker>(*this, random_.next());
  for (uint32_t i = 0; i < setup_.shard_count; ++i) {
    broker_->wires.push_back(std::make_unique<Wires>());
    broker_->wires.back()->shard = i;
    ShardWorld shared{setup_.limits, setup_.policy, broker_->router, broker_->office, broker_->population};
    shared.network = broker_->wires.back().get();
    shared.log = &words_;
    if (setup_.authenticates) shared.access = &access_;
    if (broker_->directory) {
      shared.state = {&broker_->health, broker_->directory->seed(), broker_->directory->boot()};
      shared.fetcher = broker_->fetcher.get();
    }
    broker_->cores.push_back(std::make_unique<ShardCore>(shared, i, random_.next(), now_));
  }
  if (!broker_->directory) return;
  Restored restored;
  std::string problem;
  const auto core = [this](uint32_t index) -> ShardCore& { return *broker_->cores[index]; };
  const Status status = restore(*broker_->directory, broker_->router, core, now_, nullptr, restored, problem);
  require(status == Status::Ok, "what was kept cannot be restored: " + problem);
  require(restored.lost == 0, "entries of the store are damaged, or belong to nothing");
}

void World::crash(bool power_cut) {
  trace([&] { return std::string(power_cut ? "the power goes" : "the broker is killed"); });
  for (const auto& link : links_) {
    link->connection = nullptr;
    if (!link->closed_by_broker()) link->close(true);
  }
  for (const auto& core : broker_->cores) core->abandon();
  broker_.reset();
  access_.open.clear();
  ++crashes_;
  queue_model_.crashed();
  stream_model_.crashed();
  if (power_cut) kept_->disk.cut_power();
  start_broker();
}

// All shards let go of what they hold before any of them is gone, as the broker does it.
World::~World() {
  if (!broker_) return;  // it could not be started
  for (const auto& core : broker_->cores) core->abandon();
}

uint64_t World::count(Counter Counters::* which) noexcept {
  uint64_t sum = 0;
  for (const auto& core : broker_->cores) sum += (core->counters().*which).value();
  return sum;
}

uint64_t World::session_count() noexcept {
  uint64_t sum = 0;
  for (const auto& core : broker_->cores) sum += core->sessions().count();
  return sum;
}

uint64_t World::connection_count() noexcept {
  uint64_t sum = 0;
  for (const auto& core : broker_->cores) sum += core->connections().count();
  return sum;
}

void World::require_empty() {
  require(connection_count() == 0, "connections are left at the end");
  require(session_count() == 0, "sessions are left at the end");
  for (const auto& core : broker_->cores) require(core->groups().count() == 0, "shared groups are left at the end");
  for (const auto& core : broker_->cores) require(core->queues().count() == 0, "queues are left at the end");
  for (const auto& core : broker_->cores) require(core->streams().count() == 0, "streams are left at the end");
  for (const auto& core : broker_->cores) require(core->delayed().count() == 0, "delayed messages are left at the end");
  broker_->router.for_each_filter(
      [this](const Filter& filter) { fail("a filter is left: " + std::string(filter.text())); });
}

// --- queues

template <class Do>
void World::at_home(std::string_view name, Do&& what) {
  const uint32_t home = broker_->cores[0]->group_home_of(kGlobalNamespace, name);
  broker_->router.epoch().online(home);
  what(*broker_->cores[home]);
  broker_->router.epoch().offline(home);
  broker_->parties[home].awake = true;
}

bool World::has_queue(std::string_view name) {
  ShardCore& home = *broker_->cores[broker_->cores[0]->group_home_of(kGlobalNamespace, name)];
  return home.queues().find(kGlobalNamespace, name) != nullptr;
}

Queue& World::queue(std::string_view name) {
  require(has_queue(name), "there is no queue " + std::string(name));
  ShardCore& home = *broker_->cores[broker_->cores[0]->group_home_of(kGlobalNamespace, name)];
  return *home.queues().find(kGlobalNamespace, name);
}

Status World::try_to_declare_queue(std::string_view name, std::string_view topic_filter, const QueueOptions& options,
                                   std::string_view dead_letter_topic) {
  Status status{};
  at_home(name, [&](ShardCore& home) {
    Queue* queue = nullptr;
    status = home.declare_queue({kGlobalNamespace, name, topic_filter, 0}, options, dead_letter_topic, queue);
  });
  return status;
}

void World::declare_queue(std::string_view name, std::string_view topic_filter, const QueueOptions& options,
                          std::string_view dead_letter_topic) {
  const Status status = try_to_declare_queue(name, topic_filter, options, dead_letter_topic);
  require(status == Status::Ok, "a queue cannot be declared");
}

bool World::try_to_change_queue(std::string_view name, const QueueOptions& options,
                                std::string_view dead_letter_topic) {
  Queue& changed = queue(name);
  Status status{};
  at_home(name,
          [&](ShardCore& home) { status = home.queues().set_options(changed, options, dead_letter_topic, now_); });
  return status == Status::Ok;
}

uint64_t World::purge_queue(std::string_view name) {
  Queue& purged = queue(name);
  uint64_t count = 0;
  at_home(name, [&](ShardCore& home) { count = home.queues().purge(purged, now_); });
  return count;
}

void World::delete_queue(std::string_view name) {
  Queue& deleted = queue(name);
  at_home(name, [&](ShardCore& home) { home.queues().remove(deleted, now_); });
}

// --- streams

Stream& World::stream(std::string_view name) {
  ShardCore& home = *broker_->cores[broker_->cores[0]->group_home_of(kGlobalNamespace, name)];
  Stream* found = home.streams().find(kGlobalNamespace, name);
  require(found != nullptr, "there is no stream " + std::string(name));
  return *found;
}

void World::declare_stream(std::string_view name, std::string_view topic_filter, const StreamOptions& options,
                           std::string_view key) {
  Status status{};
  at_home(name, [&](ShardCore& home) {
    Stream* declared = nullptr;
    status = home.declare_stream({kGlobalNamespace, name, topic_filter, 0, key}, options, declared);
  });
  require(status == Status::Ok, "a stream cannot be declared");
}

Client& World::client(std::string_view client_id, ProtocolVersion version) {
  for (const auto& known : clients_) {
    if (known->client_id() == client_id) return *known;
  }
  clients_.push_back(std::make_unique<Client>(*this, std::string(client_id), version));
  return *clients_.back();
}

std::string World::client_id_at(std::string_view prefix, uint32_t shard) noexcept {
  for (uint32_t i = 0;; ++i) {
    std::string name = std::string(prefix) + std::to_string(i);
    if (broker_->cores[0]->home_of(kGlobalNamespace, name) == shard) return name;
  }
}

SimLink* World::open_link(uint32_t shard) {
  if (shard == UINT32_MAX) shard = static_cast<uint32_t>(random_.below(setup_.shard_count));
  links_.push_back(std::make_unique<SimLink>(static_cast<uint32_t>(links_.size()), shard, setup_.window));
  SimLink& link = *links_.back();
  link.connection = broker_->cores[shard]->open(link, {}, now_);
  broker_->parties[shard].awake = true;
  return link.connection ? &link : nullptr;
}

// --- steps

size_t World::chunk_of(size_t available) noexcept {
  const size_t most = std::min<size_t>(available, setup_.chunk);
  return chance(300) ? most : 1 + random_.below(most);
}

bool World::has_events(uint32_t shard) const noexcept {
  return std::any_of(links_.begin(), links_.end(), [&](const auto& link) {
    return link->shard == shard && (link->readable() || link->writable() || link->peer_lost());
  });
}

bool World::runnable(uint32_t party) const noexcept {
  const Party& one = broker_->parties[party];
  if (one.awake || one.more || one.wake_at <= now_ || broker_->office.has_mail(party)) return true;
  return party != broker_->office.committer() && has_events(party);
}

void World::wake(uint64_t parties) noexcept {
  for (uint32_t i = 0; i < broker_->parties.size(); ++i) {
    if (parties >> i & 1) broker_->parties[i].awake = true;
  }
}

// What a loop does with the events that it found: some of them, in any order, each at most once.
void World::serve_links(uint32_t shard) {
  ShardCore& core = *broker_->cores[shard];
  const size_t first = random_.below(links_.size());
  for (size_t i = 0; i < links_.size(); ++i) {
    SimLink& link = *links_[(first + i) % links_.size()];
    if (link.shard != shard || !link.connection || chance(200)) continue;
    if (link.writable()) {
      link.clear_refused();
      core.on_writable(*link.connection, now_);
    }
    if (link.readable()) {
      const size_t size = chunk_of(link.to_broker.size());
      // The bytes are moved away, so that whoever keeps a view of them beyond the call is found out.
      const Bytes there = link.to_broker.front(size);
      const std::vector<std::byte> bytes(there.begin(), there.end());
      link.to_broker.skip(size);
      trace([&] {
        return "  shard " + std::to_string(shard) + " reads " + std::to_string(size) + " of link " + std::to_string(i);
      });
      core.on_read(*link.connection, bytes, now_);
    }
    if (link.peer_lost() && !chance(300)) {
      Connection& connection = *link.connection;
      link.connection = nullptr;  // nothing more is heard of it
      core.on_closed(connection, true, now_);
    }
  }
}

void World::turn(uint32_t shard) {
  trace([&] { return "  turn of shard " + std::to_string(shard); });
  Party& party = broker_->parties[shard];
  party.awake = false;
  broker_->router.epoch().online(shard);
  if (!links_.empty()) serve_links(shard);
  party.more = broker_->cores[shard]->turn(now_);
  wake(broker_->cores[shard]->postman().take_woken() & ~(uint64_t{1} << shard));
  party.wake_at = now_ + broker_->cores[shard]->idle_ns(now_);
  broker_->router.epoch().offline(shard);
}

void World::run_committer() {
  trace([] { return std::string("  turn of the committer"); });
  broker_->parties.back().awake = false;
  // What is not durable yet is asked about again when the disk has gone on; what there was no memory for at once.
  const bool more = broker_->committer.turn(now_);
  broker_->parties.back().more = more && model_.may_refuse && !log_.writing() && !log_.held && !broker_->health.failing;
  // What could not be written is tried again, or whether anything can be, though nobody wakes it.
  const bool again =
      broker_->health.failing || broker_->health.alarm != StoreAlarm::Ok || broker_->committer.tidies(now_);
  broker_->parties.back().wake_at = again ? now_ + 100 * kMillisecond : Instant{INT64_MAX};
  wake(broker_->committer.take_woken());
}

void World::run_host() {
  const size_t at = random_.below(access_.open.size());
  const SimAccess::Question question = access_.open[at];
  access_.open.erase(access_.open.begin() + static_cast<std::ptrdiff_t>(at));
  trace([] { return std::string("  the host answers"); });
  const uint32_t shard = question.ticket.shard;
  broker_->router.epoch().online(shard);
  AccessAnswer answer{.verdict = question.last ? Verdict::Allow : Verdict::Continue,
                      .authentication_data = as_bytes(SimAccess::kData)};
  if (question.last) answer.user_name = "somebody whom the host knows";
  broker_->cores[shard]->on_access_answer(question.ticket, answer, now_);
  broker_->router.epoch().offline(shard);
  broker_->parties[shard].awake = true;
}

void World::stop(uint32_t shard) {
  broker_->router.epoch().online(shard);
  broker_->cores[shard]->close_all(ReasonCode::ServerShuttingDown, now_);
  broker_->router.epoch().offline(shard);
  broker_->parties[shard].awake = true;
}

bool World::step() {
  choices_.clear();
  for (uint32_t i = 0; i < setup_.shard_count; ++i) {
    if (runnable(i)) choices_.push_back({Actor::Shard, i});
  }
  if (runnable(broker_->office.committer())) choices_.push_back({Actor::Committer, 0});
  if (log_.writing()) choices_.push_back({Actor::Disk, 0});
  if (broker_->fetcher && !broker_->fetcher->idle()) choices_.push_back({Actor::Reader, 0});
  if (!access_.open.empty()) choices_.push_back({Actor::Host, 0});
  for (uint32_t i = 0; i < clients_.size(); ++i) {
    if (clients_[i]->can_act()) choices_.push_back({Actor::Client, i});
  }
  if (choices_.empty()) return false;
  ++steps_;
  const Choice chosen = choices_[random_.below(choices_.size())];
  switch (chosen.actor) {
    case Actor::Shard: turn(chosen.index); break;
    case Actor::Committer: run_committer(); break;
    case Actor::Disk:
      log_.sync();
      broker_->parties.back().awake = true;
      break;
    case Actor::Reader: {
      uint32_t shard = 0;
      if (broker_->fetcher->run_one(shard)) broker_->parties[shard].awake = true;
      break;
    }
    case Actor::Host: run_host(); break;
    case Actor::Client: {
      Client& client = *clients_[chosen.index];
      client.act(client.available() ? chunk_of(client.available()) : 0);
      break;
    }
  }
  return true;
}

World& World::settle() {
  constexpr uint64_t kStepsMax = 400'000;
  for (uint64_t i = 0; step(); ++i) require(i < kStepsMax, "the world does not come to rest");
  return *this;
}

World& World::advance_ms(int64_t duration_ms) {
  trace([&] { return "the clock goes on by " + std::to_string(duration_ms) + " ms"; });
  now_ = now_ + duration_ms * kMillisecond;
  return *this;
}

void World::print(const std::string& line) const {
  std::fprintf(stderr, "%6llu  %s\n", static_cast<unsigned long long>(steps_), line.c_str());
}

void World::fail(const std::string& what) const {
  throw Failure("MQTTQ_SIM_SEED=" + std::to_string(seed_) + " (" + std::to_string(setup_.shard_count) +
                " shards, mailboxes of " + std::to_string(setup_.mailbox_capacity) + ", step " +
                std::to_string(steps_) + "): " + what);
}

std::vector<uint64_t> seeds(uint32_t usual) {
  if (const char* one = std::getenv("MQTTQ_SIM_SEED")) return {std::strtoull(one, nullptr, 10)};
  std::vector<uint64_t> chosen(seed_count(usual));
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = i + 1;
  return chosen;
}

}  // namespace mqttq::sim
