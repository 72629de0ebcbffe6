#include "log.h"

#include <poll.h>
#include <simdjson.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#include <iterator>

#include "options.h"

namespace mqttq::server {

namespace {

// A pipe that is ready for writing takes this much at once (POSIX), so that no line is torn and no write blocks.
constexpr size_t kLineSizeMax = PIPE_BUF;

// A line under construction. What does not fit is left out, with room kept for the end of the line.
class Line {
 public:
  void add(std::string_view text) noexcept {
    if (text.size() > kLineSizeMax - kEndSizeMax - size_) return;
    text.copy(bytes_ + size_, text.size());
    size_ += text.size();
  }

  void end(std::string_view text) noexcept {
    text.copy(bytes_ + size_, text.size());
    size_ += text.size();
  }

  // Peers choose parts of a line: nothing in it may end the line, leave the JSON string or drive a terminal.
  void add_escaped(std::string_view text, bool json) noexcept {
    const bool utf8 = simdjson::validate_utf8(text.data(), text.size());
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      const auto byte = static_cast<unsigned char>(c);
      char escaped[8];
      if (uint32_t code = 0; utf8 && is_control(text.substr(i), code)) {
        add({escaped, put(escaped, "\\u{:04x}", code)});
        i += code < 0x800 ? 1 : 2;
      } else if (json && (c == '"' || c == '\\')) {
        add({escaped, put(escaped, "\\{}", c)});
      } else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !utf8)) {
        // In JSON a byte that is not UTF-8 becomes the replacement character.
        const bool replaced = json && byte >= 0x80;
        add({escaped, replaced ? put(escaped, "\\ufffd")
                      : json   ? put(escaped, "\\u{:04x}", byte)
                               : put(escaped, "\\x{:02x}", byte)});
      } else {
        add({&c, 1});
      }
    }
  }

  std::string_view text() const noexcept { return {bytes_, size_}; }

 private:
  static constexpr size_t kEndSizeMax = 8;

  // Beyond ASCII: C1 controls, line and paragraph separators, and what turns the direction of text.
  static bool is_control(std::string_view text, uint32_t& code) noexcept {
    const auto byte = [&](size_t index) { return static_cast<uint32_t>(static_cast<unsigned char>(text[index])); };
    if (byte(0) == 0xC2) {
      code = byte(1);
      return code < 0xA0;
    }
    if (byte(0) != 0xE2) return false;
    code = 0x2000 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  }

  template <class... Args>
  static size_t put(char* out, fmt::format_string<Args...> text, Args&&... args) {
    return static_cast<size_t>(fmt::format_to(out, text, std::forward<Args>(args)...) - out);
  }

  char bytes_[kLineSizeMax];
  size_t size_ = 0;
};

void build(Line& line, bool json, mqttq_log_level level, std::string_view text) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char time[64];
  const auto end =
      fmt::format_to_n(time, sizeof time, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                       utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1'000'000);
  const std::string_view name = kLogLevels[level - 1];
  line.add(json ? "{\"time\":\"" : "");
  line.add({time, end.size});
  line.add(json ? "\",\"level\":\"" : " ");
  line.add(name);
  line.add(json ? "\",\"text\":\"" : std::string_view("        ").substr(name.size()));
  line.add_escaped(text, json);
  line.end(json ? "\"}\n" : "\n");
}

// False if there is no room, or nobody at the other end: writing then would block, or raise SIGPIPE.
bool write_now(std::string_view line) noexcept {
  pollfd wanted{STDERR_FILENO, POLLOUT, 0};
  if (poll(&wanted, 1, 0) != 1 || wanted.revents != POLLOUT) return false;
  return ::write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace

void Log::write(mqttq_log_level level, std::string_view text) noexcept {
  if (level < 1 || level > std::size(kLogLevels) || level - 1 > level_.load(std::memory_order_relaxed)) return;
  const bool json = format_.load(std::memory_order_relaxed) == LogFormat::kJson;
  Line line;
  build(line, json, level, text);
  const std::lock_guard lock(mutex_);
  if (lost_count_) {
    char words[64];
    const auto end = fmt::format_to_n(words, sizeof words, "{} log lines were lost: stderr was full", lost_count_);
    Line report;
    build(report, json, MQTTQ_LOG_WARNING, {words, end.size});
    if (write_now(report.text())) lost_count_ = 0;
  }
  if (lost_count_ || !write_now(line.text())) ++lost_count_;
}

}  // namespace mqttq::server
