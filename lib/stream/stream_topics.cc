#include "stream/stream_topics.h"

#include "base/hash.h"

namespace mqttq {

StreamTopics::~StreamTopics() {
  for (Topic* topic : by_number_) destroy(topic);
}

uint32_t StreamTopics::enter(std::string_view name) noexcept {
  const uint64_t hash = hash_text(name, 0);
  if (Topic* known = by_name_.find(hash, [name](const Topic& one) { return one.name.view() == name; })) {
    ++known->count;
    return known->number;
  }
  const bool again = !free_.empty();
  if (!again && (!by_number_.make_room() || !free_.reserve(by_number_.count() + 1))) return kUnknown;
  auto* made = create<Topic>();
  if (!made || !made->name.set(name)) {
    destroy(made);
    return kUnknown;
  }
  made->count = 1;
  ++changes_;
  if (again) {
    made->number = free_.back();
    free_.pop_back();
    by_number_[made->number] = made;
    ++reuses_;
  } else {
    made->number = by_number_.count();
    static_cast<void>(by_number_.push_back(made));  // there is room
  }
  by_name_.insert(*made, hash);
  return made->number;
}

void StreamTopics::leave(uint32_t topic) noexcept {
  if (topic == kUnknown || --by_number_[topic]->count) return;
  by_name_.remove(*by_number_[topic]);
  destroy(std::exchange(by_number_[topic], nullptr));
  static_cast<void>(free_.push_back(topic));  // there is room
}

}  // namespace mqttq
