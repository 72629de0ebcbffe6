// The configuration file: JSON with // comments.
#pragma once

#include <string>

#include "options.h"

namespace mqttq::server {

// Reads the file into `options`, whose values are the defaults. Throws OptionError, whose text begins with the file's
// name as given and, where it is about a place in the file, the line: "mqttq.json:7: ...".
void read_config(const std::string& path, Options& options);

}  // namespace mqttq::server
