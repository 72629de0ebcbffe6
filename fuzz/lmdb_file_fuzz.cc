// A store's file, read without LMDB, when it is none any more.
//
// The first byte of an input says what is done: a file of arbitrary bytes, filled up to whole KiB, or one that LMDB
// wrote, edited: each five bytes are a place (three bytes), how many bytes, and what they become.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "require.h"
#include "store_suite/lmdb_files.h"

namespace {

using mqttq::Bytes;
using mqttq::Image;
using mqttq::LmdbFile;
using mqttq::fuzz::require;

// Written once, and not changed.
const Image& sound_image() {
  static const Image made = [] {
    std::string directory = (std::filesystem::temp_directory_path() / "mqttq-fuzz-XXXXXX").string();
    require(::mkdtemp(directory.data()), "no directory");
    require(!mqttq::make_small_store(directory).empty(), "no store");
    const Image image = mqttq::read_image(directory + "/store.mdb");
    std::filesystem::remove_all(directory);
    return image;
  }();
  return made;
}

struct Visitor final : mqttq::LmdbVisitor {
  Visitor(uint64_t most, bool on) : pages_max(most), goes_on(on) {}
  bool on_page() noexcept override {
    require(++pages <= pages_max, "pages are visited twice");
    return true;
  }
  bool on_entry(uint8_t table, Bytes key, Bytes value) noexcept override {
    require(table < mqttq::Store::kTables, "an entry of no table");
    require(!key.empty() && key.size() <= 511, "a key that cannot be");
    require(value.size() <= mqttq::Store::kValueSizeMax, "a value that cannot be");
    for (const std::byte one : key) sum += static_cast<uint64_t>(one);
    for (const std::byte one : value) sum += static_cast<uint64_t>(one);
    ++entries;
    return true;
  }
  bool on_break(const mqttq::LmdbBreak& of, uint64_t) noexcept override {
    require(!of.text().empty(), "a break without words");
    ++breaks;
    return goes_on;
  }
  const uint64_t pages_max;
  const bool goes_on;
  uint64_t pages = 0, entries = 0, breaks = 0, sum = 0;
};

void read(const Image& image) {
  mqttq::ImageFile file(image);
  LmdbFile store(file, image.size());
  std::string problem;
  const mqttq::Status status = store.read_metas(problem);
  require(status == mqttq::Status::Ok || !problem.empty(), "refused without a word");
  require(status != mqttq::Status::Ok || (store.newest() && store.older()), "sound without its head");
  for (const LmdbFile::Meta* of : {store.newest(), store.older()}) {
    if (!of) continue;
    LmdbFile::Walk walk;
    walk.of = of;
    const uint64_t pages = image.size() / of->page_bytes;
    Visitor checker(pages, false);
    const LmdbFile::Walked checked = store.walk(walk, checker);
    require(checked.whole == (checker.breaks == 0), "what is broken is whole");
    walk.values = true;
    walk.free_pages = false;
    Visitor salvager(pages, true);
    const LmdbFile::Walked salvaged = store.walk(walk, salvager);
    require(salvaged.whole, "a salvage that stops");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  if (input.empty()) return 0;
  Bytes rest = input.subspan(1);
  if (!(data[0] & 1)) {
    Image image(rest.begin(), rest.end());
    image.resize((image.size() + 1023) / 1024 * 1024);
    read(image);
    return 0;
  }
  Image image = sound_image();
  for (; rest.size() >= 5; rest = rest.subspan(5)) {
    const size_t at =
        static_cast<size_t>(rest[0]) << 16 | static_cast<size_t>(rest[1]) << 8 | static_cast<size_t>(rest[2]);
    for (size_t i = 0; i <= static_cast<size_t>(rest[3]); ++i) image[(at + i) % image.size()] = rest[4];
  }
  read(image);
  return 0;
}
