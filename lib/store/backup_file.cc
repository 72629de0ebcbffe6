#include "store/backup_file.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "store/fields.h"
#include "store/system_status.h"

namespace mqttq {

namespace {

constexpr std::string_view kMagic = "mqttqbak";
// Of any format: magic, format, size; of this one: id, when it was made; the sum last.
constexpr size_t kHeadSize = 64;

// In front of each block: size of the body, kind, number of the block, sum of the body, sum of these.
constexpr size_t kBlockHead = 20;
constexpr size_t kBodyFull = 64 << 10;  // a block that has so much is written
constexpr size_t kBodyMax = 128 << 10;  // none is larger: an entry has less than 17 KiB
constexpr size_t kEntryHead = 8;        // table, 0, size of the key (2), size of the value (4)
constexpr size_t kSegmentSize = 20;     // id, bytes, sum

// In this order.
enum BlockKind : uint8_t { kEntries = 1, kSegments = 2, kEnd = 3 };

constexpr std::string_view kMissingEnd = "the backup is not whole: its end is missing";

std::string damaged_at(uint64_t at) { return fmt::format("the backup is damaged at byte {}", at); }

}  // namespace

// --- writing

Status BackupWriter::begin(const BackupHead& head) noexcept {
  std::byte bytes[kHeadSize] = {};
  std::copy_n(as_bytes(kMagic).data(), kMagic.size(), bytes);
  put_little(bytes + 8, kFormat);
  put_little(bytes + 10, static_cast<uint16_t>(kHeadSize));
  put_little(bytes + 16, head.id);
  put_little(bytes + 24, static_cast<uint64_t>(head.made_ms));
  salt_ = crc32c({bytes, kHeadSize - 4});
  put_little(bytes + kHeadSize - 4, salt_);
  at_ = kHeadSize;
  return file_.write(0, bytes);
}

Status BackupWriter::put_block(uint8_t kind) noexcept {
  std::byte head[kBlockHead] = {};
  put_little(head, body_.count());
  put_little(head + 4, kind);
  put_little(head + 8, blocks_);
  put_little(head + 12, crc32c(body_.span(), salt_));
  put_little(head + 16, crc32c({head, 16}, salt_));
  block_.clear();
  if (!block_.append(head) || !block_.append(body_.span())) return Status::NoMemory;
  const Status status = file_.write(at_, block_.span());
  at_ += block_.count();
  ++blocks_;
  body_.clear();
  return status;
}

Status BackupWriter::add(uint8_t table, Bytes key, Bytes value) noexcept {
  FieldWriter out(body_);
  out.number(table);
  out.number(uint8_t{0});
  out.number(static_cast<uint16_t>(key.size()));
  out.number(static_cast<uint32_t>(value.size()));
  out.raw(key);
  out.raw(value);
  if (!out.ok()) return Status::NoMemory;
  ++entries_;
  bytes_ += key.size() + value.size();
  return body_.count() < kBodyFull ? Status::Ok : put_block(kEntries);
}

Status BackupWriter::finish(std::span<const BackupSegment> segments) noexcept {
  Status status = body_.empty() ? Status::Ok : put_block(kEntries);
  FieldWriter out(body_);
  for (const BackupSegment& segment : segments) {
    out.number(segment.id);
    out.number(segment.bytes);
    out.number(segment.sum);
    if (status == Status::Ok && out.ok() && body_.count() >= kBodyFull) status = put_block(kSegments);
  }
  if (status == Status::Ok && out.ok() && !body_.empty()) status = put_block(kSegments);
  for (const uint64_t count : {uint64_t{blocks_}, entries_, bytes_, uint64_t{segments.size()}}) out.number(count);
  if (!out.ok()) return Status::NoMemory;
  if (status == Status::Ok) status = put_block(kEnd);
  return status == Status::Ok ? file_.sync() : status;
}

// --- reading

namespace {

// All of `into`, or `whole` is false: the file ends before.
Status read_exactly(File& file, uint64_t at, std::span<std::byte> into, bool& whole) noexcept {
  size_t got = 0;
  const Status status = file.read(at, into, got);
  whole = got == into.size();
  return status;
}

Status cannot_read(Status status, std::string& problem) {
  problem = fmt::format("the backup cannot be read: {}", words(status));
  return status;
}

class BackupReader {
 public:
  BackupReader(File& file, BackupVisitor& visitor, BackupContents& contents, std::string& problem) noexcept
      : file_(file), visitor_(visitor), contents_(contents), problem_(problem) {}

  Status run();

 private:
  // The next one, into body_.
  Status read_block(uint8_t& kind);
  Status take_entries();
  bool take_segments();
  bool take_end();
  Status invalid(std::string_view text) {
    problem_ = text;
    return Status::Invalid;
  }

  File& file_;
  BackupVisitor& visitor_;
  BackupContents& contents_;
  std::string& problem_;
  uint64_t at_ = kHeadSize;
  uint32_t salt_ = 0;
  uint32_t blocks_ = 0;
  uint64_t bytes_ = 0;  // of keys and values
  std::vector<std::byte> body_;
  // What the order of the entries is held to.
  uint32_t tables_seen_ = 0;  // a bit for each
  uint8_t table_ = UINT8_MAX;
  std::string last_key_;
};

Status BackupReader::read_block(uint8_t& kind) {
  std::byte head[kBlockHead];
  bool whole = false;
  Status status = read_exactly(file_, at_, head, whole);
  if (status != Status::Ok) return cannot_read(status, problem_);
  if (!whole) return invalid(kMissingEnd);
  const auto size = get_little<uint32_t>(head);
  kind = get_little<uint8_t>(head + 4);
  if (get_little<uint32_t>(head + 16) != crc32c({head, 16}, salt_) || size > kBodyMax ||
      get_little<uint32_t>(head + 8) != blocks_) {
    return invalid(damaged_at(at_));
  }
  body_.resize(size);
  status = read_exactly(file_, at_ + kBlockHead, body_, whole);
  if (status != Status::Ok) return cannot_read(status, problem_);
  if (!whole) return invalid(kMissingEnd);
  if (get_little<uint32_t>(head + 12) != crc32c(body_, salt_)) return invalid(damaged_at(at_));
  return Status::Ok;
}

Status BackupReader::take_entries() {
  for (FieldReader in(body_); !in.at_end();) {
    const auto table = in.number<uint8_t>(), zero = in.number<uint8_t>();
    const auto key_size = in.number<uint16_t>();
    const auto value_size = in.number<uint32_t>();
    const Bytes key = in.raw(key_size), value = in.raw(value_size);
    if (!in.ok() || zero || table >= Store::kTables || key.empty() || key.size() > Store::kKeySizeMax ||
        value.size() > Store::kValueSizeMax) {
      return invalid(damaged_at(at_));
    }
    if (table != table_) {
      if (tables_seen_ >> table & 1) return invalid(damaged_at(at_));
      tables_seen_ |= uint32_t{1} << table;
      table_ = table;
    } else if (as_text(key) <= last_key_) {
      return invalid(damaged_at(at_));
    }
    last_key_ = as_text(key);
    ++contents_.entries;
    bytes_ += key.size() + value.size();
    if (const Status status = visitor_.on_entry(table, key, value); status != Status::Ok) return status;
  }
  return Status::Ok;
}

bool BackupReader::take_segments() {
  for (FieldReader in(body_); !in.at_end();) {
    BackupSegment segment;
    segment.id = in.number<uint64_t>();
    segment.bytes = in.number<uint64_t>();
    segment.sum = in.number<uint32_t>();
    const uint64_t before = contents_.segments.empty() ? 0 : contents_.segments.back().id;
    if (!in.ok() || segment.id <= before) return false;
    contents_.segments.push_back(segment);
  }
  return true;
}

bool BackupReader::take_end() {
  FieldReader in(body_);
  for (const uint64_t count : {uint64_t{blocks_}, contents_.entries, bytes_, uint64_t{contents_.segments.size()}}) {
    if (in.number<uint64_t>() != count) return false;
  }
  return in.ok() && in.at_end();
}

Status BackupReader::run() {
  Status status = read_backup_head(file_, contents_.head, problem_);
  if (status != Status::Ok) return status;
  std::byte sum[4];
  bool whole = false;
  status = read_exactly(file_, kHeadSize - sizeof sum, sum, whole);
  if (status != Status::Ok) return cannot_read(status, problem_);
  salt_ = get_little<uint32_t>(sum);
  for (uint8_t kind = kEntries, before = kEntries; kind != kEnd; before = kind, ++blocks_) {
    status = read_block(kind);
    if (status != Status::Ok) return status;
    bool sound = kind >= before;
    switch (kind) {
      case kEntries: status = take_entries(); break;
      case kSegments: sound = sound && take_segments(); break;
      case kEnd: sound = take_end(); break;
      default: sound = false;
    }
    if (status != Status::Ok) return status;
    if (!sound) return invalid(damaged_at(at_));
    at_ += kBlockHead + body_.size();
  }
  std::byte more[1];
  status = read_exactly(file_, at_, more, whole);
  if (status != Status::Ok) return cannot_read(status, problem_);
  return whole ? invalid(fmt::format("the backup has something behind its end, at byte {}", at_)) : Status::Ok;
}

}  // namespace

Status read_backup_head(File& file, BackupHead& head, std::string& problem) {
  std::byte bytes[kHeadSize];
  bool whole = false;
  const Status status = read_exactly(file, 0, bytes, whole);
  if (status != Status::Ok) return cannot_read(status, problem);
  if (!whole || as_text({bytes, kMagic.size()}) != kMagic ||
      get_little<uint32_t>(bytes + kHeadSize - 4) != crc32c({bytes, kHeadSize - 4})) {
    problem = whole ? "it is no backup, or its head is damaged" : kMissingEnd;
    return Status::Invalid;
  }
  head.format = get_little<uint16_t>(bytes + 8);
  if (head.format > BackupWriter::kFormat) {
    problem = fmt::format("the backup has format {}, written by a newer version; this one reads format {}", head.format,
                          BackupWriter::kFormat);
    return Status::Unsupported;
  }
  if (head.format != BackupWriter::kFormat || get_little<uint16_t>(bytes + 10) != kHeadSize) {
    problem = damaged_at(8);
    return Status::Invalid;
  }
  head.id = get_little<uint64_t>(bytes + 16);
  head.made_ms = static_cast<int64_t>(get_little<uint64_t>(bytes + 24));
  return Status::Ok;
}

Status read_backup(File& file, BackupVisitor& visitor, BackupContents& contents, std::string& problem) {
  contents = {};
  return BackupReader(file, visitor, contents, problem).run();
}

}  // namespace mqttq
