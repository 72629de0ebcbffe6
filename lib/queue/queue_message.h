// A queue's messages, changed on their way out: user properties are added, all else is as it was published.
#pragma once

#include "message/message.h"

namespace mqttq {

// User properties. All of a dead letter say where it comes from; a message that comes again says how often it was sent.
inline constexpr std::string_view kConsumerPriorityProperty = "consumer-priority";  // of SUBSCRIBE
inline constexpr std::string_view kDeliveryCountProperty = "delivery-count";
inline constexpr std::string_view kDeadLetterQueueProperty = "dead-letter-queue";
inline constexpr std::string_view kDeadLetterReasonProperty = "dead-letter-reason";
inline constexpr std::string_view kDeadLetterTopicProperty = "dead-letter-topic";
inline constexpr std::string_view kDeadLetterHopsProperty = "dead-letter-hops";
// So many times a message may be one: queues may be each other's.
inline constexpr uint32_t kDeadLetterHopsMax = 16;

// Each is empty without memory.

// count: this delivery among them.
MessageRef with_delivery_count(const Message& message, uint32_t count) noexcept;

struct DeadLetterFacts {
  std::string_view queue;
  std::string_view reason;
  uint32_t deliveries = 0;
};
// At QoS 1, from nobody; it does not expire. What it has of an earlier time is replaced.
MessageRef dead_letter(const Message& message, std::string_view topic_name, const DeadLetterFacts& facts) noexcept;

// How often it has been one.
uint32_t dead_letter_hops(const Message& message) noexcept;

// What it is a dead letter of, in its own bytes. False: it is none.
struct DeadLetterOrigin {
  std::string_view queue, topic_name;
};
bool read_dead_letter(const MessageView& message, DeadLetterOrigin& origin) noexcept;
// As it was before, but for its QoS and its expiry.
MessageRef revived(const MessageView& message, const DeadLetterOrigin& origin) noexcept;

}  // namespace mqttq
