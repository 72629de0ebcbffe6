// The message of a client that comes or goes: a topic that is one, from which the client id can be read, and JSON.
#include "session/client_event.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "base/random.h"
#include "heap.h"
#include "message/topic.h"

namespace mqttq {

namespace {

std::string as_level(std::string_view client_id) {
  Array<char> level;
  REQUIRE(append_as_level(client_id, level));
  return {level.begin(), level.count()};
}

// What a reader of these topics does.
std::string unescaped(const std::string& level) {
  std::string text;
  for (size_t i = 0; i < level.size(); ++i) {
    if (level[i] != '%') {
      text += level[i];
      continue;
    }
    text += static_cast<char>(std::stoi(level.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return text;
}

std::string payload_of(const ClientEvent& event) {
  bool fits = false;
  const MessageRef message = make_client_event(event, fits);
  REQUIRE(fits);
  REQUIRE(message);
  return std::string(as_text(message->payload()));
}

}  // namespace

TEST_CASE("a client id is one level of a topic", "[session]") {
  CHECK(as_level("meter-7") == "meter-7");
  CHECK(as_level("a/b+c#d%e") == "a%2Fb%2Bc%23d%25e");
  CHECK(as_level("\x01\x1f\x7f ~") == "%01%1F%7F ~");
  CHECK(as_level("\xC2\x80|\xC2\x9F|\xC2\xA0") == "%C2%80|%C2%9F|\xC2\xA0");  // U+0080, U+009F, U+00A0
  CHECK(as_level("\xC3\x80\xE2\x82\xAC") == "\xC3\x80\xE2\x82\xAC");          // their last bytes are no controls
  CHECK(as_level("$SYS") == "$SYS");
  CHECK(as_level("%2F") == "%252F");  // not what "/" becomes
}

TEST_CASE("any client id can be read from its level", "[session]") {
  static constexpr const char* kPieces[] = {
      "a", "%", "/", "+", "#", "\x01", "\x1f", "\x7f", "\xC2\x85", "\xC3\x85", "\xE2\x82\xAC", "2F"};
  Random random(7);
  for (int i = 0; i < 2'000; ++i) {
    std::string client_id;
    for (uint64_t left = 1 + random.below(8); left > 0; --left) client_id += kPieces[random.below(std::size(kPieces))];
    const std::string level = as_level(client_id);
    REQUIRE(unescaped(level) == client_id);
    REQUIRE(is_valid_topic_name(level));
    REQUIRE(level.find('/') == std::string::npos);
    for (const char c : level) REQUIRE((static_cast<unsigned char>(c) >= 0x20 && c != 0x7F));
    REQUIRE(level.find("\xC2\x85") == std::string::npos);
  }
}

TEST_CASE("a client that comes is told with what it came with", "[session]") {
  ClientEvent event;
  event.client_id = "a/b";
  event.user_name = "ann";
  event.address = "192.0.2.1:50000";
  event.version = ProtocolVersion::V311;
  event.keep_alive_s = 60;
  event.clean_start = true;
  event.session_expiry_s = 0xFFFF'FFFF;
  event.session_present = true;
  event.connected_at_ms = 1'767'225'600'123;
  bool fits = false;
  const MessageRef message = make_client_event(event, fits);
  REQUIRE(message);
  CHECK(message->topic_name() == "$SYS/broker/clients/a%2Fb/connected");
  CHECK(as_text(message->payload()) ==
        R"({"client_id":"a/b","username":"ann","address":"192.0.2.1:50000","protocol_version":4,"keep_alive_s":60,)"
        R"("clean_start":true,"session_expiry_s":4294967295,"session_present":true,"connected_at_ms":1767225600123})");
  CHECK(message->qos() == Qos::AtMostOnce);
  CHECK_FALSE(message->view().retain);
  CHECK(message->view().publisher == 0);
}

TEST_CASE("a client that goes is told with why and after how long", "[session]") {
  ClientEvent event;
  event.client_id = "c";
  event.end = ClientEvent::End{"session taken over", 0x8E, 1500};
  bool fits = false;
  const MessageRef message = make_client_event(event, fits);
  REQUIRE(message);
  CHECK(message->topic_name() == "$SYS/broker/clients/c/disconnected");
  CHECK(as_text(message->payload()) ==
        R"({"client_id":"c","username":null,"address":"","protocol_version":5,"keep_alive_s":0,"clean_start":false,)"
        R"("session_expiry_s":0,"session_present":false,"connected_at_ms":0,"reason":"session taken over",)"
        R"("reason_code":142,"duration_ms":1500})");
}

TEST_CASE("texts that clients choose stay inside their quotes", "[session]") {
  ClientEvent event;
  event.client_id = "\"}\\\n\x1f\x7f\xE2\x82\xAC";
  event.user_name = "";
  const std::string payload = payload_of(event);
  CHECK(
      payload.starts_with("{\"client_id\":\"\\\"}\\\\\\u000a\\u001f\x7f\xE2\x82\xAC\",\"username\":\"\",\"address\""));
}

TEST_CASE("a client id whose topic is too long has no message", "[session]") {
  ClientEvent event;
  const size_t around = std::string_view("$SYS/broker/clients//connected").size();
  for (const char* piece : {"x", "+"}) {
    const size_t each = piece[0] == '+' ? 3 : 1;
    const size_t most = (65'535 - around) / each;
    std::string client_id(most, piece[0]);
    event.client_id = client_id;
    bool fits = false;
    CHECK(make_client_event(event, fits));
    CHECK(fits);
    client_id += piece;
    event.client_id = client_id;
    CHECK_FALSE(make_client_event(event, fits));
    CHECK_FALSE(fits);
  }
}

TEST_CASE("without memory there is no message, and nothing is left over", "[session]") {
  ClientEvent event;
  event.client_id = "client/+";
  event.end = ClientEvent::End{"normal disconnection", 0, 1};
  const int64_t before = heap_blocks();
  int refused = 0;
  for (int64_t k = 0;; ++k) {
    bool fits = false;
    MessageRef message;
    {
      const FailingHeap failing(k);
      message = make_client_event(event, fits);
    }
    CHECK(fits);
    if (message) break;
    ++refused;
  }
  CHECK(refused >= 3);
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
