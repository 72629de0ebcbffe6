// What this process has used so far: processor time, bytes written and read, memory.
#pragma once

#include <cstdint>
#include <string>

namespace mqttq::layouts {

struct Usage {
  double cpu_us = 0;  // user and system, all threads
  double wall_us = 0;
  uint64_t bytes_given = 0;    // wchar of /proc/self/io: handed to write and pwrite; a map's are not among them
  uint64_t bytes_dirtied = 0;  // write_bytes: counted when cached pages become dirty, on ext4 by whole large folios
  uint64_t bytes_read = 0;     // read_bytes: what came from the disk, read-ahead included
  uint64_t device_bytes = 0;   // written by the whole disk that holds the directory, whoever wrote
};

[[nodiscard]] Usage usage(const std::string& directory);
[[nodiscard]] double wall_us();
[[nodiscard]] uint64_t rss_peak_bytes();
[[nodiscard]] uint64_t rss_anonymous_bytes();
// Bytes that the files of a directory occupy.
[[nodiscard]] uint64_t occupied_bytes(const std::string& directory);
// Asks the kernel to forget what it holds of them.
void drop_cache(const std::string& directory);

}  // namespace mqttq::layouts
