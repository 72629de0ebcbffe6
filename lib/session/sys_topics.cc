// See sys_topics.h.
#include "session/sys_topics.h"

#include <algorithm>
#include <charconv>

namespace mqttq {

namespace {

// What is averaged, in the order of their rows.
constexpr uint64_t SysFigures::* kLoads[] = {
    &SysFigures::packets_received,  &SysFigures::packets_sent,       &SysFigures::messages_dropped,
    &SysFigures::messages_received, &SysFigures::messages_sent,      &SysFigures::bytes_received,
    &SysFigures::bytes_sent,        &SysFigures::connections_opened, &SysFigures::connects_received};

char* put(char* at, char* end, std::string_view text) noexcept {
  const size_t size = std::min(text.size(), static_cast<size_t>(end - at));
  return std::copy_n(text.data(), size, at);
}

}  // namespace

struct SysTopics::Row {
  enum class Kind : uint8_t { Version, Uptime, Figure, Load, Alarm };
  std::string_view topic_name;
  Kind kind;
  uint64_t SysFigures::* figure = nullptr;  // of a Figure
  uint8_t load = 0;                         // of a Load: an index of kLoads
  uint8_t window = 0;                       // and of LoadAverage::kMinutes
};

#define MQTTQ_FIGURE(name, member) \
  Row { "$SYS/broker/" name, Row::Kind::Figure, &SysFigures::member }
#define MQTTQ_LOAD(name, index)                                                  \
  Row{"$SYS/broker/load/" name "/1min", Row::Kind::Load, nullptr, index, 0},     \
      Row{"$SYS/broker/load/" name "/5min", Row::Kind::Load, nullptr, index, 1}, \
      Row{"$SYS/broker/load/" name "/15min", Row::Kind::Load, nullptr, index, 2}

constinit const std::array<SysTopics::Row, SysTopics::kAllCount> SysTopics::kRows{
    Row{"$SYS/broker/version", Row::Kind::Version},
    Row{"$SYS/broker/uptime", Row::Kind::Uptime},
    MQTTQ_FIGURE("clients/total", clients_total),
    MQTTQ_FIGURE("clients/connected", clients_connected),
    MQTTQ_FIGURE("clients/active", clients_connected),
    MQTTQ_FIGURE("clients/disconnected", clients_disconnected),
    MQTTQ_FIGURE("clients/inactive", clients_disconnected),
    MQTTQ_FIGURE("clients/maximum", clients_maximum),
    MQTTQ_FIGURE("clients/expired", clients_expired),
    MQTTQ_FIGURE("subscriptions/count", subscriptions),
    MQTTQ_FIGURE("shared_subscriptions/count", shared_subscriptions),
    MQTTQ_FIGURE("retained messages/count", retained_messages),
    MQTTQ_FIGURE("messages/stored", stored_messages),
    MQTTQ_FIGURE("store/messages/count", stored_messages),
    MQTTQ_FIGURE("store/messages/bytes", stored_bytes),
    MQTTQ_FIGURE("messages/inflight", inflight),
    MQTTQ_FIGURE("messages/received", packets_received),
    MQTTQ_FIGURE("messages/sent", packets_sent),
    MQTTQ_FIGURE("bytes/received", bytes_received),
    MQTTQ_FIGURE("bytes/sent", bytes_sent),
    MQTTQ_FIGURE("publish/messages/received", messages_received),
    MQTTQ_FIGURE("publish/messages/sent", messages_sent),
    MQTTQ_FIGURE("publish/messages/dropped", messages_dropped),
    MQTTQ_FIGURE("publish/bytes/received", message_bytes_received),
    MQTTQ_FIGURE("publish/bytes/sent", message_bytes_sent),
    MQTTQ_LOAD("messages/received", 0),
    MQTTQ_LOAD("messages/sent", 1),
    MQTTQ_LOAD("publish/dropped", 2),
    MQTTQ_LOAD("publish/received", 3),
    MQTTQ_LOAD("publish/sent", 4),
    MQTTQ_LOAD("bytes/received", 5),
    MQTTQ_LOAD("bytes/sent", 6),
    MQTTQ_LOAD("sockets", 7),
    MQTTQ_LOAD("connections", 8),
    // Of a store, the last kStoreCount. The alarm stands behind the figures that it comes from.
    MQTTQ_FIGURE("store/bytes/used", store_bytes_used),
    MQTTQ_FIGURE("store/bytes/limit", store_bytes_max),
    Row{"$SYS/broker/store/alarm", Row::Kind::Alarm},
};

#undef MQTTQ_FIGURE
#undef MQTTQ_LOAD

SysTopics::SysTopics(std::string_view version, Instant start) noexcept : version_(version), start_(start) {
  static_assert(std::size(kLoads) == kLoadCount);
  loads_.fill(LoadAverage(start));
}

std::span<const SysValue> SysTopics::update(const SysFigures& figures, Instant now) noexcept {
  for (size_t i = 0; i < kLoadCount; ++i) loads_[i].update(figures.*kLoads[i], now);
  const bool all = figures.values_lost != values_lost_;
  values_lost_ = figures.values_lost;
  size_t count = 0;
  for (size_t i = 0; i < (figures.keeps ? kAllCount : kCount); ++i) {
    const Text text = text_of(kRows[i], figures, now);
    if (!all && text.view() == said_[i].view()) continue;
    said_[i] = text;
    changed_[count++] = {kRows[i].topic_name, said_[i].view()};
  }
  return {changed_.data(), count};
}

SysTopics::Text SysTopics::text_of(const Row& row, const SysFigures& figures, Instant now) const noexcept {
  Text text;
  char* const end = text.bytes.data() + text.bytes.size();
  char* at = text.bytes.data();
  switch (row.kind) {
    case Row::Kind::Version: at = put(put(at, end, "libmqttq version "), end, version_); break;
    case Row::Kind::Uptime:
      at = std::to_chars(at, end, (now - start_) / kSecond).ptr;
      at = put(at, end, " seconds");
      break;
    case Row::Kind::Alarm: at = put(at, end, figures.store_alarm); break;
    case Row::Kind::Figure: at = std::to_chars(at, end, figures.*row.figure).ptr; break;
    case Row::Kind::Load: {
      const double value = loads_[row.load].per_minute(row.window);
      at = std::to_chars(at, end, value, std::chars_format::fixed, 2).ptr;
      break;
    }
  }
  text.size = static_cast<size_t>(at - text.bytes.data());
  return text;
}

std::array<std::string_view, SysTopics::kAllCount> SysTopics::names() noexcept {
  std::array<std::string_view, kAllCount> names;
  for (size_t i = 0; i < kAllCount; ++i) names[i] = kRows[i].topic_name;
  return names;
}

}  // namespace mqttq
