#include "queue/queue_address.h"

#include <algorithm>

#include "message/topic.h"

namespace mqttq {

bool is_valid_queue_name(std::string_view name) noexcept {
  if (is_unnamed_queue(name)) return name.size() > kUnnamedQueuePrefix.size();
  return is_valid_object_name(name);
}

QueueAddress parse_queue_address(std::string_view text) noexcept {
  QueueAddress address;
  if (is_unnamed_queue(text)) {
    address.name = text;
    address.topic_filter = text.substr(kUnnamedQueuePrefix.size());
  } else if (text.starts_with(kQueuePrefix)) {
    const std::string_view rest = text.substr(kQueuePrefix.size());
    const size_t slash = rest.find('/');
    address.name = rest.substr(0, slash);
    if (slash != rest.npos) address.topic_filter = rest.substr(slash + 1);
    if (slash != rest.npos && address.topic_filter.empty()) address.name = {};  // "$queue/orders/"
  } else {
    return address;
  }
  address.kind = is_valid_queue_name(address.name) ? QueueAddress::Kind::Queue : QueueAddress::Kind::Invalid;
  return address;
}

}  // namespace mqttq
