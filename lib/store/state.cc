#include "store/state.h"

#include <algorithm>

#include "base/assert.h"
#include "store/fields.h"

namespace mqttq {

namespace {
constexpr size_t kHead = 8;  // kind, table, size of the key (2), size of the value (4)
}

// The first piece stands under the key and begins with the whole size, the others under the key and their number. What
// an older, longer value has left behind lies beyond that size.
void StateWrites::put_large(StateTable table, Bytes key, Bytes value) noexcept {
  constexpr size_t kPiece = Store::kValueSizeMax;
  constexpr size_t kFirst = kPiece - sizeof(uint32_t);
  const uint32_t before = bytes_.count();
  std::byte piece_bytes[kPiece];
  put_little(piece_bytes, static_cast<uint32_t>(value.size()));
  Bytes piece = value.first(std::min(value.size(), kFirst));
  std::copy(piece.begin(), piece.end(), piece_bytes + sizeof(uint32_t));
  add(StateWriteKind::Put, table, key, {piece_bytes, sizeof(uint32_t) + piece.size()});
  std::byte longer[Store::kKeySizeMax];
  std::copy(key.begin(), key.end(), longer);
  for (uint16_t number = 1; piece.size() < value.size(); ++number) {
    value = value.subspan(piece.size());
    piece = value.first(std::min(value.size(), kPiece));
    put_big(longer + key.size(), number);
    add(StateWriteKind::Put, table, {longer, key.size() + sizeof number}, piece);
  }
  if (failed_) bytes_.truncate(before);
}

void StateWrites::put_number(StateTable table, Bytes key) noexcept {
  static constexpr std::byte kLater[sizeof(uint64_t)] = {};
  add(StateWriteKind::PutNumber, table, key, kLater);
}

// Up to the first key that does not begin so: the prefix, the last byte of it raised that can be.
void StateWrites::erase_below(StateTable table, Bytes prefix) noexcept {
  std::byte end[Store::kKeySizeMax];
  size_t size = prefix.size();
  while (size && prefix[size - 1] == std::byte{0xFF}) --size;
  std::copy_n(prefix.begin(), size, end);
  if (size) end[size - 1] = static_cast<std::byte>(static_cast<uint8_t>(end[size - 1]) + 1);
  add(StateWriteKind::EraseBelow, table, prefix, {end, size});
}

// Doubled, or as much as is needed.
bool StateWrites::reserve(size_t bytes) noexcept {
  const size_t size = bytes_.count() + bytes;
  if (size <= bytes_.capacity()) return true;
  const size_t wanted = std::max(size, size_t{bytes_.capacity()} * 2);
  return wanted <= UINT32_MAX && bytes_.reserve(static_cast<uint32_t>(wanted));
}

bool StateWrites::append(Bytes body, uint64_t number) noexcept {
  const uint32_t start = bytes_.count();
  if (!reserve(body.size()) || !bytes_.append(body)) {
    failed_ = true;
    return true;
  }
  StateReader reader(bytes_.span().subspan(start));
  for (StoreWrite write; reader.next(write);) {
    if (reader.wants_number()) put_little(bytes_.begin() + (write.value.data() - bytes_.begin()), number);
  }
  if (!reader.ok()) bytes_.truncate(start);
  return reader.ok();
}

void StateWrites::add(StateWriteKind kind, StateTable table, Bytes key, Bytes value) noexcept {
  MQTTQ_ASSERT(static_cast<uint8_t>(table) < Store::kTables);
  if (!reserve(kHead + key.size() + value.size())) {
    failed_ = true;
    return;
  }
  FieldWriter out(bytes_);  // there is room
  out.number(static_cast<uint8_t>(kind));
  out.number(static_cast<uint8_t>(table));
  out.number(static_cast<uint16_t>(key.size()));
  out.number(static_cast<uint32_t>(value.size()));
  out.raw(key);
  out.raw(value);
}

void StateWrites::add(const StoreWrite& write) noexcept {
  StateWriteKind kind = StateWriteKind::Put;
  if (write.kind == StoreWrite::Kind::Erase) kind = StateWriteKind::Erase;
  if (write.kind == StoreWrite::Kind::EraseRange) kind = StateWriteKind::EraseBelow;
  add(kind, static_cast<StateTable>(write.table), write.key, write.value);
}

bool StateReader::next(StoreWrite& write) noexcept {
  if (rest_.empty()) return false;
  FieldReader in(rest_);
  const auto kind = static_cast<StateWriteKind>(in.number<uint8_t>());
  write.table = in.number<uint8_t>();
  const size_t key_size = in.number<uint16_t>(), value_size = in.number<uint32_t>();
  write.key = in.raw(key_size);
  write.value = in.raw(value_size);
  wants_number_ = kind == StateWriteKind::PutNumber;
  ok_ = in.ok() && kind <= StateWriteKind::EraseBelow && write.table < Store::kTables && key_size > 0 &&
        key_size <= Store::kKeySizeMax && value_size <= Store::kValueSizeMax &&
        (!wants_number_ || value_size == sizeof(uint64_t));
  if (!ok_) return false;
  rest_ = in.rest();
  write.kind = kind == StateWriteKind::Erase        ? StoreWrite::Kind::Erase
               : kind == StateWriteKind::EraseBelow ? StoreWrite::Kind::EraseRange
                                                    : StoreWrite::Kind::Put;
  return true;
}

bool StateLoader::on_entry(Bytes key, Bytes value) noexcept {
  if (!large_) {
    if (key.size() == key_size_) return on_state(key, value);
    ++damaged_count_;
    return true;
  }
  if (key.size() == key_size_) {
    finish();
    if (value.size() < sizeof(uint32_t)) {
      ++damaged_count_;
      return true;
    }
    const size_t whole = get_little<uint32_t>(value.data());
    const Bytes first = value.subspan(sizeof(uint32_t));
    if (whole <= first.size()) return on_state(key, first.first(whole));
    key_.clear();
    value_.clear();
    if (!key_.append(key) || !value_.append(first)) return false;
    value_size_ = whole;
    pieces_ = 1;
    return true;
  }
  // What has another size, or goes with nothing, is left of an older value.
  if (!value_size_ || key.size() != key_size_ + sizeof pieces_ || !std::equal(key_.begin(), key_.end(), key.begin()) ||
      get_big<uint16_t>(key.data() + key_size_) != pieces_) {
    return true;
  }
  ++pieces_;
  if (!value_.append(value.first(std::min(value.size(), value_size_ - value_.count())))) return false;
  if (value_.count() < value_size_) return true;
  value_size_ = 0;
  return on_state(key_.span(), value_.span());
}

void StateLoader::finish() noexcept {
  if (std::exchange(value_size_, 0)) ++damaged_count_;
}

}  // namespace mqttq
