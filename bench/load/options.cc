// See options.h: one table yields the parser and the help.
#include "load/options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "load/failure.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

template <typename Number>
Number number(std::string_view text, uint64_t most) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) {
    throw UsageError("\"" + std::string(text) + "\" is not a number from 0 to " + std::to_string(most));
  }
  return static_cast<Number>(value);
}

double seconds(std::string_view text) {
  char* end = nullptr;
  const std::string copy(text);
  const double value = std::strtod(copy.c_str(), &end);
  if (end == copy.c_str() || *end != '\0' || !(value >= 0 && value <= 3600)) {
    throw UsageError("\"" + copy + "\" is not a number of seconds from 0 to 3600");
  }
  return value;
}

Version version(std::string_view text) {
  if (text == "3.1.1" || text == "4") return Version::V311;
  if (text == "5") return Version::V5;
  throw UsageError("--version takes 3.1.1 or 5");
}

void set_pids(Options& options, std::string_view text) {
  options.pid = -1;
  options.more_pids.clear();
  for (;;) {
    const size_t size = std::min(text.find(','), text.size());
    const auto pid = number<pid_t>(text.substr(0, size), 1u << 30);
    if (options.pid < 0) {
      options.pid = pid;
    } else {
      options.more_pids.push_back(pid);
    }
    if (size == text.size()) return;
    text.remove_prefix(size + 1);
  }
}

using Setter = std::function<void(Options&, std::string_view)>;

// Setters for a field of each type; `most` is the largest number that is taken.
template <typename Number>
Setter into(Number Options::* field, uint64_t most) {
  return [field, most](Options& options, std::string_view text) { options.*field = number<Number>(text, most); };
}
Setter into(std::string Options::* field) {
  return [field](Options& options, std::string_view text) { options.*field = text; };
}
Setter into(double Options::* field) {
  return [field](Options& options, std::string_view text) { options.*field = seconds(text); };
}
Setter into(Version Options::* field) {
  return [field](Options& options, std::string_view text) { options.*field = version(text); };
}
Setter into(bool Options::* field) {
  return [field](Options& options, std::string_view) { options.*field = true; };
}

struct Option {
  std::string_view name;
  std::string_view argument;  // empty = a switch
  std::string_view help;
  Setter set;
};

const std::vector<Option>& option_table() {
  using O = Options;
  // clang-format off
  static const std::vector<Option> table{
    {"--scenario", "NAME", "what to run, from the list above",                    into(&O::scenario)},
    {"--host", "ADDRESS",  "numeric IPv4 (127.0.0.1)",                            into(&O::host)},
    {"--port", "N",        "the broker's port",                                   into(&O::port, 65535)},
    {"--pid", "N[,N...]",  "the broker's processes: CPU time of all, memory of the first", set_pids},
    {"--version", "V",     "3.1.1 (default) or 5",                                into(&O::version)},
    {"--qos", "N",         "0, 1 or 2",                                           into(&O::qos, 2)},
    {"--payload", "BYTES", "16 or more (64)",                                     into(&O::payload_size, 1u << 20)},
    {"--window", "N",      "messages in flight per publisher; 0 = flat out",      into(&O::window, 65535)},
    {"--clients", "N",     "pairs, subscribers or connections",                   into(&O::client_count, 1'000'000)},
    {"--filters", "N",     "subscriptions in all, for wildcards",                 into(&O::filter_count, 10'000'000)},
    {"--messages", "N",    "messages in all, for retained and offline",           into(&O::message_count, 10'000'000)},
    {"--rate", "N",        "messages per second in all, for latency",             into(&O::rate, 100'000'000)},
    {"--churn", "N",       "SUBSCRIBE and UNSUBSCRIBE pairs per second beside",   into(&O::churn_rate, 1'000'000)},
    {"--miss", "",         "publish what no filter matches, for wildcards",       into(&O::miss)},
    {"--durable", "",      "subscribers with sessions that are kept, for flows",  into(&O::durable)},
    {"--queue", "",        "a message queue instead of a kept session, for offline", into(&O::queue)},
    {"--subscribe", "",    "with one exact subscription, for connects and idle",  into(&O::subscribe)},
    {"--warmup", "S",      "seconds before the measured window (0.5)",            into(&O::warmup_s)},
    {"--seconds", "S",     "seconds of the measured window (3)",                  into(&O::measure_s)},
    {"--seed", "N",        "of every random choice (1)",                          into(&O::seed, UINT64_MAX)},
    {"--broker", "NAME",   "printed in the result",                               into(&O::broker)},
    {"--build", "TEXT",    "the broker's build, printed in the result",           into(&O::build)},
    {"--store", "NAME",    "the broker's store, printed in the result",           into(&O::store)},
  };
  // clang-format on
  return table;
}

}  // namespace

Options parse_options(int argument_count, char** arguments) {
  Options options;
  for (int i = 1; i < argument_count; ++i) {
    const std::string_view name = arguments[i];
    const Option* found = nullptr;
    for (const Option& option : option_table()) {
      if (option.name == name) found = &option;
    }
    if (!found) throw UsageError("unknown option " + std::string(name));
    std::string_view value;
    if (!found->argument.empty()) {
      if (++i == argument_count) throw UsageError(std::string(name) + " takes a value");
      value = arguments[i];
    }
    found->set(options, value);
  }
  if (options.scenario.empty()) throw UsageError("--scenario is missing");
  if (options.port == 0) throw UsageError("--port is missing");
  if (options.payload_size < sizeof(Stamp)) throw UsageError("--payload is at least 16 bytes");
  if (options.measure_s <= 0) throw UsageError("--seconds is more than 0");
  return options;
}

std::string usage() {
  std::string text = "usage: bench_load --scenario NAME --port N [options]\n\nscenarios:\n";
  for (const Scenario& scenario : scenarios()) {
    text += "  " + std::string(scenario.name) + std::string(14 - scenario.name.size(), ' ') +
            std::string(scenario.help) + "\n";
  }
  text += "\noptions:\n";
  for (const Option& option : option_table()) {
    const std::string head = std::string(option.name) + " " + std::string(option.argument);
    text += "  " + head + std::string(18 - head.size(), ' ') + std::string(option.help) + "\n";
  }
  return text;
}

}  // namespace mqttq::bench
