#include "listeners.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "text.h"
#include "url.h"

namespace mqttq::server {

Listeners::Listener Listeners::open(const ListenerOptions& options) {
  const std::string address(address_of(options.url)), path = path_of(options.url);
  mqttq_listener_config config;
  mqttq_listener_config_init(&config, sizeof config);
  config.address = address.c_str();
  config.packet_size_max = options.packet_size_max;
  config.connect_timeout_ms = options.connect_timeout_ms;
  if (!path.empty()) {
    config.transport = MQTTQ_TRANSPORT_WEBSOCKET;
    config.path = path.c_str();
  }
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  mqttq_listener* handle = nullptr;
  if (mqttq_listener_open(&broker_, &config, &handle, &error) != MQTTQ_OK) {
    throw ListenError(fmt::format("cannot listen on {}: {}", options.url,
                                  error.system_error ? system_text(error.system_error) : std::string(error.text)));
  }
  return {options, std::unique_ptr<mqttq_listener, Close>(handle)};
}

// What goes is closed before what comes is opened: the new address may contain the old one, as 0.0.0.0 does.
void Listeners::change_to(const std::vector<ListenerOptions>& wanted) {
  std::vector<Listener> kept, opened;
  std::vector<ListenerOptions> closed;
  std::vector<bool> stays(wanted.size(), false);
  for (Listener& listener : open_) {
    size_t i = 0;
    while (i < wanted.size() && (stays[i] || !(wanted[i] == listener.options))) ++i;
    if (i < wanted.size()) {
      stays[i] = true;
      kept.push_back(std::move(listener));
    } else {
      closed.push_back(listener.options);
    }
  }
  open_ = std::move(kept);
  try {
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!stays[i]) opened.push_back(open(wanted[i]));
    }
  } catch (const ListenError&) {
    opened.clear();
    for (const ListenerOptions& options : closed) {
      try {
        open_.push_back(open(options));
      } catch (const ListenError& failure) {
        log_.say(MQTTQ_LOG_ERROR, "{}, where it listened before", failure.what());
      }
    }
    throw;
  }
  std::move(opened.begin(), opened.end(), std::back_inserter(open_));
}

std::string Listeners::bound_urls() const {
  std::string text;
  for (const Listener& listener : open_) {
    if (!text.empty()) text += ' ';
    text += bound_url(listener.options.url, mqttq_listener_address(listener.handle.get()));
  }
  return text;
}

}  // namespace mqttq::server
