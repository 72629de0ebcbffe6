// The log in files, opened over what is not a log any more.
//
// The first byte of an input says what is done: files of arbitrary bytes, or a sound log of a few batches, edited:
// each four bytes are a place (two bytes), how many bytes, and what they become. What is told must have been written.
#include <map>
#include <string>

#include "require.h"
#include "store/file_log.h"
#include "unit/store/simulated_disk.h"

namespace {

using mqttq::Bytes;
using mqttq::FileLog;
using mqttq::LogEntry;
using mqttq::SimulatedDisk;
using mqttq::fuzz::require;

struct Told final : mqttq::LogReplay {
  bool on_entry(const LogEntry& entry) noexcept override {
    rising &= entry.number > last;
    last = entry.number;
    known &= !expected || (expected->contains(last) && expected->at(last) == mqttq::as_text(entry.body));
    ++count;
    return true;
  }
  void on_damage(std::string_view text) noexcept override { damage += text.size() > 0; }
  const std::map<uint64_t, std::string>* expected = nullptr;
  uint64_t last = 0;
  size_t count = 0, damage = 0;
  bool rising = true, known = true;
};

constexpr uint64_t kSegment = 1'024;

std::unique_ptr<FileLog> open(SimulatedDisk& disk, Told& told) {
  mqttq::Status status = mqttq::Status::Ok;
  std::string problem;
  auto log = FileLog::open(disk, {kSegment, 0, 42}, told, status, problem);
  require(told.rising, "numbers do not grow");
  require(told.known, "something was told that was never written");
  require(log || !problem.empty(), "refused without a word");
  return log;
}

// Whatever it found, a log that is open works.
void use(SimulatedDisk& disk, FileLog& log, const std::map<uint64_t, std::string>* expected) {
  const uint64_t number = log.last_number() + 1;
  if (number == 0) return;  // the last there is
  const LogEntry entry{number, 1, mqttq::as_bytes("behind it all")};
  require(log.append({&entry, 1}) == mqttq::Status::Ok, "it takes nothing");
  std::map<uint64_t, std::string> more;
  if (expected) more = *expected;
  more[number] = "behind it all";
  Told again;
  if (expected) again.expected = &more;
  const auto reopened = open(disk, again);
  require(!reopened || again.last == number, "what was taken is gone");
}

void arbitrary(Bytes input) {
  SimulatedDisk disk(1);
  // Two files, so that one follows the other.
  const size_t half = input.size() / 2;
  const Bytes contents[] = {input.first(half), input.subspan(half)};
  const char* const names[] = {"log-0000000000000001", "log-0000000000000002"};
  for (int i = 0; i < 2; ++i) {
    std::unique_ptr<mqttq::File> file;
    require(disk.open(names[i], true, file) == mqttq::Status::Ok, "no file");
    static_cast<void>(file->write(0, contents[i]));
  }
  Told told;
  if (const auto log = open(disk, told)) use(disk, *log, nullptr);
}

void edited(Bytes edits) {
  SimulatedDisk disk(1);
  std::map<uint64_t, std::string> written;
  {
    Told told;
    const auto log = open(disk, told);
    for (uint64_t number = 1; number < 40;) {
      std::vector<std::string> bodies;
      std::vector<LogEntry> batch;
      for (uint64_t i = number % 4 + 1; i > 0; --i) bodies.emplace_back(number * 13 % 90, static_cast<char>('a' + i));
      for (const std::string& body : bodies) {
        written[number] = body;
        batch.push_back({number++, 7, mqttq::as_bytes(body)});
      }
      require(log->append(batch) == mqttq::Status::Ok, "it takes nothing");
    }
  }
  const std::vector<std::string> names = disk.names();
  for (; edits.size() >= 4; edits = edits.subspan(4)) {
    const auto at = static_cast<size_t>(edits[0]) << 8 | static_cast<size_t>(edits[1]);
    auto& bytes = disk.bytes(names[at / kSegment % names.size()]);
    for (size_t i = 0; i <= static_cast<size_t>(edits[2]); ++i) {
      if (at % kSegment + i < bytes.size()) bytes[at % kSegment + i] = edits[3];
    }
  }
  Told told;
  told.expected = &written;
  const auto log = open(disk, told);
  if (!log) return;
  require(told.count + told.damage > 0 || written.empty(), "all is gone without a word");
  use(disk, *log, &written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  if (input.empty()) return 0;
  (static_cast<uint8_t>(input[0]) & 1 ? edited : arbitrary)(input.subspan(1));
  return 0;
}
