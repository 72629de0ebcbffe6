#include "stream/stream_tail.h"

namespace mqttq {

// Of the first item from `position` on, mostly without a search: few streams have gaps.
uint32_t StreamTail::index_of(uint64_t position) noexcept {
  if (position <= first()) return 0;
  const uint64_t offset = position - first();
  if (offset < items_.count() && items_[static_cast<uint32_t>(offset)].position == position) {
    return static_cast<uint32_t>(offset);
  }
  uint32_t low = 0, high = items_.count();
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (items_[middle].position < position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void StreamTail::remove(uint64_t position) noexcept {
  constexpr uint32_t kKept = 64;
  if (items_.empty() || position < first()) return;
  const uint32_t index = index_of(position);
  if (index == items_.count() || items_[index].position != position) return;
  items_[index].message = {};
  ++removed_;
  if (index == 0) trim_to(position + 1);
  if (removed_ <= kKept || removed_ <= items_.count() / 2) return;
  for (uint32_t left = items_.count(); left; --left) {
    Item item = items_.pop_front();
    if (item.message) static_cast<void>(items_.push_back(std::move(item)));  // there is room: it was taken out
  }
  removed_ = 0;
}

void StreamTail::trim_to(uint64_t position) noexcept {
  while (!items_.empty() && (items_.front().position < position || !items_.front().message)) {
    removed_ -= !items_.pop_front().message;
  }
  if (items_.empty()) clear();
}

}  // namespace mqttq
