// Segments as plain files: NAME.seg, written with pwrite and one fdatasync per commit.
//
// file: a block of 4 KiB (at 0 what it is, at 2048 what sealing adds), then records, then on the next 4 KiB boundary
// the index, a page every 4 KiB. The checksum of everything begins with the segment's id, so that what an earlier use
// of the same file left behind is never taken for a record. File `trims` has two slots per block, written in turn.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <stdexcept>

#include "layouts/segment_store.h"

namespace mqttq::layouts {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kSealAt = 2048;
constexpr uint64_t kMagic = 0x3130676573747071;

uint64_t index_at(const SegmentInfo& segment) { return kBlock + (segment.bytes + kBlock - 1) / kBlock * kBlock; }

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

void write_all(int file, const void* bytes, size_t size, uint64_t at) {
  require(pwrite(file, bytes, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size), "pwrite");
}

class FileSegments : public SegmentStore {
 public:
  explicit FileSegments(const LayoutOptions& options)
      : options_(options),
        directory_(open(options.directory.c_str(), O_RDONLY | O_DIRECTORY)),
        trims_(open((options.directory + "/trims").c_str(), O_RDWR | O_CREAT, 0644)) {
    require(directory_ >= 0 && trims_ >= 0, "open the directory");
  }
  ~FileSegments() override {
    for (const auto& [id, file] : files_) close(file);
    close(trims_);
    close(directory_);
  }

  std::vector<SegmentInfo> list(std::vector<uint64_t>& trims) override {
    read_trims(trims);
    std::map<uint32_t, SegmentInfo> segments;
    DIR* const directory = opendir(options_.directory.c_str());
    require(directory != nullptr, "opendir");
    while (const dirent* entry = readdir(directory)) {
      const std::string_view name = entry->d_name;
      const std::string path = options_.directory + "/" + entry->d_name;
      if (name.starts_with("free-")) {
        free_.push_back(path);
        continue;
      }
      if (!name.ends_with(".seg")) continue;
      const int file = open(path.c_str(), O_RDWR);
      require(file >= 0, "open a segment");
      SegmentInfo info;
      const auto id = static_cast<uint32_t>(std::stoul(std::string(name), nullptr, 16));
      // A file whose head is not whole was never written to: its creation was cut short.
      if (!read_head(file, 0, id, info)) {
        close(file);
        unlink(path.c_str());
        continue;
      }
      SegmentInfo sealed;
      if (read_head(file, kSealAt, id, sealed)) info = sealed;
      files_[info.id] = file;
      segments[info.id] = info;
    }
    closedir(directory);
    std::vector<SegmentInfo> list;
    for (const auto& [id, info] : segments) list.push_back(info);
    return list;
  }

  [[nodiscard]] bool needs_position(bool) const override { return true; }
  [[nodiscard]] uint32_t checksum_seed(uint32_t segment) const override { return segment; }

  void replay(const SegmentInfo& segment, const Replay& replay) override {
    const int file = files_.at(segment.id);
    std::string bytes;
    uint64_t from = kBlock;
    size_t at = 0;
    while (true) {
      const size_t size = size_of_record(std::string_view(bytes).substr(at));
      if (size == 0 || size > bytes.size() - at) {
        // Not whole: read on behind what is left.
        from += at;
        bytes.erase(0, at);
        at = 0;
        const size_t held = bytes.size();
        const size_t wanted = std::max<size_t>(size_t{1} << 20, size > (64U << 20) ? 0 : size);
        bytes.resize(held + wanted);
        const ssize_t got = pread(file, bytes.data() + held, wanted, static_cast<off_t>(from + held));
        require(got >= 0, "pread");
        bytes_read_ += static_cast<uint64_t>(got);
        bytes.resize(held + static_cast<size_t>(got));
        if (got == 0) return;
        continue;
      }
      const size_t used = replay(std::string_view(bytes).substr(at), static_cast<uint32_t>(from + at));
      if (used == 0) return;
      at += used;
    }
  }

  void create(const SegmentInfo& segment) override {
    const std::string path = path_of(segment.id);
    int file = -1;
    if (!free_.empty()) {
      require(rename(free_.back().c_str(), path.c_str()) == 0, "rename");
      free_.pop_back();
      file = open(path.c_str(), O_RDWR);
      // What sealing added to the earlier use does not fit this id; the head is overwritten below.
    } else {
      file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
      require(file >= 0, "create a segment");
      preallocate(file);
    }
    require(file >= 0, "open a segment");
    write_head(file, 0, segment);
    sync(file, true);
    sync(directory_, true);
    files_[segment.id] = file;
  }

  void begin(const SegmentInfo& segment) override {
    segment_ = segment.id;
    end_ = kBlock + segment.bytes;
    buffer_.clear();
    forget();
  }

  std::byte* append(uint64_t, bool, size_t size, uint32_t& position) override {
    const size_t at = buffer_.size();
    position = static_cast<uint32_t>(end_ + at);
    buffer_.resize(at + size);
    return buffer_.data() + at;
  }

  // Kept until sealing: the index stands behind the last record.
  void put_page(uint32_t page, std::span<const std::byte> bytes) override {
    std::vector<std::byte>& pages = pages_[segment_];
    pages.resize((page + 1) * kBlock);
    std::memcpy(&pages[page * kBlock], bytes.data(), bytes.size());
  }

  void commit(bool durable) override {
    if (buffer_.empty()) return;
    const int file = files_.at(segment_);
    write_all(file, buffer_.data(), buffer_.size(), end_);
    if (durable) sync(file, false);
  }

  void seal(const SegmentInfo& segment, std::span<const TrimBlock> trims) override {
    const int file = files_.at(segment.id);
    const std::vector<std::byte>& pages = pages_[segment.id];
    if (!pages.empty()) write_all(file, pages.data(), pages.size(), index_at(segment));
    pages_.erase(segment.id);
    if (!trims.empty()) write_trims(trims);
    sync(file, true);
    // Only when the index is there does the file say so.
    write_head(file, kSealAt, segment);
    sync(file, true);
  }

  bool drop(const SegmentInfo& segment) override {
    close(files_.at(segment.id));
    files_.erase(segment.id);
    pages_.erase(segment.id);
    const std::string path = path_of(segment.id);
    if (options_.preallocate == "reuse" && free_.size() < 4) {
      free_.push_back(options_.directory + "/free-" + std::to_string(segment.id));
      require(rename(path.c_str(), free_.back().c_str()) == 0, "rename");
    } else {
      require(unlink(path.c_str()) == 0, "unlink");
    }
    return true;
  }

  [[nodiscard]] bool appends_after_restart() const override { return false; }

  void begin_read() override { forget(); }
  void end_read() override {}

  // Reads a page at random, and more where the last reading ended.
  std::string_view record(const SegmentInfo& segment, uint64_t, uint32_t position) override {
    const bool same = held_segment_ == segment.id;
    if (same && position >= held_from_ && position < held_from_ + held_.size()) {
      const std::string_view rest = std::string_view(held_).substr(position - held_from_);
      const size_t size = size_of_record(rest);
      if (size != 0 && size <= rest.size()) return rest;
    }
    const bool follows = same && position >= held_from_ && position <= held_from_ + held_.size() + kBlock;
    size_t wanted = follows ? 16 * kBlock : kBlock / 4;
    while (true) {
      held_.resize(wanted);
      const ssize_t got = pread(files_.at(segment.id), held_.data(), wanted, static_cast<off_t>(position));
      require(got >= 0, "pread");
      bytes_read_ += static_cast<uint64_t>(got);
      held_.resize(static_cast<size_t>(got));
      held_segment_ = segment.id;
      held_from_ = position;
      const size_t size = size_of_record(held_);
      if (size <= held_.size() || wanted > size) return held_;
      wanted = size;
    }
  }

  std::string_view page(const SegmentInfo& segment, uint32_t page) override {
    page_.resize(kIndexPageSize);
    const auto at = static_cast<off_t>(index_at(segment) + uint64_t{page} * kBlock);
    const ssize_t got = pread(files_.at(segment.id), page_.data(), page_.size(), at);
    require(got == static_cast<ssize_t>(page_.size()), "read an index page");
    bytes_read_ += static_cast<uint64_t>(got);
    return page_;
  }

  void hurry(bool on) override {
    hurried_ = on;
    if (on) return;
    for (const auto& [id, file] : files_) sync(file, true);
    sync(trims_, true);
  }
  [[nodiscard]] bool syncs() const override { return !hurried_; }
  void count(LayoutFigures& figures) const override {
    figures.syncs = sync_count_;
    figures.bytes_read = bytes_read_;
    for (const auto& [id, pages] : pages_) figures.memory_varying += pages.capacity();
  }

 private:
  static constexpr size_t kTrimSlot = 2048;
  struct TrimSlot {
    uint64_t checksum;
    uint64_t turn;
    uint64_t trims[kTrimsPerBlock];
  };
  static_assert(sizeof(TrimSlot) <= kTrimSlot);

  std::string path_of(uint32_t id) const {
    char name[32];
    std::snprintf(name, sizeof name, "/%08x.seg", id);
    return options_.directory + name;
  }

  void sync(int file, bool metadata) {
    if (hurried_) return;
    require((metadata ? fsync(file) : fdatasync(file)) == 0, "sync");
    ++sync_count_;
  }

  void preallocate(int file) const {
    const uint64_t size = kBlock + options_.bound_bytes + (1 << 20);
    if (options_.preallocate == "reserve" || options_.preallocate == "reuse") {
      require(posix_fallocate(file, 0, static_cast<off_t>(size)) == 0, "fallocate");
    } else if (options_.preallocate == "zero") {
      const std::vector<std::byte> zeros(1 << 20);
      for (uint64_t at = 0; at < size; at += zeros.size()) write_all(file, zeros.data(), zeros.size(), at);
    }
  }

  // The head's words, and a checksum in front of them.
  static void write_head(int file, uint64_t at, const SegmentInfo& segment) {
    std::vector<uint64_t> words{0,
                                kMagic,
                                segment.id,
                                segment.survivors ? 1U : 0U,
                                segment.sealed ? 1U : 0U,
                                segment.first,
                                segment.last,
                                segment.records,
                                segment.bytes,
                                segment.pages,
                                segment.ranges.size(),
                                segment.replaces.size()};
    for (const auto& [first, last] : segment.ranges) words.insert(words.end(), {first, last});
    words.insert(words.end(), segment.replaces.begin(), segment.replaces.end());
    if (8 * words.size() > kSealAt) throw std::runtime_error("a segment of survivors has too many ranges");
    words.resize(kSealAt / 8);
    words[0] = crc32c(segment.id, &words[1], kSealAt - 8);
    write_all(file, words.data(), kSealAt, at);
  }

  // False unless it is a head of the segment with that id.
  static bool read_head(int file, uint64_t at, uint32_t id, SegmentInfo& out) {
    std::vector<uint64_t> words(kSealAt / 8);
    if (pread(file, words.data(), kSealAt, static_cast<off_t>(at)) != kSealAt) return false;
    if (words[1] != kMagic || words[2] != id || words[0] != crc32c(id, &words[1], kSealAt - 8)) return false;
    out = {
        id, words[3] != 0, words[4] != 0, words[5], words[6], words[7], words[8], static_cast<uint32_t>(words[9]), {},
        {}};
    size_t from = 12;
    for (uint64_t i = 0; i < words[10]; ++i, from += 2) out.ranges.emplace_back(words[from], words[from + 1]);
    for (uint64_t i = 0; i < words[11]; ++i) out.replaces.push_back(static_cast<uint32_t>(words[from++]));
    return true;
  }

  void write_trims(std::span<const TrimBlock> blocks) {
    for (const TrimBlock& block : blocks) {
      TrimSlot slot{};
      if (turns_.size() <= block.index) turns_.resize(block.index + 1);
      slot.turn = ++turns_[block.index];
      std::ranges::copy(block.trims, slot.trims);
      slot.checksum = crc32c(static_cast<uint32_t>(block.index), &slot.turn, sizeof slot - 8);
      write_all(trims_, &slot, sizeof slot, (2 * block.index + slot.turn % 2) * kTrimSlot);
    }
    sync(trims_, true);
  }

  void read_trims(std::vector<uint64_t>& trims) {
    turns_.assign((trims.size() + kTrimsPerBlock - 1) / kTrimsPerBlock, 0);
    std::vector<char> bytes(2 * kTrimSlot);
    for (uint64_t index = 0; index < turns_.size(); ++index) {
      const ssize_t got = pread(trims_, bytes.data(), bytes.size(), static_cast<off_t>(2 * index * kTrimSlot));
      bytes_read_ += static_cast<uint64_t>(std::max<ssize_t>(got, 0));
      for (size_t which = 0; which < 2; ++which) {
        if (got < static_cast<ssize_t>(which * kTrimSlot + sizeof(TrimSlot))) break;
        TrimSlot slot;
        std::memcpy(&slot, &bytes[which * kTrimSlot], sizeof slot);
        const bool whole = slot.checksum == crc32c(static_cast<uint32_t>(index), &slot.turn, sizeof slot - 8);
        if (!whole || slot.turn <= turns_[index]) continue;
        turns_[index] = slot.turn;
        const size_t count = std::min(kTrimsPerBlock, trims.size() - index * kTrimsPerBlock);
        std::copy_n(slot.trims, count, &trims[index * kTrimsPerBlock]);
      }
    }
  }

  void forget() { held_segment_ = 0; }

  const LayoutOptions options_;
  const int directory_;
  const int trims_;
  std::map<uint32_t, int> files_;
  std::vector<std::string> free_;  // files to be used again, and their blocks with them
  std::vector<uint64_t> turns_;    // per block of trims, the slot written last
  bool hurried_ = false;
  uint64_t sync_count_ = 0;
  uint64_t bytes_read_ = 0;

  uint32_t segment_ = 0;
  uint64_t end_ = 0;
  std::vector<std::byte> buffer_;
  std::map<uint32_t, std::vector<std::byte>> pages_;

  uint32_t held_segment_ = 0;
  uint64_t held_from_ = 0;
  std::string held_;
  std::string page_;
};

}  // namespace

std::unique_ptr<SegmentStore> open_file_segments(const LayoutOptions& options) {
  return std::make_unique<FileSegments>(options);
}

}  // namespace mqttq::layouts
