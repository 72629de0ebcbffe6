#include "store/lmdb_check.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "store/lmdb_file.h"
#include "store/system_disk.h"
#include "store/system_status.h"

namespace mqttq {

namespace {

using Clock = std::chrono::steady_clock;

// The first thing that is wrong ends it, and so does the time.
class Checker final : public LmdbVisitor {
 public:
  explicit Checker(uint32_t time_ms_max) : end_(begin_ + std::chrono::milliseconds(time_ms_max)) {}
  bool on_page() noexcept override {
    constexpr uint32_t kPagesPerLook = 32;
    if (pages_++ % kPagesPerLook == 0) late_ = late_ || Clock::now() >= end_;
    return !late_;
  }
  bool on_break(const LmdbBreak& of, uint64_t) noexcept override {
    broken = of;
    return false;
  }
  int64_t spent_ms() const noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count();
  }
  bool late() const noexcept { return late_; }

  std::optional<LmdbBreak> broken;

 private:
  const Clock::time_point begin_ = Clock::now(), end_;
  uint32_t pages_ = 0;
  bool late_ = false;
};

void say(LogSink* log, LogLevel level, const std::string& text) {
  if (log) log->write(level, text);
}

std::string refusal(const LmdbCheck& check, std::string_view what) {
  return fmt::format("{}/{} is damaged: {}; `mqttq-inspect --salvage NEW DIR` copies what can still be read of it",
                     check.directory, kStoreFile, what);
}

}  // namespace

std::string clean_mark(uint64_t transaction, uint64_t bytes) {
  return fmt::format("clean {} {}\n", transaction, bytes);
}

Status check_lmdb(const LmdbCheck& check, std::string& problem) {
  const std::string path = check.directory + "/" + kStoreFile;
  struct stat of;
  if (::stat(path.c_str(), &of) != 0 && errno == ENOENT) return Status::Ok;
  SystemDisk disk(check.directory, true);
  std::unique_ptr<File> file;
  if (const Status status = disk.open(kStoreFile, false, file); status != Status::Ok) {
    problem = fmt::format("cannot open {}: {}", path, std::strerror(errno));
    return status;
  }
  const auto bytes = static_cast<uint64_t>(of.st_size);
  if (bytes == 0) return Status::Ok;
  if (!LmdbFile::kReadable) {
    say(check.log, LogLevel::Notice, "the store is not checked on this processor");
    return Status::Ok;
  }
  LmdbFile store(*file, bytes);
  std::string what;
  const Status status = store.read_metas(what);
  if (store.unfinished()) {
    if (::truncate(path.c_str(), 0) == 0) return Status::Ok;
    problem = fmt::format("cannot write {}: {}", path, std::strerror(errno));
    return status_of_errno(errno);
  }
  if (status != Status::Ok) {
    problem = status == Status::Invalid ? refusal(check, what) : fmt::format("cannot open {}: {}", path, what);
    return status;
  }
  if (check.mark == clean_mark(store.newest()->transaction, bytes)) return Status::Ok;

  Checker checker(check.time_ms_max);
  LmdbFile::Walk walk;
  walk.of = store.newest();
  const LmdbFile::Walked walked = store.walk(walk, checker);
  if (checker.broken) {
    problem = refusal(check, checker.broken->text());
    return Status::Invalid;
  }
  if (checker.late()) {
    say(check.log, LogLevel::Warning,
        fmt::format("the store was not stopped cleanly, and is used unchecked: in {} ms {} of {} pages were looked at",
                    checker.spent_ms(), walked.pages, store.page_count()));
  } else {
    say(check.log, LogLevel::Info,
        fmt::format("the store was not stopped cleanly: its trees are sound, {} of {} pages looked at in {} ms",
                    walked.pages, store.page_count(), checker.spent_ms()));
  }
  return Status::Ok;
}

}  // namespace mqttq
