// PUBLISH as it leaves for one client: sizes first, then the bytes straight into the output.
#pragma once

#include "codec/codec.h"
#include "message/message.h"
#include "session/outgoing_aliases.h"

namespace mqttq {

// The message's topic or its alias, forwardable properties and payload; from `fields` dup, retain, qos, packet_id,
// and subscription_identifiers; `added`, further properties as on the wire. Expiry is what is left of it at `now`
// [MQTT-3.3.2-6]. Borrows all until it is done.
class PublishEncoder {
 public:
  // Payloads up to so many bytes are copied into the output; larger ones go by reference. A message that is kept anyway
  // costs nothing to refer to.
  static constexpr size_t kCopyMaxKept = 256, kCopyMax = 2048;

  PublishEncoder(const MessageView& view, const codec::PublishView& fields, ProtocolVersion version, Instant now,
                 OutgoingAliases::Choice alias = {}, Bytes added = {}) noexcept
      : view_(view),
        fields_(fields),
        added_(added),
        alias_(alias.alias),
        topic_(alias.known ? std::string_view() : view.topic_name) {
    uint32_t rest = static_cast<uint32_t>(2 + topic_.size() + view.payload.size());
    if (fields.qos != Qos::AtMostOnce) rest += 2;
    if (version == ProtocolVersion::V5) {
      v5_ = true;
      properties_size_ = static_cast<uint32_t>(view.properties.size() + added.size());
      if (view.expires()) {
        expiry_s_ = view.expiry_left_s(now);
        properties_size_ += 5;
      }
      if (alias_) properties_size_ += 3;
      for (const uint32_t identifier : fields.subscription_identifiers) {
        properties_size_ += static_cast<uint32_t>(1 + codec::varint_size(identifier));
      }
      rest += static_cast<uint32_t>(codec::varint_size(properties_size_)) + properties_size_;
    }
    remaining_length_ = rest;
  }

  size_t packet_size() const noexcept { return 1 + codec::varint_size(remaining_length_) + remaining_length_; }
  // Everything but the payload.
  size_t head_size() const noexcept { return packet_size() - view_.payload.size(); }
  // Writes head_size() bytes; returns where the payload goes.
  std::byte* write_head(std::byte* out) const noexcept {
    codec::Writer writer(out);
    writer.u8(static_cast<uint8_t>(0x30 | (fields_.dup ? 8 : 0) | static_cast<uint8_t>(fields_.qos) << 1 |
                                   (fields_.retain ? 1 : 0)));
    writer.varint(remaining_length_);
    writer.prefixed(topic_);
    if (fields_.qos != Qos::AtMostOnce) writer.u16(fields_.packet_id);
    if (v5_) {
      writer.varint(properties_size_);
      writer.raw(view_.properties);
      writer.raw(added_);
      if (view_.expires()) {
        writer.u8(static_cast<uint8_t>(PropertyId::MessageExpiryInterval));
        writer.u32(expiry_s_);
      }
      if (alias_) {
        writer.u8(static_cast<uint8_t>(PropertyId::TopicAlias));
        writer.u16(alias_);
      }
      for (const uint32_t identifier : fields_.subscription_identifiers) {
        writer.u8(static_cast<uint8_t>(PropertyId::SubscriptionIdentifier));
        writer.varint(identifier);
      }
    }
    return out + writer.size();
  }

 private:
  const MessageView& view_;
  const codec::PublishView& fields_;
  const Bytes added_;
  const uint16_t alias_;
  const std::string_view topic_;
  bool v5_ = false;
  uint32_t properties_size_ = 0;
  uint32_t expiry_s_ = 0;
  uint32_t remaining_length_ = 0;
};

}  // namespace mqttq
