// The topics below `$SYS/broker` that tell what the broker does, by the names that Mosquitto gives them.
//
// A pure function of figures and time, with a memory of what it said last: no clock, no I/O, no allocation.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "session/load_average.h"

namespace mqttq {

// Of all shards together. Totals count from the broker's start.
struct SysFigures {
  uint64_t clients_total = 0, clients_connected = 0, clients_disconnected = 0;
  uint64_t clients_maximum = 0;  // connected at the same time
  uint64_t clients_expired = 0;
  uint64_t subscriptions = 0, shared_subscriptions = 0;
  uint64_t retained_messages = 0, stored_messages = 0, stored_bytes = 0, inflight = 0;
  uint64_t packets_received = 0, packets_sent = 0, bytes_received = 0, bytes_sent = 0;
  uint64_t messages_received = 0, messages_sent = 0, messages_dropped = 0;
  uint64_t message_bytes_received = 0, message_bytes_sent = 0;
  uint64_t connections_opened = 0, connects_received = 0;
  bool keeps = false;  // there is a store: the figures of what it takes, and its alarm
  uint64_t store_bytes_used = 0, store_bytes_max = 0;
  std::string_view store_alarm;  // static
  // Values of these topics that memory was refused to: when there are more, all are said again.
  uint64_t values_lost = 0;
};

// Borrowed from SysTopics until its next update().
struct SysValue {
  std::string_view topic_name;
  std::string_view value;
};

class SysTopics {
 public:
  static constexpr size_t kStoreCount = 3;  // topics of a broker that keeps something
  static constexpr size_t kCount = 52;      // of any
  static constexpr size_t kAllCount = kCount + kStoreCount;
  static constexpr size_t kValueSizeMax = 40;  // bytes of one value

  // version: static, such as "0.1.0"; one that is too long is cut.
  SysTopics(std::string_view version, Instant start) noexcept;

  // The topics whose value is another than at the last call; all of them the first time.
  std::span<const SysValue> update(const SysFigures& figures, Instant now) noexcept;

  // All topic names.
  static std::array<std::string_view, kAllCount> names() noexcept;

 private:
  static constexpr size_t kLoadCount = 9;
  struct Text {
    std::array<char, kValueSizeMax> bytes{};
    size_t size = 0;
    std::string_view view() const noexcept { return {bytes.data(), size}; }
  };
  struct Row;
  static const std::array<Row, kAllCount> kRows;

  Text text_of(const Row& row, const SysFigures& figures, Instant now) const noexcept;

  const std::string_view version_;
  const Instant start_;
  uint64_t values_lost_ = 0;
  std::array<LoadAverage, kLoadCount> loads_;
  std::array<Text, kAllCount> said_;  // size 0: nothing yet
  std::array<SysValue, kAllCount> changed_;
};

}  // namespace mqttq
