// See delayed_messages.h.
#include "session/delayed_messages.h"

namespace mqttq {

namespace {
constexpr uint32_t kPublishesPerTurn = 1000;
}

int64_t delay_ns(const DelayedTopic& topic, uint32_t longest_s, Instant now, int64_t unix_offset_ms) noexcept {
  if (topic.seconds <= kDelayMax_s) {
    return topic.seconds > longest_s ? -1 : static_cast<int64_t>(topic.seconds) * kSecond;
  }
  if (topic.seconds > INT64_MAX / kSecond) return -1;
  const int64_t left = static_cast<int64_t>(topic.seconds) * kSecond - unix_offset_ms * kMillisecond - now.ns;
  if (left > int64_t{longest_s} * kSecond) return -1;
  return left < 0 ? 0 : left;
}

bool DelayedTotals::full(const Limits& limits) const noexcept {
  return messages.load(std::memory_order_relaxed) >= limits.delayed_messages_max ||
         bytes.load(std::memory_order_relaxed) >= limits.delayed_bytes_max;
}

DelayedMessages::DelayedMessages(const Limits& limits, DelayedTotals& totals, TimerWheel& timers, Taker& taker) noexcept
    : limits_(limits),
      totals_(totals),
      timers_(timers),
      taker_(taker),
      slab_(limits.delayed_messages_max, &totals.messages) {
  alarm_.of = this;
}

DelayedMessages::~DelayedMessages() { clear(); }

void DelayedMessages::clear() noexcept {
  while (!heap_.empty()) remove(heap_.any());
  alarm_.cancel();
  due_ = false;
}

uint64_t DelayedMessages::size_of(const DelayedMessage& one) noexcept {
  return one.message->content_size() + one.client_id.count();
}

Status DelayedMessages::add(MovingMessage& message, std::string_view client_id, Instant due, uint64_t serial) noexcept {
  const MessageView& view = message.view();
  const uint64_t size = view.topic_name.size() + view.properties.size() + view.payload.size() + client_id.size();
  if (totals_.full(limits_)) return Status::Full;
  if (totals_.bytes.fetch_add(size, std::memory_order_relaxed) + size > limits_.delayed_bytes_max) {
    totals_.bytes.fetch_sub(size, std::memory_order_relaxed);
    return Status::Full;
  }
  DelayedMessage* one = heap_.make_room() && message.keep() ? slab_.take() : nullptr;
  if (one && !one->client_id.append({client_id.data(), client_id.size()})) {
    slab_.give_back(*one);
    one = nullptr;
  }
  if (!one) {
    totals_.bytes.fetch_sub(size, std::memory_order_relaxed);
    return Status::NoMemory;
  }
  one->message = message.share();
  one->due = due;
  one->serial = serial;
  heap_.push(*one);
  if (&heap_.front() == one) arm();
  return Status::Ok;
}

bool DelayedMessages::cancel(NamespaceId namespace_id, SlabHandle handle) noexcept {
  DelayedMessage* one = slab_.find(handle);
  if (!one || one->message->namespace_id() != namespace_id) return false;
  const bool was_first = &heap_.front() == one;
  remove(*one);
  if (was_first) arm();
  return true;
}

bool DelayedMessages::run(Instant now) noexcept {
  if (!due_) return false;
  for (uint32_t count = 0; !heap_.empty() && heap_.front().due <= now; ++count) {
    if (count == kPublishesPerTurn) return true;
    DelayedMessage& first = heap_.front();
    if (!taker_.publish_delayed(first.message, now)) return false;  // it stays, until there is room
    remove(first);
  }
  due_ = false;
  arm();
  return false;
}

void DelayedMessages::arm() noexcept {
  if (heap_.empty()) {
    alarm_.cancel();
  } else if (!due_) {
    timers_.arm(alarm_, heap_.front().due,
                [](Timer& timer, Instant) noexcept { static_cast<Alarm&>(timer).of->due_ = true; });
  }
}

void DelayedMessages::remove(DelayedMessage& one) noexcept {
  heap_.remove(one);
  taker_.on_delayed_ended(one.serial);
  totals_.bytes.fetch_sub(size_of(one), std::memory_order_relaxed);
  slab_.give_back(one);
}

bool DelayedMessages::before(const DelayedMessage& one, const DelayedMessage& other) noexcept {
  return one.due != other.due ? one.due < other.due : one.serial < other.serial;
}

}  // namespace mqttq
