// What the fuzz targets of topics share.
#pragma once

#include <string>
#include <vector>

namespace mqttq::fuzz {

// The levels of a topic, one by one; an empty text has one.
inline std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> levels(1);
  for (const char c : text) {
    if (c == '/') {
      levels.emplace_back();
    } else {
      levels.back() += c;
    }
  }
  return levels;
}

}  // namespace mqttq::fuzz
