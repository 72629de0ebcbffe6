#include "broker/committer.h"

namespace mqttq {

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
  uint32_t count = 0;
  bool memory = true;
  for (uint32_t from = 0; memory && from < office_.committer(); ++from) {
    Mailbox<Mail>& box = office_.box(from, office_.committer());
    while (count < kBatchMax) {
      Mail* mail = box.front();
      if (!mail) break;
      memory = open_.make_room();
      if (!memory) break;  // the proposal stays where it is
      const uint64_t durable_shards = mail->route->durable_shards();
      Open open{++last_number_, std::move(mail->message), std::move(mail->route), mail->origin, durable_shards};
      batch_[count++] = {open.number, open.message.get()};
      static_cast<void>(open_.push_back(std::move(open)));  // there is room
      box.pop();
    }
    if (box.take_room_wanted()) postman_.wake(from);
  }
  if (count == 0 || log_.append({batch_, count}) == Status::Ok) return memory;
  // A failed write is answered negatively, for all it concerned. Its numbers are not used again.
  const uint32_t good = open_.count() - count;
  for (uint32_t i = 0; i < good; ++i) {
    Open open = open_.pop_front();
    if (!open_.push_back(std::move(open))) break;  // there is room: one was taken out
  }
  for (uint32_t i = 0; i < count; ++i) {
    Open failed = open_.pop_front();
    failed.shards_open = 0;
    failed.reason = ReasonCode::QuotaExceeded;
    if (!answer(failed) && !open_.push_back(std::move(failed))) break;  // there is room, as above
  }
  return memory;
}

void Committer::answer_durable() noexcept {
  const uint64_t durable = log_.durable_number();
  while (!open_.empty()) {
    Open& first = open_.front();
    if (!is_error(first.reason) && first.number > durable) break;
    if (!answer(first)) break;  // without memory: what is left of it at the next turn
    open_.pop_front();
  }
}

bool Committer::answer(Open& open) noexcept {
  for (uint32_t shard = 0; open.shards_open; ++shard) {
    const uint64_t bit = uint64_t{1} << shard;
    if (!(open.shards_open & bit)) continue;
    const bool last = open.shards_open == bit;  // it takes what we have
    Mail mail;
    mail.kind = Mail::Kind::Append;
    mail.number = open.number;
    mail.message = last ? std::move(open.message) : open.message;
    mail.route = last ? std::move(open.route) : open.route;
    if (!postman_.post_surely(shard, std::move(mail))) {
      if (last) {
        open.message = std::move(mail.message);
        open.route = std::move(mail.route);
      }
      return false;
    }
    open.shards_open &= ~bit;
  }
  if (!open.origin.wanted()) return true;
  Mail mail;
  mail.kind = Mail::Kind::Published;
  mail.origin = open.origin;
  mail.reason = open.reason;
  return postman_.post_surely(open.origin.shard, std::move(mail));
}

}  // namespace mqttq
