// See stream_model.h.
#include "stream_model.h"

#include <algorithm>
#include <utility>

#include "client.h"
#include "message/topic.h"
#include "stream/stream_message.h"
#include "world.h"

namespace mqttq::sim {

void StreamModel::fail(const OneStream& stream, const Client& client, uint64_t position,
                       const std::string& what) const {
  std::string text = "stream " + stream.name + ": " + client.client_id() + " " + what + ", at " +
                     std::to_string(position) + " where " + std::to_string(readers_.at(&client).next) + " is next";
  if (position < stream.places.size() && stream.places[position].message) {
    text += ": " + to_string(world_.model().message(stream.places[position].message));
  }
  world_.fail(text);
}

void StreamModel::declare(const std::string& name, const std::string& topic_filter, const StreamOptions& options) {
  streams_[name] = {name, topic_filter, options, {}};
  world_.declare_stream(name, topic_filter, options, "topic");
}

bool StreamModel::reads(const Client& client, std::string_view topic_name) const {
  const auto at = streams_.find(client.stream);
  return at != streams_.end() && topic_matches(at->second.topic_filter, topic_name);
}

void StreamModel::subscribing(const Client& client, Qos qos) {
  Reader& reader = readers_[&client];
  reader.qos = qos;
  if (reader.subscribed) return;  // the offset is the same: it goes on
  reader.began |= reader.next > 0 && reader.crashed;
  reader.begins |= reader.next == 0 || reader.crashed;
}

void StreamModel::crashed() {
  for (auto& [client, reader] : readers_) {
    reader.crashed = true;
    gone(*client);
  }
}

void StreamModel::gone(const Client& client) {
  readers_[&client].lost = true;
  const auto stream = streams_.find(client.stream);
  if (client.stream_group.empty() || stream == streams_.end()) return;
  Group& group = stream->second.group;
  group.held.erase(&client);
  for (auto& [position, settler] : group.settlers) {
    if (settler == &client) settler = nullptr;  // nobody knows whether it was read
  }
}

// --- what comes

StreamModel::Said StreamModel::read_properties(const codec::PublishView& publish) {
  Said said;
  codec::PropertyReader reader(publish.properties);
  const auto number = [](const codec::Property& property) { return std::stoull(std::string(as_text(property.value))); };
  for (codec::Property property; reader.next(property);) {
    if (property.id != PropertyId::UserProperty) continue;
    const std::string_view name = as_text(property.data);
    if (name == kStreamOffsetProperty) {
      said.has_position = true;
      said.position = number(property);
    } else if (name == kStreamTimeProperty) {
      said.us = static_cast<int64_t>(number(property));
    } else if (name == kStreamSkippedProperty) {
      said.skipped = number(property);
    } else if (name != kStreamKeyProperty) {
      said.others.insert(said.others.end(), reader.raw().begin(), reader.raw().end());
    }
  }
  return said;
}

void StreamModel::judge_content(const OneStream& stream, const Client& client, const Published& message,
                                const codec::PublishView& publish, const Said& said) const {
  const Qos qos = std::min(message.qos, readers_.at(&client).qos);
  const auto require = [&](bool holds, const char* what) {
    if (!holds)
      world_.fail("stream " + stream.name + ": " + client.client_id() + " got " + what + ": " + to_string(message));
  };
  require(message.topic_name == publish.topic_name, "it on another topic");
  require(message.first_sent != 0, "it before it was sent");
  require(publish.qos == qos, "it at another QoS");
  require(!publish.retain, "it with RETAIN");
  if (client.version() != ProtocolVersion::V5) return;
  require(said.has_position && said.us > 0, "it without its place or time");
  require(said.others == message.properties, "other properties");
}

void StreamModel::learn(OneStream& stream, uint64_t position, const Published& message, const Said& said) {
  if (position >= stream.places.size()) stream.places.resize(position + 1);
  Place& place = stream.places[position];
  const auto require = [&](bool holds, const char* what) {
    if (!holds)
      world_.fail("stream " + stream.name + ": " + what + " at " + std::to_string(position) + ": " +
                  to_string(message));
  };
  require(!place.message || place.message == message.id, "another message was");
  place.message = message.id;
  if (!said.us) return;
  require(!place.us || place.us == said.us, "another time was");
  place.us = said.us;
  for (uint64_t at = position; at > 0; --at) {
    const int64_t before = stream.places[at - 1].us;
    require(before <= said.us, "time goes back");
    if (before) break;
  }
}

void StreamModel::received(const Client& client, const codec::PublishView& publish) {
  ++received_;
  OneStream& stream = streams_.at(client.stream);
  Reader& reader = readers_[&client];
  const Published* message = world_.model().find(publish.payload);
  if (!message) world_.fail("stream " + stream.name + ": " + client.client_id() + " got what nobody published");
  const Said said = read_properties(publish);
  judge_content(stream, client, *message, publish, said);
  if (!said.has_position) {
    const bool again = std::find(reader.untold.begin(), reader.untold.end(), message->id) != reader.untold.end();
    if (!again) reader.untold.push_back(message->id);
    return;
  }
  const uint64_t position = said.position;
  learn(stream, position, *message, said);
  if (!client.stream_group.empty()) return received_in_group(stream, client, *message, position, publish);
  skipped_ += said.skipped;
  world_.trace([&] {
    return client.client_id() + " reads at " + std::to_string(position) + ", next " + std::to_string(reader.next) +
           ", skipped " + std::to_string(said.skipped);
  });
  // From the first that was kept then. In between may come what was open from before, and what was on its way.
  const bool first = !reader.began || (!publish.dup && position != reader.next);
  if (reader.begins && first && (position == 0 || stream.options.messages_max || may_be_lost(stream, reader, 0))) {
    reader.begins = false;
    reader.next = position + 1;
    return;
  }
  if (position < reader.next) {
    const bool may_repeat = publish.qos == Qos::AtLeastOnce ? publish.dup || reader.crashed : reader.crashed;
    if (publish.qos == Qos::ExactlyOnce || !may_repeat) fail(stream, client, position, "got again what it had");
    return;
  }
  if (position > reader.next) {
    if (publish.dup && reader.began) {
      for (uint64_t at = position - std::min(said.skipped, position); at <= position; ++at) {
        reader.open_before.insert(at);
      }
      return;
    }
    const uint64_t missing = position - reader.next;
    if (said.skipped > missing && !reader.crashed) {
      fail(stream, client, position, "was told that it skipped more than it did");
    }
    if (said.skipped < missing && !reader.lost) fail(stream, client, position, "missed something");
    reader.gaps.push_back({reader.next, position, said.skipped});
  } else if (said.skipped && !reader.crashed) {
    fail(stream, client, position, "was told that it skipped what it did not");
  }
  reader.next = position + 1;
}

// --- groups

void StreamModel::received_in_group(OneStream& stream, const Client& client, const Published& message,
                                    uint64_t position, const codec::PublishView& publish) {
  Group& group = stream.group;
  const bool is_of_now = client.is_heard();
  for (const auto& [other, open] : group.held) {
    if (publish.qos == Qos::AtMostOnce || other == &client || !other->is_heard() || !is_of_now) continue;
    for (const auto& [packet_id, held] : open) {
      const uint32_t id = stream.places[held].message;
      if (world_.model().message(id).topic_name == message.topic_name) {
        fail(stream, client, position, "got it while " + other->client_id() + " had " + std::to_string(held));
      }
    }
  }
  const auto [at, fresh] = group.settlers.emplace(position, nullptr);
  const Client* settler = std::exchange(at->second, nullptr);
  if (settler && settler->is_heard() && is_of_now) {
    fail(stream, client, position, "got it after " + settler->client_id() + " had acknowledged it");
  }
  if (publish.qos == Qos::AtMostOnce) return;
  uint64_t& newest = group.newest[message.topic_name];
  if (fresh && position < newest) fail(stream, client, position, "got it behind a later one of its key");
  newest = std::max(newest, position + 1);
  group.held[&client][publish.packet_id] = position;
}

void StreamModel::acknowledging(const Client& client, uint16_t packet_id) {
  Group& group = streams_.at(client.stream).group;
  auto& held = group.held[&client];
  const auto at = held.find(packet_id);
  if (at == held.end()) return;
  group.settlers[at->second] = &client;
  held.erase(at);
}

// --- the end

// What was on its way at QoS 0 when a connection ended may be missed, and nothing else. What nobody has read may have
// been any.
bool StreamModel::may_be_lost(const OneStream& stream, const Reader& reader, uint64_t position) const {
  const uint32_t id = position < stream.places.size() ? stream.places[position].message : 0;
  return !id || std::min(world_.model().message(id).qos, reader.qos) == Qos::AtMostOnce;
}

void StreamModel::judge_gaps(const OneStream& stream, const Client& client, const Reader& reader) const {
  for (const auto& [from, to, told] : reader.gaps) {
    for (uint64_t at = to - std::min(told, to - from); at > from; --at) {
      if (may_be_lost(stream, reader, at - 1)) {
        if (stream.options.messages_max) break;  // which may have told what was skipped in front of it
      } else if (!reader.open_before.contains(at - 1)) {
        fail(stream, client, at - 1, "has never got something, and was not told");
      }
    }
  }
  for (uint64_t at = reader.next; at < stream.places.size(); ++at) {
    if (!may_be_lost(stream, reader, at) && !reader.open_before.contains(at)) {
      fail(stream, client, at, "has not got the last");
    }
  }
}

// In the order of the stream, by what the others were told, and nothing that was not to be lost is missing.
void StreamModel::judge_untold(const OneStream& stream, const Client& client, const Reader& reader) const {
  std::unordered_map<uint32_t, uint64_t> positions;  // the last
  for (uint64_t at = 0; at < stream.places.size(); ++at) positions[stream.places[at].message] = at;
  const std::set<uint32_t> got(reader.untold.begin(), reader.untold.end());
  for (uint64_t at = 0; at < stream.places.size(); ++at) {
    if (!may_be_lost(stream, reader, at) && !got.contains(stream.places[at].message)) {
      fail(stream, client, at, "has never got something");
    }
  }
  uint64_t next = 0;
  for (const uint32_t id : reader.untold) {
    const auto at = positions.find(id);
    if (at == positions.end()) continue;  // at QoS 0, and lost to the others
    if (at->second < next && !reader.began && !reader.crashed) {
      fail(stream, client, at->second, "got something behind what is later");
    }
    if (world_.model().message(id).sent_count == 1) next = std::max(next, at->second);
  }
}

void StreamModel::judge() {
  for (auto& [name, stream] : streams_) {
    const uint64_t end = world_.stream(name).index.end();
    if (stream.places.size() > end) world_.fail("stream " + name + " ends before what was read of it");
    for (auto& [client, reader] : readers_) {
      if (client->stream != name) continue;
      if (!client->stream_group.empty()) {
        for (uint64_t at = 0; at < stream.places.size(); ++at) {
          if (may_be_lost(stream, reader, at) || stream.group.settlers.contains(at)) continue;
          fail(stream, *client, at, "and the others of its group have never got something");
        }
      } else if (client->version() == ProtocolVersion::V5) {
        judge_gaps(stream, *client, reader);
      } else {
        judge_untold(stream, *client, reader);
      }
    }
    std::unordered_map<uint32_t, uint32_t> times;
    std::map<std::pair<std::string, Qos>, uint32_t> newest;
    for (const Place& place : stream.places) {
      if (!place.message) continue;
      const Published& message = world_.model().message(place.message);
      const bool again = times[message.id]++ > 0;
      const bool may_come_again = message.repeatable || (message.qos == Qos::AtLeastOnce && message.sent_count > 1);
      if (again && !may_come_again && !world_.model().may_refuse) {
        world_.fail("stream " + name + " has it twice: " + to_string(message));
      }
      // Where some are trimmed nobody may have read the first of many.
      const bool behind = again || (message.sent_count > 1 && stream.options.messages_max);
      uint32_t& last = newest[{message.publisher, message.qos}];
      if (!behind && message.id < last && !world_.model().may_reorder) {
        world_.fail("stream " + name + " has it behind a later one of its publisher: " + to_string(message));
      }
      last = std::max(last, message.id);
    }
    if (stream.options.messages_max) continue;
    for (const Published& message : world_.model().messages()) {
      if (!message.acknowledged || message.refused || !topic_matches(stream.topic_filter, message.topic_name)) continue;
      // A batch that failed may be back after a crash, and an identifier of it that was refused is known: what is sent
      // again with it is taken for that.
      if (world_.model().may_refuse && message.qos == Qos::ExactlyOnce && message.sent_count > 1) continue;
      if (!times.contains(message.id)) world_.fail("stream " + name + " has lost " + to_string(message));
    }
  }
}

}  // namespace mqttq::sim
