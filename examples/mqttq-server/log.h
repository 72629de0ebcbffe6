// The log: one line per event on stderr, as text or as JSON.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "mqttq/log.h"

namespace mqttq::server {

// Written to by every thread of the broker and by main. Never blocks: a line that the reader of stderr has no room for
// is left out and counted, and the count is said when there is room again.
class Log {
 public:
  Log(uint8_t level, uint8_t format) noexcept { set(level, format); }

  // level: index in kLogLevels; lines above it are left out. format: a LogFormat.
  void set(uint8_t level, uint8_t format) noexcept {
    level_.store(level, std::memory_order_relaxed);
    format_.store(format, std::memory_order_relaxed);
  }

  void write(mqttq_log_level level, std::string_view text) noexcept;

  template <class... Args>
  void say(mqttq_log_level level, fmt::format_string<Args...> text, Args&&... args) {
    write(level, fmt::format(text, std::forward<Args>(args)...));
  }

  // The library's callback; `user` is the Log.
  static void on_library_line(void* user, mqttq_log_level level, const char* text, size_t size) noexcept {
    static_cast<Log*>(user)->write(level, {text, size});
  }

 private:
  std::atomic<uint8_t> level_;
  std::atomic<uint8_t> format_;
  std::mutex mutex_;         // one line at a time
  uint64_t lost_count_ = 0;  // lines since the last one that was written
};

}  // namespace mqttq::server
