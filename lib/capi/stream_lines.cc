#include "capi/stream_lines.h"

#include <fmt/format.h>

#include <iterator>

#include "base/base64.h"
#include "capi/handles.h"
#include "capi/host_message.h"
#include "codec/packets.h"
#include "message/topic.h"
#include "store/stored_message.h"
#ifdef MQTTQ_WITH_JSON
#include <simdjson.h>
#endif

namespace mqttq::capi {

namespace {

void append_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

// What is no UTF-8 goes under a name of its own, in base64.
void append_bytes(std::string_view name, Bytes bytes, std::string& out) {
  const bool text = is_valid_utf8(as_text(bytes));
  fmt::format_to(std::back_inserter(out), ",\"{}{}\":", name, text ? "" : "_base64");
  if (text) return append_string(as_text(bytes), out);
  out += '"';
  append_base64(bytes, out);
  out += '"';
}

void append_properties(Bytes properties, std::string& out) {
  codec::PropertyReader reader(properties);
  bool any = false;
  for (codec::Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::PayloadFormatIndicator:
        if (property.number) out += ",\"payload_is_text\":true";
        break;
      case PropertyId::ContentType: append_bytes("content_type", property.data, out); break;
      case PropertyId::ResponseTopic: append_bytes("response_topic", property.data, out); break;
      case PropertyId::CorrelationData: append_bytes("correlation_data", property.data, out); break;
      default: break;
    }
  }
  codec::PropertyReader again(properties);
  for (std::string_view name, value; again.next_user(name, value);) {
    out += std::exchange(any, true) ? ",[" : ",\"user_properties\":[[";
    append_string(name, out);
    out += ',';
    append_string(value, out);
    out += ']';
  }
  if (any) out += ']';
}

}  // namespace

void append_line(const Message& message, const StreamAt& at, int64_t unix_offset_ms, std::string& out) {
  const MessageView view = message.view();
  fmt::format_to(std::back_inserter(out), "{{\"position\":{},\"time_us\":{},\"topic\":", at.position, at.us);
  append_string(view.topic_name, out);
  fmt::format_to(std::back_inserter(out), ",\"qos\":{}", static_cast<unsigned>(view.qos));
  if (view.retain) out += ",\"retain\":true";
  if (view.publisher) fmt::format_to(std::back_inserter(out), ",\"publisher\":{}", view.publisher);
  if (view.expires()) {
    fmt::format_to(std::back_inserter(out), ",\"expires_ms\":{}", to_unix_ms(view.expires_at, unix_offset_ms));
  }
  append_properties(view.properties, out);
  append_bytes("payload", view.payload, out);
  out += "}\n";
}

#ifdef MQTTQ_WITH_JSON
namespace {

using Json = simdjson::dom::element;

// What a line says.
struct Line {
  mqttq_message_config config{};
  MessageView view;  // publisher, expiry
  uint64_t time_us = 0, expires_ms = UINT64_MAX;
  std::vector<std::byte> payload, correlation_data;
  std::vector<mqttq_user_property> user_properties;
};

bool read_text(const Json& json, mqttq_bytes& out) {
  std::string_view text;
  if (json.get_string().get(text)) return false;
  out = {text.data(), text.size()};
  return true;
}

bool read_binary(const Json& json, std::vector<std::byte>& kept, mqttq_bytes& out) {
  std::string_view text;
  if (json.get_string().get(text) || !read_base64(text, kept)) return false;
  out = {kept.data(), kept.size()};
  return true;
}

bool read_flag(const Json& json, uint8_t& out) {
  bool flag = false;
  if (json.get_bool().get(flag)) return false;
  out = flag;
  return true;
}

bool read_number(const Json& json, uint64_t max, uint64_t& out) { return !json.get_uint64().get(out) && out <= max; }

bool read_user_properties(const Json& json, std::vector<mqttq_user_property>& out) {
  simdjson::dom::array pairs;
  if (json.get_array().get(pairs)) return false;
  for (const Json& pair : pairs) {
    simdjson::dom::array two;
    mqttq_user_property property{};
    if (pair.get_array().get(two) || two.size() != 2 || !read_text(two.at(0), property.name) ||
        !read_text(two.at(1), property.value)) {
      return false;
    }
    out.push_back(property);
  }
  return true;
}

struct Field {
  std::string_view name;
  bool (*read)(const Json& json, Line& line);
};
constexpr Field kFields[] = {
    {"position", [](const Json&, Line&) { return true; }},  // it gets another one
    {"time_us",
     [](const Json& json, Line& line) {
       const bool good = read_number(json, INT64_MAX, line.time_us);
       line.time_us = std::max<uint64_t>(line.time_us, 1);  // 0 would be none
       return good;
     }},
    {"topic", [](const Json& json, Line& line) { return read_text(json, line.config.topic); }},
    {"qos",
     [](const Json& json, Line& line) {
       uint64_t qos = 0;
       const bool good = read_number(json, 2, qos);
       line.config.qos = static_cast<uint8_t>(qos);
       return good;
     }},
    {"retain", [](const Json& json, Line& line) { return read_flag(json, line.config.retain); }},
    {"publisher", [](const Json& json, Line& line) { return read_number(json, UINT64_MAX, line.view.publisher); }},
    {"expires_ms", [](const Json& json, Line& line) { return read_number(json, INT64_MAX - 1, line.expires_ms); }},
    {"payload_is_text", [](const Json& json, Line& line) { return read_flag(json, line.config.payload_is_text); }},
    {"content_type", [](const Json& json, Line& line) { return read_text(json, line.config.content_type); }},
    {"response_topic", [](const Json& json, Line& line) { return read_text(json, line.config.response_topic); }},
    {"correlation_data", [](const Json& json, Line& line) { return read_text(json, line.config.correlation_data); }},
    {"correlation_data_base64",
     [](const Json& json, Line& line) {
       return read_binary(json, line.correlation_data, line.config.correlation_data);
     }},
    {"user_properties", [](const Json& json, Line& line) { return read_user_properties(json, line.user_properties); }},
    {"payload", [](const Json& json, Line& line) { return read_text(json, line.config.payload); }},
    {"payload_base64",
     [](const Json& json, Line& line) { return read_binary(json, line.payload, line.config.payload); }},
};

// What is wrong with it, or nothing.
std::string read_line(const Json& json, NamespaceId namespace_id, int64_t unix_offset_ms, MessageRef& out) {
  simdjson::dom::object object;
  if (json.get_object().get(object)) return "no object";
  Line line;
  uint32_t seen = 0;
  for (const auto& [key, value] : object) {
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields),
                                     [&, name = key](const Field& one) { return one.name == name; });
    if (field == std::end(kFields)) return fmt::format("{}: there is no such field", key);
    const uint32_t bit = 1u << (field - kFields);
    // "payload" and "payload_base64" are one.
    const std::string_view name = field->name.substr(0, field->name.find("_base64"));
    for (const Field& other : kFields) {
      if (other.name.substr(0, other.name.find("_base64")) == name && seen >> (&other - kFields) & 1) {
        return fmt::format("{}: twice", name);
      }
    }
    seen |= bit;
    if (!field->read(value, line)) return fmt::format("{}: not what it may be", key);
  }
  line.config.user_properties = line.user_properties.data();
  line.config.user_property_count = line.user_properties.size();
  if (line.expires_ms != UINT64_MAX) {
    line.view.expires_at = from_unix_ms(static_cast<int64_t>(line.expires_ms), unix_offset_ms);
  }
  mqttq_namespace of{namespace_id, {}};
  line.config.ns = &of;
  if (const char* wrong = make_message(line.config, line.view, out)) return wrong;
  if (!out) throw std::bad_alloc();
  out->set_logged(static_cast<int64_t>(line.time_us));
  return {};
}

}  // namespace

bool reads_lines() noexcept { return true; }

std::string read_lines(std::string_view text, NamespaceId namespace_id, int64_t unix_offset_ms,
                       std::vector<ReadLine>& out) {
  simdjson::dom::parser parser;
  for (uint64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line == "\r") continue;
    Json json;
    const simdjson::error_code error = parser.parse(line.data(), line.size()).get(json);
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();
    if (error) return fmt::format("line {}: no JSON: {}", number, simdjson::error_message(error));
    MessageRef message;
    const std::string wrong = read_line(json, namespace_id, unix_offset_ms, message);
    if (!wrong.empty()) return fmt::format("line {}: {}", number, wrong);
    out.push_back({std::move(message), number});
  }
  return {};
}
#else
bool reads_lines() noexcept { return false; }

std::string read_lines(std::string_view, NamespaceId, int64_t, std::vector<ReadLine>&) { return {}; }
#endif

}  // namespace mqttq::capi
