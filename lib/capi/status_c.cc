#include "capi/guard.h"
#include "message/reason_code.h"

extern "C" {

uint32_t mqttq_version(void) { return MQTTQ_VERSION_MAJOR << 16 | MQTTQ_VERSION_MINOR << 8 | MQTTQ_VERSION_PATCH; }

#define MQTTQ_TEXT_OF(number) #number
#define MQTTQ_TEXT(number) MQTTQ_TEXT_OF(number)

const char* mqttq_version_text(void) {
  return MQTTQ_TEXT(MQTTQ_VERSION_MAJOR) "." MQTTQ_TEXT(MQTTQ_VERSION_MINOR) "." MQTTQ_TEXT(MQTTQ_VERSION_PATCH);
}

void mqttq_error_init(mqttq_error* error, size_t size) { mqttq::capi::init_struct(error, size); }

const char* mqttq_status_text(mqttq_status status) {
  static constexpr const char* kNames[] = {
      "MQTTQ_OK",        "MQTTQ_EINVAL",    "MQTTQ_ENOMEM",    "MQTTQ_EADDRINUSE",  "MQTTQ_EACCES",
      "MQTTQ_ESYSTEM",   "MQTTQ_ESHUTDOWN", "MQTTQ_ENOTFOUND", "MQTTQ_EEXIST",      "MQTTQ_EFULL",
      "MQTTQ_ETIMEDOUT", "MQTTQ_ESTATE",    "MQTTQ_EINTERNAL", "MQTTQ_EUNSUPPORTED"};
  const auto index = static_cast<size_t>(-static_cast<int64_t>(status));
  return index < std::size(kNames) ? kNames[index] : "unknown status";
}

// The texts are string literals, so that each ends in NUL.
const char* mqttq_reason_code_text(mqttq_reason_code reason_code) {
  return mqttq::to_text(static_cast<mqttq::ReasonCode>(reason_code)).data();
}

}  // extern "C"
