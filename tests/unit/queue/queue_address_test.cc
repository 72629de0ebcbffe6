// What clients subscribe to when they consume a queue.
#include "queue/queue_address.h"

#include "message/topic.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace mqttq {

using Kind = QueueAddress::Kind;

TEST_CASE("a queue is addressed by its name, with or without its filter, or by its filter alone", "[queue]") {
  struct Case {
    std::string_view text;
    Kind kind;
    std::string_view name, topic_filter;
  };
  for (const Case& one : {Case{"$queue/orders", Kind::Queue, "orders", ""},
                          {"$queue/orders/o/#", Kind::Queue, "orders", "o/#"},
                          {"$queue/orders//", Kind::Queue, "orders", "/"},
                          {"$queue/0.A_z-9/+", Kind::Queue, "0.A_z-9", "+"},
                          {"$q/o/#", Kind::Queue, "$q/o/#", "o/#"},
                          {"$q//", Kind::Queue, "$q//", "/"},
                          {"$queue/orders/not#a+filter", Kind::Queue, "orders", "not#a+filter"}}) {
    INFO(one.text);
    const QueueAddress address = parse_queue_address(one.text);
    CHECK(address.kind == one.kind);
    CHECK(address.name == one.name);
    CHECK(address.topic_filter == one.topic_filter);
  }
}

TEST_CASE("what begins as an address and has no name is none, and what does not begin so is something else",
          "[queue]") {
  for (const char* text : {"$queue/", "$queue//a", "$queue/orders/", "$queue/.a", "$queue/a b/t", "$queue/+",
                           "$queue/#", "$queue/-a/t", "$q/", "$queue/\xC3\xA9"}) {
    INFO(text);
    CHECK(parse_queue_address(text).kind == Kind::Invalid);
  }
  for (const char* text :
       {"", "$queue", "$q", "$queues/a", "$Queue/a", "queue/a", "/$queue/a", "$share/g/$queue/a", "$qa/b", "#"}) {
    INFO(text);
    CHECK(parse_queue_address(text).kind == Kind::NotQueue);
  }
}

TEST_CASE("a queue's name is of letters, digits and a few signs, and not too long", "[queue]") {
  for (const char* name : {"a", "Z", "0", "a.b", "a_b", "a-b", "9-._", "$q/a", "$q/#"}) {
    INFO(name);
    CHECK(is_valid_queue_name(name));
  }
  for (const char* name : {"", ".a", "-a", "_a", "a/b", "a+", "a#", "$a", "a b", "\xC3\xA9", "$q/", "$q", "$queue/a"}) {
    INFO(name);
    CHECK_FALSE(is_valid_queue_name(name));
  }
  CHECK(is_valid_queue_name(std::string(255, 'n')));
  CHECK_FALSE(is_valid_queue_name(std::string(256, 'n')));
  CHECK_FALSE(is_valid_queue_name(std::string_view("a\0b", 3)));
  for (int c = 0; c < 256; ++c) {
    const char text[] = {'a', static_cast<char>(c)};
    const bool fits =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-';
    INFO(c);
    CHECK(is_valid_queue_name({text, 2}) == fits);
  }
}

TEST_CASE("a queue has no filter of the broker's own topics or of another kind of subscription", "[queue]") {
  for (const char* filter : {"$SYS/#", "$SYS", "$share/g/a", "$queue/a", "$q/a", "$stream/a", "$s/a", "$exclusive/a",
                             "$delayed/1/a", "$share", "$s"}) {
    INFO(filter);
    CHECK_FALSE(may_be_kept(filter));
  }
  for (const char* filter : {"a", "#", "+/a", "a/$SYS", "$SYSTEM/a", "$x/#", "$sy/a", "/$share", "$sys/a", "$Q/a"}) {
    INFO(filter);
    CHECK(may_be_kept(filter));
  }
}

}  // namespace mqttq
