// Numbers as bytes, in an order that is the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mqttq {

// The lowest byte first: in what is stored.
template <class Number>
constexpr void put_little(std::byte* at, Number number) noexcept {
  for (size_t i = 0; i < sizeof number; ++i) at[i] = static_cast<std::byte>(number >> (8 * i));
}
template <class Number>
constexpr Number get_little(const std::byte* at) noexcept {
  Number number = 0;
  for (size_t i = 0; i < sizeof number; ++i) {
    number = static_cast<Number>(number | static_cast<Number>(static_cast<Number>(at[i]) << (8 * i)));
  }
  return number;
}

// The highest byte first: in keys, whose order is that of the numbers then.
template <class Number>
constexpr void put_big(std::byte* at, Number number) noexcept {
  for (size_t i = 0; i < sizeof number; ++i) at[sizeof number - 1 - i] = static_cast<std::byte>(number >> (8 * i));
}
template <class Number>
constexpr Number get_big(const std::byte* at) noexcept {
  Number number = 0;
  for (size_t i = 0; i < sizeof number; ++i) {
    number = static_cast<Number>(static_cast<Number>(number << 8) | static_cast<Number>(at[i]));
  }
  return number;
}

}  // namespace mqttq
