#include "session/state_recorder.h"

namespace mqttq {

bool StateRecorder::post(Postman& postman, uint32_t committer) noexcept {
  if (writes_.empty()) return true;
  std::unique_ptr<StateRecord, Destroy> record(create<StateRecord>());
  if (!record) return false;
  record->writes = writes_.take();
  Mail mail;
  mail.kind = Mail::Kind::Record;
  mail.token = serial_;
  mail.payload.reset(record.release());
  if (!postman.post(committer, std::move(mail))) {
    writes_.give_back(std::move(static_cast<StateRecord&>(*mail.payload).writes));
    return false;
  }
  ++serial_;
  return true;
}

}  // namespace mqttq
