// What outlives a broker besides its messages: tables of small things, changed by records of the log and kept in the
// store, which follows the log (decision 13).
#pragma once

#include <utility>

#include "base/array.h"
#include "base/byte_order.h"
#include "base/hash.h"
#include "message/message.h"
#include "store/store.h"

namespace mqttq {

// Numbers are part of the format; docs/STORE.md has keys and values.
enum class StateTable : uint8_t {
  Meta = 0,
  Sessions = 1,       // SessionKey
  Subscriptions = 2,  // SessionKey, journal
  Positions = 3,      // SessionKey, journal
  Inflight = 4,       // SessionKey, packet identifier
  Receipts = 5,       // SessionKey, packet identifier
  Wills = 6,          // SessionKey
  Retained = 7,       // TopicKey
  Delayed = 8,        // a number
  Namespaces = 9,     // NamespaceId
  Log = 10,           // the number of a message; where there are no files for it
  Groups = 11,        // of a shared filter, or a queue's name, as a text
  GroupTaken = 12,    // the same, the number of a message, the first half of a SessionKey
  Times = 13,         // ms of Unix time
  Queues = 14,        // of its name, as a text
  QueueValues = 15,   // the same, and of a key of its messages, as a text
};

enum class StateWriteKind : uint8_t { Put = 0, PutNumber = 1, Erase = 2, EraseBelow = 3 };

// A key that is put together of fixed parts; numbers in it are ordered.
class StateKey {
 public:
  StateKey& add(uint64_t number) noexcept {
    put_big(bytes_ + size_, number);
    size_ += sizeof number;
    return *this;
  }
  StateKey& add(uint32_t number) noexcept {
    put_big(bytes_ + size_, number);
    size_ += sizeof number;
    return *this;
  }
  StateKey& add(uint16_t number) noexcept {
    put_big(bytes_ + size_, number);
    size_ += sizeof number;
    return *this;
  }
  Bytes bytes() const noexcept { return {bytes_, size_}; }

 private:
  std::byte bytes_[32];
  uint8_t size_ = 0;
};

// A text of any length in a namespace as a key of 16 bytes: two hashes under the broker's secret seed. That two of a
// billion texts are taken for one has a chance of 1 in 10^20.
struct TextKey {
  static constexpr size_t kSize = 16;
  uint64_t first = 0, second = 0;
};
inline TextKey text_key(NamespaceId namespace_id, std::string_view text, uint64_t seed) noexcept {
  return {hash_text(text, hash_mix(seed, namespace_id)),
          hash_text(text, hash_mix(seed, namespace_id + 0x2'0000'0000u))};
}
inline StateKey state_key(const TextKey& text) noexcept { return StateKey().add(text.first).add(text.second); }

// Changes of state, in their order: the body of a record.
class StateWrites {
 public:
  bool empty() const noexcept { return bytes_.empty(); }
  Bytes bytes() const noexcept { return bytes_.span(); }
  void clear() noexcept { bytes_.clear(); }
  Array<std::byte> take() noexcept { return std::exchange(bytes_, {}); }
  // What take() gave, nothing having been added since.
  void give_back(Array<std::byte> bytes) noexcept { bytes_ = std::move(bytes); }
  // The allocator refused a change since the last call: it is not there.
  bool take_failure() noexcept { return std::exchange(failed_, false); }

  // value: at most Store::kValueSizeMax bytes.
  void put(StateTable table, Bytes key, Bytes value) noexcept { add(StateWriteKind::Put, table, key, value); }
  // Of any size: in pieces, which StateLoader puts together. To be erased with erase_below().
  void put_large(StateTable table, Bytes key, Bytes value) noexcept;
  // The value is the number of the record that this will be.
  void put_number(StateTable table, Bytes key) noexcept;
  void erase(StateTable table, Bytes key) noexcept { add(StateWriteKind::Erase, table, key, {}); }
  // Every key that begins so.
  void erase_below(StateTable table, Bytes prefix) noexcept;
  // Those of a record, which has this number. False: they are none.
  bool append(Bytes body, uint64_t number) noexcept;
  // One that was read.
  void add(const StoreWrite& write) noexcept;
  // append() of so many bytes does not fail for want of memory.
  [[nodiscard]] bool reserve(size_t bytes) noexcept;

 private:
  void add(StateWriteKind kind, StateTable table, Bytes key, Bytes value) noexcept;

  Array<std::byte> bytes_;
  bool failed_ = false;
};

// Takes such a body apart.
class StateReader {
 public:
  // body: outlives the writes that are read.
  explicit StateReader(Bytes body) noexcept : rest_(body) {}
  // False at the end, and where it is no such body: ok() tells.
  bool next(StoreWrite& write) noexcept;
  bool ok() const noexcept { return ok_; }
  // The write that was read last has the number of its record as its value, and these are zeros yet.
  bool wants_number() const noexcept { return wants_number_; }

 private:
  Bytes rest_;
  bool ok_ = true, wants_number_ = false;
};

// Puts together what put_large() took apart, from the entries of one table in their order. Each of them, or put()'s,
// goes to on_state().
class StateLoader : public StoreVisitor {
 public:
  // key_size: of a key without the number of a piece. large: they were put by put_large().
  StateLoader(size_t key_size, bool large) noexcept : key_size_(key_size), large_(large) {}
  bool on_entry(Bytes key, Bytes value) noexcept final;
  // Entries that were not as they are written: pieces that are missing, keys of another size.
  uint64_t damaged_count() const noexcept { return damaged_count_; }
  // After the last entry.
  void finish() noexcept;

 protected:
  ~StateLoader() = default;
  // False: no more is wanted.
  virtual bool on_state(Bytes key, Bytes value) noexcept = 0;

 private:
  const size_t key_size_;
  const bool large_;
  uint64_t damaged_count_ = 0;
  Array<std::byte> key_, value_;  // of one in pieces that is not complete
  size_t value_size_ = 0;
  uint16_t pieces_ = 0;
};

}  // namespace mqttq
