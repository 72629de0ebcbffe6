// What clients subscribe to when they read a stream, and from where.
#include "stream/stream_address.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace mqttq {

using Kind = StreamAddress::Kind;
using From = StreamOffset::Kind;

TEST_CASE("a reader begins at an end, at a time, or at a position", "[stream]") {
  struct Case {
    std::string_view text;
    StreamOffset offset;
  };
  for (const Case& one : {Case{"earliest", {From::Earliest, 0}},
                          {"latest", {From::Latest, 0}},
                          {"0", {From::Time, 0}},
                          {"1700000000000000", {From::Time, 1'700'000'000'000'000}},
                          {"0017", {From::Time, 17}},
                          {"9223372036854775807", {From::Time, INT64_MAX}},
                          {"@0", {From::Position, 0}},
                          {"@42", {From::Position, 42}},
                          {"@9223372036854775807", {From::Position, INT64_MAX}}}) {
    INFO(one.text);
    StreamOffset offset;
    CHECK(parse_stream_offset(one.text, offset));
    CHECK(offset == one.offset);
  }
  for (const char* text : {"",
                           "-1",
                           "abc",
                           "Earliest",
                           "latest ",
                           " 1",
                           "1 ",
                           "+1",
                           "1.5",
                           "0x10",
                           "1e6",
                           "@",
                           "@-1",
                           "@@1",
                           "@1a",
                           "@latest",
                           "9223372036854775808",
                           "18446744073709551616",
                           "99999999999999999999999",
                           "@9223372036854775808",
                           "\xC2\xB2"}) {
    INFO(text);
    StreamOffset offset;
    CHECK_FALSE(parse_stream_offset(text, offset));
  }
}

TEST_CASE("a stream is addressed by its name or its filter, and an offset may stand in front", "[stream]") {
  struct Case {
    std::string_view text, name, topic_filter;
    bool has_offset = false;
    StreamOffset offset = {};
  };
  for (const Case& one : {Case{"$stream/orders", "orders", ""},
                          {"$stream/orders/o/#", "orders", "o/#"},
                          {"$stream/orders//", "orders", "/"},
                          {"$stream/0.A_z-9/+", "0.A_z-9", "+"},
                          {"$s/earliest/o/#", "", "o/#", true, {From::Earliest, 0}},
                          {"$s/latest//", "", "/", true, {From::Latest, 0}},
                          {"$s/17/o", "", "o", true, {From::Time, 17}},
                          {"$s/@5/$stream/orders", "orders", "", true, {From::Position, 5}},
                          {"$s/@5/$stream/orders/o/+", "orders", "o/+", true, {From::Position, 5}},
                          {"$s/1/$streams/a", "", "$streams/a", true, {From::Time, 1}}}) {
    INFO(one.text);
    const StreamAddress address = parse_stream_address(one.text);
    CHECK(address.kind == Kind::Stream);
    CHECK(address.name == one.name);
    CHECK(address.topic_filter == one.topic_filter);
    CHECK(address.has_offset == one.has_offset);
    CHECK(address.offset == one.offset);
  }
}

TEST_CASE("what begins as a stream's address and is none says what is wrong", "[stream]") {
  const std::string long_name = "$stream/" + std::string(256, 'n');
  for (const std::string_view text :
       {std::string_view("$stream/"), std::string_view("$stream//a"), std::string_view("$stream/orders/"),
        std::string_view("$stream/.a"), std::string_view("$stream/a b/t"), std::string_view("$stream/#"),
        std::string_view("$s/1"), std::string_view("$s/1/"), std::string_view("$s/1/$stream/"),
        std::string_view("$s/1/$stream/orders/"), std::string_view(long_name)}) {
    INFO(text);
    CHECK(parse_stream_address(text).kind == Kind::BadName);
  }
  for (const char* text : {"$s/", "$s//a", "$s/-1/a", "$s/abc/a", "$s/99999999999999999999/a", "$s/@/a", "$s/#",
                           "$s/+/a", "$s/$stream/orders", "$s/-1/$stream/orders"}) {
    INFO(text);
    CHECK(parse_stream_address(text).kind == Kind::BadOffset);
  }
  for (const char* text : {"", "$stream", "$s", "$streams/a", "$Stream/a", "stream/a", "/$stream/a", "$sx/1/a",
                           "$share/g/$stream/a", "#"}) {
    INFO(text);
    CHECK(parse_stream_address(text).kind == Kind::NotStream);
  }
}

}  // namespace mqttq
