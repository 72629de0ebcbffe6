#include "session/output.h"

#include <algorithm>

namespace mqttq {

Output::~Output() {
  while (!pieces_.empty()) {
    const Piece piece = pieces_.pop_front();
    if (piece.chunk && piece.chunk != chunk_) pool_.give_back_chunk(piece.chunk);
  }
  if (chunk_) pool_.give_back_chunk(chunk_);
}

std::byte* Output::write_elsewhere(size_t size) noexcept {
  goes_on_ = false;
  if (!chunk_ || chunk_->capacity - chunk_->used < size) {
    Chunk* fresh = pool_.take_chunk(size, chunk_ != nullptr);
    if (!fresh) return nullptr;
    if (chunk_) {
      // The chunk goes with the last piece that lies in it, or at once when all of those are sent.
      bool found = false;
      for (uint32_t i = pieces_.count(); i-- > 0 && !found;) {
        Piece& piece = pieces_[i];
        if (piece.owner || piece.data < chunk_->bytes() || piece.data >= chunk_->bytes() + chunk_->capacity) continue;
        piece.chunk = chunk_;
        found = true;
      }
      if (!found) pool_.give_back_chunk(chunk_);
    }
    chunk_ = fresh;
  }
  std::byte* at = chunk_->bytes() + chunk_->used;
  if (!pieces_.push_back({at, static_cast<uint32_t>(size), nullptr, {}})) return nullptr;
  goes_on_ = true;
  chunk_->used += static_cast<uint32_t>(size);
  size_ += size;
  return at;
}

bool Output::write_reference(Bytes bytes, const MessageRef& owner) noexcept {
  if (!pieces_.push_back({bytes.data(), static_cast<uint32_t>(bytes.size()), nullptr, owner})) return false;
  goes_on_ = false;
  size_ += bytes.size();
  return true;
}

bool Output::flush(Link& link, size_t limit) noexcept {
  constexpr uint32_t kPiecesMax = 64;  // of one vectored write
  while (!pieces_.empty() && limit) {
    Bytes batch[kPiecesMax];
    uint32_t count = 0;
    size_t offered = 0;
    for (; count < kPiecesMax && count < pieces_.count() && offered < limit; ++count) {
      batch[count] = {pieces_[count].data, std::min<size_t>(pieces_[count].size, limit - offered)};
      offered += batch[count].size();
    }
    const size_t taken = link.write({batch, count});
    size_ -= taken;
    limit -= taken;
    size_t left = taken;
    while (left && left >= pieces_.front().size) {
      const Piece sent = pieces_.pop_front();
      left -= sent.size;
      if (sent.chunk) pool_.give_back_chunk(sent.chunk);
    }
    if (left) {
      pieces_.front().data += left;
      pieces_.front().size -= static_cast<uint32_t>(left);
    }
    if (taken < offered) return false;
  }
  if (!pieces_.empty()) return true;
  if (chunk_) chunk_->used = 0;
  goes_on_ = false;
  return true;
}

OutputPool::~OutputPool() {
  for (Output* output : outputs_) destroy(output);
  for (const auto* list : {&small_, &large_}) {
    for (Output::Chunk* chunk : *list) release(chunk);
  }
}

Output* OutputPool::take() noexcept {
  if (outputs_.empty()) return create<Output>(*this);
  Output* output = outputs_.back();
  outputs_.pop_back();
  return output;
}

void OutputPool::give_back(Output* output) noexcept {
  if (!output) return;
  // A large chunk goes back for others; an output kept for reuse holds a small one or none.
  if (output->size() == 0 && outputs_.count() < kOutputsKept && outputs_.make_room()) {
    if (output->chunk_) give_back_chunk(output->chunk_);
    output->chunk_ = nullptr;
    static_cast<void>(outputs_.push_back(output));  // there is room
    return;
  }
  destroy(output);
}

Output::Chunk* OutputPool::take_chunk(size_t least, bool large) noexcept {
  large |= least > kSmallChunk - sizeof(Output::Chunk);
  size_t size = large ? kLargeChunk : kSmallChunk;
  if (least > size - sizeof(Output::Chunk)) {
    size = least + sizeof(Output::Chunk);  // of its own size, not kept afterwards
  } else if (auto& kept = large ? large_ : small_; !kept.empty()) {
    Output::Chunk* chunk = kept.back();
    kept.pop_back();
    chunk->used = 0;
    return chunk;
  }
  auto* chunk = static_cast<Output::Chunk*>(allocate(size));
  if (!chunk) return nullptr;
  chunk->capacity = static_cast<uint32_t>(size - sizeof(Output::Chunk));
  chunk->used = 0;
  return chunk;
}

void OutputPool::give_back_chunk(Output::Chunk* chunk) noexcept {
  const size_t size = chunk->capacity + sizeof(Output::Chunk);
  if (size == kSmallChunk && small_.count() < kSmallKept && small_.push_back(chunk)) return;
  if (size == kLargeChunk && large_.count() < kLargeKept && large_.push_back(chunk)) return;
  release(chunk);
}

}  // namespace mqttq
