#include "store/lmdb_directory.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "store/system_status.h"

namespace mqttq {

std::unique_ptr<LmdbDirectory> LmdbDirectory::open(const Options& options, Status& status, std::string& problem) try {
  std::unique_ptr<LmdbDirectory> opened(new LmdbDirectory(options.path));
  LmdbStore::Options store;
  store.directory = options.path;
  store.log = options.directory.log;
  opened->store_ = LmdbStore::open(store, status, problem);
  if (!opened->store_) return nullptr;
  status = restore_backup(opened->disk_, *opened->store_, options.directory.log, problem);
  if (status == Status::Ok) {
    opened->directory_ = DataDirectory::open(&opened->disk_, *opened->store_, options.directory, status, problem);
  }
  if (opened->directory_) return opened;
  problem = fmt::format("{}: {}", options.path, problem);
  return nullptr;
} catch (const std::bad_alloc&) {
  status = Status::NoMemory;
  problem = "out of memory";
  return nullptr;
}

// --- backups

namespace {

// "." and links followed; empty where there is nothing.
std::string real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> found(::realpath(path.c_str(), nullptr), std::free);
  return found ? found.get() : std::string();
}

std::string parent_of(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// Where a backup is made: a directory that was empty, or was not there and is made, and removed unless it is kept.
class Target {
 public:
  explicit Target(const std::string& path) : path_(path) {}
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() {
    if (made_) ::rmdir(path_.c_str());
  }
  // data: the directory that is backed up, where it must not be: its next start would find it.
  Status prepare(const std::string& data, std::string& problem);
  // On stable storage as a whole, its name in its parent too.
  Status keep(std::string& problem);

 private:
  Status failed(int error, std::string& problem) const {
    problem = fmt::format("cannot make {}: {}", path_, std::strerror(error));
    return error == ENOENT ? Status::NotFound : status_of_errno(error);
  }

  const std::string path_;
  bool made_ = false;
};

Status Target::prepare(const std::string& data, std::string& problem) {
  const std::string real_data = real_path(data), parent = real_path(parent_of(path_));
  if (parent.empty()) return failed(errno, problem);
  for (const std::string& place : {parent + "/", real_path(path_) + "/"}) {
    if (!place.starts_with(real_data + "/")) continue;
    problem = fmt::format("{} lies within {}, of which it is to be a backup", path_, data);
    return Status::Invalid;
  }
  if (::mkdir(path_.c_str(), 0700) == 0) {
    made_ = true;
    return Status::Ok;
  }
  struct stat of;
  if (errno != EEXIST) return failed(errno, problem);
  std::vector<std::string> names;
  const bool directory = ::stat(path_.c_str(), &of) == 0 && S_ISDIR(of.st_mode);
  const Status status = directory ? SystemDisk(path_, true).list(names) : Status::Exists;
  constexpr size_t kNothing = 2;  // "." and ".."
  if (status == Status::Ok && names.size() <= kNothing) return status;
  problem = status == Status::Ok       ? fmt::format("{} is not empty", path_)
            : status == Status::Exists ? fmt::format("{} is no directory", path_)
                                       : fmt::format("{} cannot be read: {}", path_, words(status));
  return status == Status::Ok ? Status::Exists : status;
}

Status Target::keep(std::string& problem) {
  const Status status = made_ ? SystemDisk(parent_of(path_), true).sync() : Status::Ok;
  made_ = false;  // it is not empty any more
  if (status != Status::Ok) problem = fmt::format("{} cannot be written: {}", parent_of(path_), words(status));
  return status;
}

Status back_up_to(const std::string& data, SnapshotSource& store, const std::string& to, const BackupOptions& options,
                  std::string& problem) {
  Target target(to);
  Status status = target.prepare(data, problem);
  if (status != Status::Ok) return status;
  SystemDisk source_disk(data, true), target_disk(to);
  status = make_backup(source_disk, store, target_disk, options, problem);
  if (status == Status::Ok) return target.keep(problem);
  problem = fmt::format("{} is not backed up in {}: {}", data, to, problem);
  return status;
}

}  // namespace

Status LmdbDirectory::back_up(const std::string& to, const BackupOptions& options, std::string& problem) noexcept try {
  struct Source final : SnapshotSource {
    explicit Source(LmdbStore& of) noexcept : store(of) {}
    std::unique_ptr<StoreSnapshot> snapshot(Status& status, std::string& problem) override {
      return store.snapshot(status, problem);
    }
    LmdbStore& store;
  } source(*store_);
  return back_up_to(path_, source, to, options, problem);
} catch (const std::bad_alloc&) {
  problem = "out of memory";
  return Status::NoMemory;
}

Status LmdbDirectory::back_up(const std::string& path, const std::string& to, const BackupOptions& options,
                              std::string& problem) noexcept try {
  struct Source final : SnapshotSource {
    explicit Source(const std::string& of) noexcept : directory(of) {}
    std::unique_ptr<StoreSnapshot> snapshot(Status& status, std::string& problem) override {
      return LmdbSnapshot::open(directory, status, problem);
    }
    const std::string& directory;
  } source(path);
  struct stat of;
  for (const std::string& needed : {path, path + "/store.mdb"}) {
    if (::stat(needed.c_str(), &of) == 0) continue;
    const int error = errno;
    problem = fmt::format("there is nothing to back up: {}: {}", needed, std::strerror(error));
    return error == ENOENT ? Status::NotFound : status_of_errno(error);
  }
  if (owner_of(path) == ::getpid()) {
    problem = fmt::format("this process has {} open: its broker can be told to make a backup", path);
    return Status::Invalid;
  }
  return back_up_to(path, source, to, options, problem);
} catch (const std::bad_alloc&) {
  problem = "out of memory";
  return Status::NoMemory;
}

}  // namespace mqttq
