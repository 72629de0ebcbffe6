// mqttq-inspect: what a data directory holds, for people and as JSON. It writes nothing there, and may be used while a
// broker has the directory open. What can still be read of a damaged one it copies. docs/STORE.md has its page.
#include <fmt/format.h>

#include <cstdio>
#include <new>

#include "inspect/print.h"
#include "inspect/salvage.h"
#include "inspect/text.h"

namespace mqttq::inspect {

namespace {

// What the process ends with.
enum Exit : int {
  kSound = 0,
  kDamaged = 1,  // something is damaged, missing or of a newer version; what could be read was written, or salvaged
  kNothing = 2,  // nothing could be read, or written; or the words were not understood
};

struct Words {
  bool json = false, records = false, help = false;
  std::vector<const List*> lists;
  std::vector<std::string> paths;
  std::optional<std::string> salvage;  // where to
};

std::string usage() {
  std::string text =
      "usage: mqttq-inspect [--json] [LIST ...] DIR\n       mqttq-inspect --salvage NEW DIR\n\n"
      "A data directory of mqttq-server, without writing to it. Without a LIST a summary.\n\n";
  for (size_t i = 0; i < kListCount; ++i) text += fmt::format("  {:<14} {}\n", kLists[i].flag, kLists[i].what);
  text += fmt::format("  {:<14} {}\n", "--records", "records of the log, in their order");
  text += fmt::format("  {:<14} {}\n", "--json", "a line of JSON for each thing");
  text +=
      fmt::format("  {:<14} {}\n", "--salvage NEW", "copies what can be read into NEW, which is empty or not there");
  return text +
         "\nExit code: 0 all is sound, 1 something is damaged, missing or of a newer version, 2 nothing was read, or "
         "copied.\n";
}

// False: a word is not known; it is told.
bool take_words(int count, char** given, Words& words) {
  bool flags = true;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = given[i];
    if (!flags || !word.starts_with('-')) {
      words.paths.emplace_back(word);
      continue;
    }
    bool known = true;
    if (word == "--") {
      flags = false;
    } else if (word == "--json") {
      words.json = true;
    } else if (word == "--records") {
      words.records = true;
    } else if (word == "--salvage") {
      if (++i == count) {
        std::fputs("mqttq-inspect: --salvage wants a new directory, and the one to be salvaged behind it\n", stderr);
        return false;
      }
      words.salvage = given[i];
    } else if (word == "--help") {
      words.help = true;
    } else {
      known = false;
      for (size_t list = 0; list < kListCount; ++list) {
        if (word != kLists[list].flag) continue;
        words.lists.push_back(&kLists[list]);
        known = true;
      }
    }
    if (!known) {
      std::fputs(
          fmt::format("mqttq-inspect: unknown word {}; --help names those that are known\n", quoted(word)).c_str(),
          stderr);
      return false;
    }
  }
  return true;
}

int run_salvage(const Words& words) {
  if (words.json || words.records || !words.lists.empty()) {
    std::fputs("mqttq-inspect: --salvage stands alone\n", stderr);
    return kNothing;
  }
  const Salvaged salvaged = salvage(words.paths[0], *words.salvage);
  if (salvaged == Salvaged::Nothing || std::fflush(stdout) != 0 || std::ferror(stdout)) return kNothing;
  return salvaged == Salvaged::Whole ? kSound : kDamaged;
}

int run(const Words& words) {
  std::string problem, out;
  const std::optional<Contents> contents = read_directory(words.paths[0], problem);
  if (contents && contents->empty() && contents->damage.empty()) {
    problem = fmt::format("no broker has kept anything in {}", quoted(words.paths[0]));
  }
  if (!problem.empty()) {
    std::fputs(fmt::format("mqttq-inspect: {}\n", problem).c_str(), stderr);
    return kNothing;
  }
  if (words.lists.empty() && !words.records) put_summary(*contents, words.json, out);
  for (const List* list : words.lists) list->put(*contents, words.json, out);
  flush(out);
  if (words.records) print_records(*contents, words.json);
  for (const std::string& text : contents->damage) {
    std::fputs(fmt::format("mqttq-inspect: {}\n", text).c_str(), stderr);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) return kNothing;
  return contents->damage.empty() ? kSound : kDamaged;
}

}  // namespace

}  // namespace mqttq::inspect

int main(int count, char** given) try {
  using namespace mqttq::inspect;
  Words words;
  if (!take_words(count, given, words)) return kNothing;
  if (words.help) return std::fputs(usage().c_str(), stdout) < 0 ? kNothing : kSound;
  if (words.paths.size() != 1) {
    std::fputs(usage().c_str(), stderr);
    return kNothing;
  }
  return words.salvage ? run_salvage(words) : run(words);
} catch (const std::bad_alloc&) {
  std::fputs("mqttq-inspect: out of memory\n", stderr);
  return 2;
}
