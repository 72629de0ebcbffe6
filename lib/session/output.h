// What a connection has to say, gathered over a turn and written at its end with one vectored write.
#pragma once

#include "base/array.h"
#include "base/link.h"
#include "base/ring.h"
#include "message/message.h"

namespace mqttq {

class OutputPool;

// Small packets are copied into chunks; larger payloads stand by reference. Taken from the shard's pool when there is
// something to say and given back when all is said, so that an idle connection holds none.
class Output {
 public:
  explicit Output(OutputPool& pool) noexcept : pool_(pool) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output();

  // Room for `size` contiguous bytes, counted as written; nullptr when the allocator refuses.
  std::byte* write(size_t size) noexcept {
    if (!goes_on_ || chunk_->capacity - chunk_->used < size) return write_elsewhere(size);
    std::byte* at = chunk_->bytes() + chunk_->used;
    pieces_.back().size += static_cast<uint32_t>(size);
    chunk_->used += static_cast<uint32_t>(size);
    size_ += size;
    return at;
  }
  // `bytes` lie in `owner`, which is shared until they are sent. False when the allocator refuses.
  bool write_reference(Bytes bytes, const MessageRef& owner) noexcept;

  size_t size() const noexcept { return size_; }  // bytes not yet taken by the link
  // Hands the link what it takes of the first `limit` bytes. True when it took all of these.
  bool flush(Link& link, size_t limit = SIZE_MAX) noexcept;

 private:
  friend class OutputPool;
  struct Chunk {
    uint32_t capacity;
    uint32_t used;
    std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  };
  struct Piece {
    const std::byte* data = nullptr;
    uint32_t size = 0;
    Chunk* chunk = nullptr;  // set in the last piece that lies in it: given back with the piece
    MessageRef owner;
  };

  std::byte* write_elsewhere(size_t size) noexcept;

  OutputPool& pool_;
  Ring<Piece> pieces_;
  Chunk* chunk_ = nullptr;  // the one being filled
  size_t size_ = 0;
  bool goes_on_ = false;  // the last piece ends where the chunk's free bytes begin
};

// Owned by one shard: Outputs and chunks waiting to be used again, at most so many.
class OutputPool {
 public:
  OutputPool() noexcept = default;
  ~OutputPool();
  OutputPool(const OutputPool&) = delete;
  OutputPool& operator=(const OutputPool&) = delete;

  // nullptr when the allocator refuses.
  Output* take() noexcept;
  void give_back(Output* output) noexcept;  // nullptr is fine

 private:
  friend class Output;
  static constexpr uint32_t kSmallChunk = 1024, kLargeChunk = 16 * 1024;  // bytes, header included
  static constexpr uint32_t kSmallKept = 1024, kLargeKept = 64, kOutputsKept = 1024;

  Output::Chunk* take_chunk(size_t least, bool large) noexcept;
  void give_back_chunk(Output::Chunk* chunk) noexcept;

  Array<Output*> outputs_;
  Array<Output::Chunk*> small_, large_;
};

}  // namespace mqttq
