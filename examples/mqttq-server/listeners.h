// The open listeners of the server, and their change at a reload.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "log.h"
#include "options.h"

namespace mqttq::server {

// A listener could not be opened: "cannot listen on tcp://127.0.0.1:1883: address already in use".
struct ListenError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Listeners {
 public:
  // broker: started; outlives this object.
  Listeners(mqttq_broker& broker, Log& log) noexcept : broker_(broker), log_(log) {}

  // Closes what is not in `wanted`, opens what is new there, and leaves alone what is the same. If one cannot be
  // opened, all is as before and ListenError is thrown.
  void change_to(const std::vector<ListenerOptions>& wanted);

  // Where they are bound, as URLs with a blank between two.
  std::string bound_urls() const;

 private:
  struct Close {
    void operator()(mqttq_listener* listener) const noexcept { mqttq_listener_close(listener); }
  };
  struct Listener {
    ListenerOptions options;
    std::unique_ptr<mqttq_listener, Close> handle;
  };

  Listener open(const ListenerOptions& options);

  mqttq_broker& broker_;
  Log& log_;
  std::vector<Listener> open_;
};

}  // namespace mqttq::server
