/* mqttq/status.h - what a function returns when the world failed, and the text that says more.
 *
 * What MQTT says to a peer is a reason code, which is another type and never travels in a status. */
#ifndef MQTTQ_STATUS_H
#define MQTTQ_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "mqttq/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or one of the negative constants below, whose values never change. */
typedef int32_t mqttq_status;

#define MQTTQ_OK 0
#define MQTTQ_EINVAL (-1)       /* an argument is not what its description allows */
#define MQTTQ_ENOMEM (-2)       /* memory was refused */
#define MQTTQ_EADDRINUSE (-3)   /* another socket has that address */
#define MQTTQ_EACCES (-4)       /* the system does not allow it */
#define MQTTQ_ESYSTEM (-5)      /* the system failed in another way; the text names it */
#define MQTTQ_ESHUTDOWN (-6)    /* the broker is not running, or stopping */
#define MQTTQ_ENOTFOUND (-7)    /* there is no such object */
#define MQTTQ_EEXIST (-8)       /* there is one already */
#define MQTTQ_EFULL (-9)        /* a bound is reached */
#define MQTTQ_ETIMEDOUT (-10)   /* it did not happen in time */
#define MQTTQ_ESTATE (-11)      /* not now: already started, not the host's to drive, inside a callback */
#define MQTTQ_EINTERNAL (-12)   /* a defect of the library; please report it */
#define MQTTQ_EUNSUPPORTED (-13) /* this library was built without it */

/* What MQTT 5 says in one byte (MQTT5 2.4); 0x80 and above are errors. */
typedef uint8_t mqttq_reason_code;

/* Text for people about one failure. Owned by the caller, who passes it to any number of calls; there is no
 * thread-local last error. Filled only on failure. */
typedef struct mqttq_error {
  size_t size;            /* sizeof this struct as the caller compiled it; set by mqttq_error_init() */
  mqttq_status status;    /* as returned */
  int32_t system_error;   /* errno where the system failed, else 0 */
  char text[512];         /* UTF-8, ends in NUL, cut if longer */
} mqttq_error;

/* Thread: any. Since 0.1. */
MQTTQ_API void mqttq_error_init(mqttq_error *error, size_t size);

/* The name of a status, such as "MQTTQ_EADDRINUSE"; of an unknown value "unknown status". Static.
 * Thread: any. Since 0.1. */
MQTTQ_API const char *mqttq_status_text(mqttq_status status);

/* The name of a reason code in lower case, such as "session taken over". Static.
 * Thread: any. Since 0.1. */
MQTTQ_API const char *mqttq_reason_code_text(mqttq_reason_code reason_code);

#ifdef __cplusplus
}
#endif

#endif
