/* mqttq/listener.h - an endpoint that accepts Network Connections into one namespace. */
#ifndef MQTTQ_LISTENER_H
#define MQTTQ_LISTENER_H

#include "mqttq/namespace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mqttq_listener mqttq_listener;

/* How MQTT comes: mqttq_listener_config.transport. */
#define MQTTQ_TRANSPORT_STREAM 0    /* the bytes of MQTT as they are */
#define MQTTQ_TRANSPORT_WEBSOCKET 1 /* in the binary frames of a WebSocket (MQTT5 6.0), RFC 6455; in builds with TLS */

typedef struct mqttq_listener_config {
  size_t size;                 /* sizeof this struct as the host compiled it; set by _init */
  const char *address;         /* "0.0.0.0:1883", "[::1]:0" (0 = any free port), "/run/mqttq.sock"; copied */
  mqttq_namespace *ns;         /* whose clients come in here; borrowed until return; NULL = global */
  uint32_t packet_size_max;    /* bytes; told to clients as Maximum Packet Size (MQTT5 3.2.2.3.6); 0 = the broker's */
  uint32_t connect_timeout_ms; /* from accept to a whole CONNECT; 0 = the broker's */
  uint32_t transport;          /* MQTTQ_TRANSPORT_...; 0 = the bytes of MQTT as they are */
  const char *path;            /* of MQTTQ_TRANSPORT_WEBSOCKET: begins with '/', in visible ASCII without '?' and '#';
                                  copied; NULL = "/mqtt" */
} mqttq_listener_config;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_listener_config_init(mqttq_listener_config *config, size_t size);

/* Binds config->address and starts to accept. The broker has been started.
 *   broker  borrowed from the caller until the listener is closed.
 *   config  borrowed until return; its strings are copied.
 *   out     on success the listener, owned by caller, ended by mqttq_listener_close(); untouched on failure.
 *   error   nullable; filled on failure.
 * Returns MQTTQ_OK, MQTTQ_EINVAL (address or path not understood, unknown transport, a path without
 *   MQTTQ_TRANSPORT_WEBSOCKET), MQTTQ_EUNSUPPORTED (that transport in a build without it), MQTTQ_EADDRINUSE,
 *   MQTTQ_EACCES, MQTTQ_ENOMEM, MQTTQ_ESYSTEM, MQTTQ_ESTATE (not started, or inside a callback on a shard's thread),
 *   MQTTQ_ESHUTDOWN (the broker has stopped).
 * Thread: any, with host_loop the driving one; not inside a callback. Since 0.1. */
MQTTQ_API mqttq_status mqttq_listener_open(mqttq_broker *broker, const mqttq_listener_config *config,
                                           mqttq_listener **out, mqttq_error *error);

/* Where it listens, with the port that was free: "127.0.0.1:40123". Borrowed from the listener until it is closed.
 * Thread: any. Since 0.1. */
MQTTQ_API const char *mqttq_listener_address(const mqttq_listener *listener);

/* Accepts no more; connections that came through it go on. To be called before the broker is destroyed. NULL is fine.
 * Thread: as mqttq_listener_open(). Since 0.1. */
MQTTQ_API void mqttq_listener_close(mqttq_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
