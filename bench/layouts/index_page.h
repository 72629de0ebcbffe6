// The sorted index of a segment, in pages: journal after journal, each with its numbers, packed as delta varints.
//
// page: u32 CRC32C of the rest; u32 bytes used; then groups of
//   varint journal (less the one before; the first whole), varint count, then per entry
//   varint number (less the one before in the group; the first less the segment's first), and where positions are
//   kept, a zigzag varint of the position less the one before in the page.
#pragma once

#include <array>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "layouts/record.h"
#include "layouts/segment_store.h"

namespace mqttq::layouts {

inline constexpr size_t kIndexHeaderSize = 8;

class IndexPageWriter {
 public:
  // first: numbers are written less this one.
  void begin(uint64_t first, bool positions) {
    first_ = first;
    positions_ = positions;
    used_ = kIndexHeaderSize;
    journal_ = 0;
    position_ = 0;
    count_at_ = 0;
  }
  [[nodiscard]] bool empty() const { return used_ == kIndexHeaderSize; }

  // False if the page is full; nothing has changed then.
  bool add(uint64_t journal, uint64_t number, uint32_t position) {
    // A group's count is two bytes wide, so that it can grow; a group of more begins anew.
    if (used_ + 32 > kIndexPageSize) return false;
    if (count_at_ == 0 || journal != journal_ || group_count_ == kGroupMax) {
      put(journal - journal_);
      journal_ = journal;
      group_count_ = 0;
      count_at_ = used_;
      used_ += 1;
      number_ = first_;
    }
    put(number - number_);
    number_ = number;
    if (positions_) {
      const auto delta = static_cast<int64_t>(position) - static_cast<int64_t>(position_);
      put(static_cast<uint64_t>((delta << 1) ^ (delta >> 63)));
      position_ = position;
    }
    bytes_[count_at_] = static_cast<std::byte>(++group_count_);
    return true;
  }

  std::span<const std::byte> finish() {
    const auto used = static_cast<uint32_t>(used_);
    std::memcpy(&bytes_[4], &used, 4);
    std::memset(&bytes_[used_], 0, kIndexPageSize - used_);
    const uint32_t checksum = crc32c(0, &bytes_[4], kIndexPageSize - 4);
    std::memcpy(bytes_.data(), &checksum, 4);
    return bytes_;
  }

 private:
  static constexpr unsigned kGroupMax = 255;

  void put(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_[used_++] = static_cast<std::byte>(value | 0x80);
    bytes_[used_++] = static_cast<std::byte>(value);
  }

  std::array<std::byte, kIndexPageSize> bytes_{};
  uint64_t first_ = 0;
  bool positions_ = false;
  size_t used_ = kIndexHeaderSize;
  uint64_t journal_ = 0;
  uint64_t number_ = 0;
  uint32_t position_ = 0;
  size_t count_at_ = 0;
  unsigned group_count_ = 0;
};

class IndexPageReader {
 public:
  struct Item {
    uint64_t journal;
    uint64_t number;
    uint32_t position;
  };

  // The bytes must stay.
  void begin(std::string_view page, uint64_t first, bool positions) {
    uint32_t checksum = 0;
    uint32_t used = 0;
    if (page.size() != kIndexPageSize) throw std::runtime_error("an index page has the wrong size");
    std::memcpy(&checksum, page.data(), 4);
    std::memcpy(&used, page.data() + 4, 4);
    if (checksum != crc32c(0, page.data() + 4, kIndexPageSize - 4) || used > kIndexPageSize) {
      throw std::runtime_error("an index page is damaged");
    }
    page_ = page.substr(0, used);
    at_ = kIndexHeaderSize;
    first_ = first;
    positions_ = positions;
    item_ = {0, 0, 0};
    left_ = 0;
  }

  // False at the end of the page.
  bool next(Item& out) {
    if (left_ == 0) {
      if (at_ >= page_.size()) return false;
      item_.journal += take();
      left_ = static_cast<unsigned char>(page_[at_++]);
      item_.number = first_;
    }
    --left_;
    item_.number += take();
    if (positions_) {
      const uint64_t zigzag = take();
      item_.position += static_cast<uint32_t>((zigzag >> 1) ^ (~(zigzag & 1) + 1));
    }
    out = item_;
    return true;
  }

 private:
  uint64_t take() {
    uint64_t value = 0;
    for (unsigned shift = 0; at_ < page_.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(page_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value;
  }

  std::string_view page_;
  size_t at_ = 0;
  uint64_t first_ = 0;
  bool positions_ = false;
  Item item_{};
  unsigned left_ = 0;
};

}  // namespace mqttq::layouts
