/* mqttq/version.h - which library this is. */
#ifndef MQTTQ_VERSION_H
#define MQTTQ_VERSION_H

#include <stdint.h>

#include "mqttq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MQTTQ_VERSION_MAJOR 0
#define MQTTQ_VERSION_MINOR 1
#define MQTTQ_VERSION_PATCH 0

/* The version of the library that is loaded, which may be newer than these headers: major << 16 | minor << 8 | patch.
 * Thread: any. Since 0.1. */
MQTTQ_API uint32_t mqttq_version(void);

/* The same as text, "0.1.0". Static.
 * Thread: any. Since 0.1. */
MQTTQ_API const char *mqttq_version_text(void);

#ifdef __cplusplus
}
#endif

#endif
