/* mqttq/export.h - marks what the library exports. */
#ifndef MQTTQ_EXPORT_H
#define MQTTQ_EXPORT_H

#if defined(__GNUC__)
#define MQTTQ_API __attribute__((visibility("default")))
#else
#define MQTTQ_API
#endif

#endif
