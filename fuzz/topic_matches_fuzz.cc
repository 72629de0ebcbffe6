// topic_matches and the grammar of filters, against a recursion over lists of levels [MQTT-4.7.1-1] [MQTT-4.7.1-2]
// [MQTT-4.7.2-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2].
//
// An input is text of the six characters that mean something, and a byte that parts it: a filter, then a name.
#include <span>
#include <string>
#include <vector>

#include "levels.h"
#include "message/topic.h"
#include "require.h"

namespace {

using Levels = std::vector<std::string>;
using LevelSpan = std::span<const std::string>;
using mqttq::fuzz::split;

bool levels_match(LevelSpan filter, LevelSpan name) {
  if (filter.empty()) return name.empty();
  if (filter[0] == "#") return true;
  if (name.empty()) return false;
  return (filter[0] == "+" || filter[0] == name[0]) && levels_match(filter.subspan(1), name.subspan(1));
}

bool expected_match(const std::string& filter, const std::string& name) {
  if (name[0] == '$' && (filter[0] == '+' || filter[0] == '#')) return false;
  return levels_match(split(filter), split(name));
}

bool expected_filter(const std::string& text) {
  if (text.empty()) return false;
  const Levels levels = split(text);
  for (size_t index = 0; index < levels.size(); index += 1) {
    const std::string& level = levels[index];
    if (level == "+" || (level == "#" && index + 1 == levels.size())) continue;
    if (level.find_first_of("+#") != level.npos) return false;
  }
  return true;
}

void require(bool holds, const char* what, const std::string& filter, const std::string& name) {
  if (!holds) mqttq::fuzz::fail(std::string(what) + "; filter \"" + filter + "\", name \"" + name + "\"");
}

void check_shared(const std::string& filter) {
  using mqttq::SharedFilter;
  const std::string text = "$share/" + filter;
  const auto shared = mqttq::parse_shared_filter(text);
  const Levels levels = split(filter);
  const std::string rest = levels.size() < 2 ? "" : filter.substr(levels[0].size() + 1);
  const bool well_formed =
      !levels[0].empty() && levels[0].find_first_of("+#") == std::string::npos && expected_filter(rest);
  require((shared.kind == SharedFilter::Kind::Shared) == well_formed, "a shared filter has a group and a filter", text,
          "");
  require(shared.kind != SharedFilter::Kind::NotShared, "what begins with $share/ means to be shared", text, "");
  if (well_formed) {
    require(shared.group == levels[0] && shared.topic_filter == rest, "it is taken apart at the second '/'", text, "");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string text;
  for (size_t index = 1; index < size; index += 1) text += "ab/+#$"[data[index] % 6];
  const size_t filter_size = data[0] % (text.size() + 1);
  const std::string filter = text.substr(0, filter_size);
  const std::string name = text.substr(filter_size);

  require(mqttq::is_valid_topic_filter(filter) == expected_filter(filter), "the grammar of filters", filter, name);
  require(mqttq::topic_level_count(filter) == split(filter).size(), "levels are counted", filter, name);
  check_shared(filter);
  if (mqttq::is_valid_topic_filter(filter) && mqttq::is_valid_topic_name(name)) {
    require(mqttq::topic_matches(filter, name) == expected_match(filter, name), "what matches", filter, name);
  }
  return 0;
}
