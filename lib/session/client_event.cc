// See client_event.h.
#include "session/client_event.h"

#include <charconv>

#include "message/topic.h"

namespace mqttq {

namespace {

constexpr char kHexUpper[] = "0123456789ABCDEF", kHexLower[] = "0123456789abcdef";

// Text that grows until the allocator refuses; what comes after that is left out.
class Writer {
 public:
  explicit Writer(Array<char>& out) noexcept : out_(out) {}
  bool complete() const noexcept { return complete_; }

  void put(std::string_view text) noexcept {
    const auto needed = out_.count() + static_cast<uint32_t>(text.size());
    if (needed > out_.capacity() && !out_.reserve(needed * 2) && !out_.reserve(needed)) complete_ = false;
    complete_ = complete_ && out_.append({text.data(), text.size()});
  }
  void member(std::string_view name) noexcept {
    put(first_ ? "{\"" : ",\"");
    first_ = false;
    put(name);
    put("\":");
  }
  void number(std::string_view name, int64_t value) noexcept {
    char digits[24];
    member(name);
    put({digits, static_cast<size_t>(std::to_chars(digits, digits + sizeof digits, value).ptr - digits)});
  }
  void boolean(std::string_view name, bool value) noexcept {
    member(name);
    put(value ? "true" : "false");
  }
  // RFC 8259 asks for no more than quotes, backslashes and what lies below U+0020.
  void string(std::string_view name, std::string_view text) noexcept {
    member(name);
    put("\"");
    size_t from = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c >= 0x20 && c != '"' && c != '\\') continue;
      put(text.substr(from, i - from));
      from = i + 1;
      if (c < 0x20) {
        const char escape[] = {'\\', 'u', '0', '0', kHexLower[c >> 4], kHexLower[c & 15]};
        put({escape, sizeof escape});
      } else {
        const char escape[] = {'\\', static_cast<char>(c)};
        put({escape, sizeof escape});
      }
    }
    put(text.substr(from));
    put("\"");
  }

 private:
  Array<char>& out_;
  bool complete_ = true;
  bool first_ = true;
};

}  // namespace

bool append_as_level(std::string_view client_id, Array<char>& out) noexcept {
  Writer writer(out);
  size_t from = 0;
  for (size_t i = 0; i < client_id.size();) {
    const auto c = static_cast<unsigned char>(client_id[i]);
    const unsigned next = i + 1 < client_id.size() ? static_cast<unsigned char>(client_id[i + 1]) : 0u;
    size_t escaped = 0;
    if (c < 0x20 || c == 0x7F || c == '%' || c == '/' || c == '+' || c == '#') escaped = 1;
    if (c == 0xC2 && next >= 0x80 && next <= 0x9F) escaped = 2;  // U+0080 to U+009F
    if (!escaped) {
      ++i;
      continue;
    }
    writer.put(client_id.substr(from, i - from));
    for (const size_t end = i + escaped; i < end; ++i) {
      const auto byte = static_cast<unsigned char>(client_id[i]);
      const char escape[] = {'%', kHexUpper[byte >> 4], kHexUpper[byte & 15]};
      writer.put({escape, sizeof escape});
    }
    from = i;
  }
  writer.put(client_id.substr(from));
  return writer.complete();
}

MessageRef make_client_event(const ClientEvent& event, bool& topic_fits) noexcept {
  Array<char> topic, payload;
  topic_fits = true;
  Writer name(topic);
  name.put("$SYS/broker/clients/");
  if (!name.complete() || !append_as_level(event.client_id, topic)) return {};
  name.put(event.end ? "/disconnected" : "/connected");
  topic_fits = topic.count() <= kTopicSizeMax;
  if (!topic_fits || !name.complete()) return {};

  Writer json(payload);
  json.string("client_id", event.client_id);
  if (event.user_name) {
    json.string("username", *event.user_name);
  } else {
    json.member("username");
    json.put("null");
  }
  json.string("address", event.address);
  json.number("protocol_version", static_cast<int64_t>(event.version));
  json.number("keep_alive_s", event.keep_alive_s);
  json.boolean("clean_start", event.clean_start);
  json.number("session_expiry_s", event.session_expiry_s);
  json.boolean("session_present", event.session_present);
  json.number("connected_at_ms", event.connected_at_ms);
  if (event.end) {
    json.string("reason", event.end->reason);
    json.number("reason_code", event.end->reason_code);
    json.number("duration_ms", event.end->duration_ms);
  }
  json.put("}");
  if (!json.complete()) return {};

  // Payload Format Indicator (UTF-8) and Content Type (MQTT5 3.3.2.3.2, 3.3.2.3.9).
  static constexpr std::string_view kProperties(
      "\x01\x01\x03\x00\x10"
      "application/json",
      21);
  MessageView view;
  view.topic_name = {topic.begin(), topic.count()};
  view.properties = as_bytes(kProperties);
  view.payload = as_bytes(std::string_view(payload.begin(), payload.count()));
  return Message::create(view);
}

}  // namespace mqttq
