// mqttq-server: the order of things. Flags and configuration, the broker, its listeners, then signals until the end.

#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <exception>

#include "backup.h"
#include "broker.h"
#include "config_doc.h"
#include "config_keys.h"
#include "listeners.h"
#include "log.h"
#include "mqttq/mqttq.h"
#include "notify.h"
#include "options.h"

namespace mqttq::server {

namespace {

// Exit codes.
constexpr int kEnded = 0;
constexpr int kFailed = 1;
constexpr int kWrongOptions = 2;

// SIGTERM, SIGINT and SIGHUP wait for sigwait() in this thread: those made later inherit the mask.
sigset_t block_signals() noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// Each connection is a descriptor, and the soft limit is low for programs that still use select().
void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
}

class Server {
 public:
  Server(const Flags& flags, const Options& options)
      : flags_(flags),
        options_(options),
        log_(options.log_level, options.log_format),
        broker_(start_broker(options, log_)),
        listeners_(*broker_, log_) {}

  void run(const sigset_t& signals) {
    listeners_.change_to(options_.listeners);
    if (options_.data_dir.empty()) {
      log_.say(MQTTQ_LOG_NOTICE, "mqttq-server {} keeps everything in memory: what it holds ends with it",
               mqttq_version_text());
    } else {
      log_.say(MQTTQ_LOG_NOTICE, "mqttq-server {} keeps its data in {}", mqttq_version_text(), options_.data_dir);
    }
    if (std::printf("mqttq-server ready %s\n", listeners_.bound_urls().c_str()) < 0 || std::fflush(stdout) != 0) {
      throw std::runtime_error("standard output: the line that says where it listens cannot be written");
    }
    notify("READY=1");
    for (;;) {
      int number = 0;
      if (sigwait(&signals, &number) != 0) continue;
      if (number != SIGHUP) {
        log_.say(MQTTQ_LOG_NOTICE, "{}: ending", number == SIGTERM ? "SIGTERM" : "SIGINT");
        break;
      }
      notify_reloading();
      reload();
      notify("READY=1");
    }
    notify("STOPPING=1");
    mqttq_broker_stop(broker_.get());
  }

  Log& log() noexcept { return log_; }

 private:
  // Takes over what can change while the broker runs. Whatever is wrong, the broker goes on as it was.
  void reload() {
    try {
      const Options wanted = resolve(flags_);
      judge_broker(wanted, log_);  // what waits for the next start is to be right too
      listeners_.change_to(wanted.listeners);
      log_.set(wanted.log_level, wanted.log_format);
      for (const Key* key : changed_keys(options_, wanted)) {
        if (!key->reloads) log_.say(MQTTQ_LOG_WARNING, "SIGHUP: {} cannot change before the next start", key->path);
      }
      log_.say(MQTTQ_LOG_NOTICE, "SIGHUP: {}, listening on {}",
               flags_.config ? "configuration read" : "there is no configuration file to read",
               listeners_.bound_urls());
    } catch (const OptionError& failure) {
      log_.say(MQTTQ_LOG_ERROR, "SIGHUP: configuration refused, the old one stays: {}", failure.what());
    } catch (const std::exception& failure) {
      log_.say(MQTTQ_LOG_ERROR, "SIGHUP: configuration not taken over, the old one stays: {}", failure.what());
    }
  }

  const Flags flags_;
  const Options options_;  // as the broker was started
  Log log_;
  BrokerHandle broker_;
  Listeners listeners_;  // closed before the broker ends
};

int serve(const Flags& flags, const Options& options) {
  const sigset_t signals = block_signals();
  raise_descriptor_limit();
  Server server(flags, options);
  try {
    server.run(signals);
    return kEnded;
  } catch (const ListenError& failure) {
    server.log().write(MQTTQ_LOG_ERROR, failure.what());
    return kFailed;
  }
}

int obey(int argc, char** argv) {
  const Flags flags = parse_flags(argc, argv);
  switch (flags.action) {
    case Action::PrintVersion: fmt::print("mqttq-server {}\n", mqttq_version_text()); return kEnded;
    case Action::PrintHelp: fmt::print("{}", help_text()); return kEnded;
    case Action::PrintConfigSchema: fmt::print("{}", config_schema()); return kEnded;
    case Action::PrintConfigKeys: fmt::print("{}", config_keys_markdown()); return kEnded;
    case Action::BackUp:
    case Action::CheckConfig:
    case Action::Serve: break;
  }
  const Options options = resolve(flags);
  if (flags.action == Action::Serve) return serve(flags, options);
  Log log(options.log_level, options.log_format);
  if (flags.action == Action::BackUp) return back_up(options.data_dir, flags.backup, log) ? kEnded : kFailed;
  judge_broker(options, log);
  fmt::print(stderr, "{}: no fault found\n", flags.config ? *flags.config : "flags");
  return kEnded;
}

int run(int argc, char** argv) noexcept {
  try {
    return obey(argc, argv);
  } catch (const OptionError& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return kWrongOptions;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "mqttq-server: %s\n", failure.what());
    return kFailed;
  }
}

}  // namespace

}  // namespace mqttq::server

int main(int argc, char** argv) { return mqttq::server::run(argc, argv); }
