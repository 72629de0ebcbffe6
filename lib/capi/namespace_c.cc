#include "capi/guard.h"
#include "capi/handles.h"

using namespace mqttq;
using namespace mqttq::capi;

namespace {

bool is_valid_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 255 || name.front() == '.' || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace

extern "C" {

mqttq_status mqttq_namespace_open(mqttq_broker* broker, const char* name, size_t name_size, mqttq_namespace** out,
                                  mqttq_error* error) {
  return guard(error, [&]() -> mqttq_status {
    if (!name || !out) return fail(error, MQTTQ_EINVAL, "name or out: NULL");
    if (!is_valid_name({name, name_size})) {
      return fail(error, MQTTQ_EINVAL, "name: 1 to 255 of 0-9 A-Z a-z . _ -, not beginning with . or -");
    }
    mqttq_namespace* found = broker->open_namespace({name, name_size});
    if (!found) return fail(error, MQTTQ_EFULL, "65 535 namespaces");
    *out = found;
    return MQTTQ_OK;
  });
}

const char* mqttq_namespace_name(const mqttq_namespace* ns) { return ns ? ns->name.c_str() : ""; }

}  // extern "C"
