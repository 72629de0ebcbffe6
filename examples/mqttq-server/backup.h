// mqttq-server --backup: a backup of a data directory, which another mqttq-server may have open.
#pragma once

#include <string>

#include "log.h"

namespace mqttq::server {

// False: there is none, and the log says why. Before the process has a second thread.
bool back_up(const std::string& data_dir, const std::string& to, Log& log);

}  // namespace mqttq::server
