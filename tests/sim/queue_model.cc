// See queue_model.h.
#include "queue_model.h"

#include <algorithm>

#include "client.h"
#include "link.h"
#include "message/topic.h"
#include "queue/queue_message.h"
#include "world.h"

namespace mqttq::sim {

void QueueModel::fail(const OneQueue& queue, const Published& message, const std::string& what) const {
  world_.fail("queue " + queue.name + ": " + what + ": " + to_string(message));
}

void QueueModel::declare(const std::string& name, const std::string& topic_filter, const QueueOptions& options) {
  expect(name, topic_filter, options);
  world_.declare_queue(name, topic_filter, options);
}

bool QueueModel::may_reject(std::string_view topic_name) const {
  return std::any_of(queues_.begin(), queues_.end(), [&](const auto& one) {
    return one.second.options.overflow == QueueOverflow::Reject && topic_matches(one.second.topic_filter, topic_name);
  });
}

bool QueueModel::consumes(const Client& client, std::string_view topic_name) const {
  const auto at = queues_.find(client.consumes);
  return at != queues_.end() && topic_matches(at->second.topic_filter, topic_name);
}

QueueModel::OneQueue& QueueModel::queue_of(const Client& client) { return queues_[client.consumes]; }

// What it was given is its own, as far as it can know.
bool QueueModel::solid(Client& client) { return client.is_heard() && !consumers_[&client].leaving; }

// --- consumers

uint32_t QueueModel::judge_content(const OneQueue& queue, const Client& client, const Published& message,
                                   const codec::PublishView& publish) const {
  if (message.topic_name != publish.topic_name) fail(queue, message, client.client_id() + " got it on another topic");
  if (message.forbidden) fail(queue, message, client.client_id() + " got a will that was taken back");
  if (!message.first_sent && !message.will) fail(queue, message, client.client_id() + " got it before it was sent");
  if (world_.now() - message.sent_at < int64_t{message.delay_s} * kSecond) {
    fail(queue, message, client.client_id() + " got it before its time");
  }
  if (publish.dup) fail(queue, message, client.client_id() + " got it with DUP");
  if (publish.retain) fail(queue, message, client.client_id() + " got it with RETAIN");
  if (publish.qos == Qos::ExactlyOnce) fail(queue, message, client.client_id() + " got it at QoS 2");
  if (client.version() != ProtocolVersion::V5) return 0;
  uint32_t count = 1;
  std::vector<std::byte> properties;
  codec::PropertyReader reader(publish.properties);
  for (codec::Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::SubscriptionIdentifier:
      case PropertyId::MessageExpiryInterval:
      case PropertyId::TopicAlias: continue;
      default: break;
    }
    if (property.id == PropertyId::UserProperty && as_text(property.data) == kDeliveryCountProperty) {
      count = static_cast<uint32_t>(std::stoul(std::string(as_text(property.value))));
      if (count < 2) fail(queue, message, client.client_id() + " got it with a count below two");
    } else {
      properties.insert(properties.end(), reader.raw().begin(), reader.raw().end());
    }
  }
  if (properties != message.properties) fail(queue, message, client.client_id() + " got other properties");
  if (publish.has_message_expiry != (message.expiry_s != 0) || publish.message_expiry_s > message.expiry_s) {
    fail(queue, message, client.client_id() + " got another Message Expiry Interval");
  }
  return count;
}

void QueueModel::received(Client& client, const codec::PublishView& publish) {
  ++received_;
  OneQueue& queue = queue_of(client);
  const Published* message = world_.model().find(publish.payload);
  if (!message) world_.fail("queue " + queue.name + ": " + client.client_id() + " got what nobody published");
  const uint32_t count = judge_content(queue, client, *message, publish);
  Fate& fate = queue.fates[message->id];
  if (!solid(client)) {  // it was another's by then, perhaps
    ++fate.deliveries;
    consumers_[&client].held[publish.packet_id] = {message->id, false};
    fate.doubtful |= publish.qos == Qos::AtMostOnce;
    return;
  }
  // What is sent twice may be taken twice.
  const bool once = queue.strict() && message->sent_count <= 1 && !world_.model().may_refuse;
  if (once) {
    if (fate.settled && (fate.read || solid(*fate.settler))) {
      fail(queue, *message, client.client_id() + " got it after it was settled");
    }
    if (fate.holder && solid(*fate.holder)) {
      fail(queue, *message, client.client_id() + " got it while " + fate.holder->client_id() + " had it");
    }
  }
  ++fate.deliveries;
  if (once && count && fate.counted && count < fate.deliveries) {
    fail(queue, *message,
         client.client_id() + " got it as delivery " + std::to_string(count) + ", which was the " +
             std::to_string(fate.deliveries) + "th");
  }
  fate.holder = fate.settler = nullptr;
  fate.settled = fate.read = fate.recorded = false;
  if (publish.qos == Qos::AtMostOnce) {
    fate.settled = fate.read = once;
    fate.doubtful = true;
    return;
  }
  consumers_[&client].held[publish.packet_id] = {message->id, once};
  fate.holder = &client;
}

void QueueModel::acknowledging(Client& client, uint16_t packet_id, bool positive) {
  auto& held = consumers_[&client].held;
  const auto at = held.find(packet_id);
  if (at == held.end()) return;
  const Held acknowledged = at->second;
  held.erase(at);
  Fate& fate = queue_of(client).fates[acknowledged.message];
  const bool surely = acknowledged.surely && fate.holder == &client && solid(client);
  if (fate.holder == &client) fate.holder = nullptr;
  if (!positive) return;
  if (!surely) {
    fate.doubtful = true;
    return;
  }
  fate.settled = true;
  fate.read = fate.recorded = false;
  fate.settler = &client;
}

void QueueModel::subscribing(Client& client, Qos qos) { queue_of(client).some_at_qos0 |= qos == Qos::AtMostOnce; }

// From when it is read on, what it has is others'.
void QueueModel::unsubscribing(Client& client) {
  Consumer& consumer = consumers_[&client];
  consumer.leaving = true;
  for (auto& [packet_id, held] : consumer.held) {
    held.surely = false;
    Fate& fate = queue_of(client).fates[held.message];
    if (fate.holder == &client) fate.holder = nullptr;
  }
}

void QueueModel::unsubscribed(Client& client) {
  unsubscribing(client);
  consumers_[&client] = {};
}

void QueueModel::gone(Client& client) {
  unsubscribed(client);
  for (auto& [message, fate] : queue_of(client).fates) {
    if (fate.settler != &client) continue;
    fate.settler = nullptr;
    if (!fate.settled || fate.read) continue;
    fate.settled = false;
    fate.doubtful = true;
  }
}

// --- the broker

void QueueModel::crashed() {
  for (auto& [name, queue] : queues_) {
    for (auto& [message, fate] : queue.fates) {
      fate.holder = fate.settler = nullptr;
      fate.counted = false;
      if (!fate.settled || fate.recorded) continue;
      fate.settled = fate.read = false;
      fate.doubtful = true;
    }
  }
  consumers_.clear();
}

void QueueModel::quiet(bool recorded) {
  for (auto& [name, queue] : queues_) {
    for (auto& [message, fate] : queue.fates) {
      if (!fate.settled) continue;
      fate.recorded |= recorded && fate.read;
      fate.read |= fate.settler && solid(*fate.settler) && fate.settler->link()->to_broker.empty();
    }
    judge_depth(queue);
  }
}

void QueueModel::judge_limits() {
  for (auto& [name, queue] : queues_) {
    const Queue& is = world_.queue(name);
    const QueueGate& gate = is.filter->gate();
    const bool drops = queue.options.overflow == QueueOverflow::DropOldest;
    const uint64_t messages = drops ? is.depth() : gate.messages(), bytes = drops ? is.bytes() : gate.bytes();
    if (queue.options.messages_max) {
      world_.require(messages <= queue.options.messages_max, "queue " + name + " has more messages than it may");
    }
    if (queue.options.bytes_max) {
      world_.require(bytes <= queue.options.bytes_max, "queue " + name + " has more bytes than it may");
    }
  }
}

void QueueModel::judge_depth(OneQueue& queue) {
  const Queue& is = world_.queue(queue.name);
  if (world_.model().may_refuse) return;  // what there was no memory for
  world_.require(is.filter->gate().messages() == is.depth(), "queue " + queue.name + ": its gate counts otherwise");
  world_.require(is.filter->gate().bytes() == is.bytes(), "queue " + queue.name + ": its gate counts other bytes");
  const QueueFigures& said = is.work->figures;
  world_.require(world_.crashes() ||
                     said.entered == is.depth() + said.settled + said.expired + said.dropped + said.dead + said.purged,
                 "queue " + queue.name + ": its figures do not tell what became of its messages");
  if (!queue.keeps_all()) return;
  uint64_t least = 0, most = 0, least_bytes = 0, most_bytes = 0;
  for (const Published& one : world_.model().messages()) {
    if ((!one.sent_count && !one.will) || !topic_matches(queue.topic_filter, one.topic_name)) continue;
    const auto at = queue.fates.find(one.id);
    const bool came = at != queue.fates.end() && at->second.deliveries;
    bool surely = came || (one.qos != Qos::AtMostOnce && one.acknowledged && !one.delay_s && !one.will);
    uint64_t may = one.sent_count;
    if (came) {
      surely = surely && !at->second.settled && !at->second.doubtful;
      may -= at->second.settled && at->second.read && one.sent_count == 1;
    }
    if (one.expiry_s || one.sent_count > 1) surely = false;
    const uint64_t size = one.topic_name.size() + one.properties.size() + one.payload.size();
    least += surely;
    least_bytes += surely ? size : 0;
    most += may;
    most_bytes += may * size;
  }
  const std::string is_text =
      " " + std::to_string(is.depth()) + " messages and " + std::to_string(is.bytes()) + " bytes";
  world_.require(is.depth() >= least && is.bytes() >= least_bytes, "queue " + queue.name + " has" + is_text +
                                                                       ", and should have " + std::to_string(least) +
                                                                       " and " + std::to_string(least_bytes));
  world_.require(is.depth() <= most && is.bytes() <= most_bytes,
                 "queue " + queue.name + " has" + is_text + ", and should have no more than " + std::to_string(most) +
                     " and " + std::to_string(most_bytes));
  exact_ += least == most && most;
}

void QueueModel::judge_waiting() {
  for (auto& [name, queue] : queues_) {
    const Queue& is = world_.queue(name);
    const bool has_consumer = std::any_of(is.work->members.begin(), is.work->members.end(),
                                          [](const QueueMember* one) { return one->state.connected; });
    world_.require(!has_consumer || is.depth() == 0,
                   "queue " + name + " has " + std::to_string(is.depth()) + " messages which nobody is given");
  }
}

void QueueModel::judge(bool lossy) {
  for (auto& [name, queue] : queues_) {
    world_.require(world_.queue(name).depth() == 0, "queue " + name + " has messages at the end");
    if (lossy || !queue.keeps_all()) continue;
    for (const Published& one : world_.model().messages()) {
      if (one.qos == Qos::AtMostOnce || one.payload.empty() || one.expiry_s) continue;
      if (!topic_matches(queue.topic_filter, one.topic_name)) continue;
      const bool may_fail = world_.log().may_fail();
      const bool taken = one.will ? one.owed && !may_fail : one.acknowledged && !(one.delay_s && may_fail);
      const auto at = queue.fates.find(one.id);
      if (taken && (at == queue.fates.end() || !at->second.deliveries)) fail(queue, one, "nobody ever got it");
    }
  }
}

void QueueModel::end() {
  while (!queues_.empty()) end(std::string(queues_.begin()->first));
}

void QueueModel::end(const std::string& name) {
  world_.delete_queue(name);
  queues_.erase(name);
}

}  // namespace mqttq::sim
