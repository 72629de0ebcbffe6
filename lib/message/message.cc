#include "message/message.h"

#include "message/message_pool.h"

namespace mqttq {

Message::Message(const MessageView& view, uint32_t references) noexcept
    : references_(references),
      namespace_id_(view.namespace_id),
      publisher_(view.publisher),
      expires_at_(view.expires_at),
      properties_size_(static_cast<uint32_t>(view.properties.size())),
      payload_size_(static_cast<uint32_t>(view.payload.size())),
      topic_size_(static_cast<uint16_t>(view.topic_name.size())),
      qos_(view.qos),
      retain_(view.retain) {}

MessageRef Message::create(const MessageView& view, uint32_t references) noexcept {
  void* block =
      MessagePool::take(sizeof(Message) + view.topic_name.size() + view.properties.size() + view.payload.size());
  if (!block) return {};
  auto* message = new (block) Message(view, references);
  auto* at = reinterpret_cast<std::byte*>(message + 1);
  for (const Bytes part : {as_bytes(view.topic_name), view.properties, view.payload}) {
    if (part.empty()) continue;
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  return MessageRef(message);
}

MessageView Message::view() const noexcept {
  MessageView view;
  view.namespace_id = namespace_id_;
  view.qos = qos_;
  view.retain = retain_;
  view.publisher = publisher_;
  view.expires_at = expires_at_;
  view.topic_name = topic_name();
  view.properties = {bytes() + topic_size_, properties_size_};
  view.payload = payload();
  return view;
}

void MessageRef::end(Message* message) noexcept {
  const size_t size = sizeof(Message) + message->content_size();
  message->~Message();
  MessagePool::give_back(message, size);
}

}  // namespace mqttq
