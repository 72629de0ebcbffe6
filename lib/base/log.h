// Where the library's words go: to the host's callback, or nowhere.
#pragma once

#include <cstdint>
#include <string_view>

namespace mqttq {

enum class LogLevel : uint8_t { Error = 1, Warning = 2, Notice = 3, Info = 4, Debug = 5 };

// Called from any thread of the broker. An implementation neither blocks nor throws.
class LogSink {
 public:
  virtual void write(LogLevel level, std::string_view text) noexcept = 0;

 protected:
  ~LogSink() = default;
};

}  // namespace mqttq
