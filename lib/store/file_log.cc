#include "store/file_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/assert.h"
#include "base/byte_order.h"
#include "base/crc32c.h"
#include "base/hash.h"

namespace mqttq {

namespace {

// --- the bytes, all numbers with their lowest byte first

constexpr std::string_view kMagic = "mqttqlog";
// Of any format: magic, format, size; of this one: partition, id, previous last number, salt, flags; the sum last.
constexpr size_t kHeaderSize = 64;

constexpr size_t kRecordHead = 48;  // and a sum of its own at the end: a size is believed, or no body is looked at
struct RecordHead {
  uint32_t body_size = 0;
  uint32_t body_sum = 0;
  uint64_t number = 0;
  // Of a cluster: term, node and boot of origin, partition. All 0 on one node.
  uint64_t term = 0;
  uint32_t node = 0, boot = 0;
  uint16_t partition = 0;
  uint8_t kind = 0;
  uint32_t index = 0, count = 0;  // in its batch, and of it

  uint64_t batch() const noexcept { return number - index; }
};

// With what is left free behind it.
constexpr size_t record_size(size_t body_size) noexcept { return (kRecordHead + body_size + 7) & ~size_t{7}; }

void put_head(std::byte* at, const RecordHead& head, uint32_t salt) noexcept {
  put_little(at, head.body_size);
  put_little(at + 4, head.body_sum);
  put_little(at + 8, head.number);
  put_little(at + 16, head.term);
  put_little(at + 24, head.node);
  put_little(at + 28, head.boot);
  put_little(at + 32, head.partition);
  put_little(at + 34, head.kind);
  put_little(at + 36, head.index);
  put_little(at + 40, head.count);
  put_little(at + 44, crc32c({at, 44}, salt));
}
// False: there is none here.
bool get_head(const std::byte* at, uint32_t salt, RecordHead& head) noexcept {
  head = {get_little<uint32_t>(at),      get_little<uint32_t>(at + 4),  get_little<uint64_t>(at + 8),
          get_little<uint64_t>(at + 16), get_little<uint32_t>(at + 24), get_little<uint32_t>(at + 28),
          get_little<uint16_t>(at + 32), get_little<uint8_t>(at + 34),  get_little<uint32_t>(at + 36),
          get_little<uint32_t>(at + 40)};
  return head.number > head.index && head.index < head.count && get_little<uint32_t>(at + 44) == crc32c({at, 44}, salt);
}

struct SegmentHeader {
  uint64_t id = 0;
  uint64_t previous_last = 0;  // what segments before it hold beyond that number was refused
  uint32_t salt = 0;
  bool used_before = false;  // its room holds records of an earlier segment, with another salt, and not zeros
};

void put_header(std::byte* at, const SegmentHeader& header) noexcept {
  std::fill_n(at, kHeaderSize, std::byte{0});
  std::copy_n(as_bytes(kMagic).data(), kMagic.size(), at);
  put_little(at + 8, FileLog::kFormat);
  put_little(at + 10, static_cast<uint16_t>(kHeaderSize));
  put_little(at + 16, header.id);
  put_little(at + 24, header.previous_last);
  put_little(at + 32, header.salt);
  put_little(at + 36, static_cast<uint32_t>(header.used_before));
  put_little(at + kHeaderSize - 4, crc32c({at, kHeaderSize - 4}));
}

// Files between two segments, by the id of the one that they were.
constexpr std::string_view kSpare = "spare-";
std::string spare_name(uint64_t id) { return fmt::format("{}{:016x}", kSpare, id); }

// 0 of another file.
uint64_t id_of(std::string_view name) noexcept {
  uint64_t id = 0;
  if (name.size() != 20 || !name.starts_with("log-")) return 0;
  const auto end = name.data() + name.size();
  return std::from_chars(name.data() + 4, end, id, 16).ptr == end ? id : 0;
}

}  // namespace

void FileLog::Segment::note(uint64_t number, uint64_t offset) {
  constexpr uint64_t kDistance = 32 * 1024;
  if (places.empty() || offset - places.back().offset >= kDistance) places.push_back({number, offset});
}

// --- replay

// One segment, read whole, and what of it is intact.
class FileLog::Reader {
 public:
  explicit Reader(uint64_t of) noexcept : id(of) {}

  using Kind = LogSegment::Kind;
  // Empty: it was being made when the broker ended; nothing in it can have been acknowledged.
  Status read(Disk& disk, Kind& kind);
  Status read(File& file, Kind& kind);
  // Once more, what is in use: where a record stood behind, what is read now was complete.
  Status read_again(File& file);
  // Tells what is proved to be whole: batches of which none is missing, and intact parts of older ones.
  // from: what is before that number is not wanted. limit: the last number that was not refused.
  // segment: told where its records are.
  bool tell(uint64_t from, uint64_t limit, LogReplay& replay, uint64_t& last_number, Segment& segment);
  // Gives back the room that was reserved and not used: nothing is appended any more.
  void cut(Disk& disk);
  // Puts the last batch that was told on stable storage: it may have come from the system's memory alone, which a
  // failed sync leaves there as if it were on the disk.
  Status write_again(Disk& disk) const;
  size_t last_batch_end() const noexcept { return last_batch_end_; }
  LogSegment describe(Kind kind) const noexcept;
  // But for the room behind its records, of a good one.
  Bytes used() const noexcept { return Bytes(bytes_).first(used_ ? used_ : bytes_.size()); }
  uint64_t size() const noexcept { return bytes_.size(); }

  const uint64_t id;
  SegmentHeader header;
  uint16_t format = 0;

 private:
  struct Intact {
    size_t at;
    RecordHead head;
    bool behind_gap;  // what stands before it is none
  };
  void find_records();

  std::vector<std::byte> bytes_;
  std::vector<Intact> records_;
  size_t used_ = 0;  // behind it is no record; nor anything but zeros, unless the room was used before
  size_t last_batch_at_ = kHeaderSize, last_batch_end_ = kHeaderSize;
};

Status FileLog::Reader::read(Disk& disk, Kind& kind) {
  std::unique_ptr<File> file;
  const Status status = disk.open(segment_name(id), false, file);
  return status == Status::Ok ? read(*file, kind) : status;
}

Status FileLog::Reader::read(File& file, Kind& kind) {
  size_t got = 0;
  do {
    const size_t before = bytes_.size(), piece = std::clamp(before, size_t{16} << 10, size_t{16} << 20);
    bytes_.resize(before + piece);
    const Status status = file.read(before, std::span(bytes_).subspan(before), got);
    if (status != Status::Ok) return status;
    bytes_.resize(before + got);
  } while (got);
  const std::byte* at = bytes_.data();
  const bool sound = bytes_.size() >= kHeaderSize && as_text({at, kMagic.size()}) == kMagic &&
                     get_little<uint32_t>(at + kHeaderSize - 4) == crc32c({at, kHeaderSize - 4});
  if (!sound) {  // a header is synced before anything is written behind it
    const auto rest = bytes_.begin() + static_cast<ptrdiff_t>(std::min(bytes_.size(), kHeaderSize));
    const bool blank = std::all_of(rest, bytes_.end(), [](std::byte byte) { return byte == std::byte{0}; });
    kind = blank ? Kind::Empty : Kind::Damaged;
    return Status::Ok;
  }
  format = get_little<uint16_t>(at + 8);
  header = {get_little<uint64_t>(at + 16), get_little<uint64_t>(at + 24), get_little<uint32_t>(at + 32),
            get_little<uint32_t>(at + 36) != 0};
  kind = format > kFormat ? Kind::Newer : format == kFormat && header.id == id ? Kind::Good : Kind::Damaged;
  if (kind == Kind::Good) find_records();
  return Status::Ok;
}

Status FileLog::Reader::read_again(File& file) {
  size_t got = 0;
  const Status status = file.read(0, std::span(bytes_).first(used_), got);
  return status == Status::Ok && got < used_ ? Status::Io : status;
}

// Where none is, another one may begin at every eighth byte.
void FileLog::Reader::find_records() {
  used_ = bytes_.size();
  for (uint64_t word = 0; used_ >= kHeaderSize + sizeof word; used_ -= sizeof word) {
    std::memcpy(&word, bytes_.data() + used_ - sizeof word, sizeof word);
    if (word) break;
  }
  size_t records_end = kHeaderSize;
  uint64_t last = header.previous_last;
  bool gap = false;
  for (size_t at = kHeaderSize; bytes_.size() - at >= kRecordHead;) {
    RecordHead head;
    const std::byte* record = bytes_.data() + at;
    if (!get_head(record, header.salt, head) || head.number <= last ||
        head.body_size > bytes_.size() - at - kRecordHead) {
      if (at >= used_) break;  // room that was never written
      at += 8;
      gap = true;
      continue;
    }
    const bool good = head.body_sum == crc32c({record + kRecordHead, head.body_size}, header.salt);
    if (good) {
      records_.push_back({at, head, gap});
      last = head.number;
    }
    gap = !good;
    at = std::min(at + record_size(head.body_size), bytes_.size());
    records_end = at;
  }
  used_ = header.used_before ? records_end : std::max(used_, records_end);  // a body may end in zeros
}

bool FileLog::Reader::tell(uint64_t from, uint64_t limit, LogReplay& replay, uint64_t& last_number, Segment& segment) {
  uint64_t told = 0, places = 0;
  for (size_t first = 0, end = 0; first < records_.size(); first = end) {
    const RecordHead& begin = records_[first].head;
    while (end < records_.size() && records_[end].head.batch() == begin.batch()) ++end;
    bool complete = begin.index == 0 && records_[end - 1].head.index + 1 == begin.count;
    for (size_t i = first + 1; i < end; ++i) complete = complete && !records_[i].behind_gap;
    // A batch begins when the one before it is durable, and a segment names the last number that is.
    const bool durable = end < records_.size() || limit != UINT64_MAX;
    if ((!complete && !durable) || begin.number > limit) break;  // nobody was told that it is durable
    places += !complete && !records_[first].behind_gap && begin.number >= from;
    last_batch_at_ = records_[first].at;
    last_batch_end_ = records_[end - 1].at + kRecordHead + records_[end - 1].head.body_size;
    for (size_t i = first; i < end && records_[i].head.number <= limit; ++i) {
      const auto& [at, head, behind_gap] = records_[i];
      last_number = std::max(last_number, head.number);
      segment.note(head.number, at);
      if (head.number < from) continue;
      places += behind_gap;
      if (!replay.on_entry({head.number, head.kind, {bytes_.data() + at + kRecordHead, head.body_size}})) return false;
      ++told;
    }
  }
  places += limit != UINT64_MAX && limit >= from && last_number < limit;  // at its end
  if (places) {
    replay.on_damage(
        fmt::format("{}: damaged in {} or more places; {} records are intact", segment_name(id), places, told));
  }
  return true;
}

void FileLog::Reader::cut(Disk& disk) {
  constexpr size_t kWorthIt = 4096;
  std::unique_ptr<File> file;
  if (bytes_.size() - used_ < kWorthIt || disk.open(segment_name(id), false, file) != Status::Ok) return;
  if (file->cut(used_) == Status::Ok) bytes_.resize(used_);
}

Status FileLog::Reader::write_again(Disk& disk) const {
  std::unique_ptr<File> file;
  Status status = disk.open(segment_name(id), false, file);
  const Bytes batch = std::span(bytes_).subspan(last_batch_at_, last_batch_end_ - last_batch_at_);
  if (status == Status::Ok) status = file->write(0, std::span(bytes_).first(kHeaderSize));
  if (status == Status::Ok) status = file->write(last_batch_at_, batch);
  if (status == Status::Ok) status = file->sync();
  return status == Status::Ok ? disk.sync() : status;
}

LogSegment FileLog::Reader::describe(Kind kind) const noexcept {
  LogSegment segment{id, kind, format, bytes_.size()};
  if (kind != Kind::Good) return segment;
  segment.previous_last = header.previous_last;
  segment.bytes_used = last_batch_end_;
  segment.more =
      std::any_of(bytes_.begin() + static_cast<ptrdiff_t>(last_batch_end_),
                  bytes_.begin() + static_cast<ptrdiff_t>(used_), [](std::byte byte) { return byte != std::byte{0}; });
  return segment;
}

Status FileLog::replay(LogReplay& replay, std::string& problem) {
  std::vector<std::string> names;
  if (const Status status = disk_.list(names); status != Status::Ok) {
    problem = "the directory of the log cannot be listed";
    return status;
  }
  if (!only_replays_) take_spare(names);
  std::unique_ptr<Reader> before;  // is told when the next one has said what of it counts
  const auto tell = [&](uint64_t limit) {
    if (!before) return true;
    if (!only_replays_) before->cut(disk_);
    Segment segment{before->id, 0, before->last_batch_end(), before->header.salt, {}, before->size()};
    if (!before->tell(options_.from, limit, replay, last_number_, segment)) return false;
    segment.last_number = std::max(last_number_, before->header.previous_last);
    bytes_ += segment.bytes;
    segments_.push_back(std::move(segment));
    if (only_replays_) replay.on_segment(before->describe(Reader::Kind::Good));
    return true;
  };
  for (const uint64_t id : segments_among(names)) {
    next_id_ = id + 1;
    auto reader = std::make_unique<Reader>(id);
    Reader::Kind kind{};
    if (const Status status = reader->read(disk_, kind); status != Status::Ok) {
      problem = fmt::format("{} cannot be read", segment_name(id));
      if (!only_replays_) return status;
      if (status != Status::NotFound) replay.on_damage(problem);  // else the broker has removed it
      continue;
    }
    if (only_replays_ && kind != Reader::Kind::Good) replay.on_segment(reader->describe(kind));
    switch (kind) {
      case Reader::Kind::Good:
        if (!before && options_.from && reader->header.previous_last >= options_.from) {
          replay.on_damage(fmt::format("{}: what was before it is missing, from {} to {}", segment_name(id),
                                       options_.from, reader->header.previous_last));
        }
        if (!tell(reader->header.previous_last)) return Status::NoMemory;
        last_number_ = std::max(last_number_, reader->header.previous_last);
        before = std::move(reader);
        break;
      case Reader::Kind::Empty:
        if (!only_replays_) static_cast<void>(disk_.remove(segment_name(id)));
        break;
      case Reader::Kind::Damaged:
        replay.on_damage(fmt::format("{}: its header is damaged; skipped", segment_name(id)));
        break;
      case Reader::Kind::Newer:
        problem = fmt::format("{} has format {}, written by a newer version; this one reads format {}",
                              segment_name(id), reader->format, kFormat);
        if (!only_replays_) return Status::Unsupported;
        replay.on_damage(problem);
        break;
    }
  }
  if (!tell(UINT64_MAX)) return Status::NoMemory;
  const Status status = before && !only_replays_ ? before->write_again(disk_) : Status::Ok;
  if (status != Status::Ok) problem = fmt::format("{} cannot be written", segment_name(before->id));
  return status;
}

std::unique_ptr<FileLog> FileLog::open(Disk& disk, const Options& options, LogReplay& replay, Status& status,
                                       std::string& problem) try {
  std::unique_ptr<FileLog> log(new FileLog(disk, options));
  status = log->replay(replay, problem);
  if (status == Status::NoMemory) problem = "out of memory";
  return status == Status::Ok ? std::move(log) : nullptr;
} catch (const std::bad_alloc&) {
  status = Status::NoMemory;
  problem = "out of memory";
  return nullptr;
}

Status FileLog::replay_only(Disk& disk, uint64_t from, LogReplay& replay, std::string& problem) try {
  Options options;
  options.from = from;
  FileLog log(disk, options);
  log.only_replays_ = true;
  const Status status = log.replay(replay, problem);
  if (status == Status::NoMemory) problem = "out of memory";
  return status;
} catch (const std::bad_alloc&) {
  problem = "out of memory";
  return Status::NoMemory;
}

std::vector<uint64_t> FileLog::segments_among(std::span<const std::string> names) {
  std::vector<uint64_t> ids;
  for (const std::string& name : names) {
    if (const uint64_t id = id_of(name)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::string FileLog::segment_name(uint64_t id) { return fmt::format("log-{:016x}", id); }

// Read in pieces beside a broker, a batch may be seen in part and the next one whole: by then the first was complete.
Status FileLog::copy_segment(File& from, uint64_t id, bool open, File& to, LogSegment::Kind& kind, Copied& copied) {
  Reader reader(id);
  Status status = reader.read(from, kind);
  if (status != Status::Ok || kind == LogSegment::Kind::Empty || kind == LogSegment::Kind::Newer) return status;
  if (open && kind == LogSegment::Kind::Good) status = reader.read_again(from);
  if (status == Status::Ok) status = to.write(0, reader.used());
  if (status == Status::Ok) status = to.sync();
  copied = {reader.used().size(), crc32c(reader.used())};
  return status;
}

// --- append

// A new file, each time something failed and each time one is full: what may be torn is never written behind.
Status FileLog::begin_segment() noexcept try {
  {
    const std::lock_guard lock(mutex_);
    segments_.reserve(segments_.size() + 1);
  }
  const uint64_t id = next_id_++;
  std::unique_ptr<File> file;
  salt_ = static_cast<uint32_t>(hash_mix(options_.seed, id));
  if (const Status status = make_segment(id, file); status != Status::Ok) {
    static_cast<void>(disk_.remove(segment_name(id)));
    return status;
  }
  ++begun_;
  {
    const std::lock_guard lock(mutex_);
    segments_.push_back({id, last_number_, kHeaderSize, salt_, {}, options_.segment_bytes});
  }
  bytes_ += options_.segment_bytes;
  file_ = std::move(file);
  offset_ = kHeaderSize;
  return Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

// A spare has lost its old name for good before it is written, and gets the new one when its header is on stable
// storage: no name ever belongs to what another file was.
Status FileLog::make_segment(uint64_t id, std::unique_ptr<File>& file) {
  std::byte header[kHeaderSize];
  const std::string name = segment_name(id), spare = spares_.empty() ? std::string() : spares_.back();
  put_header(header, {id, last_number_, salt_, !spare.empty()});
  written_to_ = spare.empty() ? kHeaderSize : options_.segment_bytes;
  Status status = Status::Ok;
  if (spare.empty()) {
    status = disk_.open(name, true, file);
    if (status == Status::Ok) status = file->reserve(options_.segment_bytes);
  } else {
    status = disk_.sync();
    if (status == Status::Ok) status = disk_.open(spare, false, file);
  }
  if (status == Status::Ok) status = file->write(0, header);
  if (status == Status::Ok) status = file->sync();
  if (!spare.empty()) {
    if (status == Status::Ok) status = disk_.rename(spare, name);
    if (status != Status::Ok) static_cast<void>(disk_.remove(spare));
    spares_.pop_back();
  }
  return status == Status::Ok ? disk_.sync() : status;
}

// One that an earlier broker has left, if it is as long as a segment; the others go. After a crash a file may have
// both names for all we know: then it is the segment that it says.
void FileLog::take_spare(const std::vector<std::string>& names) {
  const auto reads = [](File& file, uint64_t offset, std::span<std::byte> into) {
    size_t got = 0;
    return file.read(offset, into, got) == Status::Ok && got == into.size();
  };
  for (const std::string& name : names) {
    if (!name.starts_with(kSpare)) continue;
    std::unique_ptr<File> file;
    std::byte header[kHeaderSize], byte[1];
    if (spares_.empty() && disk_.open(name, false, file) == Status::Ok && reads(*file, 0, header) &&
        reads(*file, options_.segment_bytes - 1, byte) && !reads(*file, options_.segment_bytes, byte) &&
        std::ranges::find(names, segment_name(get_little<uint64_t>(header + 16))) == names.end()) {
      spares_.push_back(name);
    } else {
      static_cast<void>(disk_.remove(name));
    }
  }
}

void FileLog::drop_spares(uint32_t left) noexcept {
  for (; spares_.size() > left; spares_.pop_back()) static_cast<void>(disk_.remove(spares_.back()));
}

// Into buffer_, `size` bytes. False without memory.
bool FileLog::encode(std::span<const LogEntry> batch, size_t size) noexcept {
  buffer_.clear();
  if (size > UINT32_MAX || !buffer_.reserve(static_cast<uint32_t>(size))) return false;
  static constexpr std::byte kZeros[kRecordHead] = {};
  for (size_t i = 0; i < batch.size(); ++i) {
    const LogEntry& entry = batch[i];
    MQTTQ_ASSERT((i == 0 || entry.number > batch[i - 1].number) && entry.body.size() <= kBodySizeMax);
    const uint32_t at = buffer_.count();
    const size_t padding = record_size(entry.body.size()) - kRecordHead - entry.body.size();
    static_cast<void>(buffer_.append(kZeros));  // there is room
    static_cast<void>(buffer_.append(entry.body));
    static_cast<void>(buffer_.append(Bytes(kZeros).first(padding)));
    RecordHead head;
    head.body_size = static_cast<uint32_t>(entry.body.size());
    head.body_sum = crc32c(entry.body, salt_);
    head.number = entry.number;
    head.kind = entry.kind;
    head.index = static_cast<uint32_t>(entry.number - batch.front().number);
    head.count = static_cast<uint32_t>(batch.back().number - batch.front().number + 1);
    put_head(&buffer_[at], head, salt_);
  }
  return true;
}

// Where nothing was written yet a sync has to note in the file system that something is, which takes longer than the
// batch itself. So before small batches come there, some more is written and noted at once; not in a log that grows,
// whose files are written once, and not again.
Status FileLog::write_ahead(size_t size) noexcept {
  constexpr uint64_t kAhead = 256 << 10, kSmall = 8 << 10;
  constexpr size_t kSegmentsMax = 2;
  constexpr uint32_t kPiece = 64 << 10;
  const uint64_t end = offset_ + size, ahead = std::min(end + kAhead, options_.segment_bytes);
  if (end <= written_to_) return Status::Ok;
  if (!options_.syncs || size > kSmall || segments_.size() > kSegmentsMax || end > ahead) {
    written_to_ = end;
    return Status::Ok;
  }
  buffer_.clear();
  if (!buffer_.reserve(kPiece)) return Status::NoMemory;
  std::fill_n(buffer_.begin(), kPiece, std::byte{0});
  for (uint64_t at = written_to_; at < ahead; at += kPiece) {
    const Status status = file_->write(at, {buffer_.begin(), std::min<uint64_t>(kPiece, ahead - at)});
    if (status != Status::Ok) return status;
  }
  written_to_ = ahead;
  return file_->sync();
}

Status FileLog::append(std::span<const LogEntry> batch) noexcept {
  if (batch.empty()) return Status::Ok;
  MQTTQ_ASSERT(batch[0].number > last_number_);
  size_t size = 0;
  for (const LogEntry& entry : batch) size += record_size(entry.body.size());
  if (file_ && offset_ > kHeaderSize && offset_ + size > options_.segment_bytes) file_.reset();
  Status status = file_ ? Status::Ok : begin_segment();
  if (status == Status::Ok) status = write_ahead(size);
  if (status == Status::Ok && !encode(batch, size)) return Status::NoMemory;
  if (status == Status::Ok) status = file_->write(offset_, buffer_.span());
  if (status == Status::Ok && options_.syncs) status = file_->sync();
  if (status != Status::Ok) {
    file_.reset();   // the next one names what counts of this one
    drop_spares(0);  // the next one may need their room
    return status;
  }
  last_number_ = batch.back().number;
  const std::lock_guard lock(mutex_);
  segments_.back().last_number = last_number_;
  try {
    segments_.back().note(batch[0].number, offset_);
  } catch (const std::bad_alloc&) {  // it is found from the place before
  }
  offset_ += size;
  segments_.back().record_bytes = offset_;
  if (offset_ > segments_.back().bytes) {  // a batch longer than others' segments
    bytes_ += offset_ - segments_.back().bytes;
    segments_.back().bytes = offset_;
  }
  return Status::Ok;
}

uint64_t FileLog::record_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const Segment& one : segments_) bytes += one.record_bytes;
  return bytes;
}

uint64_t FileLog::last_of_oldest(uint64_t bytes_max) const noexcept {
  uint64_t last = 0, bytes = 0;
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {
    bytes += segments_[i].record_bytes;
    if (i && bytes > bytes_max) break;
    last = segments_[i].last_number;
  }
  return last;
}

// --- read

Status FileLog::read(uint64_t number, Array<std::byte>& bodies) noexcept {
  constexpr uint64_t kNear = 256;  // which is sooner found by going on
  if (const Place next = reading_.next;
      next.number && next.number <= number && number - next.number < kNear && number <= reading_.last_number) {
    reading_.next = {};
    if (find(number, reading_.salt, next, bodies, false) == Status::Ok) return Status::Ok;
  }
  uint64_t id = 0, last_number = 0;
  uint32_t salt = 0;
  Place from;
  {
    const std::lock_guard lock(mutex_);
    const auto segment = std::lower_bound(segments_.begin(), segments_.end(), number,
                                          [](const Segment& one, uint64_t of) { return one.last_number < of; });
    if (segment == segments_.end()) return Status::NotFound;
    const auto behind = std::upper_bound(segment->places.begin(), segment->places.end(), number,
                                         [](uint64_t of, const Place& one) { return of < one.number; });
    if (behind == segment->places.begin()) return Status::NotFound;
    id = segment->id;
    salt = segment->salt;
    last_number = segment->last_number;
    from = *(behind - 1);
  }
  if (reading_.id != id) {
    reading_.file.reset();  // and nothing of it is gone on from, should the other not open
    reading_.id = 0;
    reading_.next = {};
    reading_.window.clear();
    try {
      const Status status = disk_.open(segment_name(id), false, reading_.file);
      if (status != Status::Ok) return status;
    } catch (const std::bad_alloc&) {
      return Status::NoMemory;
    }
    reading_.id = id;
  }
  reading_.salt = salt;
  reading_.last_number = last_number;
  const Place next = std::exchange(reading_.next, {});
  const bool looked_before = !reading_.window.empty();
  const bool follows = next.number > from.number && next.number <= number;
  const Status status = find(number, salt, follows ? next : from, bodies, true);
  if (status != Status::NotFound || !looked_before) return status;
  reading_.window.clear();  // of the segment that is written: it may be as it was before this record came
  return find(number, salt, from, bodies, true);
}

void FileLog::read_run(std::span<const uint64_t> numbers, uint32_t size, Array<std::byte>& bodies,
                       Array<Found>& found) noexcept {
  constexpr uint64_t kNear = 64;
  constexpr size_t kBetweenMax = 4096;  // bytes that nobody asked for, beyond as many as were
  const Place next = reading_.next;
  const uint32_t base = bodies.count();
  found.clear();
  if (!next.number || numbers.front() < next.number || numbers.front() - next.number >= kNear) return;
  if (!bodies.reserve(base + size) || !found.reserve(static_cast<uint32_t>(numbers.size()))) return;
  size_t got = 0;
  if (reading_.file->read(next.offset, {bodies.begin() + base, size}, got) != Status::Ok) return;
  const Bytes bytes(bodies.begin() + base, got);
  size_t at = 0, end = 0, wanted = 0;
  uint64_t last = 0;
  while (found.count() < numbers.size() && numbers[found.count()] <= reading_.last_number) {
    RecordHead head;
    if (bytes.size() - at < kRecordHead || !get_head(bytes.data() + at, reading_.salt, head)) break;
    const uint64_t number = numbers[found.count()];
    const size_t behind = at + record_size(head.body_size);
    if (head.number > number || behind > bytes.size()) break;
    if (head.number < number) {
      if (behind - wanted > wanted + kBetweenMax) break;
    } else {
      const Bytes body = bytes.subspan(at + kRecordHead, head.body_size);
      if (crc32c(body, reading_.salt) != head.body_sum) break;
      static_cast<void>(found.push_back({base + static_cast<uint32_t>(at + kRecordHead), head.body_size}));
      wanted += behind - at;
      end = behind;
      last = number;
    }
    at = behind;
  }
  bodies.set_count(base + static_cast<uint32_t>(end));
  if (last) reading_.next = {last + 1, next.offset + end};
}

// As many bytes from `at` on, or fewer at the file's end; borrowed until the next call.
Status FileLog::look(uint64_t at, size_t size, Bytes& bytes) noexcept {
  constexpr size_t kWindow = 64 * 1024;
  Array<std::byte>& window = reading_.window;
  const bool inside = at >= reading_.window_at && at + size <= reading_.window_at + window.count();
  if (!inside) {
    const size_t wanted = std::max(size, kWindow);
    window.clear();
    if (wanted > UINT32_MAX || !window.reserve(static_cast<uint32_t>(wanted))) return Status::NoMemory;
    size_t got = 0;
    const Status status = reading_.file->read(at, {window.begin(), wanted}, got);
    if (status != Status::Ok) return status;
    window.set_count(static_cast<uint32_t>(got));
    reading_.window_at = at;
  }
  bytes = window.span().subspan(at - reading_.window_at);
  bytes = bytes.first(std::min(bytes.size(), size));
  return Status::Ok;
}

// From the record at `from` on. gaps: where none is, another one may begin at every eighth byte; else it is not found.
Status FileLog::find(uint64_t number, uint32_t salt, Place from, Array<std::byte>& bodies, bool gaps) noexcept {
  for (uint64_t at = from.offset;;) {
    Bytes bytes;
    Status status = look(at, kRecordHead, bytes);
    if (status != Status::Ok) return status;
    if (bytes.size() < kRecordHead) return Status::NotFound;
    RecordHead head;
    if (!get_head(bytes.data(), salt, head)) {
      if (!gaps) return Status::NotFound;
      at += 8;
      continue;
    }
    if (head.number > number) return Status::NotFound;
    if (head.number == number) {
      status = look(at + kRecordHead, head.body_size, bytes);
      if (status != Status::Ok) return status;
      if (bytes.size() != head.body_size || crc32c(bytes, salt) != head.body_sum) return Status::NotFound;
      if (!bodies.append(bytes)) return Status::NoMemory;
      reading_.next = {number + 1, at + record_size(head.body_size)};
      return Status::Ok;
    }
    at += record_size(head.body_size);
  }
}

Status FileLog::drop_before(uint64_t number, uint32_t spares) noexcept try {
  size_t count = 0;
  const size_t closed = segments_.size() - (file_ ? 1 : 0);
  // One that says where the last begins has to stay: the numbers go on from there.
  while (count + 1 < segments_.size() && count < closed && segments_[count].last_number < number) ++count;
  if (count) spares = std::min(spares, std::max(std::exchange(begun_, 0), 1u));
  drop_spares(spares);
  spares_.reserve(spares);
  for (size_t i = 0; i < count; ++i) {
    const Segment& oldest = segments_[0];
    const std::string name = segment_name(oldest.id), spare = spare_name(oldest.id);
    if (oldest.bytes == options_.segment_bytes && spares_.size() < spares &&
        disk_.rename_unread(name, spare) == Status::Ok) {
      spares_.push_back(spare);
    } else if (const Status status = disk_.remove(name); status != Status::Ok && status != Status::NotFound) {
      return status;
    }
    bytes_ -= oldest.bytes;
    const std::lock_guard lock(mutex_);
    segments_.erase(segments_.begin());
  }
  return Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

}  // namespace mqttq
