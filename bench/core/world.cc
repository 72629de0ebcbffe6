// See world.h.
#include "world.h"

#include <stdexcept>

namespace mqttq::bench {

Client::Client(World& world, std::string_view client_id, uint32_t session_expiry_s, std::string_view will_topic)
    : world_(world) {
  world.epoch().online(0);
  connection_ = world.core().open(*this, {}, world.now());
  world.epoch().offline(0);
  if (!connection_) throw std::runtime_error("a connection is refused");
  codec::ConnectView connect;
  connect.client_id = client_id;
  connect.clean_start = true;
  connect.session_expiry_s = session_expiry_s;
  connect.has_will = !will_topic.empty();
  connect.will.topic_name = will_topic;
  send_packet(connect);
  if (!connection_ || !connection_->connected()) throw std::runtime_error("a client is refused");
}

void Client::send(Bytes bytes) {
  world_.epoch().online(0);
  world_.core().on_read(*connection_, bytes, world_.now());
  world_.epoch().offline(0);
}

void Client::subscribe(std::string_view topic_filter, Qos qos) {
  std::vector<std::byte> entry(2 + topic_filter.size() + 1);
  codec::Writer writer(entry.data());
  writer.prefixed(topic_filter);
  writer.u8(static_cast<uint8_t>(qos));
  codec::SubscribeView subscribe;
  subscribe.packet_id = 1;
  subscribe.entries = entry;
  send_packet(subscribe, ProtocolVersion::V5);
}

void Client::publish(std::string_view topic_name, Qos qos, uint16_t packet_id, bool retain) {
  static constexpr std::byte kPayload[64] = {};
  codec::PublishView publish;
  publish.topic_name = topic_name;
  publish.qos = qos;
  publish.packet_id = packet_id;
  publish.retain = retain;
  publish.payload = kPayload;
  send_packet(publish, ProtocolVersion::V5);
}

void Client::drop() {
  world_.epoch().online(0);
  if (connection_) world_.core().on_closed(*connection_, true, world_.now());
  world_.epoch().offline(0);
}

size_t Client::write(std::span<const Bytes> pieces) noexcept {
  size_t size = 0;
  for (const Bytes piece : pieces) size += piece.size();
  bytes_written += size;
  return size;
}

World::World(const Limits& limits, uint32_t shard_count)
    : limits_(limits), router_(shard_count, 0x5EED), office_(shard_count, 4096) {
  ShardWorld world{limits_, policy_, router_, office_, population_};
  world.network = &network_;
  for (uint32_t i = 0; i < shard_count; ++i) cores_.push_back(std::make_unique<ShardCore>(world, i, i + 1, now_));
}

World::~World() {
  for (const auto& core : cores_) core->abandon();
  MessagePool::set_current(outer_messages_);
}

Client& World::connect(std::string_view client_id, uint32_t session_expiry_s, std::string_view will_topic) {
  return clients_.emplace_back(*this, client_id, session_expiry_s, will_topic);
}

void World::declare_queue(std::string_view name, std::string_view topic_filter) {
  epoch().online(0);
  Queue* queue = nullptr;
  const Status status = core().declare_queue({kGlobalNamespace, name, topic_filter}, {}, {}, queue);
  epoch().offline(0);
  if (status != Status::Ok) throw std::runtime_error("a queue is refused");
}

std::string World::name_here(std::string_view prefix) noexcept {
  std::string name(prefix);
  for (uint32_t i = 0; core().home_of(kGlobalNamespace, name) != 0; ++i) name = std::string(prefix) + std::to_string(i);
  return name;
}

void World::settle() {
  for (bool more = true; more;) {
    committer_.turn(now_);
    static_cast<void>(committer_.take_woken());
    more = false;
    for (uint32_t i = 0; i < cores_.size(); ++i) {
      router_.epoch().online(i);
      more |= cores_[i]->turn(now_);
      router_.epoch().offline(i);
      static_cast<void>(cores_[i]->postman().take_woken());
    }
    for (uint32_t party = 0; party < office_.party_count(); ++party) more |= office_.has_mail(party);
  }
}

void World::advance_s(int64_t duration_s) {
  now_ = now_ + duration_s * kSecond;
  settle();
}

}  // namespace mqttq::bench
