// Keys: what is an expression, and what it finds in a message.
#include "router/message_key.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>
#include <vector>

#include "codec/packets.h"
#include "codec/writer.h"
#include "heap.h"
#include "message/topic.h"

namespace mqttq {

namespace {

using Kind = MessageKey::Kind;
using namespace std::string_view_literals;

#ifdef MQTTQ_WITH_JSON
constexpr bool kWithJson = true;
#else
constexpr bool kWithJson = false;
#endif

MessageKey parsed(std::string_view expression) {
  MessageKey key;
  REQUIRE(MessageKey::parse(expression, key) == Status::Ok);
  return key;
}

// What a message's key is, as one text; "-": it has none.
std::string key_of(const MessageKey& key, const MessageView& message, uint64_t seed = 5) {
  TextKey found;
  return key.of(message, seed, found) ? std::to_string(found.first) + "/" + std::to_string(found.second) : "-";
}
std::string of_topic(std::string_view expression, std::string_view topic_name) {
  MessageView message;
  message.topic_name = topic_name;
  return key_of(parsed(expression), message);
}
// In a payload.
std::string at(std::string_view pointer, std::string_view payload) {
  MessageView message;
  message.payload = as_bytes(payload);
  return key_of(parsed("json:" + std::string(pointer)), message);
}
std::string at_a(std::string_view value) { return at("/a", R"({"a":)" + std::string(value) + "}"); }

// What a text is as a key.
std::string text(std::string_view of) { return of_topic("topic", of); }

struct Properties {
  Properties& add(PropertyId id, std::string_view value) {
    out.u8(static_cast<uint8_t>(id));
    out.prefixed(value);
    return *this;
  }
  Properties& user(std::string_view name, std::string_view value) {
    add(PropertyId::UserProperty, name);
    out.prefixed(value);
    return *this;
  }
  std::string key(std::string_view name) const {
    MessageView message;
    message.properties = {bytes, out.size()};
    return key_of(parsed("user_property:" + std::string(name)), message);
  }
  std::byte bytes[256];
  codec::Writer out{bytes};
};

}  // namespace

// --- expressions

TEST_CASE("an expression of a key names a part of the message, and is kept as it is", "[queue]") {
  struct Case {
    std::string_view expression;
    Kind kind;
  };
  const auto [expression, kind] =
      GENERATE(Case{"", Kind::None}, Case{"client_id", Kind::ClientId}, Case{"topic", Kind::Topic},
               Case{"topic_level:1", Kind::TopicLevel}, Case{"topic_level:4294967295", Kind::TopicLevel},
               Case{"user_property:a", Kind::UserProperty}, Case{"user_property: :\xC3\xA4", Kind::UserProperty});
  CAPTURE(expression);
  MessageKey key = parsed("topic");
  REQUIRE(MessageKey::parse(expression, key) == Status::Ok);
  CHECK(key.kind() == kind);
  CHECK(key.on() == (kind != Kind::None));
  CHECK(key.expression() == expression);
}

TEST_CASE("a JSON pointer may have any names, with their tildes and slashes escaped", "[queue]") {
  const std::string_view expression =
      GENERATE("json:/", "json:/a", "json:/a/0/b", "json://", "json:/a~0b~1c", "json:/~01", "json:/\xC3\xA4 \"\\");
  CAPTURE(expression);
  MessageKey key;
  CHECK(MessageKey::parse(expression, key) == (kWithJson ? Status::Ok : Status::Unsupported));
  CHECK(key.kind() == (kWithJson ? Kind::Json : Kind::None));
  CHECK(key.expression() == (kWithJson ? expression : ""));
}

TEST_CASE("what is no expression of a key is invalid, and changes nothing", "[queue]") {
  const std::string_view expression = GENERATE(
      "client", "Topic", " topic", "topic ", ":", "client_id:", "client_id:a", "topic:", "topic:1", "topic_level",
      "topic_level:", "topic_level:0", "topic_level:00", "topic_level:-1", "topic_level:+1", "topic_level: 1",
      "topic_level:1 ", "topic_level:1.0", "topic_level:0x1", "topic_level:4294967296", "topic_level:a",
      "user_property", "user_property:", "user_property:\xFF", "json", "json:", "json:a", "json:a/b", "json:#/a",
      "json: /a", "json:/~", "json:/a~", "json:/a~2", "json:/~/a", "json:/~~0", "json:/\xC0\x80", "Json:/a");
  CAPTURE(expression);
  MessageKey key = parsed("topic");
  CHECK(MessageKey::parse(expression, key) == Status::Invalid);
  CHECK(key.kind() == Kind::Topic);
  CHECK(key.expression() == "topic");
}

TEST_CASE("an expression of a key is no longer than a text of MQTT", "[queue]") {
  const std::string longest = "user_property:" + std::string(65'535 - 14, 'n');
  CHECK(parsed(longest).expression() == longest);
  MessageKey key;
  CHECK(MessageKey::parse(longest + "n", key) == Status::Invalid);
}

TEST_CASE("an expression of a key that there is no memory for is not taken", "[queue]") {
  const int64_t before = heap_blocks();
  {
    MessageKey key = parsed("topic");
    FailingHeap none(0);
    CHECK(MessageKey::parse("client_id", key) == Status::NoMemory);
    CHECK(key.expression() == "topic");
  }
  CHECK(heap_blocks() == before);
}

// --- who, and where

TEST_CASE("without an expression no message has a key", "[queue]") { CHECK(of_topic("", "a") == "-"); }

TEST_CASE("the key by client is who published, whatever the seed, and a host has none", "[queue]") {
  const MessageKey key = parsed("client_id");
  MessageView message;
  CHECK(key_of(key, message) == "-");
  message.publisher = 7;
  const std::string seven = key_of(key, message);
  CHECK(seven != "-");
  CHECK(key_of(key, message, 6) == seven);
  message.topic_name = "other";
  CHECK(key_of(key, message) == seven);
  message.publisher = 8;
  CHECK(key_of(key, message) != seven);
}

TEST_CASE("the key by topic is the whole topic name", "[queue]") {
  CHECK(text("a/b") != "-");
  CHECK(text("a/b") == text("a/b"));
  for (const char* other : {"a", "a/", "a/b/", "/a/b", "A/b", "a/c"}) CHECK(text("a/b") != text(other));
}

TEST_CASE("keys under another seed are others", "[queue]") {
  MessageView message;
  message.topic_name = "a";
  const MessageKey key = parsed("topic");
  CHECK(key_of(key, message, 5) != key_of(key, message, 6));
}

TEST_CASE("the key by topic level is that level, which may be empty, or is not there", "[queue]") {
  const std::string_view topic = "a/b//c/";
  CHECK(of_topic("topic_level:1", topic) == text("a"));
  CHECK(of_topic("topic_level:2", topic) == text("b"));
  CHECK(of_topic("topic_level:3", topic) == text(""));
  CHECK(of_topic("topic_level:4", topic) == text("c"));
  CHECK(of_topic("topic_level:5", topic) == text(""));
  CHECK(of_topic("topic_level:6", topic) == "-");
  CHECK(of_topic("topic_level:4294967295", topic) == "-");
  CHECK(of_topic("topic_level:1", "/a") == text(""));
  CHECK(of_topic("topic_level:1", "a") == text("a"));
  CHECK(of_topic("topic_level:2", "a") == "-");
}

// --- user properties

TEST_CASE("the key by user property is the value of the first of its name", "[queue]") {
  Properties some;
  some.add(PropertyId::ContentType, "k").user("other", "x").user("k", "1").user("k", "2").user("empty", "");
  CHECK(some.key("k") == text("1"));
  CHECK(some.key("other") == text("x"));
  CHECK(some.key("empty") == text(""));
  for (const char* missing : {"K", "k ", "1", "ot", "others"}) CHECK(some.key(missing) == "-");
  CHECK(Properties().key("k") == "-");
}

TEST_CASE("the name of a user property may have colons", "[queue]") {
  Properties some;
  some.user("a", "1").user("a:b", "2");
  CHECK(some.key("a:b") == text("2"));
  CHECK(some.key("a") == text("1"));
}

// --- JSON

#ifdef MQTTQ_WITH_JSON

TEST_CASE("texts, numbers and truths in a payload are keys, each another one", "[queue]") {
  const std::vector<std::string> values{"\"a\"", "\"\"",     "\"1\"",     "1",        "0",    "-1",   "1.5",
                                        "1e3",   "\"true\"", "\"false\"", "\"null\"", "true", "false"};
  std::vector<std::string> keys;
  for (const std::string& value : values) {
    CAPTURE(value);
    keys.push_back(at_a(value));
    CHECK(keys.back() != "-");
    CHECK(at_a(value) == keys.back());
    CHECK(std::count(keys.begin(), keys.end(), keys.back()) == 1);
  }
  CHECK(at_a("\"a\"") == text("a"));
  CHECK(at_a("\"\"") == text(""));
}

TEST_CASE("null, objects and lists in a payload are no keys", "[queue]") {
  const char* value = GENERATE("null", "{}", "[]", R"({"a":1})", "[1]", R"(["a"])");
  CAPTURE(value);
  CHECK(at_a(value) == "-");
}

TEST_CASE("a number is a key by its value, whatever stands around it", "[queue]") {
  for (const char* around : {R"({"a":12})", "{ \"a\" : \r\n\t12 \r\n\t }", R"({"a":12,"b":1})", R"({"a":12 , "b":1})"})
    CHECK(at("/a", around) == at_a("12"));
  CHECK(at("/1", "[0, 12 ]") == at_a("12"));
  CHECK(at("/a", "{\"a\": true \n}") == at_a("true"));
  CHECK(at_a("9007199254740993") != at_a("9007199254740992"));
  for (const char* one : {"1.0", "1e0", "10e-1", "100E-2"}) CHECK(at_a(one) == at_a("1"));
  CHECK(at_a("1.5") == at_a("15e-1"));
  CHECK(at_a("1") != at_a(R"("1")"));
  CHECK(at_a("18446744073709551615") != at_a("18446744073709551614"));
  CHECK(at_a("-1") != at_a("1"));
  CHECK(at_a("123456789012345678901234567890") == "-");  // 64 bits do not hold it
}

TEST_CASE("a pointer leads through objects and lists", "[queue]") {
  const std::string_view payload =
      R"({"a": {"b": ["x", {"c": "y"}], "": "empty", "0": "zero"}, "": {"": "deep"}, "d": [[1, 2], ["z"]]})";
  CHECK(at("/a/b/0", payload) == text("x"));
  CHECK(at("/a/b/1/c", payload) == text("y"));
  CHECK(at("/a/", payload) == text("empty"));
  CHECK(at("/a/0", payload) == text("zero"));
  CHECK(at("//", payload) == text("deep"));
  CHECK(at("/d/1/0", payload) == text("z"));
  CHECK(at("/0", R"(["first"])") == text("first"));
}

TEST_CASE("what a pointer does not lead to is no key", "[queue]") {
  const std::string_view payload = R"({"a": {"b": ["x", "y"]}, "t": "text", "n": 1})";
  const char* pointer = GENERATE("/x", "/a/x", "/a/b/2", "/a/b/-", "/a/b/00", "/a/b/-1", "/a/b/x", "/a/b/ 0", "/a/b/",
                                 "/a/b/0/c", "/t/a", "/t/0", "/n/0", "/", "/A", "/a/b/4294967296");
  CAPTURE(pointer);
  CHECK(at(pointer, payload) == "-");
}

TEST_CASE("a pointer's escapes are a slash and a tilde", "[queue]") {
  const std::string_view payload = R"({"a/b": "slash", "a~b": "tilde", "~1": "both", "a": {"b": "nested"}})";
  CHECK(at("/a~1b", payload) == text("slash"));
  CHECK(at("/a~0b", payload) == text("tilde"));
  CHECK(at("/~01", payload) == text("both"));
  CHECK(at("/a/b", payload) == text("nested"));
}

TEST_CASE("texts in a payload are keys without their escapes", "[queue]") {
  CHECK(at_a(R"("\u0061\/")") == text("a/"));
  CHECK(at_a(R"("\"\\\b\f\n\r\t")") == text("\"\\\b\f\n\r\t"));
  CHECK(at_a(R"("\u00e4\ud83d\ude00")") == text("\xC3\xA4\xF0\x9F\x98\x80"));
  CHECK(at_a(R"("\u0000")") == text("\0"sv));
  CHECK(at_a(" \" a \" ") == text(" a "));
}

TEST_CASE("names in a payload are compared without their escapes", "[queue]") {
  const std::string_view name = GENERATE(R"(\u0061)", R"(\"\\)", R"(\u00e4)");
  const std::string_view pointer = name == R"(\u0061)" ? "/a" : name == R"(\"\\)" ? "/\"\\" : "/\xC3\xA4";
  CHECK(at(pointer, "{\"" + std::string(name) + "\":\"x\"}") == text("x"));
}

TEST_CASE("of two of the same name in a payload the first is the key", "[queue]") {
  CHECK(at("/a", R"({"a":"1","a":"2"})") == text("1"));
}

TEST_CASE("in a payload that is not JSON no key is found", "[queue]") {
  const std::string_view payload =
      GENERATE(""sv, " "sv, "a"sv, "\0"sv, "{"sv, "}"sv, "{\"a\""sv, "{\"a\":"sv, "{\"a\":}"sv, "{\"a\":\"b"sv,
               "{\"a\":\"b}"sv, "{a:1}"sv, "{'a':1}"sv, "{\"a\" 1}"sv, "{\"a\",1}"sv, "\"a\""sv, "1"sv, "true"sv,
               "null"sv, "[]"sv, "{}"sv, "{\"a\":\"\\x\"}"sv, "{\"a\":\"\\u12\"}"sv, "{\"a\":\"\\ud800\"}"sv,
               "{\"a\":\"\xFF\"}"sv, "{\"b\":\"\xC0\x80\",\"a\":1}"sv, "{\"a\":\"1\""sv, "{\"a\":bad}"sv,
               "{\"a\":NaN}"sv, "{\"a\":+1}"sv, "{\"a\":.5}"sv);
  CAPTURE(payload);
  CHECK(at("/a", payload) == "-");
}

TEST_CASE("what begins as a number or a truth and is none is no key", "[queue]") {
  const char* value = GENERATE("tru", "truex", "fals", "1x", "-", "01", "1.", "1e", "1 2");
  CAPTURE(value);
  CHECK(at_a(value) == "-");
}

TEST_CASE("a key is found in a large payload, and in a deep one", "[queue]") {
  const std::string wide = R"({"pad":")" + std::string(100'000, 'x') + R"(","a":"end"})";
  CHECK(at("/a", wide) == text("end"));
  const std::string deep = R"({"pad":)" + std::string(500, '[') + std::string(500, ']') + R"(,"a":"end"})";
  CHECK(at("/a", deep) == text("end"));
  const std::string deeper = R"({"pad":)" + std::string(100'000, '[');
  CHECK(at("/a", deeper) == "-");
}

#endif

}  // namespace mqttq
