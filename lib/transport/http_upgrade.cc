#include "transport/http_upgrade.h"

#include <fmt/format.h>

#ifdef MQTTQ_WITH_TLS
#include <mbedtls/sha1.h>
#endif

#include <algorithm>

#include "base/assert.h"

namespace mqttq {

const UpgradeFault kUpgradeRequestMalformed{400, "Bad Request", "", "not a request of HTTP/1.1"};
const UpgradeFault kUpgradeRequestTooLong{431, "Request Header Fields Too Large", "", "a request of more than 8 KiB"};

namespace {

const UpgradeFault kOtherMethod{405, "Method Not Allowed", "Allow: GET\r\n", "a method other than GET"};
const UpgradeFault kOtherPath{404, "Not Found", "", "there is nothing at this path"};
const UpgradeFault kNoHost{400, "Bad Request", "", "not one Host"};
const UpgradeFault kHasBody{400, "Bad Request", "", "a request with a body"};
const UpgradeFault kNoUpgrade{400, "Bad Request", "", "no Upgrade to websocket: this path speaks MQTT over WebSocket"};
const UpgradeFault kNoKey{400, "Bad Request", "", "not one Sec-WebSocket-Key of 16 bytes in base64"};
const UpgradeFault kNoVersion{400, "Bad Request", "", "not one Sec-WebSocket-Version"};
const UpgradeFault kOtherVersion{426, "Upgrade Required",
                                 "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                                 "a version of WebSocket other than 13"};
const UpgradeFault kNoSubprotocol{400, "Bad Request", "", "no subprotocol mqtt in Sec-WebSocket-Protocol"};

constexpr std::string_view kSubprotocol = "mqtt", kOldSubprotocol = "mqttv3.1";

bool is_letter(char c) noexcept { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Of a token (RFC 9110 5.6.2): a method, the name of a field.
bool is_token(std::string_view text) noexcept {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_letter(c) || is_digit(c) || kMarks.find(c) != kMarks.npos;
  });
}

// No control character stands in a field's value, tabulators apart.
bool is_value(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F; });
}

bool is_visible(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

bool same(std::string_view text, std::string_view in_lower_case) noexcept {
  return std::equal(text.begin(), text.end(), in_lower_case.begin(), in_lower_case.end(),
                    [](char a, char b) { return lower(a) == b; });
}

std::string_view trim(std::string_view text) noexcept {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// What stands before the first `mark`, which is cut off with it; all, when there is none.
std::string_view cut(std::string_view& text, std::string_view mark) noexcept {
  const size_t at = text.find(mark);
  const std::string_view front = text.substr(0, at);
  text = at == text.npos ? std::string_view() : text.substr(at + mark.size());
  return front;
}

// Is one of the items of a list `wanted`? fold: in any case.
bool lists(std::string_view value, std::string_view wanted, bool fold) noexcept {
  while (!value.empty()) {
    const std::string_view item = trim(cut(value, ","));
    if (fold ? same(item, wanted) : item == wanted) return true;
  }
  return false;
}

// Sixteen bytes are 22 characters and two that fill up.
bool is_key(std::string_view text) noexcept {
  return text.size() == 24 && text.ends_with("==") && std::all_of(text.begin(), text.end() - 2, [](char c) {
           return is_letter(c) || is_digit(c) || c == '+' || c == '/';
         });
}

struct RequestLine {
  std::string_view method, path;
};

bool read_request_line(std::string_view line, RequestLine& out) noexcept {
  out.method = cut(line, " ");
  std::string_view target = cut(line, " ");
  if (!is_token(out.method) || line != "HTTP/1.1" || target.empty() || !is_visible(target)) return false;
  if (same(target.substr(0, 7), "http://")) {  // as it is sent to a proxy; a server takes it too (RFC 9112 3.2.2)
    const size_t slash = target.find('/', 7);
    target = slash == target.npos ? std::string_view("/") : target.substr(slash);
  }
  out.path = cut(target, "?");
  return true;
}

// What the fields say, as far as it matters.
struct Fields {
  uint32_t hosts = 0, keys = 0, versions = 0;
  bool upgrade = false, connection = false, mqtt = false, old_mqtt = false, body = false;
  std::string_view key, version;
};

bool read_field(std::string_view line, Fields& out) noexcept {
  if (line.find(':') == line.npos) return false;
  const std::string_view name = cut(line, ":"), value = trim(line);
  if (!is_token(name) || !is_value(value)) return false;
  if (same(name, "host")) {
    out.hosts += 1;
  } else if (same(name, "upgrade")) {
    out.upgrade |= lists(value, "websocket", true);
  } else if (same(name, "connection")) {
    out.connection |= lists(value, "upgrade", true);
  } else if (same(name, "sec-websocket-key")) {
    out.keys += 1;
    out.key = value;
  } else if (same(name, "sec-websocket-version")) {
    out.versions += 1;
    out.version = value;
  } else if (same(name, "sec-websocket-protocol")) {
    out.mqtt |= lists(value, kSubprotocol, false);
    out.old_mqtt |= lists(value, kOldSubprotocol, false);
  } else if (same(name, "transfer-encoding") || (same(name, "content-length") && value != "0")) {
    out.body = true;  // would be read as frames
  }
  return true;
}

// Text of 4 characters for each 3 bytes (RFC 4648 4). Returns its size.
size_t encode_base64(std::span<const unsigned char> bytes, char* out) noexcept {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t size = 0;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t word = 0;
    for (size_t i = 0; i < 3; ++i) word = word << 8 | (i < count ? bytes[at + i] : 0u);
    for (size_t i = 0; i < 4; ++i) out[size++] = i <= count ? kDigits[word >> (18 - 6 * i) & 63] : '=';
  }
  return size;
}

// Sec-WebSocket-Accept (RFC 6455 4.2.2): who answers this has read the key as one of a WebSocket.
std::string_view accept_of(std::string_view key, std::span<char, 28> out) noexcept {
  constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char text[24 + kGuid.size()], digest[20] = {};
  MQTTQ_ASSERT(key.size() == 24);
  std::copy(kGuid.begin(), kGuid.end(), std::copy(key.begin(), key.end(), text));
#ifdef MQTTQ_WITH_TLS
  static_cast<void>(mbedtls_sha1(text, sizeof text, digest));  // fails in hardware only
#else
  static_cast<void>(text);
#endif
  return {out.data(), encode_base64(digest, out.data())};
}

}  // namespace

bool begins_as_request(std::string_view bytes) noexcept { return bytes.empty() || is_letter(bytes.front()); }

Upgrade judge_upgrade(std::string_view request, std::string_view path) noexcept {
  Upgrade upgrade;
  RequestLine line;
  Fields fields;
  std::string_view rest = request;
  bool good = read_request_line(cut(rest, "\r\n"), line);
  for (std::string_view field = cut(rest, "\r\n"); good && !field.empty(); field = cut(rest, "\r\n")) {
    good = read_field(field, fields);
  }
  upgrade.key = fields.key;
  upgrade.subprotocol = fields.mqtt ? kSubprotocol : kOldSubprotocol;
  const struct {
    bool holds;
    const UpgradeFault& otherwise;
  } kAsked[] = {
      {good, kUpgradeRequestMalformed},
      {line.method == "GET", kOtherMethod},
      {line.path == path, kOtherPath},
      {fields.hosts == 1, kNoHost},
      {!fields.body, kHasBody},
      {fields.upgrade && fields.connection, kNoUpgrade},
      {fields.versions == 1, kNoVersion},
      {fields.version == "13", kOtherVersion},
      {fields.keys == 1 && is_key(fields.key), kNoKey},
      {fields.mqtt || fields.old_mqtt, kNoSubprotocol},
  };
  for (const auto& [holds, otherwise] : kAsked) {
    if (!holds && !upgrade.fault) upgrade.fault = &otherwise;
  }
  return upgrade;
}

size_t write_upgrade_answer(const Upgrade& upgrade, std::span<char> out) noexcept {
  MQTTQ_ASSERT(out.size() >= kUpgradeAnswerMax);
  if (const UpgradeFault* fault = upgrade.fault) {
    return fmt::format_to_n(out.data(), out.size(),
                            "HTTP/1.1 {} {}\r\nConnection: close\r\n{}Content-Type: text/plain\r\n"
                            "Content-Length: {}\r\n\r\n{}\n",
                            fault->status, fault->phrase, fault->more_lines, std::string_view(fault->text).size() + 1,
                            fault->text)
        .size;
  }
  char accept[28];
  return fmt::format_to_n(out.data(), out.size(),
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
                          accept_of(upgrade.key, accept), upgrade.subprotocol)
      .size;
}

bool is_websocket_path(std::string_view path) noexcept {
  return path.starts_with('/') && is_visible(path) && path.find_first_of("?#") == path.npos;
}

}  // namespace mqttq
