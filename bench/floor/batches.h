// What a broker's log consists of, without what it says: batches, and the sizes of their records. docs/STORE.md has the
// bytes ("The log, format 1"); they are written here a second time, since a ruler shares nothing with what it measures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace mqttq::floor {

// The disk or a log is not what it should be.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr size_t kHeaderSize = 64;  // of a file
inline constexpr uint8_t kMessage = 1;     // the kind of a record that journals take

struct Record {
  uint32_t body_size = 0;
  uint8_t kind = kMessage;
};

// Batches in the order of their commits.
class Batches {
 public:
  void add(std::span<const Record> batch);

  size_t count() const { return ends_.size(); }
  std::span<const Record> operator[](size_t index) const;

 private:
  std::vector<Record> records_;
  std::vector<size_t> ends_;  // of each batch, among records_
};

// The whole batches in the files log-* of `directory`, from the first to the last that has a message: what comes before
// and behind are clients that connect and leave. A batch that is torn or damaged ends its file. Throws Failure when
// there is no file, one of another format, or no message in any.
Batches read_batches(const std::string& directory);

// Bytes that a batch takes in the file.
size_t batch_size(std::span<const Record> batch);
size_t message_count(std::span<const Record> batch);

// Fills `out` (batch_size() bytes) with records whose numbers begin at `number`. sums: with their CRC-32C, begun with
// `salt`; else they are 0.
void encode_batch(std::span<const Record> batch, uint64_t number, uint32_t salt, bool sums, std::byte* out);

// kHeaderSize bytes.
void encode_header(uint64_t id, uint64_t previous_last, uint32_t salt, std::byte* out);

}  // namespace mqttq::floor
