#include "capi/guard.h"
#include "store/host_store.h"

using namespace mqttq;

extern "C" {

void mqttq_store_init(mqttq_store* store, size_t size) { capi::init_struct(store, size); }

void mqttq_store_batch_done(mqttq_store_batch* batch, mqttq_status status) {
  if (batch) HostStore::on_answer(*batch, status);
}

mqttq_status mqttq_store_value_set(mqttq_store_value* value, mqttq_bytes bytes) {
  if (!value) return MQTTQ_EINVAL;
  switch (HostStore::on_value(*value, bytes)) {
    case Status::Ok: return MQTTQ_OK;
    case Status::NoMemory: return MQTTQ_ENOMEM;
    default: return MQTTQ_EINVAL;
  }
}

}  // extern "C"
