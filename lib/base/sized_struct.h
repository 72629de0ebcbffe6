// Structs of the C ABI, whose first field is their size: how one of another version is read, and how one is begun.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace mqttq {

// Reads a struct of the host's, which may be shorter (older) or longer (newer) than ours: what it did not know reads as
// 0, what we do not know must be 0. False: it is newer and asks for something that we do not have.
template <class T>
bool read_struct(const T* from, T& out) noexcept {
  out = {};
  out.size = sizeof out;
  if (!from) return true;
  if (from->size < sizeof(size_t)) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (size_t i = sizeof out; i < from->size; ++i) {
    if (bytes[i]) return false;
  }
  const size_t known = std::min(from->size, sizeof out);
  std::memcpy(reinterpret_cast<unsigned char*>(&out) + sizeof(size_t), bytes + sizeof(size_t), known - sizeof(size_t));
  return true;
}

// For _init functions: zeroes as much as the host has, and sets its size.
template <class T>
void init_struct(T* config, size_t size) noexcept {
  if (!config || size < sizeof(size_t)) return;
  std::memset(config, 0, size);
  config->size = size;
}

}  // namespace mqttq
