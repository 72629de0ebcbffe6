// See auto_subscription.h.
#include "session/auto_subscription.h"

#include <stdexcept>

#include "message/topic.h"

namespace mqttq {

AutoSubscription::AutoSubscription(NamespaceId in_namespace, std::string_view filter,
                                   const codec::SubscriptionOptions& how)
    : namespace_id(in_namespace), options(how) {
  try {
    topic_filter = TextTemplate(filter);
  } catch (const std::invalid_argument& failure) {
    throw std::invalid_argument(std::string("topic_filter: ") + failure.what());
  }
  const std::string sample = topic_filter.sample("x");
  const SharedFilter shared = parse_shared_filter(sample);
  if (shared.kind == SharedFilter::Kind::Invalid || !is_valid_topic_filter(shared.topic_filter) ||
      sample.size() > kTopicSizeMax) {
    throw std::invalid_argument("topic_filter: not a topic filter");
  }
  if (parse_delayed_topic(shared.topic_filter).kind != DelayedTopic::Kind::NotDelayed) {
    throw std::invalid_argument("topic_filter: nothing is delivered below $delayed");
  }
  if (sample.starts_with("$exclusive/")) {
    throw std::invalid_argument("topic_filter: $exclusive/, which one client alone can have");
  }
  if (shared.kind == SharedFilter::Kind::Shared && how.no_local) {
    throw std::invalid_argument("no_local: not for a shared subscription");  // [MQTT-3.8.3-4]
  }
}

}  // namespace mqttq
