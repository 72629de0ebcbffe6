#include "capi/guard.h"
#include "capi/handles.h"
#include "transport/http_upgrade.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

// The path of WebSockets; empty for the bytes of MQTT as they are. Throws std::invalid_argument.
std::string_view websocket_path(const mqttq_listener_config& config) {
  switch (config.transport) {
    case MQTTQ_TRANSPORT_STREAM:
      if (config.path) throw std::invalid_argument("path: of MQTTQ_TRANSPORT_WEBSOCKET only");
      return {};
    case MQTTQ_TRANSPORT_WEBSOCKET: break;
    default: throw std::invalid_argument(fmt::format("transport: {} is none", config.transport));
  }
  const std::string_view path = config.path ? config.path : "/mqtt";
  if (!is_websocket_path(path)) {
    throw std::invalid_argument(
        fmt::format("path \"{}\": not a '/' and what may follow it but blanks, '?' and '#'", path));
  }
  return path;
}

}  // namespace

extern "C" {

void mqttq_listener_config_init(mqttq_listener_config* config, size_t size) { init_struct(config, size); }

mqttq_status mqttq_listener_open(mqttq_broker* broker, const mqttq_listener_config* config, mqttq_listener** out,
                                 mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    mqttq_listener_config known;
    if (!config || !out) return fail(error, MQTTQ_EINVAL, "config or out: NULL");
    if (!read_struct(config, known)) return fail(error, MQTTQ_EINVAL, "config: asks for more than this library has");
    if (!known.address) return fail(error, MQTTQ_EINVAL, "address: NULL");
    const std::string_view path = websocket_path(known);
    if (!path.empty() && !kHasWebSocket) {
      return fail(error, MQTTQ_EUNSUPPORTED, "this build has no WebSocket: it was built without TLS");
    }
    if (const mqttq_status status = broker->may_wait(error); status != MQTTQ_OK) return status;
    ListenerInfo info;
    info.namespace_id = id_of(known.ns);
    info.packet_size_max = known.packet_size_max;
    info.connect_timeout_ms = known.connect_timeout_ms;
    auto listener = std::make_unique<mqttq_listener>();
    const Broker::Listening listening = broker->broker->open_listener(known.address, info, path);
    if (!listening.id) {
      const auto text =
          listening.error == EINVAL
              ? fmt::format("address \"{}\": not HOST:PORT, [HOST]:PORT or /PATH", known.address)
              : fmt::format("address \"{}\": {}", known.address, std::generic_category().message(listening.error));
      return fail(error, status_of_errno(listening.error), text, listening.error);
    }
    listener->broker = broker;
    listener->id = listening.id;
    listener->address = listening.address;
    *out = listener.release();
    return MQTTQ_OK;
  });
}

const char* mqttq_listener_address(const mqttq_listener* listener) { return listener->address.c_str(); }

void mqttq_listener_close(mqttq_listener* listener) {
  if (!listener) return;
  static_cast<void>(guard(nullptr, [&]() -> mqttq_status {
    // Inside a callback its shard cannot be waited for: it is then done at the end of the turn.
    listener->broker->broker->close_listener(listener->id, !listener->broker->inside_callback());
    return MQTTQ_OK;
  }));
  delete listener;
}

}  // extern "C"
