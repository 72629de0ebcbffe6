#include "options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <numeric>

#include "config.h"
#include "config_keys.h"
#include "url.h"

namespace mqttq::server {

namespace {

constexpr std::string_view kDefaultUrl = "tcp://127.0.0.1:1883";

uint8_t take_choice(std::string_view flag, std::string_view value, const std::string_view* names, size_t count) {
  const auto at = std::find(names, names + count, value);
  if (at == names + count) {
    throw OptionError(fmt::format("{}: expected {}, found \"{}\"", flag, choices_text(names, count), value));
  }
  return static_cast<uint8_t>(at - names);
}

uint32_t take_shards(std::string_view flag, std::string_view value) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < 1 || number > kShardsMax) {
    throw OptionError(fmt::format("{}: expected a whole number from 1 to {}, found \"{}\"", flag, kShardsMax, value));
  }
  return number;
}

struct Flag {
  std::string_view name;
  std::string_view value;  // what it takes, empty if nothing
  std::string_view text;   // lines of --help
  void (*take)(Flags& flags, std::string_view name, std::string_view value);
};

constexpr Flag kFlags[] = {
    {"--config", "FILE", "configuration: JSON with // comments; flags win over it",
     [](Flags& flags, std::string_view, std::string_view value) { flags.config = value; }},
    {"--listen", "URL",
     "tcp://HOST:PORT (port 0: any free one), ws://HOST:PORT/PATH or\n"
     "unix:///PATH; may be given several times, and replaces the listeners\n"
     "of the file; default tcp://127.0.0.1:1883",
     [](Flags& flags, std::string_view name, std::string_view value) {
       if (const std::string fault = url_fault(value); !fault.empty()) {
         throw OptionError(fmt::format("{} {}: {}", name, value, fault));
       }
       flags.listen.emplace_back(value);
     }},
    {"--data-dir", "DIR", "where sessions, retained messages and what waits are kept; without it\nin memory",
     [](Flags& flags, std::string_view name, std::string_view value) {
       if (value.empty()) throw OptionError(fmt::format("{}: expected a directory, found nothing", name));
       flags.data_dir = value;
     }},
    {"--backup", "NEW",
     "make a backup of the data directory in NEW, and end; a mqttq-server may\n"
     "have it open",
     [](Flags& flags, std::string_view name, std::string_view value) {
       if (value.empty()) throw OptionError(fmt::format("{}: expected a directory, found nothing", name));
       flags.action = Action::BackUp;
       flags.backup = value;
     }},
    {"--allow-anonymous", "",
     "let everybody in on every listener; without it only on loopback addresses\n"
     "and Unix sockets",
     [](Flags& flags, std::string_view, std::string_view) { flags.allow_anonymous = true; }},
    {"--shards", "N", "threads that serve connections, 1 to 63; default one per core it may use",
     [](Flags& flags, std::string_view name, std::string_view value) { flags.shards = take_shards(name, value); }},
    {"--log-level", "LEVEL", "error, warning, notice (default), info or debug",
     [](Flags& flags, std::string_view name, std::string_view value) {
       flags.log_level = take_choice(name, value, kLogLevels, std::size(kLogLevels));
     }},
    {"--log-format", "FORMAT", "text (default) or json, one line each on stderr",
     [](Flags& flags, std::string_view name, std::string_view value) {
       flags.log_format = take_choice(name, value, kLogFormats, std::size(kLogFormats));
     }},
    {"--check-config", "", "judge flags and configuration, and end",
     [](Flags& flags, std::string_view, std::string_view) { flags.action = Action::CheckConfig; }},
    {"--print-config-schema", "", "print the JSON Schema of the configuration, and end",
     [](Flags& flags, std::string_view, std::string_view) { flags.action = Action::PrintConfigSchema; }},
    {"--print-config-keys", "", "print the configuration's keys as a Markdown table, and end",
     [](Flags& flags, std::string_view, std::string_view) { flags.action = Action::PrintConfigKeys; }},
    {"--version", "", "print the version, and end",
     [](Flags& flags, std::string_view, std::string_view) { flags.action = Action::PrintVersion; }},
    {"--help", "", "print this, and end",
     [](Flags& flags, std::string_view, std::string_view) { flags.action = Action::PrintHelp; }},
};

const Flag& flag_of(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Flag& flag : kFlags) {
    if (flag.name == name) return flag;
    known.push_back(flag.name);
  }
  if (!name.starts_with('-')) {
    throw OptionError(fmt::format("{}: expected a flag; mqttq-server --help lists them", name));
  }
  const std::string_view meant = nearest(name, known);
  throw OptionError(meant.empty() ? fmt::format("{}: unknown flag; mqttq-server --help lists them", name)
                                  : fmt::format("{}: unknown flag; did you mean {}?", name, meant));
}

// The library takes the last of two strategies for one group, which nobody means.
void check_groups(const Options& options) {
  std::map<std::string_view, size_t> seen;
  for (size_t i = 0; i < options.groups.size(); ++i) {
    const auto [before, first] = seen.emplace(options.groups[i].name, i);
    if (first) continue;
    const auto key = [](size_t index) { return fmt::format("shared_subscriptions.groups[{}].name", index); };
    throw OptionError(fmt::format("{}: the same as {}", options.place_of(key(i)), key(before->second)));
  }
}

// How many characters must be put in, taken out or replaced to make one word the other.
size_t distance(std::string_view one, std::string_view other) {
  std::vector<size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < one.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < other.size(); ++j) {
      const size_t replaced = diagonal + (one[i] == other[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest(std::string_view given, const std::vector<std::string_view>& known) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(given.size() / 2, 2) + 1;  // farther ones are other words
  for (const std::string_view word : known) {
    const size_t far = distance(given, word);
    if (far < best_distance) {
      best_distance = far;
      best = word;
    }
  }
  return best;
}

std::string Options::place_of(std::string_view key) const {
  const auto place = places.find(key);
  return place == places.end() ? std::string(key) : fmt::format("{}: {}", place->second, key);
}

Flags parse_flags(int argc, const char* const* argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const size_t equals = word.starts_with("--") ? word.find('=') : std::string_view::npos;
    const Flag& flag = flag_of(word.substr(0, equals));
    std::string_view value;
    if (equals != std::string_view::npos) {
      if (flag.value.empty()) throw OptionError(fmt::format("{}: takes no value", flag.name));
      value = word.substr(equals + 1);
    } else if (!flag.value.empty()) {
      if (i + 1 == argc) throw OptionError(fmt::format("{}: expected {} after it", flag.name, flag.value));
      value = argv[++i];
    }
    flag.take(flags, flag.name, value);
  }
  return flags;
}

Options resolve(const Flags& flags) {
  Options options;
  if (flags.config) read_config(*flags.config, options);
  if (!flags.listen.empty()) {
    options.listeners.clear();
    for (const std::string& url : flags.listen) options.listeners.push_back({url});
  }
  if (options.listeners.empty()) options.listeners.push_back({std::string(kDefaultUrl)});
  if (flags.allow_anonymous) options.allow_anonymous = true;
  if (flags.data_dir) options.data_dir = *flags.data_dir;
  if (flags.action == Action::BackUp && options.data_dir.empty()) {
    throw OptionError("--backup: there is no data directory to make one of; --data-dir names it, or data_dir");
  }
  if (flags.shards) options.shards = *flags.shards;
  if (flags.log_level) options.log_level = *flags.log_level;
  if (flags.log_format) options.log_format = *flags.log_format;

  for (size_t i = 0; i < options.listeners.size(); ++i) {
    const std::string& url = options.listeners[i].url;
    if (!options.allow_anonymous && !is_local(url)) {
      throw OptionError(
          fmt::format("{}: {} can be reached from other machines, and no authentication is configured; listen on a "
                      "loopback address "
                      "or a Unix socket, or let everybody in by --allow-anonymous or \"allow_anonymous\": true",
                      flags.listen.empty() ? options.place_of(fmt::format("listeners[{}].url", i)) : "--listen", url));
    }
  }
  check_groups(options);
  return options;
}

std::string help_text() {
  std::string text = "mqttq-server: an MQTT broker for MQTT 3.1, 3.1.1 and 5.0\n\nUsage: mqttq-server [FLAG]...\n\n";
  constexpr size_t kColumn = 26;
  for (const Flag& flag : kFlags) {
    std::string head = fmt::format("  {}{}{}", flag.name, flag.value.empty() ? "" : " ", flag.value);
    std::string_view rest = flag.text;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      text += fmt::format("{:<{}}{}\n", head, kColumn, rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      head.clear();
    }
  }
  text += "\nExit codes: 0 ended as asked, 1 something failed, 2 wrong flags or configuration.\n";
  return text;
}

}  // namespace mqttq::server
