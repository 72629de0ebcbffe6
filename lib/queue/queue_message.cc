#include "queue/queue_message.h"

#include <charconv>
#include <initializer_list>

#include "base/alloc.h"
#include "codec/writer.h"
#include "message/property.h"

namespace mqttq {

namespace {

struct UserProperty {
  std::string_view name, value;
};

void write(codec::Writer& out, Bytes before, std::initializer_list<UserProperty> added) noexcept {
  out.raw(before);
  for (const UserProperty& one : added) {
    out.u8(static_cast<uint8_t>(PropertyId::UserProperty));
    out.prefixed(one.name);
    out.prefixed(one.value);
  }
}

// The same with more user properties.
MessageRef with_properties(MessageView view, std::initializer_list<UserProperty> added) noexcept {
  codec::Writer counter;
  write(counter, view.properties, added);
  auto* block = static_cast<std::byte*>(allocate(counter.size()));
  if (!block) return {};
  codec::Writer out(block);
  write(out, view.properties, added);
  view.properties = {block, out.size()};
  MessageRef made = Message::create(view);
  release(block);
  return made;
}

class Digits {
 public:
  explicit Digits(uint32_t number) noexcept
      : size_(static_cast<size_t>(std::to_chars(digits_, digits_ + sizeof digits_, number).ptr - digits_)) {}
  std::string_view view() const noexcept { return {digits_, size_}; }

 private:
  char digits_[10];
  const size_t size_;
};

}  // namespace

MessageRef with_delivery_count(const Message& message, uint32_t count) noexcept {
  return with_properties(message.view(), {{kDeliveryCountProperty, Digits(count).view()}});
}

MessageRef dead_letter(const Message& message, std::string_view topic_name, const DeadLetterFacts& facts) noexcept {
  MessageView view = message.view();
  const std::string_view from = view.topic_name;
  view.topic_name = topic_name;
  view.qos = Qos::AtLeastOnce;
  view.retain = false;
  view.publisher = 0;
  view.expires_at = Instant{INT64_MAX};
  return with_properties(view, {{kDeadLetterQueueProperty, facts.queue},
                                {kDeadLetterReasonProperty, facts.reason},
                                {kDeadLetterTopicProperty, from},
                                {kDeliveryCountProperty, Digits(facts.deliveries).view()}});
}

}  // namespace mqttq
