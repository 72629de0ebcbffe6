// bench_store_floor: the least that durability costs. Appends the records that a broker appended, in its batches, each
// batch one pwrite and one fdatasync as the broker's log does it, and does nothing else: no MQTT, no routing, no second
// thread. Prints one line; README.md has its keys.
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "floor/batches.h"
#include "load/histogram.h"

namespace mqttq::floor {
namespace {

constexpr const char* kUsage =
    "usage: bench_store_floor DIRECTORY (--like DIRECTORY | --batch N) [options]\n"
    "\n"
    "  DIRECTORY         where its files are made, and removed at the end\n"
    "  --like DIRECTORY  the batches that the log in a broker's data directory has, over and over\n"
    "  --batch N         N messages in each; their sizes by the three below\n"
    "  --topic BYTES     of the topic name (13)\n"
    "  --payload BYTES   (64)\n"
    "  --journals N      that take each message (1)\n"
    "  --seconds S       measured (3), behind\n"
    "  --warmup S        (0.5)\n"
    "  --no-sums         without the CRC-32C of heads and bodies\n"
    "  --room KIND       written: full of zeros beforehand (default); reserved: posix_fallocate\n"
    "  --keep            leaves the last file\n";

constexpr uint32_t kMessageFixed = 4 + 4 + 1 + 8 + 8 + 4 + 4 + 4;  // of a body, without journals and texts
constexpr size_t kFileSize = size_t{64} << 20;                     // of the broker's segments, by default
constexpr uint32_t kSalt = 0x1d0c5eed;

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string directory;
  std::string like;
  uint32_t batch = 0;
  uint32_t topic_size = 13;
  uint32_t payload_size = 64;
  uint32_t journal_count = 1;
  double measure_s = 3;
  double warmup_s = 0.5;
  bool sums = true;
  bool written = true;
  bool keep = false;
};

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

uint32_t number(std::string_view name, std::string_view text, uint32_t least, uint32_t most) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) {
    throw UsageError(std::string(name) + ": \"" + std::string(text) + "\" is not a number from " +
                     std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

double seconds(std::string_view name, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 3600)) {
    throw UsageError(std::string(name) + ": \"" + text + "\" is not a number of seconds from 0 to 3600");
  }
  return value;
}

Options parse_options(int argument_count, char** arguments) {
  Options options;
  for (int i = 1; i < argument_count; ++i) {
    const std::string_view name = arguments[i];
    const auto value = [&] {
      if (++i == argument_count) throw UsageError(std::string(name) + " takes a value");
      return arguments[i];
    };
    if (name == "--like") {
      options.like = value();
    } else if (name == "--batch") {
      options.batch = number(name, value(), 1, 1'000'000);
    } else if (name == "--topic") {
      options.topic_size = number(name, value(), 1, 65535);
    } else if (name == "--payload") {
      options.payload_size = number(name, value(), 0, 1u << 20);
    } else if (name == "--journals") {
      options.journal_count = number(name, value(), 1, 100'000);
    } else if (name == "--seconds") {
      options.measure_s = seconds(name, value());
    } else if (name == "--warmup") {
      options.warmup_s = seconds(name, value());
    } else if (name == "--no-sums") {
      options.sums = false;
    } else if (name == "--room") {
      const std::string_view room = value();
      if (room != "reserved" && room != "written") throw UsageError("--room takes reserved or written");
      options.written = room == "written";
    } else if (name == "--keep") {
      options.keep = true;
    } else if (name.starts_with("-") || !options.directory.empty()) {
      throw UsageError("unknown option " + std::string(name));
    } else {
      options.directory = name;
    }
  }
  if (options.directory.empty()) throw UsageError("a directory is missing");
  if (options.like.empty() == (options.batch == 0)) throw UsageError("one of --like and --batch is needed");
  if (options.measure_s <= 0) throw UsageError("--seconds is more than 0");
  return options;
}

// One file with room for batches, as a segment of the broker's log.
class Segment {
 public:
  // On stable storage with its header, and so is its name, when this returns.
  Segment(const Options& options, uint64_t id, uint64_t previous_last, size_t size) : size_(size), keep_(options.keep) {
    char name[32];
    std::snprintf(name, sizeof name, "/log-%016llx", static_cast<unsigned long long>(id));
    path_ = options.directory + name;
    file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file_ < 0) throw Failure(path_ + ": " + std::strerror(errno));
    try {
      if (const int error = posix_fallocate(file_, 0, static_cast<off_t>(size))) {
        throw Failure(path_ + ": " + std::strerror(error));
      }
      if (options.written) write_zeros();
      std::byte header[kHeaderSize];
      encode_header(id, previous_last, kSalt, header);
      append(header, sizeof header);
      sync_directory(options.directory);
    } catch (...) {
      keep_ = false;
      end();
      throw;
    }
  }
  ~Segment() { end(); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  bool has_room(size_t size) const { return offset_ + size <= size_; }
  void drop() { keep_ = false; }

  // On stable storage when it returns.
  void append(const std::byte* bytes, size_t size) {
    write(bytes, size, offset_);
    if (fdatasync(file_) != 0) throw Failure(path_ + ": " + std::strerror(errno));
    offset_ += size;
  }

 private:
  void write(const std::byte* bytes, size_t size, size_t offset) {
    while (size != 0) {
      const ssize_t written = pwrite(file_, bytes, size, static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw Failure(path_ + ": " + std::strerror(errno));
      bytes += written;
      offset += static_cast<size_t>(written);
      size -= static_cast<size_t>(written);
    }
  }

  void write_zeros() {
    const std::vector<std::byte> zeros(size_t{1} << 20);
    for (size_t at = 0; at < size_; at += zeros.size()) write(zeros.data(), std::min(zeros.size(), size_ - at), at);
    if (fsync(file_) != 0) throw Failure(path_ + ": " + std::strerror(errno));
  }

  static void sync_directory(const std::string& directory) {
    const int file = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool good = file >= 0 && fsync(file) == 0;
    const int error = errno;
    if (file >= 0) close(file);
    if (!good) throw Failure(directory + ": " + std::strerror(error));
  }

  void end() {
    close(file_);
    if (!keep_) unlink(path_.c_str());
  }

  std::string path_;
  int file_ = -1;
  size_t offset_ = 0;
  const size_t size_;
  bool keep_;
};

// What was committed while the clocks ran. Making the next file is not part of it.
struct Sum {
  uint64_t wall_ns = 0;
  uint64_t cpu_ns = 0;
  uint64_t batch_count = 0;
  uint64_t record_count = 0;
  uint64_t message_count = 0;
  uint64_t bytes = 0;
  bench::Histogram commits;  // of batches with a message: encoding, pwrite and fdatasync
};

class Floor {
 public:
  Floor(const Options& options, const Batches& batches) : options_(options), batches_(batches) {
    for (size_t i = 0; i < batches.count(); ++i) largest_ = std::max(largest_, batch_size(batches[i]));
    buffer_.resize(largest_);
  }

  Sum run() {
    Sum ignored;
    commit_for(options_.warmup_s, ignored);
    Sum sum;
    commit_for(options_.measure_s, sum);
    return sum;
  }

 private:
  // Until the clocks have run for `seconds`.
  void commit_for(double seconds, Sum& sum) {
    const auto enough_ns = static_cast<uint64_t>(seconds * 1e9);
    while (sum.wall_ns < enough_ns) {
      if (!segment_ || !segment_->has_room(batch_size(batches_[next_]))) begin_segment();
      fill_segment(enough_ns, sum);
    }
  }

  void begin_segment() {
    if (segment_) segment_->drop();
    segment_.reset();
    const size_t size = std::max(kFileSize, kHeaderSize + largest_);
    segment_ = std::make_unique<Segment>(options_, ++segment_id_, number_, size);
  }

  void fill_segment(uint64_t enough_ns, Sum& sum) {
    const uint64_t cpu_begin = clock_ns(CLOCK_PROCESS_CPUTIME_ID), begin = clock_ns(CLOCK_MONOTONIC);
    uint64_t now = begin;
    while (sum.wall_ns + (now - begin) < enough_ns) {
      const std::span<const Record> batch = batches_[next_];
      const size_t size = batch_size(batch);
      if (!segment_->has_room(size)) break;
      encode_batch(batch, number_ + 1, kSalt, options_.sums, buffer_.data());
      segment_->append(buffer_.data(), size);
      number_ += batch.size();
      if (++next_ == batches_.count()) next_ = 0;

      const uint64_t from = now;
      now = clock_ns(CLOCK_MONOTONIC);
      const size_t messages = message_count(batch);
      if (messages != 0) sum.commits.record(now - from);
      ++sum.batch_count;
      sum.record_count += batch.size();
      sum.message_count += messages;
      sum.bytes += size;
    }
    sum.wall_ns += now - begin;
    sum.cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin;
  }

  const Options& options_;
  const Batches& batches_;
  size_t largest_ = 0;
  std::vector<std::byte> buffer_;
  std::unique_ptr<Segment> segment_;
  uint64_t segment_id_ = 0;
  uint64_t number_ = 0;
  size_t next_ = 0;  // batch
};

Batches equal_batches(const Options& options) {
  const uint32_t body_size = kMessageFixed + 8 * options.journal_count + options.topic_size + options.payload_size;
  Batches batches;
  batches.add(std::vector<Record>(options.batch, {body_size, kMessage}));
  return batches;
}

void print(const Options& options, const Batches& batches_given, const Sum& sum) {
  const auto messages = static_cast<double>(sum.message_count);
  const auto batches = static_cast<double>(sum.batch_count);
  const double wall_s = static_cast<double>(sum.wall_ns) / 1e9, cpu_s = static_cast<double>(sum.cpu_ns) / 1e9;
  const auto commit_us = [&](double share) { return static_cast<double>(sum.commits.percentile_ns(share)) / 1000; };
  std::printf("scenario=floor msgs=%llu seconds=%.3f msgs_per_s=%.0f msgs_per_cpu_s=%.0f cpu_ns_per_msg=%.1f ",
              static_cast<unsigned long long>(sum.message_count), wall_s, messages / wall_s, messages / cpu_s,
              cpu_s * 1e9 / messages);
  std::printf("cpu_share=%.3f batches=%llu batch_msgs=%.1f batch_records=%.1f batch_bytes=%.0f bytes_per_msg=%.1f ",
              cpu_s / wall_s, static_cast<unsigned long long>(sum.batch_count), messages / batches,
              static_cast<double>(sum.record_count) / batches, static_cast<double>(sum.bytes) / batches,
              static_cast<double>(sum.bytes) / messages);
  std::printf("commit_us_p10=%.1f commit_us_p50=%.1f commit_us_p90=%.1f commit_us_p99=%.1f commit_us_max=%.1f ",
              commit_us(0.1), commit_us(0.5), commit_us(0.9), commit_us(0.99),
              static_cast<double>(sum.commits.max_ns()) / 1000);
  std::printf("pattern=%zu sums=%d room=%s build=%s\n", batches_given.count(), options.sums,
              options.written ? "written" : "reserved", BENCH_BUILD);
}

}  // namespace
}  // namespace mqttq::floor

int main(int argument_count, char** arguments) {
  using namespace mqttq::floor;
  if (argument_count == 2 && std::strcmp(arguments[1], "--help") == 0) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  try {
    const Options options = parse_options(argument_count, arguments);
    const Batches batches = options.like.empty() ? equal_batches(options) : read_batches(options.like);
    const Sum sum = Floor(options, batches).run();
    if (sum.message_count == 0) throw Failure("no message was committed in the time given");
    print(options, batches, sum);
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "bench_store_floor: %s; --help lists the options\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_store_floor: %s\n", error.what());
    return 1;
  }
}
