// Subscriptions that every client has from its CONNACK on. Set before shards run, and only read then.
#pragma once

#include "codec/packets.h"
#include "message/message.h"
#include "session/text_template.h"

namespace mqttq {

struct AutoSubscription {
  static constexpr size_t kCountMax = 100;

  // Throws std::invalid_argument with a text for people, std::bad_alloc.
  AutoSubscription(NamespaceId in_namespace, std::string_view topic_filter, const codec::SubscriptionOptions& how);

  NamespaceId namespace_id;
  TextTemplate topic_filter;
  codec::SubscriptionOptions options;
};

}  // namespace mqttq
