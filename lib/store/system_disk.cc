#include "store/system_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "store/system_status.h"

namespace mqttq {

namespace {

Status status_of(int error) noexcept { return error == ENOENT ? Status::NotFound : status_of_errno(error); }

class SystemFile final : public File {
 public:
  explicit SystemFile(int descriptor) noexcept : descriptor_(descriptor) {}
  ~SystemFile() override { ::close(descriptor_); }

  Status read(uint64_t offset, std::span<std::byte> into, size_t& got) noexcept override {
    for (got = 0; got < into.size();) {
      const ssize_t size = ::pread(descriptor_, into.data() + got, into.size() - got, static_cast<off_t>(offset + got));
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return status_of(errno);
      if (size == 0) break;
      got += static_cast<size_t>(size);
    }
    return Status::Ok;
  }
  Status write(uint64_t offset, Bytes bytes) noexcept override {
    while (!bytes.empty()) {
      const ssize_t size = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return status_of(errno);
      offset += static_cast<uint64_t>(size);
      bytes = bytes.subspan(static_cast<size_t>(size));
    }
    return Status::Ok;
  }
  Status reserve(uint64_t size) noexcept override {
    const int error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size));
    return error ? status_of(error) : Status::Ok;
  }
  Status cut(uint64_t size) noexcept override {
    return ::ftruncate(descriptor_, static_cast<off_t>(size)) == 0 ? Status::Ok : status_of(errno);
  }
  Status sync() noexcept override { return ::fdatasync(descriptor_) == 0 ? Status::Ok : status_of(errno); }

 private:
  const int descriptor_;
};

// Shared by those who only read; where locks are not to be had nobody renames either.
bool is_held(int descriptor, int operation) noexcept {
  return ::flock(descriptor, operation | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

// The name is still of what was opened by it.
bool is_named(int descriptor, const std::string& path) noexcept {
  struct stat opened, named;
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

}  // namespace

Status SystemDisk::open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept try {
  if (read_only_ && make) return Status::Permission;
  const std::string path = directory_ + "/" + name;
  const int access = read_only_ ? O_RDONLY : O_RDWR;
  const int descriptor = ::open(path.c_str(), access | O_CLOEXEC | (make ? O_CREAT | O_TRUNC : 0), 0600);
  if (descriptor < 0) return status_of(errno);
  auto opened = std::make_unique<SystemFile>(descriptor);
  if (read_only_ && (is_held(descriptor, LOCK_SH) || !is_named(descriptor, path))) return Status::NotFound;
  file = std::move(opened);
  return Status::Ok;
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status SystemDisk::remove(const std::string& name) noexcept try {
  if (read_only_) return Status::Permission;
  const std::string path = directory_ + "/" + name;
  return ::unlink(path.c_str()) == 0 ? Status::Ok : status_of(errno);
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status SystemDisk::rename(const std::string& from, const std::string& to) noexcept try {
  if (read_only_) return Status::Permission;
  const std::string old_path = directory_ + "/" + from, new_path = directory_ + "/" + to;
  return ::rename(old_path.c_str(), new_path.c_str()) == 0 ? Status::Ok : status_of(errno);
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status SystemDisk::rename_unread(const std::string& from, const std::string& to) noexcept try {
  if (read_only_) return Status::Permission;
  const int descriptor = ::open((directory_ + "/" + from).c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return status_of(errno);
  const SystemFile file(descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? Status::Busy : status_of(errno);
  return rename(from, to);
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

Status SystemDisk::list(std::vector<std::string>& names) noexcept try {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(directory_.c_str()), ::closedir);
  if (!directory) return status_of(errno);
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (!entry) return errno ? status_of(errno) : Status::Ok;
    names.emplace_back(entry->d_name);
  }
} catch (const std::bad_alloc&) {
  return Status::NoMemory;
}

DiskRoom SystemDisk::room() noexcept {
  struct statvfs of;
  if (::statvfs(directory_.c_str(), &of) != 0) return {};
  return {uint64_t{of.f_blocks} * of.f_frsize, uint64_t{of.f_bavail} * of.f_frsize};
}

Status SystemDisk::sync() noexcept {
  const int descriptor = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return status_of(errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error ? status_of(error) : Status::Ok;
}

}  // namespace mqttq
