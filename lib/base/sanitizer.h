// Which sanitizer watches this build: some of what is fast is hidden from one, and has to be shown to it.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define MQTTQ_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MQTTQ_WITH_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define MQTTQ_WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MQTTQ_WITH_TSAN 1
#endif
#endif
