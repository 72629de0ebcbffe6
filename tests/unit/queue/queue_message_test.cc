// A queue's messages, changed on their way out.
#include "queue/queue_message.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "codec/writer.h"
#include "heap.h"
#include "queue/queues.h"

namespace mqttq {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// As a client publishes it, with a Content Type and a user property.
struct Published {
  Published() {
    codec::Writer out(properties);
    out.u8(static_cast<uint8_t>(PropertyId::ContentType));
    out.prefixed(std::string_view("text"));
    out.u8(static_cast<uint8_t>(PropertyId::UserProperty));
    out.prefixed(std::string_view("k"));
    out.prefixed(std::string_view("v"));
    view.namespace_id = 3;
    view.qos = Qos::ExactlyOnce;
    view.retain = true;
    view.publisher = 42;
    view.expires_at = Instant{77};
    view.topic_name = "a/b";
    view.properties = {properties, out.size()};
    view.payload = as_bytes("payload");
    message = Message::create(view);
  }
  std::byte properties[64];
  MessageView view;
  MessageRef message;
};

}  // namespace

TEST_CASE("a message that is sent again says how often, and is else as it was published", "[queue]") {
  const Published published;
  const MessageRef again = with_delivery_count(*published.message, 12);
  REQUIRE(again);
  const MessageView view = again->view();
  CHECK(user_properties(view) == Pairs{{"k", "v"}, {"delivery-count", "12"}});
  CHECK(std::equal(published.view.properties.begin(), published.view.properties.end(), view.properties.begin()));
  CHECK(view.namespace_id == 3);
  CHECK(view.qos == Qos::ExactlyOnce);
  CHECK(view.retain);
  CHECK(view.publisher == 42);
  CHECK(view.expires_at == Instant{77});
  CHECK(view.topic_name == "a/b");
  CHECK(as_text(view.payload) == "payload");
  CHECK(user_properties(with_delivery_count(*published.message, UINT32_MAX)->view()).back().second == "4294967295");
}

TEST_CASE("a dead letter says where it comes from, and is from nobody", "[queue]") {
  const Published published;
  const MessageRef letter = dead_letter(*published.message, "dead/letters", {"orders", "rejected", 3});
  REQUIRE(letter);
  const MessageView view = letter->view();
  CHECK(user_properties(view) == Pairs{{"k", "v"},
                                       {"dead-letter-queue", "orders"},
                                       {"dead-letter-reason", "rejected"},
                                       {"dead-letter-topic", "a/b"},
                                       {"dead-letter-hops", "1"},
                                       {"delivery-count", "3"}});
  CHECK(view.topic_name == "dead/letters");
  CHECK(view.namespace_id == 3);
  CHECK(view.qos == Qos::AtLeastOnce);
  CHECK_FALSE(view.retain);
  CHECK(view.publisher == 0);
  CHECK_FALSE(view.expires());
  CHECK(as_text(view.payload) == "payload");
}

TEST_CASE("without memory there is no other message, and nothing is left", "[queue]") {
  const Published published;
  const int64_t before = heap_blocks();
  for (const int64_t after : {0, 1}) {
    FailingHeap some(after);
    CHECK_FALSE(with_delivery_count(*published.message, 2));
  }
  for (const int64_t after : {0, 1}) {
    FailingHeap some(after);
    CHECK_FALSE(dead_letter(*published.message, "d", {"q", "rejected", 1}));
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
