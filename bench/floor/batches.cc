// See batches.h.
#include "floor/batches.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "layouts/record.h"

namespace mqttq::floor {
namespace {

static_assert(std::endian::native == std::endian::little, "a log has its lowest byte first, and is copied as it is");

constexpr char kMagic[] = "mqttqlog";
constexpr uint16_t kFormat = 1;
constexpr size_t kFillerSize = 4096;

struct FileHeader {
  char magic[8];
  uint16_t format;
  uint16_t size;
  uint32_t partition;
  uint64_t id;
  uint64_t previous_last;
  uint32_t salt;
  char zeros[24];
};
constexpr size_t kFileSumAt = 60;
static_assert(offsetof(FileHeader, zeros) + sizeof(FileHeader::zeros) == kFileSumAt);

struct RecordHead {
  uint32_t body_size;
  uint32_t body_sum;
  uint64_t number;
  uint64_t term;
  uint32_t node;
  uint32_t boot;
  uint16_t partition;
  uint8_t kind;
  uint8_t zero;
  uint32_t index;  // in its batch
  uint32_t count;  // of records in it
  uint32_t head_sum;
};
constexpr size_t kRecordHead = 48;
constexpr size_t kHeadSumAt = 44;
static_assert(sizeof(RecordHead) == kRecordHead && offsetof(RecordHead, head_sum) == kHeadSumAt);

size_t record_size(size_t body_size) { return (kRecordHead + body_size + 7) & ~size_t{7}; }

// A file as it is, read-only.
class Mapped {
 public:
  explicit Mapped(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about{};
    if (file < 0 || fstat(file, &about) != 0) throw Failure(path + ": " + std::strerror(errno));
    size_ = static_cast<size_t>(about.st_size);
    if (size_ != 0) at_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    const int error = errno;
    close(file);
    if (at_ == MAP_FAILED) throw Failure(path + ": " + std::strerror(error));
  }
  ~Mapped() {
    if (size_ != 0) munmap(at_, size_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(at_), size_}; }

 private:
  void* at_ = nullptr;
  size_t size_ = 0;
};

// False: no sound record is there.
bool read_head(std::span<const std::byte> bytes, uint32_t salt, RecordHead& head) {
  if (bytes.size() < kRecordHead) return false;
  std::memcpy(&head, bytes.data(), kRecordHead);
  return head.head_sum == layouts::crc32c(salt, bytes.data(), kHeadSumAt) && head.count != 0 &&
         record_size(head.body_size) <= bytes.size() &&
         head.body_sum == layouts::crc32c(salt, bytes.data() + kRecordHead, head.body_size);
}

void read_file(const std::string& path, std::vector<std::vector<Record>>& found) {
  const Mapped mapped(path);
  std::span<const std::byte> bytes = mapped.bytes();
  FileHeader header{};
  if (bytes.size() < kHeaderSize) throw Failure(path + ": no log, it is too short");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof header.magic) != 0) throw Failure(path + ": no log");
  if (header.format != kFormat) throw Failure(path + ": a log of format " + std::to_string(header.format));
  bytes = bytes.subspan(kHeaderSize);
  std::vector<Record> batch;
  for (RecordHead head{}; read_head(bytes, header.salt, head) && head.index == batch.size();) {
    batch.push_back({head.body_size, head.kind});
    bytes = bytes.subspan(record_size(head.body_size));
    if (batch.size() < head.count) continue;
    found.push_back(std::move(batch));
    batch.clear();
  }
}

}  // namespace

void Batches::add(std::span<const Record> batch) {
  records_.insert(records_.end(), batch.begin(), batch.end());
  ends_.push_back(records_.size());
}

std::span<const Record> Batches::operator[](size_t index) const {
  const size_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::span(records_).subspan(begin, ends_[index] - begin);
}

Batches read_batches(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with("log-")) paths.push_back(entry.path().string());
  }
  if (error) throw Failure(directory + ": " + error.message());
  if (paths.empty()) throw Failure(directory + ": there is no file log-* in it");
  std::sort(paths.begin(), paths.end());  // their ids have 16 digits each, and grow

  std::vector<std::vector<Record>> found;
  for (const std::string& path : paths) read_file(path, found);
  const auto has_message = [](const std::vector<Record>& batch) { return message_count(batch) != 0; };
  const auto first = std::find_if(found.begin(), found.end(), has_message);
  const auto end = std::find_if(found.rbegin(), found.rend(), has_message).base();
  if (first == found.end()) throw Failure(directory + ": there is no message in its log");
  Batches batches;
  for (auto batch = first; batch != end; ++batch) batches.add(*batch);
  return batches;
}

size_t batch_size(std::span<const Record> batch) {
  size_t size = 0;
  for (const Record& record : batch) size += record_size(record.body_size);
  return size;
}

size_t message_count(std::span<const Record> batch) {
  return static_cast<size_t>(
      std::count_if(batch.begin(), batch.end(), [](const Record& record) { return record.kind == kMessage; }));
}

void encode_batch(std::span<const Record> batch, uint64_t number, uint32_t salt, bool sums, std::byte* out) {
  static const std::vector<std::byte> filler(kFillerSize, std::byte{0x5a});
  RecordHead head{};
  head.count = static_cast<uint32_t>(batch.size());
  for (const Record& record : batch) {
    std::byte* const body = out + kRecordHead;
    for (size_t at = 0; at < record.body_size; at += kFillerSize) {
      std::memcpy(body + at, filler.data(), std::min(kFillerSize, record.body_size - at));
    }
    const size_t size = record_size(record.body_size);
    std::memset(body + record.body_size, 0, size - kRecordHead - record.body_size);
    head.body_size = record.body_size;
    head.body_sum = sums ? layouts::crc32c(salt, body, record.body_size) : 0;
    head.number = number + head.index;
    head.kind = record.kind;
    std::memcpy(out, &head, kRecordHead);
    head.head_sum = sums ? layouts::crc32c(salt, out, kHeadSumAt) : 0;
    std::memcpy(out + kHeadSumAt, &head.head_sum, sizeof head.head_sum);
    ++head.index;
    out += size;
  }
}

void encode_header(uint64_t id, uint64_t previous_last, uint32_t salt, std::byte* out) {
  FileHeader header{};
  std::memcpy(header.magic, kMagic, sizeof header.magic);
  header.format = kFormat;
  header.size = kHeaderSize;
  header.id = id;
  header.previous_last = previous_last;
  header.salt = salt;
  std::memcpy(out, &header, kFileSumAt);
  const uint32_t sum = layouts::crc32c(0, out, kFileSumAt);
  std::memcpy(out + kFileSumAt, &sum, sizeof sum);
}

}  // namespace mqttq::floor
