// TopicRewrites and TextTemplate, against topic_matches() and a filling in by hand.
//
// An input is two bytes that part a text of the characters that mean something: a rule's filter, its target, a topic.
#include <stdexcept>
#include <string>
#include <vector>

#include "levels.h"
#include "message/topic.h"
#include "require.h"
#include "session/topic_rewrite.h"

namespace {

using mqttq::TopicRewrites;
using mqttq::fuzz::split;

void require(bool holds, const char* what, const std::string& from, const std::string& to, const std::string& topic) {
  if (holds) return;
  mqttq::fuzz::fail(std::string(what) + "; from \"" + from + "\", to \"" + to + "\", topic \"" + topic + "\"");
}

// What `from`, which matches, catches of `topic`; "\1" for no level at all.
std::vector<std::string> caught(const std::string& from, const std::string& topic) {
  const auto levels = split(topic);
  std::vector<std::string> captures;
  size_t index = 0;
  for (const std::string& level : split(from)) {
    if (level == "+") captures.push_back(levels[index]);
    if (level == "#") {
      std::string rest = index < levels.size() ? levels[index] : "\1";
      for (size_t i = index + 1; i < levels.size(); ++i) rest += '/' + levels[i];
      captures.push_back(rest);
    }
    ++index;
  }
  return captures;
}

std::string filled(const std::string& to, const std::vector<std::string>& captures) {
  std::string text;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] != '$' || i + 1 == to.size() || to[i + 1] < '0' || to[i + 1] > '9') {
      text += to[i];
      continue;
    }
    size_t number = 0, digits = 0;
    while (digits < 2 && i + 1 < to.size() && to[i + 1] >= '0' && to[i + 1] <= '9') {
      number = number * 10 + static_cast<size_t>(to[++i] - '0');
      ++digits;
    }
    const std::string& capture = captures.at(number - 1);
    if (capture != "\1") {
      text += capture;
    } else if (text.ends_with('/')) {
      text.pop_back();
    }
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string text;
  for (size_t index = 2; index < size; index += 1) text += "ab/+#$12{}"[data[index] % 10];
  const size_t from_size = data[0] % (text.size() + 1);
  const size_t to_size = data[1] % (text.size() - from_size + 1);
  const std::string from = text.substr(0, from_size), to = text.substr(from_size, to_size);
  const std::string topic = text.substr(from_size + to_size);

  mqttq::parse_delayed_topic("$delayed/" + topic);
  TopicRewrites rewrites;
  try {
    rewrites.add(0, TopicRewrites::kPublish, from, to);
  } catch (const std::invalid_argument&) {
    return 0;
  }
  require(mqttq::is_valid_topic_filter(from), "a rule has a filter", from, to, topic);
  if (!mqttq::is_valid_topic_name(topic)) return 0;
  mqttq::Array<char> out;
  const auto outcome = rewrites.apply(TopicRewrites::kPublish, 0, "c", "u", topic, out);
  if (!mqttq::topic_matches(from, topic)) {
    require(outcome == TopicRewrites::Outcome::Unchanged, "what does not match stays", from, to, topic);
    return 0;
  }
  const std::string expected = filled(to, caught(from, topic));
  const bool possible = !expected.empty() && expected[0] != '$';
  require((outcome == TopicRewrites::Outcome::Rewritten) == possible, "what comes of it is a topic, or refused", from,
          to, topic);
  if (!possible) return 0;
  require(std::string(out.begin(), out.count()) == expected, "what comes of it", from, to, topic);
  require(mqttq::is_valid_topic_name(expected), "what comes of it is a topic name", from, to, topic);
  return 0;
}
