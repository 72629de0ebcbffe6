// The key (journal, number), big-endian, so that bytes sort as the pair does.
#pragma once

#include <lmdb.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace mqttq::layouts {

class PairKey {
 public:
  PairKey() = default;
  PairKey(uint64_t journal, uint64_t number) : words_{swapped(journal), swapped(number)} {}
  explicit PairKey(const MDB_val& key) { assign(key); }

  void assign(const MDB_val& key) { std::memcpy(words_.data(), key.mv_data, sizeof words_); }
  [[nodiscard]] MDB_val value() const { return {sizeof words_, const_cast<uint64_t*>(words_.data())}; }
  [[nodiscard]] uint64_t journal() const { return swapped(words_[0]); }
  [[nodiscard]] uint64_t number() const { return swapped(words_[1]); }
  bool operator<(const PairKey& other) const {
    return journal() != other.journal() ? journal() < other.journal() : number() < other.number();
  }

 private:
  static uint64_t swapped(uint64_t word) {
    return std::endian::native == std::endian::little ? __builtin_bswap64(word) : word;
  }

  std::array<uint64_t, 2> words_{};
};

}  // namespace mqttq::layouts
