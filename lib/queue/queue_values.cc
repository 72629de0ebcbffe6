// Queue: messages by their keys, and last values.
#include <algorithm>

#include "queue/queue.h"

namespace mqttq {

QueueValue* Queue::find_or_make_value(const TextKey& key) noexcept {
  QueueValue* value = values->by_key.find(
      key.first, [&](const QueueValue& one) { return one.key.first == key.first && one.key.second == key.second; });
  if (value || !(value = home.values_.take())) return value;
  value->key = key;
  values->by_key.insert(*value, key.first);
  return value;
}

QueueValue* Queue::value_of(const Message& message) noexcept {
  TextKey key;
  return values->key.of(message.view(), home.seed_, key) ? find_or_make_value(key) : nullptr;
}

void Queue::find_key(QueueOpen& one) noexcept {
  if (!values || std::exchange(one.judged, true)) return;
  one.value = value_of(*one.message);
  if (one.value) ++one.value->count;
}

// It does not belong to `open` any more. Whoever has it, or had it, is out of its key's way.
void Queue::let_go(QueueOpen& one) noexcept {
  QueueValue* value = std::exchange(one.value, nullptr);
  if (!value) return;
  --value->count;
  if (one.member) --value->inflight_count;
  if (last_only()) return mark_stale(*value);  // it ends when that is recorded
  if (value->count) return;
  values->by_key.remove(*value);
  home.values_.give_back(*value);
}

// --- last values

void Queue::mark_stale(QueueValue& value) noexcept {
  if (!value.ListLink<StaleTag>::linked()) values->stale.push_back(value);
  changed();
}

// What has come into the journal is taken out of there, so that it holds nothing that was replaced. Without memory it
// stays, and is taken the next time.
void Queue::take_values() noexcept {
  while (const JournalEntry* entry = journal().peek(reader)) {
    if (!take_value(*entry)) return changed();
  }
}

// One without a key is the only one of a key of its own.
bool Queue::take_value(const JournalEntry& entry) noexcept {
  const uint64_t number = entry.number;
  MessageRef message = entry.message;
  if (!message) {
    const auto found = content(number, message);
    if (ReadAhead::pending(found)) return false;
  }
  QueueValue* value = message ? value_of(*message) : nullptr;
  if (!value) value = find_or_make_value({number, UINT64_MAX});
  if (!value) return false;
  note_value(*value, number, message, pass_first());
  return true;
}

void Queue::note_value(QueueValue& value, uint64_t number, const MessageRef& message, uint32_t size) noexcept {
  if (value.number) {
    ++work->figures.replaced;
    drop_value(value);
  }
  if (value.count && !value.inflight_count) {  // it came back, and is not the last any more
    ++work->figures.replaced;
    settle(*find_number(work->open, value.open_number));
  }
  value.number = number;
  value.size = size;
  value.message = message;
  values->waiting.push_back(value);
  ++values->count;
  values->bytes += size;
  mark_stale(value);
}

// The one that waits does so no longer.
void Queue::take_out_value(QueueValue& value) noexcept {
  value.ListLink<ValueTag>::unlink();
  value.number = 0;
  value.message = {};
  --values->count;
  values->bytes -= value.size;
  mark_stale(value);
}

// And is gone.
void Queue::drop_value(QueueValue& value) noexcept {
  take_out_value(value);
  filter->gate().leave(1, value.size);
}

// In the order in which they came; one whose key is with a consumer waits until that is settled.
void Queue::flush_values(Instant now) noexcept {
  for (QueueValue* value = values->waiting.front(); value;) {
    QueueValue& one = *value;
    value = values->waiting.next(one);
    if (one.count) continue;
    if (!someone_takes()) return;
    if (!one.message) {
      const auto found = content(one.number, one.message);
      if (ReadAhead::pending(found)) return;
    }
    if (!one.message || one.message->expired(now)) {
      work->figures.expired += static_cast<bool>(one.message);
      drop_value(one);
      continue;
    }
    if (!work->open.make_room()) return changed();  // it goes on then
    if (!offer(open_value(one), now)) return;
  }
}

QueueOpen& Queue::open_value(QueueValue& value) noexcept {
  MessageRef message = std::move(value.message);
  const uint64_t number = value.number;
  const uint32_t size = value.size;
  take_out_value(value);
  QueueOpen& opened = enter_open(number, std::move(message), size);
  opened.value = &value;
  opened.judged = true;
  value.count = 1;
  value.open_number = number;
  return opened;
}

bool Queue::end_replaced(QueueOpen& one) noexcept {
  if (!last_only() || !one.value || !one.value->number) return false;
  ++work->figures.replaced;
  settle(one);
  return true;
}

// all: as if none of them ever was.
void Queue::record_values(bool all) noexcept {
  if (!last_only()) return;
  if (all) {
    values->by_key.for_each([this](QueueValue& value) {
      value.recorded = 0;
      mark_stale(value);
    });
  }
  while (QueueValue* value = values->stale.pop_front()) {
    if (value->number != value->recorded || all) home.courier_.record_value(*this, *value);
    value->recorded = value->number;
    if (value->number || value->count) continue;
    values->by_key.remove(*value);
    home.values_.give_back(*value);
  }
}

// --- how they come back

bool Queues::restore_value(Queue& queue, const TextKey& key, uint64_t number, uint32_t size) noexcept {
  if (!queue.last_only()) return true;
  QueueValue* value = queue.find_or_make_value(key);
  if (!value) return false;
  value->number = value->recorded = number;
  value->size = size;
  ++queue.values->count;
  queue.values->bytes += size;
  queue.filter->gate().add(size);
  return true;
}

bool Queues::finish_values(Queue& queue) noexcept {
  if (!queue.last_only()) return true;
  Array<QueueValue*> sorted;
  bool complete = true;
  queue.values->by_key.for_each([&](QueueValue& value) {
    if (value.number) complete = complete && sorted.push_back(&value);
  });
  std::sort(sorted.begin(), sorted.end(),
            [](const QueueValue* one, const QueueValue* other) { return one->number < other->number; });
  for (QueueValue* value : sorted) queue.values->waiting.push_back(*value);
  // What was with a consumer, and has been replaced since.
  for (uint32_t i = 0; i < queue.work->open.count(); ++i) {
    QueueOpen& one = queue.work->open[i];
    if (!one.settled && one.value && one.value->number) queue.settle(one);
  }
  return complete;
}

}  // namespace mqttq
