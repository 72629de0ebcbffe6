// Session: what came from its client at QoS 1 and 2 and is not finished; receipts, open publishes and their answers.
#include <algorithm>

#include "session/shard_core.h"

namespace mqttq {

bool Session::remove_receipt(uint16_t packet_id) noexcept {
  if (!in_ || !in_->receipts.remove(packet_id)) return false;
  if (stored_) {
    shard_.state().writes().erase(StateTable::Receipts, state_key(state_key_text()).add(packet_id).bytes());
  }
  return true;
}

bool Session::enter_open_publish(OpenPublish open) noexcept {
  if (!make_incoming()) return false;
  if (in_->open.empty()) {
    in_->open_lowest = UINT16_MAX;
    in_->open_highest = 0;
  }
  in_->open_lowest = std::min(in_->open_lowest, open.packet_id);
  in_->open_highest = std::max(in_->open_highest, open.packet_id);
  return in_->open.push_back(OpenPublish(open));
}

// Clients count their identifiers up, so that a new one mostly lies above all that are open, and nothing is searched.
bool Session::identifier_open(uint16_t packet_id, uint32_t serial) noexcept {
  if (!in_) return false;
  if (in_->receipts.find(packet_id)) return true;
  if (in_->open.empty() || packet_id < in_->open_lowest || packet_id > in_->open_highest) return false;
  in_->open_lowest = UINT16_MAX;
  in_->open_highest = 0;
  bool found = false;
  for (uint32_t i = 0; i < in_->open.count(); ++i) {
    const OpenPublish& open = in_->open[i];
    found |= open.packet_id == packet_id && open.connection_serial == serial;
    in_->open_lowest = std::min(in_->open_lowest, open.packet_id);
    in_->open_highest = std::max(in_->open_highest, open.packet_id);
  }
  return found;
}

OpenPublish* Session::find_open_publish(const PublishOrigin& origin) noexcept {
  for (uint32_t i = 0; i < open_publish_count(); ++i) {
    OpenPublish& open = in_->open[i];
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
  for (uint32_t i = 0; i < open_publish_count(); ++i) {
    OpenPublish& open = in_->open[i];
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
  if (!is_error(open->reason.code)) open->reason = operation.outcome();
  answer_publishes(now);
}

bool Session::first_taker_answered(const PublishOrigin& origin, Reason& reason) noexcept {
  const OpenPublish* open = find_open_publish(origin);
  if (open && open->takers_open == 0) return false;
  if (open) reason = open->reason;
  return true;
}

void Session::answer_publishes(Instant now) noexcept {
  while (!in_->open.empty() && !in_->open.front().handing_over && in_->open.front().takers_open == 0) {
    const OpenPublish done = in_->open.pop_front();
    const bool here = connection_ && connection_->serial() == done.answer_serial;
    if (done.qos == Qos::ExactlyOnce && !done.intruder) {
      if (is_error(done.reason.code)) {
        remove_receipt(done.packet_id);  // one taker may have it, and the receipt with it
      } else if (Receipt* receipt = in_->receipts.find(done.packet_id)) {
        receipt->answered = true;
      }
    }
    if (here) connection_->answer_open_publish(done, now);
  }
  if (!in_->open.empty()) return;
  constexpr uint32_t kKept = 64;
  if (in_->open.capacity() > kKept) in_->open.reset();
  if (connection_) connection_->on_all_answered();
}

void Session::forget_old_receipts(Instant now) noexcept {
  const int64_t timeout = int64_t{shard_.limits().receipt_timeout_s} * kSecond;
  if (!timeout || !in_) return;
  Array<uint16_t> old;  // without memory some stay until the next time
  in_->receipts.for_each([&](uint16_t packet_id, Receipt& receipt) {
    if (receipt.answered && now - receipt.since > timeout) static_cast<void>(old.push_back(packet_id));
  });
  for (const uint16_t packet_id : old) remove_receipt(packet_id);
}

uint32_t Session::open_count(uint32_t connection_serial) noexcept {
  uint32_t count = 0;
  if (!in_) return count;
  in_->receipts.for_each([&](uint16_t, Receipt& receipt) { count += receipt.connection_serial == connection_serial; });
  for (uint32_t i = 0; i < in_->open.count(); ++i) {
    const OpenPublish& open = in_->open[i];
    if (open.qos == Qos::AtLeastOnce && open.connection_serial == connection_serial) ++count;
  }
  return count;
}

}  // namespace mqttq
