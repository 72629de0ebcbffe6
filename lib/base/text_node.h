// Objects counted in millions, each in one block with a text of its own.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/alloc.h"

namespace mqttq {

// A T with `text`, or nullptr. Ended by destroy(). T ends in `uint16_t text_size` and `char text_start[n]`, which fills
// it up: the text begins there and goes on behind the object.
template <class T>
T* create_with_text(std::string_view text) noexcept {
  constexpr size_t kTextStart = sizeof(T) - sizeof(T::text_start);
  void* block = allocate(std::max(sizeof(T), kTextStart + text.size()));
  if (!block) return nullptr;
  T* object = new (block) T();
  object->text_size = static_cast<uint16_t>(text.size());
  if (!text.empty()) std::memcpy(static_cast<char*>(block) + kTextStart, text.data(), text.size());
  return object;
}

}  // namespace mqttq
