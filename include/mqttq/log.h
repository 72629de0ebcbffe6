/* mqttq/log.h - where the library's words go. It prints nothing by itself. */
#ifndef MQTTQ_LOG_H
#define MQTTQ_LOG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint8_t mqttq_log_level;

#define MQTTQ_LOG_ERROR 1   /* something does not work, and somebody must look */
#define MQTTQ_LOG_WARNING 2 /* something works less well than it should */
#define MQTTQ_LOG_NOTICE 3  /* what an operator wants to know, such as a peer's protocol error */
#define MQTTQ_LOG_INFO 4
#define MQTTQ_LOG_DEBUG 5

/* Takes one line.
 *   user  as given with the callback.
 *   text  borrowed until return; `size` bytes of UTF-8 without a line end, followed by NUL. May hold what peers chose
 *         (client identifiers, addresses), never passwords.
 * Thread: any thread of the broker, several at once. Must not block, and must not call the library. */
typedef void (*mqttq_log_fn)(void *user, mqttq_log_level level, const char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
