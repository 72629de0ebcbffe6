// Topics that clients name, and those they stand for.
#include "session/topic_rewrite.h"

#include <catch2/catch_test_macros.hpp>

namespace mqttq {

namespace {

constexpr uint8_t kPublish = TopicRewrites::kPublish, kSubscribe = TopicRewrites::kSubscribe;
using Outcome = TopicRewrites::Outcome;

// The topic that `topic` stands for, "=" for itself, "!" where that is none.
std::string apply(const TopicRewrites& rewrites, uint8_t action, std::string_view topic, NamespaceId in = 0) {
  Array<char> out;
  switch (rewrites.apply(action, in, "c1", "u1", topic, out)) {
    case Outcome::Unchanged: return "=";
    case Outcome::Impossible: return "!";
    case Outcome::NoMemory: return "no memory";
    case Outcome::Rewritten: break;
  }
  return {out.begin(), out.count()};
}

std::string by(std::string_view from, std::string_view to, std::string_view topic, uint8_t action = kPublish) {
  TopicRewrites rewrites;
  rewrites.add(0, action, from, to);
  return apply(rewrites, action, topic);
}

std::string refused(std::string_view from, std::string_view to, uint8_t actions = kPublish | kSubscribe) {
  try {
    TopicRewrites().add(0, actions, from, to);
  } catch (const std::invalid_argument& failure) {
    return failure.what();
  }
  return "taken";
}

}  // namespace

TEST_CASE("wildcards catch what they match, in their order", "[session]") {
  CHECK(by("a/+/b/#", "x/$2/$1", "a/1/b/2/3") == "x/2/3/1");
  CHECK(by("a/+/b/#", "x/$1", "a/1/b/2") == "x/1");
  CHECK(by("+/+", "$2/$1/$2", "/b") == "b//b");
  CHECK(by("a/+", "x/$1", "a/") == "x/");
  CHECK(by("a/b", "x", "a/b") == "x");
  CHECK(by("#", "all/$1", "a/b") == "all/a/b");
  CHECK(by("a/#", "x/$1", "a") == "x");
  CHECK(by("a/#", "x/$1", "a/") == "x/");
  CHECK(by("a/+", "x/$1-${client_id}/${user_name}", "a/1") == "x/1-c1/u1");
}

TEST_CASE("what a rule does not match stays as it is", "[session]") {
  CHECK(by("a/+/b", "x/$1", "a/1/c") == "=");
  CHECK(by("a/+/b", "x/$1", "a/1") == "=");
  CHECK(by("a/+", "x/$1", "a/1/2") == "=");
  CHECK(by("a/+", "x/$1", "a") == "=");
  CHECK(by("a", "x", "a/") == "=");
  CHECK(by("#", "x/$1", "$SYS/broker") == "=");  // as in a subscription [MQTT-4.7.2-1]
  CHECK(by("+/a", "x/$1", "$a/a") == "=");
}

TEST_CASE("a filter is matched level by level", "[session]") {
  CHECK(by("a/+/b", "x/$1", "a/+/b", kSubscribe) == "x/+");
  CHECK(by("a/#", "x/$1", "a/+/#", kSubscribe) == "x/+/#");
  CHECK(by("a/#", "x/$1", "a/#", kSubscribe) == "x/#");
  CHECK(by("a/+", "x/$1", "a/#", kSubscribe) == "=");  // more than the rule speaks of
  CHECK(by("a/b", "x", "a/+", kSubscribe) == "=");
  CHECK(by("old/#", "new/+/$1", "old/#", kSubscribe) == "new/+/#");
}

TEST_CASE("the first rule that matches is applied, and no other", "[session]") {
  TopicRewrites rewrites;
  rewrites.add(0, kPublish, "a/b", "first");
  rewrites.add(0, kPublish, "a/+", "second/$1");
  rewrites.add(0, kPublish, "second/#", "third/$1");
  rewrites.add(7, kPublish | kSubscribe, "n/#", "seven/$1");
  rewrites.add(0, kSubscribe, "a/#", "fourth/$1");
  CHECK(apply(rewrites, kPublish, "a/b") == "first");
  CHECK(apply(rewrites, kPublish, "a/c") == "second/c");
  CHECK(apply(rewrites, kSubscribe, "a/b") == "fourth/b");
  CHECK(apply(rewrites, kPublish, "n/x") == "=");
  CHECK(apply(rewrites, kPublish, "n/x", 7) == "seven/x");
  CHECK(apply(rewrites, kSubscribe, "n/x", 7) == "seven/x");
  CHECK(apply(rewrites, kPublish, "a/b", 7) == "=");
}

TEST_CASE("nothing comes out below $, nor anything that is no topic", "[session]") {
  CHECK(by("a/#", "$1", "a/$SYS/broker") == "!");
  CHECK(by("a/#", "$1", "a/$delayed/5/x") == "!");
  CHECK(by("a/+", "$1", "a/") == "!");
  TopicRewrites rewrites;
  rewrites.add(0, kPublish, "a", "in/${client_id}");
  Array<char> out;
  CHECK(rewrites.apply(kPublish, 0, "+", "", "a", out) == Outcome::Impossible);
}

TEST_CASE("a rule that cannot work is refused", "[session]") {
  CHECK(refused("a/#", "x/#") == "to: a wildcard, and nothing can be published to it");
  CHECK(refused("a/#", "x/+/$1", kPublish) == "to: a wildcard, and nothing can be published to it");
  CHECK(refused("a/#", "x/+/$1", kSubscribe) == "taken");
  CHECK(refused("a/#", "x/#/$1", kSubscribe) == "to: not a topic");
  CHECK(refused("a/#/b", "x") == "from: not a topic filter");
  CHECK(refused("", "x") == "from: not a topic filter");
  CHECK(refused("a", "") == "to: not a topic");
  CHECK(refused("$share/g/a", "x") == "from: what begins with $ is not rewritten");
  CHECK(refused("a", "$SYS/x") == "to: what begins with $ is not written to");
  CHECK(refused("a/+", "x/$2") == "to: $2, and 1 wildcard to be named");
  CHECK(refused("a", "x/$1") == "to: $1, and 0 wildcards to be named");
  CHECK(refused("a", "x", 4) == "actions: unknown ones");
  CHECK(refused("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+", "x/$16") == "taken");
  CHECK(refused("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+", "x") == "from: more than 16 wildcards");
}

}  // namespace mqttq
