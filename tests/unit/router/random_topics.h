// Random topic names and filters over few words, so that they meet often. For the tests of the router.
#pragma once

#include <string>

#include "base/random.h"
#include "message/topic.h"

namespace mqttq {

inline std::string random_level(Random& random) {
  static constexpr std::string_view kWords[] = {"a", "b", "", "abc", "$x", "\xc3\xa4"};
  return std::string(kWords[random.below(std::size(kWords))]);
}

// Never empty.
inline std::string random_name(Random& random) {
  for (;;) {
    std::string name = random_level(random);
    for (uint64_t more = random.below(4); more > 0; --more) name += "/" + random_level(random);
    if (is_valid_topic_name(name)) return name;
  }
}

inline std::string random_filter(Random& random) {
  for (;;) {
    std::string filter = random.below(4) == 0 ? "+" : random_level(random);
    for (uint64_t more = random.below(4); more > 0; --more) {
      filter += "/";
      filter += random.below(3) == 0 ? "+" : random_level(random);
    }
    if (random.below(3) == 0) filter = random.below(6) == 0 ? "#" : filter + "/#";
    if (is_valid_topic_filter(filter)) return filter;
  }
}

}  // namespace mqttq
