#include "broker/committer.h"

namespace mqttq {

namespace {
constexpr uint32_t kBatchMax = 1024;  // records of one append
}

bool Committer::turn() noexcept {
  // While answers wait for room nothing new is taken: what is open stays bounded by the mailboxes and one batch. Who
  // refused us wakes us when he has room; when nobody did, no mail may be left behind, since its wake-up is spent.
  bool refused = postman_.flush(), memory = true;
  do {
    if (!refused) memory = gather();
    answer_durable();
    refused = postman_.flush();
  } while (memory && !refused && open_.empty() && office_.has_mail(office_.committer()));
  return !open_.empty() || !memory;
}

bool Committer::gather() noexcept {
  if (!office_.has_mail(office_.committer())) return true;
  LogRecord batch[kBatchMax];
  uint32_t count = 0;
  bool memory = true;
  for (uint32_t from = 0; memory && from < office_.committer(); ++from) {
    Mailbox<Mail>& box = office_.box(from, office_.committer());
    while (count < kBatchMax) {
      Mail* mail = box.front();
      if (!mail) break;
      Open open{{last_number_ + 1, mail->message}, mail->route, mail->origin};
      const LogRecord record = open.record;
      memory = open_.push_back(std::move(open));
      if (!memory) break;  // the proposal stays where it is
      ++last_number_;
      batch[count++] = record;
      box.pop();
    }
    if (box.take_room_wanted()) postman_.wake(from);
  }
  if (count == 0 || log_.append({batch, count}) == Status::Ok) return memory;
  // A failed write is answered negatively, for all it concerned. Its numbers are not used again.
  const uint32_t good = open_.count() - count;
  for (uint32_t i = 0; i < good; ++i) {
    Open open = open_.pop_front();
    if (!open_.push_back(std::move(open))) break;  // there is room: one was taken out
  }
  for (uint32_t i = 0; i < count; ++i) tell(open_.pop_front().origin, ReasonCode::QuotaExceeded);
  return memory;
}

void Committer::answer_durable() noexcept {
  const uint64_t durable = log_.durable_number();
  while (!open_.empty() && open_.front().record.number <= durable) answer(open_.pop_front());
}

void Committer::answer(const Open& open) noexcept {
  bool complete = true;
  uint64_t shards = open.route->durable_shards();
  for (uint32_t shard = 0; shards; ++shard, shards >>= 1) {
    if (!(shards & 1)) continue;
    Mail mail;
    mail.kind = Mail::Kind::Append;
    mail.number = open.record.number;
    mail.message = open.record.message;
    mail.route = open.route;
    complete &= postman_.post_surely(shard, std::move(mail));
  }
  tell(open.origin, complete ? ReasonCode::Success : ReasonCode::QuotaExceeded);
}

void Committer::tell(const PublishOrigin& origin, ReasonCode reason) noexcept {
  if (!origin.wanted()) return;
  Mail mail;
  mail.kind = Mail::Kind::Published;
  mail.origin = origin;
  mail.reason = reason;
  // Without memory the publisher has no answer: it will send the message again.
  static_cast<void>(postman_.post_surely(origin.shard, std::move(mail)));
}

}  // namespace mqttq
