// The file of a backup, read and made a store of.
//
// The first byte of an input says what is done: arbitrary bytes; blocks with sums as they should be, so that what is
// behind the sums is read; or a sound backup, edited: each three bytes are a place (two bytes) and what it becomes.
// What is read whole is written again to the same bytes, and what was edited is refused.
#include "store/backup_file.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "base/byte_order.h"
#include "base/crc32c.h"
#include "require.h"
#include "store/backup.h"
#include "store/data_directory.h"
#include "store/memory_store.h"
#include "unit/store/simulated_disk.h"

namespace {

using mqttq::Bytes;
using mqttq::SimulatedDisk;
using mqttq::Status;
using mqttq::fuzz::require;
using FileBytes = std::vector<std::byte>;

struct Collector final : mqttq::BackupVisitor {
  Status on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
    entries.emplace_back(table, mqttq::as_text(key), mqttq::as_text(value));
    return Status::Ok;
  }
  std::vector<std::tuple<uint8_t, std::string, std::string>> entries;
};

std::unique_ptr<mqttq::File> open(SimulatedDisk& disk, bool make) {
  std::unique_ptr<mqttq::File> file;
  require(disk.open(mqttq::kBackupFile, make, file) == Status::Ok, "no file");
  return file;
}

FileBytes write(const Collector& read, const mqttq::BackupContents& contents) {
  SimulatedDisk disk(1);
  const auto file = open(disk, true);
  mqttq::BackupWriter writer(*file);
  require(writer.begin(contents.head) == Status::Ok, "no head");
  for (const auto& [table, key, value] : read.entries) {
    require(writer.add(table, mqttq::as_bytes(key), mqttq::as_bytes(value)) == Status::Ok, "no entry");
  }
  require(writer.finish(contents.segments) == Status::Ok, "no end");
  return disk.bytes(mqttq::kBackupFile);
}

// A store that is made of it can be opened, or is refused with a word; and it is made of what can be read whole.
void restore(SimulatedDisk& disk, bool readable) {
  mqttq::MemoryStore store;
  std::string problem;
  Status status = mqttq::restore_backup(disk, store, nullptr, problem);
  require(status == Status::Ok || !problem.empty(), "refused without a word");
  require(status != Status::Ok || readable, "made of what cannot be read");
  mqttq::DataDirectory::Meta meta;
  require((status == Status::Ok) == (mqttq::DataDirectory::read_meta(store, meta) == Status::Ok), "half a store");
  if (status != Status::Ok) return;
  problem.clear();
  const auto directory = mqttq::DataDirectory::open(&disk, store, {}, status, problem);
  require(directory || !problem.empty(), "not opened without a word");
}

// False: it is refused.
bool take(const FileBytes& bytes) {
  SimulatedDisk disk(1);
  const auto file = open(disk, true);
  disk.bytes(mqttq::kBackupFile) = bytes;
  Collector read;
  mqttq::BackupContents contents;
  std::string problem;
  const Status status = mqttq::read_backup(*file, read, contents, problem);
  require(status == Status::Ok || !problem.empty(), "refused without a word");
  if (status == Status::Ok) {
    SimulatedDisk other(1);
    const auto again = open(other, true);
    other.bytes(mqttq::kBackupFile) = write(read, contents);
    Collector read_again;
    mqttq::BackupContents contents_again;
    require(mqttq::read_backup(*again, read_again, contents_again, problem) == Status::Ok, "its copy is refused");
    require(read_again.entries == read.entries, "its copy has other entries");
    require(contents_again.segments == contents.segments, "its copy has other segments");
    require(contents_again.head.id == contents.head.id && contents_again.head.made_ms == contents.head.made_ms,
            "its copy has another head");
  }
  restore(disk, status == Status::Ok);
  return status == Status::Ok;
}

FileBytes sound() {
  Collector made;
  for (const char* key : {"boot", "followed", "format", "seed", "wanted"}) {
    const size_t size = key[0] == 'b' ? 4 : key[1] == 'o' && key[2] == 'r' ? 2 : 8;
    std::string value(size, '\0');
    value[0] = 1;
    made.entries.emplace_back(0, key, value);
  }
  for (char key = 'a'; key < 'z'; ++key) made.entries.emplace_back(7, std::string(16, key), std::string(40, key));
  return write(made, {});
}

// Each block is its kind, the size of its body in two bytes, and the body; the last one is as an end should be if the
// input has a byte left over.
FileBytes blocks(Bytes input) {
  FileBytes bytes = sound();
  bytes.resize(64);
  const auto salt = mqttq::get_little<uint32_t>(&bytes[60]);
  uint32_t count = 0;
  uint64_t entries = 0, entry_bytes = 0, segments = 0;
  const auto add = [&](std::byte kind, Bytes body) {
    std::byte head[20] = {};
    mqttq::put_little(head, static_cast<uint32_t>(body.size()));
    head[4] = kind;
    mqttq::put_little(head + 8, count++);
    mqttq::put_little(head + 12, mqttq::crc32c(body, salt));
    mqttq::put_little(head + 16, mqttq::crc32c({head, 16}, salt));
    bytes.insert(bytes.end(), std::begin(head), std::end(head));
    bytes.insert(bytes.end(), body.begin(), body.end());
  };
  while (input.size() >= 3) {
    const auto kind = input[0];
    const auto size = std::min<size_t>(mqttq::get_little<uint16_t>(&input[1]), input.size() - 3);
    const Bytes body = input.subspan(3, size);
    add(kind, body);
    if (kind == std::byte{2}) segments += size / 20;
    for (Bytes rest = body; kind == std::byte{1} && rest.size() >= 8; ++entries) {
      const size_t parts = size_t{mqttq::get_little<uint16_t>(&rest[2])} + mqttq::get_little<uint32_t>(&rest[4]);
      entry_bytes += parts;
      rest = rest.subspan(std::min(parts + 8, rest.size()));
    }
    input = input.subspan(3 + size);
  }
  if (input.empty()) return bytes;
  std::byte end[32];
  mqttq::put_little(end, uint64_t{count});
  mqttq::put_little(end + 8, entries);
  mqttq::put_little(end + 16, entry_bytes);
  mqttq::put_little(end + 24, segments);
  add(std::byte{3}, end);
  return bytes;
}

void edited(Bytes edits) {
  const FileBytes before = sound();
  FileBytes bytes = before;
  for (; edits.size() >= 3; edits = edits.subspan(3)) {
    bytes[mqttq::get_little<uint16_t>(edits.data()) % bytes.size()] = edits[2];
  }
  require(take(bytes) == (bytes == before), "an edited one was taken, or a sound one was not");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  if (input.empty()) return 0;
  const Bytes rest = input.subspan(1);
  switch (data[0] % 3) {
    case 0: take({rest.begin(), rest.end()}); break;
    case 1: take(blocks(rest)); break;
    default: edited(rest);
  }
  return 0;
}
