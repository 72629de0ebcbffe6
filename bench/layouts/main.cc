// bench_layouts: appends messages to journals by one of several layouts on disk, and says what each message cost.
//
// A run fills a store, then measures windows of commits of several sizes on it, reads back a sample and compares it,
// and after `backlog` opens the store again from a cold cache and replays journals. One line per measurement.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <stdexcept>
#include <vector>

#include "layouts/generator.h"
#include "layouts/layout.h"
#include "layouts/usage.h"

namespace mqttq::layouts {

std::unique_ptr<Layout> open_layout(const std::string& name, const LayoutOptions& options) {
  if (name == "direct") return open_direct(options);
  if (name == "moved") return open_moved(options);
  if (name == "indexed") return open_indexed(options);
  if (name == "files") return open_files(options);
  return nullptr;
}

namespace {

constexpr const char* kUsage =
    R"(usage: bench_layouts --layout direct|moved|indexed|files [options]
  --workload backlog|settled|trickle   nothing settled; all settled two commits later; half of the journals so, the
                                       other half's entries expire when --backlog-mib of messages follow (backlog)
  --journals N        (1)              --fanout N          journals per message (1)
  --commits A,B,C     messages per commit, a window each (1000,100,10)
  --messages A,B,C    per window (600000,200000,20000)
  --prefill N         messages before the first window, in commits of 10000 that do not sync (0)
  --seconds-max S     ends a window early (60)
  --segment-mib N     the bound of the log before it moves, or of a segment (64)
  --collect-share P   percent of live records below which a segment is collected (50)
  --backlog-mib N     (512)            --seed N            (1)
  --preallocate none|reserve|zero|reuse   files only (reserve)
  --tables            LMDB: a table per segment of the log, emptied by mdb_drop
  --writemap          LMDB: MDB_WRITEMAP
  --no-sync           commits do not sync: processor time alone
  --crash N           instead of measuring: N times, kills a process that appends, at any moment, and compares
  --directory DIR     made, and removed afterwards (build/layouts-data)
)";

struct Options {
  std::string layout;
  std::string workload = "backlog";
  uint64_t fanout = 1;
  std::vector<uint64_t> commits{1000, 100, 10};
  std::vector<uint64_t> messages{600'000, 200'000, 20'000};
  uint64_t prefill = 0;
  uint64_t seconds_max = 60;
  uint64_t backlog_bytes = 512 << 20;
  uint64_t seed = 1;
  uint64_t crashes = 0;
  bool no_sync = false;
  LayoutOptions store{.directory = "build/layouts-data"};
};

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

uint64_t number_of(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse("no number: " + std::string(text));
  return value;
}

std::vector<uint64_t> numbers_of(std::string_view text) {
  std::vector<uint64_t> numbers;
  while (true) {
    const size_t comma = text.find(',');
    numbers.push_back(number_of(text.substr(0, comma)));
    if (comma == std::string_view::npos) return numbers;
    text.remove_prefix(comma + 1);
  }
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (name == "--tables") {
      options.store.tables = true;
    } else if (name == "--writemap") {
      options.store.write_map = true;
    } else if (name == "--no-sync") {
      options.no_sync = true;
    } else {
      if (i + 1 == count) refuse("no value for, or unknown: " + std::string(name));
      const std::string value = arguments[++i];
      if (name == "--layout")
        options.layout = value;
      else if (name == "--workload")
        options.workload = value;
      else if (name == "--journals")
        options.store.journals = number_of(value);
      else if (name == "--fanout")
        options.fanout = number_of(value);
      else if (name == "--commits")
        options.commits = numbers_of(value);
      else if (name == "--messages")
        options.messages = numbers_of(value);
      else if (name == "--prefill")
        options.prefill = number_of(value);
      else if (name == "--seconds-max")
        options.seconds_max = number_of(value);
      else if (name == "--segment-mib")
        options.store.bound_bytes = number_of(value) << 20;
      else if (name == "--collect-share")
        options.store.collect_share = static_cast<double>(number_of(value)) / 100;
      else if (name == "--backlog-mib")
        options.backlog_bytes = number_of(value) << 20;
      else if (name == "--seed")
        options.seed = number_of(value);
      else if (name == "--crash")
        options.crashes = number_of(value);
      else if (name == "--preallocate")
        options.store.preallocate = value;
      else if (name == "--directory")
        options.store.directory = value;
      else
        refuse("unknown: " + std::string(name));
    }
  }
  const bool known = options.workload == "backlog" || options.workload == "settled" || options.workload == "trickle";
  if (!known) refuse("unknown workload: " + options.workload);
  if (options.fanout == 0 || options.fanout > Generator::kFanoutMax) refuse("--fanout is 1 to 16");
  if (options.store.journals == 0 || options.store.journals > 100'000'000) refuse("--journals is 1 to 100 000 000");
  if (options.commits.size() != options.messages.size()) refuse("--commits and --messages go together");
  return options;
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options), generator_(options.seed, options.store.journals, options.fanout) {
    std::filesystem::remove_all(options.store.directory);
    std::filesystem::create_directories(options.store.directory);
    Generator::Storage storage;
    record_bytes_ = record_size(generator_.message(1, storage));
    generate_us_ = time_generator();
    open();
  }
  ~Run() {
    layout_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(options_.store.directory, ignored);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void run() {
    if (options_.crashes > 0) {
      crash();
      return;
    }
    if (options_.prefill > 0) {
      layout_->hurry(true);
      commits(options_.prefill, 10'000, 0);
      layout_->hurry(options_.no_sync);
    }
    for (size_t i = 0; i < options_.commits.size(); ++i) window(options_.messages[i], options_.commits[i]);
    verify();
    start();
    verify();
    if (options_.workload == "backlog") replay();
  }

 private:
  void open() {
    layout_ = open_layout(options_.layout, options_.store);
    if (layout_ == nullptr) refuse("unknown layout: " + options_.layout);
    if (options_.no_sync) layout_->hurry(true);
    if (layout_->syncs() == options_.no_sync)
      throw std::runtime_error("the durable settings are not what was asked for");
  }

  double time_generator() const {
    Generator::Storage storage;
    const double before = usage(options_.store.directory).cpu_us;
    uint64_t sum = 0;
    for (uint64_t number = 1; number <= 200'000; ++number) {
      const Message message = generator_.message(number, storage);
      sum += message.journals.back() + static_cast<unsigned char>(message.payload.back());
    }
    const double after = usage(options_.store.directory).cpu_us;
    return (after - before) / 200'000 + (sum == 1 ? 1e-9 : 0);
  }

  // --- Appending ------------------------------------------------------------------------------------------------

  // The settlements that go with the next commit.
  void gather_settlements(uint64_t commit) {
    settled_.clear();
    if (options_.workload == "backlog") return;
    Generator::Journals journals;
    const bool all = options_.workload == "settled";
    const uint64_t done = last_ > 2 * commit ? last_ - 2 * commit : 0;
    for (; settled_to_ < done; ++settled_to_) {
      for (const uint64_t journal : generator_.journals(settled_to_ + 1, journals)) {
        if (all || !offline(journal)) settled_.push_back({journal, settled_to_ + 1});
      }
    }
    const uint64_t kept = options_.backlog_bytes / record_bytes_;
    for (; !all && expired_to_ + kept < last_; ++expired_to_) {
      for (const uint64_t journal : generator_.journals(expired_to_ + 1, journals)) {
        if (offline(journal)) settled_.push_back({journal, expired_to_ + 1});
      }
    }
  }

  // With one journal there are no two halves.
  [[nodiscard]] bool offline(uint64_t journal) const { return journal % 2 == 1 || options_.store.journals == 1; }

  [[nodiscard]] bool live(uint64_t journal, uint64_t number) const {
    return number > (options_.workload == "trickle" && offline(journal) ? expired_to_ : settled_to_);
  }

  // Returns how many messages there was time for.
  uint64_t commits(uint64_t count, uint64_t commit, double seconds_max) {
    const double end = wall_us() + 1e6 * seconds_max;
    commit_us_.clear();
    work_us_max_ = 0;
    std::vector<Generator::Storage> storage(commit);
    std::vector<Message> messages(commit);
    uint64_t done = 0;
    for (; done < count; done += commit) {
      if (seconds_max > 0 && wall_us() > end) break;
      for (uint64_t i = 0; i < commit; ++i) messages[i] = generator_.message(last_ + 1 + i, storage[i]);
      gather_settlements(commit);
      if (shared_ != nullptr) shared_->after = {last_ + commit, settled_to_, expired_to_};
      const double before = wall_us();
      layout_->append(messages, settled_);
      const double between = wall_us();
      layout_->work();
      const double after = wall_us();
      last_ += commit;
      if (shared_ != nullptr) shared_->acknowledged = {last_, settled_to_, expired_to_};
      commit_us_.push_back(between - before);
      work_us_max_ = std::max(work_us_max_, after - between);
    }
    return done;
  }

  void window(uint64_t count, uint64_t commit) {
    const std::string& directory = options_.store.directory;
    const uint64_t file_before = occupied_bytes(directory);
    const LayoutFigures figures_before = layout_->figures();
    const uint64_t first = last_;
    const Usage before = usage(directory);
    const uint64_t done = commits(count, commit, static_cast<double>(options_.seconds_max));
    const Usage after = usage(directory);
    const LayoutFigures figures = layout_->figures();
    const auto per = [&](double value) { return value / static_cast<double>(done); };
    std::ranges::sort(commit_us_);
    begin_line(commit);
    std::printf(" msgs=%lu before=%lu cpu_us=%.3f bytes=%.1f syncs=%.4f", done, first,
                per(after.cpu_us - before.cpu_us) - generate_us_,
                per(static_cast<double>(after.bytes_given - before.bytes_given)),
                per(static_cast<double>(figures.syncs - figures_before.syncs)));
    std::printf(" commit_us_p50=%.0f commit_us_p99=%.0f work_us_max=%.0f dirtied_bytes=%.1f device_bytes=%.1f",
                commit_us_[commit_us_.size() / 2], commit_us_[commit_us_.size() * 99 / 100], work_us_max_,
                per(static_cast<double>(after.bytes_dirtied - before.bytes_dirtied)),
                per(static_cast<double>(after.device_bytes - before.device_bytes)));
    std::printf(" moved=%.3f collected=%.3f",
                per(static_cast<double>(figures.moved_entries - figures_before.moved_entries)),
                per(static_cast<double>(figures.collected - figures_before.collected)));
    print_sizes(figures);
    std::printf(" file_mib_before=%.1f generate_us=%.3f\n", static_cast<double>(file_before) / (1 << 20), generate_us_);
    std::fflush(stdout);
  }

  void begin_line(uint64_t commit) const {
    std::printf("layout=%s%s%s workload=%s journals=%lu fanout=%lu", options_.layout.c_str(),
                options_.store.tables ? "+tables" : "", options_.store.write_map ? "+writemap" : "",
                options_.workload.c_str(), options_.store.journals, generator_.fanout());
    if (options_.layout == "files") std::printf(" preallocate=%s", options_.store.preallocate.c_str());
    std::printf(" durable=%s", layout_->syncs() ? "yes" : "no");
    if (commit > 0) std::printf(" commit=%lu", commit);
  }

  void print_sizes(const LayoutFigures& figures) const {
    const double journals = static_cast<double>(options_.store.journals);
    std::printf(
        " file_mib=%.1f segments=%lu memory_per_journal=%.1f memory_mib=%.1f rss_peak_mib=%.1f rss_anon_mib=%.1f",
        static_cast<double>(occupied_bytes(options_.store.directory)) / (1 << 20), figures.segments,
        static_cast<double>(figures.memory_fixed) / journals,
        static_cast<double>(figures.memory_fixed + figures.memory_varying) / (1 << 20),
        static_cast<double>(rss_peak_bytes()) / (1 << 20), static_cast<double>(rss_anonymous_bytes()) / (1 << 20));
  }

  // --- Checking -------------------------------------------------------------------------------------------------

  void compare(const Record& record, uint64_t expected) const {
    Generator::Storage storage;
    const Message message = generator_.message(expected, storage);
    const bool same = record.number == message.number && record.time_s == message.time_s &&
                      record.publisher == message.publisher && record.topic == message.topic &&
                      record.payload == message.payload;
    if (!same) {
      throw std::runtime_error("read message " + std::to_string(record.number) + " where " + std::to_string(expected) +
                               " was expected");
    }
  }

  // Some journals spread over all and those of the last messages, whole, against what was appended and not settled.
  void verify() {
    const auto [compared, journals] = compare_all();
    begin_line(0);
    std::printf(" verified=%lu verified_journals=%zu\n", compared, journals);
    std::fflush(stdout);
  }

  std::pair<uint64_t, size_t> compare_all() {
    if (layout_->last_number() != last_) {
      throw std::runtime_error("the last number is " + std::to_string(layout_->last_number()) + ", not " +
                               std::to_string(last_));
    }
    std::map<uint64_t, std::vector<uint64_t>> expected;  // journal -> numbers
    const uint64_t step = std::max<uint64_t>(1, options_.store.journals / 64);
    for (uint64_t journal = 0; journal < options_.store.journals; journal += step) expected[journal];
    Generator::Journals journals;
    for (uint64_t number = last_ < 64 ? 1 : last_ - 63; number <= last_; ++number) {
      for (const uint64_t journal : generator_.journals(number, journals)) expected[journal];
    }
    std::vector<bool> wanted(options_.store.journals);
    for (const auto& [journal, numbers] : expected) wanted[journal] = true;
    uint64_t first = settled_to_;
    if (options_.workload == "trickle") first = std::min(first, expired_to_);
    for (uint64_t number = first + 1; number <= last_; ++number) {
      for (const uint64_t journal : generator_.journals(number, journals)) {
        if (wanted[journal] && live(journal, number)) expected[journal].push_back(number);
      }
    }
    uint64_t compared = 0;
    for (const auto& [journal, numbers] : expected) {
      size_t at = 0;
      layout_->read(journal, 0, [&](const Record& record) {
        if (at == numbers.size()) throw std::runtime_error("a settled or unknown message was read");
        compare(record, numbers[at++]);
        return true;
      });
      if (at != numbers.size()) throw std::runtime_error("a journal ends too early");
      compared += at;
    }
    return {compared, expected.size()};
  }

  // Opens what is there, with nothing of it in the kernel's cache. The layout is left as a crash would leave it.
  void start() {
    const LayoutFigures left = layout_->figures();
    layout_.reset();
    drop_cache(options_.store.directory);
    const Usage before = usage(options_.store.directory);
    open();
    const Usage after = usage(options_.store.directory);
    begin_line(0);
    std::printf(" start_ms=%.1f start_cpu_ms=%.1f start_read_mib=%.1f start_given_mib=%.1f backlog_segments=%lu",
                (after.wall_us - before.wall_us) / 1e3, (after.cpu_us - before.cpu_us) / 1e3,
                static_cast<double>(after.bytes_read - before.bytes_read) / (1 << 20),
                static_cast<double>(after.bytes_given - before.bytes_given) / (1 << 20), left.segments);
    print_sizes(layout_->figures());
    std::printf("\n");
    std::fflush(stdout);
  }

  // A child appends until it is killed. What it saw acknowledged must be there, and what it saw settled must not; of
  // the commit it was in, the settlements may hold, and messages from the first on.
  void crash() {
    void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    shared_ = static_cast<Shared*>(memory);
    std::mt19937_64 random(options_.seed);
    const std::array<uint64_t, 4> sizes{1, 10, 100, 1000};
    for (uint64_t round = 0; round < options_.crashes; ++round) {
      layout_.reset();
      shared_->acknowledged = {last_, settled_to_, expired_to_};
      shared_->after = shared_->acknowledged;
      const uint64_t commit = sizes[random() % sizes.size()];
      const auto delay_us = static_cast<useconds_t>(random() % 150'000);
      const pid_t child = fork();
      if (child == 0) {
        try {
          open();
          commits(UINT64_MAX / 2, commit, 0);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "child: %s\n", error.what());
        }
        _exit(1);
      }
      usleep(delay_us);
      kill(child, SIGKILL);
      int status = 0;
      waitpid(child, &status, 0);
      if (!WIFSIGNALED(status)) throw std::runtime_error("the child ended by itself");
      open();
      const uint64_t last = layout_->last_number();
      const Progress& progress = last > shared_->acknowledged.last ? shared_->after : shared_->acknowledged;
      if (last < shared_->acknowledged.last || last > shared_->after.last)
        throw std::runtime_error("acknowledged and lost");
      last_ = last;
      settled_to_ = progress.settled_to;
      expired_to_ = progress.expired_to;
      try {
        compare_all();
      } catch (const std::exception&) {
        // Only the settlements of the commit may have come to the disk.
        settled_to_ = shared_->after.settled_to;
        expired_to_ = shared_->after.expired_to;
        compare_all();
      }
    }
    begin_line(0);
    std::printf(" crashes=%lu last=%lu", options_.crashes, last_);
    print_sizes(layout_->figures());
    std::printf("\n");
    munmap(memory, sizeof(Shared));
  }

  // Journals from their start: cold, then once more from the cache.
  void replay() {
    drop_cache(options_.store.directory);
    for (const char* name : {"cold", "warm"}) {
      const uint64_t asked = std::min<uint64_t>(options_.store.journals, 1000);
      uint64_t read = 0;
      uint64_t journals = 0;
      const uint64_t pread_before = layout_->figures().bytes_read;
      const Usage before = usage(options_.store.directory);
      for (uint64_t i = 0; i < asked && read < 1'000'000; ++i, ++journals) {
        const uint64_t journal = asked == options_.store.journals ? i : (i * 2654435761 + 7) % options_.store.journals;
        layout_->read(journal, 0, [&](const Record& record) {
          if (record.payload.size() != Generator::kPayloadSize) throw std::runtime_error("a cut payload");
          ++read;
          return true;
        });
      }
      const Usage after = usage(options_.store.directory);
      const auto per = [&](double value) { return value / static_cast<double>(std::max<uint64_t>(read, 1)); };
      begin_line(0);
      std::printf(
          " replay=%s read_journals=%lu read_msgs=%lu read_cpu_us=%.3f read_wall_us=%.3f read_disk_bytes=%.1f"
          " read_pread_bytes=%.1f\n",
          name, journals, read, per(after.cpu_us - before.cpu_us), per(after.wall_us - before.wall_us),
          per(static_cast<double>(after.bytes_read - before.bytes_read)),
          per(static_cast<double>(layout_->figures().bytes_read - pread_before)));
      std::fflush(stdout);
    }
  }

  struct Progress {
    uint64_t last;
    uint64_t settled_to;
    uint64_t expired_to;
  };
  struct Shared {
    Progress acknowledged;
    Progress after;  // the commit that is under way
  };

  const Options options_;
  const Generator generator_;
  std::unique_ptr<Layout> layout_;
  size_t record_bytes_ = 0;
  double generate_us_ = 0;
  uint64_t last_ = 0;
  uint64_t settled_to_ = 0;
  uint64_t expired_to_ = 0;
  std::vector<Entry> settled_;
  std::vector<double> commit_us_;
  double work_us_max_ = 0;
  Shared* shared_ = nullptr;  // with a child, in crash() only
};

}  // namespace
}  // namespace mqttq::layouts

int main(int count, char** arguments) {
  using namespace mqttq::layouts;
  if (count == 1 || (count == 2 && std::strcmp(arguments[1], "--help") == 0)) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  try {
    Run run(parse(count, arguments));
    run.run();
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "bench_layouts: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_layouts: %s\n", error.what());
    return 1;
  }
}
