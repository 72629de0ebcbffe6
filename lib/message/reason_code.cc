// The texts of the reason codes, from their one table.
#include "message/reason_code.h"

namespace mqttq {

std::string_view to_text(ReasonCode code) noexcept {
  switch (code) {
#define MQTTQ_X(name, value, text) \
  case ReasonCode::name: return text;
    MQTTQ_REASON_CODES(MQTTQ_X)
#undef MQTTQ_X
  }
  return "unknown reason code";
}

bool is_reason_code(uint8_t value) noexcept {
  switch (value) {
#define MQTTQ_X(name, value, text) case value:
    MQTTQ_REASON_CODES(MQTTQ_X)
#undef MQTTQ_X
    return true;
    default: return false;
  }
}

}  // namespace mqttq
