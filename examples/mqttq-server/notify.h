// Tells systemd how the service fares, without libsystemd.
#pragma once

#include <string_view>

namespace mqttq::server {

// Sends `state` ("READY=1", lines for several) to $NOTIFY_SOCKET; without one, nothing. A manager that does not listen
// is no reason to stop serving, so failures are ignored.
void notify(std::string_view state) noexcept;

// Says RELOADING=1 with the time that Type=notify-reload asks for. notify("READY=1") ends it.
void notify_reloading() noexcept;

}  // namespace mqttq::server
