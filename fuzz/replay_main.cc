// Runs one fuzz target without a fuzzer: over the files it is given, then over seeded mutations of them.
//
//   <name>_replay [--mutations N] [--seed S] [--only I] [--save FILE] [file or folder]...
//
// Mutation I of seed S is the same bytes on every machine with the same corpus, so a failure is named by two numbers:
// they are printed when the target aborts or a sanitizer stops it, and `--seed S --only I` runs that one alone, with
// --save to keep its bytes as a corpus file or a unit test. Every input lies in a block of exactly its size on the
// heap, so that AddressSanitizer sees a read behind the end.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// GCC's and Clang's sanitizers call this last before they end the process; without one it is not there.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Input = std::vector<uint8_t>;

constexpr size_t kInputSizeMax = 4096;  // bytes of a mutated input
constexpr uint64_t kMutationsDefault = 10'000;

// What is running now, for say_where(): static, because a signal handler has nothing else to read.
char running[512];

void say_where() { [[maybe_unused]] const auto written = ::write(STDERR_FILENO, running, std::strlen(running)); }

void on_signal(int signal_number) {
  say_where();
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

// SplitMix64, after Steele, Lea and Flood (2014): one addition and three mixes, and any seed will do.
class Random {
 public:
  explicit Random(uint64_t seed) : state_{seed} {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // 0 .. bound-1; bound > 0. The bias of the remainder does not matter here.
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }

 private:
  uint64_t state_;
};

// Bytes at which lengths, flags and UTF-8 change their meaning.
constexpr uint8_t kTelling[] = {0x00, 0x01, 0x02, 0x04, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xed, 0xf4, 0xfe, 0xff, '+', '#'};

void mutate_once(Input& input, const std::vector<Input>& corpus, Random& random) {
  const size_t at = input.empty() ? 0 : random.below(input.size());
  const auto here = input.begin() + static_cast<Input::difference_type>(at);
  switch (random.below(8)) {
    case 0:  // one bit
      if (!input.empty()) input[at] ^= static_cast<uint8_t>(1u << random.below(8));
      break;
    case 1:  // one byte, any
      if (!input.empty()) input[at] = static_cast<uint8_t>(random.next());
      break;
    case 2:  // one byte, telling
      if (!input.empty()) input[at] = kTelling[random.below(std::size(kTelling))];
      break;
    case 3:  // up or down by a little: off by one in a length
      if (!input.empty()) input[at] = static_cast<uint8_t>(input[at] + random.below(5) - 2);
      break;
    case 4: {  // some bytes more
      const size_t count = 1 + random.below(4);
      input.insert(here, count, kTelling[random.below(std::size(kTelling))]);
      break;
    }
    case 5:  // some bytes fewer
      if (!input.empty()) {
        const size_t count = 1 + random.below(std::min<size_t>(4, input.size() - at));
        input.erase(here, here + static_cast<Input::difference_type>(count));
      }
      break;
    case 6:  // cut short
      input.resize(at);
      break;
    default:  // from here on as another one
      if (!corpus.empty()) {
        const Input& other = corpus[random.below(corpus.size())];
        const size_t from = other.empty() ? 0 : random.below(other.size());
        input.resize(at);
        input.insert(input.end(), other.begin() + static_cast<Input::difference_type>(from), other.end());
      }
  }
  if (input.size() > kInputSizeMax) input.resize(kInputSizeMax);
}

Input mutation(const std::vector<Input>& corpus, uint64_t seed, uint64_t index) {
  Random random{seed * 0x2545f4914f6cdd1d + index};
  Input input = corpus.empty() ? Input{} : corpus[random.below(corpus.size())];
  if (input.empty()) {
    input.resize(random.below(64));
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random.next());
  }
  for (size_t left = 1 + random.below(6); left > 0; --left) mutate_once(input, corpus, random);
  return input;
}

void run(const Input& input) {
  const auto block = std::make_unique<uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), block.get());
  LLVMFuzzerTestOneInput(block.get(), input.size());
}

Input read_file(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  Input input{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  if (!file.good() && !file.eof()) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(2);
  }
  return input;
}

// The files below `given`, sorted, so that the corpus has one order on every machine.
void collect(const std::string& given, std::vector<std::filesystem::path>& out) {
  namespace fs = std::filesystem;
  if (!fs::exists(given)) {
    std::fprintf(stderr, "there is no %s\n", given.c_str());
    std::exit(2);
  }
  if (!fs::is_directory(given)) {
    out.emplace_back(given);
    return;
  }
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator{given}) {
    if (entry.is_regular_file()) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  out.insert(out.end(), found.begin(), found.end());
}

struct Options {
  uint64_t mutation_count = kMutationsDefault;
  uint64_t seed = 1;
  std::optional<uint64_t> only;
  std::string save;
  std::vector<std::filesystem::path> files;
};

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--mutations N] [--seed S] [--only I] [--save FILE] [file or folder]...\n", program);
  std::exit(2);
}

uint64_t number(const char* program, const char* text) {
  char* end = nullptr;
  const uint64_t value = text ? std::strtoull(text, &end, 10) : 0;
  if (!text || end == text || *end) usage(program);
  return value;
}

Options parse(char** argv) {
  Options options;
  for (char** next = argv + 1; *next; ++next) {
    const std::string_view word = *next;
    if (word == "--mutations") {
      options.mutation_count = number(argv[0], *++next);
    } else if (word == "--seed") {
      options.seed = number(argv[0], *++next);
    } else if (word == "--only") {
      options.only = number(argv[0], *++next);
    } else if (word == "--save" && next[1]) {
      options.save = *++next;
    } else if (word.starts_with("--")) {
      usage(argv[0]);
    } else {
      collect(*next, options.files);
      continue;
    }
    if (!*next) usage(argv[0]);
  }
  return options;
}

}  // namespace

int main(int, char** argv) {
  const Options options = parse(argv);
  std::signal(SIGABRT, on_signal);
  if (__sanitizer_set_death_callback) {
    __sanitizer_set_death_callback(say_where);  // AddressSanitizer keeps the other signals, for its own report
  } else {
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal_number, on_signal);
  }

  std::vector<Input> corpus;
  for (const auto& path : options.files) corpus.push_back(read_file(path));

  if (options.only) {
    const Input input = mutation(corpus, options.seed, *options.only);
    if (!options.save.empty()) {
      std::ofstream file{options.save, std::ios::binary};
      for (const uint8_t byte : input) file.put(static_cast<char>(byte));
    }
    std::snprintf(running, sizeof running, "\nfailed: --seed %llu --only %llu\n",
                  static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(*options.only));
    run(input);
    std::printf("%s: mutation %llu of seed %llu, %zu bytes, passed\n", argv[0],
                static_cast<unsigned long long>(*options.only), static_cast<unsigned long long>(options.seed),
                input.size());
    return 0;
  }

  for (size_t index = 0; index < corpus.size(); ++index) {
    std::snprintf(running, sizeof running, "\nfailed: %s\n", options.files[index].c_str());
    run(corpus[index]);
  }
  for (uint64_t index = 0; index < options.mutation_count; ++index) {
    std::snprintf(running, sizeof running, "\nfailed: --seed %llu --only %llu\n",
                  static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(index));
    run(mutation(corpus, options.seed, index));
  }
  std::printf("%s: %zu files and %llu mutations of seed %llu passed\n", argv[0], corpus.size(),
              static_cast<unsigned long long>(options.mutation_count), static_cast<unsigned long long>(options.seed));
  return 0;
}
