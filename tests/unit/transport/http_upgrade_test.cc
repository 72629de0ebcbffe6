// The opening handshake: which requests become a WebSocket, and what the others are told.
#include "transport/http_upgrade.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <utility>
#include <vector>

namespace mqttq {

namespace {

using FieldList = std::vector<std::pair<std::string, std::string>>;

const FieldList kFields = {{"Host", "broker.example:8083"}, {"Upgrade", "websocket"},
                           {"Connection", "Upgrade"},       {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                           {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Protocol", "mqtt"}};

std::string request_of(const FieldList& fields, const std::string& line = "GET /mqtt HTTP/1.1") {
  std::string text = line + "\r\n";
  for (const auto& [name, value] : fields) text += name + ": " + value + "\r\n";
  return text + "\r\n";
}

// A good request but for one field. "": the field is left out.
std::string with(const std::string& name, const std::string& value) {
  FieldList fields = kFields;
  bool known = false;
  for (auto& [field, now] : fields) {
    if (field != name) continue;
    known = true;
    now = value;
  }
  if (!known) fields.emplace_back(name, value);
  std::erase_if(fields, [](const auto& field) { return field.second.empty(); });
  return request_of(fields);
}

std::string twice(const std::string& name, const std::string& value) {
  FieldList fields = kFields;
  fields.emplace_back(name, value);
  return request_of(fields);
}

std::string answer_to(std::string_view request, std::string_view path = "/mqtt") {
  char out[kUpgradeAnswerMax];
  return std::string(out, write_upgrade_answer(judge_upgrade(request, path), out));
}

int status_of(std::string_view request, std::string_view path = "/mqtt") {
  const std::string answer = answer_to(request, path);
  REQUIRE(answer.starts_with("HTTP/1.1 "));
  return std::stoi(answer.substr(9, 3));
}

bool has_line(const std::string& answer, const std::string& line) {
  return answer.find("\r\n" + line + "\r\n") != std::string::npos;
}

}  // namespace

#ifdef MQTTQ_WITH_TLS
TEST_CASE("a request for MQTT is answered as RFC 6455 says", "[transport][MQTT-6.0.0-4][MQTT311-6.0.0-4]") {
  // Key and answer of the example in RFC 6455 1.3.
  CHECK(answer_to(request_of(kFields)) ==
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n");
}
#endif

TEST_CASE("of the subprotocols offered, mqtt is chosen before the one of 3.1",
          "[transport][MQTT-6.0.0-4][MQTT311-6.0.0-4]") {
  for (const auto* offer : {"mqtt", "chat, mqtt", "mqttv3.1,mqtt", "mqtt , mqttv3.1", " mqtt"}) {
    CHECK(has_line(answer_to(with("Sec-WebSocket-Protocol", offer)), "Sec-WebSocket-Protocol: mqtt"));
  }
  for (const auto* offer : {"mqttv3.1", "mqttv3.1, MQTT", "amqp,mqttv3.1"}) {
    CHECK(has_line(answer_to(with("Sec-WebSocket-Protocol", offer)), "Sec-WebSocket-Protocol: mqttv3.1"));
  }
  CHECK(has_line(answer_to(twice("Sec-WebSocket-Protocol", "x")), "Sec-WebSocket-Protocol: mqtt"));
  for (const auto* offer : {"", "MQTT", "mqtt5", "mqtt/3", "xmqtt", "mqtt mqtt"}) {
    CHECK(status_of(with("Sec-WebSocket-Protocol", offer)) == 400);
  }
}

TEST_CASE("names of fields and their tokens are read in any case, in lists, on several lines", "[transport]") {
  CHECK(status_of(with("Upgrade", "WebSocket")) == 101);
  CHECK(status_of(with("Upgrade", "h2c, WEBSOCKET")) == 101);
  CHECK(status_of(with("Connection", "keep-alive, upgrade")) == 101);
  CHECK(status_of(with("Connection", "UPGRADE\t,close")) == 101);
  CHECK(status_of(twice("Connection", "keep-alive")) == 101);
  FieldList fields = kFields;
  for (auto& [name, value] : fields) {
    for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  CHECK(status_of(request_of(fields)) == 101);
  for (auto& [name, value] : fields) value = " \t" + value + "\t ";
  CHECK(status_of(request_of(fields)) == 101);
}

TEST_CASE("what a client adds to its request does no harm", "[transport]") {
  CHECK(status_of(with("Origin", "https://page.example")) == 101);
  CHECK(status_of(with("Sec-WebSocket-Extensions", "permessage-deflate")) == 101);
  CHECK(answer_to(with("Sec-WebSocket-Extensions", "permessage-deflate")).find("xtensions") == std::string::npos);
  CHECK(status_of(with("Cookie", "a=\xC3\xBC")) == 101);
  CHECK(status_of(with("Content-Length", "0")) == 101);
  CHECK(status_of(request_of(kFields, "GET /mqtt?token=1/2 HTTP/1.1")) == 101);
  CHECK(status_of(request_of(kFields, "GET http://broker.example/mqtt HTTP/1.1")) == 101);
  CHECK(status_of(request_of(kFields, "GET HTTP://broker.example:80/mqtt?x HTTP/1.1")) == 101);
}

TEST_CASE("another method or path is refused by its own status", "[transport]") {
  CHECK(status_of(request_of(kFields, "POST /mqtt HTTP/1.1")) == 405);
  CHECK(status_of(request_of(kFields, "get /mqtt HTTP/1.1")) == 405);
  CHECK(has_line(answer_to(request_of(kFields, "HEAD /mqtt HTTP/1.1")), "Allow: GET"));
  for (const auto* path : {"/", "/mqtt/", "/MQTT", "/mqtt2", "/m", "mqtt", "*", "http://broker.example",
                           "http://broker.example/", "http://mqtt", "/%6Dqtt", "/mqtt#x"}) {
    CHECK(status_of(request_of(kFields, "GET " + std::string(path) + " HTTP/1.1")) == 404);
  }
  CHECK(status_of(request_of(kFields, "GET /a/b HTTP/1.1"), "/a/b") == 101);
  CHECK(status_of(request_of(kFields, "GET http://broker.example HTTP/1.1"), "/") == 101);
}

TEST_CASE("another version of WebSocket is told the one we speak", "[transport]") {
  for (const auto* version : {"8", "0", "14", "13, 8", "013", "x"}) {
    const std::string answer = answer_to(with("Sec-WebSocket-Version", version));
    CHECK(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    CHECK(has_line(answer, "Sec-WebSocket-Version: 13"));
    CHECK(has_line(answer, "Upgrade: websocket"));
  }
}

TEST_CASE("a request that lacks something, or has it twice, is refused", "[transport]") {
  for (const auto& [name, value] : kFields) {
    CAPTURE(name);
    CHECK(status_of(with(name, "")) == 400);
  }
  CHECK(status_of(twice("Host", "broker.example")) == 400);
  CHECK(status_of(twice("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")) == 400);
  CHECK(status_of(twice("Sec-WebSocket-Version", "13")) == 400);
  CHECK(status_of(with("Upgrade", "websockets")) == 400);
  CHECK(status_of(with("Connection", "upgraded, close")) == 400);
  CHECK(status_of(with("Content-Length", "5")) == 400);
  CHECK(status_of(with("Transfer-Encoding", "chunked")) == 400);
  for (const auto* key :
       {"dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==a", "dGhlIHNhbXBsZSBub25jZQ=a",
        "dGhlIHNhbXBsZSBub25j====", "dGhlIHNhbXBsZSBub25jZ-==", "dGhlIHNhbXBsZSBub25jZSBhIGJpdCBsb25nZXI="}) {
    CAPTURE(key);
    CHECK(status_of(with("Sec-WebSocket-Key", key)) == 400);
  }
}

TEST_CASE("what is no request of HTTP/1.1 is refused", "[transport]") {
  for (const auto* line : {"", "GET", "GET /mqtt", "GET /mqtt HTTP/1.0", "GET /mqtt HTTP/2", "GET  /mqtt HTTP/1.1",
                           "GET /mqtt  HTTP/1.1", "GET /mqtt HTTP/1.1 ", " GET /mqtt HTTP/1.1", "G(T /mqtt HTTP/1.1",
                           "GET /m\tqtt HTTP/1.1", "GET /mqtt\n HTTP/1.1", "GET /m\xC3\xBCtt HTTP/1.1"}) {
    CAPTURE(line);
    CHECK(status_of(request_of(kFields, line)) == 400);
  }
  const std::string good = request_of(kFields);
  for (const auto* field :
       {"x", ": x", "a b: x", "a : x", " a: x", "\ta: x", "a: x\ny", "a: x\ry", "a: \x01", "a: \x7f", "a\n: x"}) {
    CAPTURE(field);
    CHECK(status_of(good.substr(0, good.size() - 2) + field + "\r\n\r\n") == 400);
  }
  CHECK(status_of({}) == 400);
  CHECK(status_of("\r\n\r\n") == 400);
}

TEST_CASE("a refusal is a whole answer with a text for people, and closes the connection", "[transport]") {
  for (const UpgradeFault* fault : {&kUpgradeRequestMalformed, &kUpgradeRequestTooLong}) {
    char out[kUpgradeAnswerMax];
    const std::string answer(out, write_upgrade_answer({fault, {}, {}}, out));
    CHECK(answer.starts_with("HTTP/1.1 " + std::to_string(fault->status) + ' ' + fault->phrase + "\r\n"));
    CHECK(has_line(answer, "Connection: close"));
    const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
    CHECK(body == std::string(fault->text) + '\n');
    CHECK(has_line(answer, "Content-Length: " + std::to_string(body.size())));
  }
}

TEST_CASE("every answer fits into the room for it", "[transport]") {
  for (const auto& [name, value] : kFields) {
    for (const auto* other : {"", "x"}) CHECK(answer_to(with(name, other)).size() < kUpgradeAnswerMax / 2);
  }
  CHECK(answer_to(request_of(kFields)).size() < kUpgradeAnswerMax / 2);
}

TEST_CASE("another protocol is known by its first byte", "[transport]") {
  CHECK(begins_as_request(""));
  CHECK(begins_as_request("G"));
  CHECK(begins_as_request("post"));
  CHECK_FALSE(begins_as_request("\x10\x10"));  // MQTT's CONNECT
  CHECK_FALSE(begins_as_request("\x16\x03"));  // TLS
  CHECK_FALSE(begins_as_request("\r\nGET"));
}

TEST_CASE("a listener's path is one that a request can name", "[transport]") {
  for (const auto* path : {"/", "/mqtt", "/a/b", "/%20", "//"}) CHECK(is_websocket_path(path));
  for (const auto* path : {"", "mqtt", "/a b", "/a?b", "/a#b", "/\xC3\xBC", "/\t", "/\x7f"}) {
    CHECK_FALSE(is_websocket_path(path));
  }
}

}  // namespace mqttq
