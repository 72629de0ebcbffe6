// See walks.h.
#include "walks.h"

#include <stdexcept>

#include "world.h"

namespace mqttq::bench {

namespace {

constexpr uint32_t kBatch = 100;  // messages that come in one read
constexpr std::string_view kTopic = "site/17/line/4/temperature";
constexpr std::byte kPayload[64] = {};

std::vector<std::byte> publishes(Qos qos, uint32_t count, std::string_view topic_name = kTopic) {
  std::vector<std::byte> bytes;
  for (uint32_t i = 1; i <= count; ++i) {
    codec::PublishView publish;
    publish.topic_name = topic_name;
    publish.qos = qos;
    publish.packet_id = qos == Qos::AtMostOnce ? uint16_t{0} : static_cast<uint16_t>(i);
    publish.payload = kPayload;
    const std::vector<std::byte> one = Client::encoded(publish, ProtocolVersion::V311);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return bytes;
}

// A batch of acknowledgements, whose identifiers are written in place: to make them costs next to nothing.
class Acks {
 public:
  explicit Acks(codec::PacketType type) {
    codec::AckView ack;
    ack.type = type;
    const std::vector<std::byte> one = Client::encoded(ack, ProtocolVersion::V311);
    for (uint32_t i = 0; i < kBatch; ++i) bytes_.insert(bytes_.end(), one.begin(), one.end());
  }
  // For the identifiers behind `from`, which are used round and round.
  Bytes from(uint32_t from) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      const uint32_t packet_id = (from + i) % 65'535 + 1;
      bytes_[i * 4 + 2] = static_cast<std::byte>(packet_id >> 8);
      bytes_[i * 4 + 3] = static_cast<std::byte>(packet_id);
    }
    return bytes_;
  }

 private:
  std::vector<std::byte> bytes_;
};

void require(bool holds) {
  if (!holds) throw std::runtime_error("messages are missing");
}

// One publisher to `subscribers`, who acknowledge; all on one shard, whatever the number of shards.
void publish_to(uint32_t subscribers, Qos qos, uint32_t count, uint32_t shard_count = 1) {
  World world({}, shard_count);
  Client& publisher = world.connect(world.name_here("publisher"));
  std::vector<Client*> clients;
  for (uint32_t i = 0; i < subscribers; ++i) {
    clients.push_back(&world.connect(world.name_here("subscriber" + std::to_string(i) + "-")));
    clients.back()->subscribe(kTopic, qos);
  }
  world.settle();
  const std::vector<std::byte> batch = publishes(qos, kBatch);
  Acks releases(codec::PacketType::Pubrel), pubacks(codec::PacketType::Puback), pubrecs(codec::PacketType::Pubrec),
      pubcomps(codec::PacketType::Pubcomp);
  const uint64_t before = world.core().counters().messages_sent.value();
  for (uint32_t done = 0; done < count; done += kBatch) {
    publisher.send(batch);
    world.settle();
    if (qos == Qos::ExactlyOnce) publisher.send(releases.from(0));
    for (Client* client : clients) {
      if (qos == Qos::AtLeastOnce) client->send(pubacks.from(done));
      if (qos != Qos::ExactlyOnce) continue;
      client->send(pubrecs.from(done));
      client->send(pubcomps.from(done));
    }
    world.settle();
  }
  require(world.core().counters().messages_sent.value() - before == uint64_t{count} * subscribers);
}

void decode(uint32_t count) {
  const std::vector<std::byte> batch = publishes(Qos::AtLeastOnce, kBatch);
  uint64_t bytes = 0;
  for (uint32_t done = 0; done < count; done += kBatch) {
    for (Bytes rest = batch; !rest.empty();) {
      const codec::Frame frame = codec::scan_frame(rest);
      const auto publish = codec::decode_publish(rest.first(frame.size), ProtocolVersion::V311);
      bytes += publish->payload.size();
      rest = rest.subspan(frame.size);
    }
  }
  require(bytes == uint64_t{count} * sizeof kPayload);
}

void shared(uint32_t count) {
  World world;
  Client& publisher = world.connect("publisher");
  std::vector<Client*> clients;
  for (uint32_t i = 0; i < 10; ++i) {
    clients.push_back(&world.connect("member" + std::to_string(i)));
    clients.back()->subscribe("$share/group/site/#", Qos::AtMostOnce);
    world.settle();
  }
  const std::vector<std::byte> batch = publishes(Qos::AtMostOnce, kBatch);
  const uint64_t before = world.core().counters().messages_sent.value();
  for (uint32_t done = 0; done < count; done += kBatch) {
    publisher.send(batch);
    world.settle();
  }
  require(world.core().counters().messages_sent.value() - before == count);
}

// Another topic each time, so that each walks the tree: a thousand wildcard filters, of which one matches.
void route(uint32_t count) {
  World world;
  Client& publisher = world.connect("publisher");
  Client& subscriber = world.connect("subscriber");
  for (uint32_t i = 0; i < 1'000; ++i) {
    subscriber.subscribe("site/" + std::to_string(i) + "/+/+/#", Qos::AtMostOnce);
  }
  world.settle();
  const uint64_t before = world.core().counters().messages_sent.value();
  for (uint32_t done = 0; done < count; ++done) {
    publisher.send(
        publishes(Qos::AtMostOnce, 1, "site/" + std::to_string(done % 1'000) + "/line/" + std::to_string(done)));
    if (done % kBatch == kBatch - 1) world.settle();
  }
  world.settle();
  require(world.core().counters().messages_sent.value() - before == count);
}

struct Walk {
  const char* name;
  void (*run)(uint32_t count);
};
constexpr Walk kWalks[] = {
    {"decode", decode},
    {"qos0", [](uint32_t count) { publish_to(1, Qos::AtMostOnce, count); }},
    {"qos1", [](uint32_t count) { publish_to(1, Qos::AtLeastOnce, count); }},
    {"qos2", [](uint32_t count) { publish_to(1, Qos::ExactlyOnce, count); }},
    {"fanout", [](uint32_t count) { publish_to(100, Qos::AtMostOnce, count); }},
    {"fanout-qos1", [](uint32_t count) { publish_to(100, Qos::AtLeastOnce, count); }},
    {"shared", shared},
    {"route", route},
    {"qos0-of-two", [](uint32_t count) { publish_to(1, Qos::AtMostOnce, count, 2); }},
    {"qos1-of-two", [](uint32_t count) { publish_to(1, Qos::AtLeastOnce, count, 2); }},
};

}  // namespace

const char* walk_names() noexcept {
  return "decode, qos0, qos1, qos2, fanout, fanout-qos1, shared, route, qos0-of-two, qos1-of-two";
}

void walk(const char* name, uint32_t count) {
  for (const Walk& one : kWalks) {
    if (std::string_view(name) != one.name) continue;
    one.run((count + kBatch - 1) / kBatch * kBatch);
    return;
  }
  throw std::runtime_error(std::string("no such case: ") + name + "; there are " + walk_names());
}

}  // namespace mqttq::bench
