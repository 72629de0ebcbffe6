// A message and its bytes on disk, the same for every layout that bench_layouts compares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mqttq::layouts {

// A message as one journal sees it: what is settled, and what an index lists.
struct Entry {
  uint64_t journal = 0;
  uint64_t number = 0;
};

struct Message {
  uint64_t number = 0;  // from 1, dense, the same in every journal
  uint32_t time_s = 0;
  uint32_t publisher = 0;
  std::string_view topic;
  std::string_view payload;
  std::span<const uint64_t> journals;  // those that take it
};

// A record as it was read, looking into the bytes it came from.
struct Record {
  uint64_t number = 0;  // of the message; for settlements, of the first message of the same commit
  uint32_t time_s = 0;
  uint32_t publisher = 0;
  std::string_view topic;
  std::string_view payload;
  std::string_view journals;  // 8 bytes each, native order, not aligned
  bool settlements = false;   // payload is Entry after Entry, and nothing else is set
  size_t size = 0;            // of the whole record

  [[nodiscard]] size_t journal_count() const { return journals.size() / 8; }
  [[nodiscard]] uint64_t journal(size_t index) const;
  [[nodiscard]] size_t settled_count() const { return payload.size() / sizeof(Entry); }
  [[nodiscard]] Entry settled(size_t index) const;
};

inline constexpr size_t kHeaderSize = 28;

[[nodiscard]] uint32_t crc32c(uint32_t seed, const void* bytes, size_t size);

[[nodiscard]] inline size_t record_size(const Message& message) {
  return kHeaderSize + 8 * message.journals.size() + message.topic.size() + message.payload.size();
}
[[nodiscard]] inline size_t settlements_size(std::span<const Entry> entries) {
  return kHeaderSize + entries.size_bytes();
}
// Both fill exactly as many bytes as the two functions above say. seed: what the checksum begins with.
void encode(const Message& message, uint32_t seed, std::byte* out);
void encode_settlements(uint64_t number, std::span<const Entry> entries, uint32_t seed, std::byte* out);

// False if the bytes do not begin with a whole record whose checksum fits.
[[nodiscard]] bool decode(std::string_view bytes, uint32_t seed, Record& out);

// How long the record at `bytes` says that it is; 0 if they are fewer than a header.
[[nodiscard]] size_t size_of_record(std::string_view bytes);

}  // namespace mqttq::layouts
