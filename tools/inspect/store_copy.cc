// A child reads the store and writes what it finds into a pipe.
#include "inspect/store_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "inspect/directory.h"
#include "store/backup.h"
#include "store/data_directory.h"
#include "store/lmdb_store.h"
#include "store/state.h"
#include "store/system_disk.h"

namespace mqttq::inspect {

namespace {

// What goes through the pipe: a head, so many bytes of key, so many of value.
struct Head {
  // Beyond tables: a problem, whose text is the value; there is no store; all was told, and the key says whether whole.
  enum : uint32_t { Problem = 0x80, Missing = 0x81, Done = 0x82 };
  uint32_t table = 0;
  uint32_t key_size = 0, value_size = 0;
};

// --- the child

class Sender {
 public:
  explicit Sender(int descriptor) noexcept : descriptor_(descriptor) {}

  void send(uint32_t table, Bytes key, Bytes value) {
    const Head head{table, static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())};
    buffer_.append(reinterpret_cast<const char*>(&head), sizeof head).append(as_text(key)).append(as_text(value));
    if (buffer_.size() >= kFlush) flush();
  }
  void flush() {
    for (std::string_view rest = buffer_; !rest.empty();) {
      const ssize_t size = ::write(descriptor_, rest.data(), rest.size());
      if (size < 0 && errno != EINTR) ::_exit(1);
      if (size > 0) rest.remove_prefix(static_cast<size_t>(size));
    }
    buffer_.clear();
  }

 private:
  static constexpr size_t kFlush = 64 << 10;
  const int descriptor_;
  std::string buffer_;
};

// Keys that do not grow are a damaged tree, which might be gone around in for ever.
struct TableSender final : StoreVisitor {
  TableSender(Sender& to, uint8_t of) : sender(to), table(of) {}
  bool on_entry(Bytes key, Bytes value) noexcept override {
    sound = key.size() <= Store::kKeySizeMax && value.size() <= Store::kValueSizeMax && (first || as_text(key) > last);
    if (!sound) return false;
    first = false;
    last = as_text(key);
    sender.send(table, key, value);
    return true;
  }
  Sender& sender;
  const uint8_t table;
  std::string last;
  bool first = true, sound = true;
};

void send_store(const std::string& directory, bool only_meta, Sender& sender) {
  Status status = Status::Ok;
  std::string problem;
  const auto snapshot = LmdbSnapshot::open(directory, status, problem);
  if (!snapshot) return sender.send(status == Status::NotFound ? Head::Missing : Head::Problem, {}, as_bytes(problem));
  for (uint8_t table = 0; table < (only_meta ? 1 : Store::kTables); ++table) {
    TableSender visitor(sender, table);
    status = snapshot->scan(table, visitor);
    sender.flush();  // reading the next one may end us
    if (status == Status::NotFound && table == 0) {
      return sender.send(Head::Missing, {}, as_bytes("the store has no tables yet"));
    }
    if (status == Status::Ok && visitor.sound) continue;
    sender.send(Head::Problem, {},
                as_bytes(fmt::format("the store is damaged: table {} cannot be read to its end", table_name(table))));
  }
  const std::byte whole{snapshot->whole()};
  sender.send(Head::Done, {&whole, 1}, {});
}

// LMDB writes to stderr when it finds that its file is not what it believed; a core would be as large as the store.
[[noreturn]] void run_child(const std::string& directory, bool only_meta, int descriptor) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (const int nowhere = ::open("/dev/null", O_WRONLY); nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
  Sender sender(descriptor);
  send_store(directory, only_meta, sender);
  sender.flush();
  ::_exit(0);
}

// --- the parent

bool read_whole(int descriptor, char* into, size_t size) noexcept {
  while (size) {
    const ssize_t got = ::read(descriptor, into, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

enum class Outcome : uint8_t { Ended, Whole, Overwritten };

// Throws std::bad_alloc.
void put(MemoryStore& store, uint8_t table, Bytes key, Bytes value) {
  const StoreWrite write{StoreWrite::Kind::Put, table, key, value};
  Status status = Status::NoMemory;
  store.commit(
      {&write, 1}, 0, [](void* user, uint64_t, Status of) noexcept { *static_cast<Status*>(user) = of; }, &status);
  if (status != Status::Ok) throw std::bad_alloc();
}

Outcome receive(int descriptor, StoreCopy& copy, uint8_t& table) {
  std::string bytes;
  for (Head head; read_whole(descriptor, reinterpret_cast<char*>(&head), sizeof head);) {
    if (head.key_size > Store::kKeySizeMax || head.value_size > Store::kValueSizeMax) break;
    bytes.resize(size_t{head.key_size} + head.value_size);
    if (!read_whole(descriptor, bytes.data(), bytes.size())) break;
    const Bytes key = as_bytes(bytes).first(head.key_size), value = as_bytes(bytes).subspan(head.key_size);
    if (head.table < Store::kTables) {
      copy.there = true;
      table = static_cast<uint8_t>(head.table);
      put(*copy.store, table, key, value);
    } else if (head.table == Head::Missing) {
      return Outcome::Whole;
    } else if (head.table == Head::Done) {
      return key.size() == 1 && key[0] == std::byte{1} ? Outcome::Whole : Outcome::Overwritten;
    } else {
      copy.problems.emplace_back(as_text(value));
    }
  }
  return Outcome::Ended;
}

Outcome try_copy(const std::string& directory, bool only_meta, StoreCopy& copy) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) {
    copy.problems.push_back(fmt::format("the store cannot be read: {}", std::strerror(errno)));
    return Outcome::Whole;
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe[0]);
    run_child(directory, only_meta, pipe[1]);
  }
  ::close(pipe[1]);
  uint8_t table = 0;
  const Outcome outcome = child < 0 ? Outcome::Ended : receive(pipe[0], copy, table);
  ::close(pipe[0]);
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (outcome == Outcome::Ended && (copy.problems.empty() || status != 0)) {
    const std::string how = WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status)) : "an error";
    copy.problems.push_back(
        fmt::format("the store is damaged: reading it ended in {}, in table {} or behind it", how, table_name(table)));
  }
  return outcome;
}

StoreCopy copy_of_store(const std::string& directory, bool only_meta) {
  constexpr int kTries = 20;
  for (int tries = 1;; ++tries) {
    StoreCopy copy;
    if (try_copy(directory, only_meta, copy) != Outcome::Overwritten) return copy;
    if (tries < kTries) continue;
    copy.problems.emplace_back(
        "a broker wrote to the store while it was read, and its lock file cannot be used: what is said of it may be "
        "wrong");
    return copy;
  }
}

// What of it can be read, in the place of what was there.
void take_backup(File& file, bool only_meta, StoreCopy& copy) {
  struct Taker final : BackupVisitor {
    Taker(MemoryStore& to, bool only_first) noexcept : store(to), only_meta(only_first) {}
    Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept override try {
      if (table == 0 || !only_meta) put(store, table, key, value);
      return Status::Ok;
    } catch (const std::bad_alloc&) {
      return Status::NoMemory;
    }
    MemoryStore& store;
    const bool only_meta;
  };
  copy = {};
  copy.there = true;
  Taker taker(*copy.store, only_meta);
  std::string problem;
  const Status status = read_backup(file, taker, copy.backup.emplace(), problem);
  if (status == Status::NoMemory) throw std::bad_alloc();
  if (status != Status::Ok) copy.problems.push_back(problem);
}

}  // namespace

StoreCopy copy_store(const std::string& directory, bool only_meta) {
  StoreCopy copy = copy_of_store(directory, only_meta);
  DataDirectory::Meta meta;
  std::unique_ptr<File> file;
  if (DataDirectory::read_meta(*copy.store, meta) == Status::NotFound && copy.problems.empty() &&
      SystemDisk(directory, true).open(kBackupFile, false, file) == Status::Ok) {
    take_backup(*file, only_meta, copy);
  }
  return copy;
}

}  // namespace mqttq::inspect
