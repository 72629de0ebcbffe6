// Words for messages.
#pragma once

#include <cctype>
#include <string>
#include <system_error>

namespace mqttq::server {

// What the system says about an errno, as the end of a sentence: "address already in use".
inline std::string system_text(int number) {
  std::string text = std::generic_category().message(number);
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1]))) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

}  // namespace mqttq::server
