// Retained messages against a model that is a map.
#include "router/retained_store.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <map>
#include <vector>

#include "heap.h"
#include "router/random_topics.h"

namespace mqttq {

namespace {

MessageRef message_of(std::string_view topic, std::string_view payload, NamespaceId namespace_id = 0,
                      Instant expires_at = {INT64_MAX}) {
  MessageView view;
  view.namespace_id = namespace_id;
  view.topic_name = topic;
  view.payload = as_bytes(payload);
  view.retain = true;
  view.expires_at = expires_at;
  return Message::create(view);
}

// "topic=payload", sorted.
std::vector<std::string> found(RetainedStore& store, std::string_view filter, NamespaceId namespace_id = 0,
                               Instant now = {}) {
  Ring<MessageRef> messages;
  REQUIRE(store.collect(namespace_id, filter, now, messages));
  std::vector<std::string> texts;
  while (!messages.empty()) {
    const MessageRef message = messages.pop_front();
    texts.push_back(std::string(message->topic_name()) + "=" + std::string(as_text(message->payload())));
  }
  std::sort(texts.begin(), texts.end());
  return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("the last retained message of a topic is kept, and an empty one clears it",
          "[router][MQTT-3.3.1-5][MQTT-3.3.1-6][MQTT-3.3.1-7]") {
  const int64_t before = heap_blocks();
  {
    RetainedStore store(1, 100, 10'000);
    REQUIRE(store.set(message_of("a/b", "1")) == Status::Ok);
    REQUIRE(store.set(message_of("a/b", "2")) == Status::Ok);
    REQUIRE(store.set(message_of("a", "3")) == Status::Ok);
    CHECK(found(store, "a/#") == Texts{"a/b=2", "a=3"});
    CHECK(found(store, "a/+") == Texts{"a/b=2"});
    CHECK(found(store, "a") == Texts{"a=3"});
    CHECK(store.count() == 2);
    CHECK(store.bytes() == 6);
    REQUIRE(store.set(message_of("a/b", "")) == Status::Ok);
    REQUIRE(store.set(message_of("x/y", "")) == Status::Ok);
    CHECK(found(store, "#") == Texts{"a=3"});
    REQUIRE(store.set(message_of("a", "")) == Status::Ok);
    CHECK(store.count() == 0);
    CHECK(store.bytes() == 0);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("limits are exact, and a replacement counts by what it changes", "[router]") {
  RetainedStore store(1, 2, 10);
  REQUIRE(store.set(message_of("a", "1")) == Status::Ok);
  REQUIRE(store.set(message_of("b", "1")) == Status::Ok);
  CHECK(store.set(message_of("c", "1")) == Status::Full);
  CHECK(store.set(message_of("b", "12345678")) == Status::Full);  // 2 + 9 bytes
  CHECK(found(store, "b") == Texts{"b=1"});
  CHECK(store.set(message_of("b", "1234567")) == Status::Ok);
  CHECK(store.bytes() == 10);
  CHECK(store.set(message_of("a", "")) == Status::Ok);
  CHECK(store.set(message_of("c", "1")) == Status::Ok);
  CHECK(store.count() == 2);
}

TEST_CASE("expired messages are not found", "[router][MQTT-3.3.2-5]") {
  RetainedStore store(1, 10, 1'000);
  REQUIRE(store.set(message_of("a", "x", 0, {100})) == Status::Ok);
  REQUIRE(store.set(message_of("b", "y")) == Status::Ok);
  CHECK(found(store, "#", 0, {99}) == Texts{"a=x", "b=y"});
  CHECK(found(store, "#", 0, {100}) == Texts{"b=y"});
  CHECK(found(store, "a", 0, {100}).empty());
}

TEST_CASE("wildcards at the front find nothing below '$', and no other namespace",
          "[router][MQTT-4.7.2-1][MQTT311-4.7.2-1]") {
  RetainedStore store(1, 100, 10'000);
  for (const char* topic : {"$SYS/a", "$SYS", "x/$SYS", "$SYS/a/b"})
    REQUIRE(store.set(message_of(topic, "1")) == Status::Ok);
  REQUIRE(store.set(message_of("x", "2", 5)) == Status::Ok);
  CHECK(found(store, "#") == Texts{"x/$SYS=1"});
  CHECK(found(store, "+/+") == Texts{"x/$SYS=1"});
  CHECK(found(store, "+").empty());
  CHECK(found(store, "$SYS/#") == Texts{"$SYS/a/b=1", "$SYS/a=1", "$SYS=1"});
  CHECK(found(store, "$SYS/+") == Texts{"$SYS/a=1"});
  CHECK(found(store, "#", 5) == Texts{"x=2"});
  CHECK(found(store, "x", 5) == Texts{"x=2"});
  CHECK(found(store, "x").empty());
}

TEST_CASE("what the broker says of itself counts against no limit", "[router]") {
  RetainedStore store(1, 1, 10);
  REQUIRE(store.set(message_of("$SYS/a", "0123456789")) == Status::Ok);
  REQUIRE(store.set(message_of("$SYS/b", "0123456789")) == Status::Ok);
  CHECK(store.count() == 0);
  CHECK(store.bytes() == 0);
  REQUIRE(store.set(message_of("x", "1")) == Status::Ok);
  CHECK(store.set(message_of("y", "1")) == Status::Full);
  CHECK(store.set(message_of("$SYSTEM", "1")) == Status::Full);
  REQUIRE(store.set(message_of("$SYS/c", "0123456789")) == Status::Ok);  // and is kept when others are at theirs
  REQUIRE(store.set(message_of("$SYS/a", "2")) == Status::Ok);
  REQUIRE(store.set(message_of("$SYS/b", "")) == Status::Ok);
  CHECK(found(store, "$SYS/#") == Texts{"$SYS/a=2", "$SYS/c=0123456789"});
  CHECK(store.count() == 1);
  CHECK(store.bytes() == 2);
}

TEST_CASE("any filter finds just the retained messages that match", "[router][MQTT-3.3.2-3]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 7))));
  const int64_t before = heap_blocks();
  {
    RetainedStore store(random.next(), 150, 2'500);
    std::map<std::pair<NamespaceId, std::string>, std::string> model;
    uint64_t bytes = 0;
    for (int step = 0; step < 2'000; ++step) {
      const auto namespace_id = static_cast<NamespaceId>(random.below(2));
      const std::string name = random_name(random), payload(random.below(3) ? random.below(30) : 0, 'x');
      const auto known = model.find({namespace_id, name});
      const uint64_t old_bytes = known == model.end() ? 0 : name.size() + known->second.size();
      Status expected = Status::Ok;
      if (payload.empty()) {
        bytes -= old_bytes;
        model.erase({namespace_id, name});
      } else if ((known == model.end() && model.size() >= 150) ||
                 bytes - old_bytes + name.size() + payload.size() > 2'500) {
        expected = Status::Full;
      } else {
        bytes += name.size() + payload.size() - old_bytes;
        model[{namespace_id, name}] = payload;
      }
      REQUIRE(store.set(message_of(name, payload, namespace_id)) == expected);
      REQUIRE(store.count() == model.size());
      REQUIRE(store.bytes() == bytes);
      const std::string filter = random_filter(random);
      Texts texts;
      for (const auto& [key, value] : model) {
        if (key.first == namespace_id && topic_matches(filter, key.second)) texts.push_back(key.second + "=" + value);
      }
      std::sort(texts.begin(), texts.end());
      REQUIRE(found(store, filter, namespace_id) == texts);
    }
    while (!model.empty()) {
      const auto [namespace_id, name] = model.begin()->first;
      REQUIRE(store.set(message_of(name, "", namespace_id)) == Status::Ok);
      model.erase(model.begin());
    }
    CHECK(store.bytes() == 0);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("without memory nothing is kept and nothing is lost", "[router]") {
  RetainedStore store(1, 100, 10'000);
  REQUIRE(store.set(message_of("a/b", "1")) == Status::Ok);
  const MessageRef message = message_of("a/x/y/z", "2");
  const int64_t before = heap_blocks();
  int failures = 0;
  for (int64_t after = 0;; ++after) {
    Status status;
    {
      FailingHeap some(after);
      status = store.set(message);
    }
    if (status == Status::Ok) break;
    ++failures;
    CHECK(status == Status::NoMemory);
    CHECK(heap_blocks() <= before + 1);  // a level's table may have grown
    CHECK(found(store, "#") == Texts{"a/b=1"});
  }
  CHECK(failures >= 3);
  Ring<MessageRef> messages;
  {
    FailingHeap none(0);
    CHECK_FALSE(store.collect(0, "#", {}, messages));
  }
  CHECK(found(store, "#") == Texts{"a/b=1", "a/x/y/z=2"});
}

TEST_CASE("what has expired gives its place back, and what replaced it does not", "[router][MQTT-3.3.2-5]") {
  const int64_t before = heap_blocks();
  {
    RetainedStore store(1, 4, 10'000);
    const auto at = [](int64_t second) { return Instant{second * kSecond}; };
    REQUIRE(store.set(message_of("a/b/c", "1", 0, at(3))) == Status::Ok);
    REQUIRE(store.set(message_of("a/b", "2", 0, at(1))) == Status::Ok);
    REQUIRE(store.set(message_of("x", "3", 7, at(2))) == Status::Ok);
    REQUIRE(store.set(message_of("y", "stays")) == Status::Ok);
    CHECK(store.set(message_of("z", "4")) == Status::Full);
    CHECK_FALSE(store.expire(at(0), 100));
    CHECK(store.count() == 4);
    CHECK_FALSE(store.expire(at(1), 100));
    CHECK(found(store, "#") == Texts{"a/b/c=1", "y=stays"});
    CHECK(store.count() == 3);
    REQUIRE(store.set(message_of("a/b/c", "5", 0, at(9))) == Status::Ok);
    REQUIRE(store.set(message_of("x", "", 7)) == Status::Ok);
    REQUIRE(store.set(message_of("z", "6", 0, at(4))) == Status::Ok);
    REQUIRE(store.set(message_of("z", "7")) == Status::Ok);  // and it does not expire any more
    CHECK_FALSE(store.expire(at(8), 100));
    CHECK(found(store, "#") == Texts{"a/b/c=5", "y=stays", "z=7"});
    REQUIRE(store.set(message_of("w", "8", 0, at(9))) == Status::Ok);
    CHECK(store.expire(at(10), 1));  // one at a time
    CHECK(store.count() == 3);
    CHECK_FALSE(store.expire(at(10), 1));
    CHECK(store.count() == 2);
    CHECK(store.bytes() == 8);
    REQUIRE(store.set(message_of("v", "9", 0, at(20))) == Status::Ok);  // ends with the store
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
