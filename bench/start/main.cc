// How long a broker takes to come back: fills a data directory with durable sessions, and restores it.
//
//   bench_start DIRECTORY COUNT
//
// Half of the sessions have a subscription to a filter of their own, half to one of 100. Prints, for a directory that
// it has made, the seconds until a broker on it could listen, and the memory that its process has then.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "broker/broker.h"
#include "session/stored_session.h"
#include "store/lmdb_directory.h"

using namespace mqttq;

namespace {

constexpr uint32_t kSharedFilters = 100, kSessionsPerRecord = 1000;

std::unique_ptr<LmdbDirectory> open(const std::string& path) {
  LmdbDirectory::Options options;
  options.path = path;
  options.directory.seed = random_secret();
  options.directory.unix_offset_ms = unix_offset_ms();
  Status status{};
  std::string problem;
  auto directory = LmdbDirectory::open(options, status, problem);
  if (directory) return directory;
  std::fprintf(stderr, "%s\n", problem.c_str());
  std::exit(1);
}

void put_session(StateWrites& writes, Router& router, uint64_t seed, uint32_t index) {
  const std::string client_id = "device-" + std::to_string(index);
  const std::string filter = index % 2 ? "shared/" + std::to_string(index % kSharedFilters) + "/#"
                                       : "devices/" + std::to_string(index) + "/commands";
  const StateKey key = state_key(text_key(kGlobalNamespace, client_id, seed));
  const StateKey filter_key = StateKey(key).add(router.topic_hash(kGlobalNamespace, filter));
  Array<std::byte> session, subscription;
  FieldWriter out(session);
  const int64_t disconnected_ms = to_unix_ms(clock_now(), unix_offset_ms());
  StoredSession{kGlobalNamespace, kSessionExpiryNever, disconnected_ms, client_id}.write(out);
  Subscription options;
  options.qos = Qos::AtLeastOnce;
  FieldWriter more(subscription);
  StoredSubscription::write(more, options, false, filter);
  writes.put_large(StateTable::Sessions, key.bytes(), session.span());
  writes.put_large(StateTable::Subscriptions, filter_key.bytes(), subscription.span());
  writes.put_number(StateTable::Positions, filter_key.bytes());
}

void fill(const std::string& path, uint32_t count) {
  const auto opened = open(path);
  DataDirectory& directory = opened->directory();
  Router router(1, directory.seed());
  StateWrites writes;
  for (uint32_t i = 0; i < count;) {
    writes.clear();
    for (uint32_t end = std::min(count, i + kSessionsPerRecord); i < end; ++i) {
      put_session(writes, router, directory.seed(), i);
    }
    const LogRecord record{directory.durable_number() + 1, nullptr, {}, writes.bytes()};
    if (directory.append({&record, 1}) != Status::Ok) {
      std::fprintf(stderr, "%s: it cannot be written\n", path.c_str());
      std::exit(1);
    }
    directory.tend(clock_now());
  }
  if (directory.follow() != Status::Ok) std::exit(1);
}

uint64_t status_kib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t value = 0;
    if (word == name && status >> value) return value;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_start DIRECTORY COUNT\n");
    return 2;
  }
  const std::string path = argv[1];
  const auto count = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
  if (::access((path + "/store.mdb").c_str(), F_OK) != 0) {
    fill(path, count);
    std::printf("%s has %u sessions now; run it again to see how long they take\n", path.c_str(), count);
    return 0;
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto opened = open(path);
  BrokerSetup setup;
  setup.directory = &opened->directory();
  setup.shard_count = 2;
  Broker broker(setup);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  uint32_t sessions = 0;
  for (uint32_t i = 0; i < broker.shard_count(); ++i) sessions += broker.shard(i).core().sessions().count();
  std::printf("%u sessions in %.2f s; %llu MiB of memory, and %llu MiB of the store's file mapped\n", sessions, seconds,
              static_cast<unsigned long long>(status_kib("RssAnon:") / 1024),
              static_cast<unsigned long long>(status_kib("RssFile:") / 1024));
  return 0;
}
