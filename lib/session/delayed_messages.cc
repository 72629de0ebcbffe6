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

DelayedMessages::DelayedMessages(const Limits& limits, DelayedTotals& totals, TimerWheel& timers, void* user,
                                 bool (*publish)(void*, const MessageRef&, Instant) noexcept) noexcept
    : limits_(limits),
      totals_(totals),
      timers_(timers),
      user_(user),
      publish_(publish),
      slab_(limits.delayed_messages_max, &totals.messages) {
  alarm_.of = this;
}

DelayedMessages::~DelayedMessages() { clear(); }

void DelayedMessages::clear() noexcept {
  while (!heap_.empty()) remove(*heap_.back());
  alarm_.cancel();
  due_ = false;
}

uint64_t DelayedMessages::size_of(const DelayedMessage& one) noexcept {
  return one.message->content_size() + one.client_id.count();
}

Status DelayedMessages::add(MovingMessage& message, std::string_view client_id, Instant due) noexcept {
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
  one->serial = next_serial_++;
  static_cast<void>(heap_.push_back(one));  // there is room
  one->place = heap_.count() - 1;
  sift_up(one->place);
  if (heap_[0] == one) arm();
  return Status::Ok;
}

bool DelayedMessages::cancel(NamespaceId namespace_id, SlabHandle handle) noexcept {
  DelayedMessage* one = slab_.find(handle);
  if (!one || one->message->namespace_id() != namespace_id) return false;
  const bool was_first = one->place == 0;
  remove(*one);
  if (was_first) arm();
  return true;
}

bool DelayedMessages::run(Instant now) noexcept {
  if (!due_) return false;
  for (uint32_t count = 0; !heap_.empty() && heap_[0]->due <= now; ++count) {
    if (count == kPublishesPerTurn) return true;
    DelayedMessage& first = *heap_[0];
    if (!publish_(user_, first.message, now)) return false;  // it stays, until there is room
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
    timers_.arm(alarm_, heap_[0]->due,
                [](Timer& timer, Instant) noexcept { static_cast<Alarm&>(timer).of->due_ = true; });
  }
}

void DelayedMessages::remove(DelayedMessage& one) noexcept {
  const uint32_t place = one.place;
  DelayedMessage& last = *heap_.back();
  heap_.pop_back();
  if (&last != &one) {
    set(place, last);
    sift_up(place);
    sift_down(last.place);
  }
  totals_.bytes.fetch_sub(size_of(one), std::memory_order_relaxed);
  slab_.give_back(one);
}

// --- the heap: the first is the one that is due first

bool DelayedMessages::before(const DelayedMessage& one, const DelayedMessage& other) noexcept {
  return one.due != other.due ? one.due < other.due : one.serial < other.serial;
}

void DelayedMessages::set(uint32_t place, DelayedMessage& one) noexcept {
  heap_[place] = &one;
  one.place = place;
}

void DelayedMessages::sift_up(uint32_t place) noexcept {
  DelayedMessage& rising = *heap_[place];
  while (place && before(rising, *heap_[(place - 1) / 2])) {
    set(place, *heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  set(place, rising);
}

void DelayedMessages::sift_down(uint32_t place) noexcept {
  DelayedMessage& sinking = *heap_[place];
  for (;;) {
    uint32_t child = 2 * place + 1;
    if (child >= heap_.count()) break;
    if (child + 1 < heap_.count() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], sinking)) break;
    set(place, *heap_[child]);
    place = child;
  }
  set(place, sinking);
}

}  // namespace mqttq
