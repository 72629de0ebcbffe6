// A copied text of up to 65 535 bytes, as every name in MQTT is: eight bytes, and no block while it is empty.
#pragma once

#include <cstring>
#include <string_view>
#include <utility>

#include "base/alloc.h"
#include "base/assert.h"

namespace mqttq {

class OwnedText {
 public:
  OwnedText() noexcept = default;
  OwnedText(OwnedText&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  OwnedText& operator=(OwnedText&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~OwnedText() { release(block_); }

  // False when the allocator refuses: it is then as it was.
  [[nodiscard]] bool set(std::string_view text) noexcept {
    MQTTQ_ASSERT(text.size() <= UINT16_MAX);
    char* block = nullptr;
    if (!text.empty()) {
      block = static_cast<char*>(allocate(kSizeSize + text.size()));
      if (!block) return false;
      const auto size = static_cast<uint16_t>(text.size());
      std::memcpy(block, &size, kSizeSize);
      std::memcpy(block + kSizeSize, text.data(), text.size());
    }
    release(std::exchange(block_, block));
    return true;
  }
  bool empty() const noexcept { return block_ == nullptr; }
  std::string_view view() const noexcept {
    uint16_t size = 0;
    if (!block_) return {};
    std::memcpy(&size, block_, kSizeSize);
    return {block_ + kSizeSize, size};
  }

 private:
  static constexpr size_t kSizeSize = sizeof(uint16_t);
  char* block_ = nullptr;
};

}  // namespace mqttq
