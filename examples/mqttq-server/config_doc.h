// The configuration's keys in the words of others: Markdown for docs/SERVER.md, and JSON Schema for editors.
#pragma once

#include <string>

namespace mqttq::server {

std::string config_keys_markdown();
std::string config_schema();

}  // namespace mqttq::server
