// See broker.h.
#include "broker.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace mqttq::fuzz {

bool traced() noexcept {
  static const bool on = std::getenv("MQTTQ_FUZZ_TRACE") != nullptr;
  return on;
}

void trace(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

size_t FuzzLink::write(std::span<const Bytes> pieces) noexcept {
  require(!closed, "nothing is written to a link that was closed");
  size_t taken = 0;
  for (const Bytes piece : pieces) {
    const size_t step = std::min(piece.size(), room);
    if (!peer_gone) written.insert(written.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(step));
    if (room != SIZE_MAX) room -= step;
    taken += step;
    if (step < piece.size()) {
      refused_some = true;
      break;
    }
  }
  return taken;
}

void FuzzLink::close(bool) noexcept {
  require(!closed, "a link is closed once");
  closed = true;
  connection = nullptr;
}

void Broker::Wires::detach(Link& link, uint32_t) noexcept { static_cast<FuzzLink&>(link).connection = nullptr; }

bool Broker::Wires::adopt(Link& link, Connection& connection) noexcept {
  auto& own = static_cast<FuzzLink&>(link);
  own.connection = &connection;
  own.shard = shard;
  return true;
}

Broker::Broker(uint32_t shard_count, uint32_t mailbox_capacity, const Limits& limits, const Policy& policy)
    : limits_(limits),
      policy_(policy),
      router_(shard_count, 0x5eed),
      office_(shard_count, mailbox_capacity),
      committer_(office_, log_) {
  for (uint32_t i = 0; i < shard_count; ++i) {
    wires_.push_back(std::make_unique<Wires>());
    wires_.back()->shard = i;
    ShardWorld world{limits_, policy_, router_, office_, population_};
    world.network = wires_.back().get();
    cores_.push_back(std::make_unique<ShardCore>(world, i, i + 1, now_));
  }
}

// All shards let go of what they hold before any of them is gone, as the broker does it.
Broker::~Broker() {
  for (const auto& core : cores_) core->abandon();
}

uint64_t Broker::count(Counter Counters::* which) noexcept {
  uint64_t sum = 0;
  for (const auto& core : cores_) sum += (core->counters().*which).value();
  return sum;
}

FuzzLink& Broker::open(uint32_t shard, NamespaceId namespace_id) {
  links_.push_back(std::make_unique<FuzzLink>());
  FuzzLink& link = *links_.back();
  link.shard = shard;
  ListenerInfo listener;
  listener.namespace_id = namespace_id;
  link.connection = cores_[shard]->open(link, listener, now_);
  require(link.connection, "a connection is accepted");
  return link;
}

void Broker::serve_links(uint32_t shard) {
  ShardCore& core = *cores_[shard];
  for (size_t i = 0; i < links_.size(); ++i) {
    FuzzLink& link = *links_[i];
    if (link.shard != shard) continue;
    while (link.connection && !link.paused && !link.inbox.empty() && !(link.peer_gone && link.is_reset)) {
      // Moved away first, so that whoever keeps a view of the bytes beyond the call is found out.
      const std::vector<std::byte> bytes = std::move(link.inbox.front());
      link.inbox.pop_front();
      core.on_read(*link.connection, bytes, now_);
    }
    if (link.connection && link.refused_some && link.room) {
      link.refused_some = false;
      core.on_writable(*link.connection, now_);
    }
    if (link.connection && link.peer_lost()) core.on_closed(*std::exchange(link.connection, nullptr), true, now_);
    if (link.connection && link.peer_finished()) {
      link.told_shut = true;
      core.on_closed(*link.connection, false, now_);
    }
  }
}

void Broker::turn(uint32_t party) {
  awake_ &= ~(uint64_t{1} << party);
  if (party == office_.committer()) {
    const bool open = committer_.turn(now_);
    awake_ |= committer_.take_woken();
    if (open && !log_.held) awake_ |= uint64_t{1} << party;
    return;
  }
  router_.epoch().online(party);
  serve_links(party);
  if (cores_[party]->turn(now_)) awake_ |= uint64_t{1} << party;
  awake_ |= cores_[party]->postman().take_woken();
  router_.epoch().offline(party);
}

bool Broker::runnable(uint32_t party) const noexcept {
  if (awake_ >> party & 1) return true;
  return std::any_of(links_.begin(), links_.end(),
                     [&](const auto& link) { return link->shard == party && link->has_events(); });
}

void Broker::settle() {
  for (uint32_t round = 0;; ++round) {
    require(round < 20'000, "the broker comes to rest");
    bool some = false;
    for (uint32_t party = 0; party < office_.party_count(); ++party) {
      if (!runnable(party)) continue;
      turn(party);
      some = true;
    }
    if (!some) break;
  }
  for (uint32_t party = 0; party < office_.party_count(); ++party) {
    require(log_.held || !office_.has_mail(party), "whoever has mail was woken");
  }
}

void Broker::end_sessions(NamespaceId namespace_id) {
  for (uint32_t shard = 0; shard < shard_count(); ++shard) {
    router_.epoch().online(shard);
    Slab<Session>& sessions = cores_[shard]->sessions();
    for (uint32_t i = 0; i < sessions.index_end(); ++i) {
      Session* session = sessions.at(i);
      if (!session || session->namespace_id() != namespace_id) continue;
      const std::string client_id(session->client_id());
      cores_[shard]->disconnect(namespace_id, client_id, ReasonCode::AdministrativeAction, true, now_);
    }
    router_.epoch().offline(shard);
  }
  wake_all();
}

void Broker::require_empty() {
  uint64_t connections = 0, sessions = 0, groups = 0, filters = 0, delayed = 0;
  for (const auto& core : cores_) {
    connections += core->connections().count();
    sessions += core->sessions().count();
    groups += core->groups().count();
    delayed += core->delayed().count();
  }
  router_.for_each_filter([&](const Filter&) { ++filters; });
  require(connections == 0, "no connection is left at the end");
  require(sessions == 0, "no session is left at the end");
  require(groups == 0, "no shared group is left at the end");
  require(filters == 0, "no filter is left at the end");
  require(delayed == 0, "no delayed message is left at the end");
  require(count(&Counters::connections_opened) == count(&Counters::connections_closed),
          "as many connections were closed as were opened");
  require(count(&Counters::sessions_opened) == count(&Counters::sessions_ended),
          "as many sessions were ended as were opened");
  require(count(&Counters::subscriptions_added) == count(&Counters::subscriptions_removed),
          "as many subscriptions were removed as were added");
  for (const auto& link : links_) require(link->closed, "every link was closed");
}

}  // namespace mqttq::fuzz
