// Session: what came from its client at QoS 1 and 2 and is not finished; receipts, open publishes and their answers.
#include <algorithm>

#include "session/shard_core.h"

namespace mqttq {

bool Session::enter_open_publish(OpenPublish open) noexcept {
  if (open_publishes_.empty()) {
    open_lowest_ = UINT16_MAX;
    open_highest_ = 0;
  }
  open_lowest_ = std::min(open_lowest_, open.packet_id);
  open_highest_ = std::max(open_highest_, open.packet_id);
  return open_publishes_.push_back(OpenPublish(open));
}

// Clients count their identifiers up, so that a new one mostly lies above all that are open, and nothing is searched.
bool Session::identifier_open(uint16_t packet_id, uint32_t serial) noexcept {
  if (receipts_.find(packet_id)) return true;
  if (open_publishes_.empty() || packet_id < open_lowest_ || packet_id > open_highest_) return false;
  open_lowest_ = UINT16_MAX;
  open_highest_ = 0;
  bool found = false;
  for (uint32_t i = 0; i < open_publishes_.count(); ++i) {
    const OpenPublish& open = open_publishes_[i];
    found |= open.packet_id == packet_id && open.connection_serial == serial;
    open_lowest_ = std::min(open_lowest_, open.packet_id);
    open_highest_ = std::max(open_highest_, open.packet_id);
  }
  return found;
}

OpenPublish* Session::find_open_publish(const PublishOrigin& origin) noexcept {
  for (uint32_t i = 0; i < open_publishes_.count(); ++i) {
    OpenPublish& open = open_publishes_[i];
    if (open.packet_id == origin.packet_id && open.connection_serial == origin.connection_serial) return &open;
  }
  return nullptr;
}

void Session::on_published(const PublishOrigin& origin, Reason reason, Instant now) noexcept {
  OpenPublish* open = find_open_publish(origin);
  if (!open) return;
  if (is_error(reason.code) && !is_error(open->reason.code)) open->reason = reason;
  --open->takers_open;
  answer_publishes(now);
}

bool Session::repeat_open_publish(uint16_t packet_id, uint32_t serial) noexcept {
  for (uint32_t i = 0; i < open_publishes_.count(); ++i) {
    OpenPublish& open = open_publishes_[i];
    if (open.packet_id != packet_id || open.qos != Qos::ExactlyOnce || open.intruder) continue;
    open.answer_serial = serial;
    return true;
  }
  return false;
}

void Session::on_handed_over(const PublishOperation& operation, Instant now) noexcept {
  OpenPublish* open = find_open_publish(operation.origin);
  if (!open) return;
  open->handing_over = false;
  open->takers_open = static_cast<int16_t>(open->takers_open + operation.takers);
  if (!is_error(open->reason.code)) open->reason = {operation.outcome(), operation.detail};
  answer_publishes(now);
}

void Session::answer_publishes(Instant now) noexcept {
  while (!open_publishes_.empty() && !open_publishes_.front().handing_over &&
         open_publishes_.front().takers_open == 0) {
    const OpenPublish done = open_publishes_.pop_front();
    const bool here = connection_ && connection_->serial() == done.answer_serial;
    if (done.qos == Qos::ExactlyOnce && !done.intruder) {
      if (is_error(done.reason.code)) {
        receipts_.remove(done.packet_id);
      } else if (Receipt* receipt = receipts_.find(done.packet_id)) {
        receipt->answered = true;
      }
    }
    if (here) connection_->answer_open_publish(done, now);
  }
  if (!open_publishes_.empty()) return;
  open_publishes_.reset();
  if (connection_) connection_->on_all_answered();
}

void Session::forget_old_receipts(Instant now) noexcept {
  const int64_t timeout = int64_t{shard_.limits().receipt_timeout_s} * kSecond;
  if (!timeout) return;
  Array<uint16_t> old;  // without memory some stay until the next time
  receipts_.for_each([&](uint16_t packet_id, Receipt& receipt) {
    if (receipt.answered && now - receipt.since > timeout) static_cast<void>(old.push_back(packet_id));
  });
  for (const uint16_t packet_id : old) receipts_.remove(packet_id);
}

uint32_t Session::open_count(uint32_t connection_serial) noexcept {
  uint32_t count = 0;
  receipts_.for_each([&](uint16_t, Receipt& receipt) { count += receipt.connection_serial == connection_serial; });
  for (uint32_t i = 0; i < open_publishes_.count(); ++i) {
    const OpenPublish& open = open_publishes_[i];
    if (open.qos == Qos::AtLeastOnce && open.connection_serial == connection_serial) ++count;
  }
  return count;
}

}  // namespace mqttq
