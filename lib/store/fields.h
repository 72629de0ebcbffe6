// Fields one behind the other: the bodies of records, and values of the store.
#pragma once

#include <string_view>

#include "base/array.h"
#include "base/byte_order.h"
#include "base/bytes.h"

namespace mqttq {

// Writes behind what `out` holds. When the allocator has refused once, everything later is left out.
class FieldWriter {
 public:
  explicit FieldWriter(Array<std::byte>& out) noexcept : out_(out) {}

  template <class Number>
  void number(Number value) noexcept {
    std::byte bytes[sizeof value];
    put_little(bytes, value);
    raw(bytes);
  }
  void raw(Bytes bytes) noexcept { ok_ = ok_ && out_.append(bytes); }
  void text(std::string_view text) noexcept { raw(as_bytes(text)); }
  // With its size in front, which is below 4 GiB.
  void sized(Bytes bytes) noexcept {
    number(static_cast<uint32_t>(bytes.size()));
    raw(bytes);
  }
  bool ok() const noexcept { return ok_; }

 private:
  Array<std::byte>& out_;
  bool ok_ = true;
};

// Reads what stands there; where there is less than asked for, zeros and nothing, and ok() is false from then on.
class FieldReader {
 public:
  explicit FieldReader(Bytes bytes) noexcept : rest_(bytes) {}

  template <class Number>
  Number number() noexcept {
    const Bytes bytes = raw(sizeof(Number));
    return bytes.empty() ? Number{0} : get_little<Number>(bytes.data());
  }
  Bytes raw(size_t size) noexcept {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const Bytes bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }
  Bytes sized() noexcept { return raw(number<uint32_t>()); }
  Bytes rest() noexcept { return raw(rest_.size()); }
  bool at_end() const noexcept { return rest_.empty(); }
  bool ok() const noexcept { return ok_; }

 private:
  Bytes rest_;
  bool ok_ = true;
};

}  // namespace mqttq
