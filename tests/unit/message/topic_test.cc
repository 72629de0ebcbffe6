// lib/message/topic.cc: names, filters, and which match.
#include "message/topic.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace mqttq {

TEST_CASE("a topic name has characters, and no wildcards among them",
          "[topic][MQTT-3.3.2-2][MQTT-4.7.3-1][MQTT311-3.3.2-2][MQTT311-4.7.3-1]") {
  for (const auto* name :
       {"a", "/", "//", "a/b", "/a", "a/", "a//b", "sport/tennis player1", " ", "$SYS/x", "\xC3\xA9/\xE2\x82\xAC"}) {
    CAPTURE(name);
    CHECK(is_valid_topic_name(name));
  }
  for (const auto* name :
       {"", "+", "#", "a/+", "a/#", "a+b", "a#", "\xC3\xA9/+", "sport/tennis/player1/+", "\xFF", "a/\xC3"}) {
    CAPTURE(name);
    CHECK_FALSE(is_valid_topic_name(name));
  }
  CHECK_FALSE(is_valid_topic_name(std::string_view("a\0b", 3)));  // [MQTT-4.7.3-2]
}

TEST_CASE("a wildcard or a U+0000 is found at every place of a name", "[topic][MQTT-3.3.2-2][MQTT-4.7.3-2]") {
  for (size_t size = 1; size < 40; size += 1) {
    std::string name(size, 'a');
    CHECK(is_valid_topic_name(name));
    for (size_t at = 0; at < size; at += 1) {
      for (const char c : {'+', '#', '\0', '\xFF'}) {
        name[at] = c;
        CHECK_FALSE(is_valid_topic_name(name));
        CHECK(has_wildcard(name) == (c == '+' || c == '#'));
      }
      name[at] = 'a';
    }
  }
}

TEST_CASE("no character but '+' and '#' is taken for a wildcard", "[topic]") {
  for (unsigned value = 0; value < 256; value += 1) {
    // In each place, so that neighbours cannot make each other suspicious.
    for (size_t at = 0; at < 9; at += 1) {
      std::string text = "\x22\x24\x2A\x2C\x23\x2B\xA3\xAB\x22";
      for (char& c : text) {
        if (c == '+' || c == '#') c = 'x';
      }
      text[at] = static_cast<char>(value);
      if (has_wildcard(text) != (value == '+' || value == '#')) {
        CAPTURE(value, at);
        CHECK(has_wildcard(text) == (value == '+' || value == '#'));
      }
    }
  }
  CHECK_FALSE(has_wildcard(""));
}

TEST_CASE("names and filters take at most 65 535 bytes", "[topic][MQTT-4.7.3-3][MQTT311-4.7.3-3]") {
  CHECK(is_valid_topic_name(std::string(65'535, 'a')));
  CHECK_FALSE(is_valid_topic_name(std::string(65'536, 'a')));
  CHECK(is_valid_topic_filter(std::string(65'535, 'a')));
  CHECK_FALSE(is_valid_topic_filter(std::string(65'536, 'a')));
}

TEST_CASE("'#' is the whole last level of a filter", "[topic][MQTT-4.7.1-1][MQTT311-4.7.1-2]") {
  for (const auto* filter : {"#", "/#", "a/#", "a/b/#", "+/#", "//#"}) {
    CAPTURE(filter);
    CHECK(is_valid_topic_filter(filter));
  }
  for (const auto* filter : {"a#", "#a", "#/", "#/a", "a/#/b", "a/b#", "##", "#/#", "a/#b"}) {
    CAPTURE(filter);
    CHECK_FALSE(is_valid_topic_filter(filter));
  }
}

TEST_CASE("'+' is a whole level of a filter, at any place", "[topic][MQTT-4.7.1-2][MQTT311-4.7.1-3]") {
  for (const auto* filter : {"+", "+/+", "/+", "+/", "a/+/b", "+/tennis/#", "a/+"}) {
    CAPTURE(filter);
    CHECK(is_valid_topic_filter(filter));
  }
  for (const auto* filter : {"a+", "+a", "a/b+", "a/+b/c", "++", "+/a+", "+#", "#+"}) {
    CAPTURE(filter);
    CHECK_FALSE(is_valid_topic_filter(filter));
  }
}

TEST_CASE("a filter has characters, all of them UTF-8", "[topic][MQTT-4.7.3-1][MQTT-4.7.3-2]") {
  CHECK_FALSE(is_valid_topic_filter(""));
  CHECK_FALSE(is_valid_topic_filter("\xC3/#"));
  CHECK_FALSE(is_valid_topic_filter(std::string_view("a\0", 2)));
  CHECK(is_valid_topic_filter("\xC3\xA9/+"));
}

TEST_CASE("levels are counted by what parts them", "[topic]") {
  CHECK(topic_level_count("") == 1);
  CHECK(topic_level_count("a") == 1);
  CHECK(topic_level_count("/") == 2);
  CHECK(topic_level_count("a/b/c") == 3);
  CHECK(topic_level_count("a//") == 3);
}

TEST_CASE("a filter without wildcards matches its own name only", "[topic][MQTT-4.7.3-4][MQTT311-4.7.3-4]") {
  CHECK(topic_matches("a/b", "a/b"));
  CHECK(topic_matches("/", "/"));
  CHECK(topic_matches("$SYS/x", "$SYS/x"));
  for (const auto* name : {"a", "a/", "a/b/", "a/b/c", "A/b", "/a/b", "a//b", "a/bc"}) {
    CAPTURE(name);
    CHECK_FALSE(topic_matches("a/b", name));
  }
  // The same letter, composed and decomposed.
  CHECK_FALSE(topic_matches("\xC3\xA9", "e\xCC\x81"));
}

TEST_CASE("'#' matches its parent and all below", "[topic][MQTT-4.7.1-1]") {
  for (const auto* name : {"a", "a/", "a/b", "a/b/c", "a//", "a/$x"}) {
    CAPTURE(name);
    CHECK(topic_matches("a/#", name));
    CHECK(topic_matches("#", name));
  }
  for (const auto* name : {"b", "ab", "b/a", "/a"}) {
    CAPTURE(name);
    CHECK_FALSE(topic_matches("a/#", name));
  }
  CHECK(topic_matches("/#", "/"));
  CHECK(topic_matches("/#", "/a"));
  CHECK_FALSE(topic_matches("/#", "a"));
}

TEST_CASE("'+' matches one level, which may be empty", "[topic][MQTT-4.7.1-2]") {
  CHECK(topic_matches("+", "a"));
  CHECK_FALSE(topic_matches("+", "a/b"));
  CHECK_FALSE(topic_matches("+", "/a"));
  CHECK(topic_matches("/+", "/a"));
  CHECK(topic_matches("+/+", "/a"));
  CHECK(topic_matches("+/+", "/"));
  CHECK(topic_matches("a/+", "a/"));
  CHECK_FALSE(topic_matches("a/+", "a"));
  CHECK(topic_matches("a/+/c", "a/b/c"));
  CHECK(topic_matches("a/+/c", "a//c"));
  CHECK_FALSE(topic_matches("a/+/c", "a/b/b/c"));
  CHECK(topic_matches("+/b/#", "a/b"));
  CHECK(topic_matches("+/#", "a"));
  CHECK_FALSE(topic_matches("+/+/#", "a"));
  CHECK_FALSE(topic_matches("a/+/c/d", "a/b/c"));
}

TEST_CASE("a filter that begins with a wildcard does not match what begins with '$'",
          "[topic][MQTT-4.7.2-1][MQTT311-4.7.2-1]") {
  for (const auto* filter : {"#", "+", "+/#", "+/monitor/Clients", "+/+/+"}) {
    CAPTURE(filter);
    CHECK_FALSE(topic_matches(filter, "$SYS/monitor/Clients"));
    CHECK_FALSE(topic_matches(filter, "$SYS"));
  }
  CHECK(topic_matches("$SYS/#", "$SYS/monitor/Clients"));
  CHECK(topic_matches("$SYS/+/Clients", "$SYS/monitor/Clients"));
  CHECK(topic_matches("#", "a/$SYS"));
}

TEST_CASE("a shared filter is taken apart", "[topic][MQTT-4.8.2-1]") {
  const auto shared = parse_shared_filter("$share/group/a/+/#");
  CHECK(shared.kind == SharedFilter::Kind::Shared);
  CHECK(shared.group == "group");
  CHECK(shared.topic_filter == "a/+/#");
  CHECK(parse_shared_filter("$share/g/#").topic_filter == "#");
  CHECK(parse_shared_filter("$share/g//").topic_filter == "/");
}

TEST_CASE("a shared filter needs a group without wildcards, and a filter", "[topic][MQTT-4.8.2-1][MQTT-4.8.2-2]") {
  for (const auto* text : {"$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a",
                           "$share/g+/a", "$share/#", "$share/g/a#", "$share/g/a/#/b", "$share/g/+a"}) {
    CAPTURE(text);
    CHECK(parse_shared_filter(text).kind == SharedFilter::Kind::Invalid);
  }
}

TEST_CASE("what does not begin with $share/ is not shared", "[topic]") {
  for (const auto* text : {"a/b", "$share", "$Share/g/a", "$shared/g/a", "/$share/g/a", "", "$SYS/#"}) {
    CAPTURE(text);
    const auto shared = parse_shared_filter(text);
    CHECK(shared.kind == SharedFilter::Kind::NotShared);
    CHECK(shared.group.empty());
    CHECK(shared.topic_filter == text);
  }
}

TEST_CASE("a delayed topic is taken apart, or is none", "[topic]") {
  using Kind = DelayedTopic::Kind;
  const DelayedTopic good = parse_delayed_topic("$delayed/15/a/b");
  CHECK(good.kind == Kind::Delayed);
  CHECK(good.seconds == 15);
  CHECK(good.topic_name == "a/b");
  CHECK(parse_delayed_topic("$delayed/0//").topic_name == "/");
  CHECK(parse_delayed_topic("$delayed/18446744073709551615/a").seconds == UINT64_MAX);
  for (const char* plain : {"a", "$delayed", "$delayedx/1/a", "$SYS/x", "a/$delayed/1/b"}) {
    CHECK(parse_delayed_topic(plain).kind == Kind::NotDelayed);
    CHECK(parse_delayed_topic(plain).topic_name == plain);
  }
  for (const char* wrong :
       {"$delayed/", "$delayed/1", "$delayed/1/", "$delayed//a", "$delayed/-1/a", "$delayed/1.5/a", "$delayed/ 1/a",
        "$delayed/x/a", "$delayed/18446744073709551616/a", "$delayed/+1/a", "$delayed/1/$delayed/1/a"}) {
    CHECK(parse_delayed_topic(wrong).kind == Kind::Invalid);
  }
}

}  // namespace mqttq
