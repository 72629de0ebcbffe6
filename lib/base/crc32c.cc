#include "base/crc32c.h"

#include <array>
#include <bit>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace mqttq {

namespace {

// Eight bytes at a time: tables[k][b] is the sum of the byte b with k zero bytes behind it.
constexpr auto make_tables() noexcept {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t sum = byte;
    for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0x82F6'3B78 : sum >> 1;
    tables[0][byte] = sum;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (size_t zeros = 1; zeros < 8; ++zeros) {
      const uint32_t shorter = tables[zeros - 1][byte];
      tables[zeros][byte] = shorter >> 8 ^ tables[0][shorter & 0xFF];
    }
  }
  return tables;
}
constexpr auto kTables = make_tables();

uint64_t word_at(const std::byte* at) noexcept {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

uint32_t by_table(Bytes bytes, uint32_t sum) noexcept {
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    const uint64_t word = word_at(bytes.data()) ^ sum;
    sum = 0;
    for (size_t i = 0; i < 8; ++i) sum ^= kTables[7 - i][word >> (8 * i) & 0xFF];
  }
  for (const std::byte byte : bytes) sum = sum >> 8 ^ kTables[0][(sum ^ static_cast<uint32_t>(byte)) & 0xFF];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t by_instruction(Bytes bytes, uint32_t sum) noexcept {
  uint64_t wide = sum;
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) wide = _mm_crc32_u64(wide, word_at(bytes.data()));
  sum = static_cast<uint32_t>(wide);
  for (const std::byte byte : bytes) sum = _mm_crc32_u8(sum, static_cast<uint8_t>(byte));
  return sum;
}
#endif

}  // namespace

uint32_t crc32c(Bytes bytes, uint32_t before) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ~by_instruction(bytes, ~before);
#endif
  return ~by_table(bytes, ~before);
}

uint32_t crc32c_by_table(Bytes bytes, uint32_t before) noexcept { return ~by_table(bytes, ~before); }

}  // namespace mqttq
