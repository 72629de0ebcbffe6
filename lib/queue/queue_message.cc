#include "queue/queue_message.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "base/alloc.h"
#include "codec/packets.h"
#include "codec/writer.h"
#include "message/property.h"
#include "message/topic.h"

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

// Properties without those that a dead letter is given.
class Stripped {
 public:
  explicit Stripped(Bytes properties) noexcept : block_(static_cast<std::byte*>(allocate(properties.size() + 1))) {
    constexpr std::string_view kAdded[] = {kDeadLetterQueueProperty, kDeadLetterReasonProperty,
                                           kDeadLetterTopicProperty, kDeadLetterHopsProperty, kDeliveryCountProperty};
    if (!block_) return;
    codec::PropertyReader reader(properties);
    for (codec::Property property; reader.next(property);) {
      const bool added = property.id == PropertyId::UserProperty &&
                         std::find(std::begin(kAdded), std::end(kAdded), as_text(property.data)) != std::end(kAdded);
      if (added) continue;
      std::memcpy(block_ + size_, reader.raw().data(), reader.raw().size());
      size_ += reader.raw().size();
    }
  }
  Stripped(const Stripped&) = delete;
  Stripped& operator=(const Stripped&) = delete;
  ~Stripped() { release(block_); }
  bool ok() const noexcept { return block_ != nullptr; }
  Bytes bytes() const noexcept { return {block_, size_}; }

 private:
  std::byte* block_;
  size_t size_ = 0;
};

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

// One that could not be sent with more is sent as it is.
MessageRef with_delivery_count(const Message& message, uint32_t count) noexcept {
  constexpr uint32_t kContentMax = 268'000'000;  // of a packet of 268 435 455 bytes (MQTT5 2.1.4)
  if (message.content_size() > kContentMax) return MessageRef::share(message);
  return with_properties(message.view(), {{kDeliveryCountProperty, Digits(count).view()}});
}

uint32_t dead_letter_hops(const Message& message) noexcept {
  uint32_t hops = 0;
  codec::PropertyReader reader(message.view().properties);
  for (std::string_view name, value; reader.next_user(name, value);) {
    if (name == kDeadLetterHopsProperty) std::from_chars(value.data(), value.data() + value.size(), hops);
  }
  return hops;
}

MessageRef dead_letter(const Message& message, std::string_view topic_name, const DeadLetterFacts& facts) noexcept {
  Stripped stripped(message.view().properties);
  if (!stripped.ok()) return {};
  MessageView view = message.view();
  const std::string_view from = view.topic_name;
  view.topic_name = topic_name;
  view.qos = Qos::AtLeastOnce;
  view.retain = false;
  view.publisher = 0;
  view.expires_at = Instant{INT64_MAX};
  view.properties = stripped.bytes();
  return with_properties(view, {{kDeadLetterQueueProperty, facts.queue},
                                {kDeadLetterReasonProperty, facts.reason},
                                {kDeadLetterTopicProperty, from},
                                {kDeadLetterHopsProperty, Digits(dead_letter_hops(message) + 1).view()},
                                {kDeliveryCountProperty, Digits(facts.deliveries).view()}});
}

// The last of each name: what the broker added stands behind what came from a client.
bool read_dead_letter(const MessageView& message, DeadLetterOrigin& origin) noexcept {
  codec::PropertyReader reader(message.properties);
  for (std::string_view name, value; reader.next_user(name, value);) {
    if (name == kDeadLetterQueueProperty) origin.queue = value;
    if (name == kDeadLetterTopicProperty) origin.topic_name = value;
  }
  return !origin.queue.empty() && is_valid_topic_name(origin.topic_name);
}

MessageRef revived(const MessageView& message, const DeadLetterOrigin& origin) noexcept {
  Stripped stripped(message.properties);
  if (!stripped.ok()) return {};
  MessageView view = message;
  view.topic_name = origin.topic_name;
  view.properties = stripped.bytes();
  return Message::create(view);
}

}  // namespace mqttq
