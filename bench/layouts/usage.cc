// Reads getrusage, /proc and the files' sizes.
#include "layouts/usage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace mqttq::layouts {
namespace {

// The number behind `name` in a file of lines "name: number".
uint64_t field(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    uint64_t value = 0;
    if (word == name && file >> value) return value;
  }
  return 0;
}

uint64_t written_by_device(const std::string& directory) {
  struct stat about{};
  if (stat(directory.c_str(), &about) != 0) return 0;
  std::ifstream file("/proc/diskstats");
  std::string line;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  std::string name;
  while (file >> major_number >> minor_number >> name) {
    uint64_t fields[7] = {};
    for (uint64_t& value : fields) file >> value;
    std::getline(file, line);
    if (major_number == major(about.st_dev) && minor_number == minor(about.st_dev)) return fields[6] * 512;
  }
  return 0;
}

}  // namespace

double wall_us() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(now).count();
}

Usage usage(const std::string& directory) {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& time) {
    return 1e6 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec);
  };
  return {us(used.ru_utime) + us(used.ru_stime), wall_us(),
          field("/proc/self/io", "wchar:"),      field("/proc/self/io", "write_bytes:"),
          field("/proc/self/io", "read_bytes:"), written_by_device(directory)};
}

uint64_t rss_peak_bytes() { return 1024 * field("/proc/self/status", "VmHWM:"); }
uint64_t rss_anonymous_bytes() { return 1024 * field("/proc/self/status", "RssAnon:"); }

uint64_t occupied_bytes(const std::string& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    struct stat about{};
    if (stat(entry.path().c_str(), &about) == 0) bytes += 512 * static_cast<uint64_t>(about.st_blocks);
  }
  return bytes;
}

void drop_cache(const std::string& directory) {
  // What is mapped would stay: the map's entries go first, which loses nothing of a shared map.
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (!line.ends_with("/data.mdb") || std::sscanf(line.c_str(), "%lx-%lx", &from, &to) != 2) continue;
    madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
}

}  // namespace mqttq::layouts
