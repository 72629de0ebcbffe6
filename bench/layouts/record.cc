// Encodes and decodes records, and their CRC32C.
#include "layouts/record.h"

#include <array>
#include <cstring>

namespace mqttq::layouts {
namespace {

constexpr uint16_t kSettlements = 0xffff;  // in place of a count of journals

struct Header {
  uint32_t checksum;  // CRC32C of everything behind it
  uint32_t payload_size;
  uint64_t number;
  uint32_t time_s;
  uint32_t publisher;
  uint16_t topic_size;
  uint16_t journal_count;
};

// The struct has padding behind its last field; on disk there is none.
static_assert(offsetof(Header, journal_count) + 2 == kHeaderSize);

void finish(Header& header, uint32_t seed, size_t size, std::byte* out) {
  std::memcpy(out, &header, kHeaderSize);
  header.checksum = crc32c(seed, out + 4, size - 4);
  std::memcpy(out, &header.checksum, 4);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_hardware(uint32_t crc, const char* bytes, size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; size > 0; ++bytes, --size) crc = __builtin_ia32_crc32qi(crc, static_cast<unsigned char>(*bytes));
  return crc;
}
#endif

constexpr std::array<uint32_t, 256> kTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    table[i] = crc;
  }
  return table;
}();

}  // namespace

uint32_t crc32c(uint32_t seed, const void* bytes, size_t size) {
  const auto* at = static_cast<const char*>(bytes);
  uint32_t crc = ~seed;
#if defined(__x86_64__)
  static const bool hardware = __builtin_cpu_supports("sse4.2") != 0;
  if (hardware) return ~crc32c_hardware(crc, at, size);
#endif
  for (; size > 0; ++at, --size) crc = kTable[(crc ^ static_cast<unsigned char>(*at)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

uint64_t Record::journal(size_t index) const {
  uint64_t journal = 0;
  std::memcpy(&journal, journals.data() + 8 * index, 8);
  return journal;
}

Entry Record::settled(size_t index) const {
  Entry entry;
  std::memcpy(&entry, payload.data() + sizeof(Entry) * index, sizeof(Entry));
  return entry;
}

void encode(const Message& message, uint32_t seed, std::byte* out) {
  Header header{.checksum = 0,
                .payload_size = static_cast<uint32_t>(message.payload.size()),
                .number = message.number,
                .time_s = message.time_s,
                .publisher = message.publisher,
                .topic_size = static_cast<uint16_t>(message.topic.size()),
                .journal_count = static_cast<uint16_t>(message.journals.size())};
  std::byte* at = out + kHeaderSize;
  if (!message.journals.empty()) std::memcpy(at, message.journals.data(), message.journals.size_bytes());
  at += message.journals.size_bytes();
  std::memcpy(at, message.topic.data(), message.topic.size());
  at += message.topic.size();
  std::memcpy(at, message.payload.data(), message.payload.size());
  finish(header, seed, record_size(message), out);
}

void encode_settlements(uint64_t number, std::span<const Entry> entries, uint32_t seed, std::byte* out) {
  Header header{.checksum = 0,
                .payload_size = static_cast<uint32_t>(entries.size_bytes()),
                .number = number,
                .time_s = 0,
                .publisher = 0,
                .topic_size = 0,
                .journal_count = kSettlements};
  std::memcpy(out + kHeaderSize, entries.data(), entries.size_bytes());
  finish(header, seed, settlements_size(entries), out);
}

size_t size_of_record(std::string_view bytes) {
  if (bytes.size() < kHeaderSize) return 0;
  Header header;
  std::memcpy(&header, bytes.data(), kHeaderSize);
  const size_t journals = header.journal_count == kSettlements ? 0 : header.journal_count;
  return kHeaderSize + 8 * journals + header.topic_size + header.payload_size;
}

bool decode(std::string_view bytes, uint32_t seed, Record& out) {
  const size_t size = size_of_record(bytes);
  if (size == 0 || size > bytes.size()) return false;
  Header header;
  std::memcpy(&header, bytes.data(), kHeaderSize);
  if (header.checksum != crc32c(seed, bytes.data() + 4, size - 4)) return false;
  out.settlements = header.journal_count == kSettlements;
  out.number = header.number;
  out.time_s = header.time_s;
  out.publisher = header.publisher;
  out.size = size;
  bytes.remove_prefix(kHeaderSize);
  out.journals = bytes.substr(0, out.settlements ? 0 : size_t{8} * header.journal_count);
  bytes.remove_prefix(out.journals.size());
  out.topic = bytes.substr(0, header.topic_size);
  out.payload = bytes.substr(header.topic_size, header.payload_size);
  return true;
}

}  // namespace mqttq::layouts
