// Bytes on their way out of one connection, and the growable memory behind them.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>

namespace mqttq::bench {

// A queue of bytes: appended at the end, sent from the front. A std::vector would clear what we are about to write.
class Buffer {
 public:
  // Room for `size` more bytes, to be filled by the caller at once; valid until the next call.
  std::byte* extend(size_t size) {
    if (capacity_ - end_ < size) grow(size);
    std::byte* room = bytes_.get() + end_;
    end_ += size;
    return room;
  }

  void append(const void* source, size_t size) {
    if (size != 0) std::memcpy(extend(size), source, size);
  }

  const std::byte* data() const { return bytes_.get() + begin_; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }

  // Forgets the first `size` bytes, which must be there.
  void consume(size_t size) {
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }

 private:
  void grow(size_t size) {
    const size_t used = end_ - begin_;
    size_t capacity = capacity_ == 0 ? 64 : capacity_;
    while (capacity - used < size) capacity *= 2;
    std::unique_ptr<std::byte[]> bytes(new std::byte[capacity]);
    if (used != 0) std::memcpy(bytes.get(), bytes_.get() + begin_, used);
    bytes_ = std::move(bytes);
    begin_ = 0;
    end_ = used;
    capacity_ = capacity;
  }

  std::unique_ptr<std::byte[]> bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

}  // namespace mqttq::bench
