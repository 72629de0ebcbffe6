// See sys_publisher.h.
#include "session/sys_publisher.h"

#include <algorithm>

#include "session/shard_core.h"

namespace mqttq {

SysPublisher::SysPublisher(ShardCore& shard, Instant now) : shard_(shard), due_(now) {
  if (shard.index() != 0 || shard.policy().sys_interval_s == 0) return;
  topics_ = std::make_unique<SysTopics>(shard.policy().version, now);
  shard.timers().arm(*this, now, on_timer);
}

// --- figures

void SysPublisher::on_timer(Timer& timer, Instant now) noexcept {
  auto& self = static_cast<SysPublisher&>(timer);
  if (self.alarm_waits_ && self.figures_open_) {
    self.shard_.timers().arm(self, now + 100 * kMillisecond, on_timer);
    return;
  }
  self.alarm_waits_ = false;
  const int64_t interval = int64_t{self.shard_.policy().sys_interval_s} * kSecond;
  self.due_ = self.due_ + interval > now ? self.due_ + interval : now + interval;
  self.shard_.timers().arm(self, self.due_, on_timer);
  // While mailboxes are full, figures are not gathered that would have to wait for them.
  if (self.figures_open_ == 0) self.publish_figures(now);
}

void SysPublisher::on_alarm(Instant now) noexcept {
  if (!topics_) return;
  if (figures_open_ == 0) return publish_figures(now);
  alarm_waits_ = true;
  shard_.timers().arm(*this, now, on_timer);
}

void SysPublisher::publish_figures(Instant now) noexcept {
  for (const SysValue& changed : topics_->update(gather(), now)) {
    MessageView view;
    view.retain = true;
    view.topic_name = changed.topic_name;
    view.payload = as_bytes(changed.value);
    const MessageRef message = Message::create(view);
    ++figures_open_;
    if (message && shard_.publish_of_broker(message, now)) continue;
    --figures_open_;
    shard_.figures().sys_values_lost.add();
  }
}

SysFigures SysPublisher::gather() const noexcept {
  const Population& population = shard_.population();
  SysFigures sum;
  sum.clients_total = population.sessions.load(std::memory_order_relaxed);
  sum.clients_connected = population.clients.load(std::memory_order_relaxed);
  sum.clients_maximum = population.clients_max.load(std::memory_order_relaxed);
  // Shards go on while they are read.
  sum.clients_disconnected = sum.clients_total - std::min(sum.clients_connected, sum.clients_total);
  for (const ShardFigures* shard : population.figures) {
    if (!shard) continue;
    const Counters& counters = shard->counters;
    const uint64_t ended = counters.subscriptions_removed.value();  // first: it is never more than were made
    sum.subscriptions += counters.subscriptions_added.value() - ended;
    sum.shared_subscriptions += shard->shared_subscriptions.value();
    sum.clients_expired += counters.sessions_expired.value();
    sum.retained_messages += shard->retained_messages.value();
    sum.stored_messages += shard->stored_messages.value();
    sum.stored_bytes += shard->stored_bytes.value();
    sum.inflight += shard->inflight.value();
    sum.packets_received += counters.packets_received.value();
    sum.packets_sent += counters.packets_sent.value();
    sum.bytes_received += counters.bytes_received.value();
    sum.bytes_sent += counters.bytes_sent.value();
    sum.messages_received += counters.messages_received.value();
    sum.messages_sent += counters.messages_sent.value();
    sum.messages_dropped += counters.messages_dropped.value();
    sum.message_bytes_received += counters.message_bytes_received.value();
    sum.message_bytes_sent += counters.message_bytes_sent.value();
    sum.connections_opened += counters.connections_opened.value();
    sum.connects_received += counters.connects_received.value();
    sum.values_lost += shard->sys_values_lost.value();
  }
  if (const StoreHealth* health = shard_.state().health()) {
    sum.keeps = true;
    sum.store_alarm = to_text(health->alarm.load(std::memory_order_relaxed));
    sum.store_bytes_used = health->bytes_used.load(std::memory_order_relaxed);
    sum.store_bytes_max = health->bytes_max.load(std::memory_order_relaxed);
  }
  return sum;
}

// --- clients

// Those of other namespaces are nobody else's business.
bool SysPublisher::tells_of(const Connection& connection) const noexcept {
  return shard_.policy().client_events && connection.namespace_id() == kGlobalNamespace;
}

ClientEvent SysPublisher::event_of(const Connection& connection, const Session& session) const noexcept {
  ClientEvent event;
  event.client_id = session.client_id();
  if (connection.has_user_name()) event.user_name = connection.user_name();
  event.address = connection.link().peer_address();
  event.version = connection.version();
  event.keep_alive_s = connection.keep_alive_s();
  event.clean_start = connection.clean_start();
  event.session_expiry_s = session.expiry_s();
  event.session_present = connection.session_present();
  event.connected_at_ms = shard_.policy().unix_ms(connection.connected_at());
  return event;
}

void SysPublisher::on_connected(const Connection& connection, Instant now) noexcept {
  if (tells_of(connection)) publish_event(event_of(connection, *connection.session()), now);
}

void SysPublisher::on_disconnected(const Connection& connection, const Session& session, std::string_view reason,
                                   ReasonCode reason_code, Instant now) noexcept {
  if (!tells_of(connection)) return;
  ClientEvent event = event_of(connection, session);
  event.end =
      ClientEvent::End{reason, static_cast<uint8_t>(reason_code), (now - connection.connected_at()) / kMillisecond};
  publish_event(event, now);
}

// What waits for full mailboxes has the bounds of an outbox. Of one client, what is left is in order.
void SysPublisher::publish_event(const ClientEvent& event, Instant now) noexcept {
  const Limits& limits = shard_.limits();
  bool topic_fits = true;
  MessageRef message;
  if (events_open_ < limits.outbox_messages_max) message = make_client_event(event, topic_fits);
  const uint32_t size = message ? message->content_size() : 0;
  if (message && (events_open_ == 0 || events_open_bytes_ + size <= limits.outbox_bytes_max)) {
    ++events_open_;
    events_open_bytes_ += size;
    if (shard_.publish_of_broker(message, now)) return;
    --events_open_;
    events_open_bytes_ -= size;
  }
  shard_.counters().sys_messages_dropped.add();
}

void SysPublisher::on_handed_over(const Message& message, bool failed) noexcept {
  if (message.view().retain) {
    --figures_open_;
    if (failed) shard_.figures().sys_values_lost.add();
    return;
  }
  --events_open_;
  events_open_bytes_ -= message.content_size();
  if (failed) shard_.counters().sys_messages_dropped.add();
}

}  // namespace mqttq
