/* mqttq/mqttq.h - the whole of libmqttq: an MQTT broker as a library. */
#ifndef MQTTQ_MQTTQ_H
#define MQTTQ_MQTTQ_H

#include "mqttq/broker.h"
#include "mqttq/export.h"
#include "mqttq/listener.h"
#include "mqttq/log.h"
#include "mqttq/status.h"
#include "mqttq/version.h"

#endif
