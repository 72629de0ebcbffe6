// MQTTQ_ASSERT: we are wrong. Never on anything that a peer, a host or a disk can cause.
//
// On in debug, simulation and fuzz builds (MQTTQ_ENABLE_ASSERT); elsewhere it only names its condition.
#pragma once

#if defined(MQTTQ_ENABLE_ASSERT)
#include <cassert>
#undef NDEBUG
#include <cassert>
#define MQTTQ_ASSERT(condition) assert(condition)
#else
#define MQTTQ_ASSERT(condition) static_cast<void>(sizeof(!(condition)))
#endif
