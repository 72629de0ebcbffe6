#include "capi/host_events.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace mqttq::capi {

void ReplyAddress::pack(mqttq_reply& out) const noexcept {
  out.words[0] = shard;
  out.words[1] = uint64_t{object.index} << 32 | object.generation;
  out.words[2] = question;
}

// What was never packed names a shard that does not exist.
ReplyAddress ReplyAddress::unpack(const mqttq_reply& reply) noexcept {
  if (reply.words[0] > UINT32_MAX || reply.words[2] > UINT32_MAX) return {UINT32_MAX, {}, 0};
  return {static_cast<uint32_t>(reply.words[0]),
          {static_cast<uint32_t>(reply.words[1] >> 32), static_cast<uint32_t>(reply.words[1])},
          static_cast<uint32_t>(reply.words[2])};
}

EventPtr make_event(const mqttq_event& event, MessageRef message) noexcept {
  mqttq_bytes mqttq_event::* const texts[] = {
      &mqttq_event::client_id, &mqttq_event::user_name,   &mqttq_event::password, &mqttq_event::address,
      &mqttq_event::topic,     &mqttq_event::auth_method, &mqttq_event::auth_data};
  size_t size = 0;
  for (const auto text : texts) size += (event.*text).size;
  void* block = allocate(sizeof(EventBlock) + size);
  if (!block) return nullptr;
  EventPtr made(new (block) EventBlock{event, std::move(message)});
  made->event.size = sizeof(mqttq_event);
  if (!made->event.namespace_name) made->event.namespace_name = "";
  made->event.message = handle_of(made->message);
  auto* at = reinterpret_cast<char*>(made.get() + 1);
  for (const auto text : texts) {
    mqttq_bytes& copy = made->event.*text;
    if (!copy.size) continue;
    std::memcpy(at, copy.data, copy.size);
    copy.data = at;
    at += copy.size;
  }
  return made;
}

}  // namespace mqttq::capi

using mqttq::capi::EventPtr;

mqttq_events::mqttq_events(mqttq::Broker& broker, const mqttq_events_config& config)
    : broker_(broker), config_(config) {
  if (config.mode > MQTTQ_ON_SHARD) throw std::invalid_argument("mode: not one of MQTTQ_PULL, ON_WORKER, ON_SHARD");
  if ((config.mode == MQTTQ_PULL) != (config.on_event == nullptr)) {
    throw std::invalid_argument("on_event: to be given for MQTTQ_ON_WORKER and MQTTQ_ON_SHARD, and only for them");
  }
  for (uint32_t i = 0; i < broker.shard_count(); ++i) {
    boxes_.push_back(std::make_unique<Box>(config.capacity ? config.capacity : 1024));
  }
  if (config.mode == MQTTQ_ON_SHARD) return;
  descriptor_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  if (config.mode != MQTTQ_ON_WORKER) return;
  try {
    worker_ = std::thread([this] { run_worker(); });
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

mqttq_events::~mqttq_events() {
  closing_.store(true);
  if (worker_.joinable()) {
    signalled_.store(false);
    signal();
    worker_.join();
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool mqttq_events::push(uint32_t shard, EventPtr& event) noexcept {
  Box& box = *boxes_[shard];
  event->event.sequence = box.sequence + 1;
  if (config_.mode == MQTTQ_ON_SHARD) {
    ++box.sequence;
    config_.on_event(config_.user, &event->event);
    event.reset();
    return true;
  }
  if (!box.events.push(std::move(event))) return false;
  ++box.sequence;
  signal();
  return true;
}

void mqttq_events::tell(uint32_t shard, EventPtr event) noexcept {
  if (!event || !push(shard, event)) lost_.fetch_add(1, std::memory_order_relaxed);
}

// Read-modify-writes on both sides: whichever comes second sees what the other did before.
bool mqttq_events::want_room(uint32_t shard) noexcept {
  boxes_[shard]->wants_room.exchange(true, std::memory_order_acq_rel);
  return !has_room(shard);
}

// The descriptor is made readable once, until the host has looked.
void mqttq_events::signal() noexcept {
  if (signalled_.exchange(true, std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  static_cast<void>(!::write(descriptor_, &one, sizeof one));
}

size_t mqttq_events::take(mqttq_event* out, size_t count) noexcept {
  taken_.clear();
  uint64_t ignored;
  static_cast<void>(!::read(descriptor_, &ignored, sizeof ignored));
  // Not a plain store: who finds it set has pushed before, and what was pushed must be seen below.
  signalled_.exchange(false, std::memory_order_seq_cst);
  size_t filled = 0;
  bool left = false;
  for (uint32_t shard = 0; shard < boxes_.size(); ++shard) {
    Box& box = *boxes_[shard];
    while (EventPtr* event = box.events.front()) {
      if (filled == count) {
        left = true;
        break;
      }
      try {
        taken_.push_back(std::move(*event));
      } catch (const std::bad_alloc&) {
        left = true;
        break;
      }
      box.events.pop();
      out[filled++] = taken_.back()->event;
    }
    if (box.wants_room.exchange(false, std::memory_order_acq_rel)) make_room_known(shard);
  }
  if (left) signal();
  return filled;
}

void mqttq_events::make_room_known(uint32_t shard) noexcept {
  try {
    broker_.shard(shard).run_soon([this, shard](mqttq::ShardCore&, mqttq::Instant now) {
      for (Waiter* waiter : boxes_[shard]->waiters) waiter->on_room(now);
    });
  } catch (const std::bad_alloc&) {
    boxes_[shard]->wants_room.store(true, std::memory_order_release);  // said at the next take
  }
}

void mqttq_events::run_worker() noexcept {
  constexpr size_t kBatch = 64;
  mqttq_event batch[kBatch];
  while (!closing_.load()) {
    const size_t count = take(batch, kBatch);
    for (size_t i = 0; i < count; ++i) config_.on_event(config_.user, &batch[i]);
    if (count == 0) {
      pollfd watched{descriptor_, POLLIN, 0};
      ::poll(&watched, 1, -1);
    }
  }
}
