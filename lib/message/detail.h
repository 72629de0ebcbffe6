// Why, more exactly than a reason code says it: the Reason String of what is refused, for clients that ask for problem
// information (MQTT5 3.1.2.11.7).
#pragma once

#include <cstdint>
#include <string_view>

#include "message/reason_code.h"

namespace mqttq {

// X(name, text). One table yields the enumeration, the texts and the page in docs/.
#define MQTTQ_DETAILS(X)                                                                                        \
  X(None, "")                                                                                                   \
  X(NoMemory, "the server has no memory for it")                                                                \
  X(AccessDenied, "the server's access control does not allow it")                                              \
  X(SysTopic, "below $SYS the server alone publishes")                                                          \
  X(TopicEmpty, "a topic name, or an alias that has one, is missing")                                           \
  X(TopicTooLong, "the topic is longer than limits.topic_size_max")                                             \
  X(TopicTooDeep, "the topic has more levels than limits.topic_levels_max")                                     \
  X(NotATopicName, "a topic name is UTF-8 without wildcards, of at least one character")                        \
  X(NotATopicFilter, "not a topic filter: # is the last level, + a whole one, a share has a name and a filter") \
  X(DelayedFilter, "nothing is delivered below $delayed: what is published there comes with another topic")     \
  X(RewriteImpossible, "no topic comes of it by the server's rewrite rules")                                    \
  X(DelayNotUnderstood, "delayed messages are published to $delayed/<seconds>/<topic>")                         \
  X(DelayTooLong, "the delay is longer than limits.delay_max_s")                                                \
  X(DelayedFull, "limits.delayed_messages_max or limits.delayed_bytes_max is reached")                          \
  X(RetainedFull, "limits.retained_messages_max or limits.retained_bytes_max is reached")                       \
  X(IdentifierOpen, "the packet identifier is that of an open message; this one was not taken")                 \
  X(AliasAboveMaximum, "the topic alias is above limits.topic_alias_maximum")                                   \
  X(AliasUnknown, "the topic alias was not given a topic on this connection")                                   \
  X(ExclusiveOff, "exclusive subscriptions are off")                                                            \
  X(ExclusiveTaken, "another client has this exclusive subscription")                                           \
  X(SubscriptionsFull, "limits.subscriptions_max is reached")                                                   \
  X(SessionsFull, "limits.sessions_max is reached, or the server has no memory")                                \
  X(ConnectRate, "limits.connect_rate is reached")                                                              \
  X(WillTopicOfServer, "the will's topic begins with $, which is the server's")                                 \
  X(WillDenied, "the server's access control does not allow to publish the will")                               \
  X(StoreFailing, "the server cannot store it now")                                                             \
  X(StoreFull, "limits.store_bytes is reached")                                                                 \
  X(JournalFull, "limits.journal_messages or limits.journal_bytes is reached")                                  \
  X(QueueFull, "a queue that takes it is full")                                                                 \
  X(QueueMessageTooLarge, "it is larger than all that a queue that takes it may hold")                          \
  X(QueueKeyMissing, "a queue that takes it does not find its key in it")                                       \
  X(QueueUnknown, "there is no such queue")                                                                     \
  X(QueueName, "a queue's name is 0-9 A-Z a-z . _ -, beginning with a letter or digit")                         \
  X(QueueFilter, "the queue has another topic filter")                                                          \
  X(QueueFilterOfServer, "what begins with $SYS, $share, $queue, $stream and the like is not queued")           \
  X(QueuesFull, "queues.count_max is reached")                                                                  \
  X(QueueNoLocal, "No Local is not for queues")                                                                 \
  X(QueuePriority, "consumer-priority is a whole number from -128 to 127")                                      \
  X(QueueDeleted, "the queue was deleted")                                                                      \
  X(StreamUnknown, "there is no such stream")                                                                   \
  X(StreamName, "a stream's name is 0-9 A-Z a-z . _ -, beginning with a letter or digit")                       \
  X(StreamFilter, "the stream's topic filter does not cover this one")                                          \
  X(StreamFilterOfServer, "what begins with $SYS, $share, $queue, $stream and the like is not kept in streams") \
  X(StreamsFull, "streams.count_max is reached")                                                                \
  X(StreamCursor, "a cursor's name is 0-9 A-Z a-z . _ -, beginning with a letter or digit")                     \
  X(StreamCursorFilter, "a named cursor reads the whole stream")                                                \
  X(StreamCursorTaken, "another client reads with this cursor")                                                 \
  X(StreamCursorsFull, "there are as many cursors as there may be")                                             \
  X(StreamNoLocal, "No Local is not for streams")                                                               \
  X(StreamDeleted, "the stream was deleted")                                                                    \
  X(StreamOffset, "an offset is earliest, latest, a Unix time in microseconds, or @ and a position")            \
  X(MethodUnknown, "the server does not know this authentication method")

enum class Detail : uint8_t {
#define MQTTQ_X(name, text) name,
  MQTTQ_DETAILS(MQTTQ_X)
#undef MQTTQ_X
};

constexpr std::string_view to_text(Detail detail) noexcept {
  constexpr std::string_view kTexts[] = {
#define MQTTQ_X(name, text) text,
      MQTTQ_DETAILS(MQTTQ_X)
#undef MQTTQ_X
  };
  return kTexts[static_cast<uint8_t>(detail)];
}

// What is said to a peer: a reason code, and why.
struct Reason {
  ReasonCode code = ReasonCode::Success;
  Detail detail = Detail::None;

  constexpr Reason() noexcept = default;
  constexpr Reason(ReasonCode of) noexcept : code(of) {}
  constexpr Reason(ReasonCode of, Detail why) noexcept : code(of), detail(why) {}
  constexpr bool ok() const noexcept { return code == ReasonCode::Success; }
};

// Why a connection is ended, in CONNACK or DISCONNECT. The texts are borrowed.
struct CloseReason {
  ReasonCode code;
  std::string_view reason_string;     // left out where the client does not ask for problem information
  std::string_view server_reference;  // where to go instead (MQTT5 4.13)

  constexpr CloseReason(ReasonCode of = ReasonCode::AdministrativeAction) noexcept : code(of) {}
  constexpr CloseReason(const Reason& reason) noexcept : code(reason.code), reason_string(to_text(reason.detail)) {}
};

}  // namespace mqttq
