#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host_events.h"
#include "capi/host_message.h"
#include "codec/packets.h"
#include "codec/writer.h"
#include "message/topic.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

const Message& of(const mqttq_message* message) noexcept { return *reinterpret_cast<const Message*>(message); }

// Why the properties are not what MQTT can carry, or nullptr.
const char* judge(const mqttq_message_config& config) noexcept {
  const std::pair<const char*, mqttq_bytes> given[] = {{"topic: NULL with a size", config.topic},
                                                       {"payload: NULL with a size", config.payload},
                                                       {"content_type: NULL with a size", config.content_type},
                                                       {"response_topic: NULL with a size", config.response_topic},
                                                       {"correlation_data: NULL with a size", config.correlation_data}};
  const auto is_missing = [](mqttq_bytes bytes) { return bytes.size && !bytes.data; };
  for (const auto& [fault, bytes] : given) {
    if (is_missing(bytes)) return fault;
  }
  const auto is_text = [](mqttq_bytes bytes) { return bytes.size <= 65'535 && is_valid_utf8(text_of(bytes)); };
  if (!is_valid_topic_name(text_of(config.topic))) return "topic: not a topic name";
  if (is_sys_topic(text_of(config.topic))) return "topic: $SYS is the broker's own";
  if (config.qos > 2) return "qos: more than 2";
  if (config.payload.size > kRemainingLengthMax - 70'000) return "payload: larger than a packet can be";
  if (!is_text(config.content_type)) return "content_type: not UTF-8 of at most 65 535 bytes";
  if (config.response_topic.size && !is_valid_topic_name(text_of(config.response_topic))) {
    return "response_topic: not a topic name";
  }
  if (config.correlation_data.size > 65'535) return "correlation_data: more than 65 535 bytes";
  if (config.user_property_count && !config.user_properties) return "user_properties: NULL";
  size_t size = 0;
  for (size_t i = 0; i < config.user_property_count; ++i) {
    const mqttq_user_property& property = config.user_properties[i];
    if (is_missing(property.name) || is_missing(property.value)) return "user_properties: NULL with a size";
    if (!is_text(property.name) || !is_text(property.value))
      return "user_properties: not UTF-8 of at most 65 535 bytes";
    size += property.name.size + property.value.size + 5;
  }
  return size > 16 * 1024 * 1024 ? "user_properties: more than 16 MiB" : nullptr;
}

void write_properties(const mqttq_message_config& config, codec::Writer& out) noexcept {
  const auto text = [&](PropertyId id, mqttq_bytes bytes) {
    if (!bytes.size) return;
    out.u8(static_cast<uint8_t>(id));
    out.prefixed(text_of(bytes));
  };
  if (config.payload_is_text) {
    out.u8(static_cast<uint8_t>(PropertyId::PayloadFormatIndicator));
    out.u8(1);
  }
  text(PropertyId::ContentType, config.content_type);
  text(PropertyId::ResponseTopic, config.response_topic);
  text(PropertyId::CorrelationData, config.correlation_data);
  for (size_t i = 0; i < config.user_property_count; ++i) {
    out.u8(static_cast<uint8_t>(PropertyId::UserProperty));
    out.prefixed(text_of(config.user_properties[i].name));
    out.prefixed(text_of(config.user_properties[i].value));
  }
}

// The first property of this kind, empty if there is none.
mqttq_bytes find(const mqttq_message* message, PropertyId id) noexcept {
  codec::PropertyReader reader(of(message).view().properties);
  for (codec::Property property; reader.next(property);) {
    if (property.id == id) return {property.data.data(), property.data.size()};
  }
  return {nullptr, 0};
}

}  // namespace

const char* mqttq::capi::make_message(const mqttq_message_config& config, MessageView view, MessageRef& out) {
  if (const char* wrong = judge(config)) return wrong;
  codec::Writer counting;
  write_properties(config, counting);
  std::vector<std::byte> properties(counting.size());
  codec::Writer writing(properties.data());
  write_properties(config, writing);
  view.namespace_id = id_of(config.ns);
  view.qos = static_cast<Qos>(config.qos);
  view.retain = config.retain != 0;
  view.topic_name = text_of(config.topic);
  view.properties = properties;
  view.payload = {static_cast<const std::byte*>(config.payload.data), config.payload.size};
  out = Message::create(view);
  return nullptr;
}

extern "C" {

void mqttq_message_config_init(mqttq_message_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_message_create(const mqttq_message_config* config, mqttq_message** out, mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_message_config known;
    if (!config || !out) return fail(error, MQTTQ_EINVAL, "config or out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    MessageView view;
    if (known.has_message_expiry) view.expires_at = clock_now() + int64_t{known.message_expiry_s} * kSecond;
    MessageRef message;
    if (const char* wrong = make_message(known, view, message)) return fail(error, MQTTQ_EINVAL, wrong);
    if (!message) return fail(error, MQTTQ_ENOMEM, "out of memory");
    *out = reinterpret_cast<mqttq_message*>(message.detach());
    return MQTTQ_OK;
  });
}

mqttq_message* mqttq_message_hold(mqttq_message* message) {
  MessageRef::share(*reinterpret_cast<Message*>(message)).detach();
  return message;
}

void mqttq_message_release(mqttq_message* message) { MessageRef(reinterpret_cast<Message*>(message)); }

mqttq_bytes mqttq_message_topic(const mqttq_message* message) { return bytes_of(of(message).topic_name()); }

mqttq_bytes mqttq_message_payload(const mqttq_message* message) {
  const Bytes payload = of(message).payload();
  return {payload.data(), payload.size()};
}

uint8_t mqttq_message_qos(const mqttq_message* message) { return static_cast<uint8_t>(of(message).qos()); }

uint8_t mqttq_message_retain(const mqttq_message* message) { return of(message).view().retain; }

mqttq_bytes mqttq_message_content_type(const mqttq_message* message) { return find(message, PropertyId::ContentType); }

mqttq_bytes mqttq_message_response_topic(const mqttq_message* message) {
  return find(message, PropertyId::ResponseTopic);
}

mqttq_bytes mqttq_message_correlation_data(const mqttq_message* message) {
  return find(message, PropertyId::CorrelationData);
}

int mqttq_message_user_property(const mqttq_message* message, size_t index, mqttq_user_property* out) {
  codec::PropertyReader reader(of(message).view().properties);
  for (std::string_view name, value; reader.next_user(name, value);) {
    if (index-- > 0) continue;
    *out = {bytes_of(name), bytes_of(value)};
    return 1;
  }
  return 0;
}

}  // extern "C"
