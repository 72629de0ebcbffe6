#include "store/store_quota.h"

namespace mqttq {

namespace {

// Of any number of bytes, without overflow.
constexpr uint64_t part(uint64_t bytes, uint64_t count, uint64_t of) noexcept {
  return bytes / of * count + bytes % of * count / of;
}

}  // namespace

void StoreQuota::set_used(uint64_t bytes) noexcept {
  constexpr uint32_t kHysteresisPercent = 5;
  bytes_used_ = bytes;
  bytes_taken_ = 0;
  const uint64_t max = options_.bytes_max;
  if (!max) return;
  full_ = bytes >= (full_ ? part(max, 9, 10) : max);
  const uint32_t percent = options_.alarm_percent;
  high_ = bytes >= part(max, high_ ? percent - std::min(percent, kHysteresisPercent) : percent, 100);
}

void StoreQuota::set_disk(const DiskRoom& room) noexcept {
  constexpr uint64_t kEnough = uint64_t{256} << 20;
  if (!room.bytes) return;
  bytes_free_ = room.bytes_free;
  const uint64_t least = std::min(part(room.bytes, 5, 100), kEnough);
  disk_high_ = room.bytes_free < (disk_high_ ? part(least, 5, 4) : least);
}

bool StoreQuota::take(uint64_t bytes, bool promised) noexcept {
  const uint64_t max = options_.bytes_max;
  if (!max) return true;
  const uint64_t bound = promised ? max + max / 16 : max;
  const uint64_t used = bytes_used_ + bytes_taken_;
  if ((promised || !full_) && bytes <= bound && used <= bound - bytes) {
    bytes_taken_ += bytes;
    return true;
  }
  // A message that is larger than what others leave free refuses nobody but itself.
  full_ = full_ || used >= part(max, kNearlyFull_16, 16);
  return false;
}

}  // namespace mqttq
