/* mqttq/mqttq.h - the whole of libmqttq: an MQTT broker as a library. */
#ifndef MQTTQ_MQTTQ_H
#define MQTTQ_MQTTQ_H

#include "mqttq/broker.h"
#include "mqttq/client.h"
#include "mqttq/delayed.h"
#include "mqttq/events.h"
#include "mqttq/export.h"
#include "mqttq/listener.h"
#include "mqttq/log.h"
#include "mqttq/message.h"
#include "mqttq/namespace.h"
#include "mqttq/queue.h"
#include "mqttq/router.h"
#include "mqttq/status.h"
#include "mqttq/store.h"
#include "mqttq/stream.h"
#include "mqttq/topic.h"
#include "mqttq/version.h"

#endif
