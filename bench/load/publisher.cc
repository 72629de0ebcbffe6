// See publisher.h.
#include "load/publisher.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "load/failure.h"

namespace mqttq::bench {
namespace {

constexpr size_t kFlatOutBytes = 256u << 10;
constexpr size_t kFlatOutBytesAll = 10 * kFlatOutBytes;
constexpr size_t kUnsentBytesMax = 1u << 20;  // in our own buffer, behind a socket that takes no more

}  // namespace

Publisher::Publisher(Loop& loop, Client& client, uint8_t qos, std::vector<PublishTemplate> topics, uint32_t window,
                     uint32_t delivery_count)
    : loop_(&loop),
      client_(&client),
      qos_(qos),
      topics_(std::move(topics)),
      window_(window),
      delivery_count_(delivery_count),
      missing_(std::bit_ceil(window)) {
  if (qos == 0) return;
  // The broker's Receive Maximum bounds what may be unacknowledged [MQTT-3.3.4-7].
  const uint32_t id_count = std::min<uint32_t>(window, client.receive_maximum);
  id_times_.resize(id_count + 1, kFree);
  for (uint32_t id = id_count; id >= 1; --id) free_ids_.push_back(static_cast<uint16_t>(id));
}

bool Publisher::has_room() const {
  return next_ - base_ < window_ && (qos_ == 0 || !free_ids_.empty()) && client_->out.size() < kUnsentBytesMax;
}

void Publisher::send(uint64_t time_ns) {
  uint16_t packet_id = 0;
  if (qos_ != 0) {
    packet_id = free_ids_.back();
    free_ids_.pop_back();
    id_times_[packet_id] = time_ns;
  }
  put_publish(client_->out, topics_[topic_index_], packet_id, {client_->index, next_, time_ns});
  if (++topic_index_ == topics_.size()) topic_index_ = 0;
  if (delivery_count_ == 0) {
    ++base_;
  } else {
    missing_[next_ & (missing_.size() - 1)] = delivery_count_;
  }
  ++next_;
  loop_->touch(*client_);
}

void Publisher::settle(uint32_t sequence) {
  const size_t mask = missing_.size() - 1;
  if (sequence - base_ >= next_ - base_ || missing_[sequence & mask] == 0) {
    throw Failure("message " + std::to_string(sequence) + " of publisher " + std::to_string(client_->index) +
                  " was delivered too often");
  }
  --missing_[sequence & mask];
  while (base_ != next_ && missing_[base_ & mask] == 0) ++base_;
}

uint64_t Publisher::abandon() {
  uint64_t count = 0;
  for (; base_ != next_; ++base_) count += missing_[base_ & (missing_.size() - 1)];
  return count;
}

uint64_t Publisher::on_acknowledged(uint16_t packet_id) {
  if (packet_id == 0 || packet_id >= id_times_.size() || id_times_[packet_id] == kFree) {
    throw Failure("the broker acknowledged packet identifier " + std::to_string(packet_id) +
                  ", which is not in flight");
  }
  free_ids_.push_back(packet_id);
  return std::exchange(id_times_[packet_id], kFree);
}

uint32_t Publisher::in_flight_count() const {
  const auto unacknowledged = qos_ == 0 ? 0 : static_cast<uint32_t>(id_times_.size() - 1 - free_ids_.size());
  return std::max(next_ - base_, unacknowledged);
}

uint32_t Publisher::flat_out_window(size_t packet_size, size_t publisher_count) {
  const size_t bytes = std::min(kFlatOutBytes, kFlatOutBytesAll / publisher_count);
  return static_cast<uint32_t>(std::clamp<size_t>(bytes / packet_size, 16, 32768));
}

}  // namespace mqttq::bench
